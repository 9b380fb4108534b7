//! The audit database: what a transaction reads and writes. The statements are constant; lists are bound as one
//! JSON text and unfolded by SQLite's `json_each`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use change::{Fence, Millis};
use serde_json::json;
use sql::{Transaction, Value, Values};
use uuid::Uuid;

use crate::chain::{self, Head};
use crate::changes::Ask;
use crate::facts::{Applied, ChangeFacts, Known, Life, Node, OutcomeFacts, Stream};
use crate::row::{self, Field, Row, Table};

/// Why the audit database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no.
    #[error(transparent)]
    Sql(#[from] sql::Error),
    /// A value that this program did not write.
    #[error(
        "read `{column}` of the audit database: it holds something else than setkeeper writes; run `setkeeper verify`"
    )]
    Odd {
        /// The column.
        column: &'static str,
    },
}

pub(crate) fn values(values: impl IntoIterator<Item = Value>) -> Values {
    Values(values.into_iter().collect())
}

pub(crate) fn string(value: impl ToString) -> Value {
    Value::String(Some(value.to_string()))
}

fn opt(value: Option<impl ToString>) -> Value {
    Value::String(value.map(|value| value.to_string()))
}

fn int(value: i64) -> Value {
    Value::BigInt(Some(value))
}

fn number(value: u64) -> Value {
    Value::BigUnsigned(Some(value))
}

/// A row's values by name, for reading.
pub(crate) struct Cells {
    cells: std::vec::IntoIter<Value>,
}

impl Cells {
    pub(crate) fn new(row: sql::Row) -> Cells {
        Cells { cells: row.into_iter() }
    }

    pub(crate) fn field(&mut self, column: &'static str) -> Result<Field, StoreError> {
        match self.cells.next() {
            Some(Value::BigInt(Some(value))) => Ok(Field::Int(value)),
            Some(Value::String(Some(text))) => Ok(Field::Text(text)),
            Some(Value::String(None)) => Ok(Field::Null),
            _ => Err(StoreError::Odd { column }),
        }
    }

    pub(crate) fn int(&mut self, column: &'static str) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or(StoreError::Odd { column })
    }

    pub(crate) fn opt_int(&mut self, column: &'static str) -> Result<Option<i64>, StoreError> {
        match self.field(column)? {
            Field::Int(value) => Ok(Some(value)),
            Field::Null => Ok(None),
            Field::Text(_) => Err(StoreError::Odd { column }),
        }
    }

    pub(crate) fn text(&mut self, column: &'static str) -> Result<String, StoreError> {
        self.opt_text(column)?.ok_or(StoreError::Odd { column })
    }

    pub(crate) fn opt_text(&mut self, column: &'static str) -> Result<Option<String>, StoreError> {
        match self.field(column)? {
            Field::Text(text) => Ok(Some(text)),
            Field::Null => Ok(None),
            Field::Int(_) => Err(StoreError::Odd { column }),
        }
    }

    pub(crate) fn parsed<T: FromStr>(&mut self, column: &'static str) -> Result<Option<T>, StoreError> {
        let text = self.opt_text(column)?;
        text.map(|text| text.parse().map_err(|_| StoreError::Odd { column })).transpose()
    }

    pub(crate) fn number<T: TryFrom<i64>>(&mut self, column: &'static str) -> Result<T, StoreError> {
        T::try_from(self.int(column)?).map_err(|_| StoreError::Odd { column })
    }
}

/// Makes the row of `audit_stream`, if there is none.
pub(crate) async fn begin_stream(tx: &mut Transaction, env: &str) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO audit_stream \
        (id, env, fence_generation, fence_czxid, effective, head_seq, head_hash) VALUES (1, ?, 0, 0, 0, 0, ?) \
        ON CONFLICT DO NOTHING";
    tx.execute(SQL, values([string(env), string(Head::genesis(env).hex())])).await?;
    Ok(())
}

