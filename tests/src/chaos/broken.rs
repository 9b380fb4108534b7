//! The checker can fail: each way to be wrong is built into the program, driven through a script that brings it out,
//! and named. The same script on the program as it is has nothing wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use change::{Change, Lifetime, Millis, Op, Record, Topic, Txn, Zxid, wire};
use queue::{AppendError, NewEntry};
use sql::Mode;
use zookeeper_client::Acls;

use super::checker::{Claim, check, stories};
use super::evidence::{Done, Evidence, Number, Write, fence};
use super::{effects, options};
use crate::pipeline::documents::{chart, database, dataset, uuid, with};
use crate::pipeline::{ENV, Metadata, Pipeline, Role, path};

/// For a process to die at its fail point.
const DIES_WITHIN: Duration = Duration::from_secs(30);

const CHART: &str = "assets/main/charts/1";

/// A pipeline under a script: which program, and what the script wrote.
struct Run {
    pipeline: Pipeline,
    broken: &'static str,
    journal: Vec<Write>,
}

#[tokio::test]
async fn a_position_saved_after_the_commit_is_found() {
    judge("position_after_commit", &[Claim::OneOutcome], async |run| run.die_after_commit().await).await;
}

#[tokio::test]
async fn an_outbox_outside_of_the_transaction_is_found() {
    let claims = [Claim::OnRecord, Claim::OneOutcome];
    judge("outbox_outside_transaction", &claims, async |run| run.die_after_commit().await).await;
}

#[tokio::test]
async fn a_change_applied_again_is_found() {
    judge("no_dedupe", &[Claim::AtMostOnce], async |run| run.deliver_again().await).await;
}

#[tokio::test]
async fn no_answer_taken_for_a_delete_is_found() {
    let claims = [Claim::Equal, Claim::Deletes, Claim::Tree];
    judge("no_node_is_delete", &claims, async |run| run.forbid().await).await;
}

#[tokio::test]
async fn an_old_watchers_record_is_found() {
    let claims = [Claim::Equal, Claim::OneOutcome];
    judge("accept_old_fence", &claims, async |run| run.haunt().await).await;
}

/// Runs the script on the program that is broken so, where the checker has to name these claims, and on the one that
/// is not, where it has to name none.
async fn judge(broken: &'static str, claims: &[Claim], script: impl AsyncFn(&mut Run)) {
    let (right, _) = judged("", &script).await;
    assert_eq!(right, BTreeSet::new(), "the program as it is");
    let (wrong, story) = judged(broken, &script).await;
    println!("{broken}: {wrong:?}");
    assert!(claims.iter().all(|claim| wrong.contains(claim)), "{broken}: found only {wrong:?}\n{story}");
}

async fn judged(broken: &'static str, script: &impl AsyncFn(&mut Run)) -> (BTreeSet<Claim>, String) {
    let pipeline = Pipeline::start(Metadata::Sqlite, options().set("queue.batch_max", 1).idle()).await;
    effects::install(&pipeline).await;
    let mut run = Run { pipeline, broken, journal: Vec::new() };
    script(&mut run).await;
    let evidence = Evidence::gather(&run.pipeline, run.journal).await;
    let violations = check(&evidence);
    let story = format!("{violations:#?}\n{}", stories(&evidence, &violations));
    if broken.is_empty() && !violations.is_empty() {
        println!("{story}");
    }
    (violations.into_iter().map(|violation| violation.claim).collect(), story)
}

impl Run {
    async fn start(&mut self, role: Role, fail: &str) {
        let env = [("SETKEEPER_BROKEN", self.broken), ("SETKEEPER_FAIL", fail)];
        self.pipeline.start_worker_with(role, &env).await;
    }

    async fn start_all(&mut self) {
        for role in super::WORKERS {
            self.start(role, "").await;
        }
    }

    fn wrote(&mut self, uuid: uuid::Uuid, n: Number, done: Done) {
        self.journal.push(Write { n, uuid, done });
    }

    /// The database and the dataset that charts need; applied and on record.
    async fn prepare(&mut self) {
        self.pipeline.put("assets/main/databases/1", &with(database(1), "cache_timeout", 1)).await;
        self.wrote(uuid('d', 1), 1, Done::Put);
        let put = with(dataset(1, 1), "description", "n=2");
        let put = self.pipeline.put("assets/main/datasets/1", &put).await;
        self.wrote(uuid('t', 1), 2, Done::Put);
        self.pipeline.await_outcome(&put, "applied").await;
    }

    async fn put_chart(&mut self, n: Number) -> change::ChangeId {
        let document = with(chart(1, 1), "description", format!("n={n}"));
        self.wrote(uuid('c', 1), n, Done::Put);
        self.pipeline.put(CHART, &document).await
    }

    /// What was before this has come to rest once this is on record, since all of it travels one road in order.
    async fn mark(&mut self, n: Number) {
        self.wrote(uuid('c', 9), n, Done::Put);
        let document = with(chart(9, 1), "description", format!("n={n}"));
        let put = self.pipeline.put("assets/main/charts/mark", &document).await;
        self.pipeline.await_outcome(&put, "applied").await;
    }

