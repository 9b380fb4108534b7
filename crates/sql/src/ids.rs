//! Reserving row ids before the rows are made: Superset's rows hold their own and each other's ids.

use sea_query::{Value, Values};

use crate::{Class, Dialect, Error, Mode, Row, Transaction};

/// Where a table's ids come from on PostgreSQL. SQLite always takes the highest id and counts on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IdSource {
    /// This sequence, which no default names (the tables of Flask-AppBuilder).
    Sequence(String),
    /// The sequence that the column owns (`serial` or identity).
    SerialColumn,
    /// The highest id, counted on. Safe only while nobody else inserts.
    MaxPlusOne,
}

const DOING: &str = "reserve ids";

impl Transaction {
    /// Reserves `count` ids for a table, in ascending order. Repeated calls in one transaction never give the
    /// same id twice.
    ///
    /// # Errors
    /// See [`Error`]; `Schema` if the column owns no sequence. On SQLite the transaction must be one that
    /// writes, for its lock is what makes the ids ours.
    pub async fn reserve_ids(
        &mut self,
        table: &str,
        column: &str,
        count: u32,
        source: &IdSource,
    ) -> Result<Vec<i64>, Error> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if self.mode() == Mode::Read {
            return Err(self.error(DOING, Class::Other, "the transaction is one that reads only"));
        }
        match (self.dialect(), source) {
            (Dialect::Sqlite, _) | (Dialect::Postgres, IdSource::MaxPlusOne) => {
                self.count_on(table, column, count).await
            }
            (Dialect::Postgres, IdSource::Sequence(sequence)) => self.draw(sequence.clone(), count).await,
            (Dialect::Postgres, IdSource::SerialColumn) => {
                let sequence = self.serial_sequence(table, column).await?;
                self.draw(sequence, count).await
            }
        }
    }

    async fn count_on(&mut self, table: &str, column: &str, count: u32) -> Result<Vec<i64>, Error> {
        let sql = format!("SELECT CAST(COALESCE(MAX({}), 0) AS BIGINT) FROM {}", quote(column), quote(table));
        let rows = self.fetch(&sql, Values(Vec::new())).await?;
        let highest = rows.first().and_then(id).ok_or_else(|| self.strange())?;
        let reserved = self.reserved.entry((table.to_owned(), column.to_owned())).or_insert(0);
        let from = highest.max(*reserved) + 1;
        let to = from + i64::from(count);
        *reserved = to - 1;
        Ok((from..to).collect())
    }

    async fn draw(&mut self, sequence: String, count: u32) -> Result<Vec<i64>, Error> {
        let sql = "SELECT nextval(CAST($1 AS regclass)) FROM generate_series(1, $2)";
        let values = Values(vec![Value::String(Some(sequence)), Value::BigInt(Some(i64::from(count)))]);
        let rows = self.fetch(sql, values).await?;
        let mut ids = rows.iter().map(id).collect::<Option<Vec<_>>>().ok_or_else(|| self.strange())?;
        ids.sort_unstable();
        Ok(ids)
    }

    async fn serial_sequence(&mut self, table: &str, column: &str) -> Result<String, Error> {
        let values = [quote(table), column.to_owned()].map(|text| Value::String(Some(text))).to_vec();
        let rows = self.fetch("SELECT pg_get_serial_sequence($1, $2)", Values(values)).await?;
        match rows.first().and_then(|row| row.first()) {
            Some(Value::String(Some(sequence))) => Ok(sequence.clone()),
            _ => Err(self.error(DOING, Class::Schema, format!("`{table}.{column}` owns no sequence"))),
        }
    }

    fn strange(&self) -> Error {
        self.error(DOING, Class::Other, "an answer of another shape")
    }
}

fn id(row: &Row) -> Option<i64> {
    match row.first() {
        Some(Value::BigInt(id)) => *id,
        _ => None,
    }
}

/// A table may be given with its schema: `schema.table`.
fn quote(name: &str) -> String {
    let parts: Vec<String> =
        name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    parts.join(".")
}
