//! What documents and deletes need to know, found out of what is known so far.

use std::collections::{BTreeMap, BTreeSet};

use asset::{Dataset, Document, Kind};
use uuid::Uuid;

use crate::ask::{Ask, Lookup};
use crate::facts::Facts;
use crate::ids;
use crate::lower::table_of;
use crate::permission;
use crate::put::children;
use crate::remove::report_column;
use crate::table::Table;
use crate::value::Value;

/// Says what is still missing among the facts to put those documents and to do those deletes, in any order and
/// several of one asset too.
///
/// It is asked again after each answer, until [`Ask::is_empty`]: at most 4 times, because each round follows at
/// least one link further and no chain of them is longer.
#[must_use]
pub fn ask(documents: &[&Document], deletes: &[(Kind, Uuid)], facts: &Facts) -> Ask {
    let mut need = Need::new(documents, deletes, facts);
    for document in documents {
        need.document(document);
    }
    for (kind, uuid) in deletes {
        need.asset(*kind, *uuid);
        need.delete(*kind, *uuid);
    }
    need.leftovers();
    need.menus();
    need.ids();
    need.ask
}

struct Need<'a> {
    facts: &'a Facts,
    documents: &'a [&'a Document],
    /// How many deletes there are of each asset.
    deletes: BTreeMap<(Kind, Uuid), usize>,
    /// How many documents there are of each asset.
    counts: BTreeMap<(Kind, Uuid), usize>,
    /// The names that documents give each database.
    new_names: BTreeMap<Uuid, BTreeSet<&'a str>>,
    ask: Ask,
    /// Names of rights that may come to be, or go.
    menus: BTreeSet<String>,
}

impl<'a> Need<'a> {
    fn new(documents: &'a [&'a Document], deletes: &[(Kind, Uuid)], facts: &'a Facts) -> Need<'a> {
        let mut counts = BTreeMap::new();
        let mut new_names: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for document in documents {
            *counts.entry((document.kind(), document.uuid())).or_insert(0) += 1;
            if let Document::Database(database) = document {
                new_names.entry(database.uuid).or_default().insert(database.database_name.as_str());
            }
        }
        let mut counts_of_deletes = BTreeMap::new();
        for asset in deletes {
            *counts_of_deletes.entry(*asset).or_insert(0) += 1;
        }
        let deletes = counts_of_deletes;
        Need { facts, documents, deletes, counts, new_names, ask: Ask::default(), menus: BTreeSet::new() }
    }

    fn look(&mut self, lookup: Lookup) {
        if !self.facts.knows(&lookup) {
            self.ask.lookups.insert(lookup);
        }
    }

    fn look_by_id(&mut self, table: Table, id: Option<i64>) {
        if let Some(id) = id
            && self.facts.rows.get(table, id).is_none()
        {
            self.look(Lookup::new(table, "id", id));
        }
    }

    fn int(&self, table: Table, id: i64, column: &str) -> Option<i64> {
        self.facts.rows.value(table, id, column).as_int()
    }

    /// An asset with all that belongs to it, and the names of what its rows point to.
    fn asset(&mut self, kind: Kind, uuid: Uuid) {
        let table = table_of(kind);
        self.look(Lookup::new(table, "uuid", uuid).full());
        let Some(id) = self.facts.rows.by_uuid(table, uuid) else { return };
        for (children, parent) in children(table) {
            self.look(Lookup::new(*children, parent, id));
        }
        match kind {
            Kind::Database => self.look(Lookup::new(Table::Tables, "database_id", id)),
            Kind::Dataset => {
                self.look(Lookup::new(Table::Slices, "datasource_id", id));
                self.look_by_id(Table::Dbs, self.int(table, id, "database_id"));
            }
            Kind::Chart => self.dataset_of(id),
            Kind::Dashboard => self.shown_on(id),
        }
    }

    /// A chart's dataset, and that one's database for its name.
    fn dataset_of(&mut self, chart: i64) {
        let dataset = self.int(Table::Slices, chart, "datasource_id");
        self.look_by_id(Table::Tables, dataset);
        let database = dataset.and_then(|dataset| self.int(Table::Tables, dataset, "database_id"));
        self.look_by_id(Table::Dbs, database);
    }

