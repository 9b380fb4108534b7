//! From what ZooKeeper holds and what is wanted to the edits that are missing. Pure.

use std::collections::{BTreeMap, BTreeSet};

use asset::{Document, Group, Kind};
use change::{Place, ZnodePath};
use serde_json::Value;
use uuid::Uuid;
use zk::{Expect, Found, VersionedEdit, WriteOp};

/// The kind of document that belongs at a path.
///
/// # Errors
/// Why no document stands there.
pub(crate) fn kind_at(path: &ZnodePath) -> Result<Option<Kind>, String> {
    match path.place() {
        Ok(Place::Asset { folder, .. }) => match Kind::from_folder(folder) {
            Some(kind) => Ok(Some(kind)),
            None => {
                Err(format!("`{folder}` is no kind of asset; use {}", Kind::ALL.map(Kind::folder).join(", ")))
            }
        },
        Ok(Place::Setting { .. } | Place::Endpoint { .. } | Place::Approval { .. }) => Ok(None),
        Ok(Place::Folder) => {
            Err(format!("`{path}` is a folder; documents stand at assets/<project>/<folder>/<name>"))
        }
        Err(bad) => Err(bad.to_string()),
    }
}

/// The document at a path, if what stands there is one.
pub(crate) fn document_at(path: &ZnodePath, found: &Found) -> Option<Document> {
    let kind = kind_at(path).ok()??;
    asset::parse(kind, &found.bytes).ok()
}

/// The uuids of all documents in the tree and where they stand: of several znodes with one uuid, the oldest owns it.
pub(crate) fn uuids(nodes: &BTreeMap<ZnodePath, Found>) -> BTreeMap<Uuid, ZnodePath> {
    let mut youngest_first: Vec<(&ZnodePath, &Found)> = nodes.iter().collect();
    youngest_first.sort_by_key(|(path, found)| std::cmp::Reverse((found.czxid, *path)));
    let uuid = |(path, found): (&ZnodePath, &Found)| Some((document_at(path, found)?.uuid(), path.clone()));
    youngest_first.into_iter().filter_map(uuid).collect()
}

/// One thing that a write would do.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) edit: VersionedEdit,
    pub(crate) before: Option<Document>,
    pub(crate) after: Option<Document>,
}

impl Step {
    /// `create`, `change` or `delete`.
    pub(crate) fn verb(&self) -> &'static str {
        match (&self.edit.op, &self.edit.expect) {
            (WriteOp::Delete, _) => "delete",
            (WriteOp::Put { .. }, Expect::Absent) => "create",
            (WriteOp::Put { .. }, Expect::Is { .. }) => "change",
        }
    }
}

/// The bytes to put where something other than a document stands: a setting or an endpoint in its canonical form.
///
/// # Errors
/// What is wrong with them, one line each.
pub(crate) fn other(path: &ZnodePath, bytes: &[u8]) -> Result<Vec<u8>, Vec<String>> {
    let lines = |faults: Vec<asset::Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    match path.place() {
        Ok(Place::Setting { group, name }) => {
            let known = Group::ALL.map(Group::folder).join(", ");
            let group = Group::from_folder(group)
                .ok_or_else(|| vec![format!("`{group}` is no group of settings; use {known}")])?;
            let setting = asset::parse_setting(group, name, bytes).map_err(lines)?;
            Ok(setting.to_json().to_string().into_bytes())
        }
        Ok(Place::Endpoint { name }) => {
            let chosen = asset::parse_chosen(name, bytes).map_err(lines)?;
            Ok(Value::Object(chosen.to_json()).to_string().into_bytes())
        }
        Ok(Place::Asset { .. } | Place::Approval { .. } | Place::Folder) | Err(_) => {
            let is_json = serde_json::from_slice::<Value>(bytes);
            is_json.map(|_| bytes.to_vec()).map_err(|error| vec![format!("is not JSON: {error}")])
        }
    }
}

/// The names of the endpoints that are there or will be, because something is followed under that name.
pub(crate) fn endpoints(nodes: &BTreeMap<ZnodePath, Found>) -> BTreeSet<String> {
    let name = |(path, found): (&ZnodePath, &Found)| match path.place() {
        Ok(Place::Endpoint { .. } | Place::Setting { group: "endpoints", .. })
            if other(path, &found.bytes).is_ok() =>
        {
            Some(path.name().to_owned())
        }
        _ => None,
    };
    nodes.iter().filter_map(name).collect()
}

