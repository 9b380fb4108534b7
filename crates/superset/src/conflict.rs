//! Unique values that two rows would have.

use std::collections::BTreeSet;

use asset::Kind;
use uuid::Uuid;

use crate::facts::Facts;
use crate::fault::{Fault, FaultKind, User, UserKind};
use crate::lower::table_of;
use crate::table::Table;
use crate::value::Value;

/// Finds those of the given assets whose unique values another row has too. Called after a Txn that was judged with
/// [`Facts::yielding`], to see whether those that were to let go of a value did.
#[must_use]
pub fn conflicts(facts: &Facts, uuids: &BTreeSet<Uuid>) -> Vec<(Kind, Uuid, Fault)> {
    let mut conflicts = Vec::new();
    for kind in Kind::ALL {
        let table = table_of(kind);
        for uuid in uuids {
            let fault =
                facts.rows.by_uuid(table, *uuid).and_then(|id| of(table, id, facts, &BTreeSet::new()));
            conflicts.extend(fault.map(|fault| (kind, *uuid, fault)));
        }
    }
    conflicts
}

/// Finds another row with a unique value of this one, those of `yielding` excepted.
pub(crate) fn of(table: Table, id: i64, facts: &Facts, yielding: &BTreeSet<Uuid>) -> Option<Fault> {
    let (kind, column, what) = match table {
        Table::Dbs => (Kind::Database, "database_name", "dbs.database_name"),
        Table::Tables => (Kind::Dataset, "table_name", "tables.table_name"),
        Table::Dashboards => (Kind::Dashboard, "slug", "dashboards.slug"),
        Table::Themes
        | Table::TableColumns
        | Table::SqlMetrics
        | Table::Slices
        | Table::DashboardSlices
        | Table::ReportSchedule
        | Table::AbPermission
        | Table::AbViewMenu
        | Table::AbPermissionView => return None,
    };
    let value = facts.rows.value(table, id, column);
    if value.is_null() {
        return None;
    }
    let others = facts.rows.find(table, column, value).filter(|other| *other != id);
    let other =
        others.filter(|other| table != Table::Tables || is_same_table(id, *other, facts)).find(|other| {
            let uuid = facts.rows.value(table, *other, "uuid").as_uuid();
            uuid.is_none_or(|uuid| !yielding.contains(&uuid))
        })?;
    let with = user(kind, other, facts);
    let value = value.as_text().unwrap_or_default();
    let message = format!(
        "give {kind} the {column} `{value}`, which {with} has; choose another, or change that one first"
    );
    Some(Fault::new(FaultKind::Conflict { what, with }, message).at(column))
}

/// As the database sees it: on SQLite the name alone is unique; elsewhere it is so within a schema of a database,
/// whatever the catalog, and not at all without a schema.
fn is_same_table(id: i64, other: i64, facts: &Facts) -> bool {
    let same = |column| {
        let value = facts.rows.value(Table::Tables, id, column);
        !value.is_null() && value == facts.rows.value(Table::Tables, other, column)
    };
    facts.schema.table_name_is_unique() || (same("database_id") && same("schema"))
}

/// Describes an asset for a message.
pub(crate) fn user(kind: Kind, id: i64, facts: &Facts) -> User {
    let column = match kind {
        Kind::Database => "database_name",
        Kind::Dataset => "table_name",
        Kind::Chart => "slice_name",
        Kind::Dashboard => "dashboard_title",
    };
    let table = table_of(kind);
    let name = match facts.rows.value(table, id, column) {
        Value::Text(name) => name.clone(),
        _ => format!("with id {id}"),
    };
    User { kind: UserKind::Asset(kind), uuid: facts.rows.value(table, id, "uuid").as_uuid(), name }
}
