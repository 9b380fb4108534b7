//! A database in memory: it answers queries as a driver would, executes operations one by one, and fails when one
//! of them breaks a key.

use std::collections::{BTreeMap, BTreeSet};

use asset::{Document, Kind};
use time::macros::datetime;
use uuid::Uuid;

use crate::render::bind;
use crate::*;

pub(super) const KEY: &str = "thisISaSECRET_1234";

/// What is asked of the crate.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "a handful of them in tests; a box would clutter each")]
pub(super) enum Change {
    Put(Document),
    Remove(Kind, Uuid),
}

/// Short, because a history of whole documents is unreadable.
impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Put(Document::Dataset(dataset)) => {
                let columns: Vec<_> = dataset.columns.iter().map(|column| &column.column_name).collect();
                let (uuid, name, database) = (dataset.uuid, &dataset.table_name, dataset.database_uuid);
                write!(f, "put dataset {uuid} `{name}` {:?} of {database} {columns:?}", dataset.schema)
            }
            Change::Put(Document::Dashboard(dashboard)) => {
                write!(f, "put dashboard {} {:?}", dashboard.uuid, dashboard.slug)
            }
            Change::Put(Document::Chart(chart)) => {
                write!(f, "put chart {} `{}` of {}", chart.uuid, chart.slice_name, chart.dataset_uuid)
            }
            Change::Put(document) => {
                write!(f, "put {} {} `{}`", document.kind(), document.uuid(), document.name())
            }
            Change::Remove(kind, uuid) => write!(f, "remove {kind} {uuid}"),
        }
    }
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) schema: Schema,
    pub(super) rows: Rows,
    pub(super) managed: BTreeSet<Uuid>,
    pub(super) secrets: BTreeMap<asset::SecretRef, Secret>,
    pub(super) endpoints: BTreeMap<String, asset::Chosen>,
    pub(super) drivers: BTreeSet<String>,
    next: BTreeMap<Table, i64>,
    minute: u8,
}

/// Columns as Superset 6.1 has them, and the tables that are only swept.
pub(super) fn columns_of_6_1() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for table in Table::ALL {
        let columns = tables.entry(table.name().to_owned()).or_default();
        for column in table.columns() {
            let name = if column.name == "currency" { "jsonb" } else { type_name(column.ty) };
            columns.insert(column.name.to_owned(), name.to_owned());
        }
        for rule in table.sweeps() {
            let columns = tables.entry(rule.table.to_owned()).or_default();
            columns.insert(rule.column.to_owned(), "integer".to_owned());
        }
    }
    tables
}

fn type_name(ty: Type) -> &'static str {
    match ty {
        Type::Int => "integer",
        Type::Bool => "boolean",
        Type::Text => "text",
        Type::Bytes => "bytea",
        Type::Uuid => "uuid",
        Type::Time => "timestamp without time zone",
        Type::Json => "json",
    }
}

pub(super) fn document(kind: Kind, json: serde_json::Value) -> Document {
    asset::parse(kind, json.to_string().as_bytes()).unwrap()
}

impl World {
    pub(super) fn new(dialect: Dialect) -> World {
        let schema = Schema::from_columns(dialect, &columns_of_6_1(), &["4b2a8c9d3e1f".to_owned()]).unwrap();
        World {
            schema,
            rows: Rows::new(),
            managed: BTreeSet::new(),
            secrets: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            drivers: DRIVERS.iter().map(|driver| (*driver).to_owned()).collect(),
            next: BTreeMap::new(),
            minute: 0,
        }
    }

