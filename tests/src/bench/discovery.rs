//! How long the fleet takes to follow ZooKeeper.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use testbed::Superset;
use testbed::superset::{
    ADMIN, ADMIN_PASSWORD, Metadata as Served, Options as Server, Token, sqlite_template,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Child;
use zookeeper_client::{Acls, AddWatchMode, Client, CreateMode, EventType};

use super::{Figure, Goal, median, report};
use crate::pipeline::documents::{database, with};
use crate::pipeline::{Metadata, Options, Pipeline};

pub(super) const ABOUT: &str = "\
*node death to file*: from the removal of a killed node's znode (its session expires; `kill -9` of its agent) to the \
upstream file without it; the floor is one write to one watch event. *flag to live*: from the write of a feature flag to \
the answer of a running Superset's own API that shows it; the floor is one such request and one watch event. *endpoint \
death to URI*: from the delete of the chosen instance's znode to the new URI in Superset's metadata database, with a \
`settle` of 500 ms; the floor is `settle` and one watch event.";

/// How long a chosen instance has to be gone before another is chosen.
const SETTLE: Duration = Duration::from_millis(500);
/// For anything that is waited for.
const WITHIN: Duration = Duration::from_secs(60);
const DEATHS: usize = 7;
const FLIPS: usize = 10;
const MOVES: usize = 15;
const EVENTS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn figures() {
    // Sessions of one second, so that a node's death is soon known.
    let pipeline = Pipeline::start(Metadata::Sqlite, Options::default()).await;
    let events = events(&pipeline).await;
    let deaths = node_death_to_file(&pipeline, &events).await;
    let moves = endpoint_death_to_uri(&pipeline, &events).await;
    let flips = flag_to_live(&pipeline, &events).await;
    report("discovery", &[deaths, flips, moves]);
}

/// A session of the bench, from ZooKeeper's own root.
async fn client(pipeline: &Pipeline) -> Client {
    Client::connect(&pipeline.zookeeper.connect()).await.expect("zookeeper serves")
}

/// From the sending of a write to the event of a watch in another session.
async fn events(pipeline: &Pipeline) -> Vec<Duration> {
    let (writer, reader) = (client(pipeline).await, client(pipeline).await);
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    writer.create("/floor", b"", &options).await.expect("a create");
    let mut watcher = reader.watch("/floor", AddWatchMode::PersistentRecursive).await.expect("a watch");
    let mut samples = Vec::new();
    for _ in 0..EVENTS {
        let began = Instant::now();
        let (written, _) = tokio::join!(writer.set_data("/floor", b"x", None), watcher.changed());
        samples.push(began.elapsed());
        written.expect("a set");
    }
    samples
}

/// `floor` and one event, for each event.
fn after(floor: Duration, events: &[Duration]) -> Vec<Duration> {
    events.iter().map(|event| floor + *event).collect()
}

/// Awaits a state with a deadline, looking once a millisecond: fine beside what is measured, coarse enough to leave the
/// cores to it.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
        ticks.tick().await;
    }
}

/// A process of setkeeper that ends with the value.
fn spawn(pipeline: &Pipeline, configuration: &Path, arguments: &[&str]) -> Child {
    let mut command = pipeline.program(configuration);
    let log = std::fs::File::create(pipeline.folder().join(format!("{}.log", arguments[0]))).expect("a log");
    command.args(arguments).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("setkeeper starts")
}

/// The pipeline's configuration with more at its end.
fn configuration(pipeline: &Pipeline, name: &str, more: &str) -> PathBuf {
    let text = std::fs::read_to_string(pipeline.configuration()).expect("a configuration");
    let path = pipeline.folder().join(name);
    std::fs::write(&path, format!("{text}\n{more}")).expect("writable");
    path
}

/// A server that answers 200 to whatever it is asked, in the place of Superset where Superset adds nothing.
async fn healthy() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            if stream.read(&mut asked).await.is_ok() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nOK";
                let _ = stream.write_all(answer).await;
            }
        }
    });
    port
}

async fn node_death_to_file(pipeline: &Pipeline, events: &[Duration]) -> Figure {
    let file = pipeline.folder().join("upstream.conf");
    let health = healthy().await;
    let agent = format!(
        "[agent]\ninstance = \"node\"\naddress = \"127.0.0.1\"\nhealth_url = \"http://127.0.0.1:{health}/health\"\n\
         health_every = \"200ms\"\nlive_file = \"\"\n"
    );
    let template = format!(
        "[[template]]\nsource = \"{}\"\ntarget = \"{}\"\nmin_interval = \"50ms\"\n",
        pipeline.folder().join("nodes.j2").display(),
        file.display()
    );
    let source = "{% for node in service(\"superset\", required=false) %}{{ node.instance }}\n{% endfor %}";
    std::fs::write(pipeline.folder().join("nodes.j2"), source).expect("writable");
    let agent = configuration(pipeline, "agent.toml", &agent);
    let template = configuration(pipeline, "template.toml", &template);
    let _templates = spawn(pipeline, &template, &["template", "run"]);
    let holds = || std::fs::read_to_string(&file).unwrap_or_default().contains("node");
    let services = format!("/superset/{}/services", crate::pipeline::ENV);
    let watching = client(pipeline).await;
    let mut watcher = watching.watch(&services, AddWatchMode::PersistentRecursive).await.expect("a watch");
    let (mut samples, mut expiries) = (Vec::new(), Vec::new());
    for _ in 0..DEATHS {
        let mut node = spawn(pipeline, &agent, &["agent"]);
        until("the node stands in the file", async || holds()).await;
        node.kill().await.expect("it can be killed");
        let killed = Instant::now();
        loop {
            let event = watcher.changed().await;
            if event.event_type == EventType::NodeDeleted && event.path.ends_with("/node") {
                break;
            }
        }
        let removed = Instant::now();
        until("the file is without the node", async || !holds()).await;
        samples.push(removed.elapsed());
        expiries.push(removed - killed);
    }
    println!("session expiry (ZooKeeper's own floor before all that): {:.0} ms", median(&expiries));
    Figure {
        name: "node death to file",
        samples,
        floor: events.to_vec(),
        goal: Goal { of: "value", at_most: 100.0 },
    }
}

