//! Columns: which there are, their times, their secrets and their digest.

use std::collections::BTreeMap;

use asset::{Kind, SecretRef};
use serde_json::json;
use uuid::Uuid;

use super::documents::{
    CHART, DASHBOARD, DATABASE, DATASET, all, chart, dashboard, database, dataset, filled, with,
};
use super::world::{Change, KEY, World, columns_of_6_1};
use crate::*;

fn schema_without(removed: &[&str]) -> Result<Schema, SchemaFault> {
    let mut columns = columns_of_6_1();
    for name in removed {
        match name.split_once('.') {
            Some((table, column)) => drop(columns.get_mut(table).unwrap().remove(column)),
            None => drop(columns.remove(*name)),
        }
    }
    Schema::from_columns(Dialect::Postgres, &columns, &["48cbb571fa3a".to_owned()])
}

const SINCE_3_1: &[&str] = &[
    "tables.catalog",
    "tables.catalog_perm",
    "slices.catalog_perm",
    "tables.folders",
    "tables.currency_code_column",
    "table_columns.datetime_format",
    "dashboards.theme_id",
    "themes",
];

#[test]
fn an_older_superset_is_written_without_the_columns_it_does_not_have() {
    let mut world = World::new(Dialect::Postgres);
    world.schema = schema_without(SINCE_3_1).unwrap();
    let dataset = with(&dataset(), json!({"folders": null}));
    let ops = world.put(&[&database(), &dataset, &chart(CHART, "Torte"), &dashboard()]);
    for op in ops {
        if let RowOp::Insert { table, row, .. } = op {
            for column in row.keys() {
                assert!(world.schema.has(table, column), "{} {column}", table.name());
            }
        }
    }
    assert_eq!(world.put(&[&dataset]), []);
}

#[test]
fn what_an_older_superset_has_no_column_for_is_refused() {
    let mut world = World::new(Dialect::Postgres);
    world.schema = schema_without(SINCE_3_1).unwrap();
    world.put(&[&database()]);
    let (results, ops) = world.apply(&[Change::Put(dataset())]);
    let fault = results[0].as_ref().unwrap_err();
    assert_eq!((fault.kind.clone(), fault.place.as_deref()), (FaultKind::Unsupported, Some("folders")));
    assert_eq!(
        fault.to_string(),
        "store `folders`: this Superset (alembic version `48cbb571fa3a`) has no column `tables.folders`; leave it \
         out, or upgrade Superset"
    );
    assert_eq!(ops, []);
}

#[test]
fn a_database_of_another_world_is_refused_with_what_was_found() {
    let fault = |columns: &BTreeMap<_, _>, alembic: &[String]| {
        Schema::from_columns(Dialect::Postgres, columns, alembic).unwrap_err().to_string()
    };
    let version = ["abc".to_owned()];
    let mut newer = columns_of_6_1();
    newer.get_mut("slices").unwrap().insert("deleted_at".to_owned(), "timestamp".to_owned());
    assert_eq!(
        fault(&newer, &version),
        "the metadata database (alembic version `abc`) has `slices.deleted_at`, which came after Superset 6.1 and \
         changes what rows mean; use a setkeeper that knows this version"
    );
    let mut newer = columns_of_6_1();
    newer.insert("subjects".to_owned(), BTreeMap::new());
    assert!(fault(&newer, &version).contains("has `subjects`"));
    let older = schema_without(&["slices.uuid"]).unwrap_err().to_string();
    assert!(older.contains("has no `slices.uuid`; Superset 3.1 to 6.1 is supported"), "{older}");
    assert!(fault(&columns_of_6_1(), &[]).contains("superset db upgrade"));
}

#[test]
fn a_time_changes_only_with_its_row_and_is_never_null() {
    let mut world = filled(Dialect::Postgres);
    let times = |world: &World| world.show(Table::Slices, &["slice_name", "created_on", "changed_on"]);
    let before = times(&world);
    assert!(!before.contains("NULL"));
    world.put(&[&chart(CHART, "Torte")]);
    assert_eq!(times(&world), before);
    world.put(&[&chart(CHART, "Brot")]);
    let (old, new) = (before.lines().next().unwrap(), times(&world).lines().next().unwrap().to_owned());
    assert_ne!(old.split(' ').next_back(), new.split(' ').next_back());
    let id = world.rows.by_uuid(Table::Slices, CHART).unwrap();
    world.rows.set(Table::Slices, id, Row::from([("changed_on", Value::Null)]));
    world.put(&[&chart(CHART, "Brot")]);
    assert!(!times(&world).contains("NULL"));
}

fn with_secrets() -> asset::Document {
    with(&database(), json!({"setkeeper": {"secrets": {"password": "env:PW", "encrypted_extra": "env:EX"}}}))
}

