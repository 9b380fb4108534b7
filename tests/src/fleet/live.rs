//! Settings in ZooKeeper, and what a running process has of them.

use std::fs;

use serde_json::{Value, json};
use zookeeper_client::{Acl, AuthId, Permission};

use super::world::World;

/// Waits until the process of the first node answers so.
async fn process_has(world: &World, flags: Value, row_limit: i64) {
    world
        .until("the settings inside the process", async || {
            let found = world.nodes[0].settings().await.unwrap_or_default();
            let has = found["flags"] == flags && found["config"]["ROW_LIMIT"] == json!(row_limit);
            if has { Ok(()) } else { Err(found) }
        })
        .await;
}

async fn lacks(world: &World, wanted: &[&str]) {
    world
        .until("what the node lacks", async || {
            let node = world.json("workers/agent-superset-n1/report").await.unwrap_or_default();
            if node["lacks"] == json!(wanted) { Ok(()) } else { Err(node) }
        })
        .await;
}

#[tokio::test]
async fn a_flag_is_live_without_a_restart_and_a_key_that_needs_one_is_told_until_it_comes() {
    let world = World::running(1, "").await;
    process_has(&world, json!({}), 50000).await;
    world.put("settings/feature_flags/ALERT_REPORTS", "true").await;
    process_has(&world, json!({"ALERT_REPORTS": true}), 50000).await;
    world.put("settings/feature_flags/ALERT_REPORTS", "false").await;
    process_has(&world, json!({"ALERT_REPORTS": false}), 50000).await;

    world.put("settings/config/SQLLAB_TIMEOUT", "7").await;
    world.put("settings/feature_flags/TAGGING_SYSTEM", "true").await;
    lacks(&world, &["config/SQLLAB_TIMEOUT", "feature_flags/TAGGING_SYSTEM"]).await;
    let status = world.setkeeper(&["status"]).await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("config/SQLLAB_TIMEOUT"), "{status}");
    world.must(&["nodes", "restart", "-m", "for the timeout", "--wait", "--wait-max", "60s"]).await;
    lacks(&world, &[]).await;
    let found = world.nodes[0].settings().await.expect("an answer");
    assert_eq!(found["config"]["SQLLAB_TIMEOUT"], json!(7));
    // The removal of such a key is for a restart, too.
    world.delete("settings/config/SQLLAB_TIMEOUT").await;
    lacks(&world, &["config/SQLLAB_TIMEOUT"]).await;
}

#[tokio::test]
async fn a_superset_that_does_not_read_its_live_settings_is_told_once_there_are_any() {
    const TOLD: &str = "no process of its Superset reads the live settings";
    let mut world = World::new(1, "").await;
    world.nodes[0].touch("forgetful");
    world.nodes[0].start_superset().await;
    world.nodes[0].start_agent();
    world.registered_become(&["n1"]).await;
    let told = world.must(&["nodes", "list"]).await;
    assert!(!told.contains(TOLD), "{told}");
    world.put("settings/config/ROW_LIMIT", "7").await;
    world
        .until("the node is healthy and reads nothing", async || {
            let told = world.must(&["nodes", "list"]).await;
            if told.contains("healthy") && told.contains(TOLD) { Ok(()) } else { Err(told) }
        })
        .await;
    world.nodes[0].remove("forgetful");
    world.must(&["nodes", "restart", "-m", "with its last line", "--wait"]).await;
    world
        .until("the node reads its settings", async || {
            let told = world.must(&["nodes", "list"]).await;
            if told.contains("healthy") && !told.contains(TOLD) { Ok(()) } else { Err(told) }
        })
        .await;
    process_has(&world, json!({}), 7).await;
}

#[tokio::test]
async fn whatever_goes_wrong_the_last_good_settings_stay() {
    let mut world = World::running(1, "").await;
    world.put("settings/feature_flags/ALERT_REPORTS", "true").await;
    world.put("settings/config/ROW_LIMIT", "7").await;
    let file = world.nodes[0].folder.join("live.json");
    let read = || fs::read_to_string(&file).unwrap_or_default();
    world
        .until("both are in the file", async || {
            let text = read();
            if text.contains("ALERT_REPORTS") && text.contains("ROW_LIMIT") { Ok(()) } else { Err(text) }
        })
        .await;
    let good = read();
    let faults = async |world: &World, wanted: &[&str]| {
        world
            .until("the faults are told", async || {
                let view = world.json("workers/agent-superset-n1/report").await.unwrap_or_default();
                let found: Vec<String> =
                    view["faults"].as_object().cloned().unwrap_or_default().keys().cloned().collect();
                if found == wanted { Ok(()) } else { Err(view) }
            })
            .await;
        assert_eq!(read(), good);
    };

    // Bad values.
    world.put("settings/feature_flags/ALERT_REPORTS", "\"false\"").await;
    world.put("settings/config/ROW_LIMIT", "{ oops").await;
    faults(&world, &["settings/config/ROW_LIMIT", "settings/feature_flags/ALERT_REPORTS"]).await;
    // An agent that begins meanwhile has the last good ones from its own file.
    world.nodes[0].stop_agent().await;
    world.nodes[0].start_agent();
    world.registered_become(&["n1"]).await;
    faults(&world, &["settings/config/ROW_LIMIT", "settings/feature_flags/ALERT_REPORTS"]).await;
    world.put("settings/feature_flags/ALERT_REPORTS", "true").await;
    world.put("settings/config/ROW_LIMIT", "7").await;
    faults(&world, &[]).await;

    // A subtree that may no longer be read; the agent learns it when it begins.
    let client = world.session.client();
    let hidden = [Acl::new(Permission::ALL, AuthId::new("digest", "ops:9EHL0R8uq1F8"))];
    client.set_acl("/settings/config/ROW_LIMIT", &hidden, None).await.expect("ours");
    world.nodes[0].kill_agent().await;
    world.nodes[0].start_agent();
    faults(&world, &["settings/config/ROW_LIMIT"]).await;

    // No ZooKeeper at all, and an agent that begins without one.
    world.zookeeper.kill().await.expect("it runs");
    world.nodes[0].kill_agent().await;
    world.nodes[0].start_agent();
    world
        .until("the agent cannot reach zookeeper", async || {
            let log = world.nodes[0].logged();
            if log.contains("reach any of") { Ok(()) } else { Err(log) }
        })
        .await;
    assert_eq!(read(), good);
    process_has(&world, json!({"ALERT_REPORTS": true}), 50000).await;
}
