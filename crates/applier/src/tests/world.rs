//! Superset's tables and the ledger in memory, for deciding without a database.

use std::collections::BTreeMap;

use change::{Fence, Outcome};
use superset::{Cipher, Facts, Rows, Schema, Table, Type, Value};
use time::macros::datetime;
use uuid::Uuid;

use crate::book::{Ledger, Stream};
use crate::decide::{self, Shortfall};
use crate::work::{self, Policy, Read, Work};

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) rows: Rows,
    pub(crate) ledger: Ledger,
    pub(crate) policy: Policy,
    schema: Schema,
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
        World { rows: Rows::new(), ledger: Ledger::new(stream), policy, schema: schema() }
    }

    pub(crate) fn records(&mut self, records: Vec<Read>) -> Vec<Outcome> {
        let last = records.last().map_or(0, |read| read.offset);
        let mut next = queue::Position::start(Uuid::from_u128(1));
        next.offset = last + 1;
        self.apply(&Work::Records { records, next })
    }

    pub(crate) fn apply(&mut self, work: &Work) -> Vec<Outcome> {
        let mut brief = work::brief(work, &self.ledger, &self.policy);
        work::add_loaded(&mut brief, &self.ledger);
        let documents = brief.documents();
        let deletes: Vec<_> = brief.deletes.iter().copied().collect();
        let mut facts = Facts::new(self.schema.clone(), Cipher::new("k"), datetime!(2026-11-24 00:00));
        facts.rows = self.rows.clone();
        facts.managed = self.ledger.managed();
        loop {
            let ask = superset::ask(&documents, &deletes, &facts);
            if ask.is_empty() {
                break;
            }
            self.answer(&ask, &mut facts);
        }
        let plan = loop {
            let given = decide::Facts {
                rows: facts.clone(),
                ledger: &self.ledger,
                brief: &brief,
                policy: &self.policy,
                fence: APPLIER,
                refused: &BTreeMap::new(),
                broken: None,
            };
            match decide::decide(work, given) {
                Ok(plan) => break plan,
                Err(Shortfall::Rows(superset::FaultKind::NoIds(table))) => {
                    let ask =
                        superset::Ask { ids: BTreeMap::from([(table, 50)]), ..superset::Ask::default() };
                    self.answer(&ask, &mut facts);
                }
                Err(Shortfall::Rows(superset::FaultKind::Unasked(lookup))) => {
                    let lookups = std::collections::BTreeSet::from([*lookup]);
                    self.answer(&superset::Ask { lookups, ..superset::Ask::default() }, &mut facts);
                }
                Err(Shortfall::Lookups(lookups)) => {
                    self.answer(&superset::Ask { lookups, ..superset::Ask::default() }, &mut facts);
                }
                Err(shortfall) => panic!("{shortfall:?}"),
            }
        };
        self.rows = Rows::new();
        for (table, id, row) in plan.rows.iter() {
            self.rows.put(table, id, row.clone());
        }
        self.ledger.take_in(plan.changes, plan.stream);
        plan.outcomes
    }

    /// All rows are there from the start, so that an answer only has to say that it is one.
    fn answer(&self, ask: &superset::Ask, facts: &mut Facts) {
        for query in superset::queries(ask, &self.schema) {
            facts.learn(&query, Vec::new()).expect("nothing to learn");
        }
        for (table, count) in &ask.ids {
            let highest = facts.rows.of(*table).map(|(id, _)| id).max().unwrap_or(0);
            let left = facts.reserved.of(*table).last().copied().unwrap_or(0);
            let from = highest.max(left) + 1000 + i64::try_from(facts.reserved.left(*table)).expect("few");
            facts.reserve(*table, from..from + i64::try_from(*count).expect("few"));
        }
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
            let document = entry.applied.as_ref()?.document.as_deref()?;
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
