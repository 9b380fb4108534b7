//! What of a znode's bytes may be kept for good, and what to call it.

use asset::{Group, HostPort, Kind};
use change::{Place, ZnodePath};
use serde_json::Value;
use uuid::Uuid;

/// How much of the stored bytes [`Described::document`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocumentState {
    /// All of it, in its canonical form.
    Canonical,
    /// It could not be used, or held what may be a secret: without whatever may be one.
    Redacted,
    /// Nothing: where nothing of ours stands, every byte may be a secret.
    Withheld,
}

impl DocumentState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            DocumentState::Canonical => "canonical",
            DocumentState::Redacted => "redacted",
            DocumentState::Withheld => "withheld",
        }
    }
}

/// A znode's bytes as the audit keeps them. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) kind: Option<String>,
    pub(crate) uuid: Option<Uuid>,
    pub(crate) name: Option<String>,
    pub(crate) document: Option<String>,
    pub(crate) document_hash: Option<String>,
    pub(crate) state: DocumentState,
}

/// The kind of what stands at `path`, if anything of ours does.
pub(crate) fn kind_at(path: &ZnodePath) -> Option<&'static str> {
    match path.place().ok()? {
        Place::Asset { folder, .. } => Kind::from_folder(folder).map(|kind| match kind {
            Kind::Database => "database",
            Kind::Dataset => "dataset",
            Kind::Chart => "chart",
            Kind::Dashboard => "dashboard",
        }),
        Place::Setting { .. } => Some("setting"),
        Place::Endpoint { .. } => Some("endpoint"),
        Place::Approval { .. } => Some("approval"),
        Place::Folder => Some("folder"),
    }
}

/// The kind of document that belongs at `path`.
pub(crate) fn asset_kind(path: &ZnodePath) -> Option<Kind> {
    match path.place() {
        Ok(Place::Asset { folder, .. }) => Kind::from_folder(folder),
        Ok(Place::Setting { .. } | Place::Endpoint { .. } | Place::Approval { .. } | Place::Folder)
        | Err(_) => None,
    }
}

/// Reads what stands at `path`.
pub(crate) fn describe(path: &ZnodePath, bytes: &[u8]) -> Described {
    let kind = kind_at(path).map(str::to_owned);
    let nothing = Described {
        kind,
        uuid: None,
        name: None,
        document: None,
        document_hash: None,
        state: DocumentState::Withheld,
    };
    if let Some(kind) = asset_kind(path) {
        return match asset::parse(kind, bytes) {
            Ok(document) => {
                let (kept, state) = without_secrets(&document);
                Described {
                    uuid: Some(document.uuid()),
                    name: Some(document.name().to_owned()),
                    document_hash: Some(document.document_hash()),
                    document: Some(kept),
                    state,
                    ..nothing
                }
            }
            Err(_) => {
                let document = asset::redact(kind, bytes);
                let uuid = uuid_of(&document);
                Described { uuid, document: Some(document), state: DocumentState::Redacted, ..nothing }
            }
        };
    }
    match path.place() {
        Ok(Place::Setting { name, .. } | Place::Endpoint { name } | Place::Approval { name }) => {
            let kept = if is_ours(path) { ours(path, bytes) } else { plain(name, bytes) };
            let Some((document, state)) = kept else { return nothing };
            Described { name: Some(name.to_owned()), document: Some(document), state, ..nothing }
        }
        Ok(Place::Asset { .. } | Place::Folder) | Err(_) => nothing,
    }
}

/// A document that can be used holds no password that is known for one. What its free parts hold under the name of a
/// secret (`params`, `extra` and the like, where such names may be innocent) is not kept for good all the same.
fn without_secrets(document: &asset::Document) -> (String, DocumentState) {
    let canonical = document.canonical();
    // A database is read so strictly that nothing is left to redact but its references.
    if document.kind() == Kind::Database {
        return (canonical, DocumentState::Canonical);
    }
    let redacted = asset::redact(document.kind(), canonical.as_bytes());
    let state = if redacted == canonical { DocumentState::Canonical } else { DocumentState::Redacted };
    (redacted, state)
}

/// Whose document it would be, if it says that much.
fn uuid_of(document: &str) -> Option<Uuid> {
    serde_json::from_str::<Value>(document).ok()?.get("uuid")?.as_str()?.parse().ok()
}