#[test]
fn secrets_are_stored_as_superset_encrypts_them_and_absent_ones_are_null() {
    let mut world = filled(Dialect::Postgres);
    world.secrets.insert(SecretRef::Env("PW".to_owned()), Secret::new("pw1"));
    world.secrets.insert(SecretRef::Env("EX".to_owned()), Secret::new("{}"));
    world.put(&[&with_secrets()]);
    let id = world.rows.by_uuid(Table::Dbs, DATABASE).unwrap();
    assert_eq!(
        *world.rows.value(Table::Dbs, id, "password"),
        Value::Bytes(b"cmS9mJmuf2rTi/wjD4t2sg==".to_vec())
    );
    let Value::Bytes(extra) = world.rows.value(Table::Dbs, id, "encrypted_extra") else { panic!() };
    assert_eq!(Cipher::new(KEY).decrypt(extra).unwrap(), "{}");
    world.put(&[&database()]);
    assert!(world.rows.value(Table::Dbs, id, "password").is_null());
    assert!(world.rows.value(Table::Dbs, id, "encrypted_extra").is_null());
}

fn check_secret(password: Option<&str>, extra: Option<&str>, want: &str) {
    let mut world = filled(Dialect::Postgres);
    for (name, secret) in [("PW", password), ("EX", extra)] {
        if let Some(secret) = secret {
            world.secrets.insert(SecretRef::Env(name.to_owned()), Secret::new(secret));
        }
    }
    let (results, ops) = world.apply(&[Change::Put(with_secrets())]);
    let fault = results[0].as_ref().unwrap_err();
    assert!(fault.to_string().starts_with(want), "{fault}");
    assert!(matches!(fault.kind, FaultKind::Secret(Some(_))));
    assert!(!format!("{fault:?}").contains("hunter"));
    assert_eq!(ops, []);
}

#[test]
fn a_secret_that_is_missing_or_cannot_be_stored_is_a_fault_that_does_not_show_it() {
    check_secret(None, None, "resolve the secret `env:PW`");
    check_secret(Some("hunter*"), Some("{}"), "store the secret `env:PW`: the secret ends with `*`");
    check_secret(
        Some("hunter"),
        Some("hunter no json"),
        "store the secret `env:EX`: its text is not a JSON object",
    );
}

fn follow(world: &mut World, chosen: &[&str]) {
    let text = json!({"v": 1, "endpoint": "hive", "chosen": chosen}).to_string();
    world.endpoints.insert("hive".to_owned(), asset::parse_chosen("hive", text.as_bytes()).unwrap());
}

fn following() -> asset::Document {
    let uri = "hive://u:XXXXXXXXXX@{endpoint}/default";
    with(&database(), json!({"sqlalchemy_uri": uri, "setkeeper": {"endpoint": "hive"}}))
}

#[test]
fn an_endpoints_hosts_stand_in_the_uri_and_datasets_forget_results_of_other_ones() {
    let mut world = filled(Dialect::Postgres);
    follow(&mut world, &["hive1:10000", "[::1]:10001"]);
    world.put(&[&following()]);
    let id = world.rows.by_uuid(Table::Dbs, DATABASE).unwrap();
    let uri =
        |world: &World| world.rows.value(Table::Dbs, id, "sqlalchemy_uri").as_text().unwrap().to_owned();
    assert_eq!(uri(&world), "hive://u:XXXXXXXXXX@hive1:10000,[::1]:10001/default");
    assert_eq!(world.put(&[&following()]), []);
    let before = world.show(Table::Tables, &["changed_on"]);
    follow(&mut world, &["hive2:10000"]);
    world.put(&[&following()]);
    assert_eq!(uri(&world), "hive://u:XXXXXXXXXX@hive2:10000/default");
    assert_ne!(world.show(Table::Tables, &["changed_on"]), before);
}

#[test]
fn a_missing_endpoint_is_a_fault_of_its_own_and_nothing_changes() {
    let mut world = filled(Dialect::Postgres);
    let (results, ops) = world.apply(&[Change::Put(following())]);
    let fault = results[0].as_ref().unwrap_err();
    assert_eq!(fault.kind, FaultKind::Endpoint("hive".to_owned()));
    assert_eq!(fault.place.as_deref(), Some("setkeeper.endpoint"));
    assert_eq!(ops, []);
    // A driver that is not allowed is told before anything is waited for.
    world.drivers.clear();
    let (results, _) = world.apply(&[Change::Put(following())]);
    assert_eq!(results[0].as_ref().unwrap_err().kind, FaultKind::Driver);
}

