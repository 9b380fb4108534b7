//! One ZooKeeper, one queue, a writer, and terms of the watcher.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use change::{
    Change, Edit, EditChange, EditOp, Fence, Generation, Op, Record, Topic, Tree, ZnodePath, sha256_hex, wire,
};
use queue::{Position, Queue};
use testbed::Zookeeper;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use watcher::{Config, Error, Phase, Stats, Stopped, Watcher};
use zookeeper_client::{Acls, CreateMode, CreateOptions};

pub(crate) const ENV: &str = "test";

/// For any one wait. Two cores may be shared with a build.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) zookeeper: Zookeeper,
    pub(crate) writer: zk::Session,
    pub(crate) queue: Queue,
    /// The queue's file.
    pub(crate) file: std::path::PathBuf,
    pub(crate) config: Config,
    pub(crate) generation: Generation,
    /// What the log says, read as a consumer does.
    pub(crate) records: Vec<(Fence, Record)>,
    pub(crate) tree: Tree,
    highest: Fence,
    next: Option<Position>,
    pub(crate) terms: i64,
    _folder: tempfile::TempDir,
}

/// A term that runs.
pub(crate) struct Running {
    pub(crate) stats: Arc<Stats>,
    stop: CancellationToken,
    task: JoinHandle<Result<Stopped, Error>>,
}

/// Waits until the watcher is at this.
pub(crate) async fn reach(stats: &Stats, phase: Phase) {
    let mut states = stats.state.subscribe();
    let reached = timeout(WITHIN, states.wait_for(|state| state.state == phase)).await;
    assert!(reached.is_ok(), "{phase:?} was not reached; it is {:?}", stats.state.borrow());
}

impl Running {
    pub(crate) async fn reach(&self, phase: Phase) {
        reach(&self.stats, phase).await;
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = timeout(WITHIN, self.task).await.expect("the term ends in time");
        assert_eq!(ended.expect("no panic").expect("ends in order"), Stopped::Asked);
    }

    /// Ends the term at once, wherever it is.
    pub(crate) async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }

    pub(crate) async fn fails(self) -> Error {
        let ended = timeout(WITHIN, self.task).await.expect("the term ends in time");
        ended.expect("no panic").expect_err("ends out of order")
    }
}

impl Bench {
    pub(crate) async fn start() -> Bench {
        Bench::with_queue(|_| {}).await
    }

    pub(crate) async fn with_queue(change: impl FnOnce(&mut queue::Config)) -> Bench {
        let zookeeper = Zookeeper::start(testbed::zookeeper::Options::default()).await.expect("a ZooKeeper");
        let writer = connect(&zookeeper.connect()).await;
        let generation = writer.init().await.expect("the environment's tree");
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = queue::Config::new(folder.path().join("queue.db"));
        change(&mut config);
        let queue = Queue::embedded(&config).await.expect("a queue");
        let mut bench = Bench {
            zookeeper,
            writer,
            queue,
            file: config.path,
            config: Config { canary_every: Duration::from_millis(200), ..Config::default() },
            generation,
            records: Vec::new(),
            tree: Tree::default(),
            highest: Fence { generation: 0, czxid: 0 },
            next: None,
            terms: 0,
            _folder: folder,
        };
        bench.make("assets/main/charts", "").await;
        bench
    }

    /// Begins a term straight on the server.
    pub(crate) async fn watch(&mut self) -> Running {
        let at = self.zookeeper.connect();
        self.watch_at(&at).await
    }

    /// Begins a term at this address.
    pub(crate) async fn watch_at(&mut self, address: &str) -> Running {
        self.watch_in(connect(address).await)
    }

    /// Begins a term under the lock znode of an election.
    pub(crate) async fn watch_elected(&mut self) -> Running {
        let session = connect(&self.zookeeper.connect()).await;
        let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
        session.client().mkdir("/workers/watcher", &persistent()).await.expect("a folder");
        let lock = session.client().create("/workers/watcher/n-", b"", &options).await.expect("a lock");
        self.watch_as(session, lock.0.czxid)
    }

    /// Begins a term in this session.
    pub(crate) fn watch_in(&mut self, session: zk::Session) -> Running {
        self.terms += 1;
        self.watch_as(session, self.terms)
    }