/// The row of `audit_stream`; `None` in a database that no auditor has used yet.
pub(crate) async fn stream(tx: &mut Transaction) -> Result<Option<Stream>, StoreError> {
    const SQL: &str = "SELECT env, changes_position, outcomes_position, fence_generation, fence_czxid, \
        watcher_generation, watcher_czxid, effective, resync, resync_needed, head_seq, head_hash FROM audit_stream";
    let Some(row) = tx.fetch(SQL, values([])).await?.pop() else { return Ok(None) };
    let mut cells = Cells::new(row);
    let (env, changes) = (cells.text("env")?, cells.parsed("changes_position")?);
    let outcomes = cells.parsed("outcomes_position")?;
    let fence = Fence { generation: cells.number("fence_generation")?, czxid: cells.int("fence_czxid")? };
    let watcher = (cells.opt_int("watcher_generation")?, cells.opt_int("watcher_czxid")?);
    let watcher = match watcher {
        (Some(generation), Some(czxid)) => {
            let generation =
                u64::try_from(generation).map_err(|_| StoreError::Odd { column: "watcher_generation" })?;
            Some(Fence { generation, czxid })
        }
        _ => None,
    };
    let effective = Millis(cells.int("effective")?);
    let (resync, resync_needed) = (cells.parsed("resync")?, cells.opt_text("resync_needed")?);
    let seq = cells.int("head_seq")?;
    let hash = chain::unhex(&cells.text("head_hash")?).ok_or(StoreError::Odd { column: "head_hash" })?;
    let head = Head { seq, hash };
    Ok(Some(Stream { env, changes, outcomes, fence, watcher, effective, resync, resync_needed, head }))
}

/// Compares the fence with the highest that wrote here and raises it; says whether it may write.
pub(crate) async fn raise_fence(tx: &mut Transaction, fence: Fence) -> Result<bool, StoreError> {
    const SQL: &str = "UPDATE audit_stream SET fence_generation = ?, fence_czxid = ? \
        WHERE (fence_generation, fence_czxid) <= (?, ?)";
    let pair = [number(fence.generation), int(fence.czxid)];
    Ok(tx.execute(SQL, values(pair.iter().chain(&pair).cloned())).await? == 1)
}

pub(crate) async fn save_stream(tx: &mut Transaction, stream: &Stream) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE audit_stream SET changes_position = ?, outcomes_position = ?, \
        watcher_generation = ?, watcher_czxid = ?, effective = ?, resync = ?, resync_needed = ?, \
        head_seq = ?, head_hash = ?";
    let row = [
        opt(stream.changes),
        opt(stream.outcomes),
        Value::BigUnsigned(stream.watcher.map(|fence| fence.generation)),
        Value::BigInt(stream.watcher.map(|fence| fence.czxid)),
        int(stream.effective.0),
        opt(stream.resync),
        opt(stream.resync_needed.as_ref()),
        int(stream.head.seq),
        string(stream.head.hex()),
    ];
    tx.execute(SQL, values(row)).await?;
    Ok(())
}

/// Rows of one INSERT: far below SQLite's bound on values, and few statements to prepare.
const INSERT_ROWS: usize = 32;

/// Adds rows at the chain's end.
pub(crate) async fn append(tx: &mut Transaction, head: &mut Head, rows: &[Row]) -> Result<(), StoreError> {
    let mut links = Vec::with_capacity(rows.len());
    let mut tables: BTreeMap<Table, Vec<Vec<Value>>> = BTreeMap::new();
    for row in rows {
        *head = head.after(row);
        links.push(vec![int(head.seq), string(row.table.format()), string(head.hex())]);
        let fields = row.fields.iter().map(|field| match field {
            Field::Null => Value::String(None),
            Field::Int(value) => int(*value),
            Field::Text(text) => string(text),
        });
        tables.entry(row.table).or_default().push([int(head.seq)].into_iter().chain(fields).collect());
    }
    for (table, rows) in tables {
        insert(tx, table.name(), &format!("seq, {}", table.columns().join(", ")), rows).await?;
    }
    insert(tx, "audit_chain", "seq, format, hash", links).await
}

async fn insert(
    tx: &mut Transaction,
    table: &str,
    columns: &str,
    rows: Vec<Vec<Value>>,
) -> Result<(), StoreError> {
    for rows in rows.chunks(INSERT_ROWS) {
        let marks: Vec<String> =
            rows.iter().map(|row| format!("(?{})", ", ?".repeat(row.len() - 1))).collect();
        let sql = format!("INSERT INTO {table} ({columns}) VALUES {}", marks.join(", "));
        tx.execute(&sql, values(rows.concat())).await?;
    }
    Ok(())
}

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> Value {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    string(json!(items))
}

