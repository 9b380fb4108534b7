//! A ZooKeeper and nodes beside it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use testbed::{Zookeeper, zookeeper};
use zk::Session;
use zookeeper_client::{Acls, CreateMode, Error as ZkError};

use super::node::Node;
use crate::{pipeline, until};

/// ZooKeeper, the nodes, and a session of the test.
pub(super) struct World {
    pub(super) zookeeper: Zookeeper,
    pub(super) session: Session,
    pub(super) nodes: Vec<Node>,
    // Last: what is in it must have ended.
    pub(super) folder: TempDir,
}

impl World {
    /// Starts ZooKeeper, makes the environment and so many nodes (`n1`, `n2`, …) whose agents are configured with these
    /// lines. Nothing runs on the nodes yet.
    pub(super) async fn new(count: usize, lines: &str) -> World {
        pipeline::program::build().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options =
            zookeeper::Options { tick: Duration::from_millis(500), ..zookeeper::Options::default() };
        let zookeeper = Zookeeper::start(options).await.expect("zookeeper starts");
        let connect = zookeeper.connect();
        let session = pipeline::connect(&connect).await;
        session.init().await.expect("an environment");
        let nodes =
            (1..=count).map(|n| Node::new(folder.path(), &format!("n{n}"), &connect, lines)).collect();
        World { zookeeper, session, nodes, folder }
    }

    /// The same with everything running and registered.
    pub(super) async fn running(count: usize, lines: &str) -> World {
        let mut world = World::new(count, lines).await;
        for node in &mut world.nodes {
            node.start_superset().await;
            node.start_agent();
        }
        world.registered_become(&(1..=count).map(|n| format!("n{n}")).collect::<Vec<_>>()).await;
        world
    }

    /// Looks until `look` gives something: `Err` says what it saw instead, and is told at the deadline.
    pub(super) async fn until<T, W: Debug>(&self, what: &str, look: impl AsyncFnMut() -> Result<T, W>) -> T {
        until::until_or_tell(what, look, || self.nodes.iter().map(Node::logged).collect()).await
    }

    /// The registered instances.
    pub(super) async fn registered(&self) -> BTreeSet<String> {
        match self.session.client().list_children("/services/superset").await {
            Ok(names) => names.into_iter().collect(),
            Err(ZkError::NoNode) => BTreeSet::new(),
            Err(error) => panic!("list the services: {error}"),
        }
    }

    pub(super) async fn registered_become<S: AsRef<str>>(&self, wanted: &[S]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|name| name.as_ref().to_owned()).collect();
        self.until(&format!("{wanted:?} are registered"), async || {
            let found = self.registered().await;
            if found == wanted { Ok(()) } else { Err(found) }
        })
        .await;
    }

    /// Creates or sets a znode as a stranger does.
    pub(super) async fn put(&self, at: &str, text: &str) {
        let (client, path) = (self.session.client(), format!("/{at}"));
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        client.mkdir(path.rsplit_once('/').expect("below the root").0, &options).await.expect("a folder");
        match client.create(&path, text.as_bytes(), &options).await {
            Ok(_) => {}
            Err(ZkError::NodeExists) => {
                client.set_data(&path, text.as_bytes(), None).await.expect("a set");
            }
            Err(error) => panic!("create {path}: {error}"),
        }
    }

    pub(super) async fn delete(&self, at: &str) {
        self.session.client().delete(&format!("/{at}"), None).await.expect("a znode to delete");
    }

    /// What a znode holds.
    pub(super) async fn json(&self, at: &str) -> Option<Value> {
        let found = self.session.read(&at.parse().expect("a path")).await.expect("an answer")?;
        serde_json::from_slice(&found.bytes).ok()
    }

    /// Runs a command with the configuration of the first node, to its end.
    pub(super) async fn setkeeper(&self, arguments: &[&str]) -> Output {
        pipeline::program::run(self.nodes[0].program(), arguments, b"").await
    }

    /// Runs one that has to succeed, and returns what it printed.
    pub(super) async fn must(&self, arguments: &[&str]) -> String {
        let output = self.setkeeper(arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "setkeeper {arguments:?}: {}\n{said}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What `nodes list` tells of a node.
    pub(super) async fn listed(&self, name: &str) -> Value {
        let list: Value =
            serde_json::from_str(&self.must(&["nodes", "list", "-o", "json"]).await).expect("JSON");
        let nodes = list.as_array().expect("a list");
        nodes.iter().find(|node| node["instance"] == name).cloned().unwrap_or_default()
    }

    /// What `status` tells as troubles; it ends with 2 if there are any.
    pub(super) async fn troubles(&self) -> Vec<String> {
        let output = self.setkeeper(&["status", "-o", "json"]).await;
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let troubles = status["troubles"].as_array().expect("a list");
        assert_eq!(output.status.code(), Some(if troubles.is_empty() { 0 } else { 2 }), "{status}");
        troubles.iter().map(|trouble| trouble.as_str().expect("a text").to_owned()).collect()
    }

    /// Waits until one of the troubles begins and goes on with these words.
    pub(super) async fn trouble(&self, wanted: &[&str]) {
        self.until(&format!("the trouble {wanted:?}"), async || {
            let troubles = self.troubles().await;
            let is_it = |trouble: &String| {
                trouble.starts_with(wanted[0]) && wanted.iter().all(|word| trouble.contains(word))
            };
            if troubles.iter().any(is_it) { Ok(()) } else { Err(troubles) }
        })
        .await;
    }

    /// Waits until none of them begins so.
    pub(super) async fn no_trouble(&self, unwanted: &str) {
        self.until(&format!("no trouble {unwanted:?}"), async || {
            let troubles = self.troubles().await;
            if troubles.iter().any(|trouble| trouble.starts_with(unwanted)) { Err(troubles) } else { Ok(()) }
        })
        .await;
    }

    /// Watches how few nodes are ever registered from now on.
    pub(super) async fn fewest(&self) -> Fewest {
        let mut follower = self.session.follow("services/superset").await.expect("a follower");
        let fewest = Arc::new(Mutex::new(usize::MAX));
        let noted = Arc::clone(&fewest);
        let watching = tokio::spawn(async move {
            loop {
                let count = follower.nodes().keys().filter(|name| !name.is_empty()).count();
                {
                    let mut fewest = noted.lock().expect("nobody panics");
                    *fewest = count.min(*fewest);
                }
                if follower.changed().await.is_err() {
                    return;
                }
            }
        });
        Fewest { fewest, watching }
    }
}

/// See [`World::fewest`].
pub(super) struct Fewest {
    fewest: Arc<Mutex<usize>>,
    watching: tokio::task::JoinHandle<()>,
}

impl Fewest {
    pub(super) fn end(self) -> usize {
        assert!(!self.watching.is_finished(), "it was watched to the end");
        self.watching.abort();
        *self.fewest.lock().expect("nobody panics")
    }
}
