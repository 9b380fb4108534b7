//! What a document needs from elsewhere: other documents, by uuid, endpoints and secrets, by name.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::Value;
use uuid::Uuid;

use crate::{Dashboard, Document, Kind, Object};

/// Whether a document can be applied before what it refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// The document is held until the other one is there.
    Hard,
    /// The document is applied without the other one, and rendered again when it comes or goes.
    Soft,
}

/// One edge from a document to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Whether the other one must be there first.
    pub strength: Strength,
    /// The kind of the other document.
    pub to: Kind,
    /// The uuid of the other document.
    pub uuid: Uuid,
}

/// Where a secret is kept. Only the applier resolves it; it is never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretRef {
    /// An environment variable of the applier, written `env:NAME`.
    Env(String),
    /// A file on the applier's host, written `file:/path`, or `file:/path#key` for one key of a file that holds
    /// a JSON object.
    File(PathBuf, Option<String>),
}

/// Why a text is not a [`SecretRef`]. It never repeats the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a reference to a secret; write `env:NAME` or `file:/absolute/path`, in 1,000 bytes at most, never the secret \
     itself"
)]
pub struct SecretRefFault;

/// The most bytes of a reference: with the path of its document it is a key of the ledger, which must not be longer than a
/// database takes.
const REFERENCE_MAX: usize = 1_000;

impl FromStr for SecretRef {
    type Err = SecretRefFault;

    fn from_str(text: &str) -> Result<SecretRef, SecretRefFault> {
        if text.len() > REFERENCE_MAX {
            return Err(SecretRefFault);
        }
        if let Some(name) = text.strip_prefix("env:") {
            let shape_is_right = !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.chars().all(|each| each.is_ascii_alphanumeric() || each == '_');
            return if shape_is_right { Ok(SecretRef::Env(name.to_owned())) } else { Err(SecretRefFault) };
        }
        let path = text.strip_prefix("file:").ok_or(SecretRefFault)?;
        let (path, key) = match path.split_once('#') {
            Some((path, key)) => (path, Some(key.to_owned())),
            None => (path, None),
        };
        let shape_is_right = path.starts_with('/')
            && !path.ends_with('/')
            && !path.contains(char::is_control)
            && key.as_ref().is_none_or(|key| !key.is_empty() && !key.contains(char::is_control));
        if shape_is_right { Ok(SecretRef::File(PathBuf::from(path), key)) } else { Err(SecretRefFault) }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::File(path, None) => write!(f, "file:{}", path.display()),
            SecretRef::File(path, Some(key)) => write!(f, "file:{}#{key}", path.display()),
        }
    }
}

impl Document {
    /// Returns what this document refers to, sorted, each edge once.
    #[must_use]
    pub fn references(&self) -> Vec<Reference> {
        match self {
            Document::Database(_) => Vec::new(),
            Document::Dataset(dataset) => {
                vec![Reference { strength: Strength::Hard, to: Kind::Database, uuid: dataset.database_uuid }]
            }
            Document::Chart(chart) => {
                vec![Reference { strength: Strength::Hard, to: Kind::Dataset, uuid: chart.dataset_uuid }]
            }
            Document::Dashboard(dashboard) => of_dashboard(dashboard),
        }
    }

    /// Returns the name of the endpoint that this document needs, of which only a database may have one.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        match self {
            Document::Database(database) => database.setkeeper.endpoint.as_deref(),
            Document::Dataset(_) | Document::Chart(_) | Document::Dashboard(_) => None,
        }
    }

    /// Returns the secrets that this document needs, sorted, each once.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretRef> {
        match self {
            Document::Database(database) => {
                let secrets = &database.setkeeper.secrets;
                let set: BTreeSet<_> = secrets.password.iter().chain(&secrets.encrypted_extra).collect();
                set.into_iter().cloned().collect()
            }
            Document::Dataset(_) | Document::Chart(_) | Document::Dashboard(_) => Vec::new(),
        }
    }
}

fn of_dashboard(dashboard: &Dashboard) -> Vec<Reference> {
    let charts = dashboard.position.iter().flat_map(Object::values).filter_map(chart_in_position);
    let datasets = dashboard
        .metadata
        .iter()
        .flat_map(filter_targets)
        .filter_map(|target| uuid_at(target, "datasetUuid"));
    let charts = charts.map(|uuid| Reference { strength: Strength::Soft, to: Kind::Chart, uuid });
    let datasets = datasets.map(|uuid| Reference { strength: Strength::Soft, to: Kind::Dataset, uuid });
    let set: BTreeSet<_> = charts.chain(datasets).collect();
    set.into_iter().collect()
}

/// Superset finds a dashboard's charts in `position` by `type` and `meta.uuid` (`find_chart_uuids`).
fn chart_in_position(place: &Value) -> Option<Uuid> {
    if place.get("type").and_then(Value::as_str) == Some("CHART") {
        uuid_at(place.get("meta")?, "uuid")
    } else {
        None
    }
}

fn filter_targets(metadata: &Object) -> impl Iterator<Item = &Value> {
    let filters = metadata.get("native_filter_configuration").and_then(Value::as_array);
    filters
        .into_iter()
        .flatten()
        .filter_map(|filter| filter.get("targets").and_then(Value::as_array))
        .flatten()
}

