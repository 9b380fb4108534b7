//! One asset: it comes, changes, moves, goes and comes back.

use super::world::World;
use crate::pipeline::documents::{chart, dashboard, with};
use crate::pipeline::{Edit, Pipeline};

super::shared![
    a_chart_is_created_changed_and_deleted,
    a_recreated_chart_has_a_new_row_and_its_dashboard_is_rendered_again,
    a_document_that_moves_within_one_edit_keeps_its_row,
    a_document_that_a_stranger_moves_in_one_multi_keeps_its_row,
    another_uuid_at_a_path_is_a_delete_and_a_create,
    a_second_znode_of_a_uuid_is_rejected_and_promoted_when_the_owner_goes,
    a_uuid_changes_its_project_only_by_a_move_in_one_transaction,
    the_same_document_in_other_bytes_changes_nothing,
];

async fn a_chart_is_created_changed_and_deleted(w: World) {
    w.ground().await;
    let name = format!("chart {}", w.n(1));
    let created = w.applied("charts/a", &with(w.chart(1), "description", "first")).await;
    assert_eq!(w.of_chart("description", &name).await, "first");
    let id = w.of_chart("id", &name).await;
    let changed = w.applied("charts/a", &with(w.chart(1), "description", "second")).await;
    assert_eq!((changed.czxid, changed.version), (created.czxid, Some(1)));
    assert_eq!(w.of_chart("id, description", &name).await, format!("{id}|second"));
    let deleted = w.delete("charts/a").await;
    assert_eq!(deleted, Pipeline::delete_of(&created));
    w.becomes(&deleted, "deleted").await;
    assert_eq!(w.of_chart("id", &name).await, "");
    let history = w.history("charts/a").await;
    let told: Vec<_> = history.iter().map(|row| (row["op"].as_str(), row["outcome"].as_str())).collect();
    let wanted = [("delete", "deleted"), ("put", "applied"), ("put", "applied")];
    assert_eq!(told, wanted.map(|(op, outcome)| (Some(op), Some(outcome))));
    let field = &history[1]["fields"][0];
    assert_eq!((&field["before"], &field["after"]), (&"first".into(), &"second".into()), "{field}");
}

async fn a_recreated_chart_has_a_new_row_and_its_dashboard_is_rendered_again(w: World) {
    w.ground().await;
    w.applied("charts/a", &w.chart(1)).await;
    w.applied("dashboards/b", &dashboard(w.n(1), &[w.n(1)])).await;
    let old = w.of_chart("id", &format!("chart {}", w.n(1))).await;
    // SQLite gives the highest id once more, so another chart takes the one above.
    w.applied("charts/above", &w.chart(2)).await;
    let shown = format!(
        "SELECT l.slice_id, b.position_json LIKE '%\"chartId\": ' || l.slice_id || ',%' FROM dashboard_slices l \
         JOIN dashboards b ON b.id = l.dashboard_id WHERE b.slug = 'board-{}'",
        w.n(1)
    );
    let seen = w.rows(&shown).await;
    assert!(seen.starts_with(&format!("{old}|")), "{seen}");
    let deleted = w.delete("charts/a").await;
    let gone = w.becomes(&deleted, "deleted").await;
    assert!(gone.also.contains(&w.at("dashboards/b")), "{gone:?}");
    assert_eq!(w.rows(&shown).await, "");
    let again = w.put("charts/a", &w.chart(1)).await;
    let came = w.becomes(&again, "applied").await;
    assert!(came.also.contains(&w.at("dashboards/b")), "{came:?}");
    let new = w.of_chart("id", &format!("chart {}", w.n(1))).await;
    assert_ne!(new, old);
    assert!(w.rows(&shown).await.starts_with(&format!("{new}|")));
}

async fn a_document_that_moves_within_one_edit_keeps_its_row(w: World) {
    w.ground().await;
    w.applied("charts/a", &w.chart(1)).await;
    let id = w.of_chart("id", &format!("chart {}", w.n(1))).await;
    let (from, to) = (w.at("charts/a"), w.at("charts/b"));
    let moved = w.pipeline.edit("ana", &[Edit::Delete(&from), Edit::Put(&to, w.chart(1))]).await;
    keeps_its_row(w, &id, &moved[0], &moved[1]).await;
    assert_eq!(w.history("charts/b").await[1]["author"], "ana");
}

