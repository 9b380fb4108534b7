//! Waiting for a state, with a deadline.

use std::collections::BTreeMap;
use std::fmt::Debug;

use change::{ChangeId, Topic};
use queue::Queue;

use super::{ENV, Pipeline};
use crate::until;

/// One outcome, as the audit has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutcomeRow {
    pub(crate) verdict: String,
    pub(crate) cause: String,
    pub(crate) reason: String,
    pub(crate) place: String,
    pub(crate) also: String,
}

/// Path → id of the newest change, as one of the stages has it.
pub(crate) type Stand = BTreeMap<String, String>;

impl Pipeline {
    /// Looks until `look` gives something: `Err` says what it saw instead, and is told at the deadline.
    pub(crate) async fn until<T, W: Debug>(&self, what: &str, look: impl AsyncFnMut() -> Result<T, W>) -> T {
        until::until_or_tell(what, look, || self.logs()).await
    }

    /// Waits for an outcome of that change with that verdict (`applied`, `held`, `rejected`, …), and returns the
    /// newest such.
    pub(crate) async fn await_outcome(&self, change: &ChangeId, verdict: &str) -> OutcomeRow {
        self.until(&format!("{verdict} for {change}"), async || {
            let outcomes = self.outcomes(change).await;
            let found = outcomes.iter().rev().find(|outcome| outcome.verdict == verdict).cloned();
            found.ok_or(outcomes)
        })
        .await
    }

    /// All outcomes of a change that are on record, in order.
    pub(crate) async fn outcomes(&self, change: &ChangeId) -> Vec<OutcomeRow> {
        let sql = format!(
            "SELECT verdict, cause, reason, place, also FROM audit_outcome WHERE change_id = '{change}' ORDER BY seq"
        );
        // Before the auditor has begun there is no such table.
        let rows = super::sqlite(&self.folder().join("audit.db"), &sql).await.unwrap_or_default();
        let row = |row: Vec<String>| {
            let [verdict, cause, reason, place, also] = row.try_into().expect("five columns");
            OutcomeRow { verdict, cause, reason, place, also }
        };
        rows.into_iter().map(row).collect()
    }

    /// Waits until what is applied and what is on record are what ZooKeeper holds, nothing is pending, and every
    /// outcome is recorded.
    pub(crate) async fn await_equal(&self) {
        self.until("the database and the audit equal ZooKeeper", async || {
            let wanted = self.in_zookeeper().await;
            let (applied, recorded) = (self.applied().await, self.recorded().await);
            let unsettled = self.unsettled().await;
            if applied == wanted && recorded == wanted && unsettled.is_empty() {
                return Ok(());
            }
            Err((
                difference("applied", &wanted, &applied),
                difference("recorded", &wanted, &recorded),
                unsettled,
            ))
        })
        .await;
    }

    /// What ZooKeeper holds now below `assets`.
    pub(crate) async fn in_zookeeper(&self) -> Stand {
        let tree = self.session.read_tree(&["assets"]).await.expect("zookeeper answers");
        let id = |path, czxid, version| {
            ChangeId { generation: self.generation, path, czxid, version: Some(version) }.to_string()
        };
        let nodes = tree.nodes.into_iter();
        nodes.map(|(path, found)| (path.to_string(), id(path, found.czxid, found.version))).collect()
    }

    /// What the ledger says is applied.
    pub(crate) async fn applied(&self) -> Stand {
        // The ledger leaves a change's path out where it is the row's own.
        let sql = "SELECT path, coalesce(applied_path, path), applied_change FROM setkeeper_asset \
                   WHERE applied_change IS NOT NULL AND path LIKE 'assets/%'";
        let rows = self.metadata.fetch(sql).await.unwrap_or_default();
        let rows = rows.into_iter().filter_map(|row| <[String; 3]>::try_from(row).ok());
        rows.map(|[path, of, id]| (path, id.replacen(':', &format!(":{of}@"), 1))).collect()
    }

    /// What the audit says is live.
    pub(crate) async fn recorded(&self) -> Stand {
        let sql = "SELECT path, change_id FROM audit_tree WHERE path LIKE 'assets/%'";
        pairs(super::sqlite(&self.folder().join("audit.db"), sql).await.unwrap_or_default())
    }

    /// What is pending, not relayed or not recorded yet.
    async fn unsettled(&self) -> Vec<String> {
        let sql = "SELECT path, pending_change FROM setkeeper_asset WHERE pending_change IS NOT NULL";
        let pending = self.metadata.fetch(sql).await.unwrap_or_default();
        let unrelayed = self.metadata.fetch("SELECT key FROM setkeeper_outbox").await.unwrap_or_default();
        let mut unsettled: Vec<String> =
            pending.into_iter().chain(unrelayed).map(|row| row.join(" ")).collect();
        let recorded = "SELECT coalesce(max(log_offset), 0) FROM audit_outcome";
        let recorded = super::sqlite(&self.folder().join("audit.db"), recorded).await.unwrap_or_default();
        let end = self.queue().await.end(&Topic::Outcomes.name(ENV)).await.expect("the queue answers").offset;
        let recorded: i64 = recorded.first().and_then(|row| row[0].parse().ok()).unwrap_or(0);
        if recorded + 1 < end {
            unsettled.push(format!("outcomes are recorded up to {recorded}, the topic ends before {end}"));
        }
        unsettled
    }

    /// The queue that the workers use.
    pub(crate) async fn queue(&self) -> Queue {
        let config = queue::Config::new(self.folder().join("queue.db"));
        Queue::embedded(&config).await.expect("the queue opens")
    }
}

fn pairs(rows: Vec<Vec<String>>) -> Stand {
    rows.into_iter()
        .filter_map(|row| <[String; 2]>::try_from(row).ok())
        .map(|[path, id]| (path, id))
        .collect()
}

/// What is not as wanted, one line each.
pub(crate) fn difference(stage: &str, wanted: &Stand, found: &Stand) -> Vec<String> {
    let missing = wanted.iter().filter(|(path, id)| found.get(*path) != Some(id));
    let missing = missing.map(|(path, id)| format!("{stage} {:?}, wanted {id}", found.get(path)));
    let extra = found.iter().filter(|(path, _)| !wanted.contains_key(*path));
    missing.chain(extra.map(|(_, id)| format!("{stage} {id}, which is not there"))).collect()
}
