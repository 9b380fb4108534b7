//! What a delete comes to in the working copy: as Superset's REST API deletes.

use asset::Kind;
use uuid::Uuid;

use crate::ask::Lookup;
use crate::conflict::user;
use crate::facts::Facts;
use crate::fault::{Fault, FaultKind, User, UserKind};
use crate::lower::table_of;
use crate::permission;
use crate::put::{Touched, asset_of, charts_of, children, prefix_of_rights, unpark_rights_of_others};
use crate::rows::Row;
use crate::table::{Sweep, Table};
use crate::value::Value;

/// Takes the rows of an asset out of the working copy, with its children, links, permission rows and marks. Charts
/// of a deleted dataset that nobody manages stay, without a dataset.
///
/// # Errors
/// [`FaultKind::StillUsed`] by datasets of a database, managed charts of a dataset, alerts and reports;
/// [`FaultKind::Absent`] when there is no such row. Then nothing has changed.
pub fn remove(kind: Kind, uuid: Uuid, facts: &mut Facts) -> Result<Touched, Fault> {
    let savepoint = facts.savepoint();
    let result = remove_or_leave_half(kind, uuid, facts);
    if result.is_err() {
        facts.roll_back(&savepoint);
    }
    result
}

/// Says whether the working copy has the row of an asset.
#[must_use]
pub fn exists(kind: Kind, uuid: Uuid, facts: &Facts) -> bool {
    facts.rows.by_uuid(table_of(kind), uuid).is_some()
}

/// Returns who uses an asset in a way that its delete must heed, managed or not: datasets of a database, charts of
/// a dataset, and alerts and reports of a database, chart or dashboard.
#[must_use]
pub fn users_of(kind: Kind, uuid: Uuid, facts: &Facts) -> Vec<User> {
    let Some(id) = facts.rows.by_uuid(table_of(kind), uuid) else { return Vec::new() };
    let mut users: Vec<User> = match kind {
        Kind::Database => {
            let datasets = facts.rows.find(Table::Tables, "database_id", &Value::Int(id));
            datasets.map(|id| user(Kind::Dataset, id, facts)).collect()
        }
        Kind::Dataset => {
            let charts = charts_of(id, facts).unwrap_or_default();
            charts.into_iter().map(|id| user(Kind::Chart, id, facts)).collect()
        }
        Kind::Chart | Kind::Dashboard => Vec::new(),
    };
    users.extend(reports(kind, id, facts));
    users
}

/// Returns the column by which an alert or report names what it is about.
pub(crate) fn report_column(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Database => Some("database_id"),
        Kind::Dataset => None,
        Kind::Chart => Some("chart_id"),
        Kind::Dashboard => Some("dashboard_id"),
    }
}

fn reports(kind: Kind, id: i64, facts: &Facts) -> Vec<User> {
    let Some(column) = report_column(kind) else { return Vec::new() };
    let reports = facts.rows.find(Table::ReportSchedule, column, &Value::Int(id));
    let name =
        |id| facts.rows.value(Table::ReportSchedule, id, "name").as_text().unwrap_or_default().to_owned();
    reports.map(|id| User { kind: UserKind::Report, uuid: None, name: name(id) }).collect()
}

fn remove_or_leave_half(kind: Kind, uuid: Uuid, facts: &mut Facts) -> Result<Touched, Fault> {
    let table = table_of(kind);
    facts.must_know(Lookup::new(table, "uuid", uuid).full())?;
    let Some(id) = facts.rows.by_uuid(table, uuid) else {
        return Err(Fault::new(FaultKind::Absent, format!("delete {kind} {uuid}, which does not exist")));
    };
    if !facts.reserved.contains(table, id) {
        must_know_users(kind, id, facts)?;
    }
    let by: Vec<User> = users_of(kind, uuid, facts).into_iter().filter(|user| heeded(user, facts)).collect();
    if !by.is_empty() {
        return Err(still_used(kind, uuid, by, facts));
    }
    let touched = match kind {
        Kind::Database => close_database(id, facts)?,
        Kind::Dataset => close_dataset(id, facts)?,
        Kind::Chart => unlink(id, facts)?,
        Kind::Dashboard => Touched::new(),
    };
    for (children, parent) in children(table) {
        let its: Vec<i64> = facts.rows.find(*children, parent, &Value::Int(id)).collect();
        for child in its {
            facts.rows.take(*children, child);
        }
    }
    for rule in table.sweeps() {
        let (table, column) = (rule.table, rule.column);
        facts.rows.sweep(Sweep { table, column, id, only: rule.only, action: rule.action });
    }
    facts.rows.take(table, id);
    Ok(touched)
}

