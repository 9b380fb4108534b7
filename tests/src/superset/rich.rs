//! One asset of each kind with every field that Superset's export format has.

use serde_json::{Value, json};

use super::bundle::Files;

const DATABASE: &str = "00000000-0000-0000-0002-000000000001";
const TABLE: &str = "00000000-0000-0000-0002-000000000002";
const QUERY: &str = "00000000-0000-0000-0002-000000000003";
const CHARTS: [&str; 3] = [
    "00000000-0000-0000-0002-000000000011",
    "00000000-0000-0000-0002-000000000012",
    "00000000-0000-0000-0002-000000000013",
];

/// The bundle, on the database `oracle` at `uri`.
pub(super) fn bundle(uri: &str) -> Files {
    let documents = [
        ("metadata", json!({"version": "1.0.0", "type": "assets"})),
        ("databases/rich", database(uri)),
        ("datasets/rich/table", table()),
        ("datasets/rich/query", query()),
        ("charts/annotated", annotated()),
        ("charts/plain", chart(1, QUERY, json!({"viz_type": "pie", "adhoc_filters": [], "q": null}))),
        ("charts/empty", chart(2, TABLE, json!({}))),
        ("dashboards/rich", dashboard()),
    ];
    documents.map(|(name, value)| (format!("{name}.yaml"), value.to_string().into_bytes())).into()
}

fn database(uri: &str) -> Value {
    json!({
        "database_name": "rich", "sqlalchemy_uri": uri, "cache_timeout": 300, "expose_in_sqllab": false,
        "allow_run_async": true, "allow_ctas": true, "allow_cvas": true, "allow_dml": true,
        "allow_csv_upload": true, "impersonate_user": true, "configuration_method": "dynamic_form",
        "extra": {
            "metadata_params": {"schema": "x"}, "schemas_allowed_for_csv_upload": ["public"],
            "engine_params": {"connect_args": {"application_name": "é"}},
            "metadata_cache_timeout": {"schema_cache_timeout": 60}, "cost_estimate_enabled": true,
            "allows_virtual_table_explore": true, "disable_data_preview": true, "version": "15",
        },
        "is_managed_externally": true, "external_url": "https://example.org/db", "uuid": DATABASE,
        "version": "1.0.0",
    })
}

fn table() -> Value {
    let column = |name: &str| {
        json!({
            "column_name": name, "verbose_name": format!("The {name}"), "is_dttm": false, "is_active": false,
            "type": "VARCHAR(10)", "advanced_data_type": "port", "groupby": false, "filterable": false,
            "expression": format!("upper({name})"), "description": "é \"x\"",
            "python_date_format": "%Y", "datetime_format": "%d", "extra": {"warning_markdown": "**!**"},
        })
    };
    json!({
        "table_name": "rich", "main_dttm_col": "day", "currency_code_column": "code", "description": "Rich\n\nä",
        "default_endpoint": "/x", "offset": 3, "cache_timeout": 60, "catalog": "oracle", "schema": "public",
        "sql": null, "params": {"hello": [1, 2.5, null]}, "template_params": {"p": "{{ x }}"},
        "filter_select_enabled": false, "fetch_values_predicate": "1 = 1",
        "extra": {"certification": {"certified_by": "me", "details": "d"}}, "normalize_columns": true,
        "always_filter_main_dttm": true,
        "folders": [{
            "uuid": "00000000-0000-0000-0002-0000000000f1", "type": "folder", "name": "All",
            "children": [{"uuid": "00000000-0000-0000-0002-0000000000f2", "type": "metric"}],
        }],
        "metrics": [
            {
                "metric_name": "total", "verbose_name": "Total", "metric_type": "sum",
                "expression": "SUM(\"x\")", "description": "d", "d3format": ".2f",
                "currency": {"symbol": "EUR", "symbolPosition": "suffix"},
                "extra": {"warning_markdown": ""}, "warning_text": "w",
            },
            {"metric_name": "count", "expression": "COUNT(*)", "currency": null, "extra": null},
        ],
        "columns": [column("day"), column("Day"), column("code")],
        "is_managed_externally": true, "external_url": "https://example.org/t", "uuid": TABLE,
        "database_uuid": DATABASE, "version": "1.0.0",
    })
}

fn query() -> Value {
    json!({
        "table_name": "rich query", "schema": null, "sql": "SELECT 'a' AS a -- é\n;", "uuid": QUERY,
        "normalize_columns": false, "always_filter_main_dttm": false, "offset": 0,
        "filter_select_enabled": true, "database_uuid": DATABASE, "version": "1.0.0", "metrics": [],
        "columns": [{
            "column_name": "a", "type": "STRING", "is_dttm": true, "is_active": true, "groupby": true,
            "filterable": true,
        }],
    })
}

fn chart(number: usize, dataset: &str, params: Value) -> Value {
    json!({
        "slice_name": format!("rich {number} \u{1F511}"), "viz_type": "pie", "uuid": CHARTS[number],
        "dataset_uuid": dataset, "params": params, "version": "1.0.0",
    })
}

