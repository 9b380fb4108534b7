//! Restarts of a whole fleet, one node after the other.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::world::World;

async fn newest(world: &World) -> Value {
    let ids = world.session.client().list_children("/control/restart/superset").await.unwrap_or_default();
    match ids.into_iter().max() {
        Some(id) => world.json(&format!("control/restart/superset/{id}")).await.unwrap_or_default(),
        None => Value::Null,
    }
}

fn restarts(world: &World) -> Vec<usize> {
    world.nodes.iter().map(super::node::Node::restarts).collect()
}

#[tokio::test]
async fn nodes_restart_one_after_the_other_and_never_two_are_away() {
    let world = World::running(3, "").await;
    let fewest = world.fewest().await;
    let restart =
        world.setkeeper(&["nodes", "restart", "-m", "new flags", "--author", "ana", "--wait"]).await;
    let said = String::from_utf8_lossy(&restart.stderr).into_owned();
    assert_eq!(restart.status.code(), Some(0), "{said}\n{}", world.nodes[0].logged());
    assert_eq!(restarts(&world), [1, 1, 1]);
    assert_eq!(fewest.end(), 2);
    for node in ["n1", "n2", "n3"] {
        assert!(said.contains(&format!("{node}: done")), "{said}");
    }
    world.registered_become(&["n1", "n2", "n3"]).await;
    let request = newest(&world).await;
    assert_eq!(
        (&request["state"], &request["by"], &request["reason"]),
        (&json!("done"), &json!("ana"), &json!("new flags"))
    );
}

