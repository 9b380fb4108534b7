//! Documents to rows.

pub(crate) mod chart;
pub(crate) mod dashboard;
pub(crate) mod database;
pub(crate) mod dataset;

use asset::{Document, Kind, Object, Reference, Strength};
use uuid::Uuid;

use crate::ask::Lookup;
use crate::facts::{Facts, Reserved};
use crate::fault::{Fault, FaultKind};
use crate::json;
use crate::rows::{Row, Rows};
use crate::schema::Schema;
use crate::table::Table;
use crate::value::Value;

/// The rows of one asset with their Document and Derived columns, times excepted. The first is the asset's own,
/// the others its children or links.
pub(crate) type Lowered = Vec<(Table, i64, Row)>;

/// Returns the rows that a document comes to, of that asset alone: with ids from the observed rows, or else from
/// the reserved ones. It changes nothing; [`crate::put`] does.
///
/// # Errors
/// See [`FaultKind`].
pub fn lower(document: &Document, facts: &Facts) -> Result<Rows, Fault> {
    let mut ids = facts.reserved.clone();
    let mut rows = Rows::new();
    for (table, id, row) in lowered(document, facts, &mut ids)? {
        rows.put(table, id, row);
    }
    Ok(rows)
}

pub(crate) fn lowered(document: &Document, facts: &Facts, ids: &mut Reserved) -> Result<Lowered, Fault> {
    match document {
        Document::Database(database) => database::rows(database, facts, ids),
        Document::Dataset(dataset) => dataset::rows(dataset, facts, ids),
        Document::Chart(chart) => chart::rows(chart, facts, ids),
        Document::Dashboard(dashboard) => dashboard::rows(dashboard, facts, ids),
    }
}

/// Returns the table that holds the assets of a kind.
pub(crate) fn table_of(kind: Kind) -> Table {
    match kind {
        Kind::Database => Table::Dbs,
        Kind::Dataset => Table::Tables,
        Kind::Chart => Table::Slices,
        Kind::Dashboard => Table::Dashboards,
    }
}

/// Returns the id that an asset has or gets.
fn id_of(table: Table, uuid: Uuid, facts: &Facts, ids: &mut Reserved) -> Result<i64, Fault> {
    facts.must_know(Lookup::new(table, "uuid", uuid).full())?;
    match facts.rows.by_uuid(table, uuid) {
        Some(id) => Ok(id),
        None => ids.next(table),
    }
}

/// Returns the id of what must be there first.
fn id_of_hard(to: Kind, uuid: Uuid, facts: &Facts) -> Result<i64, Fault> {
    let table = table_of(to);
    facts.must_know(Lookup::new(table, "uuid", uuid))?;
    let missing = || Fault::missing(Reference { strength: Strength::Hard, to, uuid });
    facts.rows.by_uuid(table, uuid).ok_or_else(missing)
}

/// Refuses to decide on an asset of which the children were never looked up. A row that this working copy made has
/// all of its children here.
fn must_know_children(
    table: Table,
    id: i64,
    (children, parent): (Table, &'static str),
    facts: &Facts,
) -> Result<(), Fault> {
    if facts.reserved.contains(table, id) {
        return Ok(());
    }
    facts.must_know(Lookup::new(children, parent, id))
}

/// Makes a row of those columns that this Superset has.
///
/// A value for a column that it does not have is a fault, unless it is NULL: nothing is lost in silence.
fn row<const N: usize>(
    schema: &Schema,
    table: Table,
    columns: [(&'static str, Value); N],
) -> Result<Row, Fault> {
    let mut row = Row::new();
    for (column, value) in columns {
        if schema.has(table, column) {
            row.insert(column, value);
        } else if !value.is_null() {
            let message = format!(
                "store `{column}`: this Superset (alembic version `{}`) has no column `{}.{column}`; leave it \
                 out, or upgrade Superset",
                schema.version,
                table.name()
            );
            return Err(Fault::new(FaultKind::Unsupported, message).at(column));
        }
    }
    Ok(row)
}

/// Writes JSON for a text column.
fn text(object: Option<&Object>) -> Value {
    object.map(json::dumps_object).into()
}
