//! Datasets to rows of `tables`, `table_columns` and `sql_metrics`.

use std::collections::BTreeMap;

use asset::{Column, Dataset, Kind, Metric};
use uuid::Uuid;

use super::{Lowered, id_of, id_of_hard, must_know_children, row, text};
use crate::facts::{Facts, Reserved};
use crate::fault::Fault;
use crate::perms::Perms;
use crate::rows::Row;
use crate::table::Table;
use crate::value::{Json, Value};

pub(crate) fn rows(dataset: &Dataset, facts: &Facts, ids: &mut Reserved) -> Result<Lowered, Fault> {
    let database = id_of_hard(Kind::Database, dataset.database_uuid, facts)?;
    let id = id_of(Table::Tables, dataset.uuid, facts, ids)?;
    must_know_children(Table::Tables, id, (Table::TableColumns, "table_id"), facts)?;
    must_know_children(Table::Tables, id, (Table::SqlMetrics, "table_id"), facts)?;
    let mut rows = vec![(Table::Tables, id, main(dataset, id, database, facts)?)];
    let mut children = Children { facts, ids, dataset: dataset.uuid, parent: id };
    let known = children.existing(Table::TableColumns, "column_name");
    for column in &dataset.columns {
        let names = Names { table: Table::TableColumns, kind: "column", name: &column.column_name };
        let (id, uuid) = children.identity(&names, column.uuid, &known)?;
        rows.push((Table::TableColumns, id, of_column(column, id, uuid, &children)?));
    }
    let known = children.existing(Table::SqlMetrics, "metric_name");
    for metric in &dataset.metrics {
        let names = Names { table: Table::SqlMetrics, kind: "metric", name: &metric.metric_name };
        let (id, uuid) = children.identity(&names, metric.uuid, &known)?;
        rows.push((Table::SqlMetrics, id, of_metric(metric, id, uuid, &children)?));
    }
    Ok(rows)
}

fn main(dataset: &Dataset, id: i64, database: i64, facts: &Facts) -> Result<Row, Fault> {
    let perms = Perms::of(facts, id, database, dataset);
    let folders = dataset.folders.clone().map(|folders| Value::Json(Json(serde_json::Value::Array(folders))));
    let columns = [
        ("id", Value::Int(id)),
        ("table_name", (&dataset.table_name).into()),
        ("main_dttm_col", dataset.main_dttm_col.as_ref().into()),
        ("currency_code_column", dataset.currency_code_column.as_ref().into()),
        ("description", dataset.description.as_ref().into()),
        ("default_endpoint", dataset.default_endpoint.as_ref().into()),
        ("offset", dataset.offset.into()),
        ("cache_timeout", dataset.cache_timeout.into()),
        ("catalog", dataset.catalog.as_ref().into()),
        ("schema", dataset.schema.as_ref().into()),
        ("sql", dataset.sql.as_ref().into()),
        ("params", text(dataset.params.as_ref())),
        ("template_params", text(dataset.template_params.as_ref())),
        ("filter_select_enabled", dataset.filter_select_enabled.into()),
        ("fetch_values_predicate", dataset.fetch_values_predicate.as_ref().into()),
        ("extra", text(dataset.extra.as_ref())),
        ("normalize_columns", dataset.normalize_columns.into()),
        ("always_filter_main_dttm", dataset.always_filter_main_dttm.into()),
        ("folders", folders.unwrap_or(Value::Null)),
        ("uuid", dataset.uuid.into()),
        ("is_managed_externally", dataset.is_managed_externally.into()),
        ("external_url", dataset.external_url.as_ref().into()),
        ("database_id", database.into()),
        ("perm", perms.perm.into()),
        ("schema_perm", perms.schema.into()),
        ("catalog_perm", perms.catalog.into()),
    ];
    row(&facts.schema, Table::Tables, columns)
}

struct Names<'a> {
    table: Table,
    kind: &'static str,
    name: &'a str,
}

struct Children<'a> {
    facts: &'a Facts,
    ids: &'a mut Reserved,
    dataset: Uuid,
    parent: i64,
}

impl Children<'_> {
    /// Returns the ids of the rows that there are, by name.
    fn existing(&self, table: Table, name: &'static str) -> BTreeMap<String, i64> {
        let rows = &self.facts.rows;
        let ids = rows.find(table, "table_id", &Value::Int(self.parent));
        ids.filter_map(|id| Some((rows.value(table, id, name).as_text()?.to_owned(), id))).collect()
    }

    /// A row that has the name keeps its id, and its uuid unless the document gives one, as with Superset's
    /// importer. A new row's uuid follows from the dataset and the name, so that it is the same everywhere.
    fn identity(
        &mut self,
        names: &Names<'_>,
        given: Option<Uuid>,
        known: &BTreeMap<String, i64>,
    ) -> Result<(i64, Uuid), Fault> {
        let existing = known.get(names.name).copied();
        let kept = existing.and_then(|id| self.facts.rows.value(names.table, id, "uuid").as_uuid());
        let id = match existing {
            Some(id) => id,
            None => self.ids.next(names.table)?,
        };
        let derived = || Uuid::new_v5(&self.dataset, format!("{}/{}", names.kind, names.name).as_bytes());
        Ok((id, given.or(kept).unwrap_or_else(derived)))
    }
}

fn of_column(column: &Column, id: i64, uuid: Uuid, children: &Children<'_>) -> Result<Row, Fault> {
    let columns = [
        ("id", Value::Int(id)),
        ("column_name", (&column.column_name).into()),
        ("verbose_name", column.verbose_name.as_ref().into()),
        ("is_dttm", column.is_dttm.into()),
        ("is_active", column.is_active.into()),
        ("type", column.r#type.as_ref().into()),
        ("advanced_data_type", column.advanced_data_type.as_ref().into()),
        ("groupby", column.groupby.into()),
        ("filterable", column.filterable.into()),
        ("expression", column.expression.as_ref().into()),
        ("description", column.description.as_ref().into()),
        ("python_date_format", column.python_date_format.as_ref().into()),
        ("datetime_format", column.datetime_format.as_ref().into()),
        ("extra", text(column.extra.as_ref())),
        ("uuid", uuid.into()),
        ("table_id", children.parent.into()),
    ];
    row(&children.facts.schema, Table::TableColumns, columns)
        .map_err(|fault| fault.at(format!("columns[{}]", column.column_name)))
}

fn of_metric(metric: &Metric, id: i64, uuid: Uuid, children: &Children<'_>) -> Result<Row, Fault> {
    let currency = metric.currency.clone();
    let currency = currency.map(|currency| Value::Json(Json(serde_json::Value::Object(currency))));
    let columns = [
        ("id", Value::Int(id)),
        ("metric_name", (&metric.metric_name).into()),
        ("verbose_name", metric.verbose_name.as_ref().into()),
        ("metric_type", metric.metric_type.as_ref().into()),
        ("expression", (&metric.expression).into()),
        ("description", metric.description.as_ref().into()),
        ("d3format", metric.d3format.as_ref().into()),
        ("currency", currency.unwrap_or(Value::Null)),
        ("extra", text(metric.extra.as_ref())),
        ("warning_text", metric.warning_text.as_ref().into()),
        ("uuid", uuid.into()),
        ("table_id", children.parent.into()),
    ];
    row(&children.facts.schema, Table::SqlMetrics, columns)
        .map_err(|fault| fault.at(format!("metrics[{}]", metric.metric_name)))
}
