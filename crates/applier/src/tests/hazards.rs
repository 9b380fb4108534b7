//! What goes wrong around the road: lost positions, restored databases, rivals, secrets, refusals.

use std::collections::BTreeSet;
use std::time::Duration;

use change::{Fence, Topic, Verdict};
use queue::Queue;
use sql::{Database, Value};
use superset::Cipher;
use tokio_util::sync::CancellationToken;

use super::notation;
use super::road::{BASE, ENV, KEY, On, Road, postgres};
use crate::ledger::{InitError, init_db, status};
use crate::run::{Advice, Error};
use crate::target::{ApplyError, OpenError, Target};
use crate::work::{Selection, Work};

const BOTH: [On; 2] = [On::Sqlite, On::Postgres];

#[tokio::test]
async fn a_newer_applier_ends_the_term_of_the_older() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        let mut older = road.applier().await;
        road.append(BASE).await;
        road.fence.czxid = 2;
        road.run().await;
        road.append("+charts/c#3 name=two").await;
        let error = older.step().await.expect_err("fenced");
        assert!(
            matches!(error, Error::Apply(ApplyError::Fenced { .. } | ApplyError::Moved { .. })),
            "{error}"
        );
        let error = older.reconcile(Selection::Pending).await.expect_err("fenced");
        assert!(matches!(error, Error::Apply(ApplyError::Fenced { .. })), "{error}");
        assert_eq!(road.lines("SELECT slice_name FROM slices").await, ["c"]);
    }
}

#[tokio::test]
async fn a_restored_database_ends_the_term_and_catches_up_from_its_own_position() {
    let mut road = Road::new(On::Sqlite).await;
    let (file, copy) = (road.folder.path().join("superset.db"), road.folder.path().join("yesterday.db"));
    road.append(BASE).await;
    road.run().await;
    std::fs::copy(&file, &copy).expect("a backup");
    road.append("+charts/c#3 name=two").await;
    road.run().await;
    road.database.close().await;
    std::fs::copy(&copy, &file).expect("restored");
    road.database = Database::connect(&road.url, sql::Config::default()).await.expect("a database");
    road.run().await;
    assert_eq!(road.lines("SELECT slice_name FROM slices").await, ["two"]);
}

#[tokio::test]
async fn a_ledger_that_moved_under_a_running_worker_ends_its_term() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.append(BASE).await;
        let mut applier = road.applier().await;
        applier.step().await.expect("applied");
        road.by_hand("UPDATE setkeeper_stream SET position = NULL").await;
        road.append("+charts/c#3 name=two").await;
        let error = applier.step().await.expect_err("moved");
        assert!(matches!(error, Error::Apply(ApplyError::Moved { .. })), "{error}");
        assert_eq!(error.advice(), Advice::Restart);
        road.run().await;
        let told = road.told().await;
        assert!(told.contains(&"charts/c@1.0 skipped".to_owned()), "{told:?}");
        assert_eq!(road.lines("SELECT slice_name FROM slices").await, ["two"]);
    }
}

#[tokio::test]
async fn a_replaced_queue_asks_for_a_resync_that_finds_the_deletes() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.append(&format!("{BASE}+charts/e#5")).await;
        road.run().await;
        let other = queue::Config::new(road.folder.path().join("other.db"));
        road.queue = Queue::embedded(&other).await.expect("a queue");
        road.told = 0;
        road.append(
            "begin 1
             =databases/db
             =datasets/t
             =charts/c
             =dashboards/d
             end 1",
        )
        .await;
        let error = road.applier().await.step().await.expect_err("lost");
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        assert_eq!(error.advice(), Advice::Resync);
        road.applier().await.skip_to_first().await.expect("skipped");
        road.run().await;
        assert_eq!(road.told().await.last().map(String::as_str), Some("charts/e@2.- deleted"));
        assert_eq!(road.lines("SELECT slice_name FROM slices").await, ["c"]);
    }
}

