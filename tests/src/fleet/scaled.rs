//! The operator's own command that makes nodes come and go.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::world::World;

#[tokio::test]
async fn the_scale_command_is_called_with_both_counts_once_they_differ_for_a_while() {
    let mut world =
        World::new(2, "scale_command = [\"FOLDER/scale\"]\nscale_settle = \"300ms\"\nscale_retry = \"2s\"")
            .await;
    let folder = world.folder.path().to_owned();
    for node in &world.nodes {
        let at = node.folder.join("setkeeper.toml");
        let text =
            fs::read_to_string(&at).expect("it is there").replace("FOLDER", &folder.display().to_string());
        fs::write(at, text).expect("writable");
    }
    let script = folder.join("scale");
    let calls = folder.join("calls");
    let text = format!(
        "#!/bin/sh\necho \"$SETKEEPER_SERVICE $SETKEEPER_PRESENT $SETKEEPER_WANTED $SETKEEPER_NODES\" >>{}\n\
         if [ -e {}/fail ]; then exit 9; fi\n",
        calls.display(),
        folder.display(),
    );
    fs::write(&script, text).expect("writable");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
    let called =
        || fs::read_to_string(&calls).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();

    fs::write(folder.join("fail"), "").expect("writable");
    for node in &mut world.nodes {
        node.start_superset().await;
        node.start_agent();
    }
    world.registered_become(&["n1", "n2"]).await;
    world.put("settings/scale/superset", "{\"v\":1,\"count\":2}").await;
    world.put("settings/scale/superset", "{\"v\":1,\"count\":3}").await;
    world
        .until("the command was called, and its failure is told", async || {
            let last = world.json("control/scale/superset").await.unwrap_or_default();
            if last["failed"].is_string() { Ok(()) } else { Err((last, called())) }
        })
        .await;
    assert_eq!(called(), ["superset 2 3 n1,n2"]);
    fs::remove_file(folder.join("fail")).expect("it is there");
    let last = world
        .until("it is called again after the pause", async || {
            let last = world.json("control/scale/superset").await.unwrap_or_default();
            let is_over = last["running"].is_null();
            if is_over && last["failed"].is_null() { Ok(last) } else { Err((last, called())) }
        })
        .await;
    assert_eq!((&last["wanted"], &last["present"]), (&json!(3), &json!(2)));
    assert_eq!(called().len(), 2, "of two agents one calls");

    // A count that is met calls nobody; one less does, and a node that only restarts is no missing one.
    world.put("settings/scale/superset", "{\"v\":1,\"count\":2}").await;
    world.must(&["nodes", "restart", "--wait"]).await;
    assert_eq!(called().len(), 2);
    fs::write(folder.join("fail"), "").expect("writable");
    world.put("settings/scale/superset", "{\"v\":1,\"count\":1}").await;
    world
        .until("it is called for one less", async || {
            let called = called();
            if called.last().is_some_and(|line| line == "superset 2 1 n1,n2") { Ok(()) } else { Err(called) }
        })
        .await;

    // `status` tells that it failed as long as something is left to be called for.
    let failed = "the scale command of superset, called by n";
    world.trouble(&[failed, "for 1 nodes where 2 were", "exit status: 9"]).await;
    world.put("settings/scale/superset", "{\"v\":1,\"count\":2}").await;
    world.no_trouble(failed).await;
    world.put("settings/scale/superset", "{\"v\":1,\"count\":1}").await;
    world.trouble(&[failed]).await;
    fs::remove_file(folder.join("fail")).expect("it is there");
    world.no_trouble(failed).await;
}
