//! Rows to documents, as Superset's own export gives them.

pub(crate) mod chart;
pub(crate) mod dashboard;
pub(crate) mod database;
pub(crate) mod dataset;

use asset::{Document, Kind, Object};
use uuid::Uuid;

use crate::facts::Facts;
use crate::fault::{Fault, FaultKind};
use crate::lower::table_of;
use crate::rows::Row;
use crate::table::Table;
use crate::value::Value;

/// Makes the document of an asset's rows, as Superset's export does, with `is_managed_externally` and
/// `external_url` besides, which that leaves out. Secrets are never lifted. Columns and metrics come sorted by name.
///
/// # Errors
/// [`FaultKind::Absent`] when there is no such row, [`FaultKind::Unreadable`] when what stands in a column is not
/// what an export could carry.
pub fn lift(kind: Kind, uuid: Uuid, facts: &Facts) -> Result<Document, Fault> {
    let table = table_of(kind);
    let absent = || Fault::new(FaultKind::Absent, format!("read {kind} {uuid}, which does not exist"));
    let id = facts.rows.by_uuid(table, uuid).ok_or_else(absent)?;
    let row = facts.rows.get(table, id).ok_or_else(absent)?;
    let source = Source { table, id, row };
    Ok(match kind {
        Kind::Database => Document::Database(database::lift(&source, uuid)?),
        Kind::Dataset => Document::Dataset(dataset::lift(&source, uuid, facts)?),
        Kind::Chart => Document::Chart(chart::lift(&source, uuid, facts)?),
        Kind::Dashboard => Document::Dashboard(dashboard::lift(&source, uuid, facts)?),
    })
}

/// A row to read typed values from.
pub(crate) struct Source<'a> {
    table: Table,
    id: i64,
    row: &'a Row,
}

impl<'a> Source<'a> {
    fn value(&self, column: &str) -> &'a Value {
        self.row.get(column).unwrap_or(&Value::Null)
    }

    fn text(&self, column: &str) -> Option<String> {
        self.value(column).as_text().map(str::to_owned)
    }

    fn text_or_fault(&self, column: &str) -> Result<String, Fault> {
        self.text(column).ok_or_else(|| self.unreadable(column, "it is NULL"))
    }

    fn int(&self, column: &str) -> Option<i64> {
        self.value(column).as_int()
    }

    fn bool(&self, column: &str) -> Option<bool> {
        self.value(column).as_bool()
    }

    /// Reads JSON in a text column. An empty text is none to Superset.
    fn object(&self, column: &str) -> Result<Option<Object>, Fault> {
        let Some(text) = self.value(column).as_text().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        match serde_json::from_str(text) {
            Ok(serde_json::Value::Object(object)) => Ok(Some(object)),
            Ok(serde_json::Value::Null) => Ok(None),
            Ok(_) | Err(_) => Err(self.unreadable(column, "it is not a JSON object")),
        }
    }

    fn unreadable(&self, column: &str, why: &str) -> Fault {
        Fault::unreadable(self.table, self.id, column, why)
    }
}
