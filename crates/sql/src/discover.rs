//! Which tables and columns there are: Superset's schema differs by version, so it is asked, not assumed.

use std::collections::BTreeMap;

use sea_query::{Value, Values};

use crate::{Class, Dialect, Error, Row, Transaction, is_null};

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInfo {
    /// In lower case, without a length: PostgreSQL's `data_type` (`character varying`, `timestamp without time
    /// zone`, `jsonb`), its own name for a user-defined type; SQLite's type as declared (`datetime`).
    pub type_name: String,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Whether an INSERT may leave it out and gets a value other than NULL.
    pub has_default: bool,
}

/// Table name to column name to column.
pub type Columns = BTreeMap<String, BTreeMap<String, ColumnInfo>>;

const POSTGRES: &str = "
SELECT table_name, column_name,
       CASE WHEN data_type IN ('USER-DEFINED', 'ARRAY') THEN udt_name ELSE data_type END,
       is_nullable = 'YES', column_default IS NOT NULL OR is_identity = 'YES'
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_type = 'BASE TABLE' AND table_schema = COALESCE($1, current_schema())";

const SQLITE: &str = "
SELECT tables.name, columns.name, columns.type, columns.\"notnull\" = 0 AND columns.pk = 0,
       columns.dflt_value IS NOT NULL OR (columns.pk = 1 AND upper(columns.type) = 'INTEGER')
FROM sqlite_schema AS tables JOIN pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'";

impl Transaction {
    /// The columns of every table (not view) that the role can see, in `schema` or (PostgreSQL) the first schema of the
    /// search path. SQLite has no schemas: it is ignored there.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn columns(&mut self, schema: Option<&str>) -> Result<Columns, Error> {
        let rows = match self.dialect() {
            Dialect::Postgres => {
                let schema = Value::String(schema.map(ToOwned::to_owned));
                self.fetch(POSTGRES, Values(vec![schema])).await?
            }
            Dialect::Sqlite => self.fetch(SQLITE, Values(Vec::new())).await?,
        };
        let mut columns = Columns::new();
        for row in rows {
            let (table, column, info) = column(row).ok_or_else(|| {
                self.error("look at the schema", Class::Other, "an answer of another shape")
            })?;
            columns.entry(table).or_default().insert(column, info);
        }
        Ok(columns)
    }

    /// The names of every table that the role can see, as [`Transaction::columns`] looks for them.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tables(&mut self, schema: Option<&str>) -> Result<Vec<String>, Error> {
        Ok(self.columns(schema).await?.into_keys().collect())
    }
}

fn column(row: Row) -> Option<(String, String, ColumnInfo)> {
    let [table, column, type_name, nullable, has_default] = <[Value; 5]>::try_from(row).ok()?;
    let text = |value: Value| match value {
        Value::String(Some(text)) => Some(text),
        _ => None,
    };
    let type_name = if is_null(&type_name) { String::new() } else { text(type_name)? };
    let type_name = type_name.split('(').next().unwrap_or_default().trim().to_lowercase();
    let info = ColumnInfo { type_name, nullable: truth(&nullable)?, has_default: truth(&has_default)? };
    Some((text(table)?, text(column)?, info))
}

/// SQLite has no booleans.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => *value,
        Value::BigInt(value) => value.map(|value| value != 0),
        _ => None,
    }
}
