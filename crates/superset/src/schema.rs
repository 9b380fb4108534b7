//! What one Superset's metadata database has of the tables and columns that we know.

use std::collections::{BTreeMap, BTreeSet};

use crate::table::{Breadth, Column, Dialect, Role, Table};
use crate::value::Type;

/// Why setkeeper will not write to a metadata database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// There is no Superset here.
    #[error("no table `alembic_version` with a row; run `superset db upgrade` on this database first")]
    NotSuperset,
    /// Something every Superset since 3.1 has is missing.
    #[error(
        "the metadata database (alembic version `{version}`) has no `{missing}`; Superset 3.1 to 6.1 is supported"
    )]
    TooOld {
        /// The version found.
        version: String,
        /// The table or `table.column`.
        missing: String,
    },
    /// A Superset after 6.1 that keeps owners, roles or deleted rows in another way.
    #[error(
        "the metadata database (alembic version `{version}`) has `{found}`, which came after Superset 6.1 and \
         changes what rows mean; use a setkeeper that knows this version"
    )]
    TooNew {
        /// The version found.
        version: String,
        /// The table or `table.column`.
        found: String,
    },
}

/// Which of the known tables and columns exist, by introspection, because development builds lie between versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// `alembic_version.version_num`, for messages.
    pub version: String,
    dialect: Dialect,
    columns: BTreeMap<Table, Vec<&'static Column>>,
    names: BTreeSet<(Table, &'static str)>,
    /// The database's own type names of JSON columns: `json`, `jsonb`, or a text type in older versions.
    json_types: BTreeMap<(Table, &'static str), String>,
    /// Every `table.column`, to leave out sweeps of what does not exist.
    all: BTreeSet<(String, String)>,
}

/// Tables and columns that appear after 6.1 and change what the old ones mean.
const NEW_WORLD: &[(&str, Option<&str>)] = &[
    ("subjects", None),
    ("editors", None),
    ("dbs", Some("deleted_at")),
    ("tables", Some("deleted_at")),
    ("slices", Some("deleted_at")),
    ("dashboards", Some("deleted_at")),
];

impl Schema {
    /// Makes a schema of what introspection found.
    ///
    /// `columns` is table → column → the database's name of its type (`information_schema.columns.data_type` or
    /// `PRAGMA table_info`); `alembic` holds the rows of `alembic_version`.
    ///
    /// # Errors
    /// A database that is no Superset's, or one that is older than 3.1 or belongs to the world after 6.1.
    pub fn from_columns(
        dialect: Dialect,
        columns: &BTreeMap<String, BTreeMap<String, String>>,
        alembic: &[String],
    ) -> Result<Schema, SchemaFault> {
        let version = alembic.first().ok_or(SchemaFault::NotSuperset)?.clone();
        if let Some(found) = new_world(columns) {
            return Err(SchemaFault::TooNew { version, found });
        }
        let mut schema = Schema {
            version,
            dialect,
            columns: BTreeMap::new(),
            names: BTreeSet::new(),
            json_types: BTreeMap::new(),
            all: BTreeSet::new(),
        };
        for (table, its) in columns {
            schema.all.extend(its.keys().map(|column| (table.clone(), column.clone())));
        }
        for table in Table::ALL {
            schema.add(table, columns.get(table.name()))?;
        }
        Ok(schema)
    }

    fn add(&mut self, table: Table, found: Option<&BTreeMap<String, String>>) -> Result<(), SchemaFault> {
        let missing = |missing: String| SchemaFault::TooOld { version: self.version.clone(), missing };
        let Some(found) = found else {
            return if table.is_required() { Err(missing(table.name().to_owned())) } else { Ok(()) };
        };
        let mut known = Vec::new();
        for column in table.columns().iter().filter(|column| column.role != Role::Foreign) {
            let Some(type_name) = found.get(column.name) else {
                if column.required {
                    return Err(missing(format!("{}.{}", table.name(), column.name)));
                }
                continue;
            };
            if column.ty == Type::Json {
                self.json_types.insert((table, column.name), type_name.to_lowercase());
            }
            known.push(column);
            self.names.insert((table, column.name));
        }
        self.columns.insert(table, known);
        Ok(())
    }

    /// Returns the kind of database.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Says whether the table exists.
    #[must_use]
    pub fn has_table(&self, table: Table) -> bool {
        self.columns.contains_key(&table)
    }

    /// Says whether the column exists and is one that we read.
    #[must_use]
    pub fn has(&self, table: Table, column: &str) -> bool {
        self.names.iter().any(|(its, name)| *its == table && *name == column)
    }

    /// Says whether any column at all of that name exists, known to us or not.
    #[must_use]
    pub(crate) fn has_named(&self, table: &str, column: &str) -> bool {
        self.all.contains(&(table.to_owned(), column.to_owned()))
    }

    /// Returns the columns that are read of a table, in the order of the catalogue.
    #[must_use]
    pub fn columns(&self, table: Table, breadth: Breadth) -> Vec<&'static Column> {
        let columns = self.columns.get(&table).map(Vec::as_slice).unwrap_or_default();
        // Tables without a name or a key of their own are small: there brief is full.
        let is_small = !matches!(table, Table::Dbs | Table::Tables | Table::Slices | Table::Dashboards);
        columns.iter().copied().filter(|column| is_small || column.breadth <= breadth).collect()
    }

    /// Returns what a JSON column really is in this database.
    pub(crate) fn json_type(&self, table: Table, column: &'static str) -> &str {
        self.json_types.get(&(table, column)).map_or("text", String::as_str)
    }

    /// Says whether `tables.table_name` alone is unique, as it still is on SQLite, where migrations cannot drop it.
    #[must_use]
    pub fn table_name_is_unique(&self) -> bool {
        self.dialect == Dialect::Sqlite
    }
}

fn new_world(columns: &BTreeMap<String, BTreeMap<String, String>>) -> Option<String> {
    NEW_WORLD.iter().find_map(|(table, column)| {
        let found = columns.get(*table)?;
        match column {
            None => Some((*table).to_owned()),
            Some(column) => found.contains_key(*column).then(|| format!("{table}.{column}")),
        }
    })
}
