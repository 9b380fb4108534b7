//! Several changes in one ZooKeeper transaction.

use super::world::World;
use crate::pipeline::Edit;
use crate::pipeline::documents::{dashboard, database, with};

super::shared![
    a_multi_of_puts_and_deletes_is_one_record,
    a_path_that_one_multi_sets_twice_has_its_last_value_and_counts_the_other,
    two_charts_swap_their_names_in_one_multi,
    two_databases_swap_their_unique_names_in_one_multi,
    two_dashboards_swap_their_unique_slugs_in_one_edit,
    a_slug_that_another_dashboard_has_is_rejected_until_it_is_free,
    a_whole_tree_in_one_edit_is_applied_in_the_order_of_its_references,
];

async fn a_multi_of_puts_and_deletes_is_one_record(w: World) {
    w.ground().await;
    w.applied("charts/goes", &w.chart(1)).await;
    w.applied("charts/changes", &w.chart(2)).await;
    let paths = ["charts/goes", "charts/changes", "charts/comes"].map(|tail| w.at(tail));
    let ids = w
        .multi(&[
            Edit::Delete(&paths[0]),
            Edit::Put(&paths[1], with(w.chart(2), "description", "changed")),
            Edit::Put(&paths[2], w.chart(3)),
        ])
        .await;
    w.becomes(&ids[0], "deleted").await;
    w.becomes(&ids[1], "applied").await;
    w.becomes(&ids[2], "applied").await;
    let offsets = ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
    let offsets = format!("SELECT DISTINCT log_offset FROM audit_change WHERE change_id IN ({offsets})");
    assert_eq!(w.pipeline.audit(&offsets).await.len(), 1);
}

async fn a_path_that_one_multi_sets_twice_has_its_last_value_and_counts_the_other(w: World) {
    w.ground().await;
    w.applied("charts/a", &w.chart(1)).await;
    let at = w.at("charts/a");
    let twice = ["overwritten", "stands"].map(|text| Edit::Put(&at, with(w.chart(1), "description", text)));
    let ids = w.multi(&twice).await;
    assert_eq!((ids.len(), ids[0].version), (1, Some(2)));
    w.becomes(&ids[0], "applied").await;
    assert_eq!(w.of_chart("description", &format!("chart {}", w.n(1))).await, "stands");
    assert_eq!(w.history("charts/a").await[0]["missed_versions"], 1);
}

async fn two_charts_swap_their_names_in_one_multi(w: World) {
    w.ground().await;
    let names = [format!("left {}", w.n(0)), format!("right {}", w.n(0))];
    let named = |i: u32, name: usize| with(w.chart(i), "slice_name", names[name].as_str());
    w.applied("charts/a", &named(0, 0)).await;
    w.applied("charts/b", &named(1, 1)).await;
    let ids = [w.of_chart("id", &names[0]).await, w.of_chart("id", &names[1]).await];
    let (a, b) = (w.at("charts/a"), w.at("charts/b"));
    for id in w.multi(&[Edit::Put(&a, named(0, 1)), Edit::Put(&b, named(1, 0))]).await {
        w.becomes(&id, "applied").await;
    }
    assert_eq!(ids, [w.of_chart("id", &names[1]).await, w.of_chart("id", &names[0]).await]);
}

async fn two_databases_swap_their_unique_names_in_one_multi(w: World) {
    let named = |i, name: u32| with(database(w.n(i)), "database_name", format!("warehouse {}", w.n(name)));
    w.applied("databases/a", &named(0, 0)).await;
    w.applied("databases/b", &named(1, 1)).await;
    let id = |name: u32| format!("SELECT id FROM dbs WHERE database_name = 'warehouse {}'", w.n(name));
    let ids = [w.rows(&id(0)).await, w.rows(&id(1)).await];
    let (a, b) = (w.at("databases/a"), w.at("databases/b"));
    for id in w.multi(&[Edit::Put(&a, named(0, 1)), Edit::Put(&b, named(1, 0))]).await {
        w.becomes(&id, "applied").await;
    }
    assert_eq!(ids, [w.rows(&id(1)).await, w.rows(&id(0)).await]);
}

async fn two_dashboards_swap_their_unique_slugs_in_one_edit(w: World) {
    let slugged = |i, slug: u32| with(dashboard(w.n(i), &[]), "slug", format!("board-{}", w.n(slug)));
    w.applied("dashboards/a", &slugged(0, 0)).await;
    w.applied("dashboards/b", &slugged(1, 1)).await;
    let id = |slug: u32| format!("SELECT id FROM dashboards WHERE slug = 'board-{}'", w.n(slug));
    let ids = [w.rows(&id(0)).await, w.rows(&id(1)).await];
    let (a, b) = (w.at("dashboards/a"), w.at("dashboards/b"));
    for id in w.pipeline.edit("ana", &[Edit::Put(&a, slugged(0, 1)), Edit::Put(&b, slugged(1, 0))]).await {
        w.becomes(&id, "applied").await;
    }
    assert_eq!(ids, [w.rows(&id(1)).await, w.rows(&id(0)).await]);
}

async fn a_slug_that_another_dashboard_has_is_rejected_until_it_is_free(w: World) {
    w.applied("dashboards/first", &dashboard(w.n(0), &[])).await;
    let taken = with(dashboard(w.n(1), &[]), "slug", format!("board-{}", w.n(0)));
    let second = w.put("dashboards/second", &taken).await;
    let rejected = w.becomes(&second, "rejected").await;
    assert!(rejected.reason.contains(&format!("board-{}", w.n(0))), "{rejected:?}");
    w.applied("dashboards/first", &with(dashboard(w.n(0), &[]), "slug", format!("free-{}", w.n(0)))).await;
    assert_eq!(w.becomes(&second, "applied").await.cause, "reconcile");
}

async fn a_whole_tree_in_one_edit_is_applied_in_the_order_of_its_references(w: World) {
    let paths = ["dashboards/a", "charts/a", "datasets/a", "databases/a"].map(|tail| w.at(tail));
    let documents = [
        dashboard(w.n(1), &[w.n(1)]),
        w.chart(1),
        crate::pipeline::documents::dataset(w.n(0), w.n(0)),
        database(w.n(0)),
    ];
    let puts: Vec<Edit<'_>> =
        paths.iter().zip(&documents).map(|(at, put)| Edit::Put(at, put.clone())).collect();
    let put = w.pipeline.edit("ana", &puts).await;
    for id in &put {
        assert_eq!(w.becomes(id, "applied").await.cause, "change");
        assert_eq!(w.pipeline.outcomes(id).await.len(), 1);
    }
    let deletes: Vec<Edit<'_>> = paths.iter().rev().map(|at| Edit::Delete(at)).collect();
    for id in w.pipeline.edit("ana", &deletes).await {
        w.becomes(&id, "deleted").await;
    }
    let left = format!("SELECT database_name FROM dbs WHERE database_name = 'warehouse {}'", w.n(0));
    assert_eq!(w.rows(&left).await, "");
}
