//! Where clear secrets hide in documents.

use serde_json::Value;

use crate::Object;
use crate::fault::{index_path, key_path};

/// What Superset writes in the place of a password.
pub const PASSWORD_MASK: &str = "XXXXXXXXXX";

/// Parts of the names of keys and URI parameters whose values are secrets, in lower case.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "authorization",
    "secret",
    "token",
    "private_key",
    "privatekey",
    "api_key",
    "apikey",
    "access_key",
    "credential",
];

/// Says whether a value under this name may be a secret, so that no audit should keep it.
pub(crate) fn may_be_secret(name: &str) -> bool {
    let lower = name.to_lowercase().replace('-', "_");
    NAMES.iter().any(|part| lower.contains(part)) || is_pass(name)
}

/// `pass`, `db_pass`, `dbPass`; neither `bypass` nor `passenger`.
fn is_pass(name: &str) -> bool {
    name.ends_with("Pass")
        || name.split(|char: char| !char.is_alphanumeric()).any(|word| word.eq_ignore_ascii_case("pass"))
}

/// Says whether a number under this name is taken for a secret: a `password`, and no `token_lifetime`.
fn is_secret_number(name: &str) -> bool {
    let lower = name.to_lowercase().replace('-', "_");
    NAMES.iter().any(|part| lower.ends_with(part)) || is_pass(name)
}

/// Says whether a value under this name is taken for a secret. What names a place (`credentials_path`) is none.
pub(crate) fn is_secret_name(name: &str) -> bool {
    may_be_secret(name)
        && !["path", "file", "url", "uri"].iter().any(|place| name.to_lowercase().ends_with(place))
}

/// Says whether a URI of SQLAlchemy holds a secret that is not masked.
pub(crate) fn in_uri(uri: &str) -> bool {
    redact_uri(uri) != uri
}

/// Returns the paths of the texts in `value`, at any depth, that hold a URI with a clear password: in prose or SQL too,
/// where more that looks like a secret may be none.
pub(crate) fn places_with_passwords(path: String, value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if has_password(text) => vec![path],
        Value::Object(object) => {
            let entries = object.iter();
            entries.flat_map(|(key, value)| places_with_passwords(key_path(&path, key), value)).collect()
        }
        Value::Array(list) => {
            let list = list.iter().enumerate();
            list.flat_map(|(index, value)| places_with_passwords(index_path(&path, index), value)).collect()
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Says whether a text holds `scheme://user:password@host`, the password being neither masked nor a placeholder.
fn has_password(text: &str) -> bool {
    let ends = |char: char| char.is_whitespace() || "/?#\"'<>`\\".contains(char);
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(ends).next().unwrap_or_default();
        let Some((userinfo, host)) = authority.rsplit_once('@') else { return false };
        let Some((_, password)) = userinfo.split_once(':') else { return false };
        let is_hidden = password == PASSWORD_MASK
            || password.chars().all(|char| char == '*')
            || password.starts_with(['$', '{', '%', '[']);
        !host.is_empty() && !is_hidden
    })
}

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// Returns the text with [`REDACTED`] in the place of the passwords and secret parameters of every URI in it.
pub(crate) fn redact_uri(text: &str) -> String {
    if !text.contains("://") {
        return text.to_owned();
    }
    redact_parameters(&redact_passwords(text))
}

fn redact_passwords(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut done = 0;
    // Without an `@` ahead there is no password, and to look for one after every `://` could take for ever.
    let last_at = text.rfind('@').unwrap_or(0);
    while let Some(scheme) = text[done..last_at.max(done)].find("://") {
        let start = done + scheme + "://".len();
        let (userinfo, after) = redact_userinfo(&text[start..]);
        redacted.push_str(&text[done..start]);
        redacted.push_str(&userinfo);
        done = text.len() - after.len();
    }
    redacted.push_str(&text[done..]);
    redacted
}

/// A parameter begins after `?` or `&`, and ends before the next of them or a space.
fn redact_parameters(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    for (index, part) in text.split_inclusive(['?', '&', ' ', '\n']).enumerate() {
        let body = part.trim_end_matches(['?', '&', ' ', '\n']);
        let end = &part[body.len()..];
        if index == 0 {
            redacted.push_str(body);
        } else {
            redacted.push_str(&redact_parameter(body));
        }
        redacted.push_str(end);
    }
    redacted
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
    if (password.is_empty() || password == PASSWORD_MASK) && !host.contains('@') {
        return (format!("{user}:{password}@"), after_first);
    }
    let (_, after_last) = after_colon.rsplit_once('@').unwrap_or((password, after_first));
    (format!("{user}:{REDACTED}@"), after_last)
}

