//! An environment of its own in a ZooKeeper that all tests share, with a worker in it and a registry beside it.

use std::sync::Arc;
use std::time::Duration;

use agent::endpoints::{Config, Endpoints, Report, Stats, Stopped, Told};
use serde_json::{Value, json};
use testbed::Zookeeper;
use testbed::zookeeper::Options;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zk::{Follower, Session};
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error as ZkError};

const DEADLINE: Duration = Duration::from_secs(30);

static SERVER: OnceCell<Zookeeper> = OnceCell::const_new();

type Running = JoinHandle<Result<Stopped, agent::endpoints::Error>>;

/// One environment.
pub(crate) struct World {
    env: String,
    config: Config,
    zookeeper: zk::Config,
    session: Session,
    outside: Client,
    chosen: Follower,
    reports: Follower,
    worker: Option<(CancellationToken, Running)>,
}

/// Waits with a deadline, and no longer than the worker works.
async fn while_working<T>(
    worker: &mut Option<(CancellationToken, Running)>,
    waiting: impl Future<Output = T>,
) -> Result<T, String> {
    let (_, running) = worker.as_mut().unwrap();
    tokio::select! {
        biased;
        ended = running => Err(format!("the worker has ended: {ended:?}")),
        done = tokio::time::timeout(DEADLINE, waiting) => done.map_err(|_| format!("not within {DEADLINE:?}")),
    }
}

fn persistent() -> CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}

pub(crate) async fn client(hosts: &str) -> Client {
    Client::connector().with_session_timeout(Duration::from_secs(10)).connect(hosts).await.unwrap()
}

fn znode(host: &str, sequence: u32) -> String {
    format!("serverUri={host};version=4;sequence={sequence:010}")
}

/// Registers as HiveServer2 does, but with a sequence of the test's choice.
pub(crate) async fn register(client: &Client, root: &str, host: &str, sequence: u32) {
    client.mkdir(root, &persistent()).await.unwrap();
    let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
    client.create(&format!("{root}/{}", znode(host, sequence)), host.as_bytes(), &options).await.unwrap();
}

pub(crate) async fn deregister(client: &Client, root: &str, host: &str) {
    for node in client.list_children(root).await.unwrap() {
        if node.starts_with(&format!("serverUri={host};")) {
            client.delete(&format!("{root}/{node}"), None).await.unwrap();
        }
    }
}

impl World {
    pub(crate) async fn start(env: &str) -> World {
        World::start_with(env, Config::default()).await
    }

    pub(crate) async fn start_with(env: &str, config: Config) -> World {
        let server =
            SERVER.get_or_init(|| async { Zookeeper::start(Options::default()).await.unwrap() }).await;
        let mut zookeeper = zk::Config::new(server.connect(), env);
        zookeeper.session_timeout = Duration::from_secs(5);
        zookeeper.connect_timeout = Duration::from_secs(2);
        let session = Session::connect(&zookeeper).await.unwrap();
        session.init().await.unwrap();
        let chosen = session.follow("endpoints").await.unwrap();
        let reports = session.follow("workers").await.unwrap();
        let outside = client(&server.connect()).await;
        let env = env.to_owned();
        let mut world = World { env, config, zookeeper, session, outside, chosen, reports, worker: None };
        world.resume().await;
        world
    }

    /// Starts a worker, with a session of its own.
    pub(crate) async fn resume(&mut self) {
        let stop = CancellationToken::new();
        let session = Session::connect(&self.zookeeper).await.unwrap();
        let worker = Endpoints::new(session, self.zookeeper.clone(), self.config.clone());
        let worker = worker.reporting(Arc::new(Stats::default()));
        self.worker = Some((stop.clone(), tokio::spawn(worker.run(stop))));
    }

    /// Stops the worker.
    pub(crate) async fn stop(&mut self) {
        let (stop, worker) = self.worker.take().unwrap();
        stop.cancel();
        worker.await.unwrap().unwrap();
    }

    /// A client outside every environment.
    pub(crate) fn outside(&self) -> &Client {
        &self.outside
    }

    fn root(&self) -> String {
        format!("/{}", self.env)
    }

    pub(crate) async fn register(&self, host: &str, sequence: u32) {
        self.register_at(&self.root(), host, sequence).await;
    }

    pub(crate) async fn register_at(&self, root: &str, host: &str, sequence: u32) {
        register(&self.outside, root, host, sequence).await;
    }

    pub(crate) async fn deregister(&self, host: &str) {
        deregister(&self.outside, &self.root(), host).await;
    }

    pub(crate) async fn outside_put(&self, path: &str, bytes: &[u8]) {
        let (folder, _) = path.rsplit_once('/').unwrap();
        self.outside.mkdir(folder, &persistent()).await.unwrap();
        self.outside.create(path, bytes, &persistent()).await.unwrap();
    }

