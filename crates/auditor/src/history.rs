//! Asking the history.

use asset::FieldChange;
use change::{ChangeId, Fence, Millis, Place, Waiting, ZnodePath};
use queue::Position;
use sql::{Class, Database, Mode, Value};
use uuid::Uuid;

use crate::chain::Head;
use crate::describe::asset_kind;
use crate::facts::Stream;
use crate::store::{self, Cells, StoreError, string, values};

/// The audit database, for reading. It never writes and never makes a table.
#[derive(Debug, Clone)]
pub struct Audit {
    pub(crate) database: Database,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No auditor has used this database.
    #[error(
        "read {database}: nothing was recorded there yet; start `setkeeper run` or `setkeeper audit` first"
    )]
    Empty {
        /// Which.
        database: String,
    },
    /// It could not be read.
    #[error("read the audit database")]
    Store(#[from] StoreError),
}

impl From<sql::Error> for ReadError {
    fn from(error: sql::Error) -> ReadError {
        ReadError::Store(error.into())
    }
}

/// Which part of the history is wanted. Everything that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// This path, or everything below it.
    pub path: Option<ZnodePath>,
    /// This asset, wherever it stood.
    pub uuid: Option<Uuid>,
    /// Changes by this author.
    pub author: Option<String>,
    /// Outcomes of the target of this name, and changes that no target has said anything about.
    pub target: Option<String>,
    /// Effective at this time or later.
    pub since: Option<Millis>,
    /// Effective before this time.
    pub until: Option<Millis>,
    /// At most this many rows, the newest; `None` is 1,000.
    pub limit: Option<u32>,
}

/// One row of the view `config_history`.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRow {
    /// Place in the chain.
    pub seq: i64,
    /// When it took effect in ZooKeeper, never before an earlier row.
    pub effective: Millis,
    /// When ZooKeeper committed it, by its leader's clock.
    pub committed: Millis,
    /// The change.
    pub change: ChangeId,
    /// Where, escaped for printing.
    pub path: String,
    /// `database`, `dataset`, `chart`, `dashboard`, `setting`, `endpoint`, `approval`, `folder`.
    pub kind: Option<String>,
    /// The asset's.
    pub uuid: Option<Uuid>,
    /// The name that people know.
    pub name: Option<String>,
    /// `put` or `delete`.
    pub op: String,
    /// `stream`, `resync` or `absence`.
    pub source: String,
    /// Who; `None`: not written by a tool of ours.
    pub author: Option<String>,
    /// Why.
    pub message: Option<String>,
    /// The edit (the id of its first part).
    pub edit: Option<String>,
    /// The edit that this one undoes.
    pub rollback_of: Option<String>,
    /// Versions of this life of the znode right before this one that are not on record.
    pub missed: i64,
    /// Whether there may be more of them.
    pub missed_more: bool,
    /// Whose outcome it is; `None`: no target has said anything yet.
    pub target: Option<String>,
    /// `held`, `applied`, `unchanged`, `superseded`, `skipped`, `rejected`, `deleted`.
    pub outcome: Option<String>,
    /// Of a rejected one what is wrong, of a held one what it waits for.
    pub reason: Option<String>,
    /// Where in the document.
    pub place: Option<String>,
    /// What a held one waits for.
    pub waiting: Vec<Waiting>,
    /// When the target committed it.
    pub decided: Option<Millis>,
    /// From ZooKeeper's commit to the target's, by two clocks.
    pub delay_ms: Option<i64>,
    /// What the target had before (without a target: what stood at the path).
    pub before: Option<String>,
    /// What the change asked for; `None` for a delete.
    pub after: Option<String>,
    /// How the two differ, field by field, where both can be read.
    pub differences: Vec<FieldChange>,
}

/// Where the auditor stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The environment.
    pub env: String,
    /// Where it reads the topic `changes` next.
    pub changes: Option<Position>,
    /// Where it reads the topic `outcomes` next.
    pub outcomes: Option<Position>,
    /// The highest fence of an auditor.
    pub fence: Fence,
    /// The highest fence of a watcher that was read.
    pub watcher: Option<Fence>,
    /// Effective time of the last record.
    pub effective: Millis,
    /// The resync that is open.
    pub resync: Option<Uuid>,
    /// Why the log does not tell all, until a resync ends.
    pub resync_needed: Option<String>,
    /// The chain's end. Keep it elsewhere.
    pub head: Head,
    /// What there is.
    pub counts: Counts,
}

