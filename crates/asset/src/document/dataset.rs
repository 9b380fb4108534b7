//! Datasets with their columns and metrics.

use serde_json::Value;
use uuid::Uuid;

use crate::Object;

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
