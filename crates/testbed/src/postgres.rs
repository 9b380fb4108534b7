//! A PostgreSQL server, Debian's newest.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::folder::{Folder, file};
use crate::process::{Detached, Launch, Probe, Process};
use crate::run::{command, run};
use crate::{Error, superset};

const NAME: &str = "PostgreSQL";
/// The superuser of the servers that are started here; it needs no password from 127.0.0.1.
const USER: &str = "postgres";
/// Holds Superset's initialised metadata; databases are cloned from it.
const TEMPLATE: &str = "superset_template";

/// How the server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for data and log; a temporary one by default.
    pub dir: Option<PathBuf>,
    /// The port; a free one by default.
    pub port: Option<u16>,
    /// Further settings of `postgresql.conf`, as name and value.
    pub settings: Vec<(String, String)>,
    /// Deadline of a start and of an end.
    pub ready_within: Duration,
    /// Deadline of one call of `initdb` or `psql`.
    pub run_within: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            dir: None,
            port: None,
            settings: Vec::new(),
            ready_within: Duration::from_secs(60),
            run_within: Duration::from_secs(60),
        }
    }
}

/// A PostgreSQL server process. Ends with the value.
pub struct Postgres {
    // Before the folder: the process must have ended when the folder is removed.
    process: Option<Process>,
    folder: Folder,
    data: PathBuf,
    bin: PathBuf,
    port: u16,
    options: Options,
}

impl Postgres {
    /// Makes a cluster (or takes the one that is in [`Options::dir`]), starts it and waits until it answers.
    ///
    /// # Errors
    /// If it is not installed, ends, or does not answer within its time.
    pub async fn start(options: Options) -> Result<Postgres, Error> {
        let bin = bin()?;
        let folder = match &options.dir {
            None => Folder::temporary(&reachable_parent(std::env::temp_dir()), "setkeeper-postgres-")?,
            given => Folder::new(given.as_deref(), "")?,
        };
        let data = data(folder.path(), options.run_within).await?;
        let mut server = Postgres { process: None, folder, data, bin, port: 0, options };
        if !server.data.join("PG_VERSION").exists() {
            server.initialise().await?;
        }
        server.spawn().await?;
        Ok(server)
    }

    /// The address of a database of this server, as sqlx wants it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, if one runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// If the server refuses, for example because there is one of that name.
    pub async fn create_database(&self, name: &str) -> Result<(), Error> {
        self.psql("postgres", &format!("CREATE DATABASE \"{name}\"")).await.map(drop)
    }

    /// Makes a database that holds the metadata of an initialised Superset, user `admin` with password `admin`
    /// included. The first call restores the dump that `deploy/setup.sh` made, later ones clone the outcome.
    ///
    /// # Errors
    /// If the dump is not there, or the server refuses.
    pub async fn restore_template(&self, name: &str) -> Result<(), Error> {
        let found =
            self.psql("postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{TEMPLATE}'")).await?;
        if found.trim().is_empty() {
            let dump = superset::postgres_template()?;
            let sql = tokio::fs::read_to_string(&dump).await.map_err(file("read", &dump))?;
            self.create_database("superset_template_new").await?;
            self.psql("superset_template_new", &sql).await?;
            let rename = format!("ALTER DATABASE superset_template_new RENAME TO {TEMPLATE}");
            self.psql("postgres", &rename).await?;
        }
        self.psql("postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE {TEMPLATE}")).await.map(drop)
    }

    /// Runs SQL (and psql's own commands), and returns the rows as psql prints them with `-At`: one a line, columns
    /// parted by `|`.
    ///
    /// # Errors
    /// At the first statement that the server refuses.
    pub async fn psql(&self, database: &str, sql: &str) -> Result<String, Error> {
        let port = self.port.to_string();
        let mut psql = command([self.bin.join("psql")]);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &port]);
        psql.args(["-U", USER, "-d", database, "-f", "-"]);
        run(&format!("psql on {database}"), psql, sql.as_bytes(), self.options.run_within).await
    }

    /// Kills the server with SIGKILL, and returns when it has ended. Without a server, does nothing.
    ///
    /// # Errors
    /// If the process cannot be signalled or does not end.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.end(Signal::KILL).await
    }

    /// Stops the server in PostgreSQL's "fast" way: running transactions are rolled back, all is written.
    ///
    /// # Errors
    /// If the process cannot be signalled or does not end.
    pub async fn stop(&mut self) -> Result<(), Error> {
        self.end(Signal::INT).await
    }

    /// Stops the server, in the "fast" way if it runs, and starts it on the same data and port.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await?;
        self.spawn().await
    }

    /// Leaves the server running when this process ends.
    ///
    /// # Errors
    /// If no server runs.
    pub fn detach(self) -> Result<Detached, Error> {
        let stopped = Error::State { doing: "detach", name: NAME, state: "does not run" };
        let pid = self.process.ok_or(stopped)?.detach();
        Ok(Detached { pid, folder: self.folder.keep() })
    }

    async fn end(&mut self, signal: Signal) -> Result<(), Error> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        // Its children belong to other groups; they end with it.
        process.signal_leader(signal)?;
        process.wait_end(self.options.ready_within).await?;
        Ok(())
    }

    async fn initialise(&self) -> Result<(), Error> {
        let mut argv = unprivileged();
        argv.push(self.bin.join("initdb").into());
        argv.extend(["-D".into(), self.data.clone().into()]);
        let rest = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];
        argv.extend(rest.map(OsString::from));
        let mut initdb = command(argv);
        initdb.current_dir("/");
        run("initdb", initdb, b"", self.options.run_within).await.map(drop)
    }

    async fn spawn(&mut self) -> Result<(), Error> {
        // A restart keeps the port that clients know; only a first start may choose another.
        let fixed = self.options.port.or((self.port != 0).then_some(self.port));
        let (process, port) = Process::start(fixed, |port| Ok(self.launch(port))).await?;
        self.port = port;
        self.process = Some(process);
        Ok(())
    }

    fn launch(&self, port: u16) -> Launch {
        let mut argv = unprivileged();
        argv.push(self.bin.join("postgres").into());
        argv.extend(["-D".into(), self.data.clone().into()]);
        let own = [
            ("port", port.to_string()),
            ("listen_addresses", "127.0.0.1".to_owned()),
            // TCP is enough, and a socket's path has a limit that a long folder name would pass.
            ("unix_socket_directories", String::new()),
        ];
        let own = own.iter().map(|(name, value)| (*name, value));
        let given = self.options.settings.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in own.chain(given) {
            argv.extend(["-c".into(), format!("{name}={value}").into()]);
        }
        Launch {
            name: NAME,
            argv,
            env: Vec::new(),
            folder: PathBuf::from("/"),
            to_remove: self.folder.to_remove().map(Path::to_owned),
            log: self.folder.path().join("log"),
            ready_within: self.options.ready_within,
            probe: Probe::Postgres(self.bin.clone()),
        }
    }
}

