//! The road from the queue into real databases: the same scripts on Superset's SQLite file and on PostgreSQL.

use std::sync::atomic::{AtomicU32, Ordering};

use change::{Fence, Outcome, Topic, wire};
use expect_test::{Expect, expect};
use queue::Queue;
use sql::{Database, Mode, Value, Values};
use superset::Cipher;
use testbed::Postgres;
use tokio::sync::{Mutex, OnceCell};

use super::notation::{self, Notation};
use crate::ledger::init_db;
use crate::run::{Applier, Config};
use crate::target::{OpenError, TargetConfig};
use crate::work::Policy;

pub(super) const KEY: &str = "a-secret-key-of-the-tests";
pub(super) const ENV: &str = "test";

/// A Superset's database, a queue, and what was written so far.
pub(super) struct Road {
    pub(super) folder: tempfile::TempDir,
    pub(super) url: String,
    pub(super) database: Database,
    pub(super) queue: Queue,
    pub(super) notation: Notation,
    pub(super) config: Config,
    pub(super) fence: Fence,
    pub(super) told: usize,
}

pub(super) async fn postgres() -> &'static Postgres {
    static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
    let start = async || Postgres::start(testbed::postgres::Options::default()).await.expect("PostgreSQL");
    POSTGRES.get_or_init(start).await
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum On {
    Sqlite,
    Postgres,
}

impl Road {
    pub(super) async fn new(on: On) -> Road {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().expect("a folder");
        let url = match on {
            On::Sqlite => {
                let file = folder.path().join("superset.db");
                testbed::superset::sqlite_template(&file).expect("the template");
                format!("sqlite:{}", file.display())
            }
            On::Postgres => {
                let name = format!("road_{}", COUNT.fetch_add(1, Ordering::Relaxed));
                let postgres = postgres().await;
                // A template is cloned by one at a time.
                static ONE: Mutex<()> = Mutex::const_new(());
                let _one = ONE.lock().await;
                postgres.restore_template(&name).await.expect("the template");
                postgres.url(&name)
            }
        };
        let database = Database::connect(&url, sql::Config::default()).await.expect("a database");
        init_db(&database, "main", None).await.expect("a ledger");
        let queue =
            Queue::embedded(&queue::Config::new(folder.path().join("queue.db"))).await.expect("a queue");
        Road {
            folder,
            url,
            database,
            queue,
            notation: Notation::default(),
            config: Config::new(TargetConfig::new("main", ENV, Cipher::new(KEY))),
            fence: Fence { generation: 1, czxid: 1 },
            told: 0,
        }
    }

    /// Puts the records of a script on the queue.
    pub(super) async fn append(&mut self, script: &str) {
        for read in self.notation.read(script) {
            let fence = queue::Fence(read.fence.generation, read.fence.czxid);
            let wire::Encoded { key, headers, body } = wire::encode(ENV, read.fence, &read.record);
            let entry = queue::NewEntry { key, headers, body };
            self.queue.append(&Topic::Changes.name(ENV), Some(fence), &[entry]).await.expect("appended");
        }
    }

    pub(super) async fn applier(&self) -> Applier {
        self.opened().await.expect("a target")
    }

    pub(super) async fn opened(&self) -> Result<Applier, OpenError> {
        Applier::open(self.config.clone(), self.database.clone(), self.queue.clone(), self.fence).await
    }

    /// Applies all that is on the queue with a new worker.
    pub(super) async fn run(&self) {
        let mut applier = self.applier().await;
        applier.relay_left_over().await.expect("relayed");
        while applier.step().await.expect("applied") > 0 {}
    }

    /// The outcomes on the queue that were not asked for yet.
    pub(super) async fn outcomes(&mut self) -> Vec<Outcome> {
        let topic = Topic::Outcomes.name(ENV);
        let first = self.queue.first(&topic).await.expect("a topic");
        let batch = self.queue.read(&topic, &first, 10_000, u64::MAX).await.expect("outcomes");
        let outcomes = batch.entries.iter().skip(self.told);
        let outcomes: Vec<Outcome> = outcomes
            .map(|entry| wire::decode_outcome(&entry.headers, &entry.body).expect("an outcome"))
            .collect();
        self.told += outcomes.len();
        outcomes
    }

