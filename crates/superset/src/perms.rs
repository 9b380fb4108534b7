//! The three columns by which Superset checks rights to a dataset and to its charts.

use asset::Dataset;

use crate::facts::Facts;
use crate::permission;
use crate::rows::Row;
use crate::table::Table;
use crate::value::Value;

/// Names of the rights that open a dataset and its charts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Perms {
    pub(crate) perm: String,
    pub(crate) schema: Option<String>,
    pub(crate) catalog: Option<String>,
}

impl Perms {
    /// Computes them for a dataset as its document has it.
    pub(crate) fn of(facts: &Facts, id: i64, database: i64, dataset: &Dataset) -> Perms {
        let catalog = dataset.catalog.as_deref();
        Perms::named(facts, id, database, (&dataset.table_name, catalog, dataset.schema.as_deref()))
    }

    /// Computes them for a dataset as its row has it. The columns themselves may be stale.
    pub(crate) fn of_row(facts: &Facts, id: i64) -> Option<Perms> {
        let value = |column| facts.rows.value(Table::Tables, id, column);
        let name = value("table_name").as_text()?;
        let database = value("database_id").as_int()?;
        let parts = (name, value("catalog").as_text(), value("schema").as_text());
        Some(Perms::named(facts, id, database, parts))
    }

    fn named(
        facts: &Facts,
        id: i64,
        database: i64,
        (table, catalog, schema): (&str, Option<&str>, Option<&str>),
    ) -> Perms {
        let database = facts.rows.value(Table::Dbs, database, "database_name").as_text().unwrap_or_default();
        Perms {
            perm: permission::of_dataset(database, table, id),
            schema: permission::of_schema(database, catalog, schema),
            catalog: permission::of_catalog(database, catalog),
        }
    }

    /// Returns the columns for `tables` or `slices`, which call them alike.
    pub(crate) fn columns(&self, facts: &Facts, table: Table) -> Row {
        let columns = [
            ("perm", Value::from(&self.perm)),
            ("schema_perm", Value::from(self.schema.as_ref())),
            ("catalog_perm", Value::from(self.catalog.as_ref())),
        ];
        columns.into_iter().filter(|(column, _)| facts.schema.has(table, column)).collect()
    }
}
