//! Registries of other ensembles.

use std::time::Duration;

use agent::endpoints::Config;
use serde_json::json;
use testbed::Zookeeper;
use testbed::zookeeper::Options;

use super::world::{self, World};

#[tokio::test]
async fn another_ensemble_is_followed_and_while_it_is_away_what_was_chosen_stays() {
    let mut other = Zookeeper::start(Options::default()).await.unwrap();
    let config = Config { retry: Duration::from_millis(100), ..Config::default() };
    let mut world = World::start_with("elsewhere", config).await;
    let there = world::client(&other.connect()).await;
    world::register(&there, "/registry", "h1:1", 1).await;
    world::register(&there, "/registry", "h2:1", 2).await;
    let setting = json!({"connect": other.connect(), "path": "/registry", "settle": "0s"});
    world.follow("hive", setting).await;
    world.until_chosen("hive", "h1:1").await;
    assert_eq!(world.chosen("hive").await.unwrap()["from"]["connect"], json!(other.connect()));
    other.kill().await.unwrap();
    let told = world.until_told("hive", |told| !told.problems.is_empty()).await;
    assert!(told.problems[0].ends_with("; h1:1 stays"), "{told:?}");
    assert_eq!((told.registered, world.version("hive").await), (2, 0), "what it said last is told");
    other.restart().await.unwrap();
    let there = world::client(&other.connect()).await;
    world::deregister(&there, "/registry", "h1:1").await;
    world.until_chosen("hive", "h2:1").await;
    world.until_told("hive", |told| told.problems.is_empty()).await;
}

#[tokio::test]
async fn one_that_cannot_be_reached_is_told_and_holds_nobody_up() {
    let config = Config { retry: Duration::from_millis(50), ..Config::default() };
    let mut world = World::start_with("unreachable", config).await;
    world.register("h1:1", 1).await;
    world.follow("away", json!({"connect": "127.0.0.1:1", "path": "/registry"})).await;
    world.follow("hive", json!({})).await;
    world.until_chosen("hive", "h1:1").await;
    let told =
        world.until_told("away", |told| told.problems.iter().any(|one| one.contains("127.0.0.1:1"))).await;
    assert!(told.problems[0].contains("reach any of `127.0.0.1:1`"), "{told:?}");
    assert!(told.problems[0].ends_with("; nothing is chosen yet"), "{told:?}");
}

#[tokio::test]
async fn more_ensembles_than_may_be_are_told() {
    let config = Config { ensembles_max: 1, retry: Duration::from_millis(50), ..Config::default() };
    let mut world = World::start_with("many", config).await;
    world.follow("one", json!({"connect": "127.0.0.1:1", "path": "/a"})).await;
    world.until_told("one", |told| !told.problems.is_empty()).await;
    world.follow("two", json!({"connect": "127.0.0.1:2", "path": "/a"})).await;
    let of_bound =
        |told: &agent::endpoints::Told| told.problems.iter().any(|one| one.contains("ensembles_max"));
    world.until_told("two", of_bound).await;
}