    pub(super) async fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        let mut transaction = self.database.begin(Mode::Read).await.expect("a transaction");
        let rows = transaction.fetch(sql, Values(Vec::new())).await.expect("rows");
        transaction.rollback().await;
        rows
    }

    pub(super) async fn lines(&self, sql: &str) -> Vec<String> {
        let word = |value: &Value| match value {
            Value::String(Some(text)) => text.clone(),
            Value::Int(Some(number)) => number.to_string(),
            Value::BigInt(Some(number)) => number.to_string(),
            Value::Bytes(Some(bytes)) => format!("{} bytes", bytes.len()),
            _ => "-".to_owned(),
        };
        let rows = self.rows(sql).await;
        rows.iter()
            .map(|row| row.iter().map(word).collect::<Vec<_>>().join(" ").trim_end().to_owned())
            .collect()
    }

    /// What stands in Superset's tables, without ids.
    pub(super) async fn show(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for sql in [
            "SELECT 'database', database_name, CASE WHEN sqlalchemy_uri LIKE 'hive:%' THEN ' at ' || sqlalchemy_uri ELSE '' END \
             FROM dbs ORDER BY id",
            "SELECT 'dataset', t.table_name, 'of', d.database_name FROM tables t JOIN dbs d ON d.id = t.database_id \
             ORDER BY t.id",
            "SELECT 'chart', s.slice_name, 'of', t.table_name, CASE WHEN s.perm = t.perm THEN 'perm' ELSE 'STALE' END \
             FROM slices s LEFT JOIN tables t ON t.id = s.datasource_id ORDER BY s.id",
            "SELECT 'dashboard', d.dashboard_title, '-', s.slice_name FROM dashboards d \
             LEFT JOIN dashboard_slices l ON l.dashboard_id = d.id LEFT JOIN slices s ON s.id = l.slice_id \
             ORDER BY d.id, s.slice_name",
            "SELECT 'pending', path, pending_want FROM setkeeper_asset WHERE pending_change IS NOT NULL ORDER BY path",
            "SELECT 'outbox', key FROM setkeeper_outbox",
        ] {
            lines.extend(self.lines(sql).await);
        }
        lines
    }
}

/// Runs each part of a script (parted by lines of `---`) with a worker of its own, on both databases, and compares
/// the outcomes and what stands in the end.
pub(super) async fn check(script: &str, want: &Expect) {
    check_under(Policy::default(), script, want).await;
}

async fn check_under(policy: Policy, script: &str, want: &Expect) {
    let mut shown = Vec::new();
    for on in [On::Sqlite, On::Postgres] {
        let mut road = Road::new(on).await;
        road.config.target.policy = policy.clone();
        let mut lines = Vec::new();
        for part in script.split("---") {
            road.append(part).await;
            road.run().await;
            lines.extend(road.outcomes().await.iter().map(notation::outcome));
        }
        lines.push("--".to_owned());
        lines.extend(road.show().await);
        shown.push(lines.join("\n") + "\n");
    }
    assert_eq!(shown[0], shown[1], "SQLite and PostgreSQL");
    want.assert_eq(&shown[0]);
}

pub(super) const BASE: &str = "+databases/db#1 ; +datasets/t#2 ; +charts/c#3 ; +dashboards/d#4 charts=3\n";