    fn watch_as(&self, session: zk::Session, czxid: i64) -> Running {
        let fence = Fence { generation: self.generation.n, czxid };
        let watcher =
            Watcher::new(self.config.clone(), session, self.queue.clone(), fence, self.generation, ENV);
        let (stats, stop) = (watcher.stats(), CancellationToken::new());
        let task = tokio::spawn(watcher.run(stop.clone()));
        Running { stats, stop, task }
    }

    /// Begins a term and waits until it streams.
    pub(crate) async fn stream(&mut self) -> Running {
        let running = self.watch().await;
        running.reach(Phase::Streaming).await;
        running
    }

    /// A writer's session of its own on the server as it is now.
    pub(crate) async fn reconnect(&mut self) {
        self.writer = connect(&self.zookeeper.connect()).await;
    }

    /// Does something to the data of the server while it is down.
    pub(crate) async fn while_down(&mut self, act: impl FnOnce(&Zookeeper)) {
        self.zookeeper.kill().await.expect("a kill");
        act(&self.zookeeper);
        self.zookeeper.restart().await.expect("a start");
        self.reconnect().await;
    }

    pub(crate) async fn make(&mut self, path: &str, bytes: &str) {
        let (parent, _) = path.rsplit_once('/').expect("a parent");
        let client = self.writer.client();
        client.mkdir(&format!("/{parent}"), &persistent()).await.expect("parents");
        client.create(&format!("/{path}"), bytes.as_bytes(), &persistent()).await.expect("a znode");
    }

    pub(crate) async fn put(&mut self, name: &str, bytes: &str) {
        let path = format!("/assets/main/charts/{name}");
        match self.writer.client().set_data(&path, bytes.as_bytes(), None).await {
            Ok(_) => {}
            Err(zookeeper_client::Error::NoNode) => self.make(&path[1..], bytes).await,
            Err(error) => panic!("set {path}: {error}"),
        }
    }

    pub(crate) async fn delete(&mut self, name: &str) {
        let path = format!("/assets/main/charts/{name}");
        self.writer.client().delete(&path, None).await.expect("a delete");
    }

    /// One multi with an edit record first: `+a` creates, `=a` sets (twice if named twice), `-a` deletes.
    pub(crate) async fn edit(&mut self, id: &str, operations: &[&str]) {
        let mut changes: BTreeMap<ZnodePath, (EditOp, Option<String>)> = BTreeMap::new();
        let mut multi = self.writer.client().new_multi_writer();
        let bytes = |at: usize| format!("{id} {at}");
        for (at, operation) in operations.iter().enumerate() {
            let path = chart(&operation[1..]);
            let change = match operation.starts_with('-') {
                true => (EditOp::Delete, None),
                false => (EditOp::Put, Some(sha256_hex(bytes(at).as_bytes()))),
            };
            changes.insert(path, change);
        }
        let changes =
            changes.into_iter().map(|(path, (op, sha256))| EditChange { path, op, sha256 }).collect();
        let edit = Edit {
            v: 1,
            id: id.to_owned(),
            of: id.to_owned(),
            part: 1,
            parts: 1,
            author: "ann".to_owned(),
            message: "why".to_owned(),
            traceparent: None,
            rollback_of: None,
            changes,
        };
        let json = serde_json::to_vec(&edit).expect("json");
        multi.add_create(&format!("/edits/{id}"), &json, &persistent()).expect("an operation");
        for (at, operation) in operations.iter().enumerate() {
            let path = format!("/assets/main/charts/{}", &operation[1..]);
            let added = match &operation[..1] {
                "+" => multi.add_create(&path, bytes(at).as_bytes(), &persistent()),
                "=" => multi.add_set_data(&path, bytes(at).as_bytes(), None),
                _ => multi.add_delete(&path, None),
            };
            added.expect("an operation");
        }
        multi.commit().await.expect("a multi");
    }

    /// Reads the log on until `done` says so.
    pub(crate) async fn until(&mut self, what: &str, mut done: impl FnMut(&Bench) -> bool) {
        let topic = Topic::Changes.name(ENV);
        let waited = timeout(WITHIN, async {
            while !done(self) {
                let from = match self.next {
                    Some(next) => next,
                    None => self.queue.first(&topic).await.expect("the log's beginning"),
                };
                let batch = self.queue.next_batch(&topic, &from, 1, 1 << 20).await.expect("the log");
                for entry in &batch.entries {
                    let fence = entry.fence.expect("every record has a fence");
                    let fence = Fence { generation: fence.0, czxid: fence.1 };
                    let record = wire::decode(&entry.headers, &entry.body).expect("a record");
                    if fence >= self.highest {
                        self.highest = fence;
                        self.tree.fold(&record);
                    }
                    self.records.push((fence, record));
                }
                self.next = Some(batch.next);
            }
        });
        let reached = waited.await.is_ok();
        assert!(reached, "{what}: not in {:#?}", self.printed());
    }

