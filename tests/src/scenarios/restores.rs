//! ZooKeeper comes back as it was at another time: nothing is taken from it until a person has looked.

use serde_json::Value;

use super::world::json;
use crate::pipeline::documents::{database, with};
use crate::pipeline::{Metadata, Options, Pipeline, Role};

super::alone![
    a_zookeeper_restored_behind_what_is_known_freezes_until_it_is_approved,
    a_zookeeper_restored_and_written_beyond_what_is_known_freezes_all_the_same,
    a_wiped_zookeeper_deletes_nothing,
];

const A: &str = "assets/main/databases/a";
const NAMES: &str =
    "SELECT database_name, cache_timeout FROM dbs WHERE database_name LIKE 'warehouse%' ORDER BY 1";

async fn names(pipeline: &Pipeline) -> String {
    pipeline.superset(NAMES).await.concat().join(" ")
}

/// A backup is taken while `a` is young; then `a` changes and `b` comes. No server runs afterwards.
async fn with_a_backup(metadata: Metadata) -> (Pipeline, std::path::PathBuf) {
    let mut pipeline = Pipeline::start(metadata, Options::default()).await;
    pipeline.put(A, &with(database(1), "cache_timeout", 1)).await;
    pipeline.await_equal().await;
    let backup = pipeline.folder().join("backup");
    pipeline.zookeeper.kill().await.expect("a kill");
    pipeline.zookeeper.backup(&backup).expect("a backup");
    pipeline.zookeeper.restart().await.expect("a start");
    pipeline.reconnect().await;
    pipeline.put(A, &with(database(1), "cache_timeout", 2)).await;
    pipeline.put("assets/main/databases/b", &database(2)).await;
    pipeline.await_equal().await;
    assert_eq!(names(&pipeline).await, "warehouse 1 2 warehouse 2 NULL");
    (pipeline, backup)
}

/// `status` says that a person has to look.
async fn freezes(pipeline: &Pipeline) {
    pipeline
        .until("the watcher is frozen", async || {
            let output = pipeline.setkeeper(&["status", "-o", "json"]).await;
            let status: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
            let stages = status["stages"].as_array().cloned().unwrap_or_default();
            let watcher = stages.iter().find(|stage| stage["stage"] == "watcher");
            let is_frozen = watcher.is_some_and(|stage| stage["state"].to_string().starts_with("\"frozen"));
            // A fence of the replaced ensemble may be too low for the watcher to write its state down.
            let is_told = status["troubles"].to_string().contains("approve generation");
            if is_frozen || is_told { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
}

async fn approve(pipeline: &mut Pipeline) {
    let approved = json(&pipeline.must(&["approve", "generation", "-o", "json"]).await);
    assert_eq!(approved["n"], pipeline.generation + 1, "{approved}");
    pipeline.generation += 1;
    pipeline.await_equal().await;
    pipeline.must(&["verify"]).await;
}

async fn a_zookeeper_restored_behind_what_is_known_freezes_until_it_is_approved(metadata: Metadata) {
    let (mut pipeline, backup) = with_a_backup(metadata).await;
    pipeline.zookeeper.kill().await.expect("a kill");
    pipeline.zookeeper.restore(&backup).expect("a restore");
    pipeline.zookeeper.restart().await.expect("a start");
    pipeline.reconnect().await;
    freezes(&pipeline).await;
    pipeline.put("assets/main/databases/c", &database(3)).await;
    // Whoever starts anew finds the same.
    pipeline.start_worker(Role::All).await;
    freezes(&pipeline).await;
    assert_eq!(names(&pipeline).await, "warehouse 1 2 warehouse 2 NULL");
    approve(&mut pipeline).await;
    assert_eq!(names(&pipeline).await, "warehouse 1 1 warehouse 3 NULL");
    pipeline.put(A, &with(database(1), "cache_timeout", 4)).await;
    pipeline.await_equal().await;
    assert_eq!(names(&pipeline).await, "warehouse 1 4 warehouse 3 NULL");
}

async fn a_zookeeper_restored_and_written_beyond_what_is_known_freezes_all_the_same(metadata: Metadata) {
    let (mut pipeline, backup) = with_a_backup(metadata).await;
    pipeline.kill_worker(Role::All).await;
    let known = "SELECT max(coalesce(zxid, mzxid)) FROM audit_change";
    let known: i64 = pipeline.audit(known).await[0][0].parse().expect("a number");
    pipeline.zookeeper.kill().await.expect("a kill");
    pipeline.zookeeper.restore(&backup).expect("a restore");
    pipeline.zookeeper.restart().await.expect("a start");
    pipeline.reconnect().await;
    // The same versions as those that are known, with other contents, and then transactions beyond all that is known.
    pipeline.put(A, &with(database(1), "cache_timeout", 7)).await;
    let beyond = async |pipeline: &Pipeline| {
        let path = crate::pipeline::path("assets/main/databases/c");
        pipeline.put(path.as_str(), &database(3)).await;
        let found = pipeline.session.read(&path).await.expect("an answer").expect("a document");
        found.mzxid.0 > known + 100
    };
    while !beyond(&pipeline).await {}
    pipeline.start_worker(Role::All).await;
    freezes(&pipeline).await;
    assert_eq!(names(&pipeline).await, "warehouse 1 2 warehouse 2 NULL");
    approve(&mut pipeline).await;
    assert_eq!(names(&pipeline).await, "warehouse 1 7 warehouse 3 NULL");
}

async fn a_wiped_zookeeper_deletes_nothing(metadata: Metadata) {
    let mut pipeline = Pipeline::start(metadata, Options::default()).await;
    pipeline.put(A, &database(1)).await;
    pipeline.await_equal().await;
    pipeline.zookeeper.kill().await.expect("a kill");
    pipeline.zookeeper.wipe().expect("a wipe");
    pipeline.zookeeper.restart().await.expect("a start");
    pipeline.reconnect().await;
    pipeline
        .until("status says what is missing", async || {
            let output = pipeline.setkeeper(&["status"]).await;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            // The server answers, so it is a finding.
            let is_told = output.status.code() == Some(2)
                && said.contains("TROUBLE")
                && said.contains("/superset/test");
            if is_told { Ok(()) } else { Err(said) }
        })
        .await;
    assert_eq!(names(&pipeline).await, "warehouse 1 NULL");
    // Somebody makes the tree again: still another ensemble.
    pipeline.must(&["init"]).await;
    pipeline.start_worker(Role::All).await;
    freezes(&pipeline).await;
    assert_eq!(names(&pipeline).await, "warehouse 1 NULL");
    pipeline.put(A, &with(database(1), "cache_timeout", 9)).await;
    approve(&mut pipeline).await;
    assert_eq!(names(&pipeline).await, "warehouse 1 9");
}
