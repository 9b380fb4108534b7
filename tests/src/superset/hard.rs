//! Bundles that are hard on what carries them: larger than one request of ZooKeeper, and with scalars that YAML
//! readers disagree on.

use serde_json::{Value, json};

use super::bundle::Files;
use super::site::Site;
use super::{bundle, export, rich};
use crate::pipeline::{Metadata, Options};

const CHARTS: usize = 60;

#[tokio::test]
async fn more_than_one_request_can_hold_and_hard_scalars_come_back_unchanged() {
    let site = Site::start(Metadata::Sqlite, Options::default()).await;
    let mut files = large();
    let total: usize = files.values().map(Vec::len).sum();
    assert!(total > 1_200_000, "{total} bytes");
    while_it_serves(&site, site.push(&files)).await;
    let edits = site.pipeline.session.client().list_children("/edits").await.expect("the edits");
    assert!(edits.len() > 1, "several parts, not {}", edits.len());
    assert_eq!(site.count(&site.admin, "chart").await, CHARTS as i64);
    export::assert_same(&site.exported().await, &export::expected(&bundle::read(&files)));

    files.extend(hard());
    site.push(&files).await;
    let chart = site.get(&format!("/api/v1/chart/{}", site.id("slices", HARD).await)).await;
    let params: Value =
        serde_json::from_str(chart["result"]["params"].as_str().expect("text")).expect("JSON");
    for (key, wanted) in scalars().as_object().expect("an object") {
        assert_eq!(params.get(key), Some(wanted), "{key} is what PyYAML reads");
    }
    export::assert_same(&site.exported().await, &export::expected(&bundle::read(&files)));

    files.extend(rich::bundle("postgresql://nobody@127.0.0.1:1/none"));
    site.push(&files).await;
    export::assert_same(&site.exported().await, &export::expected(&bundle::read(&files)));
}

/// Superset writes a log line for each request into the same SQLite file; neither may lock the other out.
async fn while_it_serves(site: &Site, push: impl Future<Output = String>) {
    let mut push = std::pin::pin!(push);
    let mut served = 0;
    let ask = async |served: &mut u32| {
        site.get("/api/v1/chart/?q=(page_size:10)").await;
        *served += 1;
    };
    loop {
        tokio::select! {
            _ = &mut push => break,
            () = ask(&mut served) => {}
        }
    }
    assert!(served > 0, "it answered meanwhile");
}

const DATABASE: &str = "00000000-0000-0000-0000-0000000000d1";
const DATASET: &str = "00000000-0000-0000-0000-0000000000d2";
const HARD: &str = "00000000-0000-0000-0000-0000000000d3";

/// A database, a dataset, and a dashboard with many charts, each with a long text of its own.
fn large() -> Files {
    let database = json!({
        "database_name": "large", "sqlalchemy_uri": "postgresql://nobody@127.0.0.1:1/none", "uuid": DATABASE,
        "version": "1.0.0", "extra": {},
    });
    let dataset = json!({
        "table_name": "large", "schema": "public", "uuid": DATASET, "database_uuid": DATABASE,
        "version": "1.0.0", "columns": [{"column_name": "a", "type": "TEXT"}],
    });
    let mut files = Files::new();
    let mut add = |file: &str, document: &Value| files.insert(file.to_owned(), document.to_string().into());
    add("metadata.yaml", &json!({"version": "1.0.0", "type": "assets"}));
    add("databases/large.json", &database);
    add("datasets/large/large.json", &dataset);
    let mut children = Vec::new();
    let mut position = json!({
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": ["ROW-1"], "parents": ["ROOT_ID"]},
        "MARKDOWN-1": {"type": "MARKDOWN", "id": "MARKDOWN-1", "meta": {"code": text(300_000, 0)}},
    });
    for chart in 0..CHARTS {
        let uuid = format!("00000000-0000-0000-0001-{chart:012}");
        let params = json!({"viz_type": "handlebars", "handlebarsTemplate": text(15_000, chart), "datasource": "1__table"});
        let document = json!({
            "slice_name": format!("chart {chart}"), "viz_type": "handlebars", "uuid": uuid, "version": "1.0.0",
            "dataset_uuid": DATASET, "params": params,
        });
        add(&format!("charts/chart_{chart}.json"), &document);
        let meta = json!({"uuid": uuid, "chartId": chart + 100, "width": 4, "height": 50});
        position[format!("CHART-{chart}")] =
            json!({"type": "CHART", "id": format!("CHART-{chart}"), "children": [], "meta": meta});
        children.push(format!("CHART-{chart}"));
    }
    position["ROW-1"] = json!({"type": "ROW", "id": "ROW-1", "children": children, "meta": {}});
    let dashboard = json!({
        "dashboard_title": "large", "slug": "large", "published": true, "version": "1.0.0",
        "uuid": "00000000-0000-0000-0000-0000000000d4", "position": position, "metadata": {},
    });
    add("dashboards/large.json", &dashboard);
    files
}

