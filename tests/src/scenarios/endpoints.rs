//! Databases that follow an endpoint, from the command line to Superset's rows and the history.

use std::process::Output;

use change::ChangeId;
use serde_json::{Value, json};

use super::world::World;
use crate::pipeline::documents::{database, dataset, with};
use crate::pipeline::path;

super::shared! {
    a_database_follows_the_endpoint_that_it_names,
    an_export_keeps_what_a_database_follows,
    bad_settings_and_endpoints_never_reach_zookeeper,
}

/// Database 0, at the endpoint of this scenario.
fn following(w: World) -> Value {
    let document = with(database(w.n(0)), "sqlalchemy_uri", "hive://reader@{endpoint}/warehouse");
    with(document, "setkeeper", json!({"endpoint": name(w)}))
}

fn name(w: World) -> String {
    format!("hive-{}", w.n(0))
}

fn chosen(w: World, hosts: &[&str]) -> Value {
    json!({"v": 1, "endpoint": name(w), "chosen": hosts})
}

async fn put(w: World, at: &str, document: &Value, more: &[&str]) -> Output {
    let arguments = [&["put", at, "-"], more].concat();
    w.pipeline.setkeeper_with(&arguments, document.to_string().as_bytes()).await
}

fn ends(output: &Output, code: i32, words: &[&str]) {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in `{said}`");
    }
}

async fn uri(w: World) -> String {
    let name = database(w.n(0))["database_name"].as_str().expect("a name").to_owned();
    w.rows(&format!("SELECT sqlalchemy_uri FROM dbs WHERE database_name = '{name}'")).await
}

/// The change that stands at a path.
async fn standing(w: World, at: &str) -> ChangeId {
    let found = w.pipeline.session.read(&path(at)).await.expect("an answer").expect("a znode");
    ChangeId {
        generation: w.pipeline.generation,
        path: path(at),
        czxid: found.czxid,
        version: Some(found.version),
    }
}