/// Whether the server takes connections.
pub(crate) async fn serves(bin: &Path, port: u16) -> bool {
    let mut ask = command([bin.join("pg_isready")]);
    ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", USER]);
    run("pg_isready", ask, b"", Duration::from_secs(5)).await.is_ok()
}

/// The folder of the newest server programs that are installed.
fn bin() -> Result<PathBuf, Error> {
    let root = Path::new("/usr/lib/postgresql");
    let versions = std::fs::read_dir(root).into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/postgres").exists())
        .max_by_key(|path| version(path));
    let missing = || Error::Missing { what: "PostgreSQL's programs", path: root.join("*/bin") };
    newest.map(|path| path.join("bin")).ok_or_else(missing)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What a command line starts with, so that it runs without root's rights: PostgreSQL refuses to run with them.
fn unprivileged() -> Vec<OsString> {
    if !is_root() {
        return Vec::new();
    }
    ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"].map(OsString::from).into()
}

/// Where the user that the server runs as can reach a folder: `wanted` if it can, else `/var/tmp`.
fn reachable_parent(wanted: PathBuf) -> PathBuf {
    if !is_root() || is_reachable(&wanted) { wanted } else { PathBuf::from("/var/tmp") }
}

/// Whether everybody may pass through a folder and all above it.
fn is_reachable(folder: &Path) -> bool {
    let passable = |path: &Path| path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
    folder.ancestors().all(passable)
}

/// The cluster's folder for a server that lives in `folder`. As root, it belongs to `postgres`; and where that user
/// cannot reach it (below root's home, for example), it is in `/var/tmp`, behind a link that later starts follow.
async fn data(folder: &Path, within: Duration) -> Result<PathBuf, Error> {
    let data = folder.join("data");
    if let Ok(found) = data.canonicalize() {
        return Ok(found);
    }
    if !is_root() {
        return Ok(data);
    }
    // The temporary folder is ours alone so far; a given one belongs to the caller, and only what is in it changes.
    let is_temporary = folder.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o077 == 0);
    let above = folder.parent().unwrap_or(folder);
    if is_temporary && is_reachable(above) {
        let mode = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(folder, mode).map_err(file("open the way into", folder))?;
    }
    let target = if is_reachable(folder) {
        std::fs::create_dir(&data).map_err(file("make the folder", &data))?;
        data
    } else {
        let elsewhere = Folder::temporary(Path::new("/var/tmp"), "setkeeper-postgres-")?.keep();
        std::os::unix::fs::symlink(&elsewhere, &data).map_err(file("make the link", &data))?;
        elsewhere
    };
    let mut chown = command(["chown", "postgres:postgres"]);
    chown.arg(&target);
    run("chown", chown, b"", within).await?;
    Ok(target)
}