#[tokio::test]
async fn a_change_on_the_queue_becomes_rows() {
    check(
        BASE,
        &expect![[r#"
        databases/db@1.0 applied
        datasets/t@1.0 applied
        charts/c@1.0 applied
        dashboards/d@1.0 applied
        --
        database db
        dataset t of db
        chart c of t perm
        dashboard d - c
    "#]],
    )
    .await;
}

#[tokio::test]
async fn change_delete_recreate_move_and_a_new_uuid() {
    check(
        &format!(
            "{BASE}---
            +charts/c#3 name=two
            ---
            -charts/c
            ---
            +charts/c#3 name=three
            ---
            +charts/moved#3 name=three ; -charts/c
            ---
            +charts/moved#7 name=seven"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/c@1.1 applied
            charts/c@1.- deleted also dashboards/d
            charts/c@4.0 applied also dashboards/d
            charts/moved@5.0 unchanged
            charts/c@4.- superseded
            charts/moved@5.1 applied also dashboards/d
            --
            database db
            dataset t of db
            chart seven of t perm
            dashboard d - -
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_multi_sets_and_deletes_at_once() {
    check(
        &format!(
            "{BASE}---
            +charts/e#5 ; +dashboards/d#4 charts=5 name=d2 ; -charts/c"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/e@2.0 applied
            dashboards/d@1.1 applied
            charts/c@1.- deleted
            --
            database db
            dataset t of db
            chart e of t perm
            dashboard d2 - e
        "#]],
    )
    .await;
}

#[tokio::test]
async fn what_arrives_out_of_order_waits_across_restarts() {
    check(
        "+dashboards/d#4 charts=3
         ---
         +charts/c#3
         ---
         +datasets/t#2
         ---
         +databases/db#1",
        &expect![[r#"
            dashboards/d@1.0 applied
            charts/c@2.0 held: dataset #02, which is not there yet
            datasets/t@3.0 held: database #01, which is not there yet
            databases/db@4.0 applied
            datasets/t@3.0 applied (reconciled)
            charts/c@2.0 applied (reconciled) also dashboards/d
            --
            database db
            dataset t of db
            chart c of t perm
            dashboard d - c
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_batch_with_a_good_and_a_bad_version() {
    check(
        &format!(
            "{BASE}+charts/c#3 name=two
            +charts/c {{
            ---
            +charts/c#3 name=four
            +charts/c#3 name=five"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/c@1.1 applied
            charts/c@1.2 rejected: line 1 column 2: expected a key in double quotes
            charts/c@1.3 superseded
            charts/c@1.4 applied
            --
            database db
            dataset t of db
            chart five of t perm
            dashboard d - five
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_duplicate_uuid_follows_its_owner() {
    check(
        &format!(
            "{BASE}+charts/young#3 name=young
            ---
            -charts/c"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/young@2.0 rejected: uuid #03 belongs to the older znode `assets/main/charts/c`; delete one of the two, or give this one a uuid of its own
            charts/young@2.0 applied (reconciled)
            charts/c@1.- superseded
            --
            database db
            dataset t of db
            chart young of t perm
            dashboard d - young
        "#]],
    )
    .await;
}

#[tokio::test]
async fn the_guard_holds_and_an_approval_or_a_put_ends_it() {
    let policy = Policy { guard_count: 1, ..Policy::default() };
    check_under(
        policy,
        &format!(
            "{BASE}+charts/e#5
            -charts/c ; -charts/e
            ---
            approve charts/c
            ---
            +charts/e#5 name=again"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/e@2.0 applied
            charts/c@1.- held: an approval: 2 deletes of this kind, 1 may pass unasked
            charts/e@2.- held: an approval: 2 deletes of this kind, 1 may pass unasked
            //control/approvals/4@4.0 applied
            charts/c@1.- deleted (reconciled) also dashboards/d
            charts/e@2.- superseded (reconciled)
            charts/e@5.0 applied
            --
            database db
            dataset t of db
            chart again of t perm
            dashboard d - -
        "#]],
    )
    .await;
}

#[tokio::test]
async fn names_swapped_in_one_multi() {
    check(
        "+databases/a#1 name=x ; +databases/b#2 name=y ; +datasets/s#6 db=1 name=p ; +datasets/t#7 db=1 name=q
         +dashboards/d#4 slug=m ; +dashboards/e#5 slug=n
         ---
         +databases/a#1 name=y ; +databases/b#2 name=x ; +datasets/s#6 db=1 name=q ; +datasets/t#7 db=1 name=p
         ---
         +dashboards/d#4 slug=n ; +dashboards/e#5 slug=m",
        &expect![[r#"
            databases/a@1.0 applied
            databases/b@1.0 applied
            datasets/s@1.0 applied
            datasets/t@1.0 applied
            dashboards/d@2.0 applied
            dashboards/e@2.0 applied
            databases/a@1.1 applied also datasets/s datasets/t
            databases/b@1.1 applied
            datasets/s@1.1 applied
            datasets/t@1.1 applied
            dashboards/d@2.1 applied
            dashboards/e@2.1 applied
            --
            database y
            database x
            dataset q of y
            dataset p of y
            dashboard d - -
            dashboard e - -
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_renamed_dataset_and_database_take_the_permissions_of_charts_along() {
    check(
        &format!(
            "{BASE}---
            +datasets/t#2 name=renamed
            ---
            +databases/db#1 name=other"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            datasets/t@1.1 applied also charts/c
            databases/db@1.1 applied also charts/c datasets/t
            --
            database other
            dataset renamed of other
            chart c of renamed perm
            dashboard d - c
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_resync_with_live_changes_between_and_one_that_was_interrupted() {
    check(
        &format!(
            "{BASE}+charts/e#5
            begin 1
            =databases/db
            ---
            begin 2
            =databases/db
            +charts/live#8
            ---
            =datasets/t
            =charts/c
            end 1
            end 2 dashboards"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/e@2.0 applied
            databases/db@1.0 skipped
            databases/db@1.0 skipped
            charts/live@5.0 applied
            datasets/t@1.0 skipped
            charts/c@1.0 skipped
            charts/e@2.- deleted
            --
            database db
            dataset t of db
            chart c of t perm
            chart live of t perm
            dashboard d - c
        "#]],
    )
    .await;
}

impl Road {
    /// Runs statements of somebody else.
    pub(super) async fn by_hand(&self, sql: &str) {
        let mut transaction = self.database.begin(Mode::Write).await.expect("a transaction");
        transaction.execute_script(sql).await.expect("executed");
        transaction.commit().await.expect("committed");
    }

    /// Appends records, applies them and returns what is told of them.
    pub(super) async fn takes(&mut self, records: &str) -> Vec<String> {
        self.append(records).await;
        self.run().await;
        self.told().await
    }

    pub(super) async fn told(&mut self) -> Vec<String> {
        self.outcomes().await.iter().map(notation::outcome).collect()
    }
}