#[tokio::test]
async fn as_many_nodes_as_allowed_are_away_at_once_and_a_drained_one_restarts_and_stays_out() {
    let world = World::running(3, "max_unavailable = 2").await;
    world.must(&["nodes", "drain", "n3", "--wait"]).await;
    world.nodes[0].touch("slow");
    world.nodes[1].touch("slow");
    world.must(&["nodes", "restart"]).await;
    world.registered_become::<&str>(&[]).await;
    let again = world.setkeeper(&["nodes", "restart"]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--cancel"));
    world.nodes[0].remove("slow");
    world.nodes[1].remove("slow");
    world
        .until("all have restarted", async || {
            let request = newest(&world).await;
            if request["state"] == "done" { Ok(()) } else { Err(request) }
        })
        .await;
    assert_eq!(restarts(&world), [1, 1, 1]);
    world.registered_become(&["n1", "n2"]).await;
}

#[tokio::test]
async fn a_node_that_does_not_come_back_stops_the_restart_and_those_without_an_agent_are_told() {
    let mut world = World::running(4, "healthy_within = \"1500ms\"").await;
    world.nodes[3].kill_agent().await;
    world.registered_become(&["n1", "n2", "n3"]).await;
    for node in &world.nodes {
        node.touch("broken");
    }
    let restart = world.setkeeper(&["nodes", "restart", "--wait"]).await;
    let said = String::from_utf8_lossy(&restart.stderr).into_owned();
    assert_eq!(restart.status.code(), Some(1), "{said}");
    assert!(said.contains("n4 is not restarted: its agent does not run"), "{said}");
    assert_eq!(restarts(&world).iter().sum::<usize>(), 1, "{said}");
    let broken =
        world.nodes.iter().find(|node| node.restarts() == 1).expect("one was restarted").name.clone();
    assert!(said.contains(&format!("stopped at {broken}")) && said.contains("not restarted: "), "{said}");
    let request = newest(&world).await;
    assert_eq!((&request["state"], &request["failed"]["node"]), (&json!("failed"), &json!(broken)));
    let rest: Vec<String> =
        ["n1", "n2", "n3"].iter().filter(|name| **name != broken).map(|name| (*name).to_owned()).collect();
    world.registered_become(&rest).await;

    // Mended, the node is registered again, and the next restart begins anew. A command that fails stops it too.
    for node in &world.nodes {
        node.remove("broken");
    }
    let node = world.nodes.iter().find(|node| node.name == broken).expect("the node");
    node.start_superset().await;
    world.registered_become(&["n1", "n2", "n3"]).await;
    node.touch("refuses");
    let restart = world.setkeeper(&["nodes", "restart", "--wait"]).await;
    let said = String::from_utf8_lossy(&restart.stderr).into_owned();
    assert_eq!(restart.status.code(), Some(1), "{said}");
    assert!(said.contains("exit status: 3"), "{said}");
}

#[tokio::test]
async fn a_restart_that_stopped_is_told_at_each_of_its_nodes_until_one_succeeds() {
    let world = World::running(3, "").await;
    for node in &world.nodes {
        node.touch("refuses");
    }
    world.must(&["nodes", "restart", "-m", "nobody waits"]).await;
    let request = world
        .until("the restart has stopped", async || {
            let request = newest(&world).await;
            if request["state"] == "failed" { Ok(request) } else { Err(request) }
        })
        .await;
    let broken = request["failed"]["node"].as_str().expect("a node");
    for node in &world.nodes {
        let restart = world.listed(&node.name).await["restart"].clone();
        let (state, why) = if node.name == broken {
            ("failed", request["failed"]["why"].as_str().expect("a reason").to_owned())
        } else {
            ("not_restarted", format!("the restart stopped at {broken}"))
        };
        assert_eq!((&restart["state"], &restart["why"]), (&json!(state), &json!(why)), "{}", node.name);
    }
    let stopped = format!("of superset stopped at {broken}: ");
    let rest = "not restarted: n1, n2, n3; mend the node, then `setkeeper nodes restart";
    world.trouble(&["the restart ", &stopped, "exit status: 3", rest]).await;
    let untouched = format!("not restarted: the restart stopped at {broken}");
    for command in [&["nodes", "list"][..], &["status"]] {
        let told = String::from_utf8_lossy(&world.setkeeper(command).await.stdout).into_owned();
        assert!(told.contains("restart failed: "), "{told}");
        assert_eq!(told.matches(&untouched).count(), 2, "{told}");
    }

    // A node that is mended is not all that was asked for.
    for node in &world.nodes {
        node.remove("refuses");
    }
    let node = world.nodes.iter().find(|node| node.name == broken).expect("the node");
    node.start_superset().await;
    world.registered_become(&["n1", "n2", "n3"]).await;
    world.trouble(&["the restart ", &stopped]).await;
    world.must(&["nodes", "restart", "--wait"]).await;
    for node in &world.nodes {
        assert!(world.listed(&node.name).await["restart"].is_null(), "{}", node.name);
    }
    world.no_trouble("the restart ").await;
}

#[tokio::test]
async fn a_node_whose_agent_is_killed_on_the_way_stops_the_restart() {
    let mut world = World::running(2, "").await;
    for node in &world.nodes {
        node.touch("slow");
    }
    let mut command = world.nodes[0].program();
    command.args(["nodes", "restart", "--wait"]).stderr(std::process::Stdio::piped());
    let mut waiting = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(waiting.stderr.take().expect("a pipe")).lines();
    let away = loop {
        let line = lines.next_line().await.expect("readable").expect("a node begins");
        if let Some((node, _)) = line.split_once(": starting") {
            break node.to_owned();
        }
    };
    let at = world.nodes.iter().position(|node| node.name == away).expect("the node");
    world.nodes[at].kill_agent().await;
    let request = world
        .until("the other node sees what happened", async || {
            let request = newest(&world).await;
            if request["state"] == "failed" { Ok(request) } else { Err(request) }
        })
        .await;
    assert_eq!(request["failed"]["node"], json!(away));
    assert_eq!(restarts(&world).iter().sum::<usize>(), 1);
    let ended = waiting.wait().await.expect("it ran");
    assert_eq!(ended.code(), Some(1));
    for node in &world.nodes {
        node.remove("slow");
    }
    world.nodes[at].start_agent();
    world.registered_become(&["n1", "n2"]).await;
}

#[tokio::test]
async fn a_restart_whose_last_agent_is_gone_for_good_ends_and_names_it() {
    let mut world = World::running(2, "restart_valid = \"3s\"").await;
    world.must(&["nodes", "drain", "n2", "--wait"]).await;
    world.nodes[1].kill_agent().await;
    let since = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_millis();
    let request = json!({
        "v": 1, "by": "ana", "reason": "flags", "since": since, "nodes": ["n1", "n2"], "state": "running",
    });
    world.put("control/restart/superset/01", &request.to_string()).await;
    let request = world
        .until("the node that is there ends it", async || {
            let request = newest(&world).await;
            if request["state"] == "failed" { Ok(request) } else { Err(request) }
        })
        .await;
    assert_eq!(request["failed"]["node"], json!("n2"));
    assert_eq!(restarts(&world), [1, 0]);
}

#[tokio::test]
async fn a_restart_that_is_called_off_ends_with_the_node_in_hand() {
    let world = World::running(2, "").await;
    for node in &world.nodes {
        node.touch("slow");
    }
    world.must(&["nodes", "restart"]).await;
    world
        .until("one is away", async || {
            let found = world.registered().await;
            if found.len() == 1 { Ok(()) } else { Err(found) }
        })
        .await;
    let said = world.must(&["nodes", "restart", "--cancel"]).await;
    assert!(said.contains("is off"), "{said}");
    for node in &world.nodes {
        node.remove("slow");
    }
    world.registered_become(&["n1", "n2"]).await;
    assert_eq!(restarts(&world).iter().sum::<usize>(), 1);
    assert_eq!(newest(&world).await["state"], json!("cancelled"));
}

#[tokio::test]
async fn a_node_waits_until_the_others_are_registered_and_the_sick_one_goes_first() {
    let world = World::running(2, "").await;
    // Only a restart mends it.
    world.nodes[1].kill_superset();
    std::fs::write(world.nodes[1].folder.join("pid"), "1").expect("writable");
    world.registered_become(&["n1"]).await;
    let script = world.nodes[1].folder.join("restart");
    let start = world.nodes[1].folder.join("start");
    let text = format!(
        "#!/bin/sh\necho again >>{0}/restarts\nrm -f {0}/pid\nexec {1}\n",
        world.nodes[1].folder.display(),
        start.display()
    );
    std::fs::write(script, text).expect("writable");
    let fewest = world.fewest().await;
    world.must(&["nodes", "restart", "--wait"]).await;
    assert_eq!(restarts(&world), [1, 1]);
    assert_eq!(fewest.end(), 1);
}
