//! Superset's own export, and what it has to be after a push.
//!
//! Both sides are read by [`asset::bundle`] and compared as JSON, key by key. What may differ is written out here,
//! each with its reason; nothing else may.

use std::collections::{BTreeMap, BTreeSet};

use asset::bundle::Bundle;
use asset::{Document, Kind};
use serde_json::{Map, Value, json};

use super::site::Site;

/// Kind and uuid → document.
pub(super) type Documents = BTreeMap<(Kind, String), Value>;

impl Site {
    /// What Superset exports, without the ids of its rows.
    pub(super) async fn exported(&self) -> Documents {
        let (status, zip) =
            self.superset.get_bytes(&self.admin, "/api/v1/assets/export/").await.expect("superset answers");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&zip));
        let file = self.pipeline.folder().join("export.zip");
        std::fs::write(&file, zip).expect("writable");
        let bundle = asset::bundle::read(&file).expect("setkeeper reads what Superset exports");
        let charts = self.uuids("slices").await;
        let datasets = self.uuids("tables").await;
        let mut documents = Documents::new();
        for file in &bundle.documents {
            let (key, mut value) = plain(&file.document);
            check_ids(&value, &charts);
            without_ids(key.0, &mut value, &datasets);
            documents.insert(key, value);
        }
        documents
    }
}

/// What Superset exports after `bundle` was pushed.
pub(super) fn expected(bundle: &Bundle) -> Documents {
    let mut documents = Documents::new();
    for file in &bundle.documents {
        let (key, mut value) = plain(&file.document);
        match key.0 {
            Kind::Database => {}
            Kind::Dataset => as_exported_dataset(&mut value, bundle),
            Kind::Chart => as_imported_chart(&mut value),
            Kind::Dashboard => as_imported_dashboard(&mut value),
        }
        without_ids(key.0, &mut value, &BTreeMap::new());
        documents.insert(key, value);
    }
    documents
}