/// An exported document, with what only we know of the one that stands there: a database that comes without our own
/// keys, as Superset's exports do, keeps the ones that it has, since an export cannot know where a password stands or
/// that the host is an endpoint's. With the endpoint it keeps the URI that has a place for it; a line says so if
/// the export differs there in more than the host.
pub(crate) fn keep_own_keys(
    path: &ZnodePath,
    found: Option<&Found>,
    mut exported: Document,
) -> (Document, Option<String>) {
    let mut warning = None;
    let before = found.and_then(|found| document_at(path, found));
    if let (Some(Document::Database(old)), Document::Database(new)) = (before, &mut exported)
        && new.setkeeper == asset::Extras::default()
    {
        if let Some(endpoint) = &old.setkeeper.endpoint {
            if !is_composed(&old.sqlalchemy_uri, &new.sqlalchemy_uri) {
                warning = Some(format!(
                    "`{path}` follows the endpoint `{endpoint}` and keeps its `sqlalchemy_uri`; the other one of the \
                     export is left out, `setkeeper put` the document to change it"
                ));
            }
            new.sqlalchemy_uri.clone_from(&old.sqlalchemy_uri);
        }
        new.setkeeper = old.setkeeper;
    }
    (exported, warning)
}

/// Whether a URI is a template with any hosts in the endpoint's place.
fn is_composed(template: &str, uri: &str) -> bool {
    let hosts = template
        .split_once(asset::Database::ENDPOINT)
        .and_then(|(before, after)| uri.strip_prefix(before)?.strip_suffix(after));
    hosts.is_some_and(|hosts| hosts.split(',').all(|host| host.parse::<asset::HostPort>().is_ok()))
}

/// The step that brings `path` to `wanted`, or none if it is there already: the same document in other bytes is no
/// change.
pub(crate) fn put(path: &ZnodePath, found: Option<&Found>, wanted: Document) -> Option<Step> {
    let before = found.and_then(|found| document_at(path, found));
    if before.as_ref().is_some_and(|before| before.canonical() == wanted.canonical()) {
        return None;
    }
    let op = WriteOp::Put { bytes: wanted.canonical().into_bytes() };
    let edit = VersionedEdit { path: path.clone(), op, expect: expect(found), group: None };
    Some(Step { edit, before, after: Some(wanted) })
}

/// The step that puts bytes that are no document: a setting. The same in other bytes is no change.
pub(crate) fn put_bytes(path: &ZnodePath, found: Option<&Found>, bytes: Vec<u8>) -> Option<Step> {
    if found.is_some_and(|found| other(path, &found.bytes).as_ref() == Ok(&bytes)) {
        return None;
    }
    let edit =
        VersionedEdit { path: path.clone(), op: WriteOp::Put { bytes }, expect: expect(found), group: None };
    Some(Step { edit, before: None, after: None })
}

/// The step that deletes what was found at `path`.
pub(crate) fn delete(path: &ZnodePath, found: &Found) -> Step {
    let edit =
        VersionedEdit { path: path.clone(), op: WriteOp::Delete, expect: expect(Some(found)), group: None };
    Step { edit, before: document_at(path, found), after: None }
}

fn expect(found: Option<&Found>) -> Expect {
    found.map_or(Expect::Absent, |found| Expect::Is { czxid: found.czxid, version: found.version })
}

#[cfg(test)]
mod tests {
    use change::{Lifetime, Millis, Zxid};

    use super::*;

    const CHART: &str = r#"{"slice_name":"a","viz_type":"table","params":{},"uuid":"5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0011","version":"1.0.0","dataset_uuid":"5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0002"}"#;

    fn found(bytes: &str) -> Found {
        Found {
            czxid: 7,
            mzxid: Zxid(7),
            version: 2,
            mtime: Millis(0),
            lifetime: Lifetime::Persistent,
            bytes: bytes.as_bytes().to_vec(),
        }
    }

    fn path(text: &str) -> ZnodePath {
        text.parse().expect("a path")
    }

    fn parse(kind: Kind, text: &str) -> Document {
        asset::parse(kind, text.as_bytes()).expect("a document")
    }

    #[test]
    fn a_document_that_is_there_already_is_not_written_again() {
        let at = path("assets/main/charts/a");
        let spaced = CHART.replace(':', ": ");
        assert!(put(&at, Some(&found(&spaced)), parse(Kind::Chart, CHART)).is_none());
        let step = put(&at, Some(&found(&spaced)), parse(Kind::Chart, &CHART.replace("\"a\"", "\"b\"")));
        let step = step.expect("a step");
        assert_eq!((step.verb(), step.edit.expect), ("change", Expect::Is { czxid: 7, version: 2 }));
        assert_eq!(put(&at, None, parse(Kind::Chart, CHART)).expect("a step").verb(), "create");
    }

