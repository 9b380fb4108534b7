//! Looking at Superset's tables, inside the transaction that will write them.

use std::collections::{BTreeMap, BTreeSet};

use sql::{Dialect, IdSource, Transaction, Value};
use superset::{Ask, Facts, FaultKind, Lookup, Schema, SchemaFault};

/// Why Superset's tables could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The database said no.
    #[error(transparent)]
    Sql(#[from] sql::Error),
    /// Not a Superset that we know.
    #[error(transparent)]
    Schema(#[from] SchemaFault),
    /// A row that cannot be read.
    #[error("read Superset's rows")]
    Row(#[from] superset::Fault),
    /// The questions do not end: a fault of setkeeper.
    #[error(
        "look at Superset's rows: after {0} rounds there are still questions; report this as a fault of setkeeper"
    )]
    Rounds(usize),
}

pub(crate) fn dialect(dialect: Dialect) -> superset::Dialect {
    match dialect {
        Dialect::Sqlite => superset::Dialect::Sqlite,
        Dialect::Postgres => superset::Dialect::Postgres,
    }
}

/// Asks the database which tables and columns this Superset has.
pub(crate) async fn schema(transaction: &mut Transaction) -> Result<Schema, ObserveError> {
    let dialect = dialect(transaction.dialect());
    let text = |value: Option<&Value>| match value {
        Some(Value::String(Some(text))) => text.clone(),
        _ => String::new(),
    };
    let [columns, _] = superset::introspection(dialect);
    let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for row in transaction.fetch(&columns.sql, columns.values).await? {
        found.entry(text(row.first())).or_default().insert(text(row.get(1)), text(row.get(2)));
    }
    let versions =
        if found.contains_key("alembic_version") { versions(transaction).await? } else { Vec::new() };
    Ok(Schema::from_columns(dialect, &found, &versions)?)
}

/// Superset's schema version: cheap enough to be asked in every transaction.
pub(crate) async fn versions(transaction: &mut Transaction) -> Result<Vec<String>, sql::Error> {
    let [_, versions] = superset::introspection(dialect(transaction.dialect()));
    let rows = transaction.fetch(&versions.sql, versions.values).await?;
    let text = |row: Vec<Value>| match row.into_iter().next() {
        Some(Value::String(text)) => text,
        _ => None,
    };
    Ok(rows.into_iter().filter_map(text).collect())
}

/// Every stored secret as Superset encrypted it.
pub(crate) async fn stored_secrets(
    transaction: &mut Transaction,
    schema: &Schema,
) -> Result<Vec<Vec<u8>>, sql::Error> {
    let mut rows = Vec::new();
    for probe in superset::probe(schema) {
        rows.extend(transaction.fetch(&probe.sql, probe.values).await?);
    }
    let bytes = |row: Vec<Value>| match row.into_iter().next() {
        Some(Value::Bytes(Some(bytes))) => Some(bytes),
        Some(Value::String(Some(text))) => Some(text.into_bytes()),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(bytes).collect())
}

/// Asks and observes in turn until nothing is missing.
pub(crate) async fn observe(
    transaction: &mut Transaction,
    facts: &mut Facts,
    rounds: usize,
    ask: impl Fn(&Facts) -> Ask,
) -> Result<(), ObserveError> {
    for _ in 0..rounds {
        let ask = ask(facts);
        if ask.is_empty() {
            return Ok(());
        }
        answer(transaction, facts, &ask).await?;
    }
    if ask(facts).is_empty() { Ok(()) } else { Err(ObserveError::Rounds(rounds)) }
}

/// Finds what deciding turned out to lack.
pub(crate) async fn supply(
    transaction: &mut Transaction,
    facts: &mut Facts,
    missing: &FaultKind,
) -> Result<(), ObserveError> {
    let mut ask = Ask::default();
    match missing {
        FaultKind::Unasked(lookup) => drop(ask.lookups.insert((**lookup).clone())),
        // A batch that deletes and makes an asset again needs more ids than there are assets.
        FaultKind::NoIds(table) => drop(ask.ids.insert(*table, IDS_MORE)),
        FaultKind::Missing(_)
        | FaultKind::Conflict { .. }
        | FaultKind::StillUsed { .. }
        | FaultKind::Driver
        | FaultKind::Secret(_)
        | FaultKind::Unsupported
        | FaultKind::Unreadable
        | FaultKind::Endpoint(_)
        | FaultKind::Absent => {}
    }
    answer(transaction, facts, &ask).await
}

/// Looks all of that up.
pub(crate) async fn look(
    transaction: &mut Transaction,
    facts: &mut Facts,
    lookups: BTreeSet<Lookup>,
) -> Result<(), ObserveError> {
    answer(transaction, facts, &Ask { lookups, ..Ask::default() }).await
}

const IDS_MORE: usize = 50;

async fn answer(transaction: &mut Transaction, facts: &mut Facts, ask: &Ask) -> Result<(), ObserveError> {
    for query in superset::queries(ask, &facts.schema) {
        let rows = transaction.fetch(&query.statement.sql, query.statement.values.clone()).await?;
        facts.learn(&query, rows)?;
    }
    let dialect = dialect(transaction.dialect());
    for (table, count) in &ask.ids {
        let source = match table.id_source(dialect) {
            superset::IdSource::SerialColumn => IdSource::SerialColumn,
            superset::IdSource::Sequence(sequence) => IdSource::Sequence(sequence.to_owned()),
            superset::IdSource::MaxPlusOne => IdSource::MaxPlusOne,
        };
        let count = u32::try_from(*count).unwrap_or(u32::MAX);
        let ids = transaction.reserve_ids(table.name(), "id", count, &source).await?;
        facts.reserve(*table, ids);
    }
    Ok(())
}