/// Serves what [`crate::changes::ask`] asked for.
pub(crate) async fn change_facts(tx: &mut Transaction, ask: &Ask) -> Result<ChangeFacts, StoreError> {
    let tree = tree(tx, ask).await?;
    let mut known = BTreeMap::new();
    let ids = ask.ids.iter().chain(tree.values().map(|node| &node.change_id));
    const KNOWN: &str = "SELECT change_id, sha256, uuid, name FROM audit_change \
        WHERE change_id IN (SELECT value FROM json_each(?))";
    let mut rows = tx.fetch(KNOWN, values([list(ids)])).await?;
    if ask.whole_tree {
        // The paths that a resync's end removes get a delete each: of a life whose delete is on record, none.
        const DELETES: &str = "SELECT c.change_id, c.sha256, c.uuid, c.name FROM audit_tree t \
            JOIN audit_change c ON c.path = t.path AND c.czxid = t.czxid AND c.generation = t.generation \
            WHERE c.version IS NULL";
        rows.extend(tx.fetch(DELETES, values([])).await?);
    }
    for row in rows {
        let mut cells = Cells::new(row);
        let id = cells.text("change_id")?;
        let (sha256, uuid) = (cells.opt_text("sha256")?, cells.parsed("uuid")?);
        known.insert(id, Known { sha256, uuid, name: cells.opt_text("name")? });
    }
    Ok(ChangeFacts { tree, known, versions: versions(tx, ask).await? })
}

async fn tree(tx: &mut Transaction, ask: &Ask) -> Result<BTreeMap<String, Node>, StoreError> {
    const SQL: &str = "SELECT path, generation, czxid, version, change_id, resync FROM audit_tree \
        WHERE ? OR path IN (SELECT value FROM json_each(?))";
    let all = Value::BigInt(Some(i64::from(ask.whole_tree)));
    let mut tree = BTreeMap::new();
    for row in tx.fetch(SQL, values([all, list(&ask.paths)])).await? {
        let mut cells = Cells::new(row);
        let path = cells.text("path")?;
        let (generation, czxid) = (cells.number("generation")?, cells.int("czxid")?);
        let (version, change_id) = (cells.number("version")?, cells.text("change_id")?);
        tree.insert(path, Node { generation, czxid, version, change_id, resync: cells.parsed("resync")? });
    }
    Ok(tree)
}

/// Of each put that is asked for, the highest version on record before it and, if it is on record, its own.
async fn versions(
    tx: &mut Transaction,
    ask: &Ask,
) -> Result<BTreeMap<Life, std::collections::BTreeSet<i32>>, StoreError> {
    const SQL: &str = "SELECT c.generation, c.path, c.czxid, max(c.version) FROM json_each(?) AS wanted \
        JOIN audit_change c ON c.path = wanted.value ->> 'path' AND c.czxid = wanted.value ->> 'czxid' \
            AND c.generation = wanted.value ->> 'generation' AND c.version < wanted.value ->> 'version' \
        GROUP BY wanted.key";
    let wanted: Vec<_> = ask
        .puts
        .iter()
        .map(|(life, version)| {
            json!({"path": life.path, "czxid": life.czxid, "generation": life.generation, "version": version})
        })
        .collect();
    let mut versions: BTreeMap<Life, std::collections::BTreeSet<i32>> = BTreeMap::new();
    for row in tx.fetch(SQL, values([string(json!(wanted))])).await? {
        let mut cells = Cells::new(row);
        let (generation, path) = (cells.number("generation")?, cells.text("path")?);
        let life = Life { generation, path, czxid: cells.int("czxid")? };
        versions.entry(life).or_default().insert(cells.number("version")?);
    }
    Ok(versions)
}

/// Writes how the tree differs from what was read.
pub(crate) async fn save_tree(
    tx: &mut Transaction,
    before: &BTreeMap<String, Node>,
    after: &BTreeMap<String, Node>,
) -> Result<(), StoreError> {
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        tx.execute("DELETE FROM audit_tree WHERE path = ?", values([string(path)])).await?;
    }
    const PUT: &str = "INSERT OR REPLACE INTO audit_tree (path, generation, czxid, version, change_id, resync) \
        VALUES (?, ?, ?, ?, ?, ?)";
    for (path, node) in after.iter().filter(|(path, node)| before.get(*path) != Some(*node)) {
        let row = [
            string(path),
            number(node.generation),
            int(node.czxid),
            int(i64::from(node.version)),
            string(&node.change_id),
            opt(node.resync),
        ];
        tx.execute(PUT, values(row)).await?;
    }
    Ok(())
}

