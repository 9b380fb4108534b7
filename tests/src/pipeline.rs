//! The harness: the real program on a real ZooKeeper and a real metadata database of Superset, for one test.
//!
//! ```ignore
//! let pipeline = Pipeline::start(Metadata::Sqlite, Options::default()).await;
//! let put = pipeline.put("assets/main/databases/wh", &database).await;
//! pipeline.await_outcome(&put, "applied").await;
//! pipeline.await_equal().await;
//! assert_eq!(pipeline.superset("SELECT database_name FROM dbs").await, [["wh"]]);
//! ```
//!
//! Every wait has a deadline, and says at its end what it saw last and what the workers logged. Everything that was
//! started ends with the [`Pipeline`], or with the test's process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use change::{ChangeId, ZnodePath};
use tempfile::TempDir;
use testbed::{Zookeeper, zookeeper};

mod databases;
pub(crate) mod documents;
pub(crate) mod program;
mod smoke;
mod waits;
mod worker;
mod writes;

pub(crate) use databases::{Metadata, Store, sqlite};
pub(crate) use waits::{OutcomeRow, Stand, difference};
pub(crate) use worker::{Role, Worker};
pub(crate) use writes::{Edit, connect};

/// The environment's name in ZooKeeper; every test has a ZooKeeper of its own.
pub(crate) const ENV: &str = "test";
/// The target's name.
pub(crate) const TARGET: &str = "superset";

/// Which program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// As released.
    Setkeeper,
    /// The same with faults on purpose.
    Faults,
}

/// How a pipeline is set up.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The workers to start: all in one process by default.
    pub(crate) workers: Vec<Role>,
    /// Keys over the harness's configuration: `("deletes.guard_count", "3")`.
    pub(crate) settings: Vec<(String, String)>,
    /// Lines at the end of the only `[[target]]`.
    pub(crate) target: String,
    /// Further environment variables of every process.
    pub(crate) env: Vec<(String, String)>,
    /// ZooKeeper's tick; sessions last at least two.
    pub(crate) tick: Duration,
    /// Which program.
    pub(crate) program: Program,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            workers: vec![Role::All],
            settings: Vec::new(),
            target: String::new(),
            env: Vec::new(),
            tick: Duration::from_millis(500),
            program: Program::Setkeeper,
        }
    }
}

impl Options {
    /// One process a worker.
    pub(crate) fn apart(mut self) -> Options {
        self.workers = vec![Role::Watcher, Role::Applier, Role::Auditor];
        self
    }

    /// No worker yet: [`Pipeline::start_worker`] starts them.
    pub(crate) fn idle(mut self) -> Options {
        self.workers.clear();
        self
    }

    /// One key of the configuration.
    pub(crate) fn set(mut self, key: &str, value: impl ToString) -> Options {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }
}

/// ZooKeeper, Superset's metadata database, and setkeeper between them.
pub(crate) struct Pipeline {
    /// A server of its own: kill it, stop it, wipe it.
    pub(crate) zookeeper: Zookeeper,
    /// Superset's metadata database.
    pub(crate) metadata: Store,
    /// A session of the test, below the environment's root.
    pub(crate) session: zk::Session,
    /// `n` of the generation that stood at the start; [`ChangeId`]s of writes begin with it.
    pub(crate) generation: u64,
    /// Starts processes without the pipeline, for those who have it torn apart.
    pub(crate) launcher: Launcher,
    workers: BTreeMap<Role, Worker>,
    // Last: what is in it must have ended.
    folder: TempDir,
}

impl Pipeline {
    /// Starts ZooKeeper, makes the metadata database, the environment and the ledger, and starts the workers. Does
    /// not wait for them.
    pub(crate) async fn start(metadata: Metadata, options: Options) -> Pipeline {
        program::build().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let zookeeper = zookeeper::Options { tick: options.tick, ..zookeeper::Options::default() };
        let (zookeeper, metadata) =
            tokio::join!(Zookeeper::start(zookeeper), Store::make(metadata, folder.path()));
        let zookeeper = zookeeper.expect("zookeeper starts");
        write_configuration(folder.path(), &zookeeper, &metadata, &options);
        let session = connect(&zookeeper.connect()).await;
        let launcher = Launcher { folder: folder.path().to_owned(), options };
        let workers = BTreeMap::new();
        let mut pipeline =
            Pipeline { zookeeper, metadata, session, generation: 0, launcher, workers, folder };
        pipeline.must(&["init"]).await;
        pipeline.must(&["init-db"]).await;
        let generation = pipeline.session.generation().await.expect("a generation");
        pipeline.generation = generation.expect("`init` has made one").n;
        for role in pipeline.launcher.options.workers.clone() {
            pipeline.start_worker(role).await;
        }
        pipeline
    }

