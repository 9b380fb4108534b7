//! Rules of the house that no compiler checks: the arrows between crates, what the pure ones drag in, and that no
//! function of the applier that takes a transaction also takes a document.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The arrows that `ARCHITECTURE.md` draws. A new one is a decision.
const ARROWS: &[(&str, &[&str])] = &[
    ("change", &[]),
    ("asset", &[]),
    ("superset", &["asset"]),
    ("sql", &[]),
    ("queue", &[]),
    ("zk", &["change"]),
    ("watcher", &["change", "zk", "queue"]),
    ("applier", &["change", "asset", "superset", "queue", "sql"]),
    ("auditor", &["change", "asset", "queue", "sql"]),
    ("agent", &["change", "asset", "zk"]),
    ("testbed", &[]),
    (
        "setkeeper",
        &["change", "asset", "superset", "queue", "sql", "zk", "watcher", "applier", "auditor", "agent"],
    ),
];

/// Crates without I/O, and what would betray it.
const PURE: &[&str] = &["change", "asset", "superset"];
const IMPURE: &[&str] = &["tokio", "sqlx", "sqlx-core", "zookeeper-client", "async-io", "reqwest"];

/// What the "never knows" column means for the libraries that a crate uses itself.
const NEVER_USED: &[(&str, &[&str])] = &[
    ("queue", &["zookeeper-client"]),
    ("sql", &["zookeeper-client"]),
    ("zk", &["sqlx", "sea-query"]),
    ("watcher", &["sqlx", "sea-query"]),
    ("applier", &["zookeeper-client"]),
    ("auditor", &["zookeeper-client"]),
    ("agent", &["sqlx", "sea-query"]),
];

/// The applier's modules that may name a transaction.
const TRANSACTING: &[&str] = &["observe", "transact", "ledger", "outbox"];

/// What waits for time and for nothing else.
const SLEEPS: &[&str] =
    &["time::sleep(", "thread::sleep(", " sleep(", "sleep_until(", "sleep_ms(", "park_timeout("];
/// The same in other words, and the one place that may.
const PASSING: &str = ", std::future::pending";
const FAULT_INJECTOR: &str = "tests/src/chaos/torment.rs";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root").to_path_buf()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// Package name → names of its normal dependencies, for every package of the resolved graph.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let names: BTreeMap<&str, &str> =
        packages.iter().map(|p| (p["id"].as_str().expect("id"), p["name"].as_str().expect("name"))).collect();
    let is_normal = |dep: &Value| {
        dep["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in nodes {
        let name = names[node["id"].as_str().expect("id")].to_owned();
        let deps = node["deps"].as_array().expect("deps").iter().filter(|dep| is_normal(dep));
        let deps = deps.map(|dep| names[dep["pkg"].as_str().expect("pkg")].to_owned());
        found.entry(name).or_default().extend(deps);
    }
    found
}

#[test]
fn crates_depend_only_on_what_the_architecture_draws() {
    let dependencies = dependencies();
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in ARROWS {
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let actual: BTreeSet<&str> =
            dependencies[*name].iter().map(String::as_str).filter(|dep| ours.contains(dep)).collect();
        assert!(actual.is_subset(&allowed), "{name} depends on {:?}", actual.difference(&allowed));
    }
    let members = std::fs::read_dir(root().join("crates")).expect("crates/");
    for member in members {
        let name = member.expect("a folder").file_name();
        let name = name.to_str().expect("UTF-8");
        assert!(
            ours.contains(name),
            "crates/{name} is not in the drawing: add it here and to ARCHITECTURE.md"
        );
    }
}

#[test]
fn no_crate_uses_the_library_of_a_system_that_it_never_knows() {
    let dependencies = dependencies();
    for (name, never) in NEVER_USED {
        let used: Vec<&&str> =
            never.iter().filter(|library| dependencies[*name].contains(**library)).collect();
        assert!(used.is_empty(), "{name} uses {used:?}");
    }
}

#[test]
fn pure_crates_pull_in_no_runtime_and_no_driver() {
    let dependencies = dependencies();
    for name in PURE {
        let mut seen = BTreeSet::new();
        let mut open = vec![(*name).to_owned()];
        while let Some(next) = open.pop() {
            if seen.insert(next.clone()) {
                open.extend(dependencies.get(&next).into_iter().flatten().cloned());
            }
        }
        let bad: Vec<&&str> = IMPURE.iter().filter(|impure| seen.contains(**impure)).collect();
        assert!(bad.is_empty(), "{name} pulls in {bad:?}");
    }
}

#[test]
fn no_part_of_the_applier_that_takes_a_transaction_knows_a_document() {
    let folder = root().join("crates/applier/src");
    let mut transacting = 0;
    for file in rust_files(&folder) {
        let module = file.strip_prefix(&folder).expect("below src").with_extension("");
        let first = module.iter().next().and_then(|part| part.to_str()).expect("a module").to_owned();
        let text = code(&file);
        let names_transaction = names(&text, "Transaction");
        if TRANSACTING.contains(&first.as_str()) {
            transacting += usize::from(names_transaction);
            assert!(!names(&text, "Document"), "{} names a Document", file.display());
        } else {
            assert!(!names_transaction, "{} names a Transaction", file.display());
        }
    }
    assert!(transacting > 0, "none of {TRANSACTING:?} names a transaction: has the applier moved?");
}

#[test]
fn nothing_is_allowed_ignored_or_left_to_do() {
    for folder in ["crates", "tests"] {
        for file in rust_files(&root().join(folder)) {
            if file.ends_with("tests/src/tidy.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("readable");
            for banned in ["#[allow(", "#![allow(", "#[ignore", "todo!(", "unimplemented!(", "FIXME"] {
                assert!(!text.contains(banned), "{} has `{banned}`", file.display());
            }
        }
    }
}

/// A test awaits a state with a deadline. The one exception lets time pass on purpose: the fault injector of the kill
/// loops, and it does so without a sleep.
#[test]
fn no_test_sleeps() {
    let mut tests = 0;
    for file in ["crates", "tests"].iter().flat_map(|folder| rust_files(&root().join(folder))) {
        let text = code(&file);
        let inside =
            file.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")));
        // Below `src`, what stands under `#[cfg(test)]` is at the end of its file.
        let test = if inside {
            Some(text.as_str())
        } else {
            text.split_once("#[cfg(test)]\nmod ").map(|(_, test)| test)
        };
        if file.ends_with("tests/src/tidy.rs") {
            continue;
        }
        let Some(test) = test else { continue };
        tests += 1;
        for banned in SLEEPS {
            assert!(!test.contains(banned), "{} has `{banned}` in a test: await the state", file.display());
        }
        let passes = test.contains(PASSING);
        let may = file.ends_with(FAULT_INJECTOR);
        assert!(!passes || may, "{} lets time pass: only {FAULT_INJECTOR} may", file.display());
    }
    assert!(tests > 50, "only {tests} files with tests were found");
}

fn names(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

/// A file without its comments.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).expect("readable");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