/// How much is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Changes.
    pub changes: u64,
    /// Outcomes.
    pub outcomes: u64,
    /// Events.
    pub events: u64,
    /// Live paths.
    pub live: u64,
    /// Live paths and targets whose newest change was held.
    pub held: u64,
    /// Live paths and targets whose newest change was rejected.
    pub rejected: u64,
    /// Live paths of which a target has said nothing yet.
    pub waiting: u64,
}

const HISTORY: &str = "SELECT seq, effective_ms, committed_ms, change_id, path, kind, uuid, name, op, source, \
    author, message, edit, rollback_of, missed, missed_more, target, outcome, reason, place, waiting, outcome_ms, \
    delay_ms, document_before, document_after FROM config_history";

impl Audit {
    /// Answers from `database`, which some auditor keeps.
    #[must_use]
    pub fn new(database: Database) -> Audit {
        Audit { database }
    }

    /// What happened, the newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn history(&self, filter: &Filter) -> Result<Vec<HistoryRow>, ReadError> {
        let (sql, bound) = query(filter);
        let rows = self.fetch(&sql, bound).await?;
        rows.into_iter().map(|row| Ok(history_row(&mut Cells::new(row))?)).collect()
    }

    /// Where the auditor stands and how much is on record.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn status(&self) -> Result<Status, ReadError> {
        let Stream { env, changes, outcomes, fence, watcher, effective, resync, resync_needed, head } =
            self.stream().await?;
        let counts = self.counts().await?;
        Ok(Status { env, changes, outcomes, fence, watcher, effective, resync, resync_needed, head, counts })
    }

    pub(crate) async fn stream(&self) -> Result<Stream, ReadError> {
        let mut tx = self.database.begin(Mode::Read).await?;
        let stream = store::stream(&mut tx).await;
        tx.rollback().await;
        stream.map_err(|error| self.failed(error))?.ok_or_else(|| self.empty())
    }

    async fn fetch(&self, sql: &str, bound: Vec<Value>) -> Result<Vec<sql::Row>, ReadError> {
        let mut tx = self.database.begin(Mode::Read).await?;
        let rows = tx.fetch(sql, values(bound)).await;
        tx.rollback().await;
        rows.map_err(|error| self.failed(error.into()))
    }

    fn empty(&self) -> ReadError {
        ReadError::Empty { database: self.database.label().to_owned() }
    }

    /// A file without our tables is one that no auditor has opened yet.
    fn failed(&self, error: StoreError) -> ReadError {
        match error {
            StoreError::Sql(error) if error.class() == Class::Schema => self.empty(),
            other => other.into(),
        }
    }

    async fn counts(&self) -> Result<Counts, ReadError> {
        const SQL: &str = "SELECT (SELECT count(*) FROM audit_change), (SELECT count(*) FROM audit_outcome), \
            (SELECT count(*) FROM audit_event), (SELECT count(*) FROM audit_tree), \
            count(*) FILTER (WHERE outcome = 'held'), count(*) FILTER (WHERE outcome = 'rejected'), \
            count(*) FILTER (WHERE live = 1 AND outcome IS NULL) FROM config_now";
        let rows = self.fetch(SQL, vec![]).await?;
        let mut cells = Cells::new(rows.into_iter().next().unwrap_or_default());
        Ok(Counts {
            changes: cells.number("changes")?,
            outcomes: cells.number("outcomes")?,
            events: cells.number("events")?,
            live: cells.number("live")?,
            held: cells.number("held")?,
            rejected: cells.number("rejected")?,
            waiting: cells.number("waiting")?,
        })
    }
}