#[tokio::test]
async fn a_database_waits_for_its_secret_follows_its_rotation_and_never_shows_it() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        let secrets = road.folder.path().join("secrets");
        std::fs::create_dir(&secrets).expect("a folder");
        let file = secrets.join("pw");
        road.config.target.secrets.folders = vec![secrets];
        road.append(&format!("+databases/db#1 secret=file:{}", file.display())).await;
        road.run().await;
        assert!(road.told().await[0].contains("held: secret file:"), "held");
        for secret in ["hunter2-first", "hunter2-second"] {
            std::fs::write(&file, format!("{secret}\n")).expect("a secret");
            let mut applier = road.applier().await;
            applier.reconcile(Selection::Secrets).await.expect("reconciled");
            applier.reconcile(Selection::Secrets).await.expect("reconciled");
            assert_eq!(road.told().await, ["databases/db@1.0 applied (reconciled)"]);
            let stored = road.rows("SELECT password FROM dbs").await;
            let Value::Bytes(Some(stored)) = &stored[0][0] else { panic!("{stored:?}") };
            assert_eq!(Cipher::new(KEY).decrypt(stored).expect("decrypted"), secret);
        }
        let ledger = road.lines("SELECT applied_document, applied_digest FROM setkeeper_asset").await;
        assert!(!ledger.join(" ").contains("hunter2"));
        road.config.target.cipher = Cipher::new("another key");
        assert!(matches!(road.opened().await, Err(OpenError::SecretKey { .. })));
    }
}

#[tokio::test]
async fn a_wrong_secret_key_is_found_by_whatever_it_cannot_decrypt() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.append("+databases/db#1").await;
        road.run().await;
        let stored = Cipher::new("the key of this Superset").encrypt("{}").expect("encrypted");
        let hex: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = match on {
            On::Sqlite => format!("X'{hex}'"),
            On::Postgres => format!("'\\x{hex}'"),
        };
        for odd in [
            format!("UPDATE dbs SET encrypted_extra = {bytes}"),
            format!("UPDATE dbs SET encrypted_extra = NULL, server_cert = {bytes}"),
            format!(
                "UPDATE dbs SET server_cert = NULL; \
                 INSERT INTO ssh_tunnels (database_id, private_key) SELECT id, {bytes} FROM dbs"
            ),
        ] {
            road.by_hand(&odd).await;
            assert!(matches!(road.opened().await, Err(OpenError::SecretKey { .. })), "{on:?}: {odd}");
        }
        road.config.target.cipher = Cipher::new("the key of this Superset");
        road.applier().await;
    }
}

#[tokio::test]
async fn what_people_did_by_hand_is_told_before_it_is_overwritten() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.append(BASE).await;
        road.run().await;
        road.by_hand("UPDATE slices SET slice_name = 'by hand'").await;
        road.outcomes().await;
        road.append("+charts/c#3 name=two\n+charts/c#3 name=three").await;
        road.run().await;
        let outcomes = road.outcomes().await;
        assert!(outcomes[0].before.as_ref().is_some_and(|before| before.contains("by hand")), "{outcomes:?}");
        assert_eq!(outcomes[1].before, None);
        assert_eq!(road.lines("SELECT slice_name FROM slices").await, ["three"]);
    }
}

#[tokio::test]
async fn nobody_is_said_to_have_edited_what_we_rewrote_ourselves() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.append(BASE).await;
        road.run().await;
        // The charts of a renamed database are two steps away from it.
        road.append("+databases/db#1 name=other").await;
        road.run().await;
        // A managed dashboard that shows a chart which its document does not name.
        road.append("+charts/e#5").await;
        road.run().await;
        road.by_hand(
            "INSERT INTO dashboard_slices (id, dashboard_id, slice_id) \
             SELECT 999, d.id, s.id FROM dashboards d, slices s WHERE s.slice_name = 'e'",
        )
        .await;
        road.append("-charts/e").await;
        road.run().await;
        road.outcomes().await;
        road.append("+charts/c#3 name=two\n+datasets/t#2 name=two\n+dashboards/d#4 charts=3 name=two").await;
        road.run().await;
        for outcome in road.outcomes().await {
            assert_eq!(outcome.before, None, "{on:?}: {}", notation::outcome(&outcome));
        }
    }
}

