//! Apache Superset, from the virtual environment that `deploy/setup.sh --with-superset` makes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
use crate::folder::{Folder, file};
use crate::process::{Detached, Launch, Probe, Process};
use crate::run::{command, run};

mod rest;

pub use rest::{Answer, Token};

const NAME: &str = "Superset";
const VERSION: &str = "6.1.0";
const EXAMPLES_VERSION: &str = "5.0.0";

/// The `SECRET_KEY` that servers are started with unless the options name another one.
pub const SECRET_KEY: &str = "testbed-secret-key-not-for-production";

/// The user of the templates.
pub const ADMIN: &str = "admin";
/// That user's password.
pub const ADMIN_PASSWORD: &str = "admin";

/// Where Superset keeps its metadata.
#[derive(Debug, Clone)]
pub enum Metadata {
    /// A SQLite file; see [`sqlite_template`].
    Sqlite(PathBuf),
    /// A database URL; `postgres://` is understood as SQLAlchemy's `postgresql://`.
    Url(String),
}

/// How the server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Superset's `SECRET_KEY`; [`SECRET_KEY`] by default.
    pub secret_key: String,
    /// Python lines at the end of `superset_config.py`.
    pub extra_config: String,
    /// Further environment variables of the server.
    pub env: Vec<(String, String)>,
    /// The folder for configuration, home and log; a temporary one by default.
    pub dir: Option<PathBuf>,
    /// The port; a free one by default.
    pub port: Option<u16>,
    /// Deadline of a start and of an end.
    pub ready_within: Duration,
    /// Deadline of one request.
    pub request_within: Duration,
    /// Deadline of one call of [`Superset::cli`].
    pub cli_within: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            secret_key: SECRET_KEY.to_owned(),
            extra_config: String::new(),
            env: Vec::new(),
            dir: None,
            port: None,
            ready_within: Duration::from_secs(120),
            request_within: Duration::from_secs(60),
            cli_within: Duration::from_secs(180),
        }
    }
}

/// A Superset web server with one worker process. Ends with the value.
pub struct Superset {
    // Before the folder: the process must have ended when the folder is removed.
    process: Option<Process>,
    folder: Folder,
    venv: PathBuf,
    port: u16,
    options: Options,
    client: reqwest::Client,
}

impl Superset {
    /// Starts a server on an initialised metadata database, and waits until it answers.
    ///
    /// # Errors
    /// If it is not installed, ends, or does not answer within [`Options::ready_within`].
    pub async fn start(metadata: Metadata, options: Options) -> Result<Superset, Error> {
        let venv = installed("Superset", cache().join(format!("superset-{VERSION}")).join("bin/gunicorn"))?;
        let venv = venv.ancestors().nth(2).expect("the program is two folders deep").to_owned();
        let folder = Folder::new(options.dir.as_deref(), "setkeeper-superset-")?;
        let config = folder.path().join("superset_config.py");
        std::fs::write(&config, python(&metadata, &options)).map_err(file("write", &config))?;
        let built = reqwest::Client::builder().timeout(options.request_within).no_proxy().build();
        let client = built.map_err(|source| Error::Ask {
            name: NAME,
            question: "an HTTP client".to_owned(),
            source: source.into(),
        })?;
        let mut server = Superset { process: None, folder, venv, port: 0, options, client };
        server.spawn().await?;
        Ok(server)
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, if one runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Kills the server with SIGKILL, and returns when it has ended. Without a server, does nothing.
    ///
    /// # Errors
    /// If the process cannot be signalled or does not end.
    pub async fn kill(&mut self) -> Result<(), Error> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(rustix::process::Signal::KILL)?;
        process.wait_end(self.options.ready_within).await?;
        Ok(())
    }

