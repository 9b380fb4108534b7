//! The ledger's tables: what stands in Superset's own database, so that it is committed with the rows.
//!
//! Four tables with the prefix `setkeeper_`, made by [`init_db`] alone, in Superset's schema or (PostgreSQL) one
//! of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use asset::{Kind, Strength};
use change::{ChangeId, Fence, Millis, ZnodePath};
use sea_query::{
    Alias, Asterisk, Expr, ExprTrait, Func, IntoTableRef, OnConflict, PostgresQueryBuilder, Query,
    QueryStatementWriter, SimpleExpr, SqliteQueryBuilder, TableRef,
};
use sql::{Dialect, Row, Transaction, Value, Values};
use uuid::Uuid;

use crate::book::{Applied, Edge, Entry, Ledger, Pending, State, Stream, Tombstone, Want};

mod init;
mod row;
mod status;

pub use init::{InitError, Inited, init_db};
pub use status::{Item, StatusError, TargetStatus, status};

/// Where the ledger's tables are, and how to speak to them.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    /// PostgreSQL's schema, if they have one of their own.
    pub(crate) schema: Option<String>,
    pub(crate) dialect: Dialect,
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database said no.
    #[error(transparent)]
    Sql(#[from] sql::Error),
    /// The tables are not there.
    #[error("read the ledger in {database}: its tables are not there; run `setkeeper init-db`")]
    Missing {
        /// Which database.
        database: String,
    },
    /// A row that setkeeper did not write so.
    #[error(
        "read the ledger's `{table}.{column}`: it holds what setkeeper did not write; restore the table from a backup"
    )]
    Strange {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
}

pub(crate) const STREAM: &str = "setkeeper_stream";
pub(crate) const ASSET: &str = "setkeeper_asset";
pub(crate) const REFERENCE: &str = "setkeeper_reference";
pub(crate) const OUTBOX: &str = "setkeeper_outbox";

/// Rows of one multi-row statement; SQLite takes 32,766 values.
const CHUNK: usize = 200;

impl Tables {
    pub(crate) fn new(schema: Option<&str>, dialect: Dialect) -> Tables {
        // SQLite has no schemas.
        let schema = schema.filter(|_| dialect == Dialect::Postgres).map(str::to_owned);
        Tables { schema, dialect }
    }

    pub(crate) fn table(&self, name: &'static str) -> TableRef {
        match &self.schema {
            Some(schema) => (Alias::new(schema.as_str()), Alias::new(name)).into_table_ref(),
            None => Alias::new(name).into_table_ref(),
        }
    }

    pub(crate) fn build(&self, statement: &impl QueryStatementWriter) -> (String, Values) {
        match self.dialect {
            Dialect::Sqlite => statement.build(SqliteQueryBuilder),
            Dialect::Postgres => statement.build(PostgresQueryBuilder),
        }
    }

    pub(crate) async fn execute(
        &self,
        transaction: &mut Transaction,
        statement: &impl QueryStatementWriter,
    ) -> Result<u64, sql::Error> {
        let (sql, values) = self.build(statement);
        transaction.execute(&sql, values).await
    }

    pub(crate) async fn fetch(
        &self,
        transaction: &mut Transaction,
        statement: &impl QueryStatementWriter,
    ) -> Result<Vec<Row>, sql::Error> {
        let (sql, values) = self.build(statement);
        transaction.fetch(&sql, values).await
    }

    /// Whether the tables are there.
    pub(crate) async fn exist(&self, transaction: &mut Transaction) -> Result<bool, sql::Error> {
        let tables = transaction.tables(self.schema.as_deref()).await?;
        Ok([STREAM, ASSET, REFERENCE, OUTBOX].iter().all(|name| tables.iter().any(|its| its == name)))
    }
}

pub(crate) fn column(name: &'static str) -> Expr {
    Expr::col(Alias::new(name))
}

