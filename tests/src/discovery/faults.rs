//! What goes wrong leaves the last good file, and is told.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::fleet::Fleet;
use crate::until::until;

/// A template of ours, and a log of reloads.
fn of_a_file(folder: &Path) -> String {
    let at = folder.display();
    format!(
        "[[template]]\nsource = \"servers.j2\"\ntarget = \"servers\"\nmin_interval = \"50ms\"\nretry = \"200ms\"\n\
         reload = [\"sh\", \"-c\", \"echo reloaded >> {at}/reloads\"]\n"
    )
}

const GOOD: &str = "{% for s in service('superset') %}{{ s.instance }} {% endfor %}";

#[tokio::test]
async fn a_spoilt_template_keeps_the_last_good_file_and_everybody_is_told() {
    let fleet = Fleet::start(of_a_file).await;
    fleet.put("servers.j2", GOOD);
    let _one = fleet.register("superset", "one", 1).await;
    let keeper = fleet.run(&["template", "run"]);
    fleet.holds("servers", "one ").await;
    fleet.stands("fresh").await;

    fleet.put("servers.j2", &GOOD.replace("s.instance", "s.instanc"));
    let _two = fleet.register("superset", "two", 2).await;
    let status = fleet.stands("failed").await;
    assert_eq!(fleet.get("servers"), "one ");
    let why = status["reason"].as_str().expect("a reason");
    let place = format!("{}:1: undefined value", fleet.at("servers.j2").display());
    assert!(why.starts_with(&place), "{why}");
    let sample = format!("setkeeper_template_failed{{file=\"{}\"}}", fleet.at("servers").display());
    assert_eq!(keeper.metric(&sample).await, Some(1.0));
    let (code, ready) = keeper.page("readyz").await;
    assert!(code == 200 && ready.contains("undefined value"), "{code} {ready}");
    let (code, printed, _) = fleet.ends(&["status"]).await;
    assert!(code == 2 && printed.contains("TROUBLE: the file "), "{printed}");

    // Mended on the disk alone.
    fleet.put("servers.j2", GOOD);
    fleet.holds("servers", "one two ").await;
    fleet.stands("fresh").await;
    assert_eq!(keeper.metric(&sample).await, Some(0.0));
    assert_eq!(fleet.get("reloads"), "reloaded\nreloaded\n");
}

#[tokio::test]
async fn wrong_syntax_is_told_by_check_with_file_and_line() {
    let fleet = Fleet::start(of_a_file).await;
    fleet.put("servers.j2", "fine\n{% for s in service('superset') %}\n");
    let (code, printed, said) = fleet.ends(&["check", "-o", "json"]).await;
    let place = format!("{}:", fleet.at("servers.j2").display());
    assert!(code == 2 && printed.contains(&place) && printed.contains("syntax error"), "{printed}{said}");
    fleet.put("servers.j2", GOOD);
    let (code, printed, said) = fleet.ends(&["check"]).await;
    assert!(code == 0 && printed.contains("looks into services"), "{printed}{said}");
}

#[tokio::test]
async fn a_lost_zookeeper_loses_no_file_and_what_came_meanwhile_is_caught_up_with() {
    let mut fleet = Fleet::start(of_a_file).await;
    fleet.put("servers.j2", GOOD);
    let one = fleet.register("superset", "one", 1).await;
    let _two = fleet.register("superset", "two", 2).await;
    let keeper = fleet.run(&["template", "run"]);
    fleet.holds("servers", "one two ").await;
    let age = "setkeeper_discovery_age_seconds";
    assert_eq!(keeper.metric(age).await, Some(0.0));
    fleet.zookeeper.kill().await.expect("it ran");
    until("the age grows", async || match keeper.metric(age).await {
        Some(seconds) if seconds > 0.5 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(fleet.get("servers"), "one two ");
    let (code, listed) = keeper.page("sd/prometheus/superset").await;
    assert!(code == 200 && listed.contains("127.0.0.1:2"), "{code} {listed}");
    fleet.zookeeper.restart().await.expect("it starts");
    drop(one);
    until("the age is none again", async || match keeper.metric(age).await {
        Some(0.0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // The test's own session may have expired meanwhile, and its registrations with it: new ones, in a new one.
    fleet.session = crate::pipeline::connect(&fleet.zookeeper.connect()).await;
    let _three = fleet.register("superset", "three", 3).await;
    until("the new one is in the file, and not the one that left", async || {
        let text = fleet.get("servers");
        if text.contains("three") && !text.contains("one") { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn a_service_that_may_not_be_read_is_no_empty_service() {
    use zookeeper_client::{Acl, AuthId, Permission};
    let fleet = Fleet::start(of_a_file).await;
    fleet.put("servers.j2", &GOOD.replace("'superset'", "'superset', required=false"));
    let _one = fleet.register("superset", "one", 1).await;
    let keeper = fleet.run(&["template", "run"]);
    fleet.holds("servers", "one ").await;
    drop(keeper);
    let nobody = [Acl::new(Permission::ALL, AuthId::new("digest", "nobody:x"))];
    fleet.session.client().set_acl("/services/superset/one", &nobody, None).await.expect("set");
    let _two = fleet.register("superset", "two", 2).await;
    let _keeper = fleet.run(&["template", "run"]);
    until("the refusal is told", async || {
        let status = fleet.status().await;
        let told =
            status["reason"].as_str().is_some_and(|why| why.contains("refuses `services/superset/one`"));
        if told && status["state"] == "kept" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    assert_eq!(fleet.get("servers"), "one ");
    let (code, _, said) = fleet.ends(&["discover", "superset", "-o", "json"]).await;
    assert!(code == 1 && said.contains("refuses `services/superset/one`"), "{code} {said}");
}

#[tokio::test]
async fn a_second_program_does_not_write_the_same_file() {
    let fleet = Fleet::start(of_a_file).await;
    fleet.put("servers.j2", GOOD);
    let _one = fleet.register("superset", "one", 1).await;
    let first = fleet.run(&["template", "run"]);
    fleet.holds("servers", "one ").await;
    let second = fleet.run(&["template", "run"]);
    until("the second one says so", async || {
        let (_, ready) = second.page("readyz").await;
        if ready.contains("another setkeeper on this machine") { Ok(()) } else { Err(ready) }
    })
    .await;
    // The first one's end, however it comes, is the second one's turn.
    drop(first);
    let _two = fleet.register("superset", "two", 2).await;
    fleet.holds("servers", "one two ").await;
}

#[tokio::test]
async fn a_program_whose_session_expired_comes_back_in_a_new_one() {
    let fleet = Fleet::start(of_a_file).await;
    fleet.put("servers.j2", GOOD);
    let _one = fleet.register("superset", "one", 1).await;
    let keeper = fleet.run(&["template", "run"]);
    fleet.holds("servers", "one ").await;
    fleet.stands("fresh").await;
    keeper.signal(Signal::STOP);
    until("its report is gone with its session", async || match fleet.status().await {
        Value::Null => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
    let _two = fleet.register("superset", "two", 2).await;
    keeper.signal(Signal::CONT);
    fleet.holds("servers", "one two ").await;
    let status = fleet.stands("fresh").await;
    assert_eq!(status["reason"], Value::Null);
}
