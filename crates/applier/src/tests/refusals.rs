//! What the database itself refuses, and what others do to it while a transaction is under way.

use std::time::Duration;

use sql::{Database, Mode, Values};

use super::road::{BASE, On, Road};
use crate::work::Selection;

/// How many ids of charts the attempts have drawn.
async fn drawn(road: &Road) -> i64 {
    let lines = road.lines("SELECT last_value FROM slices_id_seq").await;
    lines[0].parse().expect("a number")
}

#[tokio::test]
async fn of_a_record_of_many_those_alone_are_rejected_that_the_database_refuses() {
    let mut road = Road::new(On::Postgres).await;
    let (long, longer) = ("x".repeat(300), "y".repeat(245));
    let mut puts: Vec<String> = (10..40).map(|n| format!("+charts/c{n}#{n}")).collect();
    puts[3] += &format!(" name={long}");
    puts[20] += &format!(" name={long}");
    // Its own row has room for the name; that of the right to it has not.
    puts.push(format!("+datasets/w#60 name={longer}"));
    puts.push("+charts/on#61 ds=60".to_owned());
    road.append(&format!("{BASE}{}", puts.join(" ; "))).await;
    road.applier().await.step().await.expect("applied");
    let told = road.told().await;
    let refused: Vec<&str> = told
        .iter()
        .filter(|line| line.contains("rejected: the database refuses it"))
        .map(|line| line.split_once('@').expect("a change").0)
        .collect();
    assert_eq!(refused, ["charts/c13", "charts/c30", "datasets/w"], "{told:?}");
    assert!(told.iter().any(|line| line.starts_with("charts/on@2.0 held: dataset #3c")), "{told:?}");
    assert_eq!(road.lines("SELECT count(*) FROM slices").await, ["29"]);
    let attempts = drawn(&road).await / 30;
    assert!(attempts <= 7, "{attempts} attempts for three that are refused");
}

#[tokio::test]
async fn what_the_database_refuses_is_tried_again_a_little_at_a_time_and_at_last_passes() {
    let mut road = Road::new(On::Postgres).await;
    let long = "x".repeat(300);
    let puts: Vec<String> = (10..16).map(|n| format!("+charts/c{n}#{n} name={long}{n}")).collect();
    road.append(&format!("{BASE}{}", puts.join(" ; "))).await;
    let mut applier = road.applier().await;
    while applier.step().await.expect("applied") > 0 {}
    assert_eq!(road.told().await.iter().filter(|line| line.contains("refuses it")).count(), 6);
    let before = drawn(&road).await;
    applier.reconcile(Selection::Pending).await.expect("looked at again");
    let attempts = (drawn(&road).await - before) / 6;
    assert!(attempts <= 3, "{attempts} attempts to try one of them again");
    assert_eq!(road.told().await, [""; 0]);
    road.by_hand("ALTER TABLE slices ALTER slice_name TYPE text").await;
    for _ in 0..6 {
        applier.reconcile(Selection::Pending).await.expect("looked at again");
    }
    assert_eq!(road.told().await.iter().filter(|line| line.contains("applied (reconciled)")).count(), 6);
}

/// Runs one step while somebody else has executed `theirs` and commits it once the step waits for it.
async fn meanwhile(road: &Road, theirs: &str) {
    let other = Database::connect(&road.url, sql::Config::default()).await.expect("a database");
    let mut transaction = other.begin(Mode::Write).await.expect("a transaction");
    transaction.execute_script(theirs).await.expect("executed");
    let mut applier = road.applier().await;
    let step = tokio::spawn(async move {
        let done = applier.step().await;
        done.map(drop)
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let watcher = Database::connect(&road.url, sql::Config::default()).await.expect("a database");
    let blocked = async {
        loop {
            let mut looking = watcher.begin(Mode::Read).await.expect("a transaction");
            let rows = looking.fetch(waits, Values(Vec::new())).await.expect("rows");
            looking.rollback().await;
            if rows[0][0] == sql::Value::BigInt(Some(1)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), blocked).await.expect("the step waits");
    transaction.commit().await.expect("committed");
    step.await.expect("joined").expect("applied");
}

#[tokio::test]
async fn a_row_that_somebody_deletes_meanwhile_is_made_again() {
    let mut road = Road::new(On::Postgres).await;
    road.append(BASE).await;
    road.run().await;
    road.told().await;
    road.append("+charts/c#3 name=two").await;
    meanwhile(&road, "DELETE FROM dashboard_slices; DELETE FROM slices").await;
    assert_eq!(road.told().await, ["charts/c@1.1 applied also dashboards/d"]);
    assert_eq!(road.lines("SELECT slice_name FROM slices").await, ["two"]);
}

#[tokio::test]
async fn a_right_that_somebody_makes_meanwhile_is_used() {
    let mut road = Road::new(On::Postgres).await;
    road.append("+databases/db#1\n").await;
    road.run().await;
    road.told().await;
    road.append("+datasets/t#2").await;
    meanwhile(
        &road,
        "INSERT INTO ab_view_menu (id, name) VALUES (nextval('ab_view_menu_id_seq'), '[db].[public]')",
    )
    .await;
    assert_eq!(road.told().await, ["datasets/t@2.0 applied"]);
    assert_eq!(road.lines("SELECT count(*) FROM ab_view_menu WHERE name = '[db].[public]'").await, ["1"]);
}

#[tokio::test]
async fn a_name_that_somebody_takes_meanwhile_is_waited_for() {
    let mut road = Road::new(On::Postgres).await;
    road.append("+databases/db#1 name=taken").await;
    meanwhile(
        &road,
        "INSERT INTO dbs (database_name, sqlalchemy_uri, uuid) VALUES ('taken', 'x://', gen_random_uuid())",
    )
    .await;
    let told = road.told().await;
    assert!(told[0].contains("rejected: give database the database_name `taken`"), "{told:?}");
}
