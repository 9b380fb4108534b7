//! Superset's permission rows: what each asset's are called, and how they are made, renamed and removed.
//!
//! A permission is a pair of a name (`ab_permission`) and a thing (`ab_view_menu`), kept in `ab_permission_view`
//! and granted to roles. Superset's listeners keep them in step when its own pages change an asset; direct SQL has
//! to do it itself.

use crate::ask::Lookup;
use crate::facts::Facts;
use crate::fault::Fault;
use crate::rows::Row;
use crate::table::{Sweep, Table};
use crate::value::Value;

pub(crate) const DATABASE_ACCESS: &str = "database_access";
pub(crate) const DATASOURCE_ACCESS: &str = "datasource_access";
pub(crate) const SCHEMA_ACCESS: &str = "schema_access";
pub(crate) const CATALOG_ACCESS: &str = "catalog_access";

/// All names that we may have to make.
pub(crate) const NAMES: [&str; 4] = [DATABASE_ACCESS, DATASOURCE_ACCESS, SCHEMA_ACCESS, CATALOG_ACCESS];

/// Names the right to everything in a database.
pub(crate) fn of_database(name: &str, id: i64) -> String {
    format!("[{name}].(id:{id})")
}

/// Names the right to a dataset.
pub(crate) fn of_dataset(database: &str, table: &str, id: i64) -> String {
    format!("[{database}].[{table}](id:{id})")
}

/// Names the right to a schema. Superset counts an empty one as none.
pub(crate) fn of_schema(database: &str, catalog: Option<&str>, schema: Option<&str>) -> Option<String> {
    let schema = schema.filter(|schema| !schema.is_empty())?;
    Some(match catalog.filter(|catalog| !catalog.is_empty()) {
        Some(catalog) => format!("[{database}].[{catalog}].[{schema}]"),
        None => format!("[{database}].[{schema}]"),
    })
}

/// Names the right to a catalog.
pub(crate) fn of_catalog(database: &str, catalog: Option<&str>) -> Option<String> {
    let catalog = catalog.filter(|catalog| !catalog.is_empty())?;
    Some(format!("[{database}].[{catalog}]"))
}

/// What all names of rights inside a database begin with.
pub(crate) fn prefix(database: &str) -> String {
    format!("[{database}].[")
}

/// What the names of the rights to one database or dataset end with.
pub(crate) fn suffix(id: i64) -> String {
    format!("(id:{id})")
}

pub(crate) fn menu(facts: &Facts, name: &str) -> Option<i64> {
    facts.rows.find(Table::AbViewMenu, "name", &Value::from(name)).next()
}

fn pairs(facts: &Facts, menu: i64) -> Vec<i64> {
    facts.rows.find(Table::AbPermissionView, "view_menu_id", &Value::Int(menu)).collect()
}

/// Makes a permission unless it is there. It grants nothing.
pub(crate) fn ensure(facts: &mut Facts, permission: &str, name: &str) -> Result<(), Fault> {
    let permission = named(facts, Table::AbPermission, permission)?;
    let menu = named(facts, Table::AbViewMenu, name)?;
    let is_pair = |pair: &i64| {
        facts.rows.value(Table::AbPermissionView, *pair, "permission_id").as_int() == Some(permission)
    };
    if !pairs(facts, menu).iter().any(is_pair) {
        let id = facts.reserved.next(Table::AbPermissionView)?;
        let columns = [("id", id), ("permission_id", permission), ("view_menu_id", menu)];
        let row = columns.into_iter().map(|(column, value)| (column, Value::Int(value))).collect();
        facts.rows.put(Table::AbPermissionView, id, row);
    }
    Ok(())
}

fn named(facts: &mut Facts, table: Table, name: &str) -> Result<i64, Fault> {
    if let Some(id) = facts.rows.find(table, "name", &Value::from(name)).next() {
        return Ok(id);
    }
    if table != Table::AbViewMenu || !is_known(facts, name) {
        facts.must_know(Lookup::new(table, "name", name))?;
    }
    let id = facts.reserved.next(table)?;
    facts.rows.put(table, id, Row::from([("id", Value::Int(id)), ("name", Value::from(name))]));
    Ok(id)
}

/// Says whether it is known if there is a thing of that name: by the name, by the id that it ends with (leftovers
/// of new rows are looked up so), or by the database that it begins with.
pub(crate) fn is_known(facts: &Facts, name: &str) -> bool {
    let menus = Table::AbViewMenu;
    let by_suffix = name.rfind("(id:").map(|start| Lookup::suffix(menus, "name", &name[start..]));
    let by_prefix =
        name.match_indices("].[").map(|(at, found)| Lookup::prefix(menus, "name", &name[..at + found.len()]));
    let mut lookups = by_suffix.into_iter().chain(by_prefix).chain([Lookup::new(menus, "name", name)]);
    lookups.any(|lookup| facts.knows(&lookup))
}

/// Says whether a thing is there and belongs to some permission.
pub(crate) fn is_paired(facts: &Facts, name: &str) -> bool {
    menu(facts, name).is_some_and(|menu| !pairs(facts, menu).is_empty())
}

/// Gives a right another name, so that those who hold it keep it. If the new name exists, the old one goes.
pub(crate) fn rename(facts: &mut Facts, old: &str, new: &str) {
    let Some(id) = menu(facts, old).filter(|_| old != new) else { return };
    if menu(facts, new).is_some() {
        remove(facts, old);
    } else {
        facts.rows.set(Table::AbViewMenu, id, Row::from([("name", Value::from(new))]));
    }
}

/// Removes a thing, its permissions and their grants.
pub(crate) fn remove(facts: &mut Facts, name: &str) {
    let Some(id) = menu(facts, name) else { return };
    for pair in pairs(facts, id) {
        for rule in Table::AbPermissionView.sweeps() {
            let (table, column) = (rule.table, rule.column);
            facts.rows.sweep(Sweep { table, column, id: pair, only: rule.only, action: rule.action });
        }
        facts.rows.take(Table::AbPermissionView, pair);
    }
    facts.rows.take(Table::AbViewMenu, id);
}

/// What the names of rights to schemas and catalogs begin with while another database has the name of theirs.
pub(crate) fn parked_prefix(database: i64) -> String {
    format!("{PARKED}{database}].[")
}

const PARKED: &str = "[setkeeper parked dbs ";

/// Returns the names of rights to schemas and catalogs that begin so. Rights to datasets, which name an id, are
/// looked after with their datasets.
pub(crate) fn shared(facts: &Facts, prefix: &str) -> Vec<String> {
    let names = facts.rows.of(Table::AbViewMenu).filter_map(|(_, row)| row.get("name")?.as_text());
    names.filter(|name| name.starts_with(prefix) && !name.ends_with(')')).map(str::to_owned).collect()
}

/// Gives rights to schemas and catalogs another beginning. Where the new name is taken by a right that this batch
/// made, that one gives way, because nobody holds it yet; else the old right stays as it is, or goes if it was parked.
pub(crate) fn move_shared(facts: &mut Facts, from: &str, to: &str) {
    for name in shared(facts, from) {
        let renamed = format!("{to}{}", &name[from.len()..]);
        match menu(facts, &renamed) {
            None => rename(facts, &name, &renamed),
            Some(taken) if facts.reserved.contains(Table::AbViewMenu, taken) => {
                remove(facts, &renamed);
                rename(facts, &name, &renamed);
            }
            Some(_) if name.starts_with(PARKED) => remove(facts, &name),
            Some(_) => {}
        }
    }
}
