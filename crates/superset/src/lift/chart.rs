//! Rows of `slices` to charts.

use asset::Chart;
use uuid::Uuid;

use super::Source;
use crate::facts::Facts;
use crate::fault::Fault;
use crate::table::Table;

pub(crate) fn lift(source: &Source<'_>, uuid: Uuid, facts: &Facts) -> Result<Chart, Fault> {
    let dataset =
        source.int("datasource_id").filter(|_| source.text("datasource_type").as_deref() == Some("table"));
    let dataset_uuid = dataset.and_then(|dataset| facts.rows.value(Table::Tables, dataset, "uuid").as_uuid());
    Ok(Chart {
        slice_name: source.text_or_fault("slice_name")?,
        description: source.text("description"),
        certified_by: source.text("certified_by"),
        certification_details: source.text("certification_details"),
        viz_type: source.text_or_fault("viz_type")?,
        params: source.object("params")?,
        query_context: source.text("query_context"),
        cache_timeout: source.int("cache_timeout"),
        uuid,
        dataset_uuid: dataset_uuid
            .ok_or_else(|| source.unreadable("datasource_id", "it points to no dataset with a uuid"))?,
        is_managed_externally: source.bool("is_managed_externally").unwrap_or(false),
        external_url: source.text("external_url"),
        tags: Vec::new(),
    })
}
