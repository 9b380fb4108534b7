//! When a node stands in the registry, and when not.

use rustix::process::Signal;
use serde_json::json;

use super::world::World;

#[tokio::test]
async fn a_node_is_registered_once_superset_answers_and_goes_when_it_does_not() {
    let mut world = World::new(1, "weight = 3\nversion = \"9.9\"\npayload = { zone = \"a\" }").await;
    world.nodes[0].start_agent();
    world
        .until("the agent sees that nothing is there", async || {
            let view = world.json("workers/agent-superset-n1/report").await.unwrap_or_default();
            if view["health"] == "unhealthy" { Ok(()) } else { Err(view) }
        })
        .await;
    assert!(world.registered().await.is_empty());

    world.nodes[0].start_superset().await;
    world.registered_become(&["n1"]).await;
    let instance = world.json("services/superset/n1").await.expect("a registration");
    assert_eq!((&instance["name"], &instance["id"]), (&json!("superset"), &json!("n1")));
    assert_eq!((&instance["address"], &instance["port"]), (&json!("127.0.0.1"), &json!(world.nodes[0].port)));
    assert_eq!(instance["payload"], json!({"version": "9.9", "weight": 3, "zone": "a"}));

    let metrics = world.nodes[0].metrics().await;
    for sample in ["setkeeper_agent_healthy 1", "setkeeper_agent_registered 1", "setkeeper_agent_processes 1"]
    {
        assert!(metrics.contains(sample), "{sample} in\n{metrics}");
    }

    world.nodes[0].touch("sick");
    world.registered_become::<&str>(&[]).await;
    let listed = world.listed("n1").await;
    assert_eq!((&listed["agent"], &listed["registered"]), (&json!(true), &json!(false)));
    assert!(listed["report"]["why"].as_str().is_some_and(|why| why.contains("503")), "{listed}");
    world.trouble(&["superset/n1 is unhealthy: ", "503"]).await;
    // Whoever took it out knows.
    world.must(&["nodes", "drain", "n1"]).await;
    world.no_trouble("superset/n1 is unhealthy").await;
    world.must(&["nodes", "undrain", "n1"]).await;
    world.nodes[0].remove("sick");
    world.registered_become(&["n1"]).await;

    world.nodes[0].kill_superset();
    world.registered_become::<&str>(&[]).await;
    world.nodes[0].start_superset().await;
    world.registered_become(&["n1"]).await;
    let waited = world.setkeeper(&["nodes", "wait", "--count", "2", "--wait", "200ms"]).await;
    assert_eq!(waited.status.code(), Some(1));
    world.must(&["nodes", "wait", "--count", "1"]).await;

    assert_eq!(world.nodes[0].stop_agent().await.code(), Some(0));
    assert!(world.registered().await.is_empty(), "it goes with SIGTERM, not with the session");
    assert_eq!(world.listed("n1").await["agent"], json!(false));
    world.trouble(&["the agent of superset/n1 does not run; `setkeeper nodes forget n1`"]).await;
    world.must(&["nodes", "forget", "n1"]).await;
    assert!(world.listed("n1").await.is_null());
    world.no_trouble("the agent of superset/n1").await;
}

#[tokio::test]
async fn a_node_comes_back_after_a_killed_agent_an_expired_session_and_a_killed_zookeeper() {
    let mut world = World::running(1, "").await;
    let czxid = async |world: &World| {
        let found = world.session.read(&"services/superset/n1".parse().expect("a path")).await;
        found.expect("an answer").map(|found| found.czxid)
    };
    let first = czxid(&world).await;
    world.nodes[0].kill_agent().await;
    world.nodes[0].start_agent();
    let again = async |before| {
        world
            .until("a new registration", async || {
                let found = czxid(&world).await;
                if found.is_some() && found != before { Ok(found) } else { Err(found) }
            })
            .await
    };
    let second = again(first).await;

    // The session expires meanwhile, and what the agent believes is wrong when it wakes.
    world.nodes[0].signal_agent(Signal::STOP);
    world.registered_become::<&str>(&[]).await;
    world.nodes[0].signal_agent(Signal::CONT);
    let third = again(second).await;

    // Somebody deletes it.
    world.delete("services/superset/n1").await;
    again(third).await;

    world.zookeeper.kill().await.expect("it runs");
    world.zookeeper.restart().await.expect("it starts");
    world.session = crate::pipeline::connect(&world.zookeeper.connect()).await;
    world.registered_become(&["n1"]).await;
    let listed = world.listed("n1").await;
    assert_eq!((&listed["agent"], &listed["registered"]), (&json!(true), &json!(true)));
}

#[tokio::test]
async fn two_agents_of_one_name_are_one_node_and_the_second_takes_over() {
    let mut world = World::running(1, "").await;
    let first = world.nodes[0].program().arg("agent").spawn().expect("the program starts");
    world
        .until("both stand for the node", async || {
            let stand =
                world.session.client().list_children("/workers/agent-superset-n1").await.expect("an answer");
            let stand = stand.into_iter().filter(|name| name != "report").count();
            if stand == 2 { Ok(()) } else { Err(stand) }
        })
        .await;
    let before =
        world.session.read(&"services/superset/n1".parse().expect("a path")).await.expect("an answer");
    world.nodes[0].kill_agent().await;
    world
        .until("the other has registered the node", async || {
            let found = world.session.read(&"services/superset/n1".parse().expect("a path")).await;
            let found = found.expect("an answer").map(|found| found.czxid);
            if found.is_some() && found != before.as_ref().map(|found| found.czxid) {
                Ok(())
            } else {
                Err(found)
            }
        })
        .await;
    drop(first);
}
