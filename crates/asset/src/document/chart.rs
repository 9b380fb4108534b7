//! Charts.

use uuid::Uuid;

use crate::fault::FaultKind;
use crate::fields::{Builder, Fields};
use crate::{Object, VERSION, json};

/// A chart: a row of `slices`.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Not unique.
    pub slice_name: String,
    /// Default: `None`.
    pub description: Option<String>,
    /// Default: `None`.
    pub certified_by: Option<String>,
    /// Default: `None`.
    pub certification_details: Option<String>,
    /// The visualisation, never one of those that Superset itself would migrate on import.
    pub viz_type: String,
    /// The form data; JSON in a text column. Default: `None`.
    pub params: Option<Object>,
    /// JSON text, kept as it was written. Default: `None`.
    pub query_context: Option<String>,
    /// Seconds. Default: `None`.
    pub cache_timeout: Option<i64>,
    /// The identity.
    pub uuid: Uuid,
    /// The dataset that is drawn.
    pub dataset_uuid: Uuid,
    /// Default: false.
    pub is_managed_externally: bool,
    /// Default: `None`.
    pub external_url: Option<String>,
    /// Names of tags; exports have them only under TAGGING_SYSTEM. Default: none.
    pub tags: Vec<String>,
}

/// The types that Superset's importer rewrites, parameters and all, into the one beside it
/// (`superset/migrations/shared/migrate_viz/processors.py`).
const MIGRATED: [(&str, &str); 12] = [
    ("treemap", "treemap_v2"),
    ("pivot_table", "pivot_table_v2"),
    ("dual_line", "mixed_timeseries"),
    ("sunburst", "sunburst_v2"),
    ("line", "echarts_timeseries_line`, `echarts_timeseries_smooth` or `echarts_timeseries_step"),
    ("area", "echarts_area"),
    ("bar", "echarts_timeseries_bar"),
    ("dist_bar", "echarts_timeseries_bar"),
    ("bubble", "bubble_v2"),
    ("heatmap", "heatmap_v2"),
    ("histogram", "histogram_v2"),
    ("sankey", "sankey_v2"),
];

pub(crate) fn parse(mut fields: Fields<'_>) -> Chart {
    let chart = Chart {
        slice_name: fields.required_name("slice_name"),
        description: fields.text("description"),
        certified_by: fields.text("certified_by"),
        certification_details: fields.text("certification_details"),
        viz_type: viz_type(&mut fields),
        params: fields.object_or_text("params"),
        query_context: query_context(&mut fields),
        cache_timeout: fields.integer("cache_timeout", None),
        uuid: fields.required_uuid("uuid"),
        dataset_uuid: fields.required_uuid("dataset_uuid"),
        is_managed_externally: fields.plain_flag("is_managed_externally"),
        external_url: fields.url("external_url"),
        tags: fields.texts("tags"),
    };
    fields.finish("a chart");
    chart
}

fn viz_type(fields: &mut Fields<'_>) -> String {
    let viz_type = fields.required_name("viz_type");
    if viz_type == "filter_box" {
        let message = "Superset has removed `filter_box`; use native filters of the dashboard instead";
        fields.fault("viz_type", FaultKind::Unsupported, message);
    }
    if let Some((old, new)) = MIGRATED.iter().find(|(old, _)| *old == viz_type) {
        let mend = "import the chart into Superset, which rewrites its parameters too, and export it again";
        fields.fault("viz_type", FaultKind::Unsupported, format!("`{old}` was replaced by `{new}`; {mend}"));
    }
    viz_type
}

/// Superset keeps it as text, and its importer refuses text that is not JSON.
fn query_context(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.text("query_context").filter(|text| !text.is_empty())?;
    match json::read(&text) {
        Ok((_, faults)) => {
            for fault in faults.into_vec() {
                fields.fault("query_context", fault.kind, format!("in the JSON that it holds: {fault}"));
            }
        }
        Err(_) => {
            let message = "text that is not JSON; write the JSON as text, or null";
            fields.fault("query_context", FaultKind::BadValue, message);
        }
    }
    Some(text)
}

pub(crate) fn to_json(chart: &Chart) -> Object {
    let mut object = Builder::default();
    object
        .put("slice_name", chart.slice_name.as_str())
        .put_some("description", &chart.description)
        .put_some("certified_by", &chart.certified_by)
        .put_some("certification_details", &chart.certification_details)
        .put("viz_type", chart.viz_type.as_str())
        .put_some("params", &chart.params)
        .put_some("query_context", &chart.query_context)
        .put_some("cache_timeout", &chart.cache_timeout)
        .put_uuid("uuid", chart.uuid)
        .put("version", VERSION)
        .put_uuid("dataset_uuid", chart.dataset_uuid)
        .put_true("is_managed_externally", chart.is_managed_externally)
        .put_some("external_url", &chart.external_url)
        .put_list("tags", chart.tags.iter().map(|tag| tag.as_str().into()).collect());
    object.into_object()
}
