//! Superset 5.0's own examples, pushed through ZooKeeper.

use std::collections::BTreeSet;

use asset::bundle::Bundle;
use asset::{Document, Kind};
use serde_json::json;

use super::export::Documents;
use super::site::Site;
use super::{bundle, data, export};
use crate::pipeline::{Metadata, Options};

/// The dataset whose table is there.
const GAMES: &str = "53d47c0c-c03d-47f0-b9ac-81225f808283";

#[tokio::test]
async fn supersets_own_examples_are_served_and_exported_unchanged_from_sqlite() {
    examples(Metadata::Sqlite).await;
}

#[tokio::test]
async fn supersets_own_examples_are_served_and_exported_unchanged_from_postgresql() {
    examples(Metadata::Postgres).await;
}

async fn examples(metadata: Metadata) {
    let site = Site::start(metadata, Options::default()).await;
    let name = format!("games_{metadata:?}").to_lowercase();
    let games = "CREATE TABLE video_game_sales AS SELECT n::bigint AS rank, 'game ' || n AS name, \
                 (ARRAY['Puzzle', 'Racing'])[1 + (n % 3 = 0)::int] AS genre FROM generate_series(1, 10) n";
    let server = data::database(&name, games).await;
    let files = bundle::examples(&format!("postgresql://postgres@127.0.0.1:{}/{name}", server.port()));
    let pushed = bundle::read(&files);
    site.push(&files).await;
    for (resource, count) in [("database", 1), ("dataset", 17), ("chart", 82), ("dashboard", 7)] {
        assert_eq!(site.count(&site.admin, resource).await, count, "{resource}s listed");
    }
    let expected = export::expected(&pushed);
    assert_eq!(expected.len(), 107);
    export::assert_same(&site.exported().await, &expected);
    every_one_can_be_opened(&site).await;
    let dataset = site.id("tables", GAMES).await;
    let rows = site.query(&site.admin, dataset, "genre", "count").await;
    assert_eq!(rows, Ok(json!([{"genre": "Puzzle", "count": 7}, {"genre": "Racing", "count": 3}])));
    one_right_shows_one_dataset_and_what_is_drawn_from_it(&site, &pushed, dataset).await;
    what_superset_exports_can_be_pushed(&site, &expected).await;
    site.pipeline.must(&["verify"]).await;
}

/// Each is what a page of Superset asks for.
async fn every_one_can_be_opened(site: &Site) {
    for (table, place) in [
        ("dbs", "/api/v1/database/{}"),
        ("tables", "/api/v1/dataset/{}"),
        ("slices", "/api/v1/explore/?slice_id={}"),
        ("dashboards", "/api/v1/dashboard/{}"),
        ("dashboards", "/api/v1/dashboard/{}/charts"),
        ("dashboards", "/api/v1/dashboard/{}/datasets"),
    ] {
        for id in site.uuids(table).await.keys() {
            site.get(&place.replace("{}", &id.to_string())).await;
        }
    }
}

/// The export names this Superset's ids, the bundle those of another one: other documents, the same rows.
async fn what_superset_exports_can_be_pushed(site: &Site, expected: &Documents) {
    let rows = "SELECT position_json, json_metadata, changed_on FROM dashboards ORDER BY id";
    let before = site.pipeline.superset(rows).await;
    let export = site.pipeline.folder().join("export.zip");
    let export = export.to_str().expect("UTF-8");
    let printed = site.pipeline.must(&["push", export, "--wait", "-o", "json"]).await;
    let printed: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let outcomes = printed["outcomes"].as_array().expect("outcomes");
    let other: Vec<_> = outcomes.iter().filter(|outcome| outcome["verdict"] != "unchanged").collect();
    assert!(!outcomes.is_empty() && other.is_empty(), "all of {} unchanged, but {other:#?}", outcomes.len());
    assert_eq!(site.pipeline.superset(rows).await, before);
    export::assert_same(&site.exported().await, expected);
    site.pipeline.must(&["push", export, "--dry-run"]).await;
}

async fn one_right_shows_one_dataset_and_what_is_drawn_from_it(site: &Site, pushed: &Bundle, dataset: i64) {
    let role = site.superset.create_role(&site.admin, "gamers").await.expect("superset answers");
    let gamma = site.superset.roles(&site.admin).await.expect("superset answers")["Gamma"];
    site.superset.create_user(&site.admin, "gina", "secret", &[gamma, role]).await.expect("superset answers");
    let gina = site.superset.login("gina", "secret").await.expect("superset answers");
    for resource in ["database", "dataset", "chart", "dashboard"] {
        assert_eq!(site.count(&gina, resource).await, 0, "{resource}s before the grant");
    }
    let refused = site.query(&gina, dataset, "genre", "count").await;
    assert_eq!(refused.map_err(|(status, _)| status), Err(403));
    let right =
        site.permission("datasource_access", &format!("[examples].[video_game_sales](id:{dataset})")).await;
    site.superset.grant(&site.admin, role, &[right]).await.expect("superset answers");
    let (charts, dashboards) = drawn_from(pushed, GAMES);
    assert!(charts.len() > 1 && !dashboards.is_empty(), "{charts:?} {dashboards:?}");
    assert_eq!(site.listed(&gina, "dataset").await, [GAMES.to_owned()].into());
    assert_eq!(site.listed(&gina, "chart").await, charts);
    assert_eq!(site.listed(&gina, "dashboard").await, dashboards);
    assert!(site.query(&gina, dataset, "genre", "count").await.is_ok());
}

/// The charts on a dataset, and the published dashboards that have one of them.
fn drawn_from(bundle: &Bundle, dataset: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let documents = || bundle.documents.iter().map(|file| &file.document);
    let of_kind = |kind| documents().filter(move |document: &&Document| document.kind() == kind);
    let is_on = |chart: &&Document| chart.to_json()["dataset_uuid"] == dataset;
    let charts: BTreeSet<String> =
        of_kind(Kind::Chart).filter(is_on).map(|chart| chart.uuid().to_string()).collect();
    let shows = |dashboard: &&Document| {
        let json = dashboard.to_json();
        let position = json["position"].to_string();
        // A document leaves out what is the default, and that is false.
        json.contains_key("published") && charts.iter().any(|chart| position.contains(chart.as_str()))
    };
    let dashboards = of_kind(Kind::Dashboard).filter(shows).map(|board| board.uuid().to_string()).collect();
    (charts, dashboards)
}
