//! Making the ledger's tables, on purpose and once.

use super::*;
use sql::{CommitError, Database, Mode};
use superset::Table;

/// Why the tables could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Another target's ledger is there: a cloned database.
    #[error(
        "make the ledger of target `{wanted}` in {database}: it holds the ledger of target `{found}`; if this is a \
         copy of that database, drop its four tables setkeeper_* first"
    )]
    OtherTarget {
        /// Which database.
        database: String,
        /// The name asked for.
        wanted: String,
        /// The name there.
        found: String,
    },
    /// The ledger is there and cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The database said no.
    #[error("make the ledger's tables")]
    Sql(#[from] sql::Error),
    /// The commit failed.
    #[error("make the ledger's tables")]
    Commit(#[from] CommitError),
}

/// What [`init_db`] found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inited {
    /// Whether the ledger is new.
    pub created: bool,
    /// The target's id.
    pub target: Uuid,
    /// The statements that give a role the least rights that the applier needs (PostgreSQL); `ROLE` stands for
    /// the role's name.
    pub rights: Vec<String>,
}

/// Makes the four tables of the ledger in Superset's database, for the target of that name. Done again, it
/// changes nothing.
///
/// `schema` is PostgreSQL's schema to put them in, made if it is not there; `None` is Superset's own.
///
/// # Errors
/// See [`InitError`]; nothing was made then.
pub async fn init_db(database: &Database, name: &str, schema: Option<&str>) -> Result<Inited, InitError> {
    let tables = Tables::new(schema, database.dialect());
    let mut transaction = database.begin(Mode::Write).await?;
    if let Some(schema) = &tables.schema {
        let script = format!("CREATE SCHEMA IF NOT EXISTS \"{}\"", schema.replace('"', "\"\""));
        transaction.execute_script(&script).await?;
    }
    let rights = rights(&tables, &transaction.tables(None).await?);
    if tables.exist(&mut transaction).await? {
        let stream = stream(&tables, &mut transaction).await?;
        transaction.rollback().await;
        if stream.name != name {
            let (database, wanted) = (database.label().to_owned(), name.to_owned());
            return Err(InitError::OtherTarget { database, wanted, found: stream.name });
        }
        return Ok(Inited { created: false, target: stream.id, rights });
    }
    transaction.execute_script(&script(&tables)).await?;
    let target = Uuid::new_v4();
    let insert = Query::insert()
        .into_table(tables.table(STREAM))
        .columns(["id", "layout", "target_name", "target_id", "effective", "sequence"].map(Alias::new))
        .values_panic([
            Value::BigInt(Some(1)).into(),
            Value::BigInt(Some(1)).into(),
            name.into(),
            target.to_string().into(),
            Value::BigInt(Some(0)).into(),
            Value::BigInt(Some(1)).into(),
        ])
        .take();
    tables.execute(&mut transaction, &insert).await?;
    transaction.commit().await?;
    Ok(Inited { created: true, target, rights })
}

fn qualified(tables: &Tables, table: &str) -> String {
    match &tables.schema {
        Some(schema) => format!("\"{}\".{table}", schema.replace('"', "\"\"")),
        None => table.to_owned(),
    }
}

fn script(tables: &Tables) -> String {
    let table = |name| qualified(tables, name);
    let (stream, asset, reference, outbox) = (table(STREAM), table(ASSET), table(REFERENCE), table(OUTBOX));
    format!(
        "CREATE TABLE {stream} (id BIGINT PRIMARY KEY CHECK (id = 1), layout BIGINT NOT NULL, \
             target_name TEXT NOT NULL, target_id TEXT NOT NULL, position TEXT, effective BIGINT NOT NULL, \
             fence_generation BIGINT, fence_czxid BIGINT, watcher_generation BIGINT, watcher_czxid BIGINT, \
             sequence BIGINT NOT NULL, resync TEXT);
         CREATE TABLE {asset} (path TEXT PRIMARY KEY, applied_change TEXT, applied_path TEXT, applied_kind TEXT, \
             applied_uuid TEXT, applied_document TEXT, applied_digest TEXT, pending_change TEXT, \
             pending_at BIGINT, pending_offset BIGINT, pending_want TEXT, pending_kind TEXT, pending_uuid TEXT, \
             pending_document TEXT, pending_state TEXT, seen TEXT, tombstone_change TEXT, tombstone_at BIGINT, \
             tombstone_offset BIGINT, tombstone_kind TEXT);
         CREATE TABLE {reference} (path TEXT NOT NULL, part TEXT NOT NULL, strength TEXT NOT NULL, \
             kind TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (path, part, kind, target));
         CREATE TABLE {outbox} (sequence BIGINT PRIMARY KEY, key TEXT NOT NULL, headers TEXT NOT NULL, \
             body TEXT NOT NULL);"
    )
}

/// What the applier reads and writes, and nothing else.
fn rights(tables: &Tables, existing: &[String]) -> Vec<String> {
    if tables.dialect == Dialect::Sqlite {
        return Vec::new();
    }
    let mut rights = Vec::new();
    if let Some(schema) = &tables.schema {
        rights.push(format!("GRANT USAGE ON SCHEMA \"{}\" TO ROLE;", schema.replace('"', "\"\"")));
    }
    let ours = [STREAM, ASSET, REFERENCE, OUTBOX].map(|name| qualified(tables, name)).join(", ");
    let is_read = |table: &Table| matches!(table, Table::Themes | Table::ReportSchedule);
    let names = |wanted: &dyn Fn(&Table) -> bool| {
        let names: Vec<&str> =
            Table::ALL.iter().filter(|table| wanted(table)).map(|table| table.name()).collect();
        names.into_iter().filter(|name| existing.iter().any(|its| its == name)).collect::<Vec<_>>()
    };
    let written = names(&|table| !is_read(table));
    let sequences: Vec<String> = written.iter().map(|name| format!("{name}_id_seq")).collect();
    let read = names(&is_read).join(", ");
    let swept: Vec<&str> =
        SWEPT.iter().copied().filter(|name| existing.iter().any(|its| its == name)).collect();
    rights.extend([
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {ours} TO ROLE;"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO ROLE;", written.join(", ")),
        format!("GRANT USAGE ON SEQUENCE {} TO ROLE;", sequences.join(", ")),
        format!("GRANT SELECT, UPDATE, DELETE ON {} TO ROLE;", swept.join(", ")),
        format!("GRANT SELECT ON alembic_version, {read} TO ROLE;"),
    ]);
    rights
}

/// Tables that the applier never fills: it removes what points to a deleted asset, or makes it point to nothing.
const SWEPT: &[&str] = &[
    "ab_permission_view_role",
    "dashboard_roles",
    "dashboard_user",
    "database_user_oauth2_tokens",
    "embedded_dashboards",
    "query",
    "rls_filter_tables",
    "saved_query",
    "slice_user",
    "sqlatable_user",
    "ssh_tunnels",
    "tab_state",
    "table_schema",
    "tagged_object",
    "user_attribute",
];
