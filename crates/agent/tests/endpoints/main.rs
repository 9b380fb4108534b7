//! The elected worker on a real ZooKeeper: settings and registrations in, `endpoints/<name>` and the report out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

mod elsewhere;
mod faults;
mod world;

use std::time::Duration;

use agent::check;
use agent::endpoints::Config;
use serde_json::json;
use tokio::net::TcpListener;
use world::World;

#[tokio::test]
async fn when_the_chosen_one_goes_another_is_written_with_the_reason() {
    let mut world = World::start("goes").await;
    world.register("h1:10000", 1).await;
    world.register("h2:10000", 2).await;
    world.follow("hive", json!({"settle": "300ms"})).await;
    world.until_chosen("hive", "h1:10000").await;
    assert_eq!(world.reason("hive").await, "h1:10000, as nothing was chosen");
    let gone = tokio::time::Instant::now();
    world.deregister("h1:10000").await;
    world.until_chosen("hive", "h2:10000").await;
    assert!(gone.elapsed() >= Duration::from_millis(300), "not before `settle`");
    assert_eq!(world.reason("hive").await, "h2:10000 instead of h1:10000, whose znode is gone");
    let chosen = world.chosen("hive").await.unwrap();
    assert_eq!(chosen["from"]["nodes"], json!(["serverUri=h2:10000;version=4;sequence=0000000002"]));
    world.until_told("hive", |told| told.problems.is_empty() && told.registered == 1).await;
}

#[tokio::test]
async fn one_that_comes_and_goes_moves_nothing() {
    let mut world = World::start("flaps").await;
    world.register("h2:10000", 2).await;
    world.follow("hive", json!({"choose": "first", "settle": "2s", "min_hold": "0s"})).await;
    world.until_chosen("hive", "h2:10000").await;
    for _ in 0..10 {
        world.deregister("h2:10000").await;
        world.until_told("hive", |told| told.registered == 0).await;
        world.register("h2:10000", 2).await;
        world.until_told("hive", |told| told.registered == 1).await;
    }
    assert_eq!(world.version("hive").await, 0, "written once");
}

#[tokio::test]
async fn all_of_them_are_written_in_one_and_the_same_order() {
    let mut world = World::start("all").await;
    for (host, sequence) in [("h1:1", 1), ("h2:1", 2), ("h3:1", 3)] {
        world.register(host, sequence).await;
    }
    world.follow("hive", json!({"choose": "all", "settle": "0s", "min_hold": "0s"})).await;
    world.until_chosen("hive", "h1:1,h2:1,h3:1").await;
    world.deregister("h2:1").await;
    world.until_chosen("hive", "h1:1,h3:1").await;
    assert_eq!(world.reason("hive").await, "h1:1,h3:1 instead of h1:1,h2:1,h3:1; of h2:1 the znode is gone");
}

#[tokio::test]
async fn an_instance_has_to_answer_before_it_is_chosen_and_while_it_is() {
    let check = check::Config { every: Duration::from_millis(20), failures: 2, ..check::Config::default() };
    let mut world = World::start_with("checks", Config { check, ..Config::default() }).await;
    let (first, second) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (first_at, second_at) =
        (first.local_addr().unwrap().to_string(), second.local_addr().unwrap().to_string());
    world.register("127.0.0.1:1", 1).await;
    world.register(&first_at, 2).await;
    world.follow("hive", json!({"check": {"tcp": true}, "settle": "50ms"})).await;
    world.until_chosen("hive", &first_at).await;
    world.register(&second_at, 3).await;
    world.until_told("hive", |told| told.registered == 3 && told.healthy == 2).await;
    drop(first);
    world.until_chosen("hive", &second_at).await;
    assert_eq!(world.reason("hive").await, format!("{second_at} instead of {first_at}, whose check fails"));
    drop(second);
    let told = world.until_told("hive", |told| told.healthy == 0 && !told.problems.is_empty()).await;
    assert_eq!(told.problems, [format!("no instance passes its check; {second_at} stays")]);
    assert!(told.instances.iter().all(|one| one.health == "failing" && one.why.is_some()), "{told:?}");
}

#[tokio::test]
async fn endpoints_that_follow_one_registry_each_have_their_own_choice() {
    let mut world = World::start("shared").await;
    world.register("h1:1", 1).await;
    world.follow("a", json!({"settle": "0s"})).await;
    world.follow("b", json!({"settle": "0s", "choose": "random"})).await;
    world.until_chosen("a", "h1:1").await;
    world.until_chosen("b", "h1:1").await;
    world.register("h2:1", 2).await;
    world.deregister("h1:1").await;
    world.until_chosen("a", "h2:1").await;
    world.until_chosen("b", "h2:1").await;
}

#[tokio::test]
async fn what_somebody_else_writes_is_read_and_stays_if_it_is_registered() {
    let mut world = World::start("foreign").await;
    world.register("h1:1", 1).await;
    world.register("h2:1", 2).await;
    world.follow("hive", json!({"settle": "200ms"})).await;
    world.until_chosen("hive", "h1:1").await;
    world
        .put("endpoints/hive", json!({"v": 1, "endpoint": "hive", "chosen": ["h2:1"]}).to_string().as_bytes())
        .await;
    world.until_told("hive", |told| told.chosen == ["h2:1"]).await;
    // A host that nobody has registered is replaced as one that is gone.
    world
        .put("endpoints/hive", json!({"v": 1, "endpoint": "hive", "chosen": ["h9:1"]}).to_string().as_bytes())
        .await;
    world.until_chosen("hive", "h1:1").await;
    assert_eq!(world.reason("hive").await, "h1:1 instead of h9:1, whose znode is gone");
    world.put("endpoints/hive", b"no JSON").await;
    world
        .until_told("hive", |told| told.problems.iter().any(|one| one.contains("is not written over")))
        .await;
    world.delete("endpoints/hive").await;
    world.until_chosen("hive", "h1:1").await;
    assert_eq!(world.version("hive").await, 0, "a new life");
}

#[tokio::test]
async fn a_new_worker_goes_on_with_what_stands() {
    let mut world = World::start("takeover").await;
    world.register("h2:1", 2).await;
    world.follow("hive", json!({"settle": "0s"})).await;
    world.until_chosen("hive", "h2:1").await;
    world.register("h1:1", 1).await;
    world.stop().await;
    world.resume().await;
    world.until_told("hive", |told| told.registered == 2 && told.chosen == ["h2:1"]).await;
    assert_eq!(world.version("hive").await, 0, "nothing moved");
    world.deregister("h2:1").await;
    world.until_chosen("hive", "h1:1").await;
}
