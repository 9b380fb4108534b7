//! What the checker judges, and how it is gathered: each witness asked in its own way.

use std::collections::{BTreeMap, BTreeSet};

use change::{ChangeId, Fence, Op, Record, Topic, Tree, ZnodePath, wire};
use queue::Position;
use serde_json::Value;
use uuid::Uuid;

use crate::pipeline::{ENV, Pipeline, Stand};

/// The number that every write carries, greater than that of any write before it.
pub(crate) type Number = i64;

/// One write that the writer knows or has to think was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) n: Number,
    pub(crate) uuid: Uuid,
    pub(crate) done: Done,
}

/// What a write did to its asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// Created or changed.
    Put,
    /// Deleted and created at another path in one transaction.
    Moved,
    /// Deleted, for good or until it is created anew.
    Deleted,
}

/// What a trigger of the test saw in one of Superset's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) uuid: Uuid,
    pub(crate) n: Number,
    pub(crate) what: Seen,
}

/// What happened to the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Inserted, or updated with another number.
    Written,
    /// Deleted.
    Deleted,
}

/// One row of the audit's outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) change: ChangeId,
    /// It came on the queue; else it was pending and looked at again.
    pub(crate) is_first_look: bool,
    pub(crate) verdict: String,
    /// Outcomes of one transaction of the applier have the same.
    pub(crate) transaction: String,
}

/// All that is known of a run once it has come to rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// The writer's journal, in the order of the numbers.
    pub(crate) journal: Vec<Write>,
    /// What ZooKeeper holds: path → id of the change.
    pub(crate) zookeeper: Stand,
    /// Uuid and number of each document that ZooKeeper holds.
    pub(crate) documents: BTreeMap<Uuid, Number>,
    /// Uuid and number of each row in Superset's tables.
    pub(crate) rows: BTreeMap<Uuid, Number>,
    /// What the triggers saw, in order.
    pub(crate) effects: Vec<Effect>,
    /// Changes as the log delivers them, without those of fenced watchers; a delete that a resync's end means, too.
    pub(crate) deliveries: Vec<ChangeId>,
    /// Resyncs that the log begins.
    pub(crate) resyncs: usize,
    /// Uuid and number of each put in the log, fenced ones included.
    pub(crate) contents: BTreeMap<ChangeId, (Uuid, Number)>,
    /// The fold of the log.
    pub(crate) known: Stand,
    /// What the ledger says is applied.
    pub(crate) ledger: Stand,
    /// Paths with a pending change.
    pub(crate) pending: BTreeSet<String>,
    /// What the audit says is live.
    pub(crate) recorded: Stand,
    /// Changes that are on record.
    pub(crate) changes: BTreeSet<String>,
    /// The outcomes on record, in order.
    pub(crate) outcomes: Vec<Outcome>,
    /// Each outcome's place in the target's own order, with the fence that it was committed under.
    pub(crate) sequence: Vec<(u64, (u64, i64))>,
    /// How many versions of its znode were overwritten unseen right before this put, as the audit counts them.
    pub(crate) missed: BTreeMap<ChangeId, i64>,
    /// What `setkeeper verify` found wrong.
    pub(crate) chain: Option<String>,
}

impl Evidence {
    /// Asks every witness.
    pub(crate) async fn gather(pipeline: &Pipeline, journal: Vec<Write>) -> Evidence {
        let mut evidence = Evidence { journal, ..Evidence::default() };
        let tree = pipeline.session.read_tree(&["assets"]).await.expect("zookeeper answers");
        evidence.documents = tree.nodes.values().filter_map(|found| content(&found.bytes)).collect();
        evidence.zookeeper = pipeline.in_zookeeper().await;
        evidence.rows = numbers(pipeline.superset(ROWS).await);
        evidence.effects = effects(pipeline).await;
        evidence.ledger = pipeline.applied().await;
        let pending = "SELECT path FROM setkeeper_asset WHERE pending_change IS NOT NULL";
        evidence.pending = pipeline.superset(pending).await.into_iter().flatten().collect();
        evidence.recorded = pipeline.recorded().await;
        let changes = "SELECT change_id FROM audit_change WHERE path LIKE 'assets/%'";
        evidence.changes = pipeline.audit(changes).await.into_iter().flatten().collect();
        evidence.outcomes = outcomes(pipeline).await;
        evidence.sequence = sequence(pipeline).await;
        let missed = "SELECT change_id, missed FROM audit_change WHERE op = 'put' AND path LIKE 'assets/%'";
        let missed = pipeline.audit(missed).await.into_iter();
        evidence.missed =
            missed.map(|row| (row[0].parse().expect("an id"), row[1].parse().unwrap_or(0))).collect();
        evidence.read_log(pipeline).await;
        let verified = pipeline.setkeeper(&["verify"]).await;
        evidence.chain =
            (!verified.status.success()).then(|| String::from_utf8_lossy(&verified.stdout).into_owned());
        evidence
    }

