//! Endpoints that follow a registry: from a znode that comes or goes there to the URI in Superset's rows.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testbed::{Zookeeper, zookeeper};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use zookeeper_client::{Acls, Client, CreateMode};

use super::world::{json as parsed, page};
use crate::pipeline::documents::{database, with};
use crate::pipeline::{Metadata, Options, Pipeline, Role};

super::alone! {
    a_uri_follows_each_registry_and_its_last_good_one_stays,
    an_instance_that_comes_and_goes_or_fails_its_check_is_not_for_long,
    another_ensemble_is_followed_by_whichever_worker_is_left,
}

/// A registry's znode for a host: its name and its data.
fn znode(registry: &str, host: &str) -> (String, String) {
    let (name, port) = host.split_once(':').expect("host:port");
    match registry {
        "hiveserver2" => (format!("serverUri={host};version=4.0.1;sequence=0000000001"), host.to_owned()),
        "kyuubi" => (
            format!("serverUri={host};version=1.10.2;refId=ab;sequence=0000000001"),
            format!("hive.server2.thrift.bind.host={name};hive.server2.thrift.port={port}"),
        ),
        "curator" => {
            let service =
                format!(r#"{{"name":"s","id":"{name}","address":"{name}","port":{port},"sslPort":null}}"#);
            (name.to_owned(), service)
        }
        "serverset" => {
            let end = format!(
                r#"{{"serviceEndpoint":{{"host":"{name}","port":{port}}},"status":"ALIVE","shard":0}}"#
            );
            (format!("member_{name}"), end)
        }
        "hostport" => (host.to_owned(), String::new()),
        other => panic!("{other} is no registry"),
    }
}

async fn outside(hosts: &str) -> Client {
    Client::connect(hosts).await.expect("zookeeper serves")
}

async fn register(client: &Client, registry: &str, host: &str) {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let (root, (name, data)) = (format!("/{registry}"), znode(registry, host));
    client.mkdir(&root, &options).await.expect("a registry");
    client.create(&format!("{root}/{name}"), data.as_bytes(), &options).await.expect("a registration");
}

async fn deregister(client: &Client, registry: &str, host: &str) {
    let (name, _) = znode(registry, host);
    client.delete(&format!("/{registry}/{name}"), None).await.expect("a registration that goes");
}

/// A setting, and a database that follows it.
async fn follow(pipeline: &Pipeline, n: u32, name: &str, more: Value) {
    let mut setting = json!({"v": 1, "settle": "100ms"});
    for (key, value) in more.as_object().expect("an object") {
        setting[key] = value.clone();
    }
    let put = ["put", &format!("settings/endpoints/{name}"), "-"];
    let output = pipeline.setkeeper_with(&put, setting.to_string().as_bytes()).await;
    assert!(output.status.success(), "{output:?}");
    let document = with(database(n), "sqlalchemy_uri", format!("hive://{{endpoint}}/{name}"));
    let document = with(document, "setkeeper", json!({"endpoint": name}));
    pipeline.put(&format!("assets/main/databases/{name}"), &document).await;
}

/// Waits until Superset has that URI for every endpoint.
async fn until_uris(pipeline: &Pipeline, wanted: &[(&str, &str)]) {
    let wanted: BTreeMap<String, String> =
        wanted.iter().map(|(name, host)| ((*name).to_owned(), format!("hive://{host}/{name}"))).collect();
    pipeline
        .until(&format!("the URIs {wanted:?}"), async || {
            let rows = pipeline.superset("SELECT sqlalchemy_uri FROM dbs").await;
            let name = |uri: &str| uri.rsplit('/').next().unwrap_or_default().to_owned();
            let uris: BTreeMap<String, String> = rows
                .into_iter()
                .flatten()
                .map(|uri| (name(&uri), uri))
                .filter(|(name, _)| wanted.contains_key(name))
                .collect();
            if uris == wanted { Ok(()) } else { Err(uris) }
        })
        .await;
}

async fn list(pipeline: &Pipeline) -> Value {
    parsed(&pipeline.must(&["endpoints", "list", "-o", "json"]).await)
}

/// Waits until `endpoints list` tells that of an endpoint.
async fn until_listed(pipeline: &Pipeline, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    pipeline
        .until(&format!("{name} is listed so"), async || {
            let list = list(pipeline).await;
            let found =
                list["endpoints"].as_array().expect("a list").iter().find(|one| one["name"] == name).cloned();
            found.filter(&is_so).ok_or(list)
        })
        .await
}

const REGISTRIES: [&str; 5] = ["hiveserver2", "kyuubi", "curator", "serverset", "hostport"];

async fn a_uri_follows_each_registry_and_its_last_good_one_stays(metadata: Metadata) {
    let pipeline = Pipeline::start(metadata, Options::default()).await;
    let client = outside(&pipeline.zookeeper.connect()).await;
    for (n, registry) in (1..).zip(REGISTRIES) {
        register(&client, registry, "h1:10000").await;
        register(&client, registry, "h2:10000").await;
        follow(&pipeline, n, registry, json!({"registry": registry, "path": format!("/{registry}")})).await;
    }
    until_uris(&pipeline, &REGISTRIES.map(|registry| (registry, "h1:10000"))).await;
    for registry in REGISTRIES {
        deregister(&client, registry, "h1:10000").await;
    }
    until_uris(&pipeline, &REGISTRIES.map(|registry| (registry, "h2:10000"))).await;
    let told = pipeline.must(&["history", "endpoints/hiveserver2", "--author", "setkeeper endpoints"]).await;
    assert!(told.contains("h2:10000 instead of h1:10000, whose znode is gone"), "{told}");
    pipeline.must(&["status"]).await;

    deregister(&client, "kyuubi", "h2:10000").await;
    let is_empty = |one: &Value| one["problems"] == json!(["nothing is registered; h2:10000 stays"]);
    let listed = until_listed(&pipeline, "kyuubi", is_empty).await;
    assert_eq!((&listed["chosen"], &listed["registered"]), (&json!(["h2:10000"]), &json!(0)), "{listed}");
    let status = pipeline.setkeeper(&["status"]).await;
    let told = String::from_utf8_lossy(&status.stdout).into_owned();
    assert_eq!(status.status.code(), Some(2), "{told}");
    assert!(told.contains("TROUBLE: endpoint kyuubi: nothing is registered; h2:10000 stays"), "{told}");
    let metrics = page(&pipeline, "metrics").await;
    for line in [
        "setkeeper_endpoints_followed 5",
        "setkeeper_endpoints_troubled 1",
        "setkeeper_endpoints_instances 4",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    until_uris(&pipeline, &[("kyuubi", "h2:10000")]).await;
    register(&client, "kyuubi", "h3:10000").await;
    until_uris(&pipeline, &[("kyuubi", "h3:10000")]).await;
    pipeline.await_equal().await;
}

/// Answers every GET with 200, until it is dropped.
async fn healthy() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("its address").to_string();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            if stream.read(&mut request).await.is_ok() {
                // Whoever only wanted a connection does not read it.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    });
    (at, serving)
}

async fn an_instance_that_comes_and_goes_or_fails_its_check_is_not_for_long(metadata: Metadata) {
    let options = Options::default().set("endpoints.check_every", "100ms").set("endpoints.check_failures", 2);
    let pipeline = Pipeline::start(metadata, options).await;
    let client = outside(&pipeline.zookeeper.connect()).await;
    let (first, first_server) = healthy().await;
    let (second, _second_server) = healthy().await;
    register(&client, "hiveserver2", "127.0.0.1:1").await;
    register(&client, "hiveserver2", &first).await;
    let hive = |more: Value| with(json!({"registry": "hiveserver2", "path": "/hiveserver2"}), "check", more);
    follow(&pipeline, 1, "tcp", hive(json!({"tcp": true}))).await;
    follow(&pipeline, 2, "http", hive(json!({"http": "/health"}))).await;
    until_uris(&pipeline, &[("tcp", &first), ("http", &first)]).await;
    register(&client, "hiveserver2", &second).await;
    until_listed(&pipeline, "http", |one| one["registered"] == 3 && one["healthy"] == 2).await;
    first_server.abort();
    until_uris(&pipeline, &[("tcp", &second), ("http", &second)]).await;

    // One that comes and goes within `settle` moves nothing; a third endpoint shows that all of it was seen.
    register(&client, "hostport", "a:1").await;
    register(&client, "hostport", "b:1").await;
    let flapping = json!({"registry": "hostport", "path": "/hostport", "settle": "30s", "min_hold": "0s"});
    follow(&pipeline, 3, "flapping", flapping).await;
    until_uris(&pipeline, &[("flapping", "a:1")]).await;
    for _ in 0..20 {
        deregister(&client, "hostport", "a:1").await;
        register(&client, "hostport", "a:1").await;
    }
    deregister(&client, "hostport", "b:1").await;
    until_listed(&pipeline, "flapping", |one| one["registered"] == 1).await;
    let written = "SELECT count(*) FROM audit_change WHERE path = 'endpoints/flapping'";
    assert_eq!(pipeline.audit(written).await, [["1"]], "written once");
    until_uris(&pipeline, &[("flapping", "a:1")]).await;
}

async fn another_ensemble_is_followed_by_whichever_worker_is_left(metadata: Metadata) {
    let other = Zookeeper::start(zookeeper::Options::default()).await.expect("zookeeper starts");
    let mut pipeline = Pipeline::start(metadata, Options::default().apart()).await;
    let client = outside(&other.connect()).await;
    register(&client, "hiveserver2", "h1:10000").await;
    register(&client, "hiveserver2", "h2:10000").await;
    let setting = json!({"registry": "hiveserver2", "path": "/hiveserver2", "connect": other.connect()});
    follow(&pipeline, 1, "hive", setting).await;
    // Nobody follows it yet, and that is told.
    let told = list(&pipeline).await;
    assert_eq!(
        (&told["worker"], &told["endpoints"][0]["registered"]),
        (&Value::Null, &Value::Null),
        "{told}"
    );
    assert!(told["problems"][0].as_str().is_some_and(|one| one.starts_with("no worker follows")), "{told}");
    let mut workers = [(); 2].map(|()| pipeline.launcher.spawn(Role::Endpoints, &[]));
    until_uris(&pipeline, &[("hive", "h1:10000")]).await;
    let told = list(&pipeline).await;
    let holder = told["worker"].as_str().expect("a worker").to_owned();
    let is_active = |pid: u32| holder.ends_with(&format!(" pid {pid}"));
    let active = workers.iter_mut().find(|worker| is_active(worker.pid())).expect("one of them");
    active.kill().await;
    deregister(&client, "hiveserver2", "h1:10000").await;
    until_uris(&pipeline, &[("hive", "h2:10000")]).await;
    let next = list(&pipeline).await;
    assert_ne!(next["worker"], told["worker"], "the other one");
    assert_eq!(next["problems"], json!([]), "{next}");
    let other_hosts =
        pipeline.session.read(&crate::pipeline::path("endpoints/hive")).await.expect("an answer");
    let chosen: Value = serde_json::from_slice(&other_hosts.expect("it is there").bytes).expect("JSON");
    assert_eq!(chosen["from"]["connect"], json!(other.connect()));
    pipeline.kill_worker(Role::Applier).await;
}
