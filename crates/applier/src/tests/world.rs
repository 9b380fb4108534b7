//! Superset's tables and the ledger in memory, for deciding without a database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use change::{Fence, Outcome, ZnodePath};
use superset::{
    Ask, By, Cipher, Facts, FaultKind, Lookup, Query, Row, RowOp, Rows, Schema, Table, Type, Value,
};
use time::macros::datetime;
use uuid::Uuid;

use crate::book::{Ledger, Stream};
use crate::decide::{self, Shortfall};
use crate::target::TargetConfig;
use crate::transact;
use crate::work::{self, Policy, Read, Work};

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) rows: Rows,
    pub(crate) ledger: Ledger,
    pub(crate) policy: Policy,
    schema: Schema,
    /// The applied documents, as they stand in the ledger's table.
    documents: BTreeMap<ZnodePath, Arc<str>>,
}

pub(crate) const APPLIER: Fence = Fence { generation: 1, czxid: 1 };

impl World {
    pub(crate) fn new(policy: Policy) -> World {
        let stream = Stream {
            name: "main".to_owned(),
            id: Uuid::from_u128(99),
            position: None,
            effective: change::Millis(0),
            watcher: None,
            sequence: 1,
            resync: None,
        };
        let (rows, documents) = (Rows::new(), BTreeMap::new());
        World { rows, ledger: Ledger::new(stream), policy, schema: schema(), documents }
    }

    pub(crate) fn records(&mut self, records: Vec<Read>) -> Vec<Outcome> {
        let last = records.last().map_or(0, |read| read.offset);
        let mut next = queue::Position::start(Uuid::from_u128(1));
        next.offset = last + 1;
        self.apply(&Work::Records { records, next })
    }

    pub(crate) fn apply(&mut self, work: &Work) -> Vec<Outcome> {
        let mut brief = work::brief(work, &self.ledger, &self.policy);
        for path in &brief.load {
            if let Some(document) = self.documents.get(path) {
                self.ledger.remember_document(path, document.clone());
            }
        }
        work::add_loaded(&mut brief, &self.ledger);
        let (facts, plan) = self.decide(work, &brief);
        for op in superset::diff(&facts.rows, &plan.rows) {
            self.execute(op);
        }
        for (path, entry) in &plan.changes {
            match entry.as_ref().and_then(|entry| entry.applied.as_ref()) {
                None => drop(self.documents.remove(path)),
                Some(applied) => {
                    let read = applied.document.clone().map(|document| (path.clone(), document));
                    self.documents.extend(read);
                }
            }
        }
        self.ledger.take_in(plan.changes, plan.stream);
        // As on a real target: what is not loaded for the next piece of work is not there.
        let all: Vec<ZnodePath> = self.ledger.entries().keys().cloned().collect();
        self.ledger.forget_documents(&all);
        plan.outcomes
    }

    /// Asks, observes and decides within the bounds of a real transaction. Nothing is known that was not looked up.
    fn decide(&self, work: &Work, brief: &work::Brief) -> (Facts, decide::Plan) {
        let documents = brief.documents();
        let deletes: Vec<_> = brief.deletes.iter().copied().collect();
        let mut facts = Facts::new(self.schema.clone(), Cipher::new("k"), datetime!(2026-11-24 00:00));
        facts.managed = self.ledger.managed();
        for _ in 0..TargetConfig::new("main", "test", Cipher::new("k")).rounds {
            self.answer(&superset::ask(&documents, &deletes, &facts), &mut facts);
        }
        assert!(superset::ask(&documents, &deletes, &facts).is_empty(), "the questions do not end");
        for _ in 0..=transact::SHORTFALLS_MAX {
            let given = decide::Facts {
                rows: facts.clone(),
                ledger: &self.ledger,
                brief,
                policy: &self.policy,
                fence: APPLIER,
                refused: &BTreeMap::new(),
                broken: None,
            };
            let ask = match decide::decide(work, given) {
                Ok(plan) => return (facts, plan),
                Err(Shortfall::Rows(FaultKind::NoIds(table))) => {
                    Ask { ids: BTreeMap::from([(table, 50)]), ..Ask::default() }
                }
                Err(Shortfall::Rows(FaultKind::Unasked(lookup))) => {
                    Ask { lookups: BTreeSet::from([*lookup]), ..Ask::default() }
                }
                Err(Shortfall::Lookups(lookups)) => Ask { lookups, ..Ask::default() },
                Err(shortfall) => panic!("{shortfall:?}"),
            };
            self.answer(&ask, &mut facts);
        }
        panic!("deciding goes on lacking something");
    }

