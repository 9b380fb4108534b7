//! What happens while nothing may be applied, and the one batch that it makes.

use change::ChangeId;

use super::world::{json, page};
use crate::pipeline::documents::{chart, database, dataset, with};
use crate::pipeline::{Metadata, Options, Pipeline, Role};

super::alone![
    a_pause_holds_what_is_recorded_and_its_batch_keeps_the_last_good_version,
    a_worker_that_is_asked_to_stop_ends_in_time_and_the_next_goes_on,
];

async fn recorded(pipeline: &Pipeline, id: &ChangeId) {
    let sql = format!("SELECT seq FROM audit_change WHERE change_id = '{id}'");
    pipeline
        .until("the change is on record", async || {
            if pipeline.audit(&sql).await.is_empty() { Err("not recorded") } else { Ok(()) }
        })
        .await;
}

async fn a_pause_holds_what_is_recorded_and_its_batch_keeps_the_last_good_version(metadata: Metadata) {
    let pipeline = Pipeline::start(metadata, Options::default()).await;
    pipeline.put("assets/main/databases/wh", &database(1)).await;
    pipeline.put("assets/main/datasets/sales", &dataset(1, 1)).await;
    for (at, n) in [("a", 1), ("b", 2), ("c", 3)] {
        pipeline.put(&format!("assets/main/charts/{at}"), &chart(n, 1)).await;
    }
    pipeline.await_equal().await;
    pipeline.must(&["pause", "--author", "ana", "-m", "an upgrade"]).await;
    pipeline
        .until("the applier stands still", async || {
            let ready = json(&page(&pipeline, "readyz").await);
            if ready["applier-superset"]["state"] == "paused" { Ok(()) } else { Err(ready) }
        })
        .await;
    let described = |n, text: &str| with(chart(n, 1), "description", text);
    let good = pipeline.put("assets/main/charts/a", &described(1, "good")).await;
    recorded(&pipeline, &good).await;
    let bad = pipeline.put_bytes("assets/main/charts/a", b"{ oops").await;
    recorded(&pipeline, &bad).await;
    let first = pipeline.put("assets/main/charts/b", &described(2, "first")).await;
    recorded(&pipeline, &first).await;
    let last = pipeline.put("assets/main/charts/b", &described(2, "last")).await;
    recorded(&pipeline, &last).await;
    let gone = pipeline.delete("assets/main/charts/c").await;
    recorded(&pipeline, &gone).await;
    let back = pipeline.put("assets/main/charts/c", &described(3, "back")).await;
    recorded(&pipeline, &back).await;
    let shown = "SELECT slice_name, description FROM slices ORDER BY slice_name";
    assert_eq!(pipeline.superset(shown).await.concat().join(" "), "chart 1 NULL chart 2 NULL chart 3 NULL");
    let status = json(&pipeline.must(&["status", "-o", "json"]).await);
    assert_eq!((&status["paused"]["by"], &status["paused"]["reason"]), (&"ana".into(), &"an upgrade".into()));
    pipeline.must(&["resume"]).await;
    pipeline.await_outcome(&good, "applied").await;
    let rejected = pipeline.await_outcome(&bad, "rejected").await;
    assert!(rejected.reason.contains("line 1 column 3"), "{rejected:?}");
    pipeline.await_outcome(&first, "superseded").await;
    pipeline.await_outcome(&last, "applied").await;
    pipeline.await_outcome(&gone, "superseded").await;
    pipeline.await_outcome(&back, "applied").await;
    assert_eq!(pipeline.superset(shown).await.concat().join(" "), "chart 1 good chart 2 last chart 3 back");
    pipeline.put("assets/main/charts/a", &described(1, "mended")).await;
    pipeline.await_equal().await;
    pipeline.must(&["verify"]).await;
}

async fn a_worker_that_is_asked_to_stop_ends_in_time_and_the_next_goes_on(metadata: Metadata) {
    let mut pipeline = Pipeline::start(metadata, Options::default()).await;
    pipeline.put("assets/main/databases/wh", &database(1)).await;
    pipeline.await_equal().await;
    let ended = pipeline.worker(Role::All).stop().await;
    assert_eq!(ended.code(), Some(0));
    let status = pipeline.setkeeper(&["status"]).await;
    let told = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.code() == Some(2) && told.contains("TROUBLE: no watcher is elected"), "{told}");
    pipeline.put("assets/main/databases/wh", &with(database(1), "cache_timeout", 60)).await;
    let gone = pipeline.put("assets/main/databases/comes-and-goes", &database(2)).await;
    pipeline.delete("assets/main/databases/comes-and-goes").await;
    pipeline.start_worker(Role::All).await;
    pipeline.await_equal().await;
    let cached = "SELECT database_name, cache_timeout FROM dbs WHERE database_name LIKE 'warehouse%'";
    assert_eq!(pipeline.superset(cached).await, [["warehouse 1", "60"]]);
    assert!(pipeline.outcomes(&gone).await.is_empty());
    // A second process stands by, and takes over.
    let mut standby = pipeline.launcher.spawn(Role::All, &[]);
    pipeline.kill_worker(Role::All).await;
    pipeline.put("assets/main/databases/wh", &with(database(1), "cache_timeout", 61)).await;
    pipeline.await_equal().await;
    assert_eq!(standby.stop().await.code(), Some(0));
}
