//! Rows of the three tables that make up the history. A row is exactly the fields that its table has, in the
//! table's order, so that what is stored and what is hashed cannot differ.

use change::{Cause, Fence, Lifetime, Millis, Outcome, Verdict};
use uuid::Uuid;

use crate::describe::clean;

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Null,
    Int(i64),
    Text(String),
}

/// Which table a row stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `audit_change`
    Change,
    /// `audit_outcome`
    Outcome,
    /// `audit_event`
    Event,
}

/// A row without its sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) table: Table,
    pub(crate) fields: Vec<Field>,
}

impl Row {
    pub(crate) fn new(table: Table, fields: Vec<Field>) -> Row {
        Row { table, fields }
    }
}

impl Table {
    pub(crate) const ALL: [Table; 3] = [Table::Change, Table::Outcome, Table::Event];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Change => "audit_change",
            Table::Outcome => "audit_outcome",
            Table::Event => "audit_event",
        }
    }

    /// What stands in the chain for a row of this table with these columns: part of the hashed bytes.
    pub(crate) fn format(self) -> &'static str {
        match self {
            Table::Change => "change.1",
            Table::Outcome => "outcome.1",
            Table::Event => "event.1",
        }
    }

    /// The hashed columns in the order of their hashing, `seq` apart.
    pub(crate) fn columns(self) -> &'static [&'static str] {
        match self {
            Table::Change => CHANGE,
            Table::Outcome => OUTCOME,
            Table::Event => EVENT,
        }
    }
}

const CHANGE: &[&str] = &[
    "change_id",
    "generation",
    "path",
    "czxid",
    "version",
    "zxid",
    "mzxid",
    "op",
    "source",
    "resync",
    "kind",
    "uuid",
    "name",
    "lifetime",
    "author",
    "message",
    "edit_id",
    "edit_of",
    "edit_part",
    "edit_parts",
    "rollback_of",
    "traceparent",
    "committed",
    "seen",
    "effective",
    "size",
    "sha256",
    "document",
    "document_state",
    "document_hash",
    "missed",
    "missed_more",
    "previous",
    "fence",
    "log",
    "log_offset",
];

const OUTCOME: &[&str] = &[
    "outcome_key",
    "target_id",
    "target",
    "change_id",
    "path",
    "uuid",
    "cause",
    "verdict",
    "final",
    "reason",
    "place",
    "waiting",
    "also",
    "drifted",
    "replaced",
    "committed",
    "log",
    "log_offset",
];

const EVENT: &[&str] = &["kind", "effective", "detail", "fence", "log", "log_offset"];

/// Where a record stood on the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) log: Uuid,
    pub(crate) offset: i64,
}

/// One entry of a topic as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<T> {
    pub(crate) at: At,
    pub(crate) content: Result<T, Unreadable>,
}

/// Bytes that will never be a record. They are not kept: they may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Of the body.
    pub(crate) sha256: String,
    /// What could not be read.
    pub(crate) part: String,
}

impl Unreadable {
    pub(crate) fn detail(&self, topic: &str) -> serde_json::Value {
        serde_json::json!({"topic": topic, "part": self.part, "sha256": self.sha256})
    }
}

/// What a reader of the history should know besides changes and outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Term,
    ResyncBegin,
    ResyncEnd,
    Gap,
    Conflict,
    Unreadable,
}

impl EventKind {
    fn name(self) -> &'static str {
        match self {
            EventKind::Term => "term",
            EventKind::ResyncBegin => "resync-begin",
            EventKind::ResyncEnd => "resync-end",
            EventKind::Gap => "gap",
            EventKind::Conflict => "conflict",
            EventKind::Unreadable => "unreadable",
        }
    }
}

pub(crate) fn event(
    kind: EventKind,
    effective: Millis,
    detail: &serde_json::Value,
    fence: Option<Fence>,
    at: Option<At>,
) -> Row {
    let fields = vec![
        text(kind.name()),
        Field::Int(effective.0),
        text(detail),
        opt_text(fence),
        opt_text(at.map(|at| at.log)),
        opt_int(at.map(|at| at.offset)),
    ];
    Row::new(Table::Event, fields)
}

