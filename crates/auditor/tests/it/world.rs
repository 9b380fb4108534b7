//! A queue, an audit database, and the notation in which the tests speak.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditor::{Audit, Auditor, Config, Error, Snapshot, Stats};
use change::{
    Cause, Change, ChangeId, Edit, EditChange, EditOp, Fence, Generation, Lifetime, Millis, Op, Outcome,
    OutcomeKey, Record, ResyncBegin, ResyncEnd, Term, Topic, Txn, Verdict, Zxid, sha256_hex, wire,
};
use queue::{NewEntry, Queue};
use sql::{Database, Mode, Value, Values};
use uuid::Uuid;

pub(crate) const ENV: &str = "prod";
/// 2026-11-24T00:00:00Z: the times of the tests count from here.
pub(crate) const MIDNIGHT: i64 = 1_795_478_400_000;

pub(crate) struct World {
    folder: PathBuf,
    /// Removes the folder in the end.
    _guard: Option<tempfile::TempDir>,
    pub(crate) queue: Queue,
    pub(crate) database: Database,
    pub(crate) stats: Arc<Stats>,
    pub(crate) config: Config,
    outcomes: u64,
}

impl World {
    pub(crate) async fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World::of(folder.path()).await;
        World { _guard: Some(folder), ..world }
    }

    /// The world that another process has made.
    pub(crate) async fn of(folder: &Path) -> World {
        World {
            folder: folder.to_path_buf(),
            _guard: None,
            queue: open_queue(folder, "queue.db").await,
            database: open_database(folder).await,
            stats: Arc::default(),
            config: Config::default(),
            outcomes: 0,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) async fn auditor(&self, term: i64) -> Result<Auditor, Error> {
        let (database, queue) = (self.database.clone(), self.queue.clone());
        let fence = Fence { generation: 1, czxid: term };
        Auditor::open(self.config.clone(), database, queue, fence, ENV, Arc::clone(&self.stats)).await
    }

    /// Records what is on the queue, by an auditor of its own.
    pub(crate) async fn record(&self) {
        let mut auditor = self.auditor(1_000).await.expect("opens");
        auditor.catch_up().await.expect("records");
    }

    pub(crate) fn audit(&self) -> Audit {
        Audit::new(self.database.clone())
    }

    /// Appends records of the watcher whose term is `term` of generation 1.
    pub(crate) async fn watch(&self, term: i64, records: &[Record]) {
        self.watch_in(Fence { generation: 1, czxid: term }, records).await;
    }

    pub(crate) async fn watch_in(&self, fence: Fence, records: &[Record]) {
        let entries: Vec<NewEntry> =
            records.iter().map(|record| entry(wire::encode(ENV, fence, record))).collect();
        // Under no fence of the queue's own, so that an old watcher's late append can be played.
        let highest =
            self.queue.highest_fence(&changes()).await.expect("reads").unwrap_or(queue::Fence(0, 0));
        let queue_fence = queue::Fence(fence.generation, fence.czxid);
        assert!(queue_fence >= highest, "the queue itself keeps an old watcher out");
        self.queue.append(&changes(), Some(queue_fence), &entries).await.expect("appends");
    }

    /// Appends the outcome of one change at the target `superset`, decided `at` ms after midnight.
    pub(crate) async fn outcome(&mut self, change: &str, at: i64, verdict: Verdict) -> Outcome {
        self.outcomes += 1;
        let key = OutcomeKey {
            target: Uuid::from_u128(7),
            fence: Fence { generation: 1, czxid: 50 },
            sequence: self.outcomes,
        };
        let outcome = Outcome {
            key,
            target: "superset".to_owned(),
            change: change.parse().expect("a change id"),
            cause: Cause::Change,
            verdict,
            also: vec![],
            before: None,
            committed: Millis(MIDNIGHT + at),
        };
        self.relay(&outcome).await;
        outcome
    }

    pub(crate) async fn relay(&self, outcome: &Outcome) {
        let entries = [entry(wire::encode_outcome(ENV, outcome))];
        self.queue.append(&Topic::Outcomes.name(ENV), None, &entries).await.expect("appends");
    }

    /// The rows of a query, one a line, values between bars.
    pub(crate) async fn table(&self, sql: &str) -> String {
        let mut tx = self.database.begin(Mode::Read).await.expect("begins");
        let rows = tx.fetch(sql, Values(vec![])).await.expect("reads");
        tx.rollback().await;
        let cell = |value: &Value| match value {
            Value::BigInt(Some(number)) => number.to_string(),
            Value::String(Some(text)) => text.clone(),
            _ => "-".to_owned(),
        };
        let line = |row: &sql::Row| row.iter().map(cell).collect::<Vec<_>>().join(" | ") + "\n";
        rows.iter().map(line).collect()
    }

    /// Alters the database behind the auditor's back.
    pub(crate) async fn tamper(&self, sql: &str) {
        let mut tx = self.database.begin(Mode::Write).await.expect("begins");
        tx.execute_script(sql).await.expect("executes");
        tx.commit().await.expect("commits");
    }

    pub(crate) fn counted(&self) -> Snapshot {
        self.stats.snapshot()
    }
}

