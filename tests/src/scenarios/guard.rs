//! Too many deletes at once wait for a person.

use super::world::json;
use crate::pipeline::documents::{chart, database, dataset, with};
use crate::pipeline::{Edit, Metadata, Options, Pipeline};

super::alone![
    many_deletes_wait_for_an_approval_and_a_later_put_cancels_its_own,
    deletes_are_held_each_by_each_where_the_policy_says_so,
];

const CHARTS: u32 = 9;

async fn with_charts(metadata: Metadata, options: Options) -> (Pipeline, Vec<String>) {
    let pipeline = Pipeline::start(metadata, options).await;
    let paths: Vec<String> = (1..=CHARTS).map(|n| format!("assets/main/charts/c{n}")).collect();
    let (wh, sales) = ("assets/main/databases/wh", "assets/main/datasets/sales");
    let mut edits = vec![Edit::Put(wh, database(1)), Edit::Put(sales, dataset(1, 1))];
    edits.extend(paths.iter().zip(1..).map(|(at, n)| Edit::Put(at, chart(n, 1))));
    pipeline.edit("ana", &edits).await;
    pipeline.await_equal().await;
    (pipeline, paths)
}

async fn charts(pipeline: &Pipeline) -> String {
    let rows = pipeline.superset("SELECT slice_name FROM slices ORDER BY slice_name").await;
    rows.concat().iter().map(|name| name.replace("chart ", "")).collect::<Vec<_>>().join(" ")
}

async fn many_deletes_wait_for_an_approval_and_a_later_put_cancels_its_own(metadata: Metadata) {
    let (pipeline, paths) = with_charts(metadata, Options::default()).await;
    let few = pipeline.delete(&paths[8]).await;
    pipeline.await_outcome(&few, "deleted").await;
    let deletes: Vec<Edit<'_>> = paths[..7].iter().map(|at| Edit::Delete(at)).collect();
    let deleted = pipeline.edit("ben", &deletes).await;
    for id in &deleted {
        let held = pipeline.await_outcome(id, "held").await;
        assert!(held.reason.contains("8 deletes") && held.reason.contains("5 may pass"), "{held:?}");
    }
    assert_eq!(charts(&pipeline).await, "1 2 3 4 5 6 7 8");
    let status = json(&pipeline.must(&["status", "-o", "json"]).await);
    assert_eq!(status["pending"].as_array().map(Vec::len), Some(7), "{status}");
    // A later put of the path cancels its held delete, and so does one of the uuid somewhere else.
    let id = pipeline.superset("SELECT id FROM slices WHERE slice_name = 'chart 1'").await;
    let back = pipeline.put(&paths[0], &with(chart(1, 1), "description", "back")).await;
    pipeline.await_outcome(&back, "applied").await;
    pipeline.await_outcome(&deleted[0], "superseded").await;
    let kept = pipeline.superset("SELECT id FROM slices WHERE slice_name = 'chart 1'").await;
    assert_eq!(id, kept);
    let elsewhere = pipeline.put("assets/main/charts/elsewhere", &chart(2, 1)).await;
    pipeline.await_outcome(&elsewhere, "unchanged").await;
    pipeline.await_outcome(&deleted[1], "superseded").await;
    assert_eq!(charts(&pipeline).await, "1 2 3 4 5 6 7 8");
    pipeline.must(&["approve", "deletes", &paths[2], "--author", "eva", "--wait"]).await;
    let approved = pipeline.await_outcome(&deleted[2], "deleted").await;
    assert_eq!(approved.cause, "reconcile");
    assert_eq!(charts(&pipeline).await, "1 2 4 5 6 7 8");
    pipeline.must(&["approve", "deletes", "--all", "--author", "eva"]).await;
    for id in &deleted[3..] {
        pipeline.await_outcome(id, "deleted").await;
    }
    assert_eq!(charts(&pipeline).await, "1 2 8");
    let approvals = "SELECT DISTINCT author FROM audit_change WHERE path LIKE 'control/approvals/%'";
    assert_eq!(pipeline.audit(approvals).await, [["eva"]]);
    pipeline.await_equal().await;
}

async fn deletes_are_held_each_by_each_where_the_policy_says_so(metadata: Metadata) {
    let (pipeline, paths) = with_charts(metadata, Options::default().set("deletes.policy", "hold")).await;
    let deleted = pipeline.delete(&paths[0]).await;
    let held = pipeline.await_outcome(&deleted, "held").await;
    assert!(held.reason.contains("holds deletes"), "{held:?}");
    // Whoever is not held flows on.
    let changed = pipeline.put(&paths[1], &with(chart(2, 1), "description", "on")).await;
    pipeline.await_outcome(&changed, "applied").await;
    // A document with another uuid takes the place of the chart that had the old one.
    let replaced = pipeline.put(&paths[2], &chart(33, 1)).await;
    let held = pipeline.await_outcome(&replaced, "held").await;
    assert!(held.reason.contains("holds deletes"), "{held:?}");
    pipeline.must(&["approve", "deletes", &paths[2], "--wait"]).await;
    pipeline.await_outcome(&replaced, "applied").await;
    pipeline.must(&["approve", "deletes", "--all", "--wait"]).await;
    pipeline.await_outcome(&deleted, "deleted").await;
    pipeline.await_equal().await;
}