/// What an outcome's row says beyond the outcome itself.
pub(crate) struct OutcomeFacts {
    pub(crate) uuid: Option<Uuid>,
    pub(crate) replaced: Option<String>,
    pub(crate) drifted: Option<String>,
    pub(crate) at: At,
}

pub(crate) fn outcome(outcome: &Outcome, facts: OutcomeFacts) -> Row {
    let cause = match outcome.cause {
        Cause::Change => "change",
        Cause::Reconcile => "reconcile",
    };
    let (reason, place, waiting) = match &outcome.verdict {
        Verdict::Rejected { reason, place } => (Some(clean(reason)), place.clone(), None),
        Verdict::Held { waiting } => {
            let reasons: Vec<String> = waiting.iter().map(ToString::to_string).collect();
            (Some(reasons.join("; ")), None, Some(json(waiting)))
        }
        Verdict::Applied | Verdict::Unchanged | Verdict::Superseded | Verdict::Skipped | Verdict::Deleted => {
            (None, None, None)
        }
    };
    let also = (!outcome.also.is_empty()).then(|| json(&outcome.also));
    let fields = vec![
        text(outcome.key),
        text(outcome.key.target),
        text(&outcome.target),
        text(&outcome.change),
        text(&outcome.change.path),
        opt_text(facts.uuid),
        text(cause),
        text(outcome.verdict.name()),
        flag(outcome.verdict.is_final()),
        opt_text(reason),
        opt_text(place),
        opt_text(waiting),
        opt_text(also),
        opt_text(facts.drifted),
        opt_text(facts.replaced),
        Field::Int(outcome.committed.0),
        text(facts.at.log),
        Field::Int(facts.at.offset),
    ];
    Row::new(Table::Outcome, fields)
}

/// What an outcome says, as far as its row alone tells it: equal for the same outcome that comes again.
pub(crate) fn gist(said: &Outcome) -> String {
    let facts =
        OutcomeFacts { uuid: None, replaced: None, drifted: None, at: At { log: Uuid::nil(), offset: 0 } };
    let row = outcome(said, facts);
    let fields = OUTCOME.iter().zip(row.fields).filter(|(column, _)| GIST.contains(column));
    gist_of(fields.map(|(_, field)| field))
}

/// The columns of an outcome's row that follow from the outcome alone.
pub(crate) const GIST: [&str; 8] =
    ["change_id", "cause", "verdict", "reason", "place", "waiting", "also", "committed"];

/// A digest of those columns, in their order.
pub(crate) fn gist_of(fields: impl Iterator<Item = Field>) -> String {
    let fields: Vec<serde_json::Value> = fields
        .map(|field| match field {
            Field::Null => serde_json::Value::Null,
            Field::Int(int) => int.into(),
            Field::Text(text) => text.into(),
        })
        .collect();
    change::sha256_hex(json(&fields).as_bytes())
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our own types have string keys and no failing serialisers")
}

pub(crate) fn lifetime_name(lifetime: Lifetime) -> &'static str {
    match lifetime {
        Lifetime::Persistent => "persistent",
        Lifetime::Ephemeral => "ephemeral",
        Lifetime::Container => "container",
        Lifetime::Ttl => "ttl",
    }
}

pub(crate) fn text(value: impl ToString) -> Field {
    Field::Text(value.to_string())
}

pub(crate) fn opt_text(value: Option<impl ToString>) -> Field {
    value.map_or(Field::Null, text)
}

pub(crate) fn opt_int(value: Option<impl Into<i64>>) -> Field {
    value.map_or(Field::Null, |value| Field::Int(value.into()))
}

pub(crate) fn flag(value: bool) -> Field {
    Field::Int(i64::from(value))
}
