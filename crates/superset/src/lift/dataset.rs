//! Rows of `tables`, `table_columns` and `sql_metrics` to datasets.

use asset::{Column, Dataset, Metric, Object};
use serde_json::Value as Parsed;
use uuid::Uuid;

use super::Source;
use crate::facts::Facts;
use crate::fault::Fault;
use crate::table::Table;
use crate::value::Value;

pub(crate) fn lift(source: &Source<'_>, uuid: Uuid, facts: &Facts) -> Result<Dataset, Fault> {
    let database = source.int("database_id").unwrap_or_default();
    let database_uuid = facts.rows.value(Table::Dbs, database, "uuid").as_uuid();
    let mut columns = children(source, Table::TableColumns, facts, column)?;
    columns.sort_by(|a: &Column, b| a.column_name.cmp(&b.column_name));
    let mut metrics = children(source, Table::SqlMetrics, facts, metric)?;
    metrics.sort_by(|a: &Metric, b| a.metric_name.cmp(&b.metric_name));
    Ok(Dataset {
        table_name: source.text_or_fault("table_name")?,
        main_dttm_col: source.text("main_dttm_col"),
        currency_code_column: source.text("currency_code_column"),
        description: source.text("description"),
        default_endpoint: source.text("default_endpoint"),
        offset: source.int("offset"),
        cache_timeout: source.int("cache_timeout"),
        catalog: source.text("catalog"),
        schema: source.text("schema"),
        sql: source.text("sql"),
        params: source.object("params")?,
        template_params: source.object("template_params")?,
        filter_select_enabled: source.bool("filter_select_enabled"),
        fetch_values_predicate: source.text("fetch_values_predicate"),
        extra: source.object("extra")?,
        normalize_columns: source.bool("normalize_columns"),
        always_filter_main_dttm: source.bool("always_filter_main_dttm"),
        folders: folders(source)?,
        uuid,
        metrics,
        columns,
        database_uuid: database_uuid
            .ok_or_else(|| source.unreadable("database_id", "the database that it points to has no uuid"))?,
        is_managed_externally: source.bool("is_managed_externally").unwrap_or(false),
        external_url: source.text("external_url"),
    })
}

fn folders(source: &Source<'_>) -> Result<Option<Vec<Parsed>>, Fault> {
    match source.value("folders") {
        Value::Null => Ok(None),
        Value::Json(json) => match &json.0 {
            Parsed::Array(folders) => Ok(Some(folders.clone())),
            _ => Err(source.unreadable("folders", "it is not a JSON list")),
        },
        _ => Err(source.unreadable("folders", "it is not JSON")),
    }
}

fn children<T>(
    source: &Source<'_>,
    table: Table,
    facts: &Facts,
    lift: fn(&Source<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let ids = facts.rows.find(table, "table_id", &Value::Int(source.id));
    let sources = ids.filter_map(|id| Some(Source { table, id, row: facts.rows.get(table, id)? }));
    sources.map(|source| lift(&source)).collect()
}

fn column(source: &Source<'_>) -> Result<Column, Fault> {
    Ok(Column {
        column_name: source.text_or_fault("column_name")?,
        verbose_name: source.text("verbose_name"),
        is_dttm: source.bool("is_dttm"),
        is_active: source.bool("is_active"),
        r#type: source.text("type"),
        advanced_data_type: source.text("advanced_data_type"),
        groupby: source.bool("groupby"),
        filterable: source.bool("filterable"),
        expression: source.text("expression"),
        description: source.text("description"),
        python_date_format: source.text("python_date_format"),
        datetime_format: source.text("datetime_format"),
        extra: source.object("extra")?,
        uuid: None,
    })
}

fn metric(source: &Source<'_>) -> Result<Metric, Fault> {
    Ok(Metric {
        metric_name: source.text_or_fault("metric_name")?,
        verbose_name: source.text("verbose_name"),
        metric_type: source.text("metric_type"),
        expression: source.text_or_fault("expression")?,
        description: source.text("description"),
        d3format: source.text("d3format"),
        currency: currency(source)?,
        extra: source.object("extra")?,
        warning_text: source.text("warning_text"),
        uuid: None,
    })
}

/// Older Supersets kept the currency as text, and some rows still have JSON text inside JSON.
fn currency(source: &Source<'_>) -> Result<Option<Object>, Fault> {
    let unreadable = || source.unreadable("currency", "it is not a JSON object");
    match source.value("currency") {
        Value::Null => Ok(None),
        Value::Json(json) => match &json.0 {
            Parsed::Object(currency) => Ok(Some(currency.clone())),
            Parsed::String(text) if text.is_empty() => Ok(None),
            Parsed::String(text) => serde_json::from_str(text).map_err(|_| unreadable()),
            _ => Err(unreadable()),
        },
        _ => Err(unreadable()),
    }
}
