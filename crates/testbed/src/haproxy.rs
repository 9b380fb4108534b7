//! An HAProxy, Debian's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::Error;
use crate::folder::{Folder, file};
use crate::process::{Detached, Launch, Probe, Process};

const NAME: &str = "HAProxy";
const PROGRAM: &str = "/usr/sbin/haproxy";

/// How the server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for configuration and log; a temporary one by default.
    pub dir: Option<PathBuf>,
    /// The port; a free one by default.
    pub port: Option<u16>,
    /// Where its frontend sends everything. The backend stands in a file `conf.d/*.cfg` of the folder.
    pub backend: String,
    /// Deadline of a start and of an end.
    pub ready_within: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            dir: None,
            port: None,
            backend: "superset".to_owned(),
            ready_within: Duration::from_secs(30),
        }
    }
}

/// An HAProxy, master and one worker. Ends with the value.
pub struct Haproxy {
    // Before the folder: the process must have ended when the folder is removed.
    process: Option<Process>,
    folder: Folder,
    port: u16,
    options: Options,
}

impl Haproxy {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// If it is not installed, refuses its configuration, or is not ready in time.
    pub async fn start(options: Options) -> Result<Haproxy, Error> {
        if !Path::new(PROGRAM).exists() {
            return Err(Error::Missing { what: "HAProxy", path: PROGRAM.into() });
        }
        let folder = Folder::new(options.dir.as_deref(), "setkeeper-haproxy-")?;
        let mut server = Haproxy { process: None, folder, port: 0, options };
        let (process, port) = Process::start(server.options.port, |port| server.launch(port)).await?;
        (server.process, server.port) = (Some(process), port);
        Ok(server)
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The master process, if it runs: SIGUSR2 lets it read its configuration anew.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Its configuration; the backends stand in `conf.d` beside it.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("haproxy.cfg")
    }

    /// Lets it read its configuration anew (SIGUSR2). It goes on with the old one if the new one is wrong.
    ///
    /// # Errors
    /// If it does not run.
    pub fn reload(&self) -> Result<(), Error> {
        let stopped = Error::State { doing: "reload", name: NAME, state: "does not run" };
        self.process.as_ref().ok_or(stopped)?.signal_leader(Signal::USR2)
    }

    /// Leaves it running when this process ends.
    ///
    /// # Errors
    /// If it does not run.
    pub fn detach(self) -> Result<Detached, Error> {
        let stopped = Error::State { doing: "detach", name: NAME, state: "does not run" };
        let pid = self.process.ok_or(stopped)?.detach();
        Ok(Detached { pid, folder: self.folder.keep() })
    }

    fn launch(&self, port: u16) -> Result<Launch, Error> {
        let folder = self.folder.path();
        let inner = folder.join("conf.d");
        std::fs::create_dir_all(&inner).map_err(file("make the folder", &inner))?;
        let backend = &self.options.backend;
        let config = format!(
            "global\n    maxconn 512\n    nbthread 1\n    hard-stop-after 5s\n\
             defaults\n    mode http\n    timeout connect 2s\n    timeout client 10s\n    timeout server 10s\n    \
             timeout check 1s\n    default-server inter 500ms\n\
             frontend front\n    bind 127.0.0.1:{port}\n    default_backend {backend}\n"
        );
        std::fs::write(self.config(), config).map_err(file("write", &self.config()))?;
        let argv = [PROGRAM.into(), "-W".into(), "-db".into(), "-f".into(), self.config().into_os_string()];
        let rest = ["-f".into(), inner.into_os_string()];
        Ok(Launch {
            name: NAME,
            argv: argv.into_iter().chain(rest).collect(),
            env: Vec::new(),
            folder: folder.to_owned(),
            to_remove: self.folder.to_remove().map(Path::to_owned),
            log: folder.join("log"),
            ready_within: self.options.ready_within,
            probe: Probe::Tcp,
        })
    }
}