fn redact_parameter(parameter: &str) -> String {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let hides_more = value.to_lowercase().contains("pwd%3d") || value.to_lowercase().contains("pwd=");
    if !value.is_empty() && value != PASSWORD_MASK && (is_secret_name(name) || hides_more) {
        return format!("{name}={REDACTED}");
    }
    parameter.to_owned()
}

/// Returns the paths of the keys in `object`, at any depth, whose name is one of a secret and whose value is
/// neither empty nor masked.
pub(crate) fn keys_with_secrets(path: &str, object: &Object) -> Vec<String> {
    secrets_in_object(path, Secrecy::No, object)
}

/// The same of a value of any type.
pub(crate) fn places_with_secrets(value: &Value) -> Vec<String> {
    secrets_in(String::new(), Secrecy::No, value)
}

/// What under a name is taken for a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Secrecy {
    No,
    Texts,
    NumbersToo,
}

impl Secrecy {
    fn of(name: &str) -> Secrecy {
        match (is_secret_name(name), is_secret_number(name)) {
            (false, _) => Secrecy::No,
            (true, false) => Secrecy::Texts,
            (true, true) => Secrecy::NumbersToo,
        }
    }
}

fn secrets_in_object(path: &str, secrecy: Secrecy, object: &Object) -> Vec<String> {
    let entries = object.iter();
    entries
        .flat_map(|(key, value)| secrets_in(key_path(path, key), secrecy.max(Secrecy::of(key)), value))
        .collect()
}

fn secrets_in(path: String, secrecy: Secrecy, value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => {
            let holds_one = secrecy != Secrecy::No && !text.is_empty() && text != PASSWORD_MASK;
            if holds_one || in_uri(text) { vec![path] } else { Vec::new() }
        }
        Value::Object(object) => secrets_in_object(&path, secrecy, object),
        Value::Array(list) => {
            let list = list.iter().enumerate();
            list.flat_map(|(index, value)| secrets_in(index_path(&path, index), secrecy, value)).collect()
        }
        Value::Number(_) if secrecy == Secrecy::NumbersToo => vec![path],
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, redacted: &str) {
        assert_eq!(redact_uri(uri), redacted);
        assert_eq!(in_uri(uri), uri != redacted);
    }

    #[test]
    fn a_password_in_a_uri_is_found_as_sqlalchemy_finds_it() {
        check("postgresql://user:hunter2@host:5432/name", "postgresql://user:[redacted]@host:5432/name");
        check("mysql+pymysql://:hunter2@host/name", "mysql+pymysql://:[redacted]@host/name");
        check("hive://user:a/b?c@host", "hive://user:[redacted]@host");
        check("hive://user:with@sign@host", "hive://user:[redacted]@host");
        check("hive://user:XXXXXXXXXX@sign@host", "hive://user:[redacted]@host");
        check("jdbc:trino://a:b@c://d:e@f", "jdbc:trino://a:[redacted]@f");
    }

    #[test]
    fn a_uri_without_a_clear_password_stays_as_it_is() {
        for uri in [
            "postgresql://user:XXXXXXXXXX@host/name?options=a@b",
            "postgresql://user:@host/name",
            "postgresql://user@host:5432/name",
            "trino://host:8080/catalog?verify=false",
            "sqlite:////var/lib/x@y:z.db",
            "bigquery://project?credentials_path=/run/key.json",
            "hive://host/default?password=XXXXXXXXXX&auth=LDAP",
            "no uri at all: a@b",
        ] {
            check(uri, uri);
        }
    }

    #[test]
    fn secret_parameters_of_a_uri_are_found() {
        check("hive://host/x?auth=LDAP&Password=hunter2", "hive://host/x?auth=LDAP&Password=[redacted]");
        check(
            "snowflake://u@a/d?access_token=abc&role=r",
            "snowflake://u@a/d?access_token=[redacted]&role=r",
        );
        check("mssql+pyodbc://?odbc_connect=UID%3Da%3BPWD%3Db", "mssql+pyodbc://?odbc_connect=[redacted]");
    }

    #[test]
    fn every_uri_of_a_text_is_redacted() {
        check("see http://a/b then ftp://u:p@h, ok", "see http://a/b then ftp://u:[redacted]@h, ok");
        check("ftp://u:@h ftp://u:p@h", "ftp://u:@h ftp://u:[redacted]@h");
    }

    #[test]
    fn a_long_text_of_schemes_is_searched_once() {
        let text = format!("{}@{}", "://".repeat(200_000), "x".repeat(200_000));
        assert!(redact_uri(&text).len() <= text.len() + REDACTED.len());
    }
}