/// Panics with every difference.
pub(super) fn assert_same(exported: &Documents, expected: &Documents) {
    let mut found = Vec::new();
    let keys: BTreeSet<_> = exported.keys().chain(expected.keys()).collect();
    for key in keys {
        let place = format!("{} {}", key.0, key.1);
        let of = |documents: &Documents| documents.get(key).cloned().unwrap_or(Value::Null);
        differences(&place, &of(exported), &of(expected), &mut found);
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

/// Says where two values are not the same.
pub(super) fn differences(place: &str, got: &Value, wanted: &Value, found: &mut Vec<String>) {
    match (got, wanted) {
        (Value::Object(got), Value::Object(wanted)) => {
            let keys: BTreeSet<_> = got.keys().chain(wanted.keys()).collect();
            for key in keys {
                let place = format!("{place}.{key}");
                match (got.get(key), wanted.get(key)) {
                    (Some(got), Some(wanted)) => differences(&place, got, wanted, found),
                    (got, wanted) => found.push(format!("{place}: {got:?}, not {wanted:?}")),
                }
            }
        }
        (Value::Array(got), Value::Array(wanted)) if got.len() == wanted.len() => {
            for (index, (got, wanted)) in got.iter().zip(wanted).enumerate() {
                differences(&format!("{place}[{index}]"), got, wanted, found);
            }
        }
        _ if got == wanted => {}
        _ => found.push(format!("{place}: {got}, not {wanted}")),
    }
}

/// A document as plain JSON, with only what an export has, in an order that both sides have.
fn plain(document: &Document) -> ((Kind, String), Value) {
    let mut value = Value::Object(document.to_json());
    let object = value.as_object_mut().expect("a document is an object");
    // Ours alone.
    object.remove("setkeeper");
    // Superset's importer takes them, its export leaves them out.
    object.remove("is_managed_externally");
    object.remove("external_url");
    // They come with TAGGING_SYSTEM only, which is off.
    object.remove("tags");
    for (list, name) in [("columns", "column_name"), ("metrics", "metric_name")] {
        if let Some(list) = object.get_mut(list).and_then(Value::as_array_mut) {
            // Superset has no order of columns.
            list.sort_by_key(|item| item[name].to_string());
            for item in list {
                // The export leaves these uuids out.
                item.as_object_mut().expect("an object").remove("uuid");
            }
        }
    }
    ((document.kind(), document.uuid().to_string()), value)
}

/// A dataset without a timeout is exported with that of its database (`SqlaTable.cache_timeout` falls back to it).
fn as_exported_dataset(dataset: &mut Value, bundle: &Bundle) {
    let its = |document: &&Document| dataset["database_uuid"] == document.uuid().to_string();
    let database = bundle.documents.iter().map(|file| &file.document).find(its);
    let timeout = database.and_then(|database| database.to_json().get("cache_timeout").cloned());
    if let (Some(timeout), Some(dataset)) = (timeout, dataset.as_object_mut()) {
        dataset.entry("cache_timeout").or_insert(timeout);
    }
}

/// What Superset's importer does to a chart: only layers that are formulas stay, and the key is always there.
fn as_imported_chart(chart: &mut Value) {
    let Some(params) = chart["params"].as_object_mut() else { return };
    let layers = params.remove("annotation_layers").unwrap_or_default();
    let layers = layers.as_array().cloned().unwrap_or_default();
    let formulas = layers.into_iter().filter(|layer| layer["annotationType"] == "FORMULA").collect();
    params.insert("annotation_layers".to_owned(), Value::Array(formulas));
}

/// What Superset's importer does to a dashboard.
fn as_imported_dashboard(dashboard: &mut Value) {
    if dashboard["metadata"].is_null() {
        dashboard["metadata"] = json!({});
    }
    let metadata = dashboard["metadata"].as_object_mut().expect("an object");
    // Removed in Superset 3.0 …
    metadata.remove("show_native_filters");
    // … and these by its migration of filter boxes, which also adds the list of native filters.
    metadata.remove("filter_scopes");
    metadata.remove("default_filters");
    metadata.entry("native_filter_configuration").or_insert_with(|| json!([]));
}

/// Each chart on a dashboard has to stand there with the id of its own row.
fn check_ids(document: &Value, charts: &BTreeMap<i64, String>) {
    for (id, uuid) in placed(document) {
        if let Some((own, _)) = charts.iter().find(|(_, of)| **of == uuid) {
            assert_eq!(id, *own, "chart {uuid} stands on {} with its own id", document["dashboard_title"]);
        }
    }
}

/// Ids of rows mean nothing elsewhere: each becomes the uuid of its row, or goes if it is that of no chart on the
/// dashboard, as in Superset's importer.
pub(super) fn without_ids(kind: Kind, document: &mut Value, datasets: &BTreeMap<i64, String>) {
    match kind {
        Kind::Database | Kind::Dataset => {}
        Kind::Chart => {
            let own = document["dataset_uuid"].as_str().map(str::to_owned);
            let named = |id: &str| match id.strip_suffix("__table").and_then(|id| id.parse().ok()) {
                Some(id) if !datasets.is_empty() => datasets.get(&id).cloned(),
                _ => own.clone(),
            };
            if let Some(params) = document["params"].as_object_mut() {
                let datasource = params.get("datasource").and_then(Value::as_str).and_then(named);
                params.insert("datasource".to_owned(), json!(datasource.or_else(|| own.clone())));
            }
            let context = document["query_context"].as_str().map(|text| {
                let mut context: Value = serde_json::from_str(text).expect("a query context is JSON");
                name_context(&mut context, own.as_deref(), datasets);
                context
            });
            if let Some(context) = context {
                document["query_context"] = context;
            }
        }
        Kind::Dashboard => {
            let charts: BTreeMap<i64, String> = placed(document).collect();
            name_charts(document, &charts);
        }
    }
}

fn name_context(context: &mut Value, own: Option<&str>, datasets: &BTreeMap<i64, String>) {
    let queries = context["queries"].as_array().map_or(0, Vec::len);
    let places = (0..queries).map(|index| format!("/queries/{index}/datasource"));
    for place in std::iter::once("/datasource".to_owned()).chain(places) {
        let Some(datasource) = context.pointer_mut(&place) else { continue };
        let id = datasource["id"].as_i64().and_then(|id| datasets.get(&id));
        datasource["id"] = json!(id.map_or(own, |uuid| Some(uuid.as_str())));
    }
    if let Some(datasource) = context.pointer_mut("/form_data/datasource") {
        let id = datasource.as_str().and_then(|text| text.strip_suffix("__table")?.parse().ok());
        let id = id.and_then(|id: i64| datasets.get(&id));
        *datasource = json!(id.map_or(own, |uuid| Some(uuid.as_str())));
    }
}

/// Id and uuid of each chart in a dashboard's `position`.
fn placed(document: &Value) -> impl Iterator<Item = (i64, String)> {
    let parts = document["position"].as_object().into_iter().flat_map(Map::values);
    parts.filter(|part| part["type"] == "CHART").filter_map(|part| {
        Some((part["meta"]["chartId"].as_i64()?, part["meta"]["uuid"].as_str()?.to_owned()))
    })
}

fn name_charts(dashboard: &mut Value, charts: &BTreeMap<i64, String>) {
    if let Some(position) = dashboard["position"].as_object_mut() {
        for part in position.values_mut().filter(|part| part["type"] == "CHART") {
            part["meta"]["chartId"] = part["meta"]["uuid"].clone();
        }
    }
    let Some(metadata) = dashboard["metadata"].as_object_mut() else { return };
    for key in ["timed_refresh_immune_slices"] {
        if let Some(list) = metadata.get_mut(key) {
            name_list(list, charts);
        }
    }
    for key in ["expanded_slices", "chart_configuration"] {
        if let Some(Value::Object(map)) = metadata.get_mut(key) {
            name_keys(map, charts);
        }
    }
    let filters = metadata.get_mut("native_filter_configuration").and_then(Value::as_array_mut);
    for filter in filters.into_iter().flatten() {
        name_scope(filter, charts);
    }
    if let Some(global) = metadata.get_mut("global_chart_configuration") {
        name_scope(global, charts);
    }
    let configured = metadata.get_mut("chart_configuration").and_then(Value::as_object_mut);
    for (uuid, configuration) in configured.into_iter().flatten() {
        configuration["id"] = json!(uuid);
        if let Some(filters) = configuration.get_mut("crossFilters") {
            name_scope(filters, charts);
        }
    }
}

/// `scope.excluded`, and `chartsInScope`, which Superset 6.1's importer forgets and setkeeper does not.
fn name_scope(holder: &mut Value, charts: &BTreeMap<i64, String>) {
    for place in ["/scope/excluded", "/chartsInScope"] {
        if let Some(list) = holder.pointer_mut(place) {
            name_list(list, charts);
        }
    }
}

fn name_list(list: &mut Value, charts: &BTreeMap<i64, String>) {
    let Some(ids) = list.as_array() else { return };
    *list = ids.iter().filter_map(|id| charts.get(&id.as_i64()?)).map(|uuid| json!(uuid)).collect();
}

fn name_keys(map: &mut Map<String, Value>, charts: &BTreeMap<i64, String>) {
    let named = std::mem::take(map).into_iter();
    *map = named.filter_map(|(id, value)| Some((charts.get(&id.parse().ok()?)?.clone(), value))).collect();
}

#[test]
fn the_comparison_sees_one_changed_key_and_one_wrong_chart() {
    let uri = "postgresql://nobody@127.0.0.1:1/none";
    let mut files = super::bundle::demo(uri);
    let before = expected(&super::bundle::read(&files));
    let dashboard = files.get_mut("dashboards/shop.yaml").expect("the demo has a dashboard");
    let text = String::from_utf8(dashboard.clone()).expect("UTF-8");
    let (chart, other) =
        ("uuid: 5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0011", "uuid: 5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0019");
    assert!(text.contains(chart) && text.contains("published: true"));
    *dashboard = text.replace(chart, other).replace("published: true", "published: false").into_bytes();
    let after = expected(&super::bundle::read(&files));
    let mut found = Vec::new();
    for (key, document) in &before {
        differences(&key.0.to_string(), document, &after[key], &mut found);
    }
    let places: Vec<_> = found.iter().filter_map(|difference| difference.split(':').next()).collect();
    let meta = "dashboard.position.CHART-revenue.meta";
    assert_eq!(places, [&format!("{meta}.chartId"), &format!("{meta}.uuid"), "dashboard.published"]);
}
