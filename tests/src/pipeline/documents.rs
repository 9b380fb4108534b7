//! Small documents of each kind.

use serde_json::{Value, json};
use uuid::Uuid;

/// A uuid that tells its kind and number.
pub(crate) fn uuid(kind: char, n: u32) -> Uuid {
    Uuid::from_u128((u128::from(u32::from(kind)) << 96) | u128::from(n))
}

/// Database `n`.
pub(crate) fn database(n: u32) -> Value {
    json!({
        "version": "1.0.0", "uuid": uuid('d', n).to_string(), "database_name": format!("warehouse {n}"),
        "sqlalchemy_uri": "postgresql://reader@127.0.0.1:5432/warehouse",
    })
}

/// Dataset `n` of database `of`.
pub(crate) fn dataset(n: u32, of: u32) -> Value {
    json!({
        "version": "1.0.0", "uuid": uuid('t', n).to_string(), "table_name": format!("sales_{n}"),
        "schema": "public", "database_uuid": uuid('d', of).to_string(),
        "columns": [{"column_name": "amount", "type": "INTEGER"}],
        "metrics": [{"metric_name": "count", "expression": "COUNT(*)"}],
    })
}

/// Chart `n` on dataset `on`.
pub(crate) fn chart(n: u32, on: u32) -> Value {
    json!({
        "version": "1.0.0", "uuid": uuid('c', n).to_string(), "slice_name": format!("chart {n}"),
        "viz_type": "table", "params": {"viz_type": "table", "row_limit": 100},
        "dataset_uuid": uuid('t', on).to_string(),
    })
}

/// Dashboard `n` with charts.
pub(crate) fn dashboard(n: u32, charts: &[u32]) -> Value {
    let mut position = json!({
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": [], "parents": ["ROOT_ID"]},
    });
    for chart in charts {
        let id = format!("CHART-{chart}");
        position[&id] = json!({
            "type": "CHART", "id": id, "children": [], "parents": ["ROOT_ID", "GRID_ID"],
            "meta": {"uuid": uuid('c', *chart).to_string(), "width": 4, "height": 50, "chartId": 1,
                     "sliceName": format!("chart {chart}")},
        });
    }
    json!({
        "version": "1.0.0", "uuid": uuid('b', n).to_string(), "dashboard_title": format!("board {n}"),
        "slug": format!("board-{n}"), "position": position, "metadata": {},
    })
}

/// A document with one key set.
pub(crate) fn with(mut document: Value, key: &str, value: impl Into<Value>) -> Value {
    document[key] = value.into();
    document
}