#[tokio::test]
async fn what_the_database_refuses_is_rejected_and_the_rest_flows_on() {
    let mut road = Road::new(On::Postgres).await;
    let long = "x".repeat(300);
    road.append(&format!("{BASE}+charts/e#5 name={long} ; +charts/f#6\n+charts/g#7")).await;
    road.run().await;
    let told = road.told().await;
    let refused: Vec<&String> = told.iter().filter(|line| line.contains("rejected")).collect();
    assert_eq!(refused.len(), 1, "{told:?}");
    assert!(refused[0].starts_with("charts/e@2.0 rejected: the database refuses it"), "{refused:?}");
    assert_eq!(road.lines("SELECT slice_name FROM slices ORDER BY id").await, ["c", "f", "g"]);
    road.append("+charts/e#5 name=short").await;
    road.run().await;
    assert_eq!(road.told().await, ["charts/e@2.1 applied"]);
}

/// A text without a pattern, which no database can store in less: of a generator that any textbook has.
fn noise(length: usize) -> String {
    let mut state = 1_u32;
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_digit((state >> 16) & 31, 32).expect("a digit")
    };
    (0..length).map(letter).collect()
}

#[tokio::test]
async fn a_path_that_is_too_long_for_the_ledger_is_rejected_and_the_rest_flows_on() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        let long = format!("charts/{}", noise(8_000));
        let told = road.takes(&format!("{BASE}+{long} {{}}\n+charts/e#5")).await;
        assert_eq!(told.len(), 6, "{told:?}");
        assert!(told[4].starts_with(&format!("{long}@2.0 rejected: name ")), "{on:?}: {told:?}");
        assert_eq!(told[5], "charts/e@3.0 applied");
        road.append(&format!("+{long} {{}}\n-{long}\n+charts/f#6")).await;
        road.run().await;
        let verdicts = road.outcomes().await;
        let verdicts: Vec<&str> = verdicts.iter().map(|outcome| outcome.verdict.name()).collect();
        assert_eq!(verdicts, ["rejected", "unchanged", "applied"], "{on:?}");
        assert_eq!(road.lines("SELECT count(*) FROM setkeeper_asset").await, ["6"]);
    }
}

#[tokio::test]
async fn a_reference_to_a_secret_that_is_too_long_for_the_ledger_is_rejected() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.append(&format!("+databases/db#1 secret=file:/{}\n+databases/e#5", noise(8_000))).await;
        road.run().await;
        let told = road.told().await;
        assert!(
            told[0].contains("rejected: ") && told[0].contains("not a reference to a secret"),
            "{told:?}"
        );
        assert_eq!(told[1..], ["databases/e@2.0 applied"], "{on:?}");
    }
}

/// What an earlier setkeeper took for a document, and this one does not.
fn outdate(path: &str) -> String {
    format!("UPDATE setkeeper_asset SET applied_document = '{{}}' WHERE path = 'assets/main/{path}'")
}

#[tokio::test]
async fn a_stored_document_that_cannot_be_read_any_more_holds_up_nothing_beside_it() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.takes(BASE).await;
        road.by_hand(&outdate("dashboards/d")).await;
        assert_eq!(road.takes("-charts/c").await, ["charts/c@1.- deleted also dashboards/d"], "{on:?}");
        assert_eq!(road.takes("+charts/c#3").await, ["charts/c@3.0 applied"], "{on:?}");
        assert_eq!(road.takes("+dashboards/d#4 charts=3 name=two").await, ["dashboards/d@1.1 applied"]);
        assert_eq!(road.lines("SELECT count(*) FROM dashboard_slices").await, ["1"]);
    }
}

#[tokio::test]
async fn a_database_whose_stored_document_cannot_be_read_any_more_stays_where_it_is_and_says_so() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.takes("+//endpoints/e hive1:10000\n+databases/db#1 endpoint=e").await;
        road.by_hand(&outdate("databases/db")).await;
        road.append("+//endpoints/e hive2:10000").await;
        road.run().await;
        let told = road.takes("+//endpoints/e hive3:10000").await;
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], "//endpoints/e@1.1 applied");
        assert!(told[1].starts_with("databases/db@2.0 rejected: "), "{told:?}");
        assert_eq!(told[2], "//endpoints/e@1.2 applied");
        assert_eq!(road.lines("SELECT sqlalchemy_uri FROM dbs").await, ["hive://hive1:10000/data"]);
        assert_eq!(road.takes("+databases/db#1 endpoint=e").await, ["databases/db@2.1 applied"]);
        assert_eq!(road.lines("SELECT sqlalchemy_uri FROM dbs").await, ["hive://hive3:10000/data"]);
    }
}