    /// What a dashboard's rows name: its charts, theme and the datasets of its filters.
    fn shown_on(&mut self, dashboard: i64) {
        let rows = &self.facts.rows;
        let links = rows.find(Table::DashboardSlices, "dashboard_id", &Value::Int(dashboard));
        let charts: Vec<_> = links.map(|link| self.int(Table::DashboardSlices, link, "slice_id")).collect();
        for chart in charts {
            self.look_by_id(Table::Slices, chart);
        }
        if self.facts.schema.has_table(Table::Themes) {
            self.look_by_id(Table::Themes, self.int(Table::Dashboards, dashboard, "theme_id"));
        }
        let metadata = rows.value(Table::Dashboards, dashboard, "json_metadata").as_text();
        for dataset in metadata.map(ids::datasets_in).unwrap_or_default() {
            self.look_by_id(Table::Tables, Some(dataset));
        }
    }

    fn document(&mut self, document: &Document) {
        let missing =
            document.secrets().into_iter().filter(|secret| !self.facts.secrets.contains_key(secret));
        self.ask.secrets.extend(missing);
        self.asset(document.kind(), document.uuid());
        for reference in document.references() {
            let table = table_of(reference.to);
            self.look(Lookup::new(table, "uuid", reference.uuid));
        }
        match document {
            Document::Database(database) => {
                self.look(Lookup::new(Table::Dbs, "database_name", &database.database_name));
                self.rights_of_namesakes(database.uuid, &database.database_name);
                self.rights_of_database(database.uuid);
            }
            Document::Dataset(dataset) => {
                self.look(Lookup::new(Table::Tables, "table_name", &dataset.table_name));
                self.rights_of_dataset(dataset);
            }
            Document::Chart(chart) => {
                let dataset = self.facts.rows.by_uuid(Table::Tables, chart.dataset_uuid);
                let database = dataset.and_then(|id| self.int(Table::Tables, id, "database_id"));
                self.look_by_id(Table::Dbs, database);
            }
            Document::Dashboard(dashboard) => {
                if let Some(slug) = &dashboard.slug {
                    self.look(Lookup::new(Table::Dashboards, "slug", slug));
                }
                if let Some(theme) = dashboard.theme_uuid
                    && self.facts.schema.has_table(Table::Themes)
                {
                    self.look(Lookup::new(Table::Themes, "uuid", theme));
                }
            }
        }
    }

    /// All names that a database has or may get.
    fn names_of_database(&self, uuid: Uuid) -> BTreeSet<String> {
        let row = self.facts.rows.by_uuid(Table::Dbs, uuid);
        let old = row.and_then(|id| self.facts.rows.value(Table::Dbs, id, "database_name").as_text());
        let new = self.new_names.get(&uuid).into_iter().flatten();
        old.into_iter().chain(new.copied()).map(str::to_owned).collect()
    }

    /// The rights in another database that still has a name which this one gets.
    fn rights_of_namesakes(&mut self, uuid: Uuid, name: &str) {
        let rows = &self.facts.rows;
        let mut namesakes = rows.find(Table::Dbs, "database_name", &Value::from(name));
        let is_other = |id| rows.value(Table::Dbs, id, "uuid").as_uuid() != Some(uuid);
        // Another one that gets the name in this batch has it for a moment too.
        let is_given = self.new_names.iter().any(|(other, names)| *other != uuid && names.contains(name));
        if is_given || namesakes.any(is_other) {
            self.look(Lookup::prefix(Table::AbViewMenu, "name", permission::prefix(name)));
        }
    }

    fn rights_of_database(&mut self, uuid: Uuid) {
        let Some(id) = self.facts.rows.by_uuid(Table::Dbs, uuid) else { return };
        let names = self.names_of_database(uuid);
        self.menus.extend(names.iter().map(|name| permission::of_database(name, id)));
        if names.len() < 2 {
            return;
        }
        for name in &names {
            self.look(Lookup::prefix(Table::AbViewMenu, "name", permission::prefix(name)));
        }
        let datasets: Vec<i64> =
            self.facts.rows.find(Table::Tables, "database_id", &Value::Int(id)).collect();
        for dataset in datasets {
            self.look(Lookup::new(Table::Slices, "datasource_id", dataset));
            self.rights_of_table_row(dataset, &names);
        }
    }