/// Raises the ledger's fence to ours and says whether it was not higher already. Whoever has raised it holds the
/// row's lock until the end of the transaction.
pub(crate) async fn raise_fence(
    tables: &Tables,
    transaction: &mut Transaction,
    fence: Fence,
) -> Result<bool, sql::Error> {
    let (generation, czxid) = row::of_fence(fence);
    let lower = column("fence_generation")
        .is_null()
        .or(column("fence_generation").lt(generation))
        .or(column("fence_generation").eq(generation).and(column("fence_czxid").lte(czxid)));
    let update = Query::update()
        .table(tables.table(STREAM))
        .value(Alias::new("fence_generation"), generation)
        .value(Alias::new("fence_czxid"), czxid)
        .and_where(lower)
        .take();
    Ok(tables.execute(transaction, &update).await? == 1)
}

/// Reads where the target stands.
pub(crate) async fn stream(tables: &Tables, transaction: &mut Transaction) -> Result<Stream, LedgerError> {
    let mut select = Query::select();
    for name in row::STREAM_COLUMNS {
        select.column(Alias::new(*name));
    }
    let rows = tables.fetch(transaction, select.from(tables.table(STREAM))).await?;
    let first = rows.first().ok_or(LedgerError::Strange { table: STREAM, column: "id" })?;
    row::stream(first)
}

/// Reads all of the ledger but the applied documents.
pub(crate) async fn load(tables: &Tables, transaction: &mut Transaction) -> Result<Ledger, LedgerError> {
    let mut ledger = Ledger::new(stream(tables, transaction).await?);
    let mut edges = edges(tables, transaction).await?;
    let mut select = Query::select();
    for name in row::ASSET_COLUMNS {
        if *name == "applied_document" {
            // Those without a kind are needed at any time: an approval's at deletes, an endpoint's with databases.
            select.expr(Expr::cust("CASE WHEN applied_kind IS NULL THEN applied_document END"));
        } else {
            select.column(Alias::new(*name));
        }
    }
    for row in tables.fetch(transaction, select.from(tables.table(ASSET))).await? {
        let (path, mut entry) = row::entry(&row)?;
        if let Some(applied) = &mut entry.applied {
            applied.edges = edges.remove(&(path.clone(), "applied")).unwrap_or_default();
        }
        if let Some(Pending { want: Want::Put { edges: its, .. }, .. }) = &mut entry.pending {
            *its = edges.remove(&(path.clone(), "pending")).unwrap_or_default();
        }
        ledger.set(&path, Some(entry));
    }
    Ok(ledger)
}

