//! Values as a database's driver gives them, made into typed ones.

use sea_query::Value as Raw;
use time::PrimitiveDateTime;
use time::macros::format_description;
use uuid::Uuid;

use crate::ask::Query;
use crate::fault::{Fault, FaultKind};
use crate::rows::Row;
use crate::table::Column;
use crate::value::{Json, Type, Value};

/// Reads one row of a query's result, and its id.
pub(crate) fn row(query: &Query, values: Vec<Raw>) -> Result<(i64, Row), Fault> {
    let table = query.table;
    let unreadable = |message: String| Fault::new(FaultKind::Unreadable, message);
    if values.len() != query.columns.len() {
        let message = format!("read {} values of {} columns", values.len(), query.columns.len());
        return Err(unreadable(message));
    }
    let mut row = Row::new();
    for (column, raw) in query.columns.iter().zip(values) {
        let typed = value(column, raw).ok_or_else(|| {
            let message = format!("read `{}.{}`: not a value of its type", table.name(), column.name);
            unreadable(message)
        })?;
        row.insert(column.name, typed);
    }
    let id = row.get("id").and_then(Value::as_int);
    id.map(|id| (id, row)).ok_or_else(|| unreadable(format!("read a row of `{}` without id", table.name())))
}

fn value(column: &Column, raw: Raw) -> Option<Value> {
    match column.ty {
        Type::Int => int(&raw),
        Type::Bool => bool(&raw),
        Type::Text => text(raw).map(|text| text.map_or(Value::Null, Value::Text)),
        Type::Bytes => bytes(raw).map(|bytes| bytes.map_or(Value::Null, Value::Bytes)),
        Type::Uuid => uuid(raw),
        Type::Time => time(raw),
        Type::Json => json(raw),
    }
}

fn int(raw: &Raw) -> Option<Value> {
    let int = match raw {
        Raw::BigInt(int) => *int,
        Raw::Int(int) => int.map(i64::from),
        Raw::SmallInt(int) => int.map(i64::from),
        Raw::TinyInt(int) => int.map(i64::from),
        raw if is_null(raw) => None,
        _ => return None,
    };
    Some(int.map_or(Value::Null, Value::Int))
}

fn bool(raw: &Raw) -> Option<Value> {
    if let Raw::Bool(bool) = raw {
        return Some(bool.map_or(Value::Null, Value::Bool));
    }
    match int(raw)? {
        Value::Int(int @ (0 | 1)) => Some(Value::Bool(int == 1)),
        Value::Null => Some(Value::Null),
        _ => None,
    }
}

fn text(raw: Raw) -> Option<Option<String>> {
    match raw {
        Raw::String(text) => Some(text),
        // SQLite keeps whatever type was written: a number in a text column is still text to Superset.
        Raw::BigInt(Some(int)) => Some(Some(int.to_string())),
        raw if is_null(&raw) => Some(None),
        _ => None,
    }
}

fn bytes(raw: Raw) -> Option<Option<Vec<u8>>> {
    match raw {
        Raw::Bytes(bytes) => Some(bytes),
        Raw::String(text) => Some(text.map(String::into_bytes)),
        raw if is_null(&raw) => Some(None),
        _ => None,
    }
}

fn uuid(raw: Raw) -> Option<Value> {
    let uuid = match raw {
        Raw::Uuid(uuid) => uuid,
        Raw::Bytes(Some(bytes)) => Some(Uuid::from_slice(&bytes).ok()?),
        Raw::String(Some(text)) => Some(Uuid::parse_str(&text).ok()?),
        raw if is_null(&raw) => None,
        _ => return None,
    };
    Some(uuid.map_or(Value::Null, Value::Uuid))
}

fn time(raw: Raw) -> Option<Value> {
    let time = match raw {
        Raw::TimeDateTime(time) => time,
        Raw::String(Some(text)) => Some(parse_time(&text)?),
        raw if is_null(&raw) => None,
        _ => return None,
    };
    Some(time.map_or(Value::Null, Value::Time))
}

/// Reads what SQLAlchemy writes on SQLite, `2026-11-24 03:04:05.678901`, also without the fraction.
pub(crate) fn parse_time(text: &str) -> Option<PrimitiveDateTime> {
    let whole = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let fraction = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:1+]");
    let text = text.replace('T', " ");
    PrimitiveDateTime::parse(&text, fraction).or_else(|_| PrimitiveDateTime::parse(&text, whole)).ok()
}

fn json(raw: Raw) -> Option<Value> {
    let json = match raw {
        Raw::Json(json) => json.map(|json| *json),
        // A text that is no JSON is kept as a JSON string, so that it differs from what a document says.
        Raw::String(Some(text)) => {
            Some(serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)))
        }
        raw if is_null(&raw) => None,
        _ => return None,
    };
    match json {
        // Superset's own importer stores the JSON `null` where it means NULL.
        None | Some(serde_json::Value::Null) => Some(Value::Null),
        Some(json) => Some(Value::Json(Json(json))),
    }
}

/// The driver of SQLite knows no type for NULL, so NULL comes as any of them.
fn is_null(raw: &Raw) -> bool {
    raw == &raw.as_null()
}
