//! What cannot be read is no absence.

use serde_json::json;
use zookeeper_client::{Acl, Acls, AuthId, CreateMode, Permission};

use super::world::World;

#[tokio::test]
async fn when_the_registry_goes_empty_the_last_good_one_stays_and_that_is_told() {
    let mut world = World::start("empties").await;
    world.register("h1:1", 1).await;
    world.follow("hive", json!({"settle": "0s"})).await;
    world.until_chosen("hive", "h1:1").await;
    world.deregister("h1:1").await;
    let told = world.until_told("hive", |told| !told.problems.is_empty()).await;
    assert_eq!(told.problems, ["nothing is registered; h1:1 stays"]);
    assert_eq!(world.version("hive").await, 0);
    world.register("h2:1", 2).await;
    world.until_chosen("hive", "h2:1").await;
    world.until_told("hive", |told| told.problems.is_empty()).await;
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_told_and_followed_once_it_comes() {
    let mut world = World::start("missing").await;
    world.follow("hive", json!({"path": "/missing-later", "settle": "0s"})).await;
    let told =
        world.until_told("hive", |told| told.problems.iter().any(|one| one.contains("is not there"))).await;
    assert_eq!(
        told.problems,
        [
            "`/missing-later` is not there; nothing has registered yet, or the path is another; nothing is chosen yet"
        ]
    );
    world.register_at("/missing-later", "h1:1", 1).await;
    world.until_chosen("hive", "h1:1").await;
    world.remove_all("/missing-later").await;
    world.until_told("hive", |told| told.problems.iter().any(|one| one.ends_with("h1:1 stays"))).await;
    assert_eq!(world.version("hive").await, 0);
}

#[tokio::test]
async fn a_registry_that_may_not_be_read_is_told_and_what_was_chosen_stays() {
    let mut world = World::start("forbidden").await;
    world.register("h1:1", 1).await;
    world.follow("hive", json!({"settle": "0s"})).await;
    world.until_chosen("hive", "h1:1").await;
    let acl = [Acl::new(Permission::ALL, AuthId::new("digest", "other:nobody"))];
    let options = CreateMode::Persistent.with_acls(Acls::new(&acl));
    world.outside().create("/forbidden-other", b"", &options).await.unwrap();
    world.follow("hive", json!({"path": "/forbidden-other", "settle": "0s"})).await;
    let told = world
        .until_told("hive", |told| told.problems.iter().any(|one| one.contains("may not be read")))
        .await;
    assert_eq!(told.problems, ["`/forbidden-other` may not be read; give the worker READ on it; h1:1 stays"]);
    assert_eq!(world.version("hive").await, 0);
}

#[tokio::test]
async fn a_setting_with_a_fault_leaves_the_last_good_one_and_one_that_goes_ends_the_following() {
    let mut world = World::start("settings").await;
    world.register("h1:1", 1).await;
    world.follow("hive", json!({"settle": "0s"})).await;
    world.until_chosen("hive", "h1:1").await;
    world.put("settings/endpoints/hive", br#"{"v":1,"registry":"etcd","path":"/hive"}"#).await;
    let told = world.until_told("hive", |told| !told.problems.is_empty()).await;
    assert!(
        told.problems[0].starts_with("its setting cannot be read, the last good one counts: "),
        "{told:?}"
    );
    world.register("h2:1", 2).await;
    world.deregister("h1:1").await;
    world.until_chosen("hive", "h2:1").await;
    world.delete("settings/endpoints/hive").await;
    world.until_report(|report| report.endpoints.is_empty()).await;
    world.register("h3:1", 3).await;
    world.deregister("h2:1").await;
    // A second endpoint shows that all of that has been seen.
    world.follow("witness", json!({"settle": "0s"})).await;
    world.until_chosen("witness", "h3:1").await;
    assert_eq!(world.chosen("hive").await.unwrap()["chosen"], json!(["h2:1"]), "what was chosen stays");
}

#[tokio::test]
async fn what_is_chosen_and_cannot_be_read_is_not_written_over_until_it_is_gone() {
    let mut world = World::start("newer").await;
    world.register("h1:1", 1).await;
    world.put("endpoints/hive", br#"{"v":2}"#).await;
    world.follow("hive", json!({"settle": "0s"})).await;
    let told = world.until_told("hive", |told| !told.problems.is_empty()).await;
    assert!(told.problems[0].contains("is not written over"), "{told:?}");
    // A second endpoint shows that the registry has been seen.
    world.follow("witness", json!({"settle": "0s"})).await;
    world.until_chosen("witness", "h1:1").await;
    assert_eq!(world.chosen("hive").await.unwrap(), json!({"v": 2}));
    world.delete("endpoints/hive").await;
    world.until_chosen("hive", "h1:1").await;
}

#[tokio::test]
async fn one_bad_registration_is_told_and_the_others_are_chosen_from() {
    let mut world = World::start("bad").await;
    world.outside_put("/bad/what-is-this", b"").await;
    world.register("h1:1", 1).await;
    world.follow("hive", json!({})).await;
    world.until_chosen("hive", "h1:1").await;
    let told = world.until_told("hive", |told| told.chosen == ["h1:1"]).await;
    assert_eq!(
        told.problems,
        ["a registration cannot be used: `what-is-this`: its name holds no `serverUri=host:port`"]
    );
}