    pub(crate) async fn remove_all(&self, root: &str) {
        for node in self.outside.list_children(root).await.unwrap() {
            self.outside.delete(&format!("{root}/{node}"), None).await.unwrap();
        }
        self.outside.delete(root, None).await.unwrap();
    }

    /// Writes a setting, with HiveServer2's registry at this world's root where it says nothing else.
    pub(crate) async fn follow(&self, name: &str, setting: Value) {
        let mut whole = json!({"v": 1, "registry": "hiveserver2", "path": self.root()});
        for (key, value) in setting.as_object().unwrap() {
            whole[key] = value.clone();
        }
        self.put(&format!("settings/endpoints/{name}"), whole.to_string().as_bytes()).await;
    }

    /// Creates or sets below the environment, as a stranger.
    pub(crate) async fn put(&self, path: &str, bytes: &[u8]) {
        let (client, node) = (self.session.client(), format!("/{path}"));
        let (folder, _) = node.rsplit_once('/').unwrap();
        client.mkdir(folder, &persistent()).await.unwrap();
        match client.create(&node, bytes, &persistent()).await {
            Err(ZkError::NodeExists) => {
                client.set_data(&node, bytes, None).await.unwrap();
            }
            created => {
                created.unwrap();
            }
        }
    }

    pub(crate) async fn delete(&self, path: &str) {
        self.session.client().delete(&format!("/{path}"), None).await.unwrap();
    }

    /// What stands at `endpoints/<name>`.
    pub(crate) async fn chosen(&self, name: &str) -> Option<Value> {
        let found = self.session.read(&format!("endpoints/{name}").parse().unwrap()).await.unwrap()?;
        serde_json::from_slice(&found.bytes).ok()
    }

    /// How often that was set.
    pub(crate) async fn version(&self, name: &str) -> i32 {
        self.session.read(&format!("endpoints/{name}").parse().unwrap()).await.unwrap().unwrap().version
    }

    /// The message of the newest edit of an endpoint.
    pub(crate) async fn reason(&self, name: &str) -> String {
        let edits = self.session.client();
        let mut ids = edits.list_children("/edits").await.unwrap();
        ids.sort_unstable();
        for id in ids.iter().rev() {
            let (bytes, _) = edits.get_data(&format!("/edits/{id}")).await.unwrap();
            let edit: Value = serde_json::from_slice(&bytes).unwrap();
            if edit["changes"][0]["path"] == format!("endpoints/{name}") {
                assert_eq!(edit["author"], "setkeeper endpoints");
                return edit["message"].as_str().unwrap().to_owned();
            }
        }
        panic!("no edit of endpoints/{name}");
    }

    /// Waits until an endpoint has chosen that, as it stands in a URI.
    pub(crate) async fn until_chosen(&mut self, name: &str, hosts: &str) {
        let mut last = None;
        let waiting = async {
            loop {
                // The follower tells when to look; what it saw itself may be of before.
                let found = self.session.read(&format!("endpoints/{name}").parse().unwrap()).await.unwrap();
                last = found.as_ref().map(|found| String::from_utf8_lossy(&found.bytes).into_owned());
                let chosen = found.and_then(|found| asset::parse_chosen(name, &found.bytes).ok());
                if chosen.is_some_and(|chosen| chosen.in_uri() == hosts) {
                    return;
                }
                self.chosen.changed().await.unwrap();
            }
        };
        let ended = while_working(&mut self.worker, waiting).await;
        assert!(ended.is_ok(), "{name} has chosen {hosts}; last: {last:?}; {ended:?}");
    }

    /// Waits until the report is so.
    pub(crate) async fn until_report(&mut self, is_so: impl Fn(&Report) -> bool) -> Report {
        let mut last = None;
        let waiting = async {
            loop {
                let found = self.reports.nodes().get("endpoints/report");
                last = found.and_then(|found| Report::parse(&found.bytes).ok());
                if let Some(report) = last.as_ref().filter(|report| is_so(report)) {
                    return report.clone();
                }
                self.reports.changed().await.unwrap();
            }
        };
        let ended = while_working(&mut self.worker, waiting).await;
        ended.unwrap_or_else(|why| panic!("the report is not so: {why}; last: {last:#?}"))
    }

    /// Waits until the report on an endpoint is so.
    pub(crate) async fn until_told(&mut self, name: &str, is_so: impl Fn(&Told) -> bool) -> Told {
        let report = self.until_report(|report| report.endpoints.get(name).is_some_and(&is_so)).await;
        report.endpoints[name].clone()
    }
}
