//! What the parsers make of real registrations: each is written into a real ZooKeeper by the class or library that its
//! service registers itself with, and read by the same calls as the worker's.
//!
//! Kyuubi's own jar is on no registry that we may use, so its znode is written by the class that it writes it with
//! (Curator's `PersistentNode`), under the name and with the data that its source puts together
//! (`ZookeeperDiscoveryClient.scala`, `createPersistentNode` and `addConfsToPublish`, at cfbbeec4).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

use std::process::Stdio;
use std::time::Duration;

use agent::registry::{Entry, Registered, read};
use asset::Registry;
use expect_test::{Expect, expect};
use testbed::zookeeper::Options;
use testbed::{Zookeeper, clients};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use zk::{Config, Elsewhere, Follower};

const DEADLINE: Duration = Duration::from_secs(60);

static SERVER: OnceCell<Zookeeper> = OnceCell::const_new();

async fn server() -> String {
    SERVER.get_or_init(|| async { Zookeeper::start(Options::default()).await.unwrap() }).await.connect()
}

/// A process that has registered something and keeps its session; killed with its value.
struct Service(#[expect(dead_code, reason = "it is there to be dropped")] Child);

async fn start(mut command: Command) -> Service {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("registered in time");
    assert_eq!(ready.unwrap().as_deref(), Some("ready"), "what went wrong stands above");
    Service(child)
}

/// A Java service: the arguments are those of `java/Register.java`.
async fn java(arguments: &[&str]) -> Service {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/registries/Register.java");
    let mut command = clients::java(source.as_ref()).unwrap();
    command.arg(server().await).args(arguments);
    start(command).await
}

/// A kazoo client: `zk.create` and so on in `script`.
async fn kazoo(script: &str) -> Service {
    let around = format!(
        "import json, sys\nfrom kazoo.client import KazooClient\nzk = KazooClient(hosts=sys.argv[1])\nzk.start()\n\
         {script}\nprint('ready', flush=True)\nsys.stdin.read()\n"
    );
    let mut command = clients::kazoo().unwrap();
    command.args(["-c", &around, &server().await]);
    start(command).await
}

async fn follow(path: &str) -> Follower {
    let elsewhere = Elsewhere::connect(&server().await, &Config::new("unused", "unused")).await.unwrap();
    elsewhere.follow(path).await.unwrap()
}

fn registered(registry: Registry, follower: &Follower) -> Registered {
    let children = follower.nodes().iter().filter(|(path, _)| !path.is_empty() && !path.contains('/'));
    let entries = children.map(|(node, found)| Entry { node, czxid: found.czxid, bytes: &found.bytes });
    read(registry, entries, 100)
}

/// What a registry says, with names that are new in every run made alike.
async fn check(registry: Registry, path: &str, want: &Expect) {
    let follower = follow(path).await;
    let told = registered(registry, &follower);
    let mut lines: Vec<String> =
        told.instances.iter().map(|one| format!("{} by {}", one.at, one.node)).collect();
    lines.extend(told.left_out.iter().map(|dropped| format!("left out {dropped}")));
    lines.extend(told.faults.iter().map(|dropped| format!("fault {dropped}")));
    let data = follower.nodes().values().filter(|found| !found.bytes.is_empty());
    lines.extend(data.map(|found| format!("  {}", String::from_utf8_lossy(&found.bytes))));
    let text = lines.join("\n");
    let uuid = |text: &str| text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let words = text.split_inclusive([' ', '`', '"', '\n', ':', ',']);
    let alike = words.map(|word| {
        let bare = word.trim_end_matches([' ', '`', '"', '\n', ':', ',']);
        let is_time = bare.len() == 13 && bare.bytes().all(|b| b.is_ascii_digit());
        let new = if uuid(bare) {
            "UUID"
        } else if is_time {
            "TIME"
        } else {
            bare
        };
        format!("{new}{}", &word[bare.len()..])
    });
    want.assert_eq(&alike.collect::<String>());
}

#[tokio::test]
async fn hiveserver2_by_its_own_helper() {
    let _plain = java(&["hiveserver2", "hs2", "h1.example:10000", "4.0.1", "h1.example:10000"]).await;
    let published = "hive.server2.instance.uri=h2.example:10001;hive.server2.authentication=KERBEROS;\
                     hive.server2.transport.mode=http;hive.server2.thrift.http.port=10001;\
                     hive.server2.authentication.kerberos.principal=hive/_HOST@EXAMPLE";
    let _published = java(&["hiveserver2", "hs2", "h2.example:10001", "4.0.1", published]).await;
    check(Registry::HiveServer2, "/hs2", &expect![[r#"
        h1.example:10000 by serverUri=h1.example:10000;version=4.0.1;sequence=0000000000
        h2.example:10001 by serverUri=h2.example:10001;version=4.0.1;sequence=0000000001
          127.0.0.1
          h1.example:10000
          hive.server2.instance.uri=h2.example:10001;hive.server2.authentication=KERBEROS;hive.server2.transport.mode=http;hive.server2.thrift.http.port=10001;hive.server2.authentication.kerberos.principal=hive/_HOST@EXAMPLE"#]]).await;
}

#[tokio::test]
async fn kyuubi_by_the_class_that_it_registers_with() {
    let published = "hive.server2.thrift.sasl.qop=auth;hive.server2.thrift.bind.host=k1.example;\
                     hive.server2.transport.mode=binary;hive.server2.authentication=NONE;\
                     hive.server2.thrift.port=10009";
    let server = "serverUri=k1.example:10009;version=1.12.0-SNAPSHOT;sequence=";
    let _server = java(&["kyuubi", "/kyuubi", server, published]).await;
    let engine = "serverUri=10.0.0.2:38021;version=1.12.0-SNAPSHOT;kyuubi.engine.id=application_1_2;\
                  kyuubi.engine.url=10.0.0.2:4040;refId=6d1f4f3e-9f0e-2f1f-5f7f-8a907f0c3a52;sequence=";
    let _engine = java(&["kyuubi", "/kyuubi", engine, "10.0.0.2:38021"]).await;
    check(Registry::Kyuubi, "/kyuubi", &expect![[r#"
        k1.example:10009 by serverUri=k1.example:10009;version=1.12.0-SNAPSHOT;sequence=0000000000
        10.0.0.2:38021 by serverUri=10.0.0.2:38021;version=1.12.0-SNAPSHOT;kyuubi.engine.id=application_1_2;kyuubi.engine.url=10.0.0.2:4040;refId=6d1f4f3e-9f0e-2f1f-5f7f-8a907f0c3a52;sequence=0000000001
          127.0.0.1
          10.0.0.2:38021
          hive.server2.thrift.sasl.qop=auth;hive.server2.thrift.bind.host=k1.example;hive.server2.transport.mode=binary;hive.server2.authentication=NONE;hive.server2.thrift.port=10009"#]]).await;
}

#[tokio::test]
async fn a_service_of_curators_x_discovery() {
    let _plain = java(&["curator", "/discovery", "web", "10.0.0.1", "8080", "8443", "true"]).await;
    check(Registry::Curator, "/discovery/web", &expect![[r#"
        10.0.0.1:8080 by UUID
          {"name":"web","id":"UUID","address":"10.0.0.1","port":8080,"sslPort":8443,"payload":"a payload","registrationTimeUTC":TIME,"serviceType":"DYNAMIC","uriSpec":{"parts":[{"value":"scheme","variable":true},{"value":"://","variable":false},{"value":"address","variable":true},{"value":":","variable":false},{"value":"port","variable":true}]},"enabled":true}"#]]).await;
    let _tls = java(&["curator", "/discovery", "tls", "tls.example", "-", "8443", "true"]).await;
    check(Registry::Curator, "/discovery/tls", &expect![[r#"
        tls.example:8443 by UUID
          {"name":"tls","id":"UUID","address":"tls.example","port":null,"sslPort":8443,"payload":"a payload","registrationTimeUTC":TIME,"serviceType":"DYNAMIC","uriSpec":{"parts":[{"value":"scheme","variable":true},{"value":"://","variable":false},{"value":"address","variable":true},{"value":":","variable":false},{"value":"port","variable":true}]},"enabled":true}"#]]).await;
    let _off = java(&["curator", "/discovery", "off", "off.example", "8080", "-", "false"]).await;
    check(Registry::Curator, "/discovery/off", &expect![[r#"
        left out `UUID`: it is not enabled
          {"name":"off","id":"UUID","address":"off.example","port":8080,"sslPort":null,"payload":"a payload","registrationTimeUTC":TIME,"serviceType":"DYNAMIC","uriSpec":{"parts":[{"value":"scheme","variable":true},{"value":"://","variable":false},{"value":"address","variable":true},{"value":":","variable":false},{"value":"port","variable":true}]},"enabled":false}"#]]).await;
}

#[tokio::test]
async fn a_serverset_and_plain_znodes_by_kazoo() {
    let _service = kazoo(
        "def join(host, status):\n    end = {'host': host, 'port': 9000}\n    \
         member = {'serviceEndpoint': end, 'additionalEndpoints': {'http': end}, 'status': status, 'shard': 1}\n    \
         zk.create('/serverset/member_', json.dumps(member).encode(), ephemeral=True, sequence=True, makepath=True)\n\
         join('s1.example', 'ALIVE')\njoin('s2.example', 'STOPPING')\n\
         zk.create('/plain/t1.example:8080', b'', ephemeral=True, makepath=True)\n\
         zk.create('/plain/second', b't2.example:8080', ephemeral=True)\n\
         zk.Party('/party', 'p1.example:7000').join()",
    )
    .await;
    check(Registry::Serverset, "/serverset", &expect![[r#"
        s1.example:9000 by member_0000000000
        left out `member_0000000001`: its status is STOPPING
          {"serviceEndpoint": {"host": "s1.example", "port": 9000}, "additionalEndpoints": {"http": {"host": "s1.example", "port": 9000}}, "status": "ALIVE", "shard": 1}
          {"serviceEndpoint": {"host": "s2.example", "port": 9000}, "additionalEndpoints": {"http": {"host": "s2.example", "port": 9000}}, "status": "STOPPING", "shard": 1}"#]]).await;
    check(
        Registry::HostPort,
        "/plain",
        &expect![[r#"
            t1.example:8080 by t1.example:8080
            t2.example:8080 by second
              t2.example:8080"#]],
    )
    .await;
    let follower = follow("/party").await;
    let party = registered(Registry::HostPort, &follower);
    assert_eq!(party.instances[0].at.to_string(), "p1.example:7000", "{party:?}");
}

#[tokio::test]
async fn an_instance_is_there_as_long_as_its_session() {
    let service = java(&["hiveserver2", "mortal", "h1.example:10000", "4.0.1", "h1.example:10000"]).await;
    let mut follower = follow("/mortal").await;
    assert_eq!(registered(Registry::HiveServer2, &follower).instances.len(), 1);
    drop(service);
    let gone = async {
        while !registered(Registry::HiveServer2, &follower).instances.is_empty() {
            follower.changed().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("gone with its session");
    assert!(follower.nodes().contains_key(""), "the registry itself stays");
}
