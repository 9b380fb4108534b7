//! A MariaDB server, Debian's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;

use crate::Error;
use crate::folder::Folder;
use crate::process::{Launch, Probe, Process};
use crate::run::{command, run};

const NAME: &str = "MariaDB";
const SERVER: &str = "/usr/sbin/mariadbd";
const INSTALL: &str = "/usr/bin/mariadb-install-db";
const CLIENT: &str = "/usr/bin/mariadb";
/// The superuser of the servers that are started here; it needs no password from 127.0.0.1.
const USER: &str = "root";
/// To make the data and to serve it: a small log, as the default of 96 MB would be made anew for each server, and
/// nothing waits for a disk. Each commit is written, so that it outlives the process.
const QUICK: [&str; 3] =
    ["--innodb-log-file-size=8M", "--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=2"];

/// How the server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Deadline of a start and of an end.
    pub ready_within: Duration,
    /// Deadline of making the data, and of one [`Mariadb::run_sql`].
    pub run_within: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { ready_within: Duration::from_secs(60), run_within: Duration::from_secs(60) }
    }
}

/// A MariaDB server process, whose commits outlive it but not the machine. Ends with the value.
pub struct Mariadb {
    // Before the folder: the process must have ended when the folder is removed.
    process: Option<Process>,
    folder: Folder,
    port: u16,
    options: Options,
}

impl Mariadb {
    /// Makes a server with no database but its own (`mysql`), starts it and waits until it answers.
    ///
    /// # Errors
    /// If it is not installed, ends, or does not answer within its time.
    pub async fn start(options: Options) -> Result<Mariadb, Error> {
        for program in [SERVER, INSTALL, CLIENT] {
            if !Path::new(program).exists() {
                return Err(Error::Missing { what: "MariaDB's program", path: program.into() });
            }
        }
        let folder = Folder::new(None, "setkeeper-mariadb-")?;
        let mut server = Mariadb { process: None, folder, port: 0, options };
        server.initialise().await?;
        server.spawn().await?;
        Ok(server)
    }

    /// The port; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL, and returns the rows as the client prints them: one a line, columns parted by tabs.
    ///
    /// # Errors
    /// At the first statement that the server refuses.
    pub async fn run_sql(&self, database: &str, sql: &str) -> Result<String, Error> {
        run(&format!("mariadb on {database}"), self.client(database), sql.as_bytes(), self.options.run_within)
            .await
    }

    /// The client on one connection: runs each statement of its input as soon as it has it, prints rows as
    /// [`Mariadb::run_sql`] returns them, and ends at the first statement that the server refuses.
    pub fn client(&self, database: &str) -> Command {
        let mut client = client(self.port);
        client.args(["--batch", "--skip-column-names", "--unbuffered", database]);
        client
    }

    /// Kills the server with SIGKILL, and returns when it has ended. Without a server, does nothing.
    ///
    /// # Errors
    /// If the process cannot be signalled or does not end.
    pub async fn kill(&mut self) -> Result<(), Error> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::KILL)?;
        process.wait_end(self.options.ready_within).await?;
        Ok(())
    }

    /// Kills the server if it runs, and starts it on the same data and port.
    ///
    /// # Errors
    /// As [`Mariadb::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.kill().await?;
        self.spawn().await
    }

    async fn initialise(&self) -> Result<(), Error> {
        // Without `--user`, also as root: with it, the script would set rights of files in /usr as well.
        let mut install = command([INSTALL, "--no-defaults", "--auth-root-authentication-method=normal"]);
        // --force: neither this machine's name nor `localhost` needs to resolve.
        install.args(["--skip-test-db", "--skip-name-resolve", "--force"]).args(QUICK).arg(self.data());
        install.current_dir("/");
        run("mariadb-install-db", install, b"", self.options.run_within).await.map(drop)
    }

    async fn spawn(&mut self) -> Result<(), Error> {
        // A restart keeps the port that clients know; only a first start may choose another.
        let fixed = (self.port != 0).then_some(self.port);
        let (process, port) = Process::start(fixed, |port| Ok(self.launch(port))).await?;
        self.port = port;
        self.process = Some(process);
        Ok(())
    }

    fn launch(&self, port: u16) -> Launch {
        let mut argv: Vec<OsString> = vec![SERVER.into(), "--no-defaults".into(), self.data()];
        if rustix::process::geteuid().is_root() {
            // Else it would refuse to run.
            argv.push("--user=root".into());
        }
        argv.push(format!("--port={port}").into());
        // TCP is enough, and a socket's path has a limit that a long folder name would pass.
        argv.extend(["--bind-address=127.0.0.1", "--socket=", "--skip-name-resolve"].map(OsString::from));
        argv.push("--innodb-buffer-pool-size=16M".into());
        argv.extend(QUICK.map(OsString::from));
        Launch {
            name: NAME,
            argv,
            env: Vec::new(),
            folder: PathBuf::from("/"),
            to_remove: self.folder.to_remove().map(Path::to_owned),
            log: self.folder.path().join("log"),
            ready_within: self.options.ready_within,
            probe: Probe::Mariadb,
        }
    }

    /// The argument that names the folder of its data.
    fn data(&self) -> OsString {
        let mut argument = OsString::from("--datadir=");
        argument.push(self.folder.path().join("data"));
        argument
    }
}

fn client(port: u16) -> Command {
    let mut client = command([CLIENT, "--no-defaults", "--host=127.0.0.1", "--user", USER]);
    client.arg(format!("--port={port}"));
    client
}

/// Whether the server takes connections.
pub(crate) async fn serves(port: u16) -> bool {
    let mut ask = client(port);
    ask.args(["--connect-timeout=5", "--execute=SELECT 1"]);
    run("mariadb", ask, b"", Duration::from_secs(5)).await.is_ok()
}