#[tokio::test]
async fn outcomes_that_were_committed_and_not_relayed_are_relayed_by_the_next_worker() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        let mut target =
            Target::open(road.database.clone(), road.config.target.clone()).await.expect("a target");
        let records = road.notation.read(BASE);
        let topic = Topic::Changes.name(ENV);
        let next = road.queue.first(&topic).await.expect("a topic");
        target.apply(&Work::Records { records, next }, road.fence).await.expect("applied");
        let left = status(&road.database, None).await.expect("a status");
        assert_eq!((left.outbox, left.applied), (4, 4));
        road.run().await;
        assert_eq!(road.told().await.len(), 4);
        assert_eq!(status(&road.database, None).await.expect("a status").outbox, 0);
    }
}

#[tokio::test]
async fn a_running_worker_applies_what_comes_and_stops_when_asked() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        let applier = road.applier().await;
        let mut stats = applier.stats();
        let stop = CancellationToken::new();
        let running = tokio::spawn(applier.run(stop.clone()));
        road.append(BASE).await;
        let applied = stats.wait_for(|stats| stats.outcomes.get("applied") == Some(&4));
        let applied = tokio::time::timeout(Duration::from_secs(20), applied).await;
        drop(applied.expect("in time").expect("running"));
        stop.cancel();
        running.await.expect("joined").expect("stopped");
        assert_eq!(road.told().await.len(), 4);
        let group = format!("applier/{}", road.config.target.name);
        let topic = Topic::Changes.name(ENV);
        let hint = road.queue.committed(&group, &topic).await.expect("a hint").expect("a hint");
        assert_eq!(hint.offset, 2);
    }
}

#[tokio::test]
async fn outcome_keys_are_unique_whatever_terms_they_come_from() {
    let mut road = Road::new(On::Sqlite).await;
    let mut keys = BTreeSet::new();
    for term in 1..4 {
        road.fence = Fence { generation: 1, czxid: term };
        road.append(&format!("+databases/db{term}#{term}")).await;
        road.run().await;
        for outcome in road.outcomes().await {
            assert!(outcome.committed.0 > 0 && outcome.verdict == Verdict::Applied);
            assert!(keys.insert(outcome.key), "{}", outcome.key);
        }
    }
    assert_eq!(keys.len(), 3);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_read_back_stays_and_is_told() {
    let road = Road::new(On::Sqlite).await;
    road.by_hand("INSERT INTO setkeeper_outbox (sequence, key, headers, body) VALUES (1, 'k', '{}', X'00')")
        .await;
    let mut applier = road.applier().await;
    let error = applier.relay_left_over().await.expect_err("strange").to_string();
    assert!(error.contains("write target"), "{error}");
    assert_eq!(road.lines("SELECT count(*) FROM setkeeper_outbox").await, ["1"]);
}

#[tokio::test]
async fn a_target_without_its_ledger_or_with_anothers_is_refused() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        assert!(!init_db(&road.database, "main", None).await.expect("again").created);
        let other = init_db(&road.database, "other", None).await;
        assert!(matches!(other, Err(InitError::OtherTarget { .. })));
        road.config.target.name = "other".to_owned();
        assert!(matches!(road.opened().await, Err(OpenError::OtherTarget { .. })));
        road.by_hand("DROP TABLE setkeeper_outbox").await;
        let error = road.opened().await.expect_err("no ledger");
        assert!(matches!(error, OpenError::Ledger { .. }), "{error}");
    }
}

#[tokio::test]
async fn the_rights_that_init_db_prints_are_enough_and_the_ledger_may_have_a_schema_of_its_own() {
    let mut road = Road::new(On::Postgres).await;
    road.by_hand("DROP TABLE setkeeper_stream, setkeeper_asset, setkeeper_reference, setkeeper_outbox").await;
    let made = init_db(&road.database, "main", Some("keeper")).await.expect("a ledger");
    let role = road.url.rsplit('/').next().expect("a name").to_owned();
    road.by_hand(&format!("CREATE ROLE {role} LOGIN; {}", made.rights.join("\n").replace("ROLE", &role)))
        .await;
    let url = road.url.replace("postgres@", &format!("{role}@"));
    road.database = Database::connect(&url, sql::Config::default()).await.expect("a database");
    road.config.target.ledger_schema = Some("keeper".to_owned());
    road.append(&format!(
        "{BASE}-dashboards/d
         +dashboards/d#4 charts=3
         -dashboards/d ; -charts/c ; -datasets/t ; -databases/db"
    ))
    .await;
    road.run().await;
    let told = road.told().await;
    assert_eq!(told.iter().filter(|line| line.contains("deleted")).count(), 4, "{told:?}");
    let psql = postgres().await.psql(&role, "SELECT count(*) FROM keeper.setkeeper_asset").await;
    assert_eq!(psql.expect("counted").trim(), "4");
}

