//! Work that a bound stops when it is done at once, and bytes that nobody can read.

use std::time::Duration;

use change::{Topic, wire};
use queue::Queue;
use sql::Database;
use tokio_util::sync::CancellationToken;

use super::road::{BASE, ENV, On, Road};
use crate::ledger::status;
use crate::run::{Advice, Error, Stopped};
use crate::work::Policy;

#[tokio::test]
async fn a_batch_that_takes_over_and_deletes_many_rows_of_others_lacks_nothing() {
    for on in [On::Sqlite, On::Postgres] {
        let mut road = Road::new(on).await;
        road.config.target.policy = Policy { guard_count: 1000, ..Policy::default() };
        let puts: Vec<String> = (100..160).map(|n| format!("+charts/x{n}#{n}")).collect();
        road.append(&format!("{BASE}{}", puts.join(" ; "))).await;
        road.run().await;
        road.by_hand("DELETE FROM setkeeper_reference WHERE path LIKE 'assets/main/charts/x%'").await;
        road.by_hand("DELETE FROM setkeeper_asset WHERE path LIKE 'assets/main/charts/x%'").await;
        let pairs: Vec<String> =
            (100..160).map(|n| format!("+charts/z{n}#{n}\n-charts/z{n}\n+charts/y#{n}")).collect();
        road.append(&pairs.join("\n")).await;
        assert_eq!(road.applier().await.step().await.expect("applied in one"), 180);
        assert_eq!(road.lines("SELECT slice_name FROM slices ORDER BY id").await, ["c", "y"]);
    }
}

#[tokio::test]
async fn a_batch_that_takes_the_database_too_long_is_applied_in_parts() {
    let mut road = Road::new(On::Postgres).await;
    road.append(BASE).await;
    road.run().await;
    road.told().await;
    road.by_hand(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE INSERT ON slices FOR EACH ROW EXECUTE FUNCTION slow();",
    )
    .await;
    let config = sql::Config { statement_timeout: Duration::from_millis(1800), ..sql::Config::default() };
    road.database = Database::connect(&road.url, config).await.expect("a database");
    let puts: Vec<String> = (10..16).map(|n| format!("+charts/c{n}#{n}")).collect();
    road.append(&puts.join("\n")).await;
    assert_eq!(road.applier().await.step().await.expect("applied"), 6);
    assert_eq!(road.told().await.len(), 6);
    assert_eq!(road.lines("SELECT count(*) FROM slices").await, ["7"]);
}

#[tokio::test]
async fn a_value_that_is_not_of_its_columns_type_is_overwritten_like_any_other() {
    for odd in [
        "UPDATE slices SET cache_timeout = 'soon'",
        "UPDATE slices SET is_managed_externally = 2",
        "UPDATE slices SET changed_on = '2026-01-01T00:00:00Z'",
        "UPDATE slices SET description = X'00ff'",
        "UPDATE slices SET cache_timeout = 1.5; UPDATE dbs SET expose_in_sqllab = 'yes'",
        "UPDATE slices SET uuid = X'00'",
        "UPDATE tables SET schema_perm = X'00'; UPDATE dashboards SET published = 7",
    ] {
        let mut road = Road::new(On::Sqlite).await;
        road.append(BASE).await;
        road.run().await;
        road.by_hand(odd).await;
        road.append(
            "+databases/db#1 name=other ; +datasets/t#2 name=two ; +charts/c#3 name=two ; +dashboards/d#4 charts=3 name=two",
        )
        .await;
        road.run().await;
        let told = road.told().await;
        assert_eq!(told.iter().filter(|line| line.contains("@1.1 applied")).count(), 4, "{odd}: {told:?}");
        let good = "SELECT count(*) FROM slices WHERE slice_name = 'two' AND cache_timeout IS NULL \
                    AND is_managed_externally = 0 AND length(changed_on) = 26 AND description IS NULL";
        assert_eq!(road.lines(good).await, ["1"], "{odd}");
    }
}