#[test]
fn columns_and_metrics_keep_id_and_uuid_by_name_and_new_ones_have_the_same_uuid_everywhere() {
    let mut world = filled(Dialect::Postgres);
    let before = world.show(Table::TableColumns, &["column_name", "id", "uuid"]);
    let given = Uuid::from_u128(7);
    let columns = json!([
        {"column_name": "amount"},
        {"column_name": "new", "uuid": given},
        {"column_name": "day", "type": "TIMESTAMP"},
    ]);
    world.put(&[&with(&dataset(), json!({"columns": columns}))]);
    let after = world.show(Table::TableColumns, &["column_name", "id", "uuid"]);
    assert_eq!(after, format!("{before}\"new\" 3 {given}\n"));
    let derived = Uuid::new_v5(&DATASET, b"column/day");
    assert!(before.contains(&derived.to_string()), "{before}");
    world.put(&[&with(&dataset(), json!({"columns": [{"column_name": "day"}]}))]);
    assert_eq!(world.rows.of(Table::TableColumns).count(), 1);
}

#[test]
fn facts_that_were_never_gathered_are_noticed() {
    let mut facts = World::new(Dialect::Postgres).facts(&[]);
    for document in all() {
        let fault = put(&document, &mut facts).unwrap_err();
        assert!(matches!(fault.kind, FaultKind::Unasked(_)), "{fault}");
    }
    let fault = remove(Kind::Chart, CHART, &mut facts).unwrap_err();
    assert!(matches!(fault.kind, FaultKind::Unasked(_)), "{fault}");
}

fn digests(world: &mut World) -> Vec<Option<Digest>> {
    let changes: Vec<Change> = all().into_iter().map(Change::Put).collect();
    let facts = world.facts(&changes);
    all().iter().map(|document| digest(document.kind(), document.uuid(), &facts.rows)).collect()
}

#[test]
fn the_digest_is_the_same_in_every_database() {
    let mut elsewhere = World::new(Dialect::Sqlite);
    elsewhere.add(Table::Dbs, 6, &[("database_name", "x".into())]);
    elsewhere.add(Table::Tables, 16, &[("table_name", "x".into()), ("database_id", Value::Int(6))]);
    elsewhere.add(Table::Slices, 40, &[("slice_name", "x".into())]);
    elsewhere.add(Table::Dashboards, 4, &[]);
    let all = all();
    elsewhere.put(&all.iter().collect::<Vec<_>>());
    assert_eq!(digests(&mut filled(Dialect::Postgres)), digests(&mut elsewhere));
}

fn check_drift(table: Table, uuid: Uuid, column: &'static str, value: Value, is_drift: bool) {
    let mut world = filled(Dialect::Postgres);
    let before = digests(&mut world);
    let id = world.rows.by_uuid(table, uuid).unwrap();
    assert!(world.rows.set(table, id, Row::from([(column, value)])), "no change");
    assert_eq!(digests(&mut world) != before, is_drift, "{} {column}", table.name());
}

#[test]
fn the_digest_notices_what_somebody_changed_and_not_when() {
    check_drift(Table::Slices, CHART, "slice_name", "x".into(), true);
    check_drift(Table::Slices, CHART, "perm", "x".into(), true);
    check_drift(Table::Slices, CHART, "params", "{\"datasource\": \"9__table\"}".into(), true);
    check_drift(Table::Slices, CHART, "params", "no json".into(), true);
    check_drift(Table::Slices, CHART, "datasource_id", Value::Null, true);
    check_drift(Table::Slices, CHART, "cache_timeout", Value::Int(0), true);
    check_drift(Table::Slices, CHART, "changed_on", Value::Null, false);
    check_drift(Table::Tables, DATASET, "perm", "[ana].[sales](id:9)".into(), true);
    check_drift(Table::Dbs, DATABASE, "password", Value::Bytes(vec![1]), true);
    check_drift(Table::Dashboards, DASHBOARD, "position_json", "{}".into(), true);
    check_drift(Table::Dashboards, DASHBOARD, "json_metadata", Value::Null, true);
    let mut world = filled(Dialect::Postgres);
    let before = digests(&mut world);
    world.rows.take(Table::DashboardSlices, 1);
    assert_ne!(digests(&mut world), before);
    let position = world.show(Table::Dashboards, &["position_json"]);
    assert!(position.contains("chartId"));
}

#[test]
fn the_digest_notices_a_chart_that_stands_under_the_id_of_another() {
    let mut world = filled(Dialect::Postgres);
    let before = digests(&mut world);
    let text = world.rows.value(Table::Dashboards, 1, "position_json").as_text().unwrap().to_owned();
    let stray = text.replace("\"chartId\": 1,", "\"chartId\": 2,");
    assert_ne!(stray, text);
    world.rows.set(Table::Dashboards, 1, Row::from([("position_json", stray.into())]));
    assert_ne!(digests(&mut world), before);
}
