//! What one document comes to in the working copy: its rows, and what follows from them elsewhere.

use std::collections::BTreeSet;

use asset::{Document, Kind};
use uuid::Uuid;

use crate::ask::Lookup;
use crate::conflict;
use crate::facts::Facts;
use crate::fault::Fault;
use crate::lower::{Lowered, lowered, table_of};
use crate::permission;
use crate::perms::Perms;
use crate::rows::Row;
use crate::table::{Role, Table};
use crate::value::{Type, Value};

/// Other assets whose rows changed.
pub type Touched = BTreeSet<(Kind, Uuid)>;

/// Makes the working copy hold what a document says, and what follows from it: times, permission rows, the
/// permission columns of dependants, cache keys.
///
/// # Guarantees
/// The same document again changes nothing, `changed_on` included. On an error nothing has changed.
///
/// # Errors
/// See [`crate::FaultKind`].
pub fn put(document: &Document, facts: &mut Facts) -> Result<Touched, Fault> {
    let savepoint = facts.savepoint();
    let result = put_or_leave_half(document, facts);
    if result.is_err() {
        facts.roll_back(&savepoint);
    }
    result
}

fn put_or_leave_half(document: &Document, facts: &mut Facts) -> Result<Touched, Fault> {
    let mut ids = facts.reserved.clone();
    let rows = lowered(document, facts, &mut ids)?;
    facts.reserved = ids;
    let Some((table, id, _)) = rows.first() else { return Ok(Touched::new()) };
    let (table, id) = (*table, *id);
    let old = facts.rows.get(table, id).cloned();
    merge(table, id, rows, facts);
    if let Some(fault) = conflict::of(table, id, facts, &facts.yielding) {
        return Err(fault);
    }
    match document {
        Document::Database(database) => follow_database(id, &database.database_name, old.as_ref(), facts),
        Document::Dataset(_) => follow_dataset(id, old.as_ref(), facts),
        Document::Chart(_) | Document::Dashboard(_) => Ok(Touched::new()),
    }
}

/// Tables whose rows belong to one asset, with the column that names it.
pub(crate) fn children(table: Table) -> &'static [(Table, &'static str)] {
    match table {
        Table::Tables => &[(Table::TableColumns, "table_id"), (Table::SqlMetrics, "table_id")],
        Table::Dashboards => &[(Table::DashboardSlices, "dashboard_id")],
        Table::Dbs
        | Table::Themes
        | Table::TableColumns
        | Table::SqlMetrics
        | Table::Slices
        | Table::DashboardSlices
        | Table::ReportSchedule
        | Table::AbPermission
        | Table::AbViewMenu
        | Table::AbPermissionView => &[],
    }
}

/// Writes an asset's rows over those that are there. Children that the document does not name go.
///
/// The asset's own `changed_on` moves with its children, because Superset's cache keys contain it.
fn merge(table: Table, id: i64, rows: Lowered, facts: &mut Facts) {
    let keep: BTreeSet<(Table, i64)> = rows.iter().map(|(table, id, _)| (*table, *id)).collect();
    let mut changed = false;
    for (children, parent) in children(table) {
        let its: Vec<i64> = facts.rows.find(*children, parent, &Value::Int(id)).collect();
        for child in its.into_iter().filter(|child| !keep.contains(&(*children, *child))) {
            facts.rows.take(*children, child);
            changed = true;
        }
    }
    for (its, its_id, row) in rows {
        changed |= write(its, its_id, row, facts);
    }
    if changed {
        touch(table, id, facts);
    }
}

/// Writes one row, and says whether that changed it.
fn write(table: Table, id: i64, columns: Row, facts: &mut Facts) -> bool {
    let has_time = table.column("changed_on").is_some();
    if facts.rows.get(table, id).is_none() {
        let mut row = columns;
        row.extend(defaults(table, facts));
        facts.rows.put(table, id, row);
        return true;
    }
    let changed = facts.rows.set(table, id, columns);
    // Superset's list pages fail for everyone while one row has no time.
    if has_time && (changed || facts.rows.value(table, id, "changed_on").is_null()) {
        touch(table, id, facts);
    }
    changed
}