fn uuid_at(value: &Value, key: &str) -> Option<Uuid> {
    Uuid::parse_str(value.get(key)?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(kind: Kind, text: &str, expected: Expect) {
        let document = crate::parse(kind, text.as_bytes()).expect("a document");
        let lines = document
            .references()
            .into_iter()
            .map(|Reference { strength, to, uuid }| format!("{strength:?} {to} {uuid}"));
        expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn a_dataset_needs_its_database_and_a_chart_its_dataset() {
        check(
            Kind::Dataset,
            r#"{"table_name":"a","uuid":"00000000-0000-0000-0000-000000000001","version":"1.0.0","database_uuid":"00000000-0000-0000-0000-000000000002"}"#,
            expect!["Hard database 00000000-0000-0000-0000-000000000002"],
        );
        check(
            Kind::Chart,
            r#"{"slice_name":"a","viz_type":"pie","uuid":"00000000-0000-0000-0000-000000000001","version":"1.0.0","dataset_uuid":"00000000-0000-0000-0000-000000000003"}"#,
            expect!["Hard dataset 00000000-0000-0000-0000-000000000003"],
        );
    }

    #[test]
    fn a_dashboard_knows_its_charts_and_the_datasets_of_its_filters_each_once() {
        check(
            Kind::Dashboard,
            r#"{"dashboard_title":"a","uuid":"00000000-0000-0000-0000-000000000001","version":"1.0.0",
            "position":{"DASHBOARD_VERSION_KEY":"v2",
                "CHART-1":{"type":"CHART","meta":{"uuid":"00000000-0000-0000-0000-00000000000b","chartId":7}},
                "CHART-2":{"type":"CHART","meta":{"uuid":"00000000-0000-0000-0000-00000000000a"}},
                "CHART-3":{"type":"CHART","meta":{"uuid":"00000000-0000-0000-0000-00000000000a"}},
                "CHART-4":{"type":"CHART","meta":{"uuid":"none"}},
                "CHART-5":{"type":"CHART"},
                "ROW-1":{"type":"ROW","meta":{"uuid":"00000000-0000-0000-0000-00000000000c"}}},
            "metadata":{"native_filter_configuration":[
                {"targets":[{"datasetUuid":"00000000-0000-0000-0000-00000000000d","column":{"name":"x"}},{},7]},
                {"targets":[{"datasetUuid":"00000000-0000-0000-0000-00000000000d"}]},{"targets":null},null]}}"#,
            expect![[r#"
                Soft dataset 00000000-0000-0000-0000-00000000000d
                Soft chart 00000000-0000-0000-0000-00000000000a
                Soft chart 00000000-0000-0000-0000-00000000000b"#]],
        );
    }

    #[test]
    fn references_to_secrets_are_read_as_they_are_written() {
        for text in ["env:A_1", "env:_a", "file:/run/secrets/a b", "file:/a#key", "file:/a#k#2"] {
            assert_eq!(text.parse::<SecretRef>().map(|reference| reference.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("file:/a#k".parse(), Ok(SecretRef::File(PathBuf::from("/a"), Some("k".to_owned()))));
    }

    #[test]
    fn what_may_be_the_secret_itself_is_no_reference() {
        for text in [
            "",
            "hunter2",
            "env:",
            "env:1A",
            "env:A-B",
            "ENV:A",
            "file:a",
            "file:/",
            "file:/a/",
            "file:/a#",
            "file:/a\n",
        ] {
            assert_eq!(text.parse::<SecretRef>(), Err(SecretRefFault), "{text:?}");
        }
        let of_length = |length: usize| format!("file:/{}", "x".repeat(length - "file:/".len()));
        assert!(of_length(1_000).parse::<SecretRef>().is_ok());
        assert_eq!(of_length(1_001).parse::<SecretRef>(), Err(SecretRefFault));
    }

    #[test]
    fn a_database_names_the_endpoint_that_it_follows() {
        let text = r#"{"database_name":"a","sqlalchemy_uri":"hive://u@{endpoint}/d","uuid":"00000000-0000-0000-0000-000000000001","version":"1.0.0","setkeeper":{"endpoint":"hive-prod"}}"#;
        let document = crate::parse(Kind::Database, text.as_bytes()).expect("a database");
        assert_eq!((document.endpoint(), document.canonical().as_str()), (Some("hive-prod"), text));
        assert_eq!(document.references(), []);
        let chosen = br#"{"v":1,"endpoint":"hive-prod","chosen":["a:1","[::1]:2"]}"#;
        let chosen = crate::parse_chosen("hive-prod", chosen).expect("an endpoint");
        let Document::Database(database) = document else { panic!("a database") };
        assert_eq!(database.uri_at(&chosen), "hive://u@a:1,[::1]:2/d");
    }

    #[test]
    fn a_database_names_its_secrets() {
        let text = r#"{"database_name":"a","sqlalchemy_uri":"hive://a","uuid":"00000000-0000-0000-0000-000000000001","version":"1.0.0",
            "setkeeper":{"secrets":{"password":"file:/p","encrypted_extra":"env:E"}}}"#;
        let document = crate::parse(Kind::Database, text.as_bytes()).expect("a database");
        let secrets = [SecretRef::Env("E".to_owned()), SecretRef::File(PathBuf::from("/p"), None)];
        assert_eq!(document.secrets(), secrets);
    }
}
