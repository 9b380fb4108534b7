//! Ids inside JSON: charts name their dataset, dashboards their charts and the datasets of their filters.
//!
//! An id of another Superset means nothing here, so each is replaced by the id that the same uuid has here. What
//! an id is replaced by is a JSON value: a number in rows, the uuid itself in [`crate::portable`] documents.

use std::collections::BTreeMap;

use asset::Object;
use serde_json::{Value, json};
use uuid::Uuid;

/// By what a chart's or dataset's uuid is replaced, if it is known.
pub(crate) type Known<'a> = &'a dyn Fn(Uuid) -> Option<Value>;

/// The `chartId` of a chart that does not exist. No row has it, so Superset's page shows its missing-chart box,
/// and saving the dashboard there cannot link a chart of another place that happens to have the old id.
const NO_CHART: i64 = -1;

/// Removes a key without disturbing the order of the others.
fn take(object: &mut Object, key: &str) -> Option<Value> {
    object.shift_remove(key)
}

/// Rewrites a chart's form data: its dataset, and only those annotation layers that need no other row.
pub(crate) fn rewrite_params(params: &mut Object, datasource: &Value) {
    params.insert("datasource".to_owned(), datasource.clone());
    let layers = params.get_mut("annotation_layers").and_then(Value::as_array_mut).map(std::mem::take);
    let is_formula = |layer: &Value| layer.get("annotationType").and_then(Value::as_str) == Some("FORMULA");
    let kept: Vec<Value> = layers.unwrap_or_default().into_iter().filter(is_formula).collect();
    params.insert("annotation_layers".to_owned(), Value::Array(kept));
}

/// Rewrites the dataset in a chart's query context; one that is no JSON object becomes none.
pub(crate) fn rewrite_query_context(text: &str, id: &Value, datasource: &Value) -> Option<Object> {
    let Ok(Value::Object(mut context)) = serde_json::from_str(text) else { return None };
    let source = json!({"id": id, "type": "table"});
    context.insert("datasource".to_owned(), source.clone());
    if let Some(Value::Object(form)) = context.get_mut("form_data") {
        form.insert("datasource".to_owned(), datasource.clone());
    }
    for query in context.get_mut("queries").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(its) = query.get_mut("datasource") {
            *its = source.clone();
        }
    }
    Some(context)
}

/// Charts by the id that the document's origin gave them.
struct Charts(BTreeMap<i64, Value>);

impl Charts {
    fn id(&self, old: &Value) -> Option<Value> {
        self.0.get(&old.as_i64()?).cloned()
    }

    /// Maps a key of an object: the id as text.
    fn key(&self, old: &str) -> Option<(String, Value)> {
        let new = self.0.get(&old.trim().parse().ok()?)?;
        let key = new.as_str().map_or_else(|| new.to_string(), str::to_owned);
        Some((key, new.clone()))
    }

    /// Maps a list and drops what is unknown.
    fn list(&self, holder: Option<&mut Value>, key: &str) {
        let Some(Value::Array(list)) = holder.and_then(|holder| holder.get_mut(key)) else { return };
        *list = list.iter().filter_map(|old| self.id(old)).collect();
    }
}

/// Returns the charts of a position by its places, each with its uuid.
pub(crate) fn charts_in(position: &Object) -> impl Iterator<Item = (&Object, Uuid)> {
    position.values().filter_map(|place| {
        let meta = chart_meta(place)?;
        let uuid = Uuid::parse_str(meta.get("uuid")?.as_str()?).ok()?;
        Some((meta, uuid))
    })
}

fn chart_meta(place: &Value) -> Option<&Object> {
    let is_chart = place.get("type").and_then(Value::as_str) == Some("CHART");
    is_chart.then(|| place.get("meta")?.as_object()).flatten()
}

/// Rewrites a dashboard's position and metadata, as Superset's importer does, `chartsInScope` besides.
pub(crate) fn rewrite_dashboard(
    position: Option<&mut Object>,
    metadata: &mut Object,
    charts: Known<'_>,
    datasets: Known<'_>,
) {
    let mut old_ids = Charts(BTreeMap::new());
    if let Some(position) = position {
        for (meta, uuid) in charts_in(position) {
            if let (Some(old), Some(new)) = (meta.get("chartId").and_then(Value::as_i64), charts(uuid)) {
                old_ids.0.insert(old, new);
            }
        }
        rewrite_position(position, charts);
    }
    rewrite_metadata(metadata, &old_ids, datasets);
}