    /// The applier dies between its commit and whatever it does next.
    async fn die_after_commit(&mut self) {
        self.start_all().await;
        self.prepare().await;
        self.start(Role::Applier, "applier:after_commit:1").await;
        self.put_chart(3).await;
        self.pipeline.worker(Role::Applier).abort(DIES_WITHIN).await;
        self.start(Role::Applier, "").await;
        self.mark(4).await;
    }

    /// A record comes a second time, behind a later one of the same path.
    async fn deliver_again(&mut self) {
        self.start_all().await;
        self.prepare().await;
        self.put_chart(3).await;
        let put = self.put_chart(4).await;
        self.pipeline.await_outcome(&put, "applied").await;
        self.pipeline.kill_worker(Role::Watcher).await;
        let (queue, topic) = (self.pipeline.queue().await, Topic::Changes.name(ENV));
        let first = queue.first(&topic).await.expect("the log");
        let batch = queue.read(&topic, &first, 1_000, 1 << 20).await.expect("the log");
        let has_three = |entry: &&queue::Entry| {
            matches!(wire::decode(&entry.headers, &entry.body), Ok(Record::Txn(txn))
                if txn.changes.iter().any(|change| change.path == path(CHART)))
        };
        let entry = batch.entries.iter().find(has_three).expect("the chart's first put");
        let again =
            NewEntry { key: entry.key.clone(), headers: entry.headers.clone(), body: entry.body.clone() };
        let fence = queue.highest_fence(&topic).await.expect("the log");
        queue.append(&topic, fence, &[again]).await.expect("the watcher's own fence");
        self.start(Role::Watcher, "").await;
        self.mark(5).await;
    }

    /// A document becomes unreadable for the watcher, and is not gone.
    async fn forbid(&mut self) {
        self.start_all().await;
        self.prepare().await;
        let put = self.put_chart(3).await;
        self.pipeline.await_outcome(&put, "applied").await;
        self.pipeline.kill_worker(Role::Watcher).await;
        let client = self.pipeline.session.client();
        client.auth("digest", b"auditor:secret").await.expect("an identity");
        let node = format!("/{CHART}");
        client.set_acl(&node, &Acls::creator_all(), None).await.expect("an ACL");
        self.start(Role::Watcher, "").await;
        self.mark(4).await;
    }

    /// A watcher whose term is over saw a chart come that its successor never saw, since it had gone again by then;
    /// and its record comes late.
    async fn haunt(&mut self) {
        self.start_all().await;
        self.prepare().await;
        let (queue, topic) = (self.pipeline.queue().await, Topic::Changes.name(ENV));
        let old = queue.highest_fence(&topic).await.expect("the log").expect("a watcher's fence");
        self.start(Role::Watcher, "").await;
        let put = self.put_chart(3).await;
        self.pipeline.await_outcome(&put, "applied").await;
        self.pipeline.kill_worker(Role::Watcher).await;
        let ghost = self.ghost(old, 4).await;
        let refused = queue.append(&topic, Some(old), std::slice::from_ref(&ghost)).await;
        assert!(matches!(refused, Err(AppendError::Fenced { .. })), "the queue's own fence: {refused:?}");
        // A queue that cannot check a fence would have taken it.
        let highest = queue.highest_fence(&topic).await.expect("the log").expect("a watcher's fence");
        self.lower_the_queues_fence(&topic, old).await;
        queue.append(&topic, Some(old), &[ghost]).await.expect("not fenced any more");
        self.lower_the_queues_fence(&topic, highest).await;
        self.start(Role::Watcher, "").await;
        self.mark(6).await;
    }

    /// The record of a chart that comes and goes while no watcher looks.
    async fn ghost(&mut self, old: queue::Fence, n: Number) -> NewEntry {
        let place = "assets/main/charts/ghost";
        let document = with(chart(2, 1), "description", format!("n={n}"));
        let put = self.pipeline.put(place, &document).await;
        self.pipeline.delete(place).await;
        self.wrote(uuid('c', 2), n, Done::Put);
        self.wrote(uuid('c', 2), n + 1, Done::Deleted);
        let op = Op::Put {
            version: 0,
            mzxid: Zxid(put.czxid),
            lifetime: Lifetime::Persistent,
            by_edit: false,
            bytes: document.to_string().into_bytes(),
        };
        let at = Millis(1_795_500_000_000);
        let record = Record::Txn(Txn {
            zxid: Zxid(put.czxid),
            committed: at,
            seen: at,
            resync: None,
            edit: None,
            changes: vec![Change { path: path(place), czxid: put.czxid, op }],
        });
        let encoded = wire::encode(ENV, fence(old), &record);
        NewEntry { key: encoded.key, headers: encoded.headers, body: encoded.body }
    }

    async fn lower_the_queues_fence(&self, topic: &str, to: queue::Fence) {
        let file = self.pipeline.folder().join("queue.db");
        let url = format!("sqlite://{}", file.display());
        let database = sql::Database::connect(&url, sql::Config::default()).await.expect("the queue's file");
        let mut transaction = database.begin(Mode::Write).await.expect("a transaction");
        let script =
            format!("UPDATE topic SET generation = {}, czxid = {} WHERE name = '{topic}'", to.0, to.1);
        transaction.execute_script(&script).await.expect("the topic is there");
        transaction.commit().await.expect("a commit");
        database.close().await;
    }
}
