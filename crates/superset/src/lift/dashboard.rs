//! Rows of `dashboards` and `dashboard_slices` to dashboards.

use std::collections::BTreeMap;

use asset::{Dashboard, Object};
use serde_json::{Value as Parsed, json};
use uuid::Uuid;

use super::Source;
use crate::facts::Facts;
use crate::fault::Fault;
use crate::ids;
use crate::table::Table;
use crate::value::Value;

pub(crate) fn lift(source: &Source<'_>, uuid: Uuid, facts: &Facts) -> Result<Dashboard, Fault> {
    let title = source.text("dashboard_title").unwrap_or_default();
    let position = source.object("position_json")?.filter(|position| !position.is_empty());
    let mut position = position.unwrap_or_else(|| default_position(&title));
    append_orphans(&mut position, source.id, facts);
    let mut metadata = source.object("json_metadata")?;
    if let Some(metadata) = &mut metadata {
        ids::name_datasets(metadata, &|id| facts.rows.value(Table::Tables, id, "uuid").as_uuid());
    }
    let theme = source.int("theme_id");
    Ok(Dashboard {
        dashboard_title: title,
        description: source.text("description"),
        css: source.text("css"),
        slug: source.text("slug"),
        certified_by: source.text("certified_by"),
        certification_details: source.text("certification_details"),
        published: source.bool("published"),
        uuid,
        position: Some(position),
        metadata,
        theme_uuid: theme.and_then(|theme| facts.rows.value(Table::Themes, theme, "uuid").as_uuid()),
        theme_id: None,
        is_managed_externally: source.bool("is_managed_externally").unwrap_or(false),
        external_url: source.text("external_url"),
        tags: Vec::new(),
    })
}

/// The position that Superset's export gives a dashboard that has none.
pub(crate) fn default_position(title: &str) -> Object {
    let position = json!({
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"children": ["GRID_ID"], "id": "ROOT_ID", "type": "ROOT"},
        "GRID_ID": {"children": [], "id": "GRID_ID", "parents": ["ROOT_ID"], "type": "GRID"},
        "HEADER_ID": {"id": "HEADER_ID", "meta": {"text": title}, "type": "HEADER"},
    });
    match position {
        Parsed::Object(position) => position,
        _ => Object::new(),
    }
}

/// Adds charts that are linked but stand nowhere in a new row below the others, as Superset's export does. That one
/// names the places at random; here they follow from the charts.
fn append_orphans(position: &mut Object, dashboard: i64, facts: &Facts) {
    let placed: Vec<Uuid> = ids::charts_in(position).map(|(_, uuid)| uuid).collect();
    let links = facts.rows.find(Table::DashboardSlices, "dashboard_id", &Value::Int(dashboard));
    let charts = links.filter_map(|link| facts.rows.value(Table::DashboardSlices, link, "slice_id").as_int());
    let orphans: BTreeMap<Uuid, i64> = charts
        .filter_map(|chart| Some((facts.rows.value(Table::Slices, chart, "uuid").as_uuid()?, chart)))
        .filter(|(uuid, _)| !placed.contains(uuid))
        .collect();
    let Some(first) = orphans.keys().next() else { return };
    let places: Vec<String> = orphans.keys().map(|uuid| format!("CHART-{}", suffix(*uuid))).collect();
    let row = format!("ROW-N-{}", suffix(*first));
    let has_grid = position
        .get("ROOT_ID")
        .and_then(|root| root.get("children")?.as_array())
        .is_some_and(|children| children.contains(&Parsed::from("GRID_ID")));
    if has_grid
        && let Some(Parsed::Array(children)) =
            position.get_mut("GRID_ID").and_then(|grid| grid.get_mut("children"))
    {
        children.push(Parsed::from(row.clone()));
        let meta = json!({"0": "ROOT_ID", "background": "BACKGROUND_TRANSPARENT"});
        let parents = json!(["ROOT_ID", "GRID_ID"]);
        let its = json!({"children": places, "id": row, "meta": meta, "type": "ROW", "parents": parents});
        position.insert(row.clone(), its);
    }
    for (place, (uuid, chart)) in places.iter().zip(&orphans) {
        let name = facts.rows.value(Table::Slices, *chart, "slice_name").as_text();
        let meta =
            json!({"chartId": chart, "height": 50, "sliceName": name, "uuid": uuid.to_string(), "width": 4});
        let mut its = json!({"children": [], "id": place, "meta": meta, "type": "CHART"});
        if has_grid {
            its["parents"] = json!(["ROOT_ID", "GRID_ID", row]);
        }
        position.insert(place.clone(), its);
    }
}

fn suffix(uuid: Uuid) -> String {
    uuid.simple().to_string().to_uppercase()
}
