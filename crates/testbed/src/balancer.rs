//! A load balancer in front of other servers: Debian's nginx or HAProxy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::Error;
use crate::folder::{Folder, file};
use crate::process::{Detached, Launch, Probe, Process};

/// Which program balances, and how it is set up.
#[derive(Debug, Clone)]
pub enum Program {
    /// nginx, with what stands in its `server` block: `location / { proxy_pass http://superset; }`. What that needs may
    /// stand in files `conf.d/*.conf` of the folder.
    Nginx {
        /// The inside of the `server` block.
        server: String,
    },
    /// HAProxy, whose frontend sends everything to one backend. It stands in a file `conf.d/*.cfg` of the folder.
    Haproxy {
        /// The backend's name.
        backend: String,
    },
}

impl Program {
    fn name(&self) -> &'static str {
        match self {
            Program::Nginx { .. } => "nginx",
            Program::Haproxy { .. } => "HAProxy",
        }
    }

    fn path(&self) -> &'static str {
        match self {
            Program::Nginx { .. } => "/usr/sbin/nginx",
            Program::Haproxy { .. } => "/usr/sbin/haproxy",
        }
    }

    fn config_name(&self) -> &'static str {
        match self {
            Program::Nginx { .. } => "nginx.conf",
            Program::Haproxy { .. } => "haproxy.cfg",
        }
    }

    /// What the master process reads its configuration anew for. It goes on with the old one if the new one is wrong.
    fn reload_signal(&self) -> Signal {
        match self {
            Program::Nginx { .. } => Signal::HUP,
            Program::Haproxy { .. } => Signal::USR2,
        }
    }

    /// Its arguments, with the configuration at `config` and what that includes in `inner`.
    fn arguments(&self, config: &Path, inner: &Path) -> Vec<std::ffi::OsString> {
        match self {
            Program::Nginx { .. } => {
                ["-e", "stderr", "-c"].map(Into::into).into_iter().chain([config.into()]).collect()
            }
            Program::Haproxy { .. } => {
                vec!["-W".into(), "-db".into(), "-f".into(), config.into(), "-f".into(), inner.into()]
            }
        }
    }

    fn config(&self, folder: &Path, port: u16) -> Result<String, Error> {
        let at = folder.display();
        match self {
            Program::Nginx { server } => {
                let temporary = folder.join("temporary");
                std::fs::create_dir_all(&temporary).map_err(file("make the folder", &temporary))?;
                let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|kind| format!("    {kind}_temp_path {at}/temporary/{kind};\n"))
                    .concat();
                Ok(format!(
                    "daemon off;\nworker_processes 1;\npid {at}/nginx.pid;\nerror_log stderr warn;\n\
                     events {{ worker_connections 512; }}\nhttp {{\n{temporary}    access_log off;\n    \
                     include {at}/conf.d/*.conf;\n    server {{\n        listen 127.0.0.1:{port};\n        {server}\n    \
                     }}\n}}\n"
                ))
            }
            Program::Haproxy { backend } => Ok(format!(
                "global\n    maxconn 512\n    nbthread 1\n    hard-stop-after 5s\n\
                 defaults\n    mode http\n    timeout connect 2s\n    timeout client 10s\n    timeout server 10s\n    \
                 timeout check 1s\n    default-server inter 500ms\n\
                 frontend front\n    bind 127.0.0.1:{port}\n    default_backend {backend}\n"
            )),
        }
    }
}

/// How the server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for configuration and log; a temporary one by default.
    pub dir: Option<PathBuf>,
    /// The port; a free one by default.
    pub port: Option<u16>,
    /// Deadline of a start and of an end.
    pub ready_within: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { dir: None, port: None, ready_within: Duration::from_secs(30) }
    }
}

/// A load balancer, master and one worker. Ends with the value.
pub struct Balancer {
    // Before the folder: the process must have ended when the folder is removed.
    process: Option<Process>,
    folder: Folder,
    port: u16,
    program: Program,
    options: Options,
}

impl Balancer {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// If it is not installed, refuses its configuration, or is not ready in time.
    pub async fn start(program: Program, options: Options) -> Result<Balancer, Error> {
        if !Path::new(program.path()).exists() {
            return Err(Error::Missing { what: program.name(), path: program.path().into() });
        }
        let folder = Folder::new(options.dir.as_deref(), "setkeeper-balancer-")?;
        let mut server = Balancer { process: None, folder, port: 0, program, options };
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

    /// Its configuration, for `nginx -t -c` and `nginx -s reload -c`; what it includes stands in `conf.d` beside it.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join(self.program.config_name())
    }

    /// Lets it read its configuration anew (nginx by SIGHUP, HAProxy by SIGUSR2). It goes on with the old one if the
    /// new one is wrong.
    ///
    /// # Errors
    /// If it does not run.
    pub fn reload(&self) -> Result<(), Error> {
        let process = self.process.as_ref().ok_or_else(|| self.stopped("reload"))?;
        process.signal_leader(self.program.reload_signal())
    }

    /// Leaves it running when this process ends.
    ///
    /// # Errors
    /// If it does not run.
    pub fn detach(self) -> Result<Detached, Error> {
        let stopped = self.stopped("detach");
        let pid = self.process.ok_or(stopped)?.detach();
        Ok(Detached { pid, folder: self.folder.keep() })
    }

    fn stopped(&self, doing: &'static str) -> Error {
        Error::State { doing, name: self.program.name(), state: "does not run" }
    }

    fn launch(&self, port: u16) -> Result<Launch, Error> {
        let folder = self.folder.path();
        let inner = folder.join("conf.d");
        std::fs::create_dir_all(&inner).map_err(file("make the folder", &inner))?;
        let config = self.program.config(folder, port)?;
        std::fs::write(self.config(), config).map_err(file("write", &self.config()))?;
        let mut argv = vec![self.program.path().into()];
        argv.extend(self.program.arguments(&self.config(), &inner));
        Ok(Launch {
            name: self.program.name(),
            argv,
            env: Vec::new(),
            folder: folder.to_owned(),
            to_remove: self.folder.to_remove().map(Path::to_owned),
            log: folder.join("log"),
            ready_within: self.options.ready_within,
            probe: Probe::Tcp,
        })
    }
}