/// A text of at least that length that no two charts share, with what escapes, folds and breaks lines.
fn text(length: usize, seed: usize) -> String {
    let mut text = String::new();
    for line in 0.. {
        if text.len() >= length {
            break;
        }
        text += &format!(
            "# {seed}.{line}: \u{2028}é 🔑 \t\"quoted\" 'single' {{{{x}}}} | > & * ! % @ ` \u{85}  \n\n "
        );
    }
    text
}

/// A chart and a dashboard as PyYAML writes them: what it leaves unquoted is what a string may look like to it.
fn hard() -> Files {
    let chart = format!(
        "slice_name: 0x\nviz_type: table\nuuid: {HARD}\nversion: 1.0.0\ndataset_uuid: {DATASET}\nparams:\n\
         {SCALARS}  adhoc_filters:\n  - clause: WHERE\n    expressionType: SIMPLE\n    operator: IN\n\
        \x20   subject: zip\n    comparator:\n    - 08540\n    - 1e10\n    - 123e4567\n    - 'on'\n    - '2020-01-01'\n"
    );
    let dashboard = "dashboard_title: 1e10\nslug: 123e4567\nuuid: 00000000-0000-0000-0000-0000000000d5\n\
         version: 1.0.0\nposition:\n  DASHBOARD_VERSION_KEY: v2\nmetadata:\n  native_filter_configuration:\n\
        \x20 - id: NATIVE_FILTER-1\n    name: 08540\n    scope:\n      excluded: []\n      rootPath:\n      - ROOT_ID\n\
        \x20   targets:\n    - column:\n        name: 1e10\n      datasetUuid: 00000000-0000-0000-0000-0000000000d2\n\
        \x20   defaultDataMask:\n      filterState:\n        value:\n        - 08540\n        - 'on'\n        - '12:30:45'\n";
    [
        ("charts/hard.yaml".to_owned(), chart.into_bytes()),
        ("dashboards/hard.yaml".to_owned(), dashboard.as_bytes().to_vec()),
    ]
    .into()
}

const SCALARS: &str = "  zip: 08540\n  float_like: 1e10\n  uuid_like: 123e4567\n  quoted_on: 'on'\n  bare_on: on\n  \
  date: '2020-01-01'\n  time: '2020-01-01 12:30:45'\n  sexagesimal: '12:30:45'\n  minutes: 1:30\n  octal: 017\n  \
  new_octal: 0o17\n  hex: 0x1F\n  grouped: 1_000\n  quoted_grouped: '1_000'\n  exponent: 1.0e+10\n  \
  no_sign: 1.0e10\n  point: 1.\n  y: y\n  empty: ''\n  tilde: ~\n  quoted_tilde: '~'\n  \
  null_text: 'null'\n  equals: '='\n  merge: <<x\n  large: 9223372036854775807\n  small: 5.0e-324\n  \
  folded: 'one\n\n    two'\n  escaped: \"\\x85\\u2028\\U0001F511\\t\"\n";

/// What PyYAML makes of [`SCALARS`].
fn scalars() -> Value {
    json!({
        "zip": "08540", "float_like": "1e10", "uuid_like": "123e4567", "quoted_on": "on", "bare_on": true,
        "date": "2020-01-01", "time": "2020-01-01 12:30:45", "sexagesimal": "12:30:45", "minutes": 90,
        "octal": 15, "new_octal": "0o17", "hex": 31, "grouped": 1000, "quoted_grouped": "1_000",
        "exponent": 1.0e10, "no_sign": "1.0e10", "point": 1.0, "y": "y", "empty": "", "tilde": null,
        "quoted_tilde": "~", "null_text": "null", "equals": "=", "merge": "<<x",
        "large": 9_223_372_036_854_775_807_i64, "small": 5.0e-324, "folded": "one\ntwo",
        "escaped": "\u{85}\u{2028}🔑\t",
    })
}
