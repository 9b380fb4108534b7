//! Charts to rows of `slices`.

use asset::{Chart, Kind};
use serde_json::Value as Json;

use super::{Lowered, id_of, id_of_hard, row};
use crate::ask::Lookup;
use crate::facts::{Facts, Reserved};
use crate::fault::Fault;
use crate::ids;
use crate::json;
use crate::perms::Perms;
use crate::table::Table;
use crate::value::Value;

pub(crate) fn rows(chart: &Chart, facts: &Facts, reserved: &mut Reserved) -> Result<Lowered, Fault> {
    let dataset = id_of_hard(Kind::Dataset, chart.dataset_uuid, facts)?;
    if let Some(database) = facts.rows.value(Table::Tables, dataset, "database_id").as_int()
        && facts.rows.get(Table::Dbs, database).is_none()
    {
        facts.must_know(Lookup::new(Table::Dbs, "id", database))?;
    }
    let id = id_of(Table::Slices, chart.uuid, facts, reserved)?;
    let datasource = Json::from(format!("{dataset}__table"));
    let params = chart.params.clone().map(|mut params| {
        ids::rewrite_params(&mut params, &datasource);
        json::dumps_object(&params)
    });
    let context = chart.query_context.as_deref();
    let context =
        context.and_then(|text| ids::rewrite_query_context(text, &Json::from(dataset), &datasource));
    let perms = Perms::of_row(facts, dataset);
    let mut columns = row(
        &facts.schema,
        Table::Slices,
        [
            ("id", Value::Int(id)),
            ("slice_name", (&chart.slice_name).into()),
            ("description", chart.description.as_ref().into()),
            ("certified_by", chart.certified_by.as_ref().into()),
            ("certification_details", chart.certification_details.as_ref().into()),
            ("viz_type", (&chart.viz_type).into()),
            ("params", params.into()),
            ("query_context", context.map(|context| json::dumps_object(&context)).into()),
            ("cache_timeout", chart.cache_timeout.into()),
            ("uuid", chart.uuid.into()),
            ("is_managed_externally", chart.is_managed_externally.into()),
            ("external_url", chart.external_url.as_ref().into()),
            ("datasource_id", dataset.into()),
            ("datasource_type", "table".into()),
            ("datasource_name", facts.rows.value(Table::Tables, dataset, "table_name").clone()),
        ],
    )?;
    columns.extend(perms.map(|perms| perms.columns(facts, Table::Slices)).unwrap_or_default());
    Ok(vec![(Table::Slices, id, columns)])
}