    fn execute(&mut self, op: RowOp) {
        match op {
            RowOp::Insert { table, id, row } => {
                assert!(self.rows.get(table, id).is_none(), "{} {id} is there", table.name());
                self.rows.put(table, id, row);
            }
            RowOp::Update { table, id, set } => {
                let mut row = self.rows.get(table, id).expect("a row to update").clone();
                row.extend(set);
                self.rows.put(table, id, row);
            }
            RowOp::Delete { table, id } => self.rows.take(table, id),
            RowOp::Sweep(_) => {}
        }
    }

    /// Shows of the rows what was asked for, as a database would.
    fn answer(&self, ask: &Ask, facts: &mut Facts) {
        for query in superset::queries(ask, &self.schema) {
            let rows = self.rows.of(query.table).filter(|(_, row)| self.is_asked(ask, &query, row));
            let cells = |row: &Row| query.columns.iter().map(|column| raw(row.get(column.name))).collect();
            let rows: Vec<Vec<sql::Value>> = rows.map(|(_, row)| cells(row)).collect();
            facts.learn(&query, rows).expect("readable");
        }
        for (table, count) in &ask.ids {
            let highest = self.rows.of(*table).map(|(id, _)| id).max().unwrap_or(0);
            let left = facts.reserved.of(*table).last().copied().unwrap_or(0);
            let from = highest.max(left) + 1000 + i64::try_from(facts.reserved.left(*table)).expect("few");
            facts.reserve(*table, from..from + i64::try_from(*count).expect("few"));
        }
    }

    fn is_asked(&self, ask: &Ask, query: &Query, row: &Row) -> bool {
        // The pairs of the things that are looked up with it.
        if query.table == Table::AbPermissionView && query.answers.is_empty() {
            let menu = row.get("view_menu_id").and_then(Value::as_int);
            let menu = menu.and_then(|menu| self.rows.get(Table::AbViewMenu, menu));
            let lookups = ask.lookups.iter().filter(|lookup| lookup.table == Table::AbViewMenu);
            return menu.is_some_and(|menu| lookups.into_iter().any(|lookup| finds(lookup, menu)));
        }
        query.answers.iter().any(|lookup| finds(lookup, row))
    }

    /// Every asset with its name and what it points to, one a line.
    pub(crate) fn show(&self) -> Vec<String> {
        let text = |table, id, column: &str| match self.rows.value(table, id, column) {
            Value::Text(text) => text.clone(),
            _ => "-".to_owned(),
        };
        let int = |table, id, column: &str| self.rows.value(table, id, column).as_int();
        let mut lines = Vec::new();
        for (id, _) in self.rows.of(Table::Dbs) {
            let uri = text(Table::Dbs, id, "sqlalchemy_uri");
            let at = if uri.starts_with("hive") { format!(" at {uri}") } else { String::new() };
            lines.push(format!("database {}{at}", text(Table::Dbs, id, "database_name")));
        }
        for (id, _) in self.rows.of(Table::Tables) {
            let database =
                int(Table::Tables, id, "database_id").map(|id| text(Table::Dbs, id, "database_name"));
            let name = text(Table::Tables, id, "table_name");
            lines.push(format!("dataset {name} of {}", database.unwrap_or_default()));
        }
        for (id, _) in self.rows.of(Table::Slices) {
            let dataset =
                int(Table::Slices, id, "datasource_id").map(|id| text(Table::Tables, id, "table_name"));
            let name = text(Table::Slices, id, "slice_name");
            lines.push(format!("chart {name} of {}", dataset.unwrap_or_default()));
        }
        for (id, _) in self.rows.of(Table::Dashboards) {
            let links = self
                .rows
                .of(Table::DashboardSlices)
                .filter(|(link, _)| int(Table::DashboardSlices, *link, "dashboard_id") == Some(id));
            let charts = links.filter_map(|(link, _)| int(Table::DashboardSlices, link, "slice_id"));
            let mut charts: Vec<String> = charts.map(|id| text(Table::Slices, id, "slice_name")).collect();
            charts.sort();
            let title = text(Table::Dashboards, id, "dashboard_title");
            lines.push(format!("dashboard {title} [{}]", charts.join(" ")));
        }
        lines
    }