    /// Gathers facts as the applier does.
    pub(super) fn facts(&mut self, changes: &[Change]) -> Facts {
        let now = datetime!(2026-11-24 03:00:00.123456) + time::Duration::minutes(self.minute.into());
        let mut facts = Facts::new(self.schema.clone(), Cipher::new(KEY), now);
        facts.managed.clone_from(&self.managed);
        facts.secrets.clone_from(&self.secrets);
        facts.endpoints.clone_from(&self.endpoints);
        facts.drivers.clone_from(&self.drivers);
        let documents: Vec<&Document> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Put(document) => Some(document),
                Change::Remove(..) => None,
            })
            .collect();
        let deletes: Vec<(Kind, Uuid)> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Remove(kind, uuid) => Some((*kind, *uuid)),
                Change::Put(_) => None,
            })
            .collect();
        for _round in 0..4 {
            let missing = ask(&documents, &deletes, &facts);
            for query in queries(&missing, &self.schema) {
                let answer = self.answer(&query);
                facts.learn(&query, answer).unwrap();
            }
            for (table, count) in missing.ids {
                let ids = self.reserve(table, count);
                facts.reserve(table, ids);
            }
        }
        let missing = ask(&documents, &deletes, &facts);
        assert!(missing.is_empty(), "still asked after 4 rounds: {missing:?}");
        facts
    }

    /// As a database does: on SQLite the same ids again until rows have them.
    fn reserve(&mut self, table: Table, count: usize) -> Vec<i64> {
        let highest = self.rows.of(table).last().map_or(0, |(id, _)| id);
        let next = self.next.entry(table).or_insert(0);
        *next = (*next).max(highest);
        let ids = (1..).take(count).map(|step| *next + step).collect();
        if self.schema.dialect() == Dialect::Postgres {
            *next += i64::try_from(count).unwrap();
        }
        ids
    }

    fn answer(&self, query: &Query) -> Vec<Vec<sea_query::Value>> {
        let is_pairs = query.table == Table::AbPermissionView && query.answers.is_empty();
        let matches = |row: &Row, lookup: &Lookup| match &lookup.by {
            By::Column(column, value) => row.get(column) == Some(value),
            By::Prefix(column, text) => row[column].as_text().unwrap().starts_with(text.as_str()),
            By::Suffix(column, text) => row[column].as_text().unwrap().ends_with(text.as_str()),
        };
        let wanted = |row: &Row| is_pairs || query.answers.iter().any(|lookup| matches(row, lookup));
        let raw = |row: &Row, column: &Column| {
            bind(row.get(column.name).unwrap_or(&Value::Null), column.ty, self.schema.dialect())
        };
        let rows = self.rows.of(query.table).filter(|(_, row)| wanted(row));
        rows.map(|(_, row)| query.columns.iter().map(|column| raw(row, column)).collect()).collect()
    }

    /// Puts and removes in one batch, as one Txn.
    pub(super) fn apply(&mut self, changes: &[Change]) -> (Vec<Result<Touched, Fault>>, Vec<RowOp>) {
        let mut facts = self.facts(changes);
        self.minute += 1;
        let before = facts.rows.clone();
        facts.yielding = changes
            .iter()
            .map(|change| match change {
                Change::Put(document) => document.uuid(),
                Change::Remove(_, uuid) => *uuid,
            })
            .collect();
        let results = changes
            .iter()
            .map(|change| match change {
                Change::Put(document) => put(document, &mut facts),
                Change::Remove(kind, uuid) => remove(*kind, *uuid, &mut facts),
            })
            .collect();
        assert_eq!(conflicts(&facts, &facts.yielding), []);
        let ops = diff(&before, &facts.rows);
        assert!(ops.is_empty() || !render(&ops, &self.schema).is_empty());
        for op in &ops {
            self.execute(op);
        }
        (results, ops)
    }

    /// Puts documents that are all to succeed, each managed from then on.
    pub(super) fn put(&mut self, documents: &[&Document]) -> Vec<RowOp> {
        let changes: Vec<Change> =
            documents.iter().map(|document| Change::Put((*document).clone())).collect();
        let (results, ops) = self.apply(&changes);
        for result in results {
            result.unwrap();
        }
        self.managed.extend(documents.iter().map(|document| document.uuid()));
        ops
    }

    pub(super) fn execute(&mut self, op: &RowOp) {
        match op.clone() {
            RowOp::Insert { table, id, row } => {
                assert!(self.rows.get(table, id).is_none(), "{op:?}: the id is taken");
                self.rows.put(table, id, row);
            }
            RowOp::Update { table, id, set } => {
                assert!(self.rows.set(table, id, set), "{op:?}: nothing to change");
            }
            RowOp::Delete { table, id } => {
                assert!(self.rows.get(table, id).is_some(), "{op:?}: no such row");
                self.rows.take(table, id);
            }
            RowOp::Sweep(sweep) => self.rows.sweep(sweep),
        }
        self.check_keys(op);
    }

    fn check_keys(&self, op: &RowOp) {
        let (RowOp::Insert { table, .. } | RowOp::Update { table, .. } | RowOp::Delete { table, .. }) = op
        else {
            return;
        };
        for unique in table.unique_keys() {
            if *unique == ["table_name"] && self.schema.dialect() == Dialect::Postgres {
                continue;
            }
            let mut seen = BTreeSet::new();
            for (_, row) in self.rows.of(*table) {
                let key: Vec<&Value> = unique.iter().map(|column| &row[column]).collect();
                let is_null = key.iter().any(|value| value.is_null());
                assert!(is_null || seen.insert(key), "{op:?}: {} {unique:?} is not unique", table.name());
            }
        }
        for (of, column, parent) in PARENTS.iter().filter(|(of, _, parent)| of == table || parent == table) {
            for (id, row) in self.rows.of(*of) {
                let found = self.rows.get(*parent, row[column].as_int().unwrap()).is_some();
                assert!(found, "{op:?}: {}.{column} of {id} points to nothing", of.name());
            }
        }
    }

    /// Everything of some columns of a table, one row a line.
    pub(super) fn show(&self, table: Table, columns: &[&'static str]) -> String {
        let line = |row: &Row| {
            let cells: Vec<String> = columns.iter().map(|column| format!("{:?}", row[column])).collect();
            format!("{}\n", cells.join(" "))
        };
        self.rows.of(table).map(|(_, row)| line(row)).collect()
    }

    /// The rights there are: permission on thing.
    pub(super) fn rights(&self) -> String {
        let name = |table, pair, column| {
            let id = self.rows.value(Table::AbPermissionView, pair, column).as_int().unwrap();
            self.rows.value(table, id, "name").as_text().unwrap().to_owned()
        };
        let pairs = self.rows.of(Table::AbPermissionView).map(|(pair, _)| {
            let permission = name(Table::AbPermission, pair, "permission_id");
            format!("{pair} {permission} on {}\n", name(Table::AbViewMenu, pair, "view_menu_id"))
        });
        pairs.collect()
    }

    /// Adds a row that nobody asked us for.
    pub(super) fn add(&mut self, table: Table, id: i64, columns: &[(&'static str, Value)]) {
        let mut row: Row = table.columns().iter().map(|column| (column.name, Value::Null)).collect();
        row.insert("id", Value::Int(id));
        row.extend(columns.iter().cloned());
        self.rows.put(table, id, row);
    }
}

const PARENTS: &[(Table, &str, Table)] = &[
    (Table::Tables, "database_id", Table::Dbs),
    (Table::TableColumns, "table_id", Table::Tables),
    (Table::SqlMetrics, "table_id", Table::Tables),
    (Table::DashboardSlices, "dashboard_id", Table::Dashboards),
    (Table::DashboardSlices, "slice_id", Table::Slices),
    (Table::AbPermissionView, "permission_id", Table::AbPermission),
    (Table::AbPermissionView, "view_menu_id", Table::AbViewMenu),
];
