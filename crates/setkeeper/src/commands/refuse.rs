//! What every target would reject, told before it is written. Pure.

use std::collections::{BTreeMap, BTreeSet};

use asset::{Document, Kind, Reference, Strength};
use change::{Place, ZnodePath};
use uuid::Uuid;

use super::plan::Step;
use zk::WriteOp;

/// One line for each thing that a target's configuration does not allow in what the steps put.
pub(crate) fn refusals(targets: &[&applier::TargetConfig], steps: &[Step]) -> Vec<String> {
    let mut lines = BTreeSet::new();
    for step in steps {
        let path = &step.edit.path;
        let WriteOp::Put { bytes } = &step.edit.op else { continue };
        for target in targets {
            let mut refuse = |why: &str| lines.insert(format!("`{path}`: {why} (target {})", target.name));
            let (bytes, max) = (bytes.len(), target.policy.document_max);
            if bytes > max {
                refuse(&format!("has {bytes} bytes, more than {max}; make it smaller"));
            }
            let Some(document) = &step.after else { continue };
            if let Document::Database(database) = document
                && let Err(fault) = superset::check_uri(&database.sqlalchemy_uri, &target.drivers)
            {
                refuse(&fault.to_string());
            }
            if !is_held(path, document.kind(), &target.policy) {
                refuse(&format!(
                    "the project may not hold {}; use another project",
                    document.kind().folder()
                ));
            }
        }
    }
    lines.into_iter().collect()
}

/// One line for each document that would wait for another one, which stands neither in ZooKeeper nor among the steps,
/// or for an endpoint. That is no fault: it may come later, or be one that somebody made in Superset itself.
pub(crate) fn dangling(
    known: &BTreeMap<Uuid, ZnodePath>,
    endpoints: &BTreeSet<String>,
    steps: &[Step],
) -> Vec<String> {
    let documents = || steps.iter().filter_map(|step| Some((&step.edit.path, step.after.as_ref()?)));
    let written: BTreeSet<Uuid> = documents().map(|(_, document)| document.uuid()).collect();
    let mut lines = BTreeSet::new();
    for (path, document) in documents() {
        for Reference { strength, to, uuid } in document.references() {
            if strength == Strength::Hard && !known.contains_key(&uuid) && !written.contains(&uuid) {
                lines.insert(format!(
                    "`{path}` needs {to} {uuid}, which ZooKeeper does not hold; it waits until that is there"
                ));
            }
        }
        if let Some(name) = document.endpoint().filter(|name| !endpoints.contains(*name)) {
            lines.insert(format!(
                "`{path}` needs the endpoint `{name}`, which ZooKeeper does not hold; it waits until you put \
                 settings/endpoints/{name} (what to follow) or endpoints/{name}"
            ));
        }
    }
    lines.into_iter().collect()
}

fn is_held(path: &ZnodePath, kind: Kind, policy: &applier::Policy) -> bool {
    match path.place() {
        Ok(Place::Asset { project, .. }) => {
            policy.projects.get(project).is_none_or(|kinds| kinds.contains(&kind))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::plan;

    fn check(project: &str, uri: &str, want: &[&str]) {
        let text = format!(
            r#"{{"database_name":"d","sqlalchemy_uri":"{uri}","uuid":"5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0001","version":"1.0.0"}}"#
        );
        let document = asset::parse(Kind::Database, text.as_bytes()).expect("a document");
        let path = format!("assets/{project}/databases/d").parse().expect("a path");
        let step = plan::put(&path, None, document).expect("a step");
        let mut target = applier::TargetConfig::new("superset", "test", superset::Cipher::new("key"));
        target.policy.projects = [("boards".to_owned(), BTreeSet::from([Kind::Chart]))].into();
        let lines = refusals(&[&target], &[step]);
        assert_eq!(lines.len(), want.len(), "{lines:?}");
        for (line, word) in lines.iter().zip(want) {
            assert!(line.contains(word), "{line}");
        }
    }

    #[test]
    fn a_reference_to_nothing_is_told_unless_what_it_means_comes_along() {
        let uuid = |n: u8| format!("5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a000{n}");
        let step = |kind, folder: &str, text: String| {
            let document = asset::parse(kind, text.as_bytes()).expect("a document");
            plan::put(&format!("assets/main/{folder}/x").parse().expect("a path"), None, document)
                .expect("a step")
        };
        let dataset = step(
            Kind::Dataset,
            "datasets",
            format!(
                r#"{{"table_name":"t","uuid":"{}","database_uuid":"{}","version":"1.0.0"}}"#,
                uuid(2),
                uuid(1)
            ),
        );
        let chart = step(
            Kind::Chart,
            "charts",
            format!(
                r#"{{"slice_name":"c","viz_type":"table","params":{{}},"uuid":"{}","dataset_uuid":"{}","version":"1.0.0"}}"#,
                uuid(3),
                uuid(2)
            ),
        );
        let none = BTreeSet::new();
        let lines = dangling(&BTreeMap::new(), &none, &[chart.clone(), dataset.clone()]);
        assert!(lines.len() == 1 && lines[0].contains(&uuid(1)), "{lines:?}");
        let path = "assets/main/databases/x".parse().expect("a path");
        let known = BTreeMap::from([(uuid(1).parse().expect("a uuid"), path)]);
        assert!(dangling(&known, &none, &[chart.clone(), dataset]).is_empty());
        assert_eq!(dangling(&known, &none, &[chart]).len(), 1);
    }

    #[test]
    fn an_endpoint_that_is_neither_there_nor_followed_is_told() {
        let text = r#"{"database_name":"d","sqlalchemy_uri":"hive://{endpoint}/d","uuid":"5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0001","version":"1.0.0","setkeeper":{"endpoint":"hive"}}"#;
        let document = asset::parse(Kind::Database, text.as_bytes()).expect("a document");
        let step =
            plan::put(&"assets/main/databases/d".parse().expect("a path"), None, document).expect("a step");
        let lines = dangling(&BTreeMap::new(), &BTreeSet::new(), std::slice::from_ref(&step));
        assert!(lines.len() == 1 && lines[0].contains("settings/endpoints/hive"), "{lines:?}");
        assert!(dangling(&BTreeMap::new(), &BTreeSet::from(["hive".to_owned()]), &[step]).is_empty());
    }

    #[test]
    fn what_a_target_does_not_allow_is_told_before_it_is_written() {
        check("main", "postgresql://u@h/d", &[]);
        check("main", "sqlite:////etc/passwd", &["driver `sqlite`"]);
        check("boards", "duckdb:///x", &["may not hold databases", "driver `duckdb`"]);
    }
}
