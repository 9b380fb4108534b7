//! Clients of kazoo and of Curator as processes, each client led by the test over a connection of its own.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testbed::clients;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;

use super::monitor::Monitor;

/// For one answer. A JVM on a busy machine takes its time.
const DEADLINE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Python,
    Java,
}

/// A process with clients. It ends with the value.
pub(super) struct Process {
    pub(super) clients: Vec<Client>,
    child: Child,
}

impl Process {
    pub(super) async fn start(language: Language, zookeeper: &str, count: usize) -> Process {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port().to_string();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/locks/foreign");
        let mut command = match language {
            Language::Python => {
                let mut python = clients::kazoo().expect("kazoo is installed");
                python.arg(format!("{folder}/clients.py"));
                python
            }
            Language::Java => {
                let source = format!("{folder}/Clients.java");
                clients::java(source.as_ref()).expect("Curator is installed")
            }
        };
        command.args([zookeeper, &port, &count.to_string()]).stdin(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().expect("the clients start");
        let connecting = async {
            let mut clients = Vec::new();
            while clients.len() < count {
                let (stream, _) = listener.accept().await.expect("a client");
                let mut client = Client::new(stream);
                client.heard().await;
                clients.push(client);
            }
            clients
        };
        let clients = tokio::time::timeout(DEADLINE, connecting).await.expect("the clients connect in time");
        Process { clients, child }
    }

    /// Kills the whole process, sessions and all.
    pub(super) fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).expect("it runs");
        kill_process(id, signal).expect("it can be signalled");
    }
}

/// One client with a session of its own.
pub(super) struct Client {
    lines: Lines<BufReader<OwnedReadHalf>>,
    to: OwnedWriteHalf,
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("a TCP stream");
        let (from, to) = stream.into_split();
        Client { lines: BufReader::new(from).lines(), to }
    }

    pub(super) async fn say(&mut self, line: &str) {
        self.to.write_all(format!("{line}\n").as_bytes()).await.expect("the client listens");
    }

    /// The client's next line. Cancel-safe.
    pub(super) async fn heard(&mut self) -> String {
        let line = tokio::time::timeout(DEADLINE, self.lines.next_line()).await.expect("an answer in time");
        line.expect("the client speaks").expect("the client lives")
    }

    /// Says it and checks the answer.
    pub(super) async fn must(&mut self, line: &str, answer: &str) {
        self.say(line).await;
        assert_eq!(self.heard().await, answer, "{line}");
    }

    /// Lets it take the lock so many times, each told to the monitor.
    pub(super) async fn contend(
        &mut self,
        kind: &str,
        path: &str,
        times: u32,
        monitor: &Monitor,
        name: &str,
    ) {
        self.say(&format!("contend {kind} {path} {times}")).await;
        loop {
            match &*self.heard().await {
                "enter" => monitor.enter(name),
                "leave" => monitor.leave(),
                "done" => return,
                other => panic!("{name} says {other}"),
            }
            self.say("go").await;
        }
    }
}
