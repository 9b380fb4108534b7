//! A small relational store in memory: the rows that we looked at, or what is to become of them.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::diff::Spot;
use crate::table::{Sweep, Table};
use crate::value::Value;

/// A row. A column that is not in it was not looked at, which is not the same as NULL.
pub type Row = BTreeMap<&'static str, Value>;

/// Rows by table and id, found by their keys, with a journal so that a change that fails can be taken back.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    tables: BTreeMap<Table, BTreeMap<i64, Row>>,
    index: BTreeMap<(Table, &'static str, Value), BTreeSet<i64>>,
    sweeps: Vec<Sweep>,
    journal: Vec<(Table, i64, Option<Row>)>,
}

/// A moment to which [`Rows::roll_back`] can return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    journal: usize,
    sweeps: usize,
}

/// Two stores are equal when their rows and sweeps are, whatever way led there.
impl PartialEq for Rows {
    fn eq(&self, other: &Rows) -> bool {
        self.iter().eq(other.iter()) && self.sweeps == other.sweeps
    }
}

impl Rows {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Rows {
        Rows::default()
    }

    /// Returns all rows, by table (parents first) and id.
    pub fn iter(&self) -> impl Iterator<Item = (Table, i64, &Row)> {
        self.tables.iter().flat_map(|(table, rows)| rows.iter().map(move |(id, row)| (*table, *id, row)))
    }

    /// Returns the rows of one table, by id.
    pub fn of(&self, table: Table) -> impl Iterator<Item = (i64, &Row)> {
        self.tables.get(&table).into_iter().flat_map(|rows| rows.iter().map(|(id, row)| (*id, row)))
    }

    /// Returns one row.
    #[must_use]
    pub fn get(&self, table: Table, id: i64) -> Option<&Row> {
        self.tables.get(&table)?.get(&id)
    }

    /// Returns one value, NULL also for a row or column that is not here.
    #[must_use]
    pub fn value(&self, table: Table, id: i64, column: &str) -> &Value {
        self.get(table, id).and_then(|row| row.get(column)).unwrap_or(&Value::Null)
    }

    /// Returns the ids of the rows with that value in an indexed column, ascending.
    pub fn find<'a>(
        &'a self,
        table: Table,
        column: &'static str,
        value: &Value,
    ) -> impl Iterator<Item = i64> + use<'a> {
        debug_assert!(table.indexed().contains(&column), "{} is not indexed by {column}", table.name());
        self.index.get(&(table, column, value.clone())).into_iter().flatten().copied()
    }

    /// Returns the id of the row with that uuid.
    #[must_use]
    pub fn by_uuid(&self, table: Table, uuid: Uuid) -> Option<i64> {
        self.find(table, "uuid", &Value::Uuid(uuid)).next()
    }

    /// Returns what is to be swept, in order.
    #[must_use]
    pub fn sweeps(&self) -> &[Sweep] {
        &self.sweeps
    }

    /// Puts a whole row in the place of the one with that id.
    pub fn put(&mut self, table: Table, id: i64, row: Row) {
        self.index_row(table, id, &row);
        let old = self.tables.entry(table).or_default().insert(id, row);
        if let Some(old) = &old {
            self.forget_row(table, id, old);
        }
        self.journal.push((table, id, old));
    }

    /// Takes a row out.
    pub fn take(&mut self, table: Table, id: i64) {
        let Some(old) = self.tables.entry(table).or_default().remove(&id) else { return };
        self.forget_row(table, id, &old);
        self.journal.push((table, id, Some(old)));
    }

    /// Changes some columns of a row, and says whether that changed anything. A row that is not here stays so.
    pub(crate) fn set(&mut self, table: Table, id: i64, columns: Row) -> bool {
        let Some(old) = self.get(table, id) else { return false };
        if columns.iter().all(|(column, value)| old.get(column) == Some(value)) {
            return false;
        }
        let mut row = old.clone();
        row.extend(columns);
        self.put(table, id, row);
        true
    }

    pub(crate) fn sweep(&mut self, sweep: Sweep) {
        if !self.sweeps.contains(&sweep) {
            self.sweeps.push(sweep);
        }
    }

    /// Adds what was read of a row to what was read before. A later reading within one transaction is equal.
    pub(crate) fn learn(&mut self, table: Table, id: i64, columns: Row) {
        let mut row = self.get(table, id).cloned().unwrap_or_default();
        row.extend(columns);
        self.put(table, id, row);
        self.journal.pop();
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { journal: self.journal.len(), sweeps: self.sweeps.len() }
    }

    /// Returns what changed since a mark.
    pub(crate) fn spots_since(&self, mark: Mark) -> BTreeSet<Spot> {
        let rows = self.journal.iter().skip(mark.journal).map(|(table, id, _)| Spot::Row(*table, *id));
        rows.chain(self.sweeps.iter().skip(mark.sweeps).cloned().map(Spot::Sweep)).collect()
    }

    pub(crate) fn roll_back(&mut self, mark: Mark) {
        while self.journal.len() > mark.journal {
            let Some((table, id, old)) = self.journal.pop() else { return };
            match old {
                Some(row) => self.put(table, id, row),
                None => self.take(table, id),
            }
            self.journal.pop();
        }
        self.sweeps.truncate(mark.sweeps);
    }

    fn index_row(&mut self, table: Table, id: i64, row: &Row) {
        for column in table.indexed() {
            if let Some(value) = row.get(column) {
                self.index.entry((table, column, value.clone())).or_default().insert(id);
            }
        }
    }

    /// Drops index entries of an old row, except those that the new row with that id has too.
    fn forget_row(&mut self, table: Table, id: i64, old: &Row) {
        for column in table.indexed() {
            let Some(value) = old.get(column) else { continue };
            if self.get(table, id).and_then(|row| row.get(column)) == Some(value) {
                continue;
            }
            let key = (table, *column, value.clone());
            if let Some(ids) = self.index.get_mut(&key) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.index.remove(&key);
                }
            }
        }
    }
}
