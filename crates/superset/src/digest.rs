//! A fingerprint of an asset's rows, to notice that somebody changed them.

use std::collections::BTreeSet;
use std::fmt;

use asset::{Kind, Object};
use serde_json::Value as Parsed;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::ask::Lookup;
use crate::facts::Facts;
use crate::ids;
use crate::json;
use crate::lower::table_of;
use crate::permission;
use crate::put::children;
use crate::rows::{Row, Rows};
use crate::table::{Column, Role, Table};
use crate::value::{Type, Value};

/// SHA-256 over the Document and Derived columns of an asset's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Computes the digest of an asset's rows, without times, and with uuids in the place of ids, so that it is the same
/// in every database. `None` when there is no such row.
///
/// What an asset's rows point to must be among `rows`, as [`crate::ask`] sees to.
#[must_use]
pub fn digest(kind: Kind, uuid: Uuid, rows: &Rows) -> Option<Digest> {
    let table = table_of(kind);
    let id = rows.by_uuid(table, uuid)?;
    let mut hash = Sha256::new();
    feed(&mut hash, "setkeeper rows 1");
    hash_row(&mut hash, table, id, rows);
    for (children, parent) in children(table) {
        let its: Vec<i64> = rows.find(*children, parent, &Value::Int(id)).collect();
        // Which ids the children have does not matter, so their order must not either.
        let mut digests: Vec<[u8; 32]> =
            its.into_iter().map(|child| digest_of(*children, child, rows)).collect();
        digests.sort_unstable();
        for digest in digests {
            hash.update(digest);
        }
    }
    Some(Digest(hash.finalize().into()))
}

/// Returns what has to be looked up before an asset's digest can be taken: a row of which a part alone was looked at
/// has another one.
#[must_use]
pub fn unknown(kind: Kind, uuid: Uuid, facts: &Facts) -> BTreeSet<Lookup> {
    let table = table_of(kind);
    let (mut lookups, mut rows) = (BTreeSet::new(), Vec::new());
    let Some(id) = facts.rows.by_uuid(table, uuid) else { return lookups };
    rows.push((table, id));
    if !facts.reserved.contains(table, id) {
        lookups.insert(Lookup::new(table, "uuid", uuid).full());
        lookups.extend(children(table).iter().map(|(children, parent)| Lookup::new(*children, parent, id)));
    }
    for (children, parent) in children(table) {
        rows.extend(facts.rows.find(*children, parent, &Value::Int(id)).map(|child| (*children, child)));
    }
    for (table, id) in rows {
        let values = facts.rows.get(table, id).into_iter().flatten();
        let pointed = values.filter_map(|(column, value)| Some((pointed(table, column)?, value.as_int()?)));
        let absent = pointed.filter(|(table, id)| facts.rows.get(*table, *id).is_none());
        lookups.extend(absent.map(|(table, id)| Lookup::new(table, "id", id)));
    }
    lookups.retain(|lookup| !facts.knows(lookup));
    lookups
}

/// Returns the table whose ids a column holds.
fn pointed(table: Table, column: &str) -> Option<Table> {
    match (table, column) {
        (_, "database_id") => Some(Table::Dbs),
        (_, "table_id" | "datasource_id") => Some(Table::Tables),
        (_, "theme_id") => Some(Table::Themes),
        (_, "slice_id") => Some(Table::Slices),
        (_, "dashboard_id") => Some(Table::Dashboards),
        _ => None,
    }
}

fn digest_of(table: Table, id: i64, rows: &Rows) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash_row(&mut hash, table, id, rows);
    hash.finalize().into()
}

fn feed(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

fn hash_row(hash: &mut Sha256, table: Table, id: i64, rows: &Rows) {
    feed(hash, table.name());
    let Some(row) = rows.get(table, id) else { return };
    let counts = |column: &&Column| {
        matches!(column.role, Role::Document | Role::Derived)
            && column.ty != Type::Time
            && column.name != "id"
    };
    let dashboard = (table == Table::Dashboards).then(|| dashboard_json(row, rows));
    for column in table.columns().iter().filter(counts) {
        let Some(value) = row.get(column.name) else { continue };
        let portable = dashboard.as_ref().and_then(|json| json.get(column.name)).map(Value::from);
        let value = portable.unwrap_or_else(|| without_ids(table, row, column, value, rows));
        feed(hash, column.name);
        feed(hash, &format!("{}", Typed(&value)));
    }
}

/// A value with its type, so that NULL, an empty text and a zero differ.
struct Typed<'a>(&'a Value);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("n"),
            Value::Bool(bool) => write!(f, "b{bool}"),
            Value::Int(int) => write!(f, "i{int}"),
            Value::Text(text) => write!(f, "t{text}"),
            Value::Bytes(bytes) => write!(f, "x{}", String::from_utf8_lossy(bytes)),
            Value::Uuid(uuid) => write!(f, "u{uuid}"),
            Value::Time(time) => write!(f, "d{time}"),
            Value::Json(json) => write!(f, "j{}", json::dumps_sorted(&json.0)),
            Value::Odd(text) => write!(f, "o{text}"),
        }
    }
}

