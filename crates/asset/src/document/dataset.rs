//! Datasets with their columns and metrics.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use crate::fault::{Fault, FaultKind, Faults, index_path, key_path};
use crate::fields::{Builder, Fields};
use crate::{Object, VERSION};

/// A table or a query: a row of `tables` with its rows of `table_columns` and `sql_metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The name of the table, or of the dataset when `sql` is given.
    pub table_name: String,
    /// Default: `None`.
    pub main_dttm_col: Option<String>,
    /// Since Superset 6.1. Default: `None`.
    pub currency_code_column: Option<String>,
    /// Default: `None`.
    pub description: Option<String>,
    /// Default: `None`.
    pub default_endpoint: Option<String>,
    /// Hours. Default: `Some(0)`.
    pub offset: Option<i64>,
    /// Seconds. Default: `None`.
    pub cache_timeout: Option<i64>,
    /// Since Superset 4.1. Default: `None`.
    pub catalog: Option<String>,
    /// Default: `None`.
    pub schema: Option<String>,
    /// The query of a virtual dataset. Default: `None`.
    pub sql: Option<String>,
    /// JSON in a text column. Default: `None`.
    pub params: Option<Object>,
    /// JSON in a text column. Default: `None`.
    pub template_params: Option<Object>,
    /// Default: `Some(true)`.
    pub filter_select_enabled: Option<bool>,
    /// Default: `None`.
    pub fetch_values_predicate: Option<String>,
    /// JSON in a text column. Default: `None`.
    pub extra: Option<Object>,
    /// Default: `Some(false)`.
    pub normalize_columns: Option<bool>,
    /// Default: `Some(false)`.
    pub always_filter_main_dttm: Option<bool>,
    /// A JSON list. Since Superset 6.0. Default: `None`.
    pub folders: Option<Vec<Value>>,
    /// The identity.
    pub uuid: Uuid,
    /// Names are unique within the dataset. Default: none.
    pub metrics: Vec<Metric>,
    /// Names are unique within the dataset. Default: none.
    pub columns: Vec<Column>,
    /// The database that holds the table.
    pub database_uuid: Uuid,
    /// Default: false.
    pub is_managed_externally: bool,
    /// Default: `None`.
    pub external_url: Option<String>,
}

/// A column of a dataset: a row of `table_columns`.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Unique within the dataset.
    pub column_name: String,
    /// Default: `None`.
    pub verbose_name: Option<String>,
    /// Default: `Some(false)`.
    pub is_dttm: Option<bool>,
    /// Default: `Some(true)`.
    pub is_active: Option<bool>,
    /// The database's type. Default: `None`.
    pub r#type: Option<String>,
    /// Default: `None`.
    pub advanced_data_type: Option<String>,
    /// Default: `Some(true)`.
    pub groupby: Option<bool>,
    /// Default: `Some(true)`.
    pub filterable: Option<bool>,
    /// Default: `None`.
    pub expression: Option<String>,
    /// Default: `None`.
    pub description: Option<String>,
    /// Default: `None`.
    pub python_date_format: Option<String>,
    /// Since Superset 6.1. Default: `None`.
    pub datetime_format: Option<String>,
    /// JSON in a text column. Default: `None`.
    pub extra: Option<Object>,
    /// Superset's exports never carry it. Default: `None`, and the applier derives one from the dataset's uuid.
    pub uuid: Option<Uuid>,
}

/// A metric of a dataset: a row of `sql_metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Unique within the dataset.
    pub metric_name: String,
    /// Default: `None`.
    pub verbose_name: Option<String>,
    /// Default: `None`.
    pub metric_type: Option<String>,
    /// SQL.
    pub expression: String,
    /// Default: `None`.
    pub description: Option<String>,
    /// Default: `None`.
    pub d3format: Option<String>,
    /// `symbol` and `symbolPosition`; an older export's JSON text is read too. Default: `None`.
    pub currency: Option<Object>,
    /// JSON in a text column. Default: `None`.
    pub extra: Option<Object>,
    /// Default: `None`.
    pub warning_text: Option<String>,
    /// Superset's exports never carry it. Default: `None`, and the applier derives one from the dataset's uuid.
    pub uuid: Option<Uuid>,
}

/// Keys that only tell Superset's importer where to load example rows from, or how to translate example SQL.
/// None of them is a column.
pub(crate) const NOT_OURS: [&str; 3] = ["data", "data_file", "source_db_engine"];

