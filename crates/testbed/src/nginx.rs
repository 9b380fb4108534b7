//! An nginx, Debian's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::Error;
use crate::folder::{Folder, file};
use crate::process::{Detached, Launch, Probe, Process};

const NAME: &str = "nginx";
const PROGRAM: &str = "/usr/sbin/nginx";

/// How the server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for configuration and log; a temporary one by default.
    pub dir: Option<PathBuf>,
    /// The port; a free one by default.
    pub port: Option<u16>,
    /// What stands in its `server` block: `location / { proxy_pass http://superset; }`. What that needs may stand in
    /// files `conf.d/*.conf` of the folder.
    pub server: String,
    /// Deadline of a start and of an end.
    pub ready_within: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { dir: None, port: None, server: String::new(), ready_within: Duration::from_secs(30) }
    }
}

/// An nginx, master and one worker. Ends with the value.
pub struct Nginx {
    // Before the folder: the process must have ended when the folder is removed.
    process: Option<Process>,
    folder: Folder,
    port: u16,
    options: Options,
}

impl Nginx {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// If it is not installed, refuses its configuration, or is not ready in time.
    pub async fn start(options: Options) -> Result<Nginx, Error> {
        if !Path::new(PROGRAM).exists() {
            return Err(Error::Missing { what: "nginx", path: PROGRAM.into() });
        }
        let folder = Folder::new(options.dir.as_deref(), "setkeeper-nginx-")?;
        let mut server = Nginx { process: None, folder, port: 0, options };
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

    /// The master process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Its configuration, for `nginx -t -c` and `nginx -s reload -c`.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("nginx.conf")
    }

    /// Lets it read its configuration anew (SIGHUP). It goes on with the old one if the new one is wrong.
    ///
    /// # Errors
    /// If it does not run.
    pub fn reload(&self) -> Result<(), Error> {
        let stopped = Error::State { doing: "reload", name: NAME, state: "does not run" };
        self.process.as_ref().ok_or(stopped)?.signal_leader(Signal::HUP)
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
        let (at, server) = (folder.display(), &self.options.server);
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("    {kind}_temp_path {at}/temporary/{kind};\n"))
            .concat();
        let config = format!(
            "daemon off;\nworker_processes 1;\npid {at}/nginx.pid;\nerror_log stderr warn;\n\
             events {{ worker_connections 512; }}\nhttp {{\n{temporary}    access_log off;\n    \
             include {at}/conf.d/*.conf;\n    server {{\n        listen 127.0.0.1:{port};\n        {server}\n    }}\n}}\n"
        );
        let temporary = folder.join("temporary");
        std::fs::create_dir_all(&temporary).map_err(file("make the folder", &temporary))?;
        std::fs::write(self.config(), config).map_err(file("write", &self.config()))?;
        let argv =
            [PROGRAM.into(), "-e".into(), "stderr".into(), "-c".into(), self.config().into_os_string()];
        Ok(Launch {
            name: NAME,
            argv: argv.into(),
            env: Vec::new(),
            folder: folder.to_owned(),
            to_remove: self.folder.to_remove().map(Path::to_owned),
            log: folder.join("log"),
            ready_within: self.options.ready_within,
            probe: Probe::Tcp,
        })
    }
}
