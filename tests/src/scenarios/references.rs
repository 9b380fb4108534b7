//! Assets that need one another, in whatever order they come and go.

use super::world::World;
use crate::pipeline::documents::{dashboard, database, dataset, with};

super::shared![
    a_chart_before_its_dataset_is_held_until_it_comes,
    a_dashboard_shows_a_missing_chart_once_it_comes,
    a_renamed_dataset_gives_its_charts_their_new_permission,
    a_dataset_that_a_chart_uses_goes_when_the_chart_has_gone,
    a_held_chart_that_is_deleted_leaves_nothing,
];

async fn a_chart_before_its_dataset_is_held_until_it_comes(w: World) {
    let chart = w.put("charts/a", &w.chart(1)).await;
    let held = w.becomes(&chart, "held").await;
    assert!(held.reason.contains("dataset"), "{held:?}");
    let dataset = w.put("datasets/a", &dataset(w.n(0), w.n(0))).await;
    assert!(w.becomes(&dataset, "held").await.reason.contains("database"));
    let pending = w.pending("charts/a").await;
    assert_eq!((pending.len(), pending[0]["state"].as_str()), (1, Some("held")));
    assert!(w.metric("setkeeper_applier_held{target=\"superset\"}").await >= 2.0);
    w.applied("databases/a", &database(w.n(0))).await;
    for id in [&dataset, &chart] {
        assert_eq!(w.becomes(id, "applied").await.cause, "reconcile");
    }
    assert_eq!(w.pending("charts/a").await.len(), 0);
    let told = w.history("charts/a").await;
    assert_eq!((told.len(), told[0]["outcome"].as_str()), (1, Some("applied")));
}

async fn a_dashboard_shows_a_missing_chart_once_it_comes(w: World) {
    w.ground().await;
    w.applied("charts/there", &w.chart(1)).await;
    w.applied("dashboards/b", &dashboard(w.n(1), &[w.n(1), w.n(2)])).await;
    let shown = format!(
        "SELECT s.slice_name FROM dashboard_slices l JOIN dashboards b ON b.id = l.dashboard_id \
         JOIN slices s ON s.id = l.slice_id WHERE b.slug = 'board-{}' ORDER BY s.slice_name",
        w.n(1)
    );
    assert_eq!(w.rows(&shown).await, format!("chart {}", w.n(1)));
    let came = w.put("charts/comes", &w.chart(2)).await;
    let outcome = w.becomes(&came, "applied").await;
    assert!(outcome.also.contains(&w.at("dashboards/b")), "{outcome:?}");
    assert_eq!(w.rows(&shown).await, format!("chart {}\nchart {}", w.n(1), w.n(2)));
}

async fn a_renamed_dataset_gives_its_charts_their_new_permission(w: World) {
    w.ground().await;
    w.applied("charts/a", &w.chart(1)).await;
    let name = format!("chart {}", w.n(1));
    let perm = |table: &str| {
        format!(
            "SELECT '[warehouse {}].[{table}](id:' || id || ')' FROM tables WHERE table_name = '{table}'",
            w.n(0)
        )
    };
    let old = format!("sales_{}", w.n(0));
    assert_eq!(w.of_chart("perm", &name).await, w.rows(&perm(&old)).await);
    let new = format!("revenue_{}", w.n(0));
    let renamed = w.put("datasets/sales", &with(dataset(w.n(0), w.n(0)), "table_name", new.as_str())).await;
    let outcome = w.becomes(&renamed, "applied").await;
    assert!(outcome.also.contains(&w.at("charts/a")), "{outcome:?}");
    let wanted = w.rows(&perm(&new)).await;
    assert!(wanted.contains(&new), "{wanted}");
    assert_eq!(w.of_chart("perm", &name).await, wanted);
    assert_eq!(w.of_chart("datasource_name", &name).await, new);
    let granted = format!("SELECT count(*) FROM ab_view_menu WHERE name = '{wanted}'");
    assert_eq!(w.rows(&granted).await, "1");
}

async fn a_dataset_that_a_chart_uses_goes_when_the_chart_has_gone(w: World) {
    w.ground().await;
    w.applied("charts/a", &w.chart(1)).await;
    let dataset = w.delete("datasets/sales").await;
    let held = w.becomes(&dataset, "held").await;
    assert!(held.reason.contains(&w.at("charts/a")), "{held:?}");
    let tables = format!("SELECT table_name FROM tables WHERE table_name = 'sales_{}'", w.n(0));
    assert_ne!(w.rows(&tables).await, "");
    let chart = w.delete("charts/a").await;
    w.becomes(&chart, "deleted").await;
    assert_eq!(w.becomes(&dataset, "deleted").await.cause, "reconcile");
    assert_eq!(w.rows(&tables).await, "");
}

async fn a_held_chart_that_is_deleted_leaves_nothing(w: World) {
    let chart = w.put("charts/a", &w.chart(1)).await;
    w.becomes(&chart, "held").await;
    let deleted = w.delete("charts/a").await;
    w.becomes(&chart, "superseded").await;
    w.becomes(&deleted, "deleted").await;
    assert_eq!(w.pending("charts/a").await.len(), 0);
}
