//! Outcomes that were committed with their effect and not relayed yet.

use change::{Outcome, wire};
use sea_query::{Alias, ExprTrait, Order, Query, SimpleExpr};
use sql::{Transaction, Value};

use crate::ledger::{LedgerError, OUTBOX, Tables, column};

/// One outcome as the queue wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub(crate) sequence: i64,
    pub(crate) entry: queue::NewEntry,
}

pub(crate) fn pack(env: &str, outcome: &Outcome) -> Parcel {
    let wire::Encoded { key, headers, body } = wire::encode_outcome(env, outcome);
    let sequence = i64::try_from(outcome.key.sequence).unwrap_or(i64::MAX);
    Parcel { sequence, entry: queue::NewEntry { key, headers, body } }
}

/// Rows of one INSERT.
const CHUNK: usize = 200;

pub(crate) async fn insert(
    tables: &Tables,
    transaction: &mut Transaction,
    parcels: &[Parcel],
) -> Result<(), sql::Error> {
    for chunk in parcels.chunks(CHUNK) {
        let mut insert = Query::insert();
        insert
            .into_table(tables.table(OUTBOX))
            .columns(["sequence", "key", "headers", "body"].map(Alias::new));
        for Parcel { sequence, entry } in chunk {
            let body = String::from_utf8_lossy(&entry.body).into_owned();
            let texts = [&entry.key, &entry.headers, &body].map(|text| SimpleExpr::from(text.as_str()));
            insert.values_panic([SimpleExpr::from(*sequence)].into_iter().chain(texts));
        }
        tables.execute(transaction, &insert).await?;
    }
    Ok(())
}

/// The oldest outcomes, in order. A row that is not understood is an error: leaving it out would let it be forgotten
/// unrelayed.
pub(crate) async fn oldest(
    tables: &Tables,
    transaction: &mut Transaction,
    count: u64,
) -> Result<Vec<Parcel>, LedgerError> {
    let select = Query::select()
        .columns(["sequence", "key", "headers", "body"].map(Alias::new))
        .from(tables.table(OUTBOX))
        .order_by(Alias::new("sequence"), Order::Asc)
        .limit(count)
        .take();
    let parcel = |row: Vec<Value>| {
        let [sequence, key, headers, body] = <[Value; 4]>::try_from(row).ok()?;
        let text = |value| match value {
            Value::String(text) => text,
            _ => None,
        };
        let Value::BigInt(Some(sequence)) = sequence else { return None };
        let entry =
            queue::NewEntry { key: text(key)?, headers: text(headers)?, body: text(body)?.into_bytes() };
        Some(Parcel { sequence, entry })
    };
    let strange = LedgerError::Strange { table: OUTBOX, column: "body" };
    let rows = tables.fetch(transaction, &select).await?;
    rows.into_iter().map(parcel).collect::<Option<Vec<Parcel>>>().ok_or(strange)
}

/// Forgets what the queue has acknowledged.
pub(crate) async fn forget(
    tables: &Tables,
    transaction: &mut Transaction,
    up_to: i64,
) -> Result<(), sql::Error> {
    let delete =
        Query::delete().from_table(tables.table(OUTBOX)).and_where(column("sequence").lte(up_to)).take();
    tables.execute(transaction, &delete).await.map(drop)
}
