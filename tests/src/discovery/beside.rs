//! The agent beside a Superset node keeps files and serves Prometheus too.

use super::fleet::{Backend, Fleet};
use crate::until::until;

/// The agent of the node `n1`, which is asked for its health at a port.
fn agent(port: u16) -> String {
    format!(
        "[agent]\ninstance = \"n1\"\naddress = \"127.0.0.1\"\nhealth_url = \"http://127.0.0.1:{port}/health\"\n\
         health_every = \"100ms\"\nhealth_timeout = \"1s\"\nfailures = 2\nlive_file = \"\"\n"
    )
}

const FILE: &str = "[[template]]\nsource = \"servers.j2\"\ntarget = \"servers\"\nmin_interval = \"50ms\"\n";
const NAMES: &str = "{% for s in service('superset') %}{{ s.instance }} {% endfor %}";

#[tokio::test]
async fn the_agent_keeps_its_files_whatever_becomes_of_its_node() {
    let node = Backend::start("OK").await;
    let fleet = Fleet::start(|_| format!("{}{FILE}", agent(node.port))).await;
    fleet.put("servers.j2", NAMES);
    let _other = fleet.register("superset", "other", 1).await;
    let _agent = fleet.run(&["agent"]);
    fleet.holds("servers", "n1 other ").await;
    drop(node);
    fleet.holds("servers", "other ").await;
    let _third = fleet.register("superset", "third", 3).await;
    fleet.holds("servers", "other third ").await;
}

#[tokio::test]
async fn an_agent_without_templates_serves_prometheus_all_the_same() {
    let node = Backend::start("OK").await;
    let fleet = Fleet::start(|_| agent(node.port)).await;
    let agent = fleet.run(&["agent"]);
    until("the node is served", async || match agent.page("sd/prometheus/superset").await {
        (200, text) if text.contains(&format!("127.0.0.1:{}", node.port)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
