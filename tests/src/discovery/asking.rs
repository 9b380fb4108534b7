//! `discover`, `template render` and Prometheus.

use std::path::Path;

use serde_json::{Value, json};

use super::fleet::Fleet;
use crate::until::until;

#[tokio::test]
async fn discover_prints_every_form() {
    let fleet = Fleet::start(|_| String::new()).await;
    let _two = fleet.register("superset", "n2", 8082).await;
    let _one = fleet.register("superset", "n1", 8081).await;
    let client = fleet.session.client();
    let open = zookeeper_client::CreateMode::Persistent.with_acls(zookeeper_client::Acls::anyone_all());
    client.create("/services/superset/evil", b"{\"address\":\"a; b\"}", &open).await.expect("created");

    let (code, printed, said) = fleet.ends(&["discover", "superset", "-o", "json"]).await;
    let servers: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!((code, servers.as_array().map(Vec::len)), (0, Some(2)), "{printed}{said}");
    assert_eq!(servers[0]["hostport"], "127.0.0.1:8081");
    assert_eq!(servers[0]["version"], "6.1.0");
    assert!(said.contains("left out: services/superset/evil: "), "{said}");

    let nginx = fleet.must(&["discover", "superset", "-o", "nginx"]).await;
    assert!(nginx.contains("upstream superset {\n    server 127.0.0.1:8081 weight=1; # n1\n"), "{nginx}");
    let haproxy = fleet.must(&["discover", "superset", "-o", "haproxy"]).await;
    assert!(haproxy.contains("    server n2 127.0.0.1:8082 weight 1 check\n"), "{haproxy}");
    let envoy = fleet.must(&["discover", "superset", "-o", "envoy"]).await;
    assert!(envoy.contains("port_value: 8082"), "{envoy}");
    let table = fleet.must(&["discover", "superset"]).await;
    assert!(table.contains("127.0.0.1:8081"), "{table}");
    let prometheus = fleet.must(&["discover", "superset", "-o", "prometheus"]).await;
    let first = json!({"targets": ["127.0.0.1:8081"], "labels": {
        "__meta_setkeeper_service": "superset", "__meta_setkeeper_instance": "n1",
        "__meta_setkeeper_weight": "1", "__meta_setkeeper_version": "6.1.0",
        "__meta_setkeeper_payload_weight": "1", "__meta_setkeeper_payload_version": "6.1.0"}});
    assert_eq!(serde_json::from_str::<Value>(&prometheus).expect("JSON")[0], first);
}

#[tokio::test]
async fn nobody_is_an_empty_list_for_programs_and_a_finding_for_people() {
    let fleet = Fleet::start(|_| String::new()).await;
    let _one = fleet.register("superset", "n1", 8081).await;
    for form in ["json", "prometheus"] {
        assert_eq!(fleet.must(&["discover", "hive", "-o", form]).await.trim(), "[]");
    }
    for form in ["table", "nginx", "haproxy", "envoy"] {
        let (code, printed, said) = fleet.ends(&["discover", "hive", "-o", form]).await;
        assert_eq!((code, printed.as_str()), (2, ""), "{form}");
        assert!(said.contains("nobody is registered as `hive`; the services are superset"), "{said}");
    }
    let (code, _, said) = fleet.ends(&["discover", "a/b"]).await;
    assert!(code == 64 && said.contains("no service's name"), "{code} {said}");
    let (code, _, said) = fleet.ends(&["ls", "-o", "nginx"]).await;
    assert!(code == 64 && said.contains("for `discover`"), "{code} {said}");
}

#[tokio::test]
async fn prometheus_is_served_what_is_registered_now() {
    let target = |folder: &Path| {
        let url = format!("sqlite://{}/superset.db", folder.display());
        format!("[[target]]\nname = \"a\"\nurl = \"{url}\"\nsecret_key = \"env:PATH\"\n")
    };
    let mut fleet = Fleet::start(target).await;
    fleet.zookeeper.stop_process().expect("it runs");
    let program = fleet.run(&["run"]);
    let (code, told) = program.page("sd/prometheus/superset").await;
    assert_eq!((code, told.as_str()), (503, "zookeeper was not read yet\n"));
    fleet.zookeeper.cont().expect("it runs");
    fleet.zookeeper.restart().await.expect("it starts");
    fleet.session = crate::pipeline::connect(&fleet.zookeeper.connect()).await;
    let lists = async |wanted: Value| {
        until(&format!("{wanted} is served"), async || {
            let (code, text) = program.page("sd/prometheus/superset").await;
            let served: Value = serde_json::from_str(&text).unwrap_or_default();
            let targets: Value =
                served.as_array().into_iter().flatten().map(|each| each["targets"][0].clone()).collect();
            if code == 200 && targets == wanted { Ok(()) } else { Err(format!("{code} {text}")) }
        })
        .await;
    };
    lists(json!([])).await;
    let one = fleet.register("superset", "n1", 8081).await;
    lists(json!(["127.0.0.1:8081"])).await;
    assert_eq!(program.page("sd/prometheus/unknown").await, (200, "[]".to_owned()));
    assert_eq!(program.metric("setkeeper_discovery_instances{service=\"superset\"}").await, Some(1.0));
    one.withdraw().await.expect("withdrawn");
    lists(json!([])).await;
}

#[tokio::test]
async fn a_template_is_rendered_without_being_written() {
    let sections = "[[template]]\nsource = \"a.j2\"\ntarget = \"out/a\"\n[[template]]\nsource = \"a.j2\"\ntarget = \"out/b\"\n";
    let fleet = Fleet::start(|_| sections.to_owned()).await;
    fleet.put("a.j2", "{{ setting('config', 'ROW_LIMIT', default=5) }}{{ service('superset')[0].port }}");
    let (code, _, said) = fleet.ends(&["template", "render", "out/a"]).await;
    assert!(code == 2 && said.contains("nobody is registered"), "{code} {said}");
    let _one = fleet.register("superset", "n1", 8081).await;
    assert_eq!(fleet.must(&["template", "render", "out/a"]).await, "58081");
    assert!(!fleet.at("out").exists());
    let (code, _, said) = fleet.ends(&["template", "render", "c"]).await;
    assert!(code == 64 && said.contains("/out/a, "), "{code} {said}");
}