#[tokio::test]
async fn a_worker_that_waits_for_room_for_its_outcomes_stops_when_asked_and_the_next_one_relays_them() {
    let mut road = Road::new(On::Sqlite).await;
    let config = queue::Config { max_records: 4, ..queue::Config::new(road.folder.path().join("small.db")) };
    road.queue = Queue::embedded(&config).await.expect("a queue");
    let outcomes = Topic::Outcomes.name(ENV);
    let nothing = queue::NewEntry { key: String::new(), headers: "{}".to_owned(), body: b"{}".to_vec() };
    road.queue.append(&outcomes, None, &vec![nothing; 4]).await.expect("filled");
    road.append(BASE).await;
    // The second begins with what the first one left.
    for _ in 0..2 {
        let applier = road.applier().await;
        let stop = CancellationToken::new();
        let running = tokio::spawn(applier.run(stop.clone()));
        let outbox = async {
            while status(&road.database, None).await.expect("a status").outbox < 4 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), outbox).await.expect("applied in time");
        stop.cancel();
        let stopped = tokio::time::timeout(Duration::from_secs(20), running).await.expect("in time");
        assert_eq!(stopped.expect("joined").expect("stopped"), Stopped::Asked);
    }
    assert_eq!(road.queue.trim(&outcomes, 5, Duration::ZERO, 4).await.expect("trimmed"), 4);
    road.run().await;
    assert_eq!(road.told().await.len(), 4);
    assert_eq!(status(&road.database, None).await.expect("a status").outbox, 0);
}

/// Appends an entry as a stranger, or a fault of the disk, may leave it.
async fn append_odd(road: &mut Road, fence: Option<queue::Fence>, body: &[u8], kind: Option<&str>) {
    let read = road.notation.read("+charts/odd#9").pop().expect("a record");
    let wire::Encoded { key, headers, .. } = wire::encode(ENV, read.fence, &read.record);
    let headers = kind.map_or(headers.clone(), |kind| headers.replace("dev.setkeeper.txn.v1", kind));
    let entry = queue::NewEntry { key, headers, body: body.to_vec() };
    road.queue.append(&Topic::Changes.name(ENV), fence, &[entry]).await.expect("appended");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_passed_over_once_a_resync_is_asked_for() {
    let ours = Some(queue::Fence(1, 1));
    for (fence, body) in [(ours, &b"{"[..]), (None, &b"{}"[..])] {
        let mut road = Road::new(On::Sqlite).await;
        road.append(&format!("{BASE}begin 1\n=databases/db")).await;
        append_odd(&mut road, fence, body, None).await;
        road.append("=dashboards/d\nend 1\n+charts/e#5").await;
        let mut applier = road.applier().await;
        let error = loop {
            match applier.step().await {
                Ok(read) => assert!(read > 0, "the end was reached"),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, Error::Decode { offset: 4, .. } | Error::Unfenced { offset: 4, .. }),
            "{error}"
        );
        assert_eq!(error.advice(), Advice::Resync);
        assert_eq!(road.told().await.len(), 5, "what came before it is applied");
        road.applier().await.skip(&error).await.expect("passed over");
        road.run().await;
        // The resync may have lost a put with it, so its end deletes nothing.
        assert_eq!(road.told().await, ["dashboards/d@1.0 skipped", "charts/e@5.0 applied"]);
        assert_eq!(road.lines("SELECT count(*) FROM tables").await, ["1"]);
    }
}

#[tokio::test]
async fn a_record_of_a_version_to_come_stops_the_worker() {
    let mut road = Road::new(On::Sqlite).await;
    road.append(BASE).await;
    append_odd(&mut road, Some(queue::Fence(1, 1)), b"{}", Some("dev.setkeeper.txn.v2")).await;
    let error = road.applier().await.step().await.expect_err("unknown");
    assert_eq!(error.advice(), Advice::Stop, "{error}");
    assert_eq!(road.told().await.len(), 4, "what comes before it is applied");
}