#[tokio::test]
async fn a_thousand_charts_that_come_before_their_dataset_are_applied_in_one_batch() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        let mut script = String::new();
        for n in 0..1000 {
            script += &format!("+charts/c{n}#{}\n", 100 + n);
        }
        road.config.batch_records = 2000;
        road.append(&format!("{script}+databases/db#1\n+datasets/t#2")).await;
        let begun = std::time::Instant::now();
        road.run().await;
        println!("{on:?}: {:?}", begun.elapsed());
        let told = road.told().await;
        let applied = told.iter().filter(|line| line.contains("applied")).count();
        assert_eq!(applied, 1002, "{}", told.len());
        assert_eq!(road.lines("SELECT count(*) FROM slices").await, ["1000"]);
    }
}

#[test]
fn a_status_tells_what_waits_and_why() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut road = Road::new(On::Sqlite).await;
        road.append("+charts/c#3\n+charts/e {").await;
        road.run().await;
        let status = status(&road.database, None).await.expect("a status");
        let (held, rejected) = (&status.held[0], &status.rejected[0]);
        assert_eq!(notation::short(&held.id.path), "charts/c");
        assert!(held.reason.contains("which is not there yet"), "{}", held.reason);
        assert!(rejected.reason.contains("line 1 column 2"), "{}", rejected.reason);
        assert_eq!(status.position.map(|position| position.offset), Some(3));
    });
}

/// A trigger that ends the session while it commits: the client cannot know what became of the transaction.
const CUT_AT_COMMIT: &str = "
CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER cut AFTER UPDATE ON setkeeper_stream DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.sequence <> NEW.sequence) EXECUTE FUNCTION cut();";

#[tokio::test]
async fn a_connection_lost_in_commit_is_settled_by_what_the_ledger_says() {
    let mut road = Road::new(On::Postgres).await;
    road.by_hand(CUT_AT_COMMIT).await;
    road.append(BASE).await;
    let mut applier = road.applier().await;
    let error = applier.step().await.expect_err("cut off");
    assert!(matches!(error, Error::Apply(ApplyError::Commit { .. } | ApplyError::Sql { .. })), "{error:?}");
    assert_eq!(error.advice(), Advice::Restart);
    assert_eq!(road.lines("SELECT count(*) FROM slices").await, ["0"]);
    road.by_hand("DROP TRIGGER cut ON setkeeper_stream").await;
    road.run().await;
    assert_eq!(road.told().await.len(), 4);
    assert_eq!(road.lines("SELECT slice_name FROM slices").await, ["c"]);
}

#[tokio::test]
async fn an_upgrade_of_superset_under_a_running_worker_ends_its_term() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        let mut applier = road.applier().await;
        road.append(BASE).await;
        road.by_hand("UPDATE alembic_version SET version_num = 'another'").await;
        let error = applier.step().await.expect_err("upgraded");
        assert!(matches!(error, Error::Apply(ApplyError::Upgraded { .. })), "{error}");
        assert_eq!(error.advice(), Advice::Restart);
    }
}

#[tokio::test]
async fn old_deletes_are_forgotten_once_neither_the_log_nor_the_guard_needs_them() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.append(&format!("{BASE}-dashboards/d\nafter 20m\n+charts/e#5")).await;
        road.run().await;
        let mut target =
            Target::open(road.database.clone(), road.config.target.clone()).await.expect("a target");
        let graves = "SELECT count(*) FROM setkeeper_asset WHERE applied_change IS NULL";
        target.forget_deletes(2, road.fence).await.expect("too early");
        assert_eq!(road.lines(graves).await, ["1"]);
        target.forget_deletes(3, road.fence).await.expect("forgotten");
        assert_eq!(road.lines(graves).await, ["0"]);
    }
}