fn annotated() -> Value {
    let layer = |kind: &str| json!({"name": kind, "annotationType": kind, "value": "x + 1", "show": true});
    let params = json!({
        "datasource": "77__table", "viz_type": "echarts_timeseries_line", "slice_id": 501,
        "dashboards": [9], "annotation_layers": [layer("EVENT"), layer("FORMULA"), layer("INTERVAL")],
        "adhoc_filters": [{"comparator": ["a", 1, 1.5, true, null], "operator": "IN"}],
    });
    let query = json!({"datasource": {"id": 77, "type": "table"}, "columns": ["code"], "metrics": ["count"]});
    let context = json!({
        "datasource": {"id": 77, "type": "table"}, "force": false, "queries": [query, {"columns": []}],
        "form_data": {"datasource": "77__table", "slice_id": 501, "viz_type": "echarts_timeseries_line"},
    });
    let mut chart = chart(0, TABLE, params);
    for (key, value) in [
        ("viz_type", json!("echarts_timeseries_line")),
        ("description", json!("*markdown* é")),
        ("certified_by", json!("me")),
        ("certification_details", json!("details")),
        ("cache_timeout", json!(0)),
        ("query_context", json!(context.to_string())),
        ("is_managed_externally", json!(true)),
        ("external_url", json!("https://example.org/c")),
    ] {
        chart[key] = value;
    }
    chart
}

fn dashboard() -> Value {
    json!({
        "dashboard_title": "Rich \u{1F511}", "description": "é", "css": ".x { color: \"red\" }", "slug": "rich",
        "certified_by": "me", "certification_details": "details", "published": true,
        "uuid": "00000000-0000-0000-0002-000000000021", "position": position(), "metadata": metadata(),
        "is_managed_externally": true, "external_url": "https://example.org/b", "theme_uuid": null,
        "version": "1.0.0",
    })
}

fn position() -> Value {
    let mut position = json!({
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["TABS-1"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": [], "parents": ["ROOT_ID"]},
        "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": "Rich"}},
        "TABS-1": {"type": "TABS", "id": "TABS-1", "children": ["TAB-1"], "parents": ["ROOT_ID"], "meta": {}},
        "TAB-1": {"type": "TAB", "id": "TAB-1", "children": ["CHART-0", "CHART-1", "CHART-2", "MARKDOWN-1"],
                  "parents": ["ROOT_ID", "TABS-1"], "meta": {"text": "One"}},
        "MARKDOWN-1": {"type": "MARKDOWN", "id": "MARKDOWN-1", "children": [],
                       "meta": {"code": "# é\n\n- x\t'y' \"z\"", "width": 4, "height": 20}},
    });
    for (number, uuid) in CHARTS.iter().enumerate() {
        position[format!("CHART-{number}")] = json!({
            "type": "CHART", "id": format!("CHART-{number}"), "children": [], "parents": ["ROOT_ID"],
            "meta": {"uuid": uuid, "chartId": 501 + number, "width": 4, "height": 50, "sliceName": "x"},
        });
    }
    position
}

/// Charts are 501 to 503 here; 999 is on no dashboard.
fn metadata() -> Value {
    let cross = |chart: u32, excluded: Value| {
        let scope = json!({"rootPath": ["ROOT_ID"], "excluded": excluded});
        json!({"id": chart, "crossFilters": {"scope": scope, "chartsInScope": [502, 503, 999]}})
    };
    json!({
        "timed_refresh_immune_slices": [502, 501], "expanded_slices": {"501": true, "503": false},
        "filter_scopes": {"501": {"a": {"scope": ["ROOT_ID"], "immune": [502]}}},
        "default_filters": "{\"501\": {\"a\": [\"b\"]}}", "show_native_filters": true,
        "native_filter_configuration": [
            {
                "id": "NATIVE_FILTER-1", "name": "Code", "filterType": "filter_select", "type": "NATIVE_FILTER",
                "targets": [{"datasetUuid": TABLE, "column": {"name": "code"}}],
                "scope": {"rootPath": ["ROOT_ID"], "excluded": [503, 999]}, "chartsInScope": [501, 502],
                "tabsInScope": ["TAB-1"], "cascadeParentIds": [], "controlValues": {"multiSelect": true},
                "defaultDataMask": {"filterState": {"value": [1, "1", 1.5, null]}},
            },
            {"id": "NATIVE_FILTER-2", "type": "DIVIDER", "title": "x", "targets": [{}],
             "scope": {"rootPath": ["ROOT_ID"], "excluded": []}},
        ],
        "chart_configuration": {"501": cross(501, json!([502])), "503": cross(503, json!([])),
                                "999": cross(999, json!([]))},
        "global_chart_configuration": {
            "scope": {"rootPath": ["ROOT_ID"], "excluded": [502, 999]}, "chartsInScope": [501, 503],
        },
        "color_scheme": "supersetColors", "label_colors": {"a": "#FFF"}, "shared_label_colors": ["a"],
        "color_scheme_domain": [], "refresh_frequency": 30, "cross_filters_enabled": true, "import_time": 1,
    })
}