/// Returns a value with the uuid of what it points to in the place of an id.
fn without_ids(table: Table, row: &Row, column: &Column, value: &Value, rows: &Rows) -> Value {
    if let (Some(pointed), Value::Int(id)) = (pointed(table, column.name), value) {
        return rows.value(pointed, *id, "uuid").as_uuid().map_or(value.clone(), Value::Uuid);
    }
    match (table, column.name, value) {
        (Table::Tables, "perm", Value::Text(perm)) => without_suffix(perm, row.get("id")),
        (Table::Slices, "perm", Value::Text(perm)) => without_suffix(perm, row.get("datasource_id")),
        (Table::Slices, "params" | "query_context", Value::Text(text)) => {
            Value::Text(without_dataset(text, row, rows).unwrap_or_else(|| text.clone()))
        }
        _ => value.clone(),
    }
}

fn without_suffix(perm: &str, id: Option<&Value>) -> Value {
    let suffix = id.and_then(Value::as_int).map(permission::suffix);
    let stripped = suffix.and_then(|suffix| perm.strip_suffix(&suffix));
    Value::Text(stripped.map_or_else(|| perm.to_owned(), |name| format!("{name}(id)")))
}

/// Puts the dataset's uuid where the chart's JSON names the dataset's id, and only there.
fn without_dataset(text: &str, row: &Row, rows: &Rows) -> Option<String> {
    let id = row.get("datasource_id")?.as_int()?;
    let uuid = rows.value(Table::Tables, id, "uuid").as_uuid()?;
    let mut parsed: Parsed = serde_json::from_str(text).ok()?;
    replace(&mut parsed, id, uuid);
    if let Some(form) = parsed.get_mut("form_data") {
        replace(form, id, uuid);
    }
    for query in parsed.get_mut("queries").and_then(Parsed::as_array_mut).into_iter().flatten() {
        replace(query, id, uuid);
    }
    Some(json::dumps(&parsed))
}

fn replace(holder: &mut Parsed, id: i64, uuid: Uuid) {
    let Some(datasource) = holder.get_mut("datasource") else { return };
    if datasource.as_str() == Some(format!("{id}__table").as_str()) {
        *datasource = Parsed::from(format!("{uuid}__table"));
    } else if let Some(its) = datasource.get_mut("id").filter(|its| its.as_i64() == Some(id)) {
        *its = Parsed::from(uuid.to_string());
    }
}

/// The JSON of a dashboard with uuids in the place of ids. A chart that stands under an id which is not its own is
/// marked, because the page would show another.
fn dashboard_json(row: &Row, rows: &Rows) -> DashboardJson {
    let parse = |column| -> Option<Object> { serde_json::from_str(row.get(column)?.as_text()?).ok() };
    let Some(mut metadata) = parse("json_metadata") else { return DashboardJson::default() };
    let mut position = parse("position_json");
    let places = position.iter().flat_map(ids::charts_in);
    let strays = places.filter(|(meta, uuid)| {
        let id = meta.get("chartId").and_then(Parsed::as_i64);
        rows.by_uuid(Table::Slices, *uuid) != id
    });
    let strays: Vec<String> = strays.map(|(_, uuid)| uuid.to_string()).collect();
    ids::name_datasets(&mut metadata, &|id| rows.value(Table::Tables, id, "uuid").as_uuid());
    let known = |uuid: Uuid| rows.by_uuid(Table::Slices, uuid).map(|_| Parsed::from(uuid.to_string()));
    ids::rewrite_dashboard(position.as_mut(), &mut metadata, &known, &|_| None);
    DashboardJson {
        position: position.map(|position| format!("{}{}", json::dumps_object(&position), strays.join(","))),
        metadata: Some(json::dumps_object(&metadata)),
    }
}

#[derive(Default)]
struct DashboardJson {
    position: Option<String>,
    metadata: Option<String>,
}

impl DashboardJson {
    fn get(&self, column: &str) -> Option<&str> {
        match column {
            "position_json" => self.position.as_deref(),
            "json_metadata" => self.metadata.as_deref(),
            _ => None,
        }
    }
}
