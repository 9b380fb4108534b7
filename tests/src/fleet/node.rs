//! One node: a stand-in for Superset and its agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::pipeline;

/// One node. What runs ends with the value.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) port: u16,
    agent: Option<Child>,
}

impl Node {
    /// Makes a node whose agent is configured with these lines; nothing runs yet.
    pub(super) fn new(folder: &Path, name: &str, zookeeper: &str, lines: &str) -> Node {
        let folder = folder.join(name);
        fs::create_dir_all(folder.join("python")).expect("a folder");
        let port = free_port();
        let shown = folder.display();
        let text = format!(
            "env = \"{env}\"\n[zookeeper]\nconnect = \"{zookeeper}\"\nsession_timeout = \"4s\"\n\
             connect_timeout = \"5s\"\n[http]\nlisten = \"127.0.0.1:0\"\n[run]\nrestart_pause_max = \"500ms\"\n\
             [agent]\ninstance = \"{name}\"\naddress = \"127.0.0.1\"\nport = {port}\n\
             health_url = \"http://127.0.0.1:{port}/health\"\nhealth_every = \"100ms\"\nfailures = 2\n\
             live_file = \"{shown}/live.json\"\ndrain_grace = \"100ms\"\n\
             restart_command = [\"{shown}/restart\"]\n{lines}\n",
            env = pipeline::ENV,
        );
        let within = if lines.contains("healthy_within") { "" } else { "healthy_within = \"15s\"\n" };
        fs::write(folder.join("setkeeper.toml"), text + within).expect("writable");
        let module = include_str!("../../../deploy/setkeeper_live.py");
        fs::write(folder.join("python/setkeeper_live.py"), module).expect("writable");
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fleet/superset.py");
        let start = format!(
            "#!/bin/sh\nsetsid python3 {} {shown} {port} {} >>{shown}/superset.log 2>&1 </dev/null &\n\
             while [ ! -e {shown}/pid ]; do sleep 0.02; done\n",
            program.display(),
            std::process::id(),
        );
        script(&folder.join("start"), &start);
        let restart = format!(
            "#!/bin/sh\necho again >>{shown}/restarts\nkill \"$(cat {shown}/pid)\"\n\
             while [ -e {shown}/pid ]; do sleep 0.02; done\n\
             if [ -e {shown}/broken ]; then exit 0; fi\nif [ -e {shown}/refuses ]; then exit 3; fi\nexec {shown}/start\n"
        );
        script(&folder.join("restart"), &restart);
        Node { name: name.to_owned(), folder, port, agent: None }
    }

    /// A command of setkeeper with the node's configuration.
    pub(super) fn program(&self) -> Command {
        pipeline::program::command(pipeline::Program::Setkeeper, &self.folder.join("setkeeper.toml"))
    }

    /// Makes a file that the stand-in looks for.
    pub(super) fn touch(&self, name: &str) {
        fs::write(self.folder.join(name), "").expect("writable");
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.folder.join(name)).expect("it is there");
    }

    /// Starts the stand-in; it may not listen yet.
    pub(super) async fn start_superset(&self) {
        let status = Command::new(self.folder.join("start")).status().await.expect("a shell");
        assert!(status.success(), "{status}");
    }

    /// SIGKILL.
    pub(super) fn kill_superset(&self) {
        kill_process(self.superset_pid().expect("superset runs"), Signal::KILL).expect("superset runs");
        self.remove("pid");
    }

    /// The process of the stand-in.
    pub(super) fn superset_pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.folder.join("pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// What the stand-in has of its settings.
    pub(super) async fn settings(&self) -> Option<Value> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}/settings", self.port)).await.ok()?;
        answer.json().await.ok()
    }

    /// How often it was restarted.
    pub(super) fn restarts(&self) -> usize {
        fs::read_to_string(self.folder.join("restarts")).unwrap_or_default().lines().count()
    }

    pub(super) fn start_agent(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("agent.log"));
        let log = log.expect("a log");
        let errors = log.try_clone().expect("a log");
        let child = self.program().arg("agent").stdout(log).stderr(errors).spawn();
        self.agent = Some(child.expect("the program starts"));
    }

    /// What the agent says at `/metrics`.
    pub(super) async fn metrics(&self) -> String {
        let log = fs::read_to_string(self.folder.join("agent.log")).expect("a log");
        let listen = log.lines().rev().find_map(|line| line.split_once("listen=127.0.0.1:"));
        let port = listen.and_then(|(_, rest)| rest.split_whitespace().next()).expect("the agent listens");
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.expect("an answer");
        answer.text().await.expect("text")
    }

    pub(super) fn signal_agent(&self, signal: Signal) {
        let pid = self.agent.as_ref().and_then(Child::id).expect("the agent runs");
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the agent runs");
    }

    /// SIGKILL.
    pub(super) async fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("the agent runs");
        agent.start_kill().expect("the agent runs");
        agent.wait().await.expect("a child can be waited for");
    }

    /// SIGTERM.
    pub(super) async fn stop_agent(&mut self) -> ExitStatus {
        self.signal_agent(Signal::TERM);
        let mut agent = self.agent.take().expect("the agent runs");
        let ended = tokio::time::timeout(Duration::from_secs(20), agent.wait()).await;
        ended.expect("it ends when asked to").expect("a child can be waited for")
    }

    /// The end of what agent and stand-in have logged.
    pub(super) fn logged(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let (agent, superset) = (read("agent.log"), read("superset.log"));
        let tail = |text: &str| {
            text.lines().rev().take(25).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        format!(
            "--- {} agent\n{}\n--- {} superset\n{}\n",
            self.name,
            tail(&agent),
            self.name,
            tail(&superset)
        )
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(pid) = self.superset_pid() {
            // It may have ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
}

/// A port below those that Linux gives to outgoing connections.
fn free_port() -> u16 {
    let random = || 15_000 + rand::random::<u16>() % 17_000;
    std::iter::repeat_with(random)
        .take(200)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of 200 ports is free")
}