/// What a new row has in columns that no document names.
fn defaults(table: Table, facts: &Facts) -> Row {
    let columns = table.columns().iter().filter(|column| facts.schema.has(table, column.name));
    let defaults = columns.filter_map(|column| match (column.role, column.ty) {
        (Role::DefaultOnInsert, Type::Bool) => Some((column.name, Value::Bool(false))),
        (_, Type::Time) => Some((column.name, Value::Time(facts.now))),
        _ => None,
    });
    defaults.collect()
}

/// Says that a row changed now.
fn touch(table: Table, id: i64, facts: &mut Facts) {
    let now = Value::Time(facts.now);
    facts.rows.set(table, id, Row::from([("changed_on", now)]));
}

fn text<'a>(row: &'a Row, column: &str) -> Option<&'a str> {
    row.get(column)?.as_text()
}

fn follow_database(id: i64, name: &str, old: Option<&Row>, facts: &mut Facts) -> Result<Touched, Fault> {
    let mut touched = Touched::new();
    park_rights_of_others(id, name, facts)?;
    if let Some(old) = old {
        let datasets = datasets_of(id, facts)?;
        let old_name = text(old, "database_name").unwrap_or(name).to_owned();
        if old_name != name {
            rename_database(id, &old_name, name, &datasets, facts)?;
            for dataset in &datasets {
                touched.extend(refresh(*dataset, facts)?);
            }
        }
        if old.get("sqlalchemy_uri")
            != facts.rows.get(Table::Dbs, id).and_then(|row| row.get("sqlalchemy_uri"))
        {
            // Results that are cached under a dataset's time came from the other place.
            for dataset in datasets {
                touch(Table::Tables, dataset, facts);
                touched.extend(asset_of(Table::Tables, dataset, facts));
            }
        }
    }
    permission::ensure(facts, permission::DATABASE_ACCESS, &permission::of_database(name, id))?;
    Ok(touched)
}

fn datasets_of(id: i64, facts: &Facts) -> Result<Vec<i64>, Fault> {
    if !facts.reserved.contains(Table::Dbs, id) {
        facts.must_know(Lookup::new(Table::Tables, "database_id", id))?;
    }
    Ok(facts.rows.find(Table::Tables, "database_id", &Value::Int(id)).collect())
}

/// Sets aside the rights to schemas of another database that still has this one's new name. Without an id in their
/// names, nobody could tell whose they are once this one's have the same beginning.
fn park_rights_of_others(id: i64, name: &str, facts: &mut Facts) -> Result<(), Fault> {
    let others =
        facts.rows.find(Table::Dbs, "database_name", &Value::from(name)).filter(|other| *other != id);
    for other in others.collect::<Vec<_>>() {
        facts.must_know(Lookup::prefix(Table::AbViewMenu, "name", permission::prefix(name)))?;
        permission::move_shared(facts, &permission::prefix(name), &permission::parked_prefix(other));
    }
    Ok(())
}

/// Returns what the names of rights to the schemas of a database begin with, whose name is or was `name`. None, if
/// those with that beginning are another's by now.
pub(crate) fn prefix_of_rights(id: i64, name: &str, facts: &Facts) -> Option<String> {
    let parked = permission::parked_prefix(id);
    if !permission::shared(facts, &parked).is_empty() {
        return Some(parked);
    }
    namesakes(id, name, facts).is_empty().then(|| permission::prefix(name))
}

/// Gives a database that kept its name its rights back, once nobody else has the name.
pub(crate) fn unpark_rights_of_others(id: i64, name: &str, facts: &mut Facts) {
    if let [other] = namesakes(id, name, facts)[..] {
        permission::move_shared(facts, &permission::parked_prefix(other), &permission::prefix(name));
    }
}

fn namesakes(id: i64, name: &str, facts: &Facts) -> Vec<i64> {
    let all = facts.rows.find(Table::Dbs, "database_name", &Value::from(name));
    all.filter(|other| *other != id).collect()
}

