//! One running pipeline for many scenarios, and the notation that they are written in.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::Duration;

use change::ChangeId;
use serde_json::Value;
use tokio::runtime::Runtime;
use zookeeper_client::{Acls, CreateMode};

use crate::pipeline::documents::{chart, database, dataset};
use crate::pipeline::{Edit, Metadata, Options, OutcomeRow, Pipeline, path};

/// A value that no database, log or page but ZooKeeper and its queue may show.
pub(super) const CANARY: &str = "canary-7c1f0d52";
/// A secret that a document of the shared pipeline may refer to, as `env:SETKEEPER_SECRET_CANARY`.
pub(super) const RESOLVED: &str = "resolved-55aa91e0";

/// What the shared pipelines run on: it outlives each test, as they do.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// A project of its own in the shared pipeline.
#[derive(Clone, Copy)]
pub(super) struct World {
    /// What all scenarios share.
    pub(super) pipeline: &'static Pipeline,
    /// Documents of this scenario have numbers from here to 99 above.
    first: u32,
}

/// Runs a scenario in the shared pipeline of that kind.
pub(super) fn shared(metadata: Metadata, scenario: impl AsyncFnOnce(World)) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let pipeline = running(metadata);
    let world = World { pipeline, first: NEXT.fetch_add(1, Ordering::Relaxed) * 100 };
    RUNTIME.block_on(scenario(world));
}

/// The shared pipeline, started by whoever comes first.
fn running(metadata: Metadata) -> &'static Pipeline {
    static SQLITE: OnceLock<Mutex<&'static Pipeline>> = OnceLock::new();
    static POSTGRES: OnceLock<Mutex<&'static Pipeline>> = OnceLock::new();
    let cell = match metadata {
        Metadata::Sqlite => &SQLITE,
        Metadata::Postgres => &POSTGRES,
    };
    let pipeline = cell.get_or_init(|| Mutex::new(start(metadata)));
    *pipeline.lock().expect("nobody panics with it")
}

/// A process ends with the thread that started it, so that thread stays.
fn start(metadata: Metadata) -> &'static Pipeline {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut options = Options::default().set("deletes.guard_count", 1_000_000);
        // Nobody is killed here, and a busy machine must not end a term.
        options.tick = Duration::from_secs(3);
        options.env.push(("SETKEEPER_SECRET_CANARY".to_owned(), RESOLVED.to_owned()));
        let pipeline: &'static Pipeline =
            Box::leak(Box::new(RUNTIME.block_on(Pipeline::start(metadata, options))));
        remove_at_the_end(pipeline.folder());
        tell.send(pipeline).expect("somebody waits");
        loop {
            std::thread::park();
        }
    });
    told.recv().expect("the pipeline starts")
}

/// Nothing is dropped that is static; a process that sees the end of this one removes the folder.
fn remove_at_the_end(folder: &Path) {
    let script = "cat >/dev/null; rm -rf \"$0\"";
    let mut command = std::process::Command::new("sh");
    let sweeper = command.args(["-c", script]).arg(folder).stdin(Stdio::piped()).spawn();
    // Its standard input closes when this process ends, however it does.
    Box::leak(Box::new(sweeper.expect("a shell")));
}

impl World {
    /// The number of this scenario's document `i`.
    pub(super) fn n(&self, i: u32) -> u32 {
        self.first + i
    }

    /// `charts/a` in this scenario's project.
    pub(super) fn at(&self, tail: &str) -> String {
        format!("assets/p{}/{tail}", self.first)
    }

    /// Puts as a stranger.
    pub(super) async fn put(&self, tail: &str, document: &Value) -> ChangeId {
        self.pipeline.put(&self.at(tail), document).await
    }

    /// Puts as a stranger and waits until it is applied.
    pub(super) async fn applied(&self, tail: &str, document: &Value) -> ChangeId {
        let id = self.put(tail, document).await;
        self.becomes(&id, "applied").await;
        id
    }

    /// Deletes as a stranger.
    pub(super) async fn delete(&self, tail: &str) -> ChangeId {
        self.pipeline.delete(&self.at(tail)).await
    }

    /// Waits for an outcome.
    pub(super) async fn becomes(&self, change: &ChangeId, verdict: &str) -> OutcomeRow {
        self.pipeline.await_outcome(change, verdict).await
    }

