//! A ZooKeeper with an environment, programs on it, and servers that register there.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Zookeeper, zookeeper};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Child;
use zk::Registration;

use crate::pipeline::{self, Program, program};
use crate::until::until;

/// ZooKeeper, and a folder with a configuration.
pub(super) struct Fleet {
    pub(super) zookeeper: Zookeeper,
    pub(super) session: zk::Session,
    // Last: what is in it must have ended.
    folder: TempDir,
}

impl Fleet {
    /// Starts ZooKeeper and makes the environment. `templates` makes the `[[template]]` sections for the folder.
    pub(super) async fn start(templates: impl FnOnce(&Path) -> String) -> Fleet {
        program::build().await;
        let folder = tempfile::tempdir().expect("a folder");
        let zookeeper = Zookeeper::start(zookeeper::Options::default()).await.expect("zookeeper starts");
        let text = format!(
            "env = \"{}\"\n[zookeeper]\nconnect = \"{}\"\nsession_timeout = \"1s\"\nconnect_timeout = \"5s\"\n\
             [queue]\npath = \"queue.db\"\n[audit]\nurl = \"sqlite://{}/audit.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [run]\nrestart_pause_max = \"500ms\"\n{}",
            pipeline::ENV,
            zookeeper.connect(),
            folder.path().display(),
            templates(folder.path()),
        );
        std::fs::write(folder.path().join("setkeeper.toml"), text).expect("written");
        let session = pipeline::connect(&zookeeper.connect()).await;
        let fleet = Fleet { zookeeper, session, folder };
        fleet.must(&["init"]).await;
        fleet
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn put(&self, name: &str, text: &str) {
        std::fs::write(self.at(name), text).expect("written");
    }

    /// A file's text; of a file that is not there, nothing.
    pub(super) fn get(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    /// Runs a command to its end.
    pub(super) async fn setkeeper(&self, arguments: &[&str]) -> Output {
        let command = program::command(Program::Setkeeper, &self.at("setkeeper.toml"));
        program::run(command, arguments, b"").await
    }

    /// Runs a command that has to succeed, and returns what it printed.
    pub(super) async fn must(&self, arguments: &[&str]) -> String {
        let (code, printed, said) = self.ends(arguments).await;
        assert_eq!(code, 0, "setkeeper {arguments:?}: {printed}\n{said}");
        printed
    }

    /// Runs a command to its end: exit code, standard output, standard error.
    pub(super) async fn ends(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.setkeeper(arguments).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Starts a program that runs on; it is killed with its value.
    pub(super) fn run(&self, arguments: &[&str]) -> Running {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let log = self.at(&format!("{}.log", NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = std::fs::File::create(&log).expect("a log");
        let mut command = program::command(Program::Setkeeper, &self.at("setkeeper.toml"));
        command.args(arguments).stdout(file.try_clone().expect("a log")).stderr(file);
        Running { log, child: command.spawn().expect("the program starts") }
    }

    /// Registers an instance at a port of this machine, in the test's own session.
    pub(super) async fn register(&self, service: &str, instance: &str, port: u16) -> Registration {
        let registered =
            self.session.register(service, instance, &registration(service, instance, port)).await;
        registered.expect("registered")
    }

    /// What `status -o json` says of the only file.
    pub(super) async fn status(&self) -> Value {
        let (_, printed, said) = self.ends(&["status", "-o", "json"]).await;
        let status: Value = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}\n{said}"));
        status["files"][0].clone()
    }

    /// Waits until the only file is told to be in that state.
    pub(super) async fn stands(&self, state: &str) -> Value {
        until(&format!("the file is {state}"), async || {
            let status = self.status().await;
            if status["state"] == state { Ok(status) } else { Err(status.to_string()) }
        })
        .await
    }

    /// Waits until a file holds exactly that.
    pub(super) async fn holds(&self, name: &str, text: &str) {
        until(&format!("{name} holds `{text}`"), async || {
            let found = self.get(name);
            if found == text { Ok(()) } else { Err(found) }
        })
        .await;
    }
}

/// Curator's bytes.
pub(super) fn registration(service: &str, instance: &str, port: u16) -> Vec<u8> {
    let instance = json!({"name": service, "id": instance, "address": "127.0.0.1", "port": port, "sslPort": null,
        "payload": {"version": "6.1.0", "weight": 1}, "registrationTimeUTC": 0, "serviceType": "DYNAMIC",
        "uriSpec": null});
    instance.to_string().into_bytes()
}

/// A program that runs on.
pub(super) struct Running {
    log: PathBuf,
    child: Child,
}

impl Running {
    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).expect("it runs");
        kill_process(pid, signal).expect("it runs");
    }

    /// A page of its port, with its status.
    pub(super) async fn page(&self, path: &str) -> (u16, String) {
        let port = until("the port is told", async || {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let port =
                log.split_once("listen=127.0.0.1:").and_then(|(_, rest)| rest.split_whitespace().next());
            port.and_then(|port| port.parse::<u16>().ok()).ok_or(log)
        })
        .await;
        match reqwest::get(format!("http://127.0.0.1:{port}/{path}")).await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(error) => (0, error.to_string()),
        }
    }

    /// A sample of its metrics: `setkeeper_discovery_age_seconds`.
    pub(super) async fn metric(&self, sample: &str) -> Option<f64> {
        let (_, text) = self.page("metrics").await;
        text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
    }
}

/// A server that answers every request with its name.
pub(super) struct Backend {
    pub(super) port: u16,
    serving: tokio::task::JoinHandle<()>,
}

impl Backend {
    pub(super) async fn start(name: &'static str) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // One read holds such a small request.
                    let _ = stream.read(&mut [0; 4096]).await;
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{name}",
                        name.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Backend { port, serving }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Another process that holds a registration.
pub(super) struct Holder(Child);

const HOLD: &str = "SETKEEPER_TESTS_HOLD";

impl Holder {
    /// Starts it, and waits until it has registered `instance` of `superset` at a port.
    pub(super) async fn start(fleet: &Fleet, instance: &str, port: u16) -> Holder {
        let mut command = tokio::process::Command::new(std::env::current_exe().expect("a path"));
        command
            .args(["--exact", "discovery::fleet::the_holder_of_a_registration", "--nocapture"])
            .env(HOLD, format!("{} {instance} {port}", fleet.zookeeper.connect()))
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the test's own program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        loop {
            let line = lines.next_line().await.expect("text").expect("it registers before it ends");
            if line == "registered" {
                return Holder(child);
            }
        }
    }

    /// SIGKILL: nothing says goodbye to ZooKeeper.
    pub(super) async fn kill(mut self) {
        self.0.kill().await.expect("it ran");
    }
}

/// Not a test by itself: the process that others start and kill.
#[tokio::test]
async fn the_holder_of_a_registration() {
    let Ok(given) = std::env::var(HOLD) else { return };
    let mut parts = given.split(' ');
    let mut next = || parts.next().expect("three parts");
    let (hosts, instance, port) = (next(), next(), next().parse().expect("a port"));
    let mut config = zk::Config::new(hosts, pipeline::ENV);
    config.session_timeout = Duration::from_secs(1);
    let session = zk::Session::connect(&config).await.expect("a session");
    let bytes = registration("superset", instance, port);
    let _registration = session.register("superset", instance, &bytes).await.expect("registered");
    println!("\nregistered");
    std::future::pending::<()>().await;
}
