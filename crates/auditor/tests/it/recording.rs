//! What is recorded, and that it is recorded once.

use auditor::{Advice, Error};
use change::{Fence, Outcome, Topic, Verdict};
use expect_test::expect;

use crate::world::{
    ENV, MIDNIGHT, World, begin, changes, chart, delete, edit, end, everything, id, open_queue, put, resent,
    term, txn,
};

const CHANGES: &str = "SELECT seq, change_id, op, source, coalesce(zxid, '-'), missed || \
    CASE missed_more WHEN 1 THEN '+' ELSE '' END, coalesce(previous, '-'), effective - 1795478400000 \
    FROM audit_change ORDER BY seq";

#[tokio::test]
async fn a_change_is_recorded_once_however_often_it_comes() {
    let world = World::new().await;
    let one = txn(10, vec![put("a", 10, 0, &chart(1, "A", 1))]);
    world.watch(1, &[term(1, 1), one.clone(), one.clone()]).await;
    world.record().await;
    world.watch(1, &[one]).await;
    world.record().await;
    expect![[r#"
        2 | 1:assets/main/charts/a@10.0 | put | stream | 10 | 0 | - | 10
    "#]]
    .assert_eq(&world.table(CHANGES).await);
    assert_eq!(world.counted().duplicates, 2);
}

#[tokio::test]
async fn an_outcome_is_recorded_once_however_often_it_is_relayed() {
    let mut world = World::new().await;
    world.watch(1, &[txn(10, vec![put("a", 10, 0, &chart(1, "A", 1))])]).await;
    let outcome = world.outcome(&id("a", 10, Some(0)), 15, Verdict::Applied).await;
    world.relay(&outcome).await;
    world.record().await;
    world.relay(&outcome).await;
    world.record().await;
    assert_eq!(world.table("SELECT seq, verdict FROM audit_outcome").await, "2 | applied\n");
    assert_eq!(world.counted().duplicates, 2);
}

#[tokio::test]
async fn another_outcome_under_a_key_that_is_on_record_is_told_and_not_taken_for_a_duplicate() {
    let mut world = World::new().await;
    world.watch(1, &[txn(10, vec![put("a", 10, 0, &chart(1, "A", 1))])]).await;
    let outcome = world.outcome(&id("a", 10, Some(0)), 15, Verdict::Applied).await;
    world.record().await;
    // What a database restored from a backup may number once more.
    let other = Outcome { committed: change::Millis(outcome.committed.0 + 1), ..outcome.clone() };
    for came in [&other, &outcome] {
        world.relay(came).await;
        world.record().await;
    }
    assert_eq!(world.table("SELECT seq, verdict FROM audit_outcome").await, "2 | applied\n");
    let conflicts = "SELECT detail ->> 'change', detail ->> 'verdict', detail ->> 'on_record' <> detail ->> 'came' \
        FROM audit_event WHERE kind = 'conflict'";
    assert_eq!(world.table(conflicts).await, format!("{} | applied | 1\n", id("a", 10, Some(0))));
    assert_eq!(world.counted().duplicates, 1);
}

#[tokio::test]
async fn versions_that_nobody_saw_are_counted() {
    let world = World::new().await;
    let document = chart(1, "A", 1);
    let records = [
        txn(10, vec![put("a", 10, 0, &document)]),
        txn(20, vec![put("a", 10, 1, &document)]),
        txn(30, vec![put("a", 10, 5, &document)]), // 2, 3 and 4
        txn(40, vec![delete("a", 10)]),            // nobody knows
        txn(50, vec![put("a", 50, 2, &document)]), // 0 and 1
        txn(60, vec![put("a", 60, 1, &document)]), // the delete of 50, and 0
    ];
    world.watch(1, &records).await;
    world.record().await;
    expect![[r#"
        1 | 1:assets/main/charts/a@10.0 | put | stream | 10 | 0 | - | 10
        2 | 1:assets/main/charts/a@10.1 | put | stream | 20 | 0 | 1:assets/main/charts/a@10.0 | 20
        3 | 1:assets/main/charts/a@10.5 | put | stream | 30 | 3 | 1:assets/main/charts/a@10.1 | 30
        4 | 1:assets/main/charts/a@10.- | delete | stream | 40 | 0+ | 1:assets/main/charts/a@10.5 | 40
        5 | 1:assets/main/charts/a@50.2 | put | stream | 50 | 2 | - | 50
        6 | 1:assets/main/charts/a@60.1 | put | stream | 60 | 1+ | 1:assets/main/charts/a@50.2 | 60
    "#]]
    .assert_eq(&world.table(CHANGES).await);
}

#[tokio::test]
async fn effective_time_neither_goes_back_nor_runs_ahead() {
    let world = World::new().await;
    let document = chart(1, "A", 1);
    let ahead = match txn(90_000, vec![put("b", 20, 0, &document)]) {
        change::Record::Txn(txn) => change::Txn { seen: change::Millis(MIDNIGHT + 60), ..txn },
        _ => unreachable!("a transaction was made"),
    };
    let records = [
        txn(50, vec![put("a", 10, 0, &document)]),
        txn(20, vec![put("a", 10, 1, &document)]),
        change::Record::Txn(ahead),
        txn(70, vec![put("a", 10, 2, &document)]),
    ];
    world.watch(1, &records).await;
    world.record().await;
    let effective = world.table("SELECT effective - 1795478400000 FROM audit_change ORDER BY seq").await;
    assert_eq!(effective, "50\n50\n60\n70\n");
}

#[tokio::test]
async fn a_resync_turns_what_it_did_not_find_into_deletes() {
    let world = World::new().await;
    let document = chart(1, "A", 1);
    let first = vec![
        put("gone", 1, 0, &document),
        put("stays", 2, 0, &document),
        put("assets/secret/charts/x", 3, 0, &document),
        put("moved-on", 4, 0, &document),
    ];
    world.watch(1, &[txn(10, first), begin(5, 20), resent(5, 21, put("stays", 2, 0, &document))]).await;
    world.record().await; // The auditor restarts in the middle of it.
    let rest = [
        txn(22, vec![put("moved-on", 4, 1, &document)]), // live, not resent
        end(5, 30, &["assets/secret"]),
    ];
    world.watch(1, &rest).await;
    world.record().await;
    expect![[r#"
        1 | 1:assets/main/charts/gone@1.0 | put | stream | 10 | 0 | - | 10
        2 | 1:assets/main/charts/stays@2.0 | put | stream | 10 | 0 | - | 10
        3 | 1:assets/secret/charts/x@3.0 | put | stream | 10 | 0 | - | 10
        4 | 1:assets/main/charts/moved-on@4.0 | put | stream | 10 | 0 | - | 10
        6 | 1:assets/main/charts/moved-on@4.1 | put | stream | 22 | 0 | 1:assets/main/charts/moved-on@4.0 | 22
        7 | 1:assets/main/charts/gone@1.- | delete | absence | - | 0+ | 1:assets/main/charts/gone@1.0 | 30
    "#]]
    .assert_eq(&world.table(CHANGES).await);
    expect![[r#"
        assets/main/charts/moved-on
        assets/main/charts/stays
        assets/secret/charts/x
    "#]]
    .assert_eq(&world.table("SELECT path FROM audit_tree").await);
    // Seen after all, late: it is on record.
    world.watch(1, &[txn(40, vec![delete("gone", 1)])]).await;
    world.record().await;
    assert_eq!(world.counted().duplicates, 2);
}

#[tokio::test]
async fn a_resync_that_was_voided_or_never_begun_deletes_nothing() {
    let world = World::new().await;
    let first = txn(10, vec![put("a", 1, 0, &chart(1, "A", 1))]);
    world.watch(1, &[first, end(4, 11, &[]), begin(5, 20), begin(6, 21), end(5, 30, &[])]).await;
    world.record().await;
    assert_eq!(world.table("SELECT path FROM audit_tree").await, "assets/main/charts/a\n");
    assert_eq!(world.counted().changes, 1);
}

#[tokio::test]
async fn an_approved_generation_closes_the_lives_of_the_old_one() {
    let world = World::new().await;
    let document = chart(1, "A", 1);
    let old = vec![put("gone", 900, 3, &document), put("stays", 901, 0, &document)];
    world.watch(1, &[txn(10, old)]).await;
    let fence = Fence { generation: 2, czxid: 1 };
    let new = [term(2, 20), begin(5, 21), resent(5, 22, put("stays", 7, 0, &document)), end(5, 23, &[])];
    world.watch_in(fence, &new).await;
    world.record().await;
    expect![[r#"
        1 | 1:assets/main/charts/gone@900.3 | put | stream | 10 | 3 | - | 10
        2 | 1:assets/main/charts/stays@901.0 | put | stream | 10 | 0 | - | 10
        5 | 2:assets/main/charts/stays@7.0 | put | resync | 22 | 0+ | 1:assets/main/charts/stays@901.0 | 22
        6 | 1:assets/main/charts/gone@900.- | delete | absence | - | 0+ | 1:assets/main/charts/gone@900.3 | 23
    "#]]
    .assert_eq(&world.table(CHANGES).await);
}

#[tokio::test]
async fn an_auditor_whose_term_is_over_records_nothing() {
    let world = World::new().await;
    let mut old = world.auditor(5).await.expect("opens");
    let _new = world.auditor(6).await.expect("opens");
    world.watch(1, &[txn(10, vec![put("a", 1, 0, "{}")])]).await;
    let error = old.catch_up().await.expect_err("is kept out");
    assert!(matches!(error, Error::Fenced { fence } if fence.czxid == 5), "{error}");
    assert_eq!(error.advice(), Advice::Restart);
    assert!(matches!(world.auditor(5).await, Err(Error::Fenced { .. })));
    assert_eq!(world.counted().changes, 0);
}

#[tokio::test]
async fn records_of_an_old_watcher_are_dropped() {
    // Kafka cannot refuse an old watcher's last append; the embedded queue does, so a new log plays it here.
    let mut world = World::new().await;
    world.watch(9, &[term(1, 1), txn(10, vec![put("a", 1, 0, &chart(1, "A", 1))])]).await;
    world.record().await;
    world.queue = open_queue(world.folder(), "other.db").await;
    world.watch(3, &[txn(20, vec![put("a", 1, 1, &chart(1, "old", 1)), delete("a", 1)])]).await;
    world.watch(9, &[txn(30, vec![put("a", 1, 2, &chart(1, "A", 2))])]).await;
    world.record().await;
    assert_eq!(world.counted().dropped, 1);
    let ids = world.table("SELECT change_id FROM audit_change ORDER BY seq").await;
    assert_eq!(ids, format!("{}\n{}\n", id("a", 1, Some(0)), id("a", 1, Some(2))));
}

#[tokio::test]
async fn a_crash_between_commit_and_acknowledgement_records_nothing_twice() {
    let world = World::new().await;
    let hint = world.queue.first(&changes()).await.expect("a position");
    world.watch(1, &[txn(10, vec![put("a", 1, 0, &chart(1, "A", 1))])]).await;
    world.record().await;
    let before = everything(&world).await;
    // The hint is as it was before the batch.
    world.queue.commit(auditor::GROUP, &changes(), &hint).await.expect("notes");
    world.record().await;
    assert_eq!(everything(&world).await, before);
    assert_eq!(world.counted().duplicates, 0);
    let noted = world.queue.committed(auditor::GROUP, &changes()).await.expect("reads");
    assert_eq!(noted, Some(hint), "nothing was read, so nothing is told");
}

#[tokio::test]
async fn a_lost_position_is_a_gap_on_record_until_a_resync_ends() {
    let mut world = World::new().await;
    let document = chart(1, "A", 1);
    world.watch(1, &[txn(10, vec![put("a", 1, 0, &document), put("b", 2, 0, &document)])]).await;
    world.record().await;
    assert!(!world.counted().resync_needed);
    world.queue = open_queue(world.folder(), "new.db").await;
    world.watch(2, &[term(1, 20)]).await;
    world.record().await;
    assert!(world.counted().resync_needed);
    let why = world.audit().status().await.expect("reads").resync_needed;
    assert_eq!(why.as_deref(), Some("the log has another id"));
    world.watch(2, &[begin(5, 30), resent(5, 31, put("a", 1, 0, &document)), end(5, 32, &[])]).await;
    world.record().await;
    assert!(!world.counted().resync_needed);
    assert_eq!(world.table("SELECT path FROM audit_tree").await, "assets/main/charts/a\n");
    let gaps = world.table("SELECT seq, kind, detail ->> 'topic' FROM audit_event WHERE kind = 'gap'").await;
    assert_eq!(gaps, "3 | gap | changes\n4 | gap | outcomes\n");
}

#[tokio::test]
async fn a_log_that_is_read_again_brings_no_second_delete() {
    let document = chart(1, "A", 1);
    let records = [term(1, 1), txn(10, vec![put("a", 1, 0, &document)]), begin(5, 20), end(5, 21, &[])];
    for batch_records in [1, 2, 3, 100] {
        let mut world = World::new().await;
        world.config.batch_records = batch_records;
        world.watch(1, &records).await;
        world.record().await;
        // An older copy of the queue's file is put back.
        world.queue = open_queue(world.folder(), "copy.db").await;
        world.watch(1, &records).await;
        world.record().await;
        let deletes = world.table("SELECT change_id FROM audit_change WHERE version IS NULL").await;
        assert_eq!(deletes, "1:assets/main/charts/a@1.-\n");
        assert!(world.audit().verify(None).await.expect("reads").is_sound());
    }
}

#[tokio::test]
async fn two_contents_of_one_version_are_a_conflict_on_record() {
    let world = World::new().await;
    let one = txn(10, vec![put("a", 1, 0, &chart(1, "A", 1))]);
    let other = txn(20, vec![put("a", 1, 0, &chart(1, "A", 2))]);
    world.watch(1, &[one, other]).await;
    world.record().await;
    assert_eq!(world.counted().changes, 1);
    let told = world.table("SELECT kind, detail ->> 'change' FROM audit_event").await;
    assert_eq!(told, format!("conflict | {}\n", id("a", 1, Some(0))));
}

#[tokio::test]
async fn bytes_that_are_no_record_are_noted_and_passed_over() {
    let world = World::new().await;
    let headers = r#"{"specversion":"1.0","id":"x","source":"s","type":"dev.setkeeper.txn.v1","time":"t","datacontenttype":"application/json"}"#;
    let torn =
        queue::NewEntry { key: "x".to_owned(), headers: headers.to_owned(), body: b"{\"s3cret".to_vec() };
    world.queue.append(&changes(), Some(queue::Fence(1, 1)), &[torn]).await.expect("appends");
    world.watch(1, &[txn(10, vec![put("a", 1, 0, &chart(1, "A", 1))])]).await;
    world.record().await;
    let told = world.table("SELECT kind, detail ->> 'part', log_offset FROM audit_event").await;
    assert_eq!(told, "unreadable | body | 1\n");
    assert_eq!(world.counted().changes, 1);
}

#[tokio::test]
async fn a_record_of_a_version_to_come_stops_the_auditor() {
    let world = World::new().await;
    let headers = r#"{"specversion":"1.0","id":"x","source":"s","type":"dev.setkeeper.txn.v2","time":"t","datacontenttype":"application/json"}"#;
    let later = queue::NewEntry { key: "x".to_owned(), headers: headers.to_owned(), body: b"{}".to_vec() };
    world.queue.append(&changes(), Some(queue::Fence(1, 1)), &[later]).await.expect("appends");
    let error = world.auditor(1).await.expect("opens").catch_up().await.expect_err("stops");
    assert_eq!(error.advice(), Advice::Stop);
}

#[tokio::test]
async fn another_environments_database_is_refused() {
    let world = World::new().await;
    world.record().await;
    let fence = Fence { generation: 1, czxid: 2_000 };
    let (database, queue) = (world.database.clone(), world.queue.clone());
    let opened =
        auditor::Auditor::open(world.config.clone(), database, queue, fence, "test", Default::default())
            .await;
    assert!(matches!(opened, Err(Error::OtherEnvironment { .. })));
}

#[tokio::test]
async fn how_records_were_batched_does_not_show() {
    let document = |limit| chart(1, "A", limit);
    let records = [
        term(1, 1),
        edit(10, "ada", "first", vec![put("a", 10, 0, &document(1)), put("b", 10, 0, &document(2))]),
        txn(20, vec![put("a", 10, 3, &document(3))]),
        begin(5, 30),
        resent(5, 31, put("a", 10, 3, &document(3))),
        txn(32, vec![delete("a", 10), put("c", 32, 0, &document(3))]),
        end(5, 33, &[]),
        txn(40, vec![put("a", 40, 0, &document(9))]),
    ];
    let mut all = Vec::new();
    for batch_records in [1, 2, 3, 100] {
        let mut world = World::new().await;
        world.config.batch_records = batch_records;
        world.watch(1, &records).await;
        let log = world.queue.first(&changes()).await.expect("a position").log.to_string();
        world.record().await;
        let mut told = everything(&world).await;
        // The log's id is random, and with it the hashes.
        told.remove("audit_chain");
        told.values_mut().for_each(|text| *text = text.replace(&log, "log"));
        all.push(told);
        assert!(world.audit().verify(None).await.expect("reads").is_sound());
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:#?}");
}

#[tokio::test]
async fn the_queue_is_trimmed_below_what_is_recorded_and_what_the_watcher_folds() {
    let mut world = World::new().await;
    world.config.keep_queue = std::time::Duration::ZERO;
    // More than one portion: the next must not wait for `trim_every`.
    world.config.trim_records = 1;
    let document = chart(1, "A", 1);
    world
        .watch(1, &[txn(10, vec![put("a", 1, 0, &document)]), txn(20, vec![put("a", 1, 1, &document)])])
        .await;
    let checkpoint = world.queue.end(&changes()).await.expect("a position");
    world.watch(1, &[txn(30, vec![put("a", 1, 2, &document)])]).await;
    let value = serde_json::json!({"position": checkpoint.to_string(), "generation": 1}).to_string();
    let tree = Topic::Tree.name(ENV);
    let put = [("checkpoint".to_owned(), Some(value.into_bytes()))];
    world.queue.put_latest(&tree, queue::Fence(1, 1), &put).await.expect("puts");

    let stop = tokio_util::sync::CancellationToken::new();
    let mut auditor = world.auditor(1).await.expect("opens");
    auditor.catch_up().await.expect("records");
    let run = tokio::spawn(auditor.run(stop.clone()));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while world.counted().trimmed < 2 {
        assert!(tokio::time::Instant::now() < deadline, "nothing is trimmed");
        tokio::task::yield_now().await;
    }
    stop.cancel();
    run.await.expect("no panic").expect("stops well");
    assert_eq!(world.queue.size(&changes()).await.expect("reads").first, 3);
}
