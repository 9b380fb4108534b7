//! A sample of each kind, and what survives the way into rows and back.

use asset::{Document, Kind};
use expect_test::{Expect, expect};
use serde_json::{Value as Json, json};
use uuid::{Uuid, uuid};

use super::world::{Change, World, document};
use crate::*;

pub(super) const DATABASE: Uuid = uuid!("00000000-0000-0000-0000-0000000000d1");
pub(super) const DATASET: Uuid = uuid!("00000000-0000-0000-0000-0000000000d2");
pub(super) const CHART: Uuid = uuid!("00000000-0000-0000-0000-0000000000c1");
pub(super) const OTHER_CHART: Uuid = uuid!("00000000-0000-0000-0000-0000000000c2");
pub(super) const DASHBOARD: Uuid = uuid!("00000000-0000-0000-0000-0000000000b1");

/// Makes a document with some keys replaced.
pub(super) fn with(document: &Document, keys: Json) -> Document {
    let mut json: Json =
        serde_json::from_str(&String::from_utf8(document.canonical().into()).unwrap()).unwrap();
    for (key, value) in keys.as_object().unwrap() {
        json[key] = value.clone();
    }
    super::world::document(document.kind(), json)
}

pub(super) fn database() -> Document {
    document(
        Kind::Database,
        json!({
            "version": "1.0.0",
            "uuid": DATABASE,
            "database_name": "ana",
            "sqlalchemy_uri": "postgresql://u:XXXXXXXXXX@h/d",
            "extra": {"schemas_allowed_for_csv_upload": ["s"], "engine_params": {"é": 1e16}},
        }),
    )
}

pub(super) fn dataset() -> Document {
    document(
        Kind::Dataset,
        json!({
            "version": "1.0.0",
            "uuid": DATASET,
            "table_name": "sales",
            "schema": "public",
            "database_uuid": DATABASE,
            "params": {"a": [1, "b"]},
            "folders": [{"uuid": "1", "type": "folder", "name": "f", "children": []}],
            "columns": [
                {"column_name": "day", "is_dttm": true, "type": "DATE", "extra": {"z": 1, "a": 2}},
                {"column_name": "amount", "verbose_name": "Betrag \"€\""},
            ],
            "metrics": [
                {"metric_name": "total", "expression": "SUM(amount)",
                 "currency": {"symbol": "EUR", "symbolPosition": "suffix"}},
            ],
        }),
    )
}

pub(super) fn chart(uuid: Uuid, name: &str) -> Document {
    let context = json!({
        "datasource": {"id": 99, "type": "table"},
        "force": false,
        "form_data": {"datasource": "99__table", "slice_id": 501},
        "queries": [{"datasource": {"id": 99, "type": "table"}, "metrics": ["total"]}, {"metrics": []}],
    });
    document(
        Kind::Chart,
        json!({
            "version": "1.0.0",
            "uuid": uuid,
            "slice_name": name,
            "viz_type": "pie",
            "dataset_uuid": DATASET,
            "params": {
                "datasource": "99__table",
                "annotation_layers": [{"annotationType": "FORMULA", "value": "x"}, {"annotationType": "EVENT"}],
                "slice_id": 501,
            },
            "query_context": context.to_string(),
        }),
    )
}

pub(super) fn dashboard() -> Document {
    let place =
        |uuid: Uuid, old: i64| json!({"type": "CHART", "meta": {"uuid": uuid, "chartId": old, "width": 4}});
    document(
        Kind::Dashboard,
        json!({
            "version": "1.0.0",
            "uuid": DASHBOARD,
            "dashboard_title": "Umsatz",
            "slug": "umsatz",
            "published": true,
            "position": {
                "DASHBOARD_VERSION_KEY": "v2",
                "CHART-a": place(CHART, 501),
                "CHART-b": place(OTHER_CHART, 502),
                "CHART-old": {"type": "CHART", "meta": {"chartId": 503}},
            },
            "metadata": {
                "show_native_filters": true,
                "timed_refresh_immune_slices": [502, 777],
                "expanded_slices": {"501": true, "777": true},
                "filter_scopes": {"501": {}},
                "default_filters": "{}",
                "color_scheme": "x",
                "chart_configuration": {
                    "501": {"id": 501, "crossFilters": {"scope": {"excluded": [502, 777]}, "chartsInScope": [501, 777]}},
                    "777": {"id": 777},
                    "none": {},
                },
                "global_chart_configuration": {"scope": {"excluded": [777, 501]}, "chartsInScope": [502]},
                "native_filter_configuration": [{
                    "targets": [{"column": {"name": "day"}, "datasetUuid": DATASET}, {}],
                    "scope": {"rootPath": ["ROOT_ID"], "excluded": [501]},
                    "chartsInScope": [502, 777],
                }],
            },
        }),
    )
}

