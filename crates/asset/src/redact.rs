//! A text of rejected bytes that may be kept for good.

use serde_json::Value;

use crate::canonical::hex_sha256;
use crate::secret::{REDACTED, may_be_secret, redact_uri};
use crate::{Kind, Object, PASSWORD_MASK, SecretRef, json, parse};

/// Returns a text of `bytes` that holds no secret, for the audit of a document that was rejected.
///
/// JSON is kept, with `[redacted]` in the place of whatever is named like a secret, of passwords in URIs, and of
/// keys that a database does not have. Of anything else only the length and the digest are kept.
#[must_use]
pub fn redact(kind: Kind, bytes: &[u8]) -> String {
    match parse::read(bytes) {
        Ok((value @ (Value::Object(_) | Value::Array(_)), _)) => redact_value(kind, value).to_string(),
        Ok(_) | Err(_) => format!("not JSON: {} bytes, sha256 {}", bytes.len(), hex_sha256(bytes)),
    }
}

fn redact_value(kind: Kind, value: Value) -> Value {
    match (kind, value) {
        (Kind::Database, Value::Object(object)) => Value::Object(redact_database(object)),
        (Kind::Database, _) => Value::from(REDACTED),
        (Kind::Dataset | Kind::Chart | Kind::Dashboard, value) => inside(value),
    }
}

/// The keys of a database whose values are shown. A key that is not known may be a misspelt `password`.
const DATABASE_KEYS: [&str; 20] = [
    "database_name",
    "sqlalchemy_uri",
    "cache_timeout",
    "expose_in_sqllab",
    "allow_run_async",
    "allow_ctas",
    "allow_cvas",
    "allow_dml",
    "allow_csv_upload",
    "allow_file_upload",
    "extra",
    "impersonate_user",
    "configuration_method",
    "uuid",
    "version",
    "is_managed_externally",
    "external_url",
    "ssh_tunnel",
    "setkeeper",
    "verbose_name",
];

fn redact_database(object: Object) -> Object {
    let is_known = |key: &str| DATABASE_KEYS.contains(&key);
    let redacted = object.into_iter().map(|(key, value)| {
        let value = if is_known(&key) { entry(&key, value) } else { hidden(value) };
        (key, value)
    });
    redacted.collect()
}

/// Redacts what stands under `key`.
fn entry(key: &str, value: Value) -> Value {
    if !may_be_secret(key) {
        return inside(value);
    }
    match value {
        // `secrets` holds references, if it holds what it should.
        Value::Object(object) if key == "secrets" => {
            object.into_iter().map(|(key, value)| (key, reference(value))).collect::<Object>().into()
        }
        other => hidden(other),
    }
}

fn reference(value: Value) -> Value {
    let is_reference = value.as_str().is_some_and(|text| text.parse::<SecretRef>().is_ok());
    if is_reference { value } else { hidden(value) }
}

fn hidden(value: Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) if text == PASSWORD_MASK || text.is_empty() => Value::String(text),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Value::from(REDACTED)
        }
    }
}

fn inside(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let redacted = object.into_iter().map(|(key, value)| {
                let value = entry(&key, value);
                (key, value)
            });
            Value::Object(redacted.collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(inside).collect()),
        Value::String(text) => Value::String(redact_text(text)),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

/// Text may itself be JSON, such as `query_context`, or an `extra` that was not decoded.
fn redact_text(text: String) -> String {
    if text.trim_start().starts_with(['{', '[']) {
        return match json::read(&text) {
            Ok((value, _)) => {
                let redacted = inside(value.clone());
                // Where nothing is hidden the text stays as it was written.
                if redacted == value { text } else { redacted.to_string() }
            }
            Err(_) if may_be_secret(&text) => REDACTED.to_owned(),
            Err(_) => redact_uri(&text),
        };
    }
    redact_uri(&text)
}

#[cfg(test)]
mod tests;
