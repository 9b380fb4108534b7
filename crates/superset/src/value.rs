//! One typed value of a column, the same for every kind of database.

use std::cmp::Ordering;
use std::fmt;

use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::json;

/// The type of a column, as far as reading and writing it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// An integer of up to 64 bits.
    Int,
    /// `boolean` on PostgreSQL, 0 or 1 on SQLite.
    Bool,
    /// Text of any length, also JSON that Superset keeps in a text column.
    Text,
    /// `bytea` or BLOB; only the encrypted columns.
    Bytes,
    /// `uuid` on PostgreSQL, a BLOB of 16 bytes on SQLite.
    Uuid,
    /// A naive time in Superset's timezone: `timestamp` on PostgreSQL, text on SQLite.
    Time,
    /// `json` or `jsonb` on PostgreSQL, text elsewhere and in older Supersets. It is read as text everywhere.
    Json,
}

/// JSON of a JSON column. Equal whatever the order of the keys, because `jsonb` does not keep it.
#[derive(Clone)]
pub struct Json(pub serde_json::Value);

impl Json {
    fn sorted(&self) -> String {
        json::dumps_sorted(&self.0)
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Json) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Json {}

impl PartialOrd for Json {
    fn partial_cmp(&self, other: &Json) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Json {
    fn cmp(&self, other: &Json) -> Ordering {
        self.sorted().cmp(&other.sorted())
    }
}

/// A value of a column. `Debug` never shows bytes, because only encrypted columns hold any.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// NULL.
    Null,
    /// Of a [`Type::Bool`] column.
    Bool(bool),
    /// Of a [`Type::Int`] column.
    Int(i64),
    /// Of a [`Type::Text`] column.
    Text(String),
    /// Of a [`Type::Bytes`] column: ciphertext.
    Bytes(Vec<u8>),
    /// Of a [`Type::Uuid`] column.
    Uuid(Uuid),
    /// Of a [`Type::Time`] column.
    Time(PrimitiveDateTime),
    /// Of a [`Type::Json`] column.
    Json(Json),
    /// Of any column: what its type does not allow and somebody wrote all the same, as SQLite lets them. It equals
    /// nothing that a document says, so it is overwritten like any other edit by hand.
    Odd(String),
}

impl Value {
    /// Says whether this is NULL.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Returns the integer, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        if let Value::Int(int) = self { Some(*int) } else { None }
    }

    /// Returns the boolean, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(bool) = self { Some(*bool) } else { None }
    }

    /// Returns the text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    /// Returns the uuid, if it is one.
    #[must_use]
    pub fn as_uuid(&self) -> Option<Uuid> {
        if let Value::Uuid(uuid) = self { Some(*uuid) } else { None }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("NULL"),
            Value::Bool(bool) => write!(f, "{bool}"),
            Value::Int(int) => write!(f, "{int}"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Bytes(bytes) => write!(f, "<{} bytes>", bytes.len()),
            Value::Uuid(uuid) => write!(f, "{uuid}"),
            Value::Time(time) => write!(f, "{time}"),
            Value::Json(json) => write!(f, "json {}", json::dumps(&json.0)),
            Value::Odd(text) => write!(f, "<odd value of {} bytes>", text.len()),
        }
    }
}

impl From<bool> for Value {
    fn from(bool: bool) -> Value {
        Value::Bool(bool)
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Value {
        Value::Int(int)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Value {
        Value::Text(text.clone())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<Uuid> for Value {
    fn from(uuid: Uuid) -> Value {
        Value::Uuid(uuid)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}
