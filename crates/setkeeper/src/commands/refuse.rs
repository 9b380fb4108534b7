//! What every target would reject, told before it is written. Pure.

use std::collections::BTreeSet;

use asset::{Document, Kind};
use change::{Place, ZnodePath};

use super::plan::Step;

/// One line for each thing that a target's configuration does not allow in what the steps put.
pub(crate) fn refusals(targets: &[&applier::TargetConfig], steps: &[Step]) -> Vec<String> {
    let mut lines = BTreeSet::new();
    for step in steps {
        let (path, Some(document)) = (&step.edit.path, &step.after) else { continue };
        for target in targets {
            let mut refuse = |why: &str| lines.insert(format!("`{path}`: {why} (target {})", target.name));
            if let Document::Database(database) = document
                && let Err(fault) = superset::check_uri(&database.sqlalchemy_uri, &target.drivers)
            {
                refuse(&fault.to_string());
            }
            let (bytes, max) = (document.canonical().len(), target.policy.document_max);
            if bytes > max {
                refuse(&format!("has {bytes} bytes, more than {max}; make it smaller"));
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
    fn what_a_target_does_not_allow_is_told_before_it_is_written() {
        check("main", "postgresql://u@h/d", &[]);
        check("main", "sqlite:////etc/passwd", &["driver `sqlite`"]);
        check("boards", "duckdb:///x", &["may not hold databases", "driver `duckdb`"]);
    }
}
