//! Dashboards to rows of `dashboards` and `dashboard_slices`.

use std::collections::{BTreeMap, BTreeSet};

use asset::{Dashboard, Object};
use serde_json::Value as Json;
use uuid::Uuid;

use super::{Lowered, id_of, must_know_children, row, text};
use crate::ask::Lookup;
use crate::facts::{Facts, Reserved};
use crate::fault::Fault;
use crate::ids;
use crate::rows::Row;
use crate::table::Table;
use crate::value::Value;

pub(crate) fn rows(dashboard: &Dashboard, facts: &Facts, reserved: &mut Reserved) -> Result<Lowered, Fault> {
    let id = id_of(Table::Dashboards, dashboard.uuid, facts, reserved)?;
    must_know_children(Table::Dashboards, id, (Table::DashboardSlices, "dashboard_id"), facts)?;
    let charts = charts(dashboard, facts)?;
    let mut position = dashboard.position.clone();
    let mut metadata = dashboard.metadata.clone().unwrap_or_default();
    ids::rewrite_dashboard(
        position.as_mut(),
        &mut metadata,
        &|uuid| charts.get(&uuid).map(|id| Json::from(*id)),
        &|uuid| facts.rows.by_uuid(Table::Tables, uuid).map(Json::from),
    );
    let theme = theme(dashboard, facts)?;
    let columns = [
        ("id", Value::Int(id)),
        ("dashboard_title", (&dashboard.dashboard_title).into()),
        ("description", dashboard.description.as_ref().into()),
        ("css", dashboard.css.as_ref().into()),
        ("slug", dashboard.slug.as_ref().into()),
        ("certified_by", dashboard.certified_by.as_ref().into()),
        ("certification_details", dashboard.certification_details.as_ref().into()),
        ("published", dashboard.published.into()),
        ("uuid", dashboard.uuid.into()),
        ("position_json", text(position.as_ref())),
        ("json_metadata", text(Some(&metadata))),
        ("theme_id", theme),
        ("is_managed_externally", dashboard.is_managed_externally.into()),
        ("external_url", dashboard.external_url.as_ref().into()),
    ];
    let mut rows = vec![(Table::Dashboards, id, row(&facts.schema, Table::Dashboards, columns)?)];
    rows.extend(links(id, &charts, facts, reserved)?);
    Ok(rows)
}

/// Returns the charts of the position that exist, by uuid.
fn charts(dashboard: &Dashboard, facts: &Facts) -> Result<BTreeMap<Uuid, i64>, Fault> {
    let mut charts = BTreeMap::new();
    for (_, uuid) in dashboard.position.iter().flat_map(|position: &Object| ids::charts_in(position)) {
        facts.must_know(Lookup::new(Table::Slices, "uuid", uuid))?;
        if let Some(id) = facts.rows.by_uuid(Table::Slices, uuid) {
            charts.insert(uuid, id);
        }
    }
    Ok(charts)
}

/// A theme that is not there is left out, as with Superset's importer.
fn theme(dashboard: &Dashboard, facts: &Facts) -> Result<Value, Fault> {
    let Some(uuid) = dashboard.theme_uuid else { return Ok(Value::Null) };
    if !facts.schema.has_table(Table::Themes) {
        return Ok(Value::Null);
    }
    facts.must_know(Lookup::new(Table::Themes, "uuid", uuid))?;
    Ok(facts.rows.by_uuid(Table::Themes, uuid).into())
}

/// Links one row per chart. A link that is there keeps its id; of two for one chart, the first.
fn links(
    dashboard: i64,
    charts: &BTreeMap<Uuid, i64>,
    facts: &Facts,
    reserved: &mut Reserved,
) -> Result<Lowered, Fault> {
    let table = Table::DashboardSlices;
    let mut existing = BTreeMap::new();
    for link in facts.rows.find(table, "dashboard_id", &Value::Int(dashboard)) {
        if let Some(chart) = facts.rows.value(table, link, "slice_id").as_int() {
            existing.entry(chart).or_insert(link);
        }
    }
    let mut rows = Lowered::new();
    for chart in charts.values().copied().collect::<BTreeSet<_>>() {
        let id = match existing.get(&chart) {
            Some(id) => *id,
            None => reserved.next(table)?,
        };
        let columns = [("id", id), ("dashboard_id", dashboard), ("slice_id", chart)];
        let row: Row = columns.into_iter().map(|(column, value)| (column, Value::Int(value))).collect();
        rows.push((table, id, row));
    }
    Ok(rows)
}
