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

/// Reads one row of a query's result, and its id. A value that is not of its column's type is [`Value::Odd`].
pub(crate) fn row(query: &Query, values: Vec<Raw>) -> Result<(i64, Row), Fault> {
    let table = query.table;
    let unreadable = |message: String| Fault::new(FaultKind::Unreadable, message);
    if values.len() != query.columns.len() {
        let message = format!("read {} values of {} columns", values.len(), query.columns.len());
        return Err(unreadable(message));
    }
    let mut row = Row::new();
    for (column, raw) in query.columns.iter().zip(values) {
        row.insert(column.name, value(column, raw).unwrap_or_else(|raw| odd(&raw)));
    }
    let id = row.get("id").and_then(Value::as_int);
    id.map(|id| (id, row)).ok_or_else(|| unreadable(format!("read a row of `{}` without id", table.name())))
}

/// Gives the raw value back if the column's type does not allow it.
fn value(column: &Column, raw: Raw) -> Result<Value, Raw> {
    match column.ty {
        Type::Int => int(&raw).ok_or(raw),
        Type::Bool => bool(&raw).ok_or(raw),
        Type::Text => text(raw),
        Type::Bytes => bytes(raw),
        Type::Uuid => uuid(&raw).ok_or(raw),
        Type::Time => time(&raw).ok_or(raw),
        Type::Json => json(&raw).ok_or(raw),
    }
}

/// One value that somebody wrote by hand must not hinder all others.
fn odd(raw: &Raw) -> Value {
    Value::Odd(match raw {
        Raw::String(Some(text)) => text.clone(),
        Raw::Bytes(Some(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        other => format!("{other:?}"),
    })
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

fn text(raw: Raw) -> Result<Value, Raw> {
    match raw {
        Raw::String(text) => Ok(text.map_or(Value::Null, Value::Text)),
        // SQLite keeps whatever type was written: a number in a text column is still text to Superset.
        Raw::BigInt(Some(int)) => Ok(Value::Text(int.to_string())),
        raw if is_null(&raw) => Ok(Value::Null),
        raw => Err(raw),
    }
}

fn bytes(raw: Raw) -> Result<Value, Raw> {
    match raw {
        Raw::Bytes(bytes) => Ok(bytes.map_or(Value::Null, Value::Bytes)),
        Raw::String(text) => Ok(text.map_or(Value::Null, |text| Value::Bytes(text.into_bytes()))),
        raw if is_null(&raw) => Ok(Value::Null),
        raw => Err(raw),
    }
}

fn uuid(raw: &Raw) -> Option<Value> {
    let uuid = match raw {
        Raw::Uuid(uuid) => *uuid,
        Raw::Bytes(Some(bytes)) => Some(Uuid::from_slice(bytes).ok()?),
        Raw::String(Some(text)) => Some(Uuid::parse_str(text).ok()?),
        raw if is_null(raw) => None,
        _ => return None,
    };
    Some(uuid.map_or(Value::Null, Value::Uuid))
}

fn time(raw: &Raw) -> Option<Value> {
    let time = match raw {
        Raw::TimeDateTime(time) => *time,
        Raw::String(Some(text)) => Some(parse_time(text)?),
        raw if is_null(raw) => None,
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

fn json(raw: &Raw) -> Option<Value> {
    let json = match raw {
        Raw::Json(json) => json.as_deref().cloned(),
        // A text that is no JSON is kept as a JSON string, so that it differs from what a document says.
        Raw::String(Some(text)) => {
            Some(serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::String(text.clone())))
        }
        raw if is_null(raw) => None,
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
