//! One server process: started in a session of its own, guarded, signalled, waited for.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::{Instant, sleep};

use crate::folder::file;
use crate::run::tail;
use crate::{Error, mariadb, port, postgres, superset, zookeeper};

/// How often a state is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(15);

/// Starts of one server, while its port is found to be taken.
const ATTEMPTS: u32 = 5;

/// Ends the group `$1` and removes the folder `$2` once the process that holds the other end of its input has gone.
/// (`kill -9 -- -1` is an error to dash.)
const GUARD: &str =
    r#"read -r _; kill -s KILL -- "-$1" 2>/dev/null; if [ -n "$2" ]; then rm -rf -- "$2"; fi"#;

/// How a server is started.
pub(crate) struct Launch {
    pub(crate) name: &'static str,
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(String, OsString)>,
    /// The folder that it runs in.
    pub(crate) folder: PathBuf,
    /// Removed by the guard.
    pub(crate) to_remove: Option<PathBuf>,
    pub(crate) log: PathBuf,
    pub(crate) ready_within: Duration,
    pub(crate) probe: Probe,
}

/// How a server is asked whether it serves.
pub(crate) enum Probe {
    Zookeeper,
    /// With the folder of PostgreSQL's programs.
    Postgres(PathBuf),
    Mariadb,
    Superset(reqwest::Client),
    /// Taking a connection is enough.
    Tcp,
}

impl Probe {
    async fn answers(&self, port: u16) -> bool {
        match self {
            Probe::Zookeeper => zookeeper::serves(port).await,
            Probe::Postgres(bin) => postgres::serves(bin, port).await,
            Probe::Mariadb => mariadb::serves(port).await,
            Probe::Superset(client) => superset::serves(client, port).await,
            Probe::Tcp => tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
        }
    }
}

/// A server that was left running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detached {
    /// Its process, which leads a session and a group of its own: signal `-pid` to reach all of it.
    pub pid: u32,
    /// Its folder, with its log.
    pub folder: PathBuf,
}

/// A running server. Dropping it kills its whole group and reaps it.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    guard: Option<Child>,
    log: PathBuf,
    /// Where in the log the lines of this process begin.
    log_from: u64,
    detached: bool,
}

impl Process {
    /// Starts a server on a port and waits until it answers its probe; returns the port too. An attempt is repeated
    /// while something is in use: the port (then another one is taken, unless it is `fixed`), or by what its log
    /// says, the memory that a killed PostgreSQL has not let go of yet.
    pub(crate) async fn start(
        fixed: Option<u16>,
        launch: impl Fn(u16) -> Result<Launch, Error>,
    ) -> Result<(Process, u16), Error> {
        let mut attempt = 1;
        loop {
            let port = fixed.map_or_else(port::free, Ok)?;
            let launch = launch(port)?;
            match Process::attempt(&launch, port).await {
                Err(error) if attempt < ATTEMPTS && is_in_use(&error) => {
                    attempt += 1;
                    sleep(POLL * 10).await;
                }
                done => return done.map(|process| (process, port)),
            }
        }
    }

    async fn attempt(launch: &Launch, port: u16) -> Result<Process, Error> {
        // Whatever listens there would answer the probe in our server's place.
        if !port::is_free(port) {
            return Err(Error::PortTaken { name: launch.name, port });
        }
        let mut process = Process::spawn(launch)?;
        process.wait_ready(launch, port).await?;
        Ok(process)
    }