async fn a_document_that_a_stranger_moves_in_one_multi_keeps_its_row(w: World) {
    w.ground().await;
    w.applied("charts/a", &w.chart(1)).await;
    let id = w.of_chart("id", &format!("chart {}", w.n(1))).await;
    let (from, to) = (w.at("charts/a"), w.at("charts/b"));
    let moved = w.multi(&[Edit::Put(&to, w.chart(1)), Edit::Delete(&from)]).await;
    keeps_its_row(w, &id, &moved[1], &moved[0]).await;
}

async fn keeps_its_row(w: World, id: &str, left: &change::ChangeId, taken: &change::ChangeId) {
    w.becomes(left, "superseded").await;
    w.becomes(taken, "unchanged").await;
    assert_eq!(w.of_chart("id", &format!("chart {}", w.n(1))).await, id);
    let changed = w.applied("charts/b", &with(w.chart(1), "description", "moved")).await;
    assert_eq!(changed.czxid, taken.czxid);
    assert_eq!(w.of_chart("id, description", &format!("chart {}", w.n(1))).await, format!("{id}|moved"));
}

async fn another_uuid_at_a_path_is_a_delete_and_a_create(w: World) {
    w.ground().await;
    w.applied("charts/a", &w.chart(1)).await;
    w.applied("dashboards/b", &dashboard(w.n(1), &[w.n(1)])).await;
    let changed = w.put("charts/a", &w.chart(2)).await;
    let outcome = w.becomes(&changed, "applied").await;
    assert!(outcome.also.contains(&w.at("dashboards/b")), "{outcome:?}");
    let names =
        format!("SELECT slice_name FROM slices WHERE slice_name IN ('chart {}', 'chart {}')", w.n(1), w.n(2));
    assert_eq!(w.rows(&names).await, format!("chart {}", w.n(2)));
}

async fn a_second_znode_of_a_uuid_is_rejected_and_promoted_when_the_owner_goes(w: World) {
    w.ground().await;
    w.applied("charts/owner", &w.chart(1)).await;
    let name = format!("chart {}", w.n(1));
    let id = w.of_chart("id", &name).await;
    let second = w.put("charts/second", &with(w.chart(1), "description", "the second's")).await;
    let rejected = w.becomes(&second, "rejected").await;
    assert!(rejected.reason.contains(&w.at("charts/owner")), "{rejected:?}");
    assert_eq!(w.pending("charts/second").await[0]["state"], "rejected");
    assert_eq!(w.of_chart("id, description", &name).await, format!("{id}|NULL"));
    let gone = w.delete("charts/owner").await;
    let promoted = w.becomes(&second, "applied").await;
    assert_eq!(promoted.cause, "reconcile");
    w.becomes(&gone, "superseded").await;
    assert_eq!(w.of_chart("id, description", &name).await, format!("{id}|the second's"));
    assert_eq!(w.pending("charts/second").await.len(), 0);
}

async fn a_uuid_changes_its_project_only_by_a_move_in_one_transaction(w: World) {
    w.ground().await;
    w.applied("charts/a", &w.chart(1)).await;
    let name = format!("chart {}", w.n(1));
    let (from, to) = (w.at("charts/a"), format!("assets/other{}/charts/a", w.n(0)));
    let theirs = w.pipeline.put(&to, &with(w.chart(1), "description", "theirs")).await;
    let rejected = w.becomes(&theirs, "rejected").await;
    assert!(rejected.reason.contains(&from), "{rejected:?}");
    // The owner goes: that alone hands nothing over to another project.
    let gone = w.delete("charts/a").await;
    w.becomes(&gone, "deleted").await;
    assert_eq!(w.becomes(&theirs, "applied").await.cause, "reconcile");
    assert_ne!(w.of_chart("description", &name).await, "NULL");
    let moved = [Edit::Delete(&to), Edit::Put(&from, w.chart(1))];
    let before = w.of_chart("id", &name).await;
    for id in w.pipeline.edit("ana", &moved).await {
        w.pipeline.until("an outcome", async || w.pipeline.outcomes(&id).await.pop().ok_or(())).await;
    }
    assert_eq!(w.of_chart("id, description", &name).await, format!("{before}|NULL"));
}

async fn the_same_document_in_other_bytes_changes_nothing(w: World) {
    w.ground().await;
    let document = chart(w.n(1), w.n(0));
    w.applied("charts/a", &document).await;
    let changed_on = w.of_chart("changed_on", &format!("chart {}", w.n(1))).await;
    let spaced = serde_json::to_vec_pretty(&document).expect("a document");
    let again = w.pipeline.put_bytes(&w.at("charts/a"), &spaced).await;
    w.becomes(&again, "unchanged").await;
    assert_eq!(w.of_chart("changed_on", &format!("chart {}", w.n(1))).await, changed_on);
}
