//! Everything is sent once more: with changes in between, and cut off in the middle.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use zookeeper_client::{Acls, CreateMode};

use crate::pipeline::documents::{chart, database, dataset, with};
use crate::pipeline::{Metadata, Options, Pipeline, Program, Role};

super::alone![
    a_resync_with_live_changes_between_ends_where_zookeeper_does,
    a_resync_that_is_cut_off_deletes_nothing_and_the_next_one_is_whole,
    a_tree_larger_than_the_queue_is_sent_while_the_auditor_trims,
];

/// More than the watcher appends in one go.
const SETTINGS: usize = 700;

async fn ground(pipeline: &Pipeline) {
    // Each in a transaction of its own, and so in a record of its own.
    let first = "settings/config/KEY_0";
    pipeline.put(first, &json!(0)).await;
    let mut creates = JoinSet::new();
    for n in 1..SETTINGS {
        let client = pipeline.session.client().clone();
        creates.spawn(async move {
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            client.create(&format!("/settings/config/KEY_{n}"), b"1", &options).await.expect("a create");
        });
    }
    creates.join_all().await;
    pipeline.put("assets/main/databases/wh", &database(1)).await;
    pipeline.put("assets/main/datasets/sales", &dataset(1, 1)).await;
    for n in 1..=5 {
        pipeline.put(&format!("assets/main/charts/c{n}"), &chart(n, 1)).await;
    }
    pipeline.await_equal().await;
}

/// No request for a resync waits any more.
async fn served(pipeline: &Pipeline) {
    pipeline
        .until("the resyncs are done", async || {
            let requests = pipeline.session.resync_requests().await.map_err(|error| error.to_string())?;
            if requests.is_empty() { Ok(()) } else { Err(format!("{requests:?}")) }
        })
        .await;
}

async fn a_resync_with_live_changes_between_ends_where_zookeeper_does(metadata: Metadata) {
    let options = Options::default().set("deletes.guard_count", 1_000);
    let pipeline = Pipeline::start(metadata, options).await;
    ground(&pipeline).await;
    for round in 0..3 {
        pipeline.must(&["resync", "-m", "as a test"]).await;
        for step in 0..10 {
            let n = step % 5 + 1;
            let at = format!("assets/main/charts/c{n}");
            if step % 4 == 3 {
                pipeline.delete(&at).await;
            }
            pipeline.put(&at, &with(chart(n, 1), "description", format!("{round} {step}"))).await;
        }
    }
    pipeline.delete("assets/main/charts/c5").await;
    served(&pipeline).await;
    pipeline.await_equal().await;
    let shown = "SELECT slice_name, description FROM slices ORDER BY slice_name";
    let rows = pipeline.superset(shown).await.concat().join(" ");
    assert_eq!(rows, "chart 1 2 5 chart 2 2 6 chart 3 2 7 chart 4 2 8");
    let brackets = "SELECT count(*) >= 2 FROM audit_event WHERE kind = 'resync-end'";
    assert_eq!(pipeline.audit(brackets).await, [["1"]]);
    pipeline.must(&["verify"]).await;
}

async fn a_resync_that_is_cut_off_deletes_nothing_and_the_next_one_is_whole(metadata: Metadata) {
    let options = Options { program: Program::Faults, ..Options::default().apart() };
    let mut pipeline = Pipeline::start(metadata, options).await;
    ground(&pipeline).await;
    pipeline.kill_worker(Role::Watcher).await;
    pipeline.must(&["resync", "-m", "as a test"]).await;
    pipeline.start_worker_with(Role::Watcher, &[("SETKEEPER_FAIL", "watcher:after_append:1")]).await;
    pipeline.worker(Role::Watcher).abort(Duration::from_secs(60)).await;
    // It has begun, and what it has not sent is not gone.
    pipeline
        .until("an open resync", async || {
            let open = pipeline.superset("SELECT resync FROM setkeeper_stream").await.concat();
            if open == ["NULL"] { Err("no resync is open") } else { Ok(()) }
        })
        .await;
    let charts = "SELECT count(*) FROM slices WHERE slice_name LIKE 'chart %'";
    assert_eq!(pipeline.superset(charts).await, [["5"]]);
    pipeline.delete("assets/main/charts/c1").await;
    pipeline.put("assets/main/charts/c2", &with(chart(2, 1), "description", "meanwhile")).await;
    pipeline.start_worker(Role::Watcher).await;
    served(&pipeline).await;
    pipeline.await_equal().await;
    assert_eq!(pipeline.superset(charts).await, [["4"]]);
    assert_eq!(pipeline.superset("SELECT resync FROM setkeeper_stream").await, [["NULL"]]);
    let brackets = "SELECT sum(kind = 'resync-begin') - sum(kind = 'resync-end') FROM audit_event";
    assert_eq!(pipeline.audit(brackets).await, [["1"]]);
    pipeline.must(&["verify"]).await;
}

/// What is on record leaves the queue as soon as the watcher waits for room, long before `audit.keep_queue` is over.
async fn a_tree_larger_than_the_queue_is_sent_while_the_auditor_trims(metadata: Metadata) {
    let options = Options::default().set("queue.records_max", 600).set("audit.trim_every", "500ms");
    let pipeline = Pipeline::start(metadata, options).await;
    ground(&pipeline).await;
    pipeline.must(&["resync", "-m", "as a test"]).await;
    served(&pipeline).await;
    pipeline.delete("settings/config/KEY_7").await;
    pipeline.await_equal().await;
    pipeline.must(&["verify"]).await;
}