fn query(filter: &Filter) -> (String, Vec<Value>) {
    let mut wheres = Vec::new();
    let mut bound = Vec::new();
    let mut add = |condition: &str, values: &[Value]| {
        wheres.push(condition.to_owned());
        bound.extend_from_slice(values);
    };
    if let Some(path) = &filter.path {
        let (from, to) = (format!("{path}/"), format!("{path}0"));
        // `0` is the character after `/`: a range that the index can serve.
        add("(path = ? OR (path > ? AND path < ?))", &[string(path), string(from), string(to)]);
    }
    if let Some(uuid) = filter.uuid {
        add("uuid = ?", &[string(uuid)]);
    }
    if let Some(author) = &filter.author {
        add("author = ?", &[string(author)]);
    }
    if let Some(target) = &filter.target {
        add("(target = ? OR target IS NULL)", &[string(target)]);
    }
    if let Some(since) = filter.since {
        add("effective_ms >= ?", &[Value::BigInt(Some(since.0))]);
    }
    if let Some(until) = filter.until {
        add("effective_ms < ?", &[Value::BigInt(Some(until.0))]);
    }
    bound.push(Value::BigInt(Some(i64::from(filter.limit.unwrap_or(1_000)))));
    let wheres = if wheres.is_empty() { String::new() } else { format!(" WHERE {}", wheres.join(" AND ")) };
    (format!("{HISTORY}{wheres} ORDER BY seq DESC, outcome_seq DESC LIMIT ?"), bound)
}

fn history_row(cells: &mut Cells) -> Result<HistoryRow, StoreError> {
    let (seq, effective, committed) = (cells.int("seq")?, cells.int("effective")?, cells.int("committed")?);
    let change: ChangeId = cells.parsed("change_id")?.ok_or(StoreError::Odd { column: "change_id" })?;
    let mut row = HistoryRow {
        seq,
        effective: Millis(effective),
        committed: Millis(committed),
        change,
        path: cells.text("path")?,
        kind: cells.opt_text("kind")?,
        uuid: cells.parsed("uuid")?,
        name: cells.opt_text("name")?,
        op: cells.text("op")?,
        source: cells.text("source")?,
        author: cells.opt_text("author")?,
        message: cells.opt_text("message")?,
        edit: cells.opt_text("edit_of")?,
        rollback_of: cells.opt_text("rollback_of")?,
        missed: cells.int("missed")?,
        missed_more: cells.int("missed_more")? != 0,
        target: cells.opt_text("target")?,
        outcome: cells.opt_text("verdict")?,
        reason: cells.opt_text("reason")?,
        place: cells.opt_text("place")?,
        waiting: waiting(cells.opt_text("waiting")?)?,
        decided: cells.opt_int("committed")?.map(Millis),
        delay_ms: cells.opt_int("delay_ms")?,
        before: cells.opt_text("document")?,
        after: cells.opt_text("document")?,
        differences: Vec::new(),
    };
    row.differences = differences(&row);
    Ok(row)
}

fn waiting(text: Option<String>) -> Result<Vec<Waiting>, StoreError> {
    let read = |text: String| serde_json::from_str(&text).map_err(|_| StoreError::Odd { column: "waiting" });
    text.map_or(Ok(Vec::new()), read)
}

/// Field by field, unless one of the two is no document that could be used.
fn differences(row: &HistoryRow) -> Vec<FieldChange> {
    let Some(kind) = asset_kind(&row.change.path) else { return plain_differences(row) };
    let read = |text: &Option<String>| match text {
        None => Some(None),
        Some(text) => asset::parse(kind, text.as_bytes()).ok().map(Some),
    };
    let (Some(before), Some(after)) = (read(&row.before), read(&row.after)) else { return Vec::new() };
    asset::diff(before.as_ref(), after.as_ref())
}

/// Those of a setting or an endpoint. What is redacted is so in both, and shows no difference.
fn plain_differences(row: &HistoryRow) -> Vec<FieldChange> {
    let is_withheld = row.op == "put" && row.after.is_none();
    let is_ours = matches!(row.change.path.place(), Ok(Place::Setting { .. } | Place::Endpoint { .. }));
    if is_withheld || !is_ours {
        return Vec::new();
    }
    let read = |text: &Option<String>| {
        text.as_ref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok())
    };
    asset::diff_values(read(&row.before).as_ref(), read(&row.after).as_ref())
}