/// Whether what belongs at `path` has a format of our own. The value of a configuration key is anybody's.
fn is_ours(path: &ZnodePath) -> bool {
    match path.place() {
        Ok(Place::Endpoint { .. }) => true,
        Ok(Place::Setting { group, .. }) => {
            Group::from_folder(group).is_some_and(|group| group != Group::Config)
        }
        Ok(Place::Asset { .. } | Place::Approval { .. } | Place::Folder) | Err(_) => false,
    }
}

/// What is read as one of our own formats has no place for a secret, whatever it is called. In what cannot be read so
/// any text may be one, such as the `user:password@host` that somebody took for a host.
fn ours(path: &ZnodePath, bytes: &[u8]) -> Option<(String, DocumentState)> {
    let canonical = match path.place().ok()? {
        Place::Endpoint { name } => {
            asset::parse_chosen(name, bytes).ok().map(|chosen| Value::Object(chosen.to_json()))
        }
        Place::Setting { group, name } => asset::parse_setting(Group::from_folder(group)?, name, bytes)
            .ok()
            .map(|setting| setting.to_json()),
        Place::Asset { .. } | Place::Approval { .. } | Place::Folder => None,
    };
    if let Some(canonical) = canonical {
        return Some((canonical.to_string(), DocumentState::Canonical));
    }
    let value: Value = serde_json::from_slice(&asset::unpack(bytes).ok()?).ok()?;
    Some((without_texts(value).to_string(), DocumentState::Redacted))
}

/// A value without its texts, but for hosts with their ports.
fn without_texts(value: Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() || text.parse::<HostPort>().is_ok() => Value::String(text),
        Value::String(_) => Value::from("[redacted]"),
        Value::Array(list) => list.into_iter().map(without_texts).collect(),
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, without_texts(value))).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

/// A JSON value that is no asset's document, without whatever is named like a secret or looks like a URI with a
/// password. It is redacted under its own name, so that a setting called `…_PASSWORD` is one too.
fn plain(name: &str, bytes: &[u8]) -> Option<(String, DocumentState)> {
    let value: Value = serde_json::from_slice(&asset::unpack(bytes).ok()?).ok()?;
    let mut named = serde_json::Map::new();
    named.insert(name.to_owned(), value);
    let named = Value::Object(named);
    let redacted = asset::redact(Kind::Chart, named.to_string().as_bytes());
    let redacted: Value = serde_json::from_str(&redacted).ok()?;
    let state = if redacted == named { DocumentState::Canonical } else { DocumentState::Redacted };
    Some((redacted.get(name)?.to_string(), state))
}

/// What people and programs say of a change, without the passwords of URIs that they may quote.
pub(crate) fn clean(text: &str) -> String {
    let quoted = serde_json::json!({ "text": text }).to_string();
    let redacted = asset::redact(Kind::Chart, quoted.as_bytes());
    let cleaned = serde_json::from_str::<Value>(&redacted).ok();
    cleaned.and_then(|value| Some(value.get("text")?.as_str()?.to_owned())).unwrap_or_default()
}

