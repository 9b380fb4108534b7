//! A driver's row as sea-query values.

use sea_query::Value;
use sqlx::postgres::{PgRow, PgValueFormat, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{Column, Decode, Row as _, TypeInfo, ValueRef};
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};
use uuid::Uuid;

mod numeric;

use crate::Row;

/// By the storage class of each value: SQLite's columns hold what was put there, whatever they were declared.
pub(crate) fn sqlite(row: &SqliteRow) -> Result<Row, String> {
    (0..row.len())
        .map(|index| sqlite_value(row, index).map_err(|reason| place(row, index, &reason)))
        .collect()
}

fn sqlite_value(row: &SqliteRow, index: usize) -> Result<Value, String> {
    let raw = row.try_get_raw(index).map_err(|error| error.to_string())?;
    if raw.is_null() {
        return Ok(Value::String(None));
    }
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INTEGER" => Value::BigInt(Some(get::<Sqlite, _>(raw)?)),
        "REAL" => Value::Double(Some(get::<Sqlite, _>(raw)?)),
        "TEXT" => Value::String(Some(get::<Sqlite, _>(raw)?)),
        "BLOB" => Value::Bytes(Some(get::<Sqlite, _>(raw)?)),
        other => return Err(unsupported(other)),
    })
}

/// By the type of each column.
pub(crate) fn postgres(row: &PgRow) -> Result<Row, String> {
    (0..row.len())
        .map(|index| postgres_value(row, index).map_err(|reason| place(row, index, &reason)))
        .collect()
}

fn postgres_value(row: &PgRow, index: usize) -> Result<Value, String> {
    let raw = row.try_get_raw(index).map_err(|error| error.to_string())?;
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "BOOL" => Value::Bool(get::<Postgres, _>(raw)?),
        "INT2" => Value::SmallInt(get::<Postgres, _>(raw)?),
        "INT4" => Value::Int(get::<Postgres, _>(raw)?),
        "INT8" => Value::BigInt(get::<Postgres, _>(raw)?),
        "FLOAT4" => Value::Float(get::<Postgres, _>(raw)?),
        "FLOAT8" => Value::Double(get::<Postgres, _>(raw)?),
        "TEXT" | "VARCHAR" | "CHAR" | "\"CHAR\"" | "NAME" | "UNKNOWN" => {
            Value::String(get::<Postgres, _>(raw)?)
        }
        "VOID" => Value::String(None),
        "BYTEA" => Value::Bytes(get::<Postgres, _>(raw)?),
        "UUID" => Value::Uuid(get::<Postgres, Option<Uuid>>(raw)?),
        "DATE" => Value::TimeDate(get::<Postgres, Option<Date>>(raw)?),
        "TIME" => Value::TimeTime(get::<Postgres, Option<Time>>(raw)?),
        "TIMESTAMP" => Value::TimeDateTime(get::<Postgres, Option<PrimitiveDateTime>>(raw)?),
        "TIMESTAMPTZ" => Value::TimeDateTimeWithTimeZone(get::<Postgres, Option<OffsetDateTime>>(raw)?),
        "JSON" | "JSONB" | "NUMERIC" if raw.is_null() => Value::String(None),
        "JSON" | "JSONB" => Value::String(Some(json(raw, &kind)?)),
        "NUMERIC" => Value::String(Some(numeric_text(raw)?)),
        other => return Err(unsupported(other)),
    })
}

/// Without sqlx's check of the type, which was made by name above.
fn get<'r, DB: sqlx::Database, T: Decode<'r, DB>>(raw: DB::ValueRef<'r>) -> Result<T, String> {
    T::decode(raw).map_err(|error| error.to_string())
}

/// The text itself, so that the key order of `json` is kept. In the binary protocol `jsonb` is a version byte
/// (1) and then the text.
fn json(raw: sqlx::postgres::PgValueRef<'_>, kind: &str) -> Result<String, String> {
    let binary = raw.format() == PgValueFormat::Binary;
    let bytes = raw.as_bytes().map_err(|error| error.to_string())?;
    let text = match (kind, binary) {
        ("JSONB", true) => bytes.strip_prefix(&[1]).ok_or("an unknown version of jsonb")?,
        _ => bytes,
    };
    String::from_utf8(text.to_vec()).map_err(|error| error.to_string())
}

fn numeric_text(raw: sqlx::postgres::PgValueRef<'_>) -> Result<String, String> {
    match raw.format() {
        PgValueFormat::Text => raw.as_str().map(ToOwned::to_owned).map_err(|error| error.to_string()),
        PgValueFormat::Binary => {
            let bytes = raw.as_bytes().map_err(|error| error.to_string())?;
            numeric::text(bytes).ok_or_else(|| "a numeric that cannot be read".to_owned())
        }
    }
}

fn unsupported(kind: &str) -> String {
    format!("type `{kind}` is not supported; cast it in the query")
}

fn place<R: sqlx::Row>(row: &R, index: usize, reason: &str) -> String {
    format!("column `{}`: {reason}", row.columns()[index].name())
}
