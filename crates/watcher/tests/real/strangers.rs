//! Ensembles that are not the one on record, and parts of one that cannot be read.

use std::sync::atomic::Ordering;

use change::Record;
use watcher::{Error, Phase};
use zookeeper_client::{Acl, AuthId, Permission};

use super::bench::{Bench, chart, persistent};

/// Begins a term that has to freeze, and shows that it appends nothing but its Term record.
async fn freezes(bench: &mut Bench, terms: usize) -> super::bench::Running {
    let running = bench.watch().await;
    running.reach(Phase::Frozen).await;
    bench.take_printed();
    let known = bench.tree.clone();
    bench.until_end().await;
    assert_eq!(bench.take_printed(), vec!["term of generation 1"; terms]);
    assert_eq!(bench.tree, known);
    running
}

async fn approved(bench: &mut Bench, frozen: super::bench::Running) {
    bench.generation = bench.writer.approve_generation(2).await.expect("an approval");
    let error = frozen.fails().await;
    assert!(matches!(error, Error::Generation { .. }), "{error:?}");
    let running = bench.stream().await;
    bench.until_equal().await;
    let printed = bench.take_printed();
    assert_eq!(&printed[..2], ["term of generation 2", "resync begins"]);
    bench.put("after", "1").await;
    bench.until_equal().await;
    let saved = watcher::saved(&bench.queue, "test").await.expect("the table");
    assert_eq!(saved.frozen, None, "what was approved is not shown as frozen any more");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_ensemble_deletes_nothing_and_freezes_until_a_generation_is_approved() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    let running = bench.stream().await;
    bench.until_equal().await;
    bench.zookeeper.kill().await.expect("a kill");
    bench.zookeeper.wipe().expect("a wipe");
    bench.zookeeper.restart().await.expect("a start");
    let error = running.fails().await;
    assert!(matches!(error, Error::Session { .. }), "{error:?}");
    bench.reconnect().await;
    bench.until("the killed term's records", |bench| bench.tree.get(&chart("a")).is_some()).await;
    // Nothing stands there.
    let running = freezes(&mut bench, 1).await;
    running.stop().await;
    // Somebody has initialised it anew: another id with the same number.
    let ours = bench.generation;
    bench.generation = bench.writer.init().await.expect("a tree");
    assert_eq!(bench.generation.n, ours.n);
    let frozen = freezes(&mut bench, 0).await;
    bench.put("b", "1").await;
    approved(&mut bench, frozen).await;
    assert_eq!(bench.tree.get(&chart("a")), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_older_ensemble_freezes_even_when_it_has_run_past_the_known_zxid() {
    for beyond in [0, 200] {
        let mut bench = Bench::start().await;
        bench.put("a", "1").await;
        let running = bench.stream().await;
        bench.until_equal().await;
        running.stop().await;
        let backup = tempfile::tempdir().expect("a folder");
        bench.while_down(|server| server.backup(backup.path()).expect("a backup")).await;
        let running = bench.stream().await;
        bench.put("a", "2").await;
        bench.put("b", "1").await;
        bench.until_equal().await;
        running.stop().await;
        bench.while_down(|server| server.restore(backup.path()).expect("a restore")).await;
        for n in 0..beyond {
            bench.put("a", &n.to_string()).await;
        }
        let frozen = freezes(&mut bench, 1).await;
        let reason = frozen.stats.state.borrow().reason.clone();
        assert!(reason.contains("canary"), "{reason}");
        approved(&mut bench, frozen).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ensemble_restored_from_before_the_last_election_freezes_too() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    let running = bench.watch_elected().await;
    bench.until_equal().await;
    running.stop().await;
    let backup = tempfile::tempdir().expect("a folder");
    bench.while_down(|server| server.backup(backup.path()).expect("a backup")).await;
    for n in 0..100 {
        bench.put("a", &n.to_string()).await;
    }
    let running = bench.watch_elected().await;
    bench.until_equal().await;
    // Somebody else is elected: whoever was before has lost its lock, and ends.
    let later = bench.watch_elected().await;
    bench.until_end().await;
    later.reach(Phase::Streaming).await;
    bench.put("a", "2").await;
    let error = running.fails().await;
    assert!(matches!(error, Error::Fenced { .. }), "{error:?}");
    later.stop().await;
    bench.while_down(|server| server.restore(backup.path()).expect("a restore")).await;
    bench.until_end().await;
    bench.take_printed();
    let frozen = bench.watch_elected().await;
    frozen.reach(Phase::Frozen).await;
    let reason = frozen.stats.state.borrow().reason.clone();
    assert!(reason.contains("elected after"), "{reason}");
    bench.until_end().await;
    assert_eq!(bench.take_printed(), [""; 0], "nothing is appended");
    bench.terms = 0;
    approved(&mut bench, frozen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_queue_freezes_and_says_that_it_may_be_one() {
    let mut bench = Bench::start().await;
    let running = bench.stream().await;
    running.stop().await;
    let (tree, key) = (change::Topic::Tree.name("test"), "canary".to_owned());
    let older = bench.queue.latest_one(&tree, &key).await.expect("the table").expect("a canary");
    let running = bench.stream().await;
    running.stop().await;
    bench.until_end().await;
    let fence = queue::Fence(1, bench.terms);
    bench.queue.put_latest(&tree, fence, &[(key, Some(older))]).await.expect("a put");
    let frozen = freezes(&mut bench, 1).await;
    let reason = frozen.stats.state.borrow().reason.clone();
    assert!(reason.contains("older copy"), "{reason}");
    frozen.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_root_and_a_refused_subtree_are_no_deletes() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    bench.make("settings/config/X", "1").await;
    let running = bench.stream().await;
    bench.until_equal().await;
    running.stop().await;
    bench.take_printed();
    let client = bench.writer.client();
    client.delete("/settings/config/X", None).await.expect("a delete");
    client.delete("/settings/config", None).await.expect("a delete");
    for folder in ["feature_flags", "scale", "endpoints"] {
        client.delete(&format!("/settings/{folder}"), None).await.expect("a delete");
    }
    client.delete("/settings", None).await.expect("a delete");
    let nobody = [Acl::new(Permission::ALL, AuthId::new("digest", "nobody:x"))];
    client.set_acl("/assets/main/charts", &nobody, None).await.expect("an ACL");
    client.create("/assets/main/other", b"1", &persistent()).await.expect("a znode");
    let running = bench.stream().await;
    bench
        .until("the change beside", |bench| {
            bench.records.iter().any(|(_, record)| matches!(record, Record::Txn(_)))
        })
        .await;
    assert_eq!(bench.take_printed(), ["term of generation 1", "+other.0 1"]);
    assert_eq!(running.stats.unreadable.load(Ordering::Relaxed), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_below_what_a_resync_could_not_read_is_found_once_it_can_be_read() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    bench.put("b", "1").await;
    let running = bench.stream().await;
    bench.until_equal().await;
    running.stop().await;
    let anyone = |permission| Acl::new(permission, AuthId::new("world", "anyone"));
    let unreadable = [Permission::ADMIN, Permission::CREATE, Permission::DELETE].map(anyone);
    let client = bench.writer.client().clone();
    client.set_acl("/assets/main/charts", &unreadable, None).await.expect("an ACL");
    bench.generation = bench.writer.approve_generation(2).await.expect("an approval");
    let running = bench.stream().await;
    bench.until_end().await;
    bench.delete("a").await;
    running.stop().await;
    client.set_acl("/assets/main/charts", &[anyone(Permission::ALL)], None).await.expect("an ACL");
    let running = bench.stream().await;
    bench.until_equal().await;
    running.stop().await;
    bench.take_printed();
    let running = bench.stream().await;
    bench.until_end().await;
    assert_eq!(bench.take_printed(), ["term of generation 2"], "one more resync was enough");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_of_another_history_outlives_its_evidence() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    let running = bench.stream().await;
    bench.until_equal().await;
    running.stop().await;
    // The record says more of `a` than stands there.
    let (tree, key) = (change::Topic::Tree.name("test"), "node/assets/main/charts/a".to_owned());
    let true_row = bench.queue.latest_one(&tree, &key).await.expect("the table").expect("a row");
    let mut node: change::Node = serde_json::from_slice(&true_row).expect("a node");
    node.version += 1;
    let fence = queue::Fence(1, bench.terms);
    let false_row = serde_json::to_vec(&node).expect("json");
    bench.queue.put_latest(&tree, fence, &[(key.clone(), Some(false_row))]).await.expect("a put");
    let frozen = freezes(&mut bench, 1).await;
    let reason = frozen.stats.state.borrow().reason.clone();
    assert!(reason.contains("behind"), "{reason}");
    frozen.stop().await;
    let fence = queue::Fence(1, bench.terms);
    bench.queue.put_latest(&tree, fence, &[(key, Some(true_row))]).await.expect("a put");
    let frozen = freezes(&mut bench, 1).await;
    let saved = watcher::saved(&bench.queue, "test").await.expect("the table");
    assert_eq!(saved.frozen.map(|state| state.reason), Some(reason));
    approved(&mut bench, frozen).await;
}

#[cfg(feature = "broken")]
#[tokio::test(flavor = "multi_thread")]
async fn the_broken_watcher_does_take_a_missing_root_for_deletes() {
    let mut bench = Bench::start().await;
    bench.config.broken = Some(watcher::Broken::NoNodeIsDelete);
    bench.put("a", "1").await;
    let running = bench.stream().await;
    bench.until_equal().await;
    running.stop().await;
    bench.while_down(|server| server.wipe().expect("a wipe")).await;
    bench.generation = bench.writer.init().await.expect("a tree");
    bench.terms += 1;
    let running = bench.stream().await;
    bench.until("a false delete", |bench| bench.tree.get(&chart("a")).is_none()).await;
    running.stop().await;
}