    /// The databases whose rows are not where their endpoints are, of endpoints that are there.
    pub(crate) fn astray(&self) -> Vec<String> {
        let chosen = self.ledger.chosen();
        let entries = self.ledger.entries().iter();
        let astray = entries.filter_map(|(path, entry)| {
            let (kind, uuid) = entry.applied_asset()?;
            let document = self.documents.get(path)?;
            let asset::Document::Database(database) = asset::parse(kind, document.as_bytes()).ok()? else {
                return None;
            };
            let uri = database.uri_at(chosen.get(database.setkeeper.endpoint.as_ref()?)?);
            let id = self.rows.by_uuid(Table::Dbs, uuid)?;
            let is_there = self.rows.value(Table::Dbs, id, "sqlalchemy_uri").as_text() == Some(uri.as_str());
            (!is_there).then(|| path.to_string())
        });
        astray.collect()
    }

    /// The digest of every asset.
    pub(crate) fn digests(&self) -> BTreeMap<Uuid, String> {
        let kinds = [
            (asset::Kind::Database, Table::Dbs),
            (asset::Kind::Dataset, Table::Tables),
            (asset::Kind::Chart, Table::Slices),
            (asset::Kind::Dashboard, Table::Dashboards),
        ];
        let mut digests = BTreeMap::new();
        for (kind, table) in kinds {
            for (id, _) in self.rows.of(table) {
                let uuid = self.rows.value(table, id, "uuid").as_uuid().expect("a uuid");
                let digest = superset::digest(kind, uuid, &self.rows).expect("a digest").to_string();
                digests.insert(uuid, digest);
            }
        }
        digests
    }
}

/// Whether a lookup finds a row.
fn finds(lookup: &Lookup, row: &Row) -> bool {
    let text = |column: &str| row.get(column).and_then(Value::as_text).unwrap_or_default();
    match &lookup.by {
        By::Column(column, value) => {
            let draws_table = text("datasource_type") == "table";
            let is_drawn = lookup.table != Table::Slices || *column != "datasource_id" || draws_table;
            is_drawn && row.get(column) == Some(value)
        }
        By::Prefix(column, prefix) => text(column).starts_with(prefix.as_str()),
        By::Suffix(column, suffix) => text(column).ends_with(suffix.as_str()),
    }
}

/// A value as a driver gives it.
fn raw(value: Option<&Value>) -> sql::Value {
    match value {
        None | Some(Value::Null) => sql::Value::String(None),
        Some(Value::Bool(bool)) => sql::Value::Bool(Some(*bool)),
        Some(Value::Int(int)) => sql::Value::BigInt(Some(*int)),
        Some(Value::Text(text) | Value::Odd(text)) => sql::Value::String(Some(text.clone())),
        Some(Value::Bytes(bytes)) => sql::Value::Bytes(Some(bytes.clone())),
        Some(Value::Uuid(uuid)) => sql::Value::Uuid(Some(*uuid)),
        Some(Value::Time(time)) => sql::Value::TimeDateTime(Some(*time)),
        Some(Value::Json(json)) => sql::Value::String(Some(superset::dumps(&json.0))),
    }
}

fn schema() -> Schema {
    let type_name = |ty: Type| if ty == Type::Json { "json" } else { "text" }.to_owned();
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for table in Table::ALL {
        let columns = table.columns().iter().map(|column| (column.name.to_owned(), type_name(column.ty)));
        tables.insert(table.name().to_owned(), columns.collect());
    }
    Schema::from_columns(superset::Dialect::Postgres, &tables, &["4b2a8c9d3e1f".to_owned()])
        .expect("a schema")
}