async fn a_database_follows_the_endpoint_that_it_names(w: World) {
    let (at, endpoint) = (w.at("databases/wh"), format!("endpoints/{}", name(w)));
    // Workers have run, so that there is a queue to wait on.
    w.applied("databases/plain", &database(w.n(1))).await;
    let held = put(w, &at, &following(w), &["--wait", "--wait-max", "2"]).await;
    ends(&held, 2, &["held", &format!("needs the endpoint `{}`", name(w)), "which is not there yet"]);
    let waits = w.put("datasets/sales", &dataset(w.n(0), w.n(0))).await;
    w.becomes(&waits, "held").await;
    ends(&put(w, &endpoint, &chosen(w, &["hive1:10000"]), &["--wait"]).await, 0, &["applied"]);
    w.becomes(&waits, "applied").await;
    assert_eq!(uri(w).await, "hive://reader@hive1:10000/warehouse");
    let moved = chosen(w, &["hive2:10000", "[::1]:10001"]);
    ends(&put(w, &endpoint, &moved, &["--wait", "-m", "hive1 is down"]).await, 0, &["applied"]);
    assert_eq!(uri(w).await, "hive://reader@hive2:10000,[::1]:10001/warehouse");
    // A stranger's nonsense does no harm.
    let bad = w.pipeline.put_bytes(&endpoint, br#"{"chosen": ["evil@h:1"]}"#).await;
    w.becomes(&bad, "rejected").await;
    assert_eq!(uri(w).await, "hive://reader@hive2:10000,[::1]:10001/warehouse");
    // One that goes leaves the last URI, and a later change waits.
    let gone = w.pipeline.delete(&endpoint).await;
    w.becomes(&gone, "deleted").await;
    let later = w.put("databases/wh", &with(following(w), "cache_timeout", 5)).await;
    w.becomes(&later, "held").await;
    assert_eq!(uri(w).await, "hive://reader@hive2:10000,[::1]:10001/warehouse");
    let back = w.pipeline.put(&endpoint, &chosen(w, &["hive3:10000"])).await;
    w.becomes(&back, "applied").await;
    w.becomes(&later, "applied").await;
    assert_eq!(uri(w).await, "hive://reader@hive3:10000/warehouse");
    let told = w.pipeline.must(&["history", &endpoint]).await;
    assert!(told.contains("hive1 is down") && told.contains(r#""hive1:10000" → "hive2:10000""#), "{told}");
    assert!(!told.contains("evil"), "{told}");
}

async fn an_export_keeps_what_a_database_follows(w: World) {
    let (at, endpoint) = (w.at("databases/wh"), format!("endpoints/{}", name(w)));
    w.pipeline.put(&endpoint, &chosen(w, &["hive1:10000"])).await;
    w.applied("databases/wh", &following(w)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let project = format!("p{}", w.n(0));
    let push = async |uri: &str, timeout: u32, more: &[&str]| {
        let document = database(w.n(0));
        let get = |key: &str| document[key].as_str().expect("text").to_owned();
        let text = format!(
            "database_name: {}\nsqlalchemy_uri: {uri}\nuuid: {}\nversion: 1.0.0\ncache_timeout: {timeout}\n",
            get("database_name"),
            get("uuid")
        );
        std::fs::create_dir_all(folder.path().join("databases")).expect("a folder");
        std::fs::write(folder.path().join("databases/wh.yaml"), text).expect("writable");
        std::fs::write(folder.path().join("metadata.yaml"), "version: 1.0.0\ntype: assets\n")
            .expect("writable");
        let bundle = folder.path().display().to_string();
        let arguments = [&["push", &bundle, "--project", &project], more].concat();
        w.pipeline.setkeeper(&arguments).await
    };
    ends(&push("hive://reader@hive1:10000/warehouse", 7, &["--wait"]).await, 0, &["applied"]);
    let stands = w.pipeline.must(&["get", &at]).await;
    assert!(stands.contains("hive://reader@{endpoint}/warehouse") && stands.contains(&name(w)), "{stands}");
    let other = push("hive://reader@hive9:10000/other", 8, &["--dry-run"]).await;
    ends(&other, 2, &["keeps its `sqlalchemy_uri`", "cache_timeout"]);
    w.pipeline.put(&endpoint, &chosen(w, &["hive2:10000"])).await;
    let moved = standing(w, &endpoint).await;
    w.becomes(&moved, "applied").await;
    assert_eq!(uri(w).await, "hive://reader@hive2:10000/warehouse");
}

async fn bad_settings_and_endpoints_never_reach_zookeeper(w: World) {
    w.applied("databases/plain", &database(w.n(1))).await;
    let endpoint = format!("endpoints/{}", name(w));
    let follow = format!("settings/endpoints/{}", name(w));
    let flag = format!("settings/feature_flags/FLAG_{}", w.n(0));
    let key = format!("settings/config/KEY_{}", w.n(0));
    let password = format!("settings/config/SMTP_PASSWORD_{}", w.n(0));
    let cases: Vec<(&str, Value, &[&str])> = vec![
        (&endpoint, chosen(w, &["u:p@h:1"]), &["chosen[0]", "nothing was written"]),
        (&endpoint, json!({"v": 1, "endpoint": "other", "chosen": ["h:1"]}), &["the znode's own name"]),
        (&follow, json!({"v": 1, "registry": "etcd", "path": "/x"}), &["registry", "hiveserver2"]),
        (&flag, json!("false"), &["expected true or false"]),
        (&key, json!({"redis": "redis://u:hunter2@h/0"}), &["redis", "clear secret"]),
        (&password, json!("hunter2"), &["named like a secret"]),
        ("settings/config/SECRET_KEY", json!("x"), &["named like a secret"]),
        ("settings/flags/X", json!(true), &["feature_flags, config, scale, endpoints"]),
    ];
    for (at, document, words) in cases {
        let output = put(w, at, &document, &[]).await;
        ends(&output, 64, words);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"), "{output:?}");
        assert!(w.pipeline.session.read(&path(at)).await.expect("an answer").is_none(), "{at} was written");
    }
    ends(&put(w, &flag, &json!(true), &["--wait"]).await, 0, &["applied"]);
    ends(&put(w, &flag, &json!(true), &["--wait"]).await, 0, &["nothing to write"]);
}