    /// Trims what was read here and is in the watcher's checkpoint, as the auditor does: nothing that is younger than a
    /// day, unless an append waits.
    pub(crate) async fn trim(&self) {
        let saved = watcher::saved(&self.queue, ENV).await.expect("the table");
        let below = saved.checkpoint.map_or(0, |checkpoint| checkpoint.offset).min(self.next_offset());
        let day = Duration::from_secs(86_400);
        self.queue.trim(&Topic::Changes.name(ENV), below, day, 100).await.expect("a trim");
    }

    fn next_offset(&self) -> i64 {
        self.next.map_or(1, |next| next.offset)
    }

    /// Waits until the log says what stands in ZooKeeper.
    pub(crate) async fn until_equal(&mut self) {
        let live = self.live().await;
        self.until("the log equals ZooKeeper", |bench| bench.tree.nodes() == live.nodes()).await;
        self.until_end().await;
    }

    /// The same with a queue that may fill up meanwhile: trims all along.
    pub(crate) async fn until_equal_trimming(&mut self) {
        let live = self.live().await;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let reached = timeout(WITHIN, async {
            while self.tree.nodes() != live.nodes() {
                ticks.tick().await;
                self.until_end().await;
                self.trim().await;
            }
        });
        let reached = reached.await.is_ok();
        assert!(reached, "the log does not equal ZooKeeper: {:#?}", self.printed());
    }

    async fn live(&self) -> Tree {
        let roots = ["assets", "settings", "endpoints", "control/approvals"];
        let live = self.writer.read_tree(&roots).await.expect("the tree");
        let node = |found: zk::Found| change::Node {
            czxid: found.czxid,
            mzxid: found.mzxid,
            version: found.version,
        };
        Tree::new(live.nodes.into_iter().map(|(path, found)| (path, node(found))).collect())
    }

    /// Reads what the log holds now.
    pub(crate) async fn until_end(&mut self) {
        let end = self.queue.end(&Topic::Changes.name(ENV)).await.expect("the log's end").offset;
        self.until("the log's end", |bench| bench.next_offset() == end).await;
    }

    /// Every Txn of the log, as `edit: +a.0 -b`, paths by name and puts with their version.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.records.iter().map(|(_, record)| print(record)).collect()
    }

    /// What the log printed since the last call.
    pub(crate) fn take_printed(&mut self) -> Vec<String> {
        let printed = self.printed();
        self.records.clear();
        printed
    }
}

fn print(record: &Record) -> String {
    let txn = match record {
        Record::Term(term) => return format!("term of generation {}", term.generation.n),
        Record::ResyncBegin(_) => return "resync begins".to_owned(),
        Record::ResyncEnd(end) => return format!("resync ends with {}", end.count),
        Record::Txn(txn) => txn,
    };
    let edit = txn.edit.as_ref().map(|edit| format!("{}: ", edit.id)).unwrap_or_default();
    let one = |one: &Change| match &one.op {
        Op::Put { version, by_edit, bytes, .. } => {
            let by_edit = if *by_edit { "*" } else { "" };
            format!("+{}.{version}{by_edit} {}", one.path.name(), String::from_utf8_lossy(bytes))
        }
        Op::Delete { by_edit } => format!("-{}{}", one.path.name(), if *by_edit { "*" } else { "" }),
    };
    format!("{edit}{}", txn.changes.iter().map(one).collect::<Vec<_>>().join(", "))
}

pub(crate) fn chart(name: &str) -> ZnodePath {
    format!("assets/main/charts/{name}").parse().expect("a path")
}

pub(crate) async fn connect(address: &str) -> zk::Session {
    zk::Session::connect(&session(address)).await.expect("a session")
}

pub(crate) fn session(address: &str) -> zk::Config {
    zk::Config { session_timeout: Duration::from_secs(8), ..zk::Config::new(address, ENV) }
}

pub(crate) fn persistent() -> CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}