    /// The rights to a dataset as its row has it, under any of these names of its database.
    fn rights_of_table_row(&mut self, id: i64, databases: &BTreeSet<String>) {
        let text = |column| self.facts.rows.value(Table::Tables, id, column).as_text();
        let (catalog, schema) = (text("catalog"), text("schema"));
        let mut menus = Vec::new();
        for database in databases {
            menus.extend(text("table_name").map(|table| permission::of_dataset(database, table, id)));
            menus.extend(permission::of_schema(database, catalog, schema));
            menus.extend(permission::of_catalog(database, catalog));
        }
        self.menus.extend(menus);
    }

    fn rights_of_dataset(&mut self, dataset: &Dataset) {
        let mut databases = self.names_of_database(dataset.database_uuid);
        let row = self.facts.rows.by_uuid(Table::Tables, dataset.uuid);
        if let Some(id) = row {
            databases.extend(self.names_of_database_of(id));
            self.rights_of_table_row(id, &databases);
        }
        let catalog = dataset.catalog.as_deref();
        for database in &databases {
            self.menus.extend(row.map(|id| permission::of_dataset(database, &dataset.table_name, id)));
            self.menus.extend(permission::of_schema(database, catalog, dataset.schema.as_deref()));
            self.menus.extend(permission::of_catalog(database, catalog));
        }
    }

    fn names_of_database_of(&self, dataset: i64) -> BTreeSet<String> {
        let database = self.int(Table::Tables, dataset, "database_id");
        let uuid = database.and_then(|id| self.facts.rows.value(Table::Dbs, id, "uuid").as_uuid());
        uuid.map(|uuid| self.names_of_database(uuid)).unwrap_or_default()
    }

    fn delete(&mut self, kind: Kind, uuid: Uuid) {
        let Some(id) = self.facts.rows.by_uuid(table_of(kind), uuid) else { return };
        if let Some(column) = report_column(kind) {
            self.look(Lookup::new(Table::ReportSchedule, column, id));
        }
        match kind {
            Kind::Database => {
                let names = self.names_of_database(uuid);
                self.menus.extend(names.iter().map(|name| permission::of_database(name, id)));
                for name in &names {
                    self.look(Lookup::prefix(Table::AbViewMenu, "name", permission::prefix(name)));
                }
            }
            Kind::Dataset => self.rights_of_table_row(id, &self.names_of_database_of(id)),
            Kind::Chart => {
                self.look(Lookup::new(Table::DashboardSlices, "slice_id", id));
                let links: Vec<i64> =
                    self.facts.rows.find(Table::DashboardSlices, "slice_id", &Value::Int(id)).collect();
                for link in links {
                    self.look_by_id(
                        Table::Dashboards,
                        self.int(Table::DashboardSlices, link, "dashboard_id"),
                    );
                }
            }
            Kind::Dashboard => {}
        }
    }

    /// A right that an earlier row of the same id left behind: SQLite uses ids again.
    fn leftovers(&mut self) {
        for table in [Table::Dbs, Table::Tables] {
            for id in self.facts.reserved.of(table) {
                self.look(Lookup::suffix(Table::AbViewMenu, "name", permission::suffix(*id)));
            }
        }
    }

    fn menus(&mut self) {
        for name in self.menus.clone() {
            if !permission::is_known(self.facts, &name) {
                self.look(Lookup::new(Table::AbViewMenu, "name", name));
            }
        }
        let is_about_rights =
            |document: &&Document| matches!(document.kind(), Kind::Database | Kind::Dataset);
        if self.documents.iter().any(is_about_rights) {
            for name in permission::NAMES {
                self.look(Lookup::new(Table::AbPermission, "name", name));
            }
        }
    }

    fn ids(&mut self) {
        for (table, wanted) in self.wanted() {
            let left = self.facts.reserved.left(table);
            if wanted > left {
                self.ask.ids.insert(table, wanted - left);
            }
        }
    }

