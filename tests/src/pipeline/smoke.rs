//! The harness itself: the thin line from a put to Superset's tables and back out of them.

use super::documents::{chart, dashboard, database, dataset, with};
use super::{Edit, Metadata, Options, Pipeline};

#[tokio::test]
async fn a_change_reaches_sqlite_through_one_process_and_is_on_record() {
    line(Metadata::Sqlite, Options::default()).await;
}

#[tokio::test]
async fn a_change_reaches_postgresql_through_a_process_a_worker_and_is_on_record() {
    line(Metadata::Postgres, Options::default().apart()).await;
}

async fn line(metadata: Metadata, options: Options) {
    let pipeline = Pipeline::start(metadata, options).await;
    pipeline.put("assets/main/databases/wh", &database(1)).await;
    pipeline.put("assets/main/datasets/sales", &dataset(1, 1)).await;
    let put = pipeline.put("assets/main/charts/sales", &with(chart(1, 1), "description", "n=1")).await;
    pipeline.put("assets/main/dashboards/board", &dashboard(1, &[1])).await;
    let outcome = pipeline.await_outcome(&put, "applied").await;
    assert_eq!(outcome.cause, "change");
    pipeline.await_equal().await;
    let served = "SELECT slice_name, s.description, t.table_name, d.database_name, b.slug FROM slices s \
                  JOIN tables t ON t.id = s.datasource_id JOIN dbs d ON d.id = t.database_id \
                  JOIN dashboard_slices l ON l.slice_id = s.id JOIN dashboards b ON b.id = l.dashboard_id";
    assert_eq!(pipeline.superset(served).await, [["chart 1", "n=1", "sales_1", "warehouse 1", "board-1"]]);
    let delete = [Edit::Delete("assets/main/charts/sales"), Edit::Delete("assets/main/dashboards/board")];
    let deleted = pipeline.edit("ana", &delete).await;
    assert_eq!(deleted[0], Pipeline::delete_of(&put));
    pipeline.await_outcome(&deleted[0], "deleted").await;
    pipeline.await_equal().await;
    assert!(pipeline.superset(served).await.is_empty());
    let by = format!("SELECT author FROM audit_change WHERE change_id = '{}'", deleted[0]);
    assert_eq!(pipeline.audit(&by).await, [["ana"]]);
    pipeline.must(&["verify"]).await;
}