pub(crate) fn parse(mut fields: Fields<'_>) -> Dataset {
    for key in NOT_OURS {
        if fields.take_some(key).is_some() {
            let message = "loads or translates example data, which setkeeper does not; strip it";
            fields.fault(key, FaultKind::Unsupported, message);
        }
    }
    let metrics = fields.list("metrics");
    let columns = fields.list("columns");
    let (metrics_path, columns_path) = (fields.path_of("metrics"), fields.path_of("columns"));
    let dataset = Dataset {
        table_name: fields.required_name("table_name"),
        main_dttm_col: fields.text("main_dttm_col"),
        currency_code_column: fields.text("currency_code_column"),
        description: fields.text("description"),
        default_endpoint: fields.url("default_endpoint"),
        offset: fields.integer("offset", Some(0)),
        cache_timeout: fields.integer("cache_timeout", None),
        catalog: fields.text("catalog"),
        schema: fields.text("schema"),
        sql: fields.text("sql"),
        params: fields.object_or_text("params"),
        template_params: fields.object_or_text("template_params"),
        filter_select_enabled: fields.flag("filter_select_enabled", true),
        fetch_values_predicate: fields.text("fetch_values_predicate"),
        extra: fields.object_or_text("extra"),
        normalize_columns: fields.flag("normalize_columns", false),
        always_filter_main_dttm: fields.flag("always_filter_main_dttm", false),
        folders: fields.has("folders").then(|| folders(&mut fields)).flatten(),
        uuid: fields.required_uuid("uuid"),
        metrics: children(&metrics_path, metrics, fields.faults(), metric),
        columns: children(&columns_path, columns, fields.faults(), column),
        database_uuid: fields.required_uuid("database_uuid"),
        is_managed_externally: fields.plain_flag("is_managed_externally"),
        external_url: fields.url("external_url"),
    };
    let columns = dataset.columns.iter().map(|column| (column.column_name.as_str(), column.uuid));
    check_unique(&columns_path, "column_name", columns, fields.faults());
    let metrics = dataset.metrics.iter().map(|metric| (metric.metric_name.as_str(), metric.uuid));
    check_unique(&metrics_path, "metric_name", metrics, fields.faults());
    fields.finish("a dataset");
    dataset
}

/// A list, where null is not the empty list.
fn folders(fields: &mut Fields<'_>) -> Option<Vec<Value>> {
    let value = fields.take_some("folders")?;
    match value {
        Value::Array(list) => Some(list),
        _ => {
            fields.fault("folders", FaultKind::WrongType, "expected a list or null");
            None
        }
    }
}

