//! What a worker that lost its place, or its term, leaves alone.

use queue::Queue;

use super::road::{BASE, On, Road};
use crate::run::Error;
use crate::target::{ApplyError, Target};

#[tokio::test]
async fn the_end_of_a_resync_whose_middle_was_lost_deletes_nothing() {
    for on in [On::Sqlite, On::Postgres] {
        let mut road = Road::new(on).await;
        road.append(&format!("{BASE}begin 1\n=databases/db")).await;
        road.run().await;
        // The log that is left has lost what the resync put next.
        let left = queue::Config::new(road.folder.path().join("left.db"));
        road.queue = Queue::embedded(&left).await.expect("a queue");
        road.told = 0;
        road.append("=dashboards/d\nend 1").await;
        let error = road.applier().await.step().await.expect_err("lost");
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        road.applier().await.skip_to_first().await.expect("skipped");
        road.run().await;
        assert_eq!(
            road.lines("SELECT count(*) FROM setkeeper_asset WHERE pending_want = 'delete'").await,
            ["0"]
        );
        assert_eq!(road.lines("SELECT slice_name FROM slices").await, ["c"]);
        assert_eq!(road.lines("SELECT table_name FROM tables").await, ["t"]);
    }
}

#[tokio::test]
async fn a_worker_whose_term_is_over_forgets_nothing() {
    for on in [On::Sqlite, On::Postgres] {
        let mut road = Road::new(on).await;
        road.append(BASE).await;
        let open = Target::open(road.database.clone(), road.config.target.clone());
        let (older, old) = (open.await.expect("a target"), road.fence);
        road.fence.czxid += 1;
        road.run().await;
        road.by_hand(
            "INSERT INTO setkeeper_outbox (sequence, key, headers, body) VALUES (1, 'k', '{}', '{}')",
        )
        .await;
        let refused = older.forget_outcomes(9, old).await.expect_err("fenced");
        assert!(matches!(refused, ApplyError::Fenced { .. }), "{refused}");
        assert_eq!(road.lines("SELECT key FROM setkeeper_outbox").await, ["k"]);
        older.forget_outcomes(9, road.fence).await.expect("its own");
        assert_eq!(road.lines("SELECT count(*) FROM setkeeper_outbox").await, ["0"]);
    }
}

#[tokio::test]
async fn an_old_resync_that_is_read_again_brings_nothing_back() {
    for on in [On::Sqlite, On::Postgres] {
        let mut road = Road::new(on).await;
        let resync = "begin 1\n=databases/db\n=datasets/t\n=charts/c\n=dashboards/d\nend 1\n";
        road.append(&format!("{BASE}{resync}after 1m\n-dashboards/d")).await;
        road.run().await;
        road.told().await;
        // As where the log is an older copy: what is left of it is read from its start.
        road.by_hand("UPDATE setkeeper_stream SET position = NULL").await;
        road.run().await;
        let told = road.told().await;
        assert!(told.iter().all(|line| line.ends_with(" skipped")), "{told:?}");
        assert_eq!(road.lines("SELECT count(*) FROM dashboards").await, ["0"]);
    }
}
