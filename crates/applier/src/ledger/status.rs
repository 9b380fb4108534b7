//! What a person wants to know of a target, read from its ledger.

use super::*;
use change::Waiting;
use sql::{Database, Mode};

/// Why the status of a target cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The database said no.
    #[error("read the ledger")]
    Sql(#[from] sql::Error),
}

/// A target as its ledger tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetStatus {
    /// The target's name.
    pub name: String,
    /// The target's id.
    pub id: Uuid,
    /// Where it reads next.
    pub position: Option<queue::Position>,
    /// The highest watcher's fence that it has read.
    pub watcher: Option<change::Fence>,
    /// Effective time of the last record that it read.
    pub effective: Millis,
    /// Paths whose documents stand in the rows (or, of settings, are stored).
    pub applied: usize,
    /// Changes that wait.
    pub held: Vec<Item>,
    /// Newest changes that were rejected, while the last good state stays.
    pub rejected: Vec<Item>,
    /// Outcomes that were not relayed yet.
    pub outbox: u64,
    /// The resync that is open.
    pub resync: Option<Uuid>,
}

/// One change that is pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The change.
    pub id: ChangeId,
    /// Its effective time.
    pub at: Millis,
    /// What it waits for; empty for a rejected one.
    pub waiting: Vec<Waiting>,
    /// Why it was rejected, or what it waits for, in words.
    pub reason: String,
    /// Where in the document.
    pub place: Option<String>,
}

/// Reads a target's ledger. It may be read while the applier runs.
///
/// # Errors
/// See [`StatusError`].
pub async fn status(database: &Database, schema: Option<&str>) -> Result<TargetStatus, StatusError> {
    let tables = Tables::new(schema, database.dialect());
    let mut transaction = database.begin(Mode::Read).await?;
    if !tables.exist(&mut transaction).await? {
        let database = database.label().to_owned();
        return Err(LedgerError::Missing { database }.into());
    }
    let ledger = load(&tables, &mut transaction).await?;
    let outbox = count(&tables, &mut transaction, OUTBOX).await?;
    transaction.rollback().await;
    let (held, rejected) = items(&ledger);
    Ok(TargetStatus {
        name: ledger.stream.name.clone(),
        id: ledger.stream.id,
        position: ledger.stream.position,
        watcher: ledger.stream.watcher,
        effective: ledger.stream.effective,
        applied: ledger.entries().values().filter(|entry| entry.applied.is_some()).count(),
        held,
        rejected,
        outbox: u64::try_from(outbox).unwrap_or(0),
        resync: ledger.stream.resync,
    })
}

fn items(ledger: &Ledger) -> (Vec<Item>, Vec<Item>) {
    let (mut held, mut rejected) = (Vec::new(), Vec::new());
    for pending in ledger.entries().values().filter_map(|entry| entry.pending.as_ref()) {
        let (id, at) = (pending.id.clone(), pending.at);
        match &pending.state {
            State::New => {}
            State::Held { waiting } => {
                let words: Vec<String> = waiting.iter().map(ToString::to_string).collect();
                held.push(Item { id, at, waiting: waiting.clone(), reason: words.join("; "), place: None });
            }
            State::Rejected { reason, place, .. } => {
                let (reason, place) = (reason.clone(), place.clone());
                rejected.push(Item { id, at, waiting: Vec::new(), reason, place });
            }
        }
    }
    (held, rejected)
}