type Edges = BTreeMap<(ZnodePath, &'static str), Vec<Edge>>;

async fn edges(tables: &Tables, transaction: &mut Transaction) -> Result<Edges, LedgerError> {
    let mut select = Query::select();
    for name in row::REFERENCE_COLUMNS {
        select.column(Alias::new(*name));
    }
    let mut edges = Edges::new();
    for row in tables.fetch(transaction, select.from(tables.table(REFERENCE))).await? {
        let (path, part, edge) = row::edge(&row)?;
        edges.entry((path, part)).or_default().push(edge);
    }
    for list in edges.values_mut() {
        list.sort();
    }
    Ok(edges)
}

/// Reads applied documents.
pub(crate) async fn documents(
    tables: &Tables,
    transaction: &mut Transaction,
    paths: &[ZnodePath],
) -> Result<Vec<(ZnodePath, Arc<str>)>, LedgerError> {
    let mut found = Vec::new();
    for chunk in paths.chunks(CHUNK) {
        let select = Query::select()
            .columns([Alias::new("path"), Alias::new("applied_document")])
            .from(tables.table(ASSET))
            .and_where(column("path").is_in(chunk.iter().map(ZnodePath::as_str)))
            .take();
        for row in tables.fetch(transaction, &select).await? {
            let text = |index: usize| row.get(index).and_then(row::text);
            let path = text(0).and_then(|path| path.parse().ok());
            if let (Some(path), Some(document)) = (path, text(1)) {
                found.push((path, Arc::from(document)));
            }
        }
    }
    Ok(found)
}

/// Writes the entries that changed.
pub(crate) async fn write(
    tables: &Tables,
    transaction: &mut Transaction,
    changes: &BTreeMap<ZnodePath, Option<Entry>>,
) -> Result<(), sql::Error> {
    let paths: Vec<&str> = changes.keys().map(ZnodePath::as_str).collect();
    for chunk in paths.chunks(CHUNK) {
        let delete = Query::delete()
            .from_table(tables.table(REFERENCE))
            .and_where(column("path").is_in(chunk.iter().copied()))
            .take();
        tables.execute(transaction, &delete).await?;
    }
    let gone: Vec<&str> =
        changes.iter().filter(|(_, entry)| entry.is_none()).map(|(path, _)| path.as_str()).collect();
    for chunk in gone.chunks(CHUNK) {
        let delete = Query::delete()
            .from_table(tables.table(ASSET))
            .and_where(column("path").is_in(chunk.iter().copied()))
            .take();
        tables.execute(transaction, &delete).await?;
    }
    let kept: Vec<(&ZnodePath, &Entry)> =
        changes.iter().filter_map(|(path, entry)| Some((path, entry.as_ref()?))).collect();
    for chunk in kept.chunks(CHUNK) {
        upsert(tables, transaction, chunk).await?;
    }
    insert_edges(tables, transaction, &kept).await
}

async fn upsert(
    tables: &Tables,
    transaction: &mut Transaction,
    entries: &[(&ZnodePath, &Entry)],
) -> Result<(), sql::Error> {
    let mut insert = Query::insert();
    insert.into_table(tables.table(ASSET)).columns(row::ASSET_COLUMNS.iter().map(|name| Alias::new(*name)));
    for (path, entry) in entries {
        insert.values_panic(row::of_entry(path, entry).into_iter().map(SimpleExpr::from));
    }
    let mut conflict = OnConflict::column(Alias::new("path"));
    let rest = row::ASSET_COLUMNS.iter().filter(|name| !matches!(**name, "path" | "applied_document"));
    conflict.update_columns(rest.map(|name| Alias::new(*name)));
    // A document that was not read is not written either.
    conflict.value(
        Alias::new("applied_document"),
        Expr::cust(
            "CASE WHEN excluded.applied_change IS NULL THEN NULL \
             ELSE COALESCE(excluded.applied_document, setkeeper_asset.applied_document) END",
        ),
    );
    insert.on_conflict(conflict);
    tables.execute(transaction, &insert).await.map(drop)
}

async fn insert_edges(
    tables: &Tables,
    transaction: &mut Transaction,
    entries: &[(&ZnodePath, &Entry)],
) -> Result<(), sql::Error> {
    let rows: Vec<Vec<Value>> = entries.iter().flat_map(|(path, entry)| row::of_edges(path, entry)).collect();
    for chunk in rows.chunks(CHUNK) {
        let mut insert = Query::insert();
        insert
            .into_table(tables.table(REFERENCE))
            .columns(row::REFERENCE_COLUMNS.iter().map(|name| Alias::new(*name)));
        for row in chunk {
            insert.values_panic(row.iter().cloned().map(SimpleExpr::from));
        }
        tables.execute(transaction, &insert).await?;
    }
    Ok(())
}

/// Writes where the target then stands.
pub(crate) async fn advance(
    tables: &Tables,
    transaction: &mut Transaction,
    stream: &Stream,
) -> Result<(), sql::Error> {
    let mut update = Query::update();
    update.table(tables.table(STREAM));
    for (name, value) in row::of_stream(stream) {
        update.value(Alias::new(name), SimpleExpr::from(value));
    }
    tables.execute(transaction, &update).await.map(drop)
}

/// Forgets deletes that the log can no longer repeat and the guard no longer counts.
pub(crate) async fn forget_tombstones(
    tables: &Tables,
    transaction: &mut Transaction,
    log_starts: i64,
    before: Millis,
) -> Result<u64, sql::Error> {
    let old = || column("tombstone_offset").lt(log_starts).and(column("tombstone_at").lt(before.0));
    let delete = Query::delete()
        .from_table(tables.table(ASSET))
        .and_where(old())
        .and_where(column("applied_change").is_null())
        .and_where(column("pending_change").is_null())
        .take();
    tables.execute(transaction, &delete).await
}

/// How many rows a table has.
pub(crate) async fn count(
    tables: &Tables,
    transaction: &mut Transaction,
    table: &'static str,
) -> Result<i64, sql::Error> {
    let select = Query::select().expr(Func::count(Expr::col(Asterisk))).from(tables.table(table)).take();
    let rows = tables.fetch(transaction, &select).await?;
    Ok(rows.first().and_then(|row| row.first()).and_then(row::int).unwrap_or(0))
}