    /// The folder of the configuration, the queue (`queue.db`), the audit (`audit.db`) and the logs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder().join("setkeeper.toml")
    }

    /// Runs a command of setkeeper to its end: `&["status", "-o", "json"]`.
    pub(crate) async fn setkeeper(&self, arguments: &[&str]) -> Output {
        self.setkeeper_with(arguments, b"").await
    }

    /// The same with something on standard input.
    pub(crate) async fn setkeeper_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        program::run(self.launcher.command(), arguments, input).await
    }

    /// Runs a command that has to succeed, and returns what it printed.
    pub(crate) async fn must(&self, arguments: &[&str]) -> String {
        let output = self.setkeeper(arguments).await;
        let (printed, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "setkeeper {arguments:?}: {}\n{printed}\n{said}", output.status);
        printed.into_owned()
    }

    /// A new session for the test, after its own has expired.
    pub(crate) async fn reconnect(&mut self) {
        self.session = connect(&self.zookeeper.connect()).await;
    }

    /// Starts a worker. One of that role that runs already is killed.
    pub(crate) async fn start_worker(&mut self, role: Role) {
        self.start_worker_with(role, &[]).await;
    }

    /// The same with further environment variables (`SETKEEPER_FAIL`, `SETKEEPER_BROKEN`).
    pub(crate) async fn start_worker_with(&mut self, role: Role, env: &[(&str, &str)]) {
        self.kill_worker(role).await;
        let worker = self.launcher.spawn(role, env);
        self.workers.insert(role, worker);
    }

    /// Kills a worker with SIGKILL; none is as good as a dead one.
    pub(crate) async fn kill_worker(&mut self, role: Role) {
        if let Some(mut worker) = self.workers.remove(&role) {
            worker.kill().await;
        }
    }

    /// The running worker of that role.
    pub(crate) fn worker(&mut self, role: Role) -> &mut Worker {
        self.workers.get_mut(&role).expect("a worker of that role runs")
    }

    /// The end of what the processes of a role have logged.
    pub(crate) fn logged(&self, role: Role) -> String {
        let text = std::fs::read(self.launcher.log(role)).unwrap_or_default();
        let from = text.len().saturating_sub(6_000);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    fn logs(&self) -> String {
        let roles = Role::EVERY.into_iter().filter(|role| self.launcher.log(*role).exists());
        roles.map(|role| format!("--- {}\n{}\n", role.command(), self.logged(role))).collect()
    }

    /// Rows of Superset's metadata database, each value as text, NULL as `NULL`.
    pub(crate) async fn superset(&self, sql: &str) -> Vec<Vec<String>> {
        self.metadata.fetch(sql).await.expect("the metadata database answers")
    }

    /// Rows of the audit database, in the same form.
    pub(crate) async fn audit(&self, sql: &str) -> Vec<Vec<String>> {
        sqlite(&self.folder().join("audit.db"), sql).await.expect("the audit database answers")
    }

    /// The id of the delete of the life that `put` belongs to.
    pub(crate) fn delete_of(put: &ChangeId) -> ChangeId {
        ChangeId { version: None, ..put.clone() }
    }
}

/// What it takes to start a process of setkeeper.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    folder: PathBuf,
    options: Options,
}

impl Launcher {
    fn command(&self) -> tokio::process::Command {
        let mut command = program::command(self.options.program, &self.folder.join("setkeeper.toml"));
        for (key, value) in &self.options.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command.envs(self.options.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts a process of that role which the caller keeps.
    pub(crate) fn spawn(&self, role: Role, env: &[(&str, &str)]) -> Worker {
        let mut command = self.command();
        command.envs(env.iter().copied());
        Worker::start(command, role, &self.log(role))
    }

    fn log(&self, role: Role) -> PathBuf {
        self.folder.join(format!("{}.log", role.command().replace(' ', "-")))
    }
}

/// A path below the environment's root.
pub(crate) fn path(text: &str) -> ZnodePath {
    text.parse().expect("a path")
}

fn write_configuration(folder: &Path, zookeeper: &Zookeeper, metadata: &Store, options: &Options) {
    let secret_key = folder.join("secret_key");
    std::fs::write(&secret_key, testbed::superset::SECRET_KEY).expect("writable");
    let text = format!(
        "env = \"{ENV}\"\n[zookeeper]\nconnect = \"{connect}\"\nsession_timeout = \"{session}ms\"\n\
         connect_timeout = \"5s\"\n[queue]\npath = \"{queue}\"\n[audit]\nurl = \"sqlite://{audit}\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[run]\nrestart_pause_max = \"500ms\"\n\
         [[target]]\nname = \"{TARGET}\"\nurl = \"{url}\"\nsecret_key = \"file:{secret_key}\"\n{target}\n",
        connect = zookeeper.connect(),
        session = options.tick.as_millis() * 2,
        queue = folder.join("queue.db").display(),
        audit = folder.join("audit.db").display(),
        url = metadata.url(),
        secret_key = secret_key.display(),
        target = options.target,
    );
    std::fs::write(folder.join("setkeeper.toml"), text).expect("writable");
}