    fn spawn(launch: &Launch) -> Result<Process, Error> {
        let opened = OpenOptions::new().create(true).append(true).open(&launch.log);
        let log = opened.map_err(file("open the log", &launch.log))?;
        let log_from = log.metadata().map_err(file("look at the log", &launch.log))?.len();
        let errors = log.try_clone().map_err(file("open the log", &launch.log))?;
        // setsid(1) becomes the program itself, as it leads no group: the pid is the program's, its session's and
        // its group's.
        let child = Command::new("setsid")
            .args(&launch.argv)
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&launch.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|source| Error::Process { doing: "start", name: launch.name.to_owned(), source })?;
        let mut process = Process {
            name: launch.name,
            child,
            guard: None,
            log: launch.log.clone(),
            log_from,
            detached: false,
        };
        process.guard = Some(process.spawn_guard(launch.to_remove.as_ref())?);
        Ok(process)
    }

    fn spawn_guard(&self, to_remove: Option<&PathBuf>) -> Result<Child, Error> {
        Command::new("sh")
            .args(["-c", GUARD, "guard", &self.child.id().to_string()])
            .arg(to_remove.map_or_else(OsString::new, |folder| folder.clone().into_os_string()))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not in our group: Ctrl-C ends us, and then the guard has its work to do.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Process {
                doing: "start the guard of",
                name: self.name.to_owned(),
                source,
            })
    }

    async fn wait_ready(&mut self, launch: &Launch, port: u16) -> Result<(), Error> {
        let within = launch.ready_within;
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.exited()? {
                return Err(Error::Ended {
                    name: self.name,
                    status: status.to_string(),
                    log: self.log_tail(),
                });
            }
            if tokio::time::timeout_at(deadline, launch.probe.answers(port)).await.unwrap_or(false) {
                return Ok(());
            }
            self.before(deadline, "answer", within)?;
            sleep(POLL).await;
        }
    }

    /// Waits until the process has ended.
    pub(crate) async fn wait_end(&mut self, within: Duration) -> Result<ExitStatus, Error> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            self.before(deadline, "end", within)?;
            sleep(POLL).await;
        }
    }

    fn before(&self, deadline: Instant, what: &'static str, within: Duration) -> Result<(), Error> {
        if Instant::now() < deadline {
            return Ok(());
        }
        Err(Error::Late { name: self.name, what, within, log: self.log_tail() })
    }

    fn exited(&mut self) -> Result<Option<ExitStatus>, Error> {
        let status = self.child.try_wait();
        status.map_err(|source| Error::Process { doing: "wait for", name: self.name.to_owned(), source })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the whole group.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        let pid = self.pid();
        // Before setsid(1) has made the group, there is only the process.
        rustix::process::kill_process_group(pid, signal)
            .or_else(|_| rustix::process::kill_process(pid, signal))
            .map_err(|errno| Error::Process {
                doing: "signal",
                name: self.name.to_owned(),
                source: errno.into(),
            })
    }

    /// Sends a signal to the process alone, not to its children.
    pub(crate) fn signal_leader(&self, signal: Signal) -> Result<(), Error> {
        rustix::process::kill_process(self.pid(), signal).map_err(|errno| Error::Process {
            doing: "signal",
            name: self.name.to_owned(),
            source: errno.into(),
        })
    }

    fn pid(&self) -> Pid {
        let raw = i32::try_from(self.child.id()).expect("Linux numbers its processes below 2^22");
        Pid::from_raw(raw).expect("a child's pid is not 0")
    }

    /// The end of what this process logged.
    pub(crate) fn log_tail(&self) -> String {
        let read = || {
            use std::io::{Read, Seek, SeekFrom};
            let mut log = File::open(&self.log)?;
            log.seek(SeekFrom::Start(self.log_from))?;
            let mut bytes = Vec::new();
            log.read_to_end(&mut bytes)?;
            std::io::Result::Ok(bytes)
        };
        match read() {
            Ok(bytes) => tail(&String::from_utf8_lossy(&bytes)).to_owned(),
            Err(error) => format!("({} cannot be read: {error})", self.log.display()),
        }
    }

    /// Leaves the server running, unguarded.
    pub(crate) fn detach(mut self) -> u32 {
        self.detached = true;
        self.end_guard();
        self.child.id()
    }

    fn end_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // It waits for its input, which we hold: it is there, and can be killed and reaped at once.
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

fn is_in_use(error: &Error) -> bool {
    match error {
        Error::PortTaken { .. } => true,
        Error::Ended { log, .. } => log.to_lowercase().contains("in use"),
        _ => false,
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_guard();
        if !self.detached {
            // Either fails only for a process that has ended already.
            let _ = self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