    async fn read_log(&mut self, pipeline: &Pipeline) {
        let (queue, topic) = (pipeline.queue().await, Topic::Changes.name(ENV));
        let mut position: Position = queue.first(&topic).await.expect("the log's beginning");
        assert_eq!(position.offset, 1, "nothing was trimmed");
        let (mut tree, mut highest) = (Tree::default(), None);
        loop {
            let batch = queue.read(&topic, &position, 1_000, 16 << 20).await.expect("the log can be read");
            if batch.entries.is_empty() {
                break;
            }
            position = batch.next;
            for entry in batch.entries {
                let record = wire::decode(&entry.headers, &entry.body).expect("a record");
                let fence = entry.fence.expect("every change is fenced");
                self.resyncs += usize::from(matches!(record, Record::ResyncBegin(_)));
                self.contents.extend(puts(fence.0, &record));
                if highest.is_none_or(|highest| highest <= fence) {
                    highest = Some(fence);
                    self.deliveries.extend(delivered(&mut tree, fence.0, &record));
                }
            }
        }
        let generation = highest.map_or(1, |fence| fence.0);
        let id = |path: &ZnodePath, node: &change::Node| {
            let (path, czxid, version) = (path.clone(), node.czxid, Some(node.version));
            ChangeId { generation, path, czxid, version }.to_string()
        };
        let nodes = tree.nodes().iter().filter(|(path, _)| is_asset(path));
        self.known = nodes.map(|(path, node)| (path.to_string(), id(path, node))).collect();
    }
}

fn is_asset(path: &ZnodePath) -> bool {
    path.as_str().starts_with("assets/")
}

fn puts(generation: u64, record: &Record) -> Vec<(ChangeId, (Uuid, Number))> {
    let Record::Txn(txn) = record else { return Vec::new() };
    let put = |change: &change::Change| match &change.op {
        Op::Put { bytes, .. } => Some((change.id(generation), content(bytes)?)),
        Op::Delete { .. } => None,
    };
    txn.changes.iter().filter_map(put).collect()
}

/// The changes that a record means to whoever reads it, and the tree behind it.
fn delivered(tree: &mut Tree, generation: u64, record: &Record) -> Vec<ChangeId> {
    let before = matches!(record, Record::ResyncEnd(_)).then(|| tree.nodes().clone());
    tree.fold(record);
    let changes: Vec<ChangeId> = match (record, before) {
        (Record::Txn(txn), _) => txn.changes.iter().map(|change| change.id(generation)).collect(),
        (Record::ResyncEnd(_), Some(before)) => {
            let gone = before.into_iter().filter(|(path, _)| tree.get(path).is_none());
            gone.map(|(path, node)| ChangeId { generation, path, czxid: node.czxid, version: None }).collect()
        }
        _ => Vec::new(),
    };
    changes.into_iter().filter(|change| is_asset(&change.path)).collect()
}

/// Uuid and number of a document.
fn content(bytes: &[u8]) -> Option<(Uuid, Number)> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    let uuid = document["uuid"].as_str()?.parse().ok()?;
    let n = document["cache_timeout"].as_i64().or_else(|| number(document["description"].as_str()?))?;
    Some((uuid, n))
}

fn number(text: &str) -> Option<Number> {
    text.strip_prefix("n=").unwrap_or(text).parse().ok()
}

/// Databases have no description.
const ROWS: &str = "SELECT uuid, CAST(cache_timeout AS TEXT) FROM dbs UNION ALL \
     SELECT uuid, CAST(description AS TEXT) FROM tables UNION ALL \
     SELECT uuid, CAST(description AS TEXT) FROM slices UNION ALL \
     SELECT uuid, CAST(description AS TEXT) FROM dashboards";

fn numbers(rows: Vec<Vec<String>>) -> BTreeMap<Uuid, Number> {
    rows.iter().map(|row| (row[0].parse().expect("a uuid"), number(&row[1]).unwrap_or(-1))).collect()
}

/// A row keeps the uuid that it was born with: one that is deleted and created anew in one transaction gets another
/// for a moment, since a uuid is unique.
async fn effects(pipeline: &Pipeline) -> Vec<Effect> {
    let mut born: BTreeMap<String, Uuid> = BTreeMap::new();
    let rows = pipeline.superset("SELECT place, uuid, n, op FROM chaos_effects ORDER BY seq").await;
    let effect = |row: Vec<String>| {
        let uuid = *born.entry(row[0].clone()).or_insert_with(|| row[1].parse().expect("a uuid"));
        let what = if row[3] == "DELETE" { Seen::Deleted } else { Seen::Written };
        if what == Seen::Deleted {
            // SQLite uses the ids of deleted rows again.
            born.remove(&row[0]);
        }
        Effect { uuid, n: number(&row[2]).unwrap_or(-1), what }
    };
    rows.into_iter().map(effect).collect()
}

async fn outcomes(pipeline: &Pipeline) -> Vec<Outcome> {
    let sql = "SELECT change_id, cause, verdict, outcome_key, committed FROM audit_outcome \
               WHERE path LIKE 'assets/%' ORDER BY seq";
    let outcome = |row: Vec<String>| {
        let fence = row[3].rsplit_once('/').map_or("", |(fence, _)| fence).to_owned();
        Outcome {
            change: row[0].parse().expect("a change id"),
            is_first_look: row[1] == "change",
            verdict: row[2].clone(),
            transaction: format!("{fence} at {}", row[4]),
        }
    };
    pipeline.audit(sql).await.into_iter().map(outcome).collect()
}

async fn sequence(pipeline: &Pipeline) -> Vec<(u64, (u64, i64))> {
    let place = |key: &str| {
        let mut parts = key.rsplit('/');
        let sequence = parts.next()?.parse().ok()?;
        let (generation, czxid) = parts.next()?.split_once('-')?;
        Some((sequence, (generation.parse().ok()?, czxid.parse().ok()?)))
    };
    let keys = pipeline.audit("SELECT outcome_key FROM audit_outcome").await;
    let mut sequence: Vec<_> = keys.iter().map(|row| place(&row[0]).expect("an outcome's key")).collect();
    sequence.sort_unstable();
    sequence
}

/// The fence of an election, for those who write to the log in a watcher's stead.
pub(crate) fn fence(of: queue::Fence) -> Fence {
    Fence { generation: of.0, czxid: of.1 }
}