/// A chart that nobody manages does not keep its dataset, as with Superset's REST API.
fn heeded(user: &User, facts: &Facts) -> bool {
    user.kind != UserKind::Asset(Kind::Chart) || user.uuid.is_some_and(|uuid| facts.managed.contains(&uuid))
}

fn must_know_users(kind: Kind, id: i64, facts: &Facts) -> Result<(), Fault> {
    match kind {
        Kind::Database => facts.must_know(Lookup::new(Table::Tables, "database_id", id))?,
        Kind::Dataset => facts.must_know(Lookup::new(Table::Slices, "datasource_id", id))?,
        Kind::Chart => facts.must_know(Lookup::new(Table::DashboardSlices, "slice_id", id))?,
        Kind::Dashboard => {}
    }
    for (children, parent) in children(table_of(kind)) {
        facts.must_know(Lookup::new(*children, parent, id))?;
    }
    match report_column(kind) {
        Some(column) => facts.must_know(Lookup::new(Table::ReportSchedule, column, id)),
        None => Ok(()),
    }
}

fn still_used(kind: Kind, uuid: Uuid, by: Vec<User>, facts: &Facts) -> Fault {
    const SHOWN: usize = 5;
    let id = facts.rows.by_uuid(table_of(kind), uuid).unwrap_or_default();
    let names: Vec<String> = by.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if by.len() > SHOWN { format!(" and {} more", by.len() - SHOWN) } else { String::new() };
    let message =
        format!("delete {}, which is still used by {}{more}", user(kind, id, facts), names.join(", "));
    Fault::new(FaultKind::StillUsed { by }, message)
}

/// Removes the rights to a database and to its schemas and catalogs.
fn close_database(id: i64, facts: &mut Facts) -> Result<Touched, Fault> {
    let name = facts.rows.value(Table::Dbs, id, "database_name").as_text().unwrap_or_default().to_owned();
    if !facts.reserved.contains(Table::Dbs, id) {
        facts.must_know(Lookup::prefix(Table::AbViewMenu, "name", permission::prefix(&name)))?;
    }
    permission::remove(facts, &permission::of_database(&name, id));
    // A database that took this one's name in the same Txn has set this one's rights aside.
    let prefix = prefix_of_rights(id, &name, facts);
    for right in prefix.iter().flat_map(|prefix| permission::shared(facts, prefix)).collect::<Vec<_>>() {
        permission::remove(facts, &right);
    }
    unpark_rights_of_others(id, &name, facts);
    Ok(Touched::new())
}

/// Removes the right to a dataset; its schema's stays, others may use it.
fn close_dataset(id: i64, facts: &mut Facts) -> Result<Touched, Fault> {
    if let Some(perm) = crate::perms::Perms::of_row(facts, id).map(|perms| perms.perm) {
        permission::remove(facts, &perm);
    }
    let mut touched = Touched::new();
    for chart in charts_of(id, facts)? {
        touched.extend(asset_of(Table::Slices, chart, facts));
        facts.rows.set(Table::Slices, chart, Row::from([("datasource_id", Value::Null)]));
    }
    Ok(touched)
}

/// Takes a chart off its dashboards. Their positions keep naming it.
fn unlink(id: i64, facts: &mut Facts) -> Result<Touched, Fault> {
    let links: Vec<i64> = facts.rows.find(Table::DashboardSlices, "slice_id", &Value::Int(id)).collect();
    let mut touched = Touched::new();
    for link in links {
        let dashboard = facts.rows.value(Table::DashboardSlices, link, "dashboard_id").as_int();
        touched.extend(dashboard.and_then(|dashboard| asset_of(Table::Dashboards, dashboard, facts)));
        facts.rows.take(Table::DashboardSlices, link);
    }
    Ok(touched)
}