pub(super) fn all() -> Vec<Document> {
    vec![database(), dataset(), chart(CHART, "Torte"), chart(OTHER_CHART, "Kuchen"), dashboard()]
}

/// A database that already has rows, so that ids differ from those of any other.
pub(super) fn filled(dialect: Dialect) -> World {
    let mut world = World::new(dialect);
    let all = all();
    let all: Vec<&Document> = all.iter().collect();
    world.put(&all);
    world
}

#[test]
fn the_same_document_again_changes_nothing() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let mut world = filled(dialect);
        let all = all();
        let all: Vec<&Document> = all.iter().collect();
        assert_eq!(world.put(&all), []);
    }
}

#[test]
fn rows_become_the_document_again() {
    let mut world = filled(Dialect::Postgres);
    for document in all() {
        let facts = world.facts(&[Change::Put(document.clone())]);
        let lifted = lift(document.kind(), document.uuid(), &facts).unwrap();
        assert_eq!(
            String::from_utf8_lossy(portable(&lifted).canonical().as_ref()),
            String::from_utf8_lossy(portable(&document).canonical().as_ref())
        );
        let again: Vec<RowOp> = world.put(&[&lifted]);
        assert!(again.iter().all(|op| matches!(op, RowOp::Update { table: Table::Dbs, .. })), "{again:?}");
    }
}

#[test]
fn what_is_lowered_is_what_is_put() {
    let mut world = filled(Dialect::Postgres);
    for document in all() {
        let facts = world.facts(&[Change::Put(document.clone())]);
        for (table, id, row) in lower(&document, &facts).unwrap().iter() {
            for (column, value) in row {
                assert_eq!(world.rows.value(table, id, column), value, "{} {column}", table.name());
            }
        }
    }
}