/// A document that an outcome carries: what the rows held. It should hold no secret; nothing is left to that.
pub(crate) fn keep(path: &ZnodePath, text: &str) -> Option<String> {
    let kind = asset_kind(path)?;
    match asset::parse(kind, text.as_bytes()) {
        Ok(document) => Some(without_secrets(&document).0),
        Err(_) => Some(asset::redact(kind, text.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, bytes: &str, expected: &str) {
        let described = describe(&path.parse().expect("a path"), bytes.as_bytes());
        let shown = format!(
            "{} {}: {}",
            described.kind.as_deref().unwrap_or("-"),
            described.state.name(),
            described.document.as_deref().unwrap_or("-")
        );
        assert_eq!(shown, expected, "{path}");
        assert!(!shown.contains("s3cret"), "{path}");
    }

    #[test]
    fn settings_are_kept_without_their_secrets() {
        check("settings/feature_flags/EMBEDDED", "true", "setting canonical: true");
        check("settings/config/ROW_LIMIT", " 5000 ", "setting canonical: 5000");
        check("settings/config/SMTP_PASSWORD", r#""s3cret""#, r#"setting redacted: "[redacted]""#);
        check(
            "settings/config/CACHE",
            r#"{"type":"redis","password":"s3cret"}"#,
            r#"setting redacted: {"type":"redis","password":"[redacted]"}"#,
        );
        check(
            "settings/config/BROKER",
            r#""redis://me:s3cret@host/0""#,
            r#"setting redacted: "redis://me:[redacted]@host/0""#,
        );
    }

    #[test]
    fn our_own_formats_are_kept_whole_whatever_they_are_called_and_bad_ones_redacted() {
        let chosen = r#"{"v":1,"endpoint":"token-store","chosen":["h:1"]}"#;
        check("endpoints/token-store", chosen, &format!("endpoint canonical: {chosen}"));
        check(
            "settings/endpoints/token-store",
            r#"{"registry":"hostport","v":1,"path":"/h","settle":"2s"}"#,
            r#"setting canonical: {"v":1,"registry":"hostport","path":"/h"}"#,
        );
        check(
            "settings/scale/token-store",
            r#"{"v":1,"count":2}"#,
            r#"setting canonical: {"v":1,"count":2}"#,
        );
        check("settings/feature_flags/EMBEDDED_TOKEN", "true", "setting canonical: true");
        check(
            "endpoints/hive",
            r#"{"v":1,"endpoint":"hive","chosen":["h:1","u:s3cret@h:1","s3cret"],"password":"s3cret"}"#,
            r#"endpoint redacted: {"v":1,"endpoint":"[redacted]","chosen":["h:1","[redacted]","[redacted]"],"password":"[redacted]"}"#,
        );
        check("settings/feature_flags/X", "\"s3cret\"", "setting redacted: \"[redacted]\"");
        check("settings/flags/X", "true", "setting canonical: true");
    }

    #[test]
    fn a_text_is_kept_as_it_is_but_for_passwords() {
        for text in ["", "it's \"so\"\n\u{1f600}", "see https://host/a?b=c for more", "password: ask ada"] {
            assert_eq!(clean(text), text);
        }
        assert_eq!(clean("now at pg://me:s3cret@host/d"), "now at pg://me:[redacted]@host/d");
    }

    #[test]
    fn what_cannot_be_read_is_withheld() {
        check("settings/config/X", "s3cret", "setting withheld: -");
        check("assets/main/widgets/x", r#"{"password":"s3cret"}"#, "- withheld: -");
        check("assets/main/charts/x/y", r#"{"password":"s3cret"}"#, "- withheld: -");
        check("assets/main", "s3cret", "folder withheld: -");
    }

    #[test]
    fn what_a_document_hides_under_the_name_of_a_secret_is_not_kept_for_good() {
        let chart = |params: &str| {
            let uuids = r#""uuid":"6a4d7d4a-5c5b-4dff-9c8b-0f9f1a7c1d11","dataset_uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7""#;
            let text = format!(
                r#"{{"slice_name":"a","viz_type":"table","version":"1.0.0",{uuids},"params":{params},"query_context":"{{\"a\":  1}}"}}"#
            );
            describe(&"assets/main/charts/a".parse().expect("a path"), text.as_bytes())
        };
        let secret = chart(r#"{"api_token":"s3cret","passcode":12345,"row_limit":5}"#);
        assert_eq!(secret.state, DocumentState::Redacted);
        let kept = secret.document.expect("is kept");
        assert!(!kept.contains("s3cret") && !kept.contains("12345") && kept.contains("row_limit"), "{kept}");
        assert!(secret.uuid.is_some() && secret.document_hash.is_some());
        let plain = chart(r#"{"row_limit":5}"#);
        assert_eq!(plain.state, DocumentState::Canonical);
        assert!(plain.document.expect("is kept").contains(r#"{\"a\":  1}"#));
    }

    #[test]
    fn a_document_that_cannot_be_used_is_redacted() {
        let described = describe(
            &"assets/main/databases/x".parse().expect("a path"),
            br#"{"database_name":"x","password":"s3cret"}"#,
        );
        assert_eq!(described.state, DocumentState::Redacted);
        let kept = described.document.expect("is kept");
        assert!(kept.contains("database_name") && !kept.contains("s3cret"), "{kept}");
    }
}
