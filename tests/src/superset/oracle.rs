//! Superset's own importer is the oracle: what it makes of a bundle in one metadata database, setkeeper makes of it
//! in another, row by row and column by column. What may differ is written out here, each with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use asset::Kind;
use serde_json::{Value, json};
use testbed::Superset;
use testbed::superset::{ADMIN, ADMIN_PASSWORD, Metadata as Served, Options as Server};

use super::bundle::{self, Files};
use super::{data, export, rich, site};
use crate::pipeline::{Metadata, Options, Pipeline, sqlite};

/// Table → its rows, each with what identifies it.
type Tables = BTreeMap<&'static str, BTreeMap<String, Value>>;

#[tokio::test]
async fn the_rows_of_the_demo_and_the_examples_are_those_of_supersets_importer() {
    let server = data::database("oracle", DATA).await;
    let uri = format!("postgresql://postgres@127.0.0.1:{}/oracle", server.port());
    let bundles =
        [bundle::demo(&uri), bundle::examples(&uri), rich::bundle(&uri), changed(bundle::demo(&uri))];
    let bundles = bundles.map(for_both);
    let (mut imported, pushed) = tokio::join!(imported(&bundles), pushed(&bundles));
    for (table, rows) in [("tables", 21), ("slices", 88), ("dashboards", 9)] {
        assert_eq!(imported[table].len(), rows, "{table}");
    }
    allow(&mut imported, &pushed);
    let mut found = Vec::new();
    for (table, rows) in &imported {
        let place = |key: &str| format!("{table} {key}");
        let keys: BTreeSet<_> = rows.keys().chain(pushed[table].keys()).collect();
        for key in keys {
            let of = |tables: &Tables| tables[table].get(key).cloned().unwrap_or(Value::Null);
            export::differences(&place(key), &of(&pushed), &of(&imported), &mut found);
        }
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

const DATA: &str = "CREATE TABLE orders (id int); CREATE TABLE targets (region text)";

/// The same assets with other names, columns, metrics and charts.
fn changed(mut files: Files) -> Files {
    let mut change = |file: &str, from: &str, to: &str| {
        let bytes = files.get_mut(file).expect("the demo has it");
        let text = String::from_utf8(std::mem::take(bytes)).expect("UTF-8");
        assert!(text.contains(from), "{file}: {from}");
        *bytes = text.replace(from, to).into_bytes();
    };
    change("databases/shop.yaml", "database_name: shop", "database_name: store");
    change("datasets/shop/orders.yaml", "table_name: orders", "table_name: sales");
    change("datasets/shop/orders.yaml", "column_name: id\n", "column_name: number\n");
    change("datasets/shop/orders.yaml", "expression: SUM(amount)", "expression: SUM(amount) / 2");
    change("datasets/shop/targets.yaml", "schema: public", "schema: plans");
    change("charts/revenue.yaml", "slice_name: Revenue", "slice_name: Half the revenue");
    change("charts/targets_by_region.yaml", "a0003", "a0002");
    change("dashboards/shop.yaml", "uuid: 5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0013", "text: gone");
    change("dashboards/shop.yaml", "slug: shop", "slug: store");
    files
}

/// What both can read.
fn for_both(mut files: Files) -> Files {
    for bytes in files.values_mut() {
        *bytes = bundle::without(bytes, "setkeeper:");
    }
    // Of any type but `assets` Superset would take only what that type needs.
    files.insert("metadata.yaml".to_owned(), b"version: 1.0.0\ntype: assets\n".to_vec());
    files
}

/// Takes what setkeeper does differently on purpose out of what was imported.
fn allow(imported: &mut Tables, pushed: &Tables) {
    // The importer connects to each database and makes rights of the catalogs and schemas that it finds there. None
    // of them is granted to anybody, and Superset makes them itself when they are asked for.
    let rights = imported.get_mut("rights").expect("read");
    for database in ["shop", "examples", "store"] {
        assert!(rights.remove(&format!("catalog_access [{database}].[oracle]")).is_some());
        for schema in ["public", "information_schema"] {
            assert!(rights.remove(&format!("schema_access [{database}].[oracle].[{schema}]")).is_some());
        }
    }
    // The importer leaves the rights to the schemas of a renamed database under the old name, where a new database
    // of that name would inherit their grants; setkeeper renames them, as Superset's own page does.
    assert!(rights.remove("schema_access [shop].[public]").is_some());
    rights.insert("schema_access [store].[public]".to_owned(), json!(true));
    for table in ["tables", "slices"] {
        for row in imported.get_mut(table).expect("read").values_mut() {
            if row["schema_perm"] == "[shop].[public]" {
                row["schema_perm"] = json!("[store].[public]");
            }
        }
    }
    // The importer writes JSON's null where setkeeper writes SQL's; Superset reads both as no currency.
    for (metric, row) in imported.get_mut("sql_metrics").expect("read") {
        if row["currency"] == "null" {
            assert_eq!(pushed["sql_metrics"][metric]["currency"], "NULL");
            row["currency"] = json!("NULL");
        }
    }
    // Superset 6.1's importer leaves the ids of another Superset in `chartsInScope`; setkeeper writes this one's.
    for (dashboard, row) in imported.get_mut("dashboards").expect("read") {
        in_scope(&mut row["metadata"], &pushed["dashboards"][dashboard]["metadata"]);
    }
}

/// Gives every `chartsInScope` of `to` the value that stands in the same place of `from`.
fn in_scope(to: &mut Value, from: &Value) {
    let children: Vec<(&mut Value, &Value)> = match (to, from) {
        (Value::Object(to), Value::Object(from)) => {
            if let (Some(to), Some(from)) = (to.get_mut("chartsInScope"), from.get("chartsInScope")) {
                to.clone_from(from);
            }
            to.iter_mut().filter_map(|(key, value)| Some((value, from.get(key)?))).collect()
        }
        (Value::Array(to), Value::Array(from)) => to.iter_mut().zip(from).collect(),
        _ => return,
    };
    for (to, from) in children {
        in_scope(to, from);
    }
}

async fn imported(bundles: &[Files]) -> Tables {
    let _turn = site::turn().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("superset.db");
    testbed::superset::sqlite_template(&file).expect("setup has made it");
    let server = Server { dir: Some(folder.path().join("server")), ..Server::default() };
    let superset = Superset::start(Served::Sqlite(file.clone()), server).await.expect("superset starts");
    let admin = superset.login(ADMIN, ADMIN_PASSWORD).await.expect("superset answers");
    // Twice each: the first time, a null becomes the column's default, and charts get the rights that their dataset
    // had before; the second time, as in every import after it, both are what the bundle says.
    for files in bundles.iter().flat_map(|files| [files, files]) {
        let zip = bundle::zip(files);
        let answer = superset
            .post_zip(&admin, "/api/v1/assets/import/", "bundle", zip)
            .await
            .expect("superset answers");
        let log = || std::fs::read_to_string(folder.path().join("server/log")).unwrap_or_default();
        assert_eq!(answer.0, 200, "{}", log());
    }
    read(&file).await
}

async fn pushed(bundles: &[Files]) -> Tables {
    let options = Options {
        env: vec![("SETKEEPER_SECRET_SHOP".to_owned(), "unused".to_owned())],
        ..Options::default()
    };
    let pipeline = Pipeline::start(Metadata::Sqlite, options).await;
    for (index, files) in bundles.iter().enumerate() {
        let folder = bundle::write(files, pipeline.folder().join(format!("bundle-{index}")));
        pipeline.must(&["push", folder.to_str().expect("UTF-8"), "--wait", "--wait-max", "100"]).await;
    }
    read(pipeline.metadata.file.as_deref().expect("a file")).await
}

/// A metadata database without what means nothing elsewhere.
async fn read(file: &Path) -> Tables {
    let ids = async |table: &str| -> BTreeMap<String, String> {
        let rows = sqlite(file, &format!("SELECT id, uuid FROM {table}")).await.expect("readable");
        rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
    };
    let names = Names {
        dbs: ids("dbs").await,
        tables: ids("tables").await,
        slices: ids("slices").await,
        dashboards: ids("dashboards").await,
    };
    let mut tables = Tables::new();
    for table in ["dbs", "tables", "table_columns", "sql_metrics", "slices", "dashboards", "dashboard_slices"]
    {
        let found = rows(file, table).await.into_iter().map(|row| names.row(table, row));
        tables.insert(table, found.collect());
    }
    let rights = "SELECT p.name, m.name FROM ab_permission_view v JOIN ab_permission p ON p.id = v.permission_id \
                  JOIN ab_view_menu m ON m.id = v.view_menu_id \
                  WHERE p.name IN ('database_access', 'datasource_access', 'schema_access', 'catalog_access')";
    let rights = sqlite(file, rights).await.expect("readable").into_iter();
    let rights = rights.map(|row| (format!("{} {}", row[0], names.perm(&row[1])), json!(true)));
    tables.insert("rights", rights.collect());
    tables
}

async fn rows(file: &Path, table: &str) -> Vec<BTreeMap<String, String>> {
    let columns = format!("SELECT name FROM pragma_table_info('{table}')");
    let columns: Vec<String> =
        sqlite(file, &columns).await.expect("readable").into_iter().flatten().collect();
    let quoted: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
    let rows = sqlite(file, &format!("SELECT {} FROM {table}", quoted.join(", "))).await.expect("readable");
    rows.into_iter().map(|row| columns.iter().cloned().zip(row).collect()).collect()
}

/// Row id → uuid.
struct Names {
    dbs: BTreeMap<String, String>,
    tables: BTreeMap<String, String>,
    slices: BTreeMap<String, String>,
    dashboards: BTreeMap<String, String>,
}

impl Names {
    fn row(&self, table: &str, mut row: BTreeMap<String, String>) -> (String, Value) {
        // Ids and times mean nothing elsewhere. The importer is a user and signs what it writes; setkeeper is none.
        let unsigned = ["id", "created_on", "changed_on", "last_saved_at"];
        for column in unsigned.into_iter().chain(["created_by_fk", "changed_by_fk", "last_saved_by_fk"]) {
            row.remove(column);
        }
        let references = [
            ("database_id", &self.dbs),
            ("table_id", &self.tables),
            ("datasource_id", &self.tables),
            ("slice_id", &self.slices),
            ("dashboard_id", &self.dashboards),
        ];
        for (column, ids) in references {
            if let Some(id) = row.get_mut(column) {
                *id = ids.get(id).cloned().unwrap_or_else(|| format!("no row {id}"));
            }
        }
        if let Some(perm) = row.get_mut("perm") {
            *perm = self.perm(perm);
        }
        let key = match table {
            // The importer gives columns and metrics random uuids; setkeeper derives them from the dataset's.
            "table_columns" => format!("{} {}", row["table_id"], row["column_name"]),
            "sql_metrics" => format!("{} {}", row["table_id"], row["metric_name"]),
            "dashboard_slices" => format!("{} {}", row["dashboard_id"], row["slice_id"]),
            _ => row["uuid"].clone(),
        };
        if ["table_columns", "sql_metrics"].contains(&table) {
            row.remove("uuid");
        }
        let mut row = json!(row);
        match table {
            "slices" => self.chart(&mut row),
            "dashboards" => self.dashboard(&mut row),
            _ => {}
        }
        (key, row)
    }

    fn chart(&self, row: &mut Value) {
        parse(row, "params");
        row["dataset_uuid"] = row["datasource_id"].clone();
        if row["query_context"] == "NULL" {
            row["query_context"] = Value::Null;
        }
        export::without_ids(Kind::Chart, row, &numbered(&self.tables));
    }

    fn dashboard(&self, row: &mut Value) {
        for (column, key) in [("position_json", "position"), ("json_metadata", "metadata")] {
            parse(row, column);
            let value = row.as_object_mut().and_then(|row| row.remove(column));
            row[key] = value.unwrap_or_default();
        }
        let filters = row["metadata"]["native_filter_configuration"].as_array_mut();
        for target in
            filters.into_iter().flatten().flat_map(|filter| filter["targets"].as_array_mut()).flatten()
        {
            if let Some(id) = target.get("datasetId").map(ToString::to_string) {
                target["datasetId"] = json!(self.tables.get(&id));
            }
        }
        export::without_ids(Kind::Dashboard, row, &BTreeMap::new());
    }

    /// `[db].[table](id:7)`: that of a database has the database's id, that of a dataset the dataset's.
    fn perm(&self, name: &str) -> String {
        let Some((before, id)) = name.rsplit_once("(id:") else { return name.to_owned() };
        let ids = if before.contains("].[") { &self.tables } else { &self.dbs };
        let id = id.trim_end_matches(')');
        format!("{before}(id:{})", ids.get(id).map_or(id, String::as_str))
    }
}

fn parse(row: &mut Value, column: &str) {
    if let Some(value) = row[column].as_str().and_then(|text| serde_json::from_str(text).ok()) {
        row[column] = value;
    }
}

fn numbered(ids: &BTreeMap<String, String>) -> BTreeMap<i64, String> {
    ids.iter().map(|(id, uuid)| (id.parse().expect("an id"), uuid.clone())).collect()
}