fn rewrite_position(position: &mut Object, charts: Known<'_>) {
    for place in position.values_mut() {
        let Some(uuid) = chart_meta(place).and_then(|meta| Uuid::parse_str(meta.get("uuid")?.as_str()?).ok())
        else {
            continue;
        };
        if let Some(Value::Object(meta)) = place.get_mut("meta") {
            meta.insert("chartId".to_owned(), charts(uuid).unwrap_or(Value::from(NO_CHART)));
        }
    }
}

fn rewrite_metadata(metadata: &mut Object, charts: &Charts, datasets: Known<'_>) {
    for obsolete in ["show_native_filters", "filter_scopes", "default_filters"] {
        take(metadata, obsolete);
    }
    if let Some(Value::Array(list)) = metadata.get_mut("timed_refresh_immune_slices") {
        *list = list.iter().filter_map(|old| charts.id(old)).collect();
    }
    if let Some(Value::Object(expanded)) = metadata.get_mut("expanded_slices") {
        let entries = std::mem::take(expanded).into_iter();
        *expanded = entries.filter_map(|(key, value)| Some((charts.key(&key)?.0, value))).collect();
    }
    let filters = metadata.entry("native_filter_configuration").or_insert_with(|| Value::Array(Vec::new()));
    for filter in filters.as_array_mut().into_iter().flatten() {
        rewrite_filter(filter, charts, datasets);
    }
    if let Some(configuration @ Value::Object(_)) = metadata.get_mut("global_chart_configuration") {
        charts.list(configuration.get_mut("scope"), "excluded");
        charts.list(Some(configuration), "chartsInScope");
    }
    if let Some(Value::Object(configuration)) = metadata.get_mut("chart_configuration") {
        let entries = std::mem::take(configuration).into_iter();
        *configuration = entries.filter_map(|(key, value)| rewrite_chart(&key, value, charts)).collect();
    }
}

fn rewrite_filter(filter: &mut Value, charts: &Charts, datasets: Known<'_>) {
    for target in filter.get_mut("targets").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(target) = target.as_object_mut() else { continue };
        let uuid = target.get("datasetUuid").and_then(Value::as_str);
        let Some(uuid) = uuid.and_then(|uuid| Uuid::parse_str(uuid).ok()) else { continue };
        take(target, "datasetId");
        // A dataset that is not there yet stays as a uuid, which Superset ignores, so that nothing is lost.
        if let Some(id) = datasets(uuid) {
            take(target, "datasetUuid");
            target.insert("datasetId".to_owned(), id);
        }
    }
    charts.list(filter.get_mut("scope"), "excluded");
    charts.list(Some(filter), "chartsInScope");
}

fn rewrite_chart(key: &str, mut value: Value, charts: &Charts) -> Option<(String, Value)> {
    let (key, id) = charts.key(key)?;
    if let Some(chart) = value.as_object_mut() {
        chart.insert("id".to_owned(), id);
        if let Some(filters) = chart.get_mut("crossFilters") {
            charts.list(filters.get_mut("scope"), "excluded");
            charts.list(Some(filters), "chartsInScope");
        }
    }
    Some((key, value))
}

/// Replaces the datasets of native filters by their uuids, as Superset's export does.
pub(crate) fn name_datasets(metadata: &mut Object, uuid_of: &dyn Fn(i64) -> Option<Uuid>) {
    let filters = metadata.get_mut("native_filter_configuration").and_then(Value::as_array_mut);
    for filter in filters.into_iter().flatten() {
        for target in filter.get_mut("targets").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(target) = target.as_object_mut() else { continue };
            let Some(id) = take(target, "datasetId") else { continue };
            if let Some(uuid) = id.as_i64().and_then(uuid_of) {
                target.insert("datasetUuid".to_owned(), Value::from(uuid.to_string()));
            }
        }
    }
}

/// Returns the ids of the datasets that the native filters of a row's metadata name.
pub(crate) fn datasets_in(metadata: &str) -> Vec<i64> {
    let Ok(Value::Object(metadata)) = serde_json::from_str(metadata) else { return Vec::new() };
    let filters = metadata.get("native_filter_configuration").and_then(Value::as_array);
    let targets =
        filters.into_iter().flatten().filter_map(|filter| filter.get("targets")?.as_array()).flatten();
    targets.filter_map(|target| target.get("datasetId")?.as_i64()).collect()
}