/// Renames the rights to a database and to all in it, so that roles keep what they were granted.
fn rename_database(id: i64, old: &str, new: &str, datasets: &[i64], facts: &mut Facts) -> Result<(), Fault> {
    if !facts.reserved.contains(Table::Dbs, id) {
        facts.must_know(Lookup::prefix(Table::AbViewMenu, "name", permission::prefix(old)))?;
    }
    permission::rename(facts, &permission::of_database(old, id), &permission::of_database(new, id));
    for dataset in datasets {
        let Some(table) = facts.rows.value(Table::Tables, *dataset, "table_name").as_text() else { continue };
        let (from, to) =
            (permission::of_dataset(old, table, *dataset), permission::of_dataset(new, table, *dataset));
        permission::rename(facts, &from, &to);
    }
    if let Some(from) = prefix_of_rights(id, old, facts) {
        permission::move_shared(facts, &from, &permission::prefix(new));
    }
    unpark_rights_of_others(id, old, facts);
    Ok(())
}

fn follow_dataset(id: i64, old: Option<&Row>, facts: &mut Facts) -> Result<Touched, Fault> {
    let new_perm = Perms::of_row(facts, id).map(|perms| perms.perm);
    // The old name of the right is what the columns said, so a database that was renamed is renamed here already.
    if let (Some(old), Some(new)) = (old.and_then(|row| old_perm(row, id, facts)), new_perm) {
        permission::rename(facts, &old, &new);
    }
    refresh(id, facts)
}

fn old_perm(old: &Row, id: i64, facts: &Facts) -> Option<String> {
    let database = old.get("database_id")?.as_int()?;
    let database = facts.rows.value(Table::Dbs, database, "database_name").as_text()?;
    Some(permission::of_dataset(database, text(old, "table_name")?, id))
}

/// Brings the permission rows of a dataset, its permission columns and those of its charts up to date; charts that
/// nobody manages too, because a stale one is hidden from those who may see it.
fn refresh(dataset: i64, facts: &mut Facts) -> Result<Touched, Fault> {
    let Some(perms) = Perms::of_row(facts, dataset) else { return Ok(Touched::new()) };
    let mut touched = Touched::new();
    let columns = perms.columns(facts, Table::Tables);
    if facts.rows.set(Table::Tables, dataset, columns) {
        touched.extend(asset_of(Table::Tables, dataset, facts));
    }
    permission::ensure(facts, permission::DATASOURCE_ACCESS, &perms.perm)?;
    if let Some(schema) = &perms.schema {
        permission::ensure(facts, permission::SCHEMA_ACCESS, schema)?;
    }
    if let Some(catalog) = &perms.catalog {
        permission::ensure(facts, permission::CATALOG_ACCESS, catalog)?;
    }
    let mut columns = perms.columns(facts, Table::Slices);
    let name = facts.rows.value(Table::Tables, dataset, "table_name").clone();
    columns.insert("datasource_name", name);
    for chart in charts_of(dataset, facts)? {
        if facts.rows.set(Table::Slices, chart, columns.clone()) {
            touched.extend(asset_of(Table::Slices, chart, facts));
        }
    }
    Ok(touched)
}

/// Returns the charts that draw a dataset. (Charts of a saved query have its id in the same column.)
pub(crate) fn charts_of(dataset: i64, facts: &Facts) -> Result<Vec<i64>, Fault> {
    if !facts.reserved.contains(Table::Tables, dataset) {
        facts.must_know(Lookup::new(Table::Slices, "datasource_id", dataset))?;
    }
    let charts = facts.rows.find(Table::Slices, "datasource_id", &Value::Int(dataset));
    let draws_table =
        |chart: &i64| facts.rows.value(Table::Slices, *chart, "datasource_type").as_text() == Some("table");
    Ok(charts.filter(draws_table).collect())
}

/// Returns what asset a row is.
pub(crate) fn asset_of(table: Table, id: i64, facts: &Facts) -> Option<(Kind, Uuid)> {
    let kind = Kind::ALL.into_iter().find(|kind| table_of(*kind) == table)?;
    Some((kind, facts.rows.value(table, id, "uuid").as_uuid()?))
}