/// What a batch of outcomes needs to know.
pub(crate) async fn outcome_facts(
    tx: &mut Transaction,
    outcomes: &[&change::Outcome],
) -> Result<OutcomeFacts, StoreError> {
    let mut facts = OutcomeFacts::default();
    let recorded = format!(
        "SELECT outcome_key, {} FROM audit_outcome WHERE outcome_key IN (SELECT value FROM json_each(?))",
        row::GIST.join(", ")
    );
    let keys = list(outcomes.iter().map(|outcome| outcome.key));
    for row in tx.fetch(&recorded, values([keys])).await? {
        let mut cells = Cells::new(row);
        let key = cells.text("outcome_key")?;
        let fields: Result<Vec<Field>, StoreError> =
            row::GIST.iter().map(|column| cells.field(column)).collect();
        facts.recorded.insert(key, row::gist_of(fields?.into_iter()));
    }
    const UUIDS: &str = "SELECT change_id, uuid FROM audit_change \
        WHERE uuid IS NOT NULL AND change_id IN (SELECT value FROM json_each(?))";
    let ids = list(outcomes.iter().map(|outcome| &outcome.change));
    for row in tx.fetch(UUIDS, values([ids])).await? {
        let mut cells = Cells::new(row);
        let id = cells.text("change_id")?;
        facts.uuids.extend(cells.parsed("uuid")?.map(|uuid| (id, uuid)));
    }
    const APPLIED: &str = "SELECT target_id, path, target, uuid, change_id FROM audit_applied \
        WHERE path IN (SELECT value FROM json_each(?)) \
        UNION SELECT target_id, path, target, uuid, change_id FROM audit_applied \
        WHERE target_id IN (SELECT value FROM json_each(?)) AND uuid IN (SELECT value FROM json_each(?))";
    let paths = list(outcomes.iter().map(|outcome| &outcome.change.path));
    let targets = list(outcomes.iter().map(|outcome| outcome.key.target));
    let uuids = list(facts.uuids.values());
    for row in tx.fetch(APPLIED, values([paths, targets, uuids])).await? {
        let mut cells = Cells::new(row);
        let target_id: Option<Uuid> = cells.parsed("target_id")?;
        let key = (target_id.ok_or(StoreError::Odd { column: "target_id" })?, cells.text("path")?);
        let (target, uuid) = (cells.text("target")?, cells.parsed("uuid")?);
        facts.applied.insert(key, Applied { target, uuid, change_id: cells.opt_text("change_id")? });
    }
    Ok(facts)
}

type AppliedMap = BTreeMap<(Uuid, String), Applied>;

/// Writes how what the targets hold differs from what was read.
pub(crate) async fn save_applied(
    tx: &mut Transaction,
    before: &AppliedMap,
    after: &AppliedMap,
) -> Result<(), StoreError> {
    for (target, path) in before.keys().filter(|key| !after.contains_key(*key)) {
        let sql = "DELETE FROM audit_applied WHERE target_id = ? AND path = ?";
        tx.execute(sql, values([string(target), string(path)])).await?;
    }
    const PUT: &str = "INSERT OR REPLACE INTO audit_applied (target_id, path, target, uuid, change_id) \
        VALUES (?, ?, ?, ?, ?)";
    for (key, applied) in after.iter().filter(|(key, applied)| before.get(*key) != Some(*applied)) {
        let row = [
            string(key.0),
            string(&key.1),
            string(&applied.target),
            opt(applied.uuid),
            opt(applied.change_id.as_ref()),
        ];
        tx.execute(PUT, values(row)).await?;
    }
    Ok(())
}

/// The rows of one table between two sequence numbers, both included.
pub(crate) async fn rows_between(
    tx: &mut Transaction,
    table: Table,
    from: i64,
    to: i64,
) -> Result<BTreeMap<i64, Option<Row>>, StoreError> {
    let columns = table.columns().join(", ");
    let sql = format!("SELECT seq, {columns} FROM {} WHERE seq BETWEEN ? AND ?", table.name());
    let mut rows = BTreeMap::new();
    for row in tx.fetch(&sql, values([int(from), int(to)])).await? {
        let mut cells = Cells::new(row);
        let seq = cells.int("seq")?;
        // A value of another type than any that is written is as good as an altered one.
        let fields: Result<Vec<Field>, StoreError> =
            table.columns().iter().map(|column| cells.field(column)).collect();
        rows.insert(seq, fields.ok().map(|fields| Row::new(table, fields)));
    }
    Ok(rows)
}