fn check(table: Table, columns: &[&'static str], want: Expect) {
    let mut world = World::new(Dialect::Postgres);
    // Rows of somebody else move the ids.
    world.add(Table::Dbs, 6, &[("database_name", "x".into())]);
    world.add(Table::Tables, 16, &[("table_name", "x".into()), ("database_id", Value::Int(6))]);
    world.add(Table::Slices, 40, &[("slice_name", "x".into())]);
    let all = all();
    let all: Vec<&Document> = all.iter().collect();
    world.put(&all);
    want.assert_eq(&world.show(table, columns));
}

#[test]
fn a_chart_names_the_dataset_by_its_id_here() {
    check(
        Table::Slices,
        &["slice_name", "datasource_id", "datasource_type", "datasource_name", "perm", "schema_perm"],
        expect![[r#"
            "x" NULL NULL NULL NULL NULL
            "Torte" 17 "table" "sales" "[ana].[sales](id:17)" "[ana].[public]"
            "Kuchen" 17 "table" "sales" "[ana].[sales](id:17)" "[ana].[public]"
        "#]],
    );
    check(
        Table::Slices,
        &["params"],
        expect![[r#"
        NULL
        "{\"datasource\": \"17__table\", \"annotation_layers\": [{\"annotationType\": \"FORMULA\", \"value\": \"x\"}], \"slice_id\": 501}"
        "{\"datasource\": \"17__table\", \"annotation_layers\": [{\"annotationType\": \"FORMULA\", \"value\": \"x\"}], \"slice_id\": 501}"
    "#]],
    );
    check(
        Table::Slices,
        &["query_context"],
        expect![[r#"
        NULL
        "{\"datasource\": {\"id\": 17, \"type\": \"table\"}, \"force\": false, \"form_data\": {\"datasource\": \"17__table\", \"slice_id\": 501}, \"queries\": [{\"datasource\": {\"id\": 17, \"type\": \"table\"}, \"metrics\": [\"total\"]}, {\"metrics\": []}]}"
        "{\"datasource\": {\"id\": 17, \"type\": \"table\"}, \"force\": false, \"form_data\": {\"datasource\": \"17__table\", \"slice_id\": 501}, \"queries\": [{\"datasource\": {\"id\": 17, \"type\": \"table\"}, \"metrics\": [\"total\"]}, {\"metrics\": []}]}"
    "#]],
    );
}

#[test]
fn a_dashboard_names_charts_and_datasets_by_their_ids_here() {
    check(
        Table::Dashboards,
        &["position_json"],
        expect![[r#"
        "{\"DASHBOARD_VERSION_KEY\": \"v2\", \"CHART-a\": {\"type\": \"CHART\", \"meta\": {\"uuid\": \"00000000-0000-0000-0000-0000000000c1\", \"chartId\": 41, \"width\": 4}}, \"CHART-b\": {\"type\": \"CHART\", \"meta\": {\"uuid\": \"00000000-0000-0000-0000-0000000000c2\", \"chartId\": 42, \"width\": 4}}, \"CHART-old\": {\"type\": \"CHART\", \"meta\": {\"chartId\": 503}}}"
    "#]],
    );
    check(
        Table::Dashboards,
        &["json_metadata"],
        expect![[r#"
        "{\"timed_refresh_immune_slices\": [42], \"expanded_slices\": {\"41\": true}, \"color_scheme\": \"x\", \"chart_configuration\": {\"41\": {\"id\": 41, \"crossFilters\": {\"scope\": {\"excluded\": [42]}, \"chartsInScope\": [41]}}}, \"global_chart_configuration\": {\"scope\": {\"excluded\": [41]}, \"chartsInScope\": [42]}, \"native_filter_configuration\": [{\"targets\": [{\"column\": {\"name\": \"day\"}, \"datasetId\": 17}, {}], \"scope\": {\"rootPath\": [\"ROOT_ID\"], \"excluded\": [41]}, \"chartsInScope\": [42]}]}"
    "#]],
    );
    check(
        Table::DashboardSlices,
        &["dashboard_id", "slice_id"],
        expect![[r#"
        1 41
        1 42
    "#]],
    );
}

#[test]
fn a_dashboard_without_position_gets_the_empty_one() {
    let mut world = World::new(Dialect::Postgres);
    let document = with(&dashboard(), json!({"position": null, "metadata": null}));
    world.put(&[&document]);
    let facts = world.facts(&[Change::Put(document.clone())]);
    let lifted = lift(Kind::Dashboard, DASHBOARD, &facts).unwrap();
    assert_eq!(portable(&lifted), portable(&document));
    expect![[r#"
        NULL "{\"native_filter_configuration\": []}"
    "#]]
    .assert_eq(&world.show(Table::Dashboards, &["position_json", "json_metadata"]));
}

#[test]
fn a_linked_chart_that_stands_nowhere_is_lifted_into_a_row_of_its_own() {
    let mut world = filled(Dialect::Postgres);
    let alone = with(
        &dashboard(),
        json!({"position": {
            "ROOT_ID": {"children": ["GRID_ID"], "id": "ROOT_ID", "type": "ROOT"},
            "GRID_ID": {"children": [], "id": "GRID_ID", "type": "GRID"},
        }}),
    );
    world.put(&[&alone]);
    let chart = world.rows.by_uuid(Table::Slices, CHART).unwrap();
    let dashboard = world.rows.by_uuid(Table::Dashboards, DASHBOARD).unwrap();
    world.add(Table::DashboardSlices, 9, &[("dashboard_id", dashboard.into()), ("slice_id", chart.into())]);
    let facts = world.facts(&[Change::Put(alone)]);
    let Document::Dashboard(lifted) = lift(Kind::Dashboard, DASHBOARD, &facts).unwrap() else { panic!() };
    expect![[r#"{"ROOT_ID": {"children": ["GRID_ID"], "id": "ROOT_ID", "type": "ROOT"}, "GRID_ID": {"children": ["ROW-N-000000000000000000000000000000C1"], "id": "GRID_ID", "type": "GRID"}, "ROW-N-000000000000000000000000000000C1": {"children": ["CHART-000000000000000000000000000000C1"], "id": "ROW-N-000000000000000000000000000000C1", "meta": {"0": "ROOT_ID", "background": "BACKGROUND_TRANSPARENT"}, "type": "ROW", "parents": ["ROOT_ID", "GRID_ID"]}, "CHART-000000000000000000000000000000C1": {"children": [], "id": "CHART-000000000000000000000000000000C1", "meta": {"chartId": 1, "height": 50, "sliceName": "Torte", "uuid": "00000000-0000-0000-0000-0000000000c1", "width": 4}, "type": "CHART", "parents": ["ROOT_ID", "GRID_ID", "ROW-N-000000000000000000000000000000C1"]}}"#]].assert_eq(&dumps_object(&lifted.position.unwrap()));
}
