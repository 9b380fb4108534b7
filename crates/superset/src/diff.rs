//! From rows as they are and rows as they shall be to an ordered list of operations.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::rows::{Row, Rows};
use crate::table::{Sweep, Table};
use crate::value::{Type, Value};

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOp {
    /// A new row, its id among the columns.
    Insert {
        /// Where.
        table: Table,
        /// Its id.
        id: i64,
        /// All columns that are written.
        row: Row,
    },
    /// Changed columns of one row.
    Update {
        /// Where.
        table: Table,
        /// Its id.
        id: i64,
        /// The columns that change.
        set: Row,
    },
    /// One row less.
    Delete {
        /// Where.
        table: Table,
        /// Its id.
        id: i64,
    },
    /// What points to a row that goes.
    Sweep(Sweep),
}

/// What one operation works on: a row, or all rows that a sweep finds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// The row of that id.
    Row(Table, i64),
    /// What that sweep finds.
    Sweep(Sweep),
}

impl RowOp {
    /// Returns what the operation works on.
    #[must_use]
    pub fn spot(&self) -> Spot {
        match self {
            RowOp::Insert { table, id, .. }
            | RowOp::Update { table, id, .. }
            | RowOp::Delete { table, id } => Spot::Row(*table, *id),
            RowOp::Sweep(sweep) => Spot::Sweep(sweep.clone()),
        }
    }
}

/// Compares two stores.
///
/// The order of the result keeps foreign keys and unique keys whole after each single operation: unique values
/// that another row takes over are parked first; then rows are inserted, parents first; then updated; then what
/// points to deleted rows is swept; then rows are deleted, children first.
#[must_use]
pub fn diff(before: &Rows, after: &Rows) -> Vec<RowOp> {
    let parked = parked(before, after);
    let mut ops: Vec<RowOp> = parked.iter().map(|(table, id, column)| park(*table, *id, column)).collect();
    let mut updates = Vec::new();
    for (table, id, row) in after.iter() {
        let Some(old) = before.get(table, id) else {
            ops.push(RowOp::Insert { table, id, row: row.clone() });
            continue;
        };
        let changed = row.iter().filter(|(column, value)| {
            old.get(*column) != Some(*value) || parked.contains(&(table, id, **column))
        });
        let set: Row = changed.map(|(column, value)| (*column, value.clone())).collect();
        if !set.is_empty() {
            updates.push(RowOp::Update { table, id, set });
        }
    }
    ops.append(&mut updates);
    ops.extend(new_sweeps(before, after).into_iter().map(RowOp::Sweep));
    let gone: Vec<_> = before.iter().filter(|(table, id, _)| after.get(*table, *id).is_none()).collect();
    ops.extend(gone.into_iter().rev().map(|(table, id, _)| RowOp::Delete { table, id }));
    ops
}

/// Returns the sweeps that are new, those of one table side by side, tables in the order in which they came up.
fn new_sweeps(before: &Rows, after: &Rows) -> Vec<Sweep> {
    let known: BTreeSet<&Sweep> = before.sweeps().iter().collect();
    let mut sweeps: Vec<Sweep> =
        after.sweeps().iter().filter(|sweep| !known.contains(sweep)).cloned().collect();
    let rule = |sweep: &Sweep| Sweep { id: 0, ..sweep.clone() };
    let mut order: BTreeMap<Sweep, usize> = BTreeMap::new();
    for sweep in &sweeps {
        let next = order.len();
        order.entry(rule(sweep)).or_insert(next);
    }
    sweeps.sort_by_key(|sweep| order.get(&rule(sweep)).copied());
    sweeps
}

type Key = Vec<Value>;

/// Finds values of unique keys that belong to another row afterwards. Each is replaced by one that nobody has,
/// and a later operation of the same list writes the final value or deletes the row.
fn parked(before: &Rows, after: &Rows) -> BTreeSet<(Table, i64, &'static str)> {
    let mut parked = BTreeSet::new();
    for table in Table::ALL {
        for unique in table.unique_keys() {
            let owners = new_owners(before, after, table, unique);
            for (id, row) in before.of(table) {
                let taken =
                    key(row, unique).and_then(|key| owners.get(&key)).is_some_and(|owner| *owner != id);
                if taken && let Some(column) = unique.last() {
                    parked.insert((table, id, *column));
                }
            }
        }
    }
    parked
}

/// Returns who has each key afterwards, of the rows that did not have it before.
fn new_owners(before: &Rows, after: &Rows, table: Table, unique: &[&'static str]) -> BTreeMap<Key, i64> {
    let changed = after.of(table).filter(|(id, row)| {
        let old = before.get(table, *id).and_then(|row| key(row, unique));
        key(row, unique) != old
    });
    changed.filter_map(|(id, row)| Some((key(row, unique)?, id))).collect()
}

fn park(table: Table, id: i64, column: &'static str) -> RowOp {
    RowOp::Update { table, id, set: Row::from([(column, parked_value(table, id, column))]) }
}

/// Returns the key of a row, if all of it was looked at and nothing in it is NULL: NULLs are never equal.
fn key(row: &Row, unique: &[&'static str]) -> Option<Key> {
    let values = unique.iter().map(|column| row.get(column).filter(|value| !value.is_null()).cloned());
    values.collect()
}

fn parked_value(table: Table, id: i64, column: &str) -> Value {
    let name = format!("setkeeper parked {} {id}", table.name());
    match table.column(column).map(|column| column.ty) {
        Some(Type::Uuid) => Value::Uuid(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())),
        _ => Value::Text(name),
    }
}