pub(crate) async fn open_queue(folder: &Path, name: &str) -> Queue {
    Queue::embedded(&queue::Config::new(folder.join(name))).await.expect("a queue")
}

pub(crate) async fn open_database(folder: &Path) -> Database {
    let url = format!("sqlite:{}", folder.join("audit.db").display());
    let config = sql::Config { create: true, wal: true, ..sql::Config::default() };
    Database::connect(&url, config).await.expect("a database")
}

pub(crate) fn changes() -> String {
    Topic::Changes.name(ENV)
}

pub(crate) fn entry(encoded: wire::Encoded) -> NewEntry {
    NewEntry { key: encoded.key, headers: encoded.headers, body: encoded.body }
}

/// `assets/main/charts/<name>`
pub(crate) fn path(name: &str) -> change::ZnodePath {
    let path = if name.contains('/') { name.to_owned() } else { format!("assets/main/charts/{name}") };
    path.parse().expect("a path")
}

/// The document of chart number `uuid`.
pub(crate) fn chart(uuid: u128, name: &str, row_limit: u32) -> String {
    let (uuid, dataset) = (Uuid::from_u128(uuid), Uuid::from_u128(99));
    format!(
        r#"{{"slice_name":"{name}","params":{{"row_limit":{row_limit}}},"viz_type":"table","uuid":"{uuid}","dataset_uuid":"{dataset}","version":"1.0.0"}}"#
    )
}

pub(crate) fn put(name: &str, czxid: i64, version: i32, bytes: &str) -> Change {
    let op = Op::Put {
        version,
        mzxid: Zxid(czxid + i64::from(version)),
        lifetime: Lifetime::Persistent,
        by_edit: false,
        bytes: bytes.as_bytes().to_vec(),
    };
    Change { path: path(name), czxid, op }
}

pub(crate) fn delete(name: &str, czxid: i64) -> Change {
    Change { path: path(name), czxid, op: Op::Delete { by_edit: false } }
}

/// A transaction committed `at` ms after midnight and seen 2 ms later.
pub(crate) fn txn(at: i64, changes: Vec<Change>) -> Record {
    let (committed, seen) = (Millis(MIDNIGHT + at), Millis(MIDNIGHT + at + 2));
    Record::Txn(Txn { zxid: Zxid(at), committed, seen, resync: None, edit: None, changes })
}

/// The same, written by `author` with one of our tools.
pub(crate) fn edit(at: i64, author: &str, message: &str, mut changes: Vec<Change>) -> Record {
    for change in &mut changes {
        match &mut change.op {
            Op::Put { by_edit, .. } | Op::Delete { by_edit } => *by_edit = true,
        }
    }
    let listed = changes.iter().map(|change| match &change.op {
        Op::Put { bytes, .. } => {
            EditChange { path: change.path.clone(), op: EditOp::Put, sha256: Some(sha256_hex(bytes)) }
        }
        Op::Delete { .. } => EditChange { path: change.path.clone(), op: EditOp::Delete, sha256: None },
    });
    let id = format!("E{at}");
    let edit = Edit {
        v: 1,
        id: id.clone(),
        of: id,
        part: 1,
        parts: 1,
        author: author.to_owned(),
        message: message.to_owned(),
        traceparent: None,
        rollback_of: None,
        changes: listed.collect(),
    };
    let Record::Txn(txn) = txn(at, changes) else { unreachable!("a transaction was made") };
    Record::Txn(Txn { edit: Some(edit), ..txn })
}

pub(crate) fn term(n: u64, at: i64) -> Record {
    let generation = Generation { n, id: Uuid::from_u128(u128::from(n)) };
    Record::Term(Term { generation, seen: Millis(MIDNIGHT + at) })
}

pub(crate) fn begin(id: u128, at: i64) -> Record {
    Record::ResyncBegin(ResyncBegin { id: Uuid::from_u128(id), seen: Millis(MIDNIGHT + at) })
}

/// One path that a resync sends again.
pub(crate) fn resent(id: u128, at: i64, change: Change) -> Record {
    let Record::Txn(txn) = txn(at, vec![change]) else { unreachable!("a transaction was made") };
    Record::Txn(Txn { resync: Some(Uuid::from_u128(id)), ..txn })
}

pub(crate) fn end(id: u128, at: i64, unreadable: &[&str]) -> Record {
    let unreadable = unreadable.iter().map(|subtree| subtree.parse().expect("a path")).collect();
    Record::ResyncEnd(ResyncEnd {
        id: Uuid::from_u128(id),
        seen: Millis(MIDNIGHT + at),
        count: 1,
        unreadable,
    })
}

/// `1:assets/main/charts/<name>@<czxid>.<version>`
pub(crate) fn id(name: &str, czxid: i64, version: Option<i32>) -> String {
    ChangeId { generation: 1, path: path(name), czxid, version }.to_string()
}

/// Every table's rows as text, for comparing whole histories.
pub(crate) async fn everything(world: &World) -> BTreeMap<&'static str, String> {
    let mut all = BTreeMap::new();
    for table in
        ["audit_chain", "audit_change", "audit_outcome", "audit_event", "audit_tree", "audit_applied"]
    {
        all.insert(table, world.table(&format!("SELECT * FROM {table}")).await);
    }
    all
}