    /// How many new rows there may be at most of each table, as far as is known.
    fn wanted(&self) -> BTreeMap<Table, usize> {
        let mut wanted = BTreeMap::new();
        let mut add = |table, count| *wanted.entry(table).or_insert(0) += count;
        for document in self.documents {
            let table = table_of(document.kind());
            if !self.facts.knows(&Lookup::new(table, "uuid", document.uuid()).full()) {
                continue;
            }
            let is_new = self.facts.rows.by_uuid(table, document.uuid()).is_none();
            let comes_again = self.comes_again(document);
            add(table, usize::from(is_new || comes_again));
            for (children, count) in self.children(document, comes_again) {
                add(children, count);
            }
            if is_new || comes_again {
                let rights = match document {
                    Document::Database(_) => 1,
                    Document::Dataset(_) => 3,
                    Document::Chart(_) | Document::Dashboard(_) => 0,
                };
                add(Table::AbViewMenu, rights);
                add(Table::AbPermissionView, rights);
            }
        }
        let missing = self.menus.iter().filter(|name| permission::menu(self.facts, name).is_none()).count();
        add(Table::AbViewMenu, missing);
        let unpaired = self.menus.iter().filter(|name| !permission::is_paired(self.facts, name)).count();
        add(Table::AbPermissionView, unpaired);
        let is_missing = |name: &&&str| {
            let lookup = Lookup::new(Table::AbPermission, "name", **name);
            let row = self.facts.rows.find(Table::AbPermission, "name", &Value::from(**name)).next();
            self.facts.knows(&lookup) && row.is_none()
        };
        add(Table::AbPermission, permission::NAMES.iter().filter(is_missing).count());
        wanted
    }

    /// Whether an asset may be made more than once in this batch: its rows then take new ids each time.
    fn comes_again(&self, document: &Document) -> bool {
        let asset = (document.kind(), document.uuid());
        self.deletes.contains_key(&asset) || self.counts.get(&asset).is_some_and(|count| *count > 1)
    }

    fn children(&self, document: &Document, comes_again: bool) -> Vec<(Table, usize)> {
        let rows = &self.facts.rows;
        let parent = rows.by_uuid(table_of(document.kind()), document.uuid()).filter(|_| !comes_again);
        let names = |table: Table, parent_column, name| -> BTreeSet<&Value> {
            let ids = parent
                .into_iter()
                .flat_map(|id| rows.find(table, parent_column, &Value::Int(id)).collect::<Vec<_>>());
            ids.map(|id| rows.value(table, id, name)).collect()
        };
        match document {
            Document::Dataset(dataset) => {
                let columns = names(Table::TableColumns, "table_id", "column_name");
                let metrics = names(Table::SqlMetrics, "table_id", "metric_name");
                let is_new = |known: &BTreeSet<&Value>, name: &String| !known.contains(&Value::from(name));
                let new_columns =
                    dataset.columns.iter().filter(|column| is_new(&columns, &column.column_name)).count();
                let new_metrics =
                    dataset.metrics.iter().filter(|metric| is_new(&metrics, &metric.metric_name)).count();
                vec![(Table::TableColumns, new_columns), (Table::SqlMetrics, new_metrics)]
            }
            Document::Dashboard(dashboard) => {
                let linked = names(Table::DashboardSlices, "dashboard_id", "slice_id");
                let charts: BTreeSet<Uuid> =
                    dashboard.position.iter().flat_map(ids::charts_in).map(|(_, uuid)| uuid).collect();
                let count = charts.into_iter().map(|chart| self.new_links(chart, &linked)).sum();
                vec![(Table::DashboardSlices, count)]
            }
            Document::Database(_) | Document::Chart(_) => Vec::new(),
        }
    }

    /// How often a chart may be linked anew: now, and each time after it was deleted and came back.
    fn new_links(&self, chart: Uuid, linked: &BTreeSet<&Value>) -> usize {
        let id = self.facts.rows.by_uuid(Table::Slices, chart);
        let is_linked = id.is_some_and(|id| linked.contains(&Value::Int(id)));
        usize::from(!is_linked) + self.deletes.get(&(Kind::Chart, chart)).copied().unwrap_or(0)
    }
}