    /// Kills the server if it runs, and starts it with the same metadata and port.
    ///
    /// # Errors
    /// As [`Superset::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.kill().await?;
        self.spawn().await
    }

    /// Runs Superset's own command line with the server's configuration, and returns what it printed. A start of it
    /// takes about eight seconds.
    ///
    /// # Errors
    /// If the command fails or is not done within [`Options::cli_within`].
    pub async fn cli(&self, args: &[&str]) -> Result<String, Error> {
        let mut superset = command([self.venv.join("bin/superset")]);
        superset.args(args).envs(self.env()).current_dir(self.folder.path());
        run(&format!("superset {}", args.join(" ")), superset, b"", self.options.cli_within).await
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

    async fn spawn(&mut self) -> Result<(), Error> {
        // A restart keeps the port that clients know; only a first start may choose another.
        let fixed = self.options.port.or((self.port != 0).then_some(self.port));
        let (process, port) = Process::start(fixed, |port| Ok(self.launch(port))).await?;
        self.port = port;
        self.process = Some(process);
        Ok(())
    }

    fn launch(&self, port: u16) -> Launch {
        let folder = self.folder.path();
        let bind = format!("127.0.0.1:{port}");
        let rest = ["-w", "1", "-k", "gthread", "--threads", "4", "--timeout", "300", "-b", &bind];
        let mut argv = vec![self.venv.join("bin/gunicorn").into_os_string()];
        argv.extend(rest.map(Into::into));
        argv.push("superset.app:create_app()".into());
        Launch {
            name: NAME,
            argv,
            env: self.env().into_iter().map(|(name, value)| (name, value.into())).collect(),
            folder: folder.to_owned(),
            to_remove: self.folder.to_remove().map(Path::to_owned),
            log: folder.join("log"),
            ready_within: self.options.ready_within,
            probe: Probe::Superset(self.client.clone()),
        }
    }

    fn env(&self) -> Vec<(String, String)> {
        let folder = self.folder.path();
        let mut env = vec![
            ("SUPERSET_CONFIG_PATH".to_owned(), folder.join("superset_config.py").display().to_string()),
            ("SUPERSET_HOME".to_owned(), folder.display().to_string()),
            ("FLASK_APP".to_owned(), "superset".to_owned()),
        ];
        env.extend(self.options.env.iter().cloned());
        env
    }
}

/// Whether the server answers requests.
pub(crate) async fn serves(client: &reqwest::Client, port: u16) -> bool {
    let health = client.get(format!("http://127.0.0.1:{port}/health")).send().await;
    health.is_ok_and(|answer| answer.status().is_success())
}

/// The text of `superset_config.py`.
fn python(metadata: &Metadata, options: &Options) -> String {
    // A JSON string is a Python string literal too.
    let literal = |text: &str| serde_json::Value::from(text).to_string();
    let uri = match metadata {
        Metadata::Sqlite(path) => {
            format!("sqlite:///{}", std::path::absolute(path).as_deref().unwrap_or(path).display())
        }
        Metadata::Url(url) => match url.strip_prefix("postgres://") {
            Some(rest) => format!("postgresql+psycopg2://{rest}"),
            None => url.clone(),
        },
    };
    let mut text = String::from("from datetime import timedelta\n\n");
    for (name, value) in [
        ("SECRET_KEY", literal(&options.secret_key)),
        ("SQLALCHEMY_DATABASE_URI", literal(&uri)),
        ("WTF_CSRF_ENABLED", "False".to_owned()),
        ("TALISMAN_ENABLED", "False".to_owned()),
        // SQLite files as data are refused otherwise.
        ("PREVENT_UNSAFE_DB_CONNECTIONS", "False".to_owned()),
        // A token outlives the longest test; Superset's own limit is 15 minutes.
        ("JWT_ACCESS_TOKEN_EXPIRES", "timedelta(days=1)".to_owned()),
    ] {
        writeln!(text, "{name} = {value}").expect("a String takes all");
    }
    text + &options.extra_config + "\n"
}

/// Copies the metadata database of an initialised Superset, user `admin` with password `admin` included, to `to`.
///
/// # Errors
/// If the template is not there, or the file cannot be written.
pub fn sqlite_template(to: &Path) -> Result<(), Error> {
    let from =
        installed("Superset's metadata template", cache().join(format!("superset-{VERSION}-metadata.db")))?;
    std::fs::copy(&from, to).map_err(file("write", to))?;
    Ok(())
}

/// The SQL dump of the same on PostgreSQL; [`crate::Postgres::restore_template`] restores it.
pub(crate) fn postgres_template() -> Result<PathBuf, Error> {
    installed("Superset's metadata dump", cache().join(format!("superset-{VERSION}-metadata.sql")))
}

/// The folder of Superset 5.0's own examples as a v1 bundle without `databases/`: 82 charts, 7 dashboards and 17
/// datasets of the database `a2dc77af-e654-49bb-b321-40f6b559a1ee`.
///
/// # Errors
/// If they are not there.
pub fn examples() -> Result<PathBuf, Error> {
    installed("Superset's examples", cache().join(format!("superset-{EXAMPLES_VERSION}-examples")))
}

/// A file or folder that `deploy/setup.sh` installs, if it is there.
pub(crate) fn installed(what: &'static str, path: PathBuf) -> Result<PathBuf, Error> {
    if path.exists() { Ok(path) } else { Err(Error::Missing { what, path }) }
}

/// Where `deploy/setup.sh` puts things.
pub(crate) fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").unwrap_or_default().join(".cache");
    set("XDG_CACHE_HOME").unwrap_or_else(home).join("setkeeper")
}
