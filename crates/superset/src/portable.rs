//! What of a document survives the way into rows and back: its form without ids of one database.

use asset::{Chart, Dashboard, Dataset, Document, Extras};
use serde_json::Value;
use uuid::Uuid;

use crate::ids;
use crate::json;
use crate::lift::dashboard::default_position;
use crate::lower::database::{CSV_KEY, renamed_last};

/// Returns a document as it is modulo what differs between two databases and what Superset's importer changes:
/// `portable(lift(put(document))) == portable(document)`.
///
/// - Ids of charts and datasets inside JSON become uuids; the changes named at the top of this crate are made.
/// - `setkeeper` is emptied, and the uuids of columns and metrics, tags and a dashboard's `theme_id` go: exports do
///   not have them. Columns and metrics are sorted by name, the keys of a currency too. A dashboard without position gets the empty one.
#[must_use]
pub fn portable(document: &Document) -> Document {
    let mut document = document.clone();
    match &mut document {
        Document::Database(database) => {
            database.setkeeper = Extras::default();
            database.extra = database.extra.take().map(|extra| renamed_last(&extra, CSV_KEY, CSV_KEY));
        }
        Document::Dataset(dataset) => dataset_(dataset),
        Document::Chart(chart) => chart_(chart),
        Document::Dashboard(dashboard) => dashboard_(dashboard),
    }
    document
}

fn dataset_(dataset: &mut Dataset) {
    for column in &mut dataset.columns {
        column.uuid = None;
    }
    for metric in &mut dataset.metrics {
        metric.uuid = None;
        if let Some(currency) = &mut metric.currency {
            // `jsonb` keeps no order.
            currency.sort_keys();
        }
    }
    dataset.columns.sort_by(|a, b| a.column_name.cmp(&b.column_name));
    dataset.metrics.sort_by(|a, b| a.metric_name.cmp(&b.metric_name));
}

fn chart_(chart: &mut Chart) {
    let id = Value::from(chart.dataset_uuid.to_string());
    let datasource = Value::from(format!("{}__table", chart.dataset_uuid));
    if let Some(params) = &mut chart.params {
        ids::rewrite_params(params, &datasource);
    }
    let context = chart.query_context.take();
    let context = context.and_then(|text| ids::rewrite_query_context(&text, &id, &datasource));
    chart.query_context = context.map(|context| json::dumps_object(&context));
    chart.tags.clear();
}

fn dashboard_(dashboard: &mut Dashboard) {
    let title = &dashboard.dashboard_title;
    let position = dashboard.position.take().filter(|position| !position.is_empty());
    let mut position = position.unwrap_or_else(|| default_position(title));
    let mut metadata = dashboard.metadata.take().unwrap_or_default();
    let as_text = |uuid: Uuid| Some(Value::from(uuid.to_string()));
    ids::rewrite_dashboard(Some(&mut position), &mut metadata, &as_text, &|_| None);
    dashboard.position = Some(position);
    dashboard.metadata = Some(metadata);
    dashboard.theme_id = None;
    dashboard.tags.clear();
}
