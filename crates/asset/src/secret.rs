//! Where clear secrets hide in documents.

use serde_json::Value;

use crate::Object;
use crate::fault::{index_path, key_path};

/// What Superset writes in the place of a password.
pub(crate) const MASK: &str = "XXXXXXXXXX";

/// Parts of the names of keys and URI parameters whose values are secrets, in lower case.
const NAMES: [&str; 12] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "private_key",
    "privatekey",
    "api_key",
    "apikey",
    "access_key",
    "credential",
];

/// Says whether a value under this name is taken for a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    NAMES.iter().any(|part| name.contains(part))
}

/// Says whether a URI of SQLAlchemy holds a secret that is not masked.
pub(crate) fn in_uri(uri: &str) -> bool {
    redact_uri(uri) != uri
}

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// Returns the URI with [`REDACTED`] in the place of its password and of secret parameters.
pub(crate) fn redact_uri(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let (userinfo, rest) = redact_userinfo(rest);
    let Some((place, parameters)) = rest.split_once('?') else {
        return format!("{scheme}://{userinfo}{rest}");
    };
    let parameters: Vec<_> = parameters.split('&').map(redact_parameter).collect();
    format!("{scheme}://{userinfo}{place}?{}", parameters.join("&"))
}

/// Splits `user:password@` off, the password redacted.
///
/// SQLAlchemy reads it so: the user has neither `:` nor `/`, and the password anything but `@`. A password with
/// `@` in it is a mistake that people make, so what is not the mask is redacted up to the last `@`.
fn redact_userinfo(rest: &str) -> (String, &str) {
    let nothing = (String::new(), rest);
    let Some((user, after_colon)) = rest.split_once(':') else { return nothing };
    let Some((password, after_first)) = after_colon.split_once('@') else { return nothing };
    if user.contains('/') {
        return nothing;
    }
    let host = after_first.split(['/', '?']).next().unwrap_or_default();
    if (password.is_empty() || password == MASK) && !host.contains('@') {
        return (format!("{user}:{password}@"), after_first);
    }
    let (_, after_last) = after_colon.rsplit_once('@').unwrap_or((password, after_first));
    (format!("{user}:{REDACTED}@"), after_last)
}

fn redact_parameter(parameter: &str) -> String {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let hides_more = value.to_lowercase().contains("pwd%3d") || value.to_lowercase().contains("pwd=");
    if !value.is_empty() && value != MASK && (is_secret_name(name) || hides_more) {
        return format!("{name}={REDACTED}");
    }
    parameter.to_owned()
}

/// Returns the paths of the keys in `object`, at any depth, whose name is one of a secret and whose value is
/// neither empty nor masked.
pub(crate) fn keys_with_secrets(path: &str, object: &Object) -> Vec<String> {
    object
        .iter()
        .flat_map(|(key, value)| secrets_in(key_path(path, key), is_secret_name(key), value))
        .collect()
}

fn secrets_in(path: String, is_secret: bool, value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => {
            let holds_one = is_secret && !text.is_empty() && text != MASK;
            if holds_one || in_uri(text) { vec![path] } else { Vec::new() }
        }
        Value::Object(object) => keys_with_secrets(&path, object),
        Value::Array(list) => {
            let list = list.iter().enumerate();
            list.flat_map(|(index, value)| secrets_in(index_path(&path, index), is_secret, value)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}
