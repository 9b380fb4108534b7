//! The log loses what somebody still needs: a resync brings everything, deletes too, and the gap is on record.

use std::time::Duration;

use change::Topic;

use super::world::{json, page};
use crate::pipeline::documents::{chart, database, dataset, with};
use crate::pipeline::{ENV, Metadata, Options, Pipeline, Role};

super::alone![
    an_applier_whose_position_is_trimmed_away_resynchronises,
    a_replaced_queue_file_is_a_gap_and_a_resync,
    a_metadata_database_from_a_backup_catches_up,
    what_a_database_restored_during_a_pause_applies_again_is_on_record_again,
];

async fn ground(pipeline: &Pipeline) {
    pipeline.put("assets/main/databases/wh", &database(1)).await;
    pipeline.put("assets/main/datasets/sales", &dataset(1, 1)).await;
    for n in 1..=3 {
        pipeline.put(&format!("assets/main/charts/c{n}"), &chart(n, 1)).await;
    }
    pipeline.await_equal().await;
}

/// One chart goes, one changes, one comes.
async fn meanwhile(pipeline: &Pipeline) {
    pipeline.delete("assets/main/charts/c1").await;
    pipeline.put("assets/main/charts/c2", &with(chart(2, 1), "description", "changed")).await;
    pipeline.put("assets/main/charts/c4", &chart(4, 1)).await;
}

async fn all_there(pipeline: &Pipeline) {
    pipeline.await_equal().await;
    let shown = "SELECT slice_name, description FROM slices ORDER BY slice_name";
    let rows = pipeline.superset(shown).await.concat().join(" ");
    assert_eq!(rows, "chart 2 changed chart 3 NULL chart 4 NULL");
    pipeline.must(&["verify"]).await;
}

async fn an_applier_whose_position_is_trimmed_away_resynchronises(metadata: Metadata) {
    let mut pipeline = Pipeline::start(metadata, Options::default().apart()).await;
    ground(&pipeline).await;
    pipeline.kill_worker(Role::Applier).await;
    meanwhile(&pipeline).await;
    pipeline
        .until("the changes are on record", async || {
            let (wanted, found) = (pipeline.in_zookeeper().await, pipeline.recorded().await);
            if wanted == found { Ok(()) } else { Err(found) }
        })
        .await;
    let queue = pipeline.queue().await;
    let topic = Topic::Changes.name(ENV);
    let end = queue.end(&topic).await.expect("the queue answers").offset;
    queue.trim(&topic, end, Duration::ZERO, 10_000).await.expect("a trim");
    pipeline.start_worker(Role::Applier).await;
    all_there(&pipeline).await;
}

async fn a_replaced_queue_file_is_a_gap_and_a_resync(metadata: Metadata) {
    let mut pipeline = Pipeline::start(metadata, Options::default()).await;
    ground(&pipeline).await;
    pipeline.kill_worker(Role::All).await;
    meanwhile(&pipeline).await;
    for file in ["queue.db", "queue.db-wal", "queue.db-shm"] {
        match std::fs::remove_file(pipeline.folder().join(file)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{file}: {error}"),
            _ => {}
        }
    }
    pipeline.start_worker(Role::All).await;
    all_there(&pipeline).await;
    let gaps = "SELECT count(*) > 0 FROM audit_event WHERE kind = 'gap'";
    assert_eq!(pipeline.audit(gaps).await, [["1"]]);
}

async fn a_metadata_database_from_a_backup_catches_up(metadata: Metadata) {
    let mut pipeline = Pipeline::start(metadata, Options::default()).await;
    ground(&pipeline).await;
    pipeline.kill_worker(Role::All).await;
    let backup = pipeline.metadata.backup(pipeline.folder()).await;
    pipeline.start_worker(Role::All).await;
    meanwhile(&pipeline).await;
    pipeline.await_equal().await;
    pipeline.kill_worker(Role::All).await;
    pipeline.metadata.restore(&backup).await;
    assert_eq!(pipeline.superset("SELECT count(*) FROM slices").await, [["3"]]);
    pipeline.start_worker(Role::All).await;
    all_there(&pipeline).await;
}

async fn paused(pipeline: &Pipeline) {
    pipeline.must(&["pause", "--author", "ana", "-m", "a restore"]).await;
    pipeline
        .until("the applier stands still", async || {
            let ready = json(&page(pipeline, "readyz").await);
            if ready["applier-superset"]["state"] == "paused" { Ok(()) } else { Err(ready) }
        })
        .await;
}

async fn what_a_database_restored_during_a_pause_applies_again_is_on_record_again(metadata: Metadata) {
    let pipeline = Pipeline::start(metadata, Options::default()).await;
    ground(&pipeline).await;
    paused(&pipeline).await;
    let backup = pipeline.metadata.backup(pipeline.folder()).await;
    pipeline.must(&["resume"]).await;
    meanwhile(&pipeline).await;
    let late = pipeline.put("assets/main/charts/c3", &with(chart(3, 1), "description", "late")).await;
    pipeline.await_outcome(&late, "applied").await;
    paused(&pipeline).await;
    pipeline.metadata.restore(&backup).await;
    pipeline.must(&["resume"]).await;
    pipeline
        .until("both are on record", async || {
            let outcomes = pipeline.outcomes(&late).await;
            if outcomes.len() == 2 { Ok(()) } else { Err(outcomes) }
        })
        .await;
    pipeline.await_equal().await;
    let lost = "SELECT * FROM audit_event WHERE kind = 'conflict'";
    assert!(pipeline.audit(lost).await.is_empty());
    let twice = "SELECT count(*), count(DISTINCT outcome_key) FROM audit_outcome WHERE change_id";
    let twice = pipeline.audit(&format!("{twice} = '{late}' AND verdict = 'applied'")).await;
    assert_eq!(twice, [["2", "2"]]);
    pipeline.must(&["verify"]).await;
}
