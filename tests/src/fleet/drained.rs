//! Nodes that somebody takes out.

use serde_json::json;

use super::world::World;
use crate::pipeline::program::run;

#[tokio::test]
async fn a_drained_node_stays_out_until_it_is_let_in_or_its_superset_has_restarted() {
    let mut world = World::running(2, "").await;
    world.must(&["nodes", "drain", "n2", "--wait", "-m", "a new disk", "--author", "ana"]).await;
    assert_eq!(world.registered().await, ["n1".to_owned()].into());
    let listed = world.listed("n2").await;
    assert_eq!(
        (&listed["drained"]["by"], &listed["drained"]["reason"]),
        (&json!("ana"), &json!("a new disk"))
    );

    // Neither a restart of Superset, by its unit, nor one of the agent lets it in.
    let said = run(world.nodes[1].program(), &["nodes", "drain", "--self", "--wait"], b"").await;
    assert!(String::from_utf8_lossy(&said.stdout).contains("drained already"), "{said:?}");
    world.nodes[1].kill_superset();
    world.nodes[1].start_superset().await;
    world.nodes[1].stop_agent().await;
    world.nodes[1].start_agent();
    world
        .until("the new agent sees Superset and the drain", async || {
            let view = world.json("workers/agent-superset-n2/report").await.unwrap_or_default();
            if view["health"] == "healthy" && view["drained"] == "undrain" { Ok(()) } else { Err(view) }
        })
        .await;
    assert_eq!(world.registered().await, ["n1".to_owned()].into());
    world.must(&["nodes", "undrain", "n2"]).await;
    world.registered_become(&["n1", "n2"]).await;

    // As Superset's unit does before it stops.
    world.must(&["nodes", "drain", "--self", "--wait"]).await;
    assert_eq!(world.registered().await, ["n2".to_owned()].into());
    world.nodes[0].kill_superset();
    world
        .until("the agent sees that it is gone", async || {
            let view = world.json("workers/agent-superset-n1/report").await.unwrap_or_default();
            if view["why"].is_string() { Ok(()) } else { Err(view) }
        })
        .await;
    world.nodes[0].start_superset().await;
    world.registered_become(&["n1", "n2"]).await;
    assert_eq!(world.json("control/drain/superset/n1").await, None);
}

#[tokio::test]
async fn a_superset_that_is_back_before_anybody_looks_ends_the_drain_of_its_stop() {
    let world = World::running(1, "").await;
    let node = &world.nodes[0];
    let pid = node.superset_pid().expect("it runs").as_raw_pid().to_string();
    let mut stop = node.program();
    stop.env("MAINPID", &pid);
    let said = run(stop, &["nodes", "drain", "--self", "--wait"], b"").await;
    assert!(said.status.success(), "{said:?}");
    assert_eq!(world.registered().await, [].into());
    assert_eq!(world.listed("n1").await["drained"]["process"]["pid"].to_string(), pid);
    node.kill_superset();
    node.start_superset().await;
    world.registered_become(&["n1"]).await;
    assert_eq!(world.json("control/drain/superset/n1").await, None);
}

#[tokio::test]
async fn a_drain_of_nobody_is_told() {
    let mut world = World::new(1, "").await;
    for command in ["drain", "undrain"] {
        let unknown = world.setkeeper(&["nodes", command, "n9"]).await;
        let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
        assert_eq!(unknown.status.code(), Some(64), "{command}: {said}");
        assert!(said.contains("no node of superset is called `n9`"), "{command}: {said}");
    }
    // One that is known by its drain alone can be let in.
    world.put("control/drain/superset/n9", "somebody's own").await;
    world.must(&["nodes", "undrain", "n9"]).await;
    assert!(world.listed("n9").await.is_null());
    // Superset's unit must be able to stop where no agent runs.
    let said = world.must(&["nodes", "drain", "--self", "--wait"]).await;
    assert!(said.contains("does not run"), "{said}");
    assert_eq!(world.json("control/drain/superset/n1").await, None);

    // A drain whose agent was killed does not end in time, and says so.
    world.nodes[0].start_superset().await;
    world.nodes[0].start_agent();
    world.registered_become(&["n1"]).await;
    world.nodes[0].signal_agent(rustix::process::Signal::STOP);
    let late = world.setkeeper(&["nodes", "drain", "n1", "--wait", "--wait-max", "200ms"]).await;
    world.nodes[0].signal_agent(rustix::process::Signal::CONT);
    assert_eq!(late.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&late.stderr).contains("registered still"));
    world.registered_become::<&str>(&[]).await;
}