async fn endpoint_death_to_uri(pipeline: &Pipeline, events: &[Duration]) -> Figure {
    let client = client(pipeline).await;
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create("/hive", b"", &options).await.expect("a create");
    for node in ["a", "b"] {
        register(&client, node).await;
    }
    let follow = json!({"v": 1, "registry": "hostport", "path": "/hive", "choose": "sticky",
        "settle": format!("{}ms", SETTLE.as_millis())});
    pipeline.put("settings/endpoints/hive", &follow).await;
    let document = with(database(1), "sqlalchemy_uri", "hive://reader@{endpoint}/warehouse");
    pipeline
        .put("assets/main/databases/hive", &with(document, "setkeeper", json!({"endpoint": "hive"})))
        .await;
    let uri = async || {
        let rows =
            pipeline.superset("SELECT sqlalchemy_uri FROM dbs WHERE sqlalchemy_uri LIKE 'hive:%'").await;
        rows.first().map(|row| row[0].clone()).unwrap_or_default()
    };
    until("the database follows", async || !uri().await.is_empty()).await;
    let mut samples = Vec::new();
    for _ in 0..MOVES {
        let (gone, other) = if uri().await.contains("@a.") { ("a", "b") } else { ("b", "a") };
        let wanted = format!("@{other}.hive:10000");
        let began = Instant::now();
        client.delete(&format!("/hive/{gone}"), None).await.expect("a delete");
        until("the other one is chosen", async || uri().await.contains(&wanted)).await;
        samples.push(began.elapsed());
        register(&client, gone).await;
    }
    let limit = 100.0 + SETTLE.as_secs_f64() * 1000.0;
    Figure {
        name: "endpoint death to URI",
        samples,
        floor: after(SETTLE, events),
        goal: Goal { of: "value", at_most: limit },
    }
}

async fn register(client: &Client, node: &str) {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let data = format!("{node}.hive:10000");
    client.create(&format!("/hive/{node}"), data.as_bytes(), &options).await.expect("a create");
}

async fn flag_to_live(pipeline: &Pipeline, events: &[Duration]) -> Figure {
    let live = pipeline.folder().join("live.json");
    let metadata = pipeline.folder().join("live.db");
    sqlite_template(&metadata).expect("the template is there");
    let deploy = super::root().join("deploy").display().to_string();
    let server = Server {
        extra_config: "import setkeeper_live; setkeeper_live.install(globals())".to_owned(),
        env: vec![
            ("PYTHONPATH".to_owned(), deploy),
            ("SETKEEPER_LIVE_FILE".to_owned(), live.display().to_string()),
        ],
        ..Server::default()
    };
    let superset = Superset::start(Served::Sqlite(metadata), server).await.expect("superset starts");
    let admin = superset.login(ADMIN, ADMIN_PASSWORD).await.expect("superset answers");
    let agent = format!(
        "[agent]\ninstance = \"live\"\naddress = \"127.0.0.1\"\nhealth_url = \"{}/health\"\nlive_file = \"{}\"\n",
        superset.url(),
        live.display()
    );
    let _agent = spawn(pipeline, &configuration(pipeline, "live.toml", &agent), &["agent"]);
    let at = "settings/feature_flags/ALERT_REPORTS";
    let reports = async || reports(&superset, &admin).await;
    pipeline.put(at, &json!(true)).await;
    until("the flag is known", async || reports().await == 200).await;
    let (mut samples, mut requests) = (Vec::new(), Vec::new());
    for flip in 0..FLIPS {
        let (value, answer) = if flip % 2 == 0 { (false, 404) } else { (true, 200) };
        let began = Instant::now();
        pipeline.put(at, &json!(value)).await;
        until("the flag is live", async || reports().await == answer).await;
        samples.push(began.elapsed());
        let began = Instant::now();
        reports().await;
        requests.push(began.elapsed());
    }
    let request = Duration::from_secs_f64(median(&requests) / 1000.0);
    Figure {
        name: "flag to live",
        samples,
        floor: after(request, events),
        goal: Goal { of: "value", at_most: 1000.0 },
    }
}

/// What Superset answers to a request for its reports, which only the flag brings.
async fn reports(superset: &Superset, admin: &Token) -> u16 {
    superset.get(admin, "/api/v1/report/").await.expect("superset answers").0
}
