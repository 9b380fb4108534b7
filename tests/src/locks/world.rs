//! A ZooKeeper, an environment in it, and the program under test.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;
use testbed::{Zookeeper, zookeeper};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::pipeline::{Program, program};
use crate::until::until;

/// Sessions last so long: short, for those tests that wait for one to expire, and long enough for a busy machine.
pub(super) const SESSION: Duration = Duration::from_secs(4);

pub(super) struct World {
    pub(super) zookeeper: Zookeeper,
    pub(super) session: zk::Session,
    folder: TempDir,
}

impl World {
    pub(super) async fn start() -> World {
        program::build().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let zookeeper = Zookeeper::start(zookeeper::Options::default()).await.expect("zookeeper starts");
        configure(&folder.path().join("setkeeper.toml"), &zookeeper.connect());
        let config = zk::Config { session_timeout: SESSION, ..zk::Config::new(zookeeper.connect(), "test") };
        let session = zk::Session::connect(&config).await.expect("a session");
        session.init().await.expect("an environment");
        World { zookeeper, session, folder }
    }

    /// A file of the test's own.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.file("setkeeper.toml")
    }

    /// A configuration that reaches ZooKeeper at another address: through a proxy.
    pub(super) fn configuration_by(&self, connect: &str) -> PathBuf {
        let file = self.file("by-proxy.toml");
        configure(&file, connect);
        file
    }

    /// Runs the program to its end.
    pub(super) async fn setkeeper(&self, arguments: &[&str]) -> Output {
        program::run(program::command(Program::Setkeeper, &self.configuration()), arguments, b"").await
    }

    /// Runs the program to its end, and returns its exit code.
    pub(super) async fn code(&self, arguments: &[&str]) -> i32 {
        let output = self.setkeeper(arguments).await;
        output.status.code().unwrap_or_else(|| panic!("{arguments:?}: {output:?}"))
    }

    /// `setkeeper lock run <options> -- sh -c <script>`, in the background.
    pub(super) fn lock_run(&self, options: &[&str], script: &str) -> Running {
        self.lock_run_by(&self.configuration(), options, script)
    }

    pub(super) fn lock_run_by(&self, configuration: &Path, options: &[&str], script: &str) -> Running {
        let mut command = program::command(Program::Setkeeper, configuration);
        command.args(["lock", "run"]).args(options).args(["--", "sh", "-c", script]);
        Running::start(command)
    }

    /// As [`World::lock_run`], with standard error to a pipe of the caller's.
    pub(super) fn lock_run_deaf(
        &self,
        options: &[&str],
        script: &str,
        errors: &std::io::PipeWriter,
    ) -> Running {
        let mut command = program::command(Program::Setkeeper, &self.configuration());
        command.args(["lock", "run"]).args(options).args(["--", "sh", "-c", script]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command.stderr(errors.try_clone().expect("a pipe's end"));
        Running(command.spawn().expect("the program starts"))
    }

    /// Waits until so many are in the lock's queue.
    pub(super) async fn queued(&self, name: &str, count: usize) {
        until(&format!("{count} in the queue of {name}"), async || {
            let queue = self.session.lock_state(name).await.expect("the lock's state").queue;
            if queue.len() == count { Ok(()) } else { Err(queue) }
        })
        .await;
    }
}

fn configure(file: &Path, connect: &str) {
    let text = format!(
        "env = \"test\"\n[zookeeper]\nconnect = \"{connect}\"\nconnect_timeout = \"5s\"\n\
         [lock]\nsession_timeout = \"{}ms\"\n",
        SESSION.as_millis()
    );
    std::fs::write(file, text).expect("writable");
}

/// A program in the background. It ends with the value.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Running(command.spawn().expect("the program starts"))
    }

    pub(super) fn signal(&self, signal: Signal) {
        let id = self.0.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).expect("it runs");
        kill_process(id, signal).expect("it can be signalled");
    }

    /// Waits for its end.
    pub(super) async fn end(self) -> Output {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.0.wait_with_output()).await;
        ended.expect("it ends within a minute").expect("it ran")
    }

    pub(super) async fn code(self) -> i32 {
        let output = self.end().await;
        output.status.code().unwrap_or_else(|| panic!("{output:?}"))
    }
}

/// A file's text once a whole line is there.
pub(super) async fn line(file: &Path) -> String {
    until(&format!("a line in {}", file.display()), async || match std::fs::read_to_string(file) {
        Ok(text) if text.ends_with('\n') => Ok(text.trim_end().to_owned()),
        other => Err(other),
    })
    .await
}

/// Whether a process runs.
pub(super) fn lives(id: &str) -> bool {
    let pid = id.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}

/// A way to a server that can be held up, without either side hearing of it.
pub(super) struct Line {
    pub(super) connect: String,
    held_up: watch::Sender<bool>,
}

impl Line {
    pub(super) async fn to(server: String) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let connect = listener.local_addr().expect("an address").to_string();
        let held_up = watch::Sender::new(false);
        let told = held_up.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let ((from, to), (back, forth)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from, forth, told.clone()));
                tokio::spawn(pass(back, to, told.clone()));
            }
        });
        Line { connect, held_up }
    }

    pub(super) fn hold_up(&self, yes: bool) {
        self.held_up.send_replace(yes);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut held_up: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if held_up.wait_for(|held_up| !held_up).await.is_err() || to.write_all(&bytes[..read]).await.is_err()
        {
            return;
        }
    }
}