    /// Database 0 at `databases/wh` and dataset 0 on it at `datasets/sales`.
    pub(super) async fn ground(&self) {
        self.applied("databases/wh", &database(self.n(0))).await;
        self.applied("datasets/sales", &dataset(self.n(0), self.n(0))).await;
    }

    /// This scenario's chart `i`, on dataset 0.
    pub(super) fn chart(&self, i: u32) -> Value {
        chart(self.n(i), self.n(0))
    }

    /// Rows of Superset's database, a line each.
    pub(super) async fn rows(&self, sql: &str) -> String {
        let rows = self.pipeline.superset(sql).await;
        rows.iter().map(|row| row.join("|")).collect::<Vec<_>>().join("\n")
    }

    /// One column of the chart that is called that.
    pub(super) async fn of_chart(&self, column: &str, name: &str) -> String {
        self.rows(&format!("SELECT {column} FROM slices WHERE slice_name = '{name}'")).await
    }

    /// Commits operations of a stranger in one multi without an edit record; returns the ids of what stands then and
    /// of the deletes, each path once, in the order of the operations.
    pub(super) async fn multi(&self, edits: &[Edit<'_>]) -> Vec<ChangeId> {
        multi(self.pipeline, edits).await
    }

    /// What `status -o json` says is pending at a path.
    pub(super) async fn pending(&self, tail: &str) -> Vec<Value> {
        let status = json(&self.pipeline.must(&["status", "-o", "json"]).await);
        let pending = status["pending"].as_array().expect("a list").clone();
        pending.into_iter().filter(|one| one["path"] == self.at(tail).as_str()).collect()
    }

    /// What `history -o json` tells of a path, the newest first.
    pub(super) async fn history(&self, tail: &str) -> Vec<Value> {
        let told = self.pipeline.must(&["history", &self.at(tail), "-o", "json"]).await;
        json(&told).as_array().expect("a list").clone()
    }

    /// A sample of `/metrics`: `setkeeper_applier_held{target="superset"}`.
    pub(super) async fn metric(&self, sample: &str) -> f64 {
        let text = page(self.pipeline, "metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }
}

/// See [`World::multi`].
pub(super) async fn multi(pipeline: &Pipeline, edits: &[Edit<'_>]) -> Vec<ChangeId> {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let client = pipeline.session.client();
    let mut writer = client.new_multi_writer();
    let mut lives = std::collections::BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for edit in edits {
        let (Edit::Put(at, _) | Edit::Delete(at)) = edit;
        let node = format!("/{at}");
        if !lives.contains_key(at) {
            let stat = client.check_stat(&node).await.expect("an answer");
            lives.insert(*at, stat.map(|stat| stat.czxid));
            order.push(at);
        }
        match edit {
            Edit::Delete(_) => writer.add_delete(&node, None),
            Edit::Put(_, document) if lives[at].is_some() => {
                writer.add_set_data(&node, document.to_string().as_bytes(), None)
            }
            Edit::Put(_, document) => {
                let folder = node.rsplit_once('/').expect("below the root").0;
                client.mkdir(folder, &options).await.expect("a folder");
                lives.insert(*at, Some(0));
                writer.add_create(&node, document.to_string().as_bytes(), &options)
            }
        }
        .expect("a path");
    }
    writer.commit().await.expect("a multi");
    let mut ids = Vec::new();
    for at in order {
        let found = pipeline.session.read(&path(at)).await.expect("an answer");
        let (czxid, version) = match found {
            Some(found) => (found.czxid, Some(found.version)),
            None => (lives[at].expect("it was there"), None),
        };
        ids.push(ChangeId { generation: pipeline.generation, path: path(at), czxid, version });
    }
    ids
}

/// A page of the workers' port: `metrics`, `readyz`.
pub(super) async fn page(pipeline: &Pipeline, name: &str) -> String {
    let port = pipeline
        .until("the port of /metrics", async || {
            let text = std::fs::read_to_string(pipeline.folder().join("run.log")).unwrap_or_default();
            let listen = text.lines().rev().find_map(|line| line.split_once("listen=127.0.0.1:"));
            listen.and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<u16>().ok()).ok_or("no line")
        })
        .await;
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/{name}")).await.expect("the port answers");
    answer.text().await.expect("text")
}

/// What a command printed.
pub(super) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}