    #[test]
    fn an_export_does_not_take_a_databases_secrets_away_and_a_document_does() {
        let export = r#"{"database_name":"d","sqlalchemy_uri":"postgresql://u:XXXXXXXXXX@h/d","uuid":"5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0001","version":"1.0.0"}"#;
        let kept = export.replacen('{', r#"{"setkeeper":{"secrets":{"password":"env:SHOP"}},"#, 1);
        let at = path("assets/main/databases/d");
        let (pushed, warning) = keep_own_keys(&at, Some(&found(&kept)), parse(Kind::Database, export));
        assert!(put(&at, Some(&found(&kept)), pushed).is_none() && warning.is_none());
        let taken = put(&at, Some(&found(&kept)), parse(Kind::Database, export)).expect("a step");
        assert!(!taken.after.expect("a document").canonical().contains("env:SHOP"));
    }

    #[test]
    fn an_export_keeps_the_endpoint_and_its_place_in_the_uri_and_says_what_it_leaves_out() {
        let template = r#"{"database_name":"d","sqlalchemy_uri":"hive://u@{endpoint}/d","uuid":"5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0001","version":"1.0.0","setkeeper":{"endpoint":"hive"}}"#;
        let at = path("assets/main/databases/d");
        for (uri, is_told) in [
            ("hive://u@hive1:10000/d", false),
            ("hive://u@hive1:10000,[::1]:1/d", false),
            ("hive://u@hive1:10000/other", true),
            ("hive://v@hive1:10000/d", true),
            ("hive://u@hive1/d", true),
        ] {
            let export = template
                .replace("hive://u@{endpoint}/d", uri)
                .replace(r#","setkeeper":{"endpoint":"hive"}"#, "");
            let (pushed, warning) =
                keep_own_keys(&at, Some(&found(template)), parse(Kind::Database, &export));
            assert_eq!(pushed.canonical(), template, "{uri}");
            assert_eq!(warning.is_some(), is_told, "{uri}");
        }
    }

    #[test]
    fn settings_and_endpoints_are_put_in_their_canonical_form_and_bad_ones_refused() {
        let follow = path("settings/endpoints/hive");
        let given = br#"{"path":"/h","v":1,"registry":"hostport","settle":"2s"}"#;
        let canonical = other(&follow, given).expect("a setting");
        assert_eq!(canonical, br#"{"v":1,"registry":"hostport","path":"/h"}"#);
        assert!(
            put_bytes(&follow, Some(&found(std::str::from_utf8(given).expect("text"))), canonical).is_none()
        );
        assert_eq!(other(&path("settings/config/ROW_LIMIT"), b" 5 ").expect("a setting"), b"5");
        for (at, bytes, why) in [
            ("settings/config/SECRET_KEY", "\"x\"", "named like a secret"),
            ("settings/feature_flags/X", "\"false\"", "expected true or false"),
            ("settings/flags/X", "true", "no group of settings; use feature_flags"),
            ("endpoints/hive", r#"{"v":1,"endpoint":"hive","chosen":["u@h:1"]}"#, "`chosen[0]`: not a host"),
            ("control/approvals/x", "{", "is not JSON"),
        ] {
            let faults = other(&path(at), bytes.as_bytes()).expect_err(at);
            assert!(faults.len() == 1 && faults[0].contains(why), "{at}: {faults:?}");
        }
    }

    #[test]
    fn endpoints_are_known_when_they_are_there_or_followed() {
        let nodes = [
            ("endpoints/a", r#"{"v":1,"endpoint":"a","chosen":["h:1"]}"#),
            ("endpoints/bad", "{}"),
            ("settings/endpoints/b", r#"{"v":1,"registry":"hostport","path":"/h"}"#),
            ("settings/config/C", "1"),
        ];
        let nodes = nodes.into_iter().map(|(at, bytes)| (path(at), found(bytes))).collect();
        assert_eq!(endpoints(&nodes), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_uuid_belongs_to_the_oldest_znode_that_has_it() {
        let (old, young) = (found(CHART), Found { czxid: 9, ..found(CHART) });
        let nodes = [(path("assets/main/charts/b"), old), (path("assets/main/charts/c"), young.clone())];
        let nodes = nodes.into_iter().chain([(path("assets/main/charts/a"), young)]).collect();
        assert_eq!(uuids(&nodes).into_values().collect::<Vec<_>>(), [path("assets/main/charts/b")]);
    }

    #[test]
    fn documents_stand_only_where_their_kind_belongs() {
        assert_eq!(kind_at(&path("assets/main/charts/a")), Ok(Some(Kind::Chart)));
        assert_eq!(kind_at(&path("settings/config/ROW_LIMIT")), Ok(None));
        assert!(
            kind_at(&path("assets/main/chart/a"))
                .expect_err("no kind")
                .contains("databases, datasets, charts")
        );
        assert!(kind_at(&path("assets/main/charts")).is_err());
        assert!(kind_at(&path("edits/1")).is_err());
    }
}