fn children<T>(path: &str, list: Vec<Value>, faults: &mut Faults, child: impl Fn(Fields<'_>) -> T) -> Vec<T> {
    let list = list.into_iter().enumerate();
    list.map(|(index, value)| child(Fields::new(index_path(path, index), value, faults))).collect()
}

fn column(mut fields: Fields<'_>) -> Column {
    let column = Column {
        column_name: fields.required_name("column_name"),
        verbose_name: fields.text("verbose_name"),
        is_dttm: fields.flag("is_dttm", false),
        is_active: fields.flag("is_active", true),
        r#type: fields.text("type"),
        advanced_data_type: fields.text("advanced_data_type"),
        groupby: fields.flag("groupby", true),
        filterable: fields.flag("filterable", true),
        expression: fields.text("expression"),
        description: fields.text("description"),
        python_date_format: fields.text("python_date_format"),
        datetime_format: fields.text("datetime_format"),
        extra: fields.object_or_text("extra"),
        uuid: fields.uuid("uuid"),
    };
    fields.finish("a column");
    column
}

fn metric(mut fields: Fields<'_>) -> Metric {
    let metric = Metric {
        metric_name: fields.required_name("metric_name"),
        verbose_name: fields.text("verbose_name"),
        metric_type: fields.text("metric_type"),
        expression: fields.required_text("expression"),
        description: fields.text("description"),
        d3format: fields.text("d3format"),
        currency: currency(&mut fields),
        extra: fields.object_or_text("extra"),
        warning_text: fields.text("warning_text"),
        uuid: fields.uuid("uuid"),
    };
    fields.finish("a metric");
    metric
}

/// Superset knows two keys; an empty object is none of them.
fn currency(fields: &mut Fields<'_>) -> Option<Object> {
    let currency = fields.object_or_text("currency")?;
    for key in currency.keys().filter(|key| !["symbol", "symbolPosition"].contains(&key.as_str())) {
        let path = key_path(&fields.path_of("currency"), key);
        let message = "a currency has no such key; remove it, or mend its spelling";
        fields.fault_at(path, FaultKind::UnknownKey, message);
    }
    Some(currency)
}

/// Superset has unique constraints on (dataset, name) and on the uuids.
fn check_unique<'n>(
    path: &str,
    key: &str,
    children: impl Iterator<Item = (&'n str, Option<Uuid>)>,
    faults: &mut Faults,
) {
    let (mut names, mut uuids) = (BTreeSet::new(), BTreeSet::new());
    for (index, (name, uuid)) in children.enumerate() {
        let path = index_path(path, index);
        if !name.is_empty() && !names.insert(name) {
            let message = "an earlier one has the same name; remove or rename one of them";
            faults.push(Fault::new(format!("{path}.{key}"), FaultKind::BadValue, message));
        }
        if uuid.is_some_and(|uuid| !uuids.insert(uuid)) {
            let message = "an earlier one has the same uuid; remove it from one of them";
            faults.push(Fault::new(format!("{path}.uuid"), FaultKind::BadValue, message));
        }
    }
}

pub(crate) fn to_json(dataset: &Dataset) -> Object {
    let mut object = Builder::default();
    object
        .put("table_name", dataset.table_name.as_str())
        .put_some("main_dttm_col", &dataset.main_dttm_col)
        .put_some("currency_code_column", &dataset.currency_code_column)
        .put_some("description", &dataset.description)
        .put_some("default_endpoint", &dataset.default_endpoint)
        .put_unless("offset", &dataset.offset, Some(0))
        .put_some("cache_timeout", &dataset.cache_timeout)
        .put_some("catalog", &dataset.catalog)
        .put_some("schema", &dataset.schema)
        .put_some("sql", &dataset.sql)
        .put_some("params", &dataset.params)
        .put_some("template_params", &dataset.template_params)
        .put_unless("filter_select_enabled", &dataset.filter_select_enabled, Some(true))
        .put_some("fetch_values_predicate", &dataset.fetch_values_predicate)
        .put_some("extra", &dataset.extra)
        .put_unless("normalize_columns", &dataset.normalize_columns, Some(false))
        .put_unless("always_filter_main_dttm", &dataset.always_filter_main_dttm, Some(false))
        .put_some("folders", &dataset.folders)
        .put_uuid("uuid", dataset.uuid)
        .put_list("metrics", dataset.metrics.iter().map(metric_to_json).collect())
        .put_list("columns", dataset.columns.iter().map(column_to_json).collect())
        .put("version", VERSION)
        .put_uuid("database_uuid", dataset.database_uuid)
        .put_true("is_managed_externally", dataset.is_managed_externally)
        .put_some("external_url", &dataset.external_url);
    object.into_object()
}

fn column_to_json(column: &Column) -> Value {
    let mut object = Builder::default();
    object
        .put("column_name", column.column_name.as_str())
        .put_some("verbose_name", &column.verbose_name)
        .put_unless("is_dttm", &column.is_dttm, Some(false))
        .put_unless("is_active", &column.is_active, Some(true))
        .put_some("type", &column.r#type)
        .put_some("advanced_data_type", &column.advanced_data_type)
        .put_unless("groupby", &column.groupby, Some(true))
        .put_unless("filterable", &column.filterable, Some(true))
        .put_some("expression", &column.expression)
        .put_some("description", &column.description)
        .put_some("python_date_format", &column.python_date_format)
        .put_some("datetime_format", &column.datetime_format)
        .put_some("extra", &column.extra)
        .put_some("uuid", &column.uuid.map(|uuid| uuid.to_string()));
    Value::Object(object.into_object())
}

fn metric_to_json(metric: &Metric) -> Value {
    let mut object = Builder::default();
    object
        .put("metric_name", metric.metric_name.as_str())
        .put_some("verbose_name", &metric.verbose_name)
        .put_some("metric_type", &metric.metric_type)
        .put("expression", metric.expression.as_str())
        .put_some("description", &metric.description)
        .put_some("d3format", &metric.d3format)
        .put_some("currency", &metric.currency)
        .put_some("extra", &metric.extra)
        .put_some("warning_text", &metric.warning_text)
        .put_some("uuid", &metric.uuid.map(|uuid| uuid.to_string()));
    Value::Object(object.into_object())
}
