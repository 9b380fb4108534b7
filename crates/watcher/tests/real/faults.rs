//! What comes out while connections, servers and watchers fail.

use std::sync::atomic::Ordering;
use std::time::Duration;

use change::{Fence, Record};
use watcher::{Advice, Error, Phase, Stats};
use zookeeper_client::{Acl, AuthId, Permission};

use super::bench::{Bench, WITHIN, connect};
use super::proxy::Proxy;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_restarted_server_stops_no_events() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    let running = bench.stream().await;
    for round in 0..2 {
        bench.zookeeper.restart().await.expect("a restart");
        bench.reconnect().await;
        bench.put("a", &format!("after {round}")).await;
        bench.until_equal().await;
    }
    // Streamed, not found by a reconciliation: the watch works again.
    running.reach(Phase::Streaming).await;
    let reconnects = running.stats.reconnects.load(Ordering::Relaxed);
    assert!(reconnects >= 2, "{reconnects} reconnects");
    bench.put("b", "1").await;
    bench.until_equal().await;
    bench.delete("b").await;
    bench.until_equal().await;
    assert_eq!(running.stats.reconnects.load(Ordering::Relaxed), reconnects);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_while_the_connection_is_cut_deletes_included() {
    let mut bench = Bench::start().await;
    for name in ["a", "b", "c", "d"] {
        bench.put(name, "1").await;
    }
    let proxy = Proxy::start(bench.zookeeper.connect()).await;
    let running = bench.watch_at(&proxy.address()).await;
    running.reach(Phase::Streaming).await;
    bench.until_equal().await;
    bench.take_printed();
    proxy.cut();
    running.reach(Phase::Disconnected).await;
    bench.delete("a").await;
    bench.edit("e1", &["-b", "=c"]).await;
    bench.put("d", "2").await;
    bench.put("d", "3").await;
    bench.put("e", "1").await;
    proxy.mend();
    bench.until_equal().await;
    assert_eq!(bench.take_printed(), ["e1: -b*, +c.1* e1 1", "+d.2 3", "-a, +e.0 1"]);
    assert_eq!(running.stats.missed_versions.load(Ordering::Relaxed), 1);
    assert_eq!(running.stats.silent_misses.load(Ordering::Relaxed), 0);
    running.reach(Phase::Streaming).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_before_the_first_watch_ends_the_term_at_once() {
    let mut bench = Bench::start().await;
    bench.config.broken_max = Duration::from_secs(3_600);
    let proxy = Proxy::start(bench.zookeeper.connect()).await;
    let session = connect(&proxy.address()).await;
    proxy.cut();
    let error = bench.watch_in(session).fails().await;
    assert_eq!(error.advice(), Advice::Restart);
    assert!(error.to_string().contains("set the recursive watch"), "{error}");
    proxy.mend();
    let running = bench.watch_at(&proxy.address()).await;
    running.reach(Phase::Streaming).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_while_no_watcher_runs_whether_it_was_stopped_or_killed() {
    let mut bench = Bench::start().await;
    bench.config.checkpoint_every = Duration::from_secs(3_600);
    for round in 0..2 {
        for name in ["a", "b", "c"] {
            bench.put(name, "1").await;
        }
        let running = bench.stream().await;
        bench.until_equal().await;
        // Only in the log if it is killed now: no checkpoint has it.
        bench.put("late", &format!("{round}")).await;
        bench.until_equal().await;
        match round {
            0 => running.stop().await,
            _ => running.kill().await,
        }
        bench.take_printed();
        bench.delete("late").await;
        bench.edit(&format!("e{round}"), &["-a", "=b"]).await;
        bench.delete("c").await;
        let running = bench.stream().await;
        bench.until_equal().await;
        assert_eq!(
            bench.take_printed(),
            [
                "term of generation 1".to_owned(),
                format!("e{round}: -a*, +b.{}* e{round} 1", 1 + 2 * round),
                "-c, -late".to_owned()
            ]
        );
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_costs_at_most_the_session() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    let running = bench.stream().await;
    bench.until_equal().await;
    running.stop().await;
    let supervised = bench.supervise(&bench.zookeeper.connect());
    supervised.reach(Phase::Streaming).await;
    bench.zookeeper.stop_process().expect("a server");
    supervised.reach(Phase::Disconnected).await;
    bench.zookeeper.cont().expect("a server");
    bench.reconnect().await;
    bench.put("a", "2").await;
    bench.delete("a").await;
    bench.put("b", "1").await;
    bench.until_equal().await;
    supervised.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_was_overtaken_appends_nothing_more() {
    let mut bench = Bench::start().await;
    let old = bench.stream().await;
    let new = bench.stream().await;
    bench.put("a", "1").await;
    bench.until_equal().await;
    let error = old.fails().await;
    assert!(matches!(error, Error::Fenced { .. }), "{error:?}");
    assert_eq!(error.advice(), watcher::Advice::Restart);
    let second =
        bench.records.iter().position(|(_, record)| matches!(record, Record::Term(_))).expect("a term");
    let fences: Vec<Fence> = bench.records[second..].iter().map(|(fence, _)| *fence).collect();
    assert!(fences.is_sorted(), "{fences:?}");
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_is_made_on_request_and_its_request_removed() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    let running = bench.stream().await;
    bench.until_equal().await;
    bench.take_printed();
    let id = bench.writer.request_resync("a test").await.expect("a request");
    bench
        .until("the resync's end", |bench| {
            bench.printed().last().is_some_and(|last| last == "resync ends with 1")
        })
        .await;
    assert_eq!(bench.take_printed(), ["resync begins", "+a.0 1", "resync ends with 1"]);
    running.reach(Phase::Streaming).await;
    let request = bench.writer.client().check_stat(&format!("/control/resync/{id}")).await;
    assert_eq!(request.expect("a look"), None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_resync_deletes_nothing_and_is_made_again() {
    // The queue takes the resync's first records and then is full.
    let mut bench = Bench::with_queue(|queue| queue.max_records = 12).await;
    bench.config.append_records = 1;
    for n in 0..15 {
        bench.put(&format!("c{n:02}"), "1").await;
    }
    let running = bench.watch().await;
    bench.until("the queue is full", |bench| bench.records.len() == 12).await;
    running.stop().await;
    assert_eq!(bench.tree.nodes().len(), 10);
    for n in 0..10 {
        bench.delete(&format!("c{n:02}")).await;
    }
    // Room again, as after trimming.
    let topic = change::Topic::Changes.name("test");
    let trimmed = bench.queue.trim(&topic, 13, Duration::ZERO, 100).await.expect("a trim");
    assert_eq!(trimmed, 12);
    let running = bench.stream().await;
    bench.until_equal().await;
    assert_eq!(bench.tree.nodes().len(), 5);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_a_full_queue_did_not_take_is_found_by_the_next_term() {
    let mut bench = Bench::with_queue(|queue| queue.max_records = 6).await;
    bench.config.checkpoint_every = Duration::from_secs(3_600);
    let running = bench.stream().await;
    for n in 0..3 {
        bench.put("a", &n.to_string()).await;
        bench.until_equal().await;
    }
    assert_eq!(bench.records.len(), 6, "{:?}", bench.printed());
    bench.delete("a").await;
    running.reach(Phase::Full).await;
    running.stop().await;
    let topic = change::Topic::Changes.name("test");
    let saved = watcher::saved(&bench.queue, "test").await.expect("the table");
    let checkpoint = saved.checkpoint.expect("a checkpoint").offset;
    bench.queue.trim(&topic, checkpoint, Duration::ZERO, 100).await.expect("a trim");
    let running = bench.stream().await;
    bench.until_equal().await;
    assert!(bench.tree.nodes().is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_has_died_in_silence_is_noticed_and_set_again() {
    let mut bench = Bench::start().await;
    bench.config.canary_within = Duration::from_millis(500);
    let session = connect(&bench.zookeeper.connect()).await;
    let client = session.client().clone();
    let running = bench.watch_in(session);
    running.reach(Phase::Streaming).await;
    bench.put("a", "1").await;
    bench.until_equal().await;
    // ZooKeeper 3.8 has one mode a path and session: another one takes the recursive watch's place (ZOOKEEPER-4466).
    let (_, _other) = client.check_and_watch_stat("/").await.expect("a watch");
    bench.put("a", "2").await;
    bench.delete("a").await;
    bench.put("b", "1").await;
    bench.until_equal().await;
    assert!(running.stats.silent_canaries.load(Ordering::Relaxed) > 0, "the watch has not died");
    running.reach(Phase::Streaming).await;
    let silent = running.stats.silent_canaries.load(Ordering::Relaxed);
    bench.put("b", "2").await;
    bench.until_equal().await;
    assert_eq!(running.stats.silent_canaries.load(Ordering::Relaxed), silent, "it is set again");
    running.stop().await;
}

/// Reads and trims until the term at hand has nothing to wait for any more.
pub(crate) async fn relieve(bench: &mut Bench, stats: &Stats) {
    let mut states = stats.state.subscribe();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let relieved = tokio::time::timeout(WITHIN, async {
        loop {
            let settled = |state: &watcher::State| matches!(state.state, Phase::Full | Phase::Streaming);
            let phase = states.wait_for(settled).await.expect("a watcher").state;
            bench.until_end().await;
            if phase == Phase::Streaming {
                return;
            }
            bench.trim().await;
            ticks.tick().await;
        }
    });
    assert!(relieved.await.is_ok(), "stuck with {:#?}", bench.printed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_larger_than_the_queue_is_sent_while_it_is_trimmed() {
    let mut bench = Bench::with_queue(|queue| queue.max_records = 12).await;
    for n in 0..40 {
        bench.put(&format!("c{n:02}"), "1").await;
    }
    let running = bench.watch().await;
    running.reach(Phase::Full).await;
    bench.put("c00", "2").await;
    bench.delete("c01").await;
    relieve(&mut bench, &running.stats).await;
    bench.until_equal().await;
    assert_eq!(bench.tree.nodes().len(), 39);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_term_begins_although_the_last_one_died_in_a_full_queue_without_a_checkpoint() {
    let mut bench = Bench::with_queue(|queue| queue.max_records = 12).await;
    for n in 0..20 {
        bench.put(&format!("c{n:02}"), "1").await;
    }
    let running = bench.watch().await;
    running.reach(Phase::Full).await;
    running.kill().await;
    let (tree, fence) = (change::Topic::Tree.name("test"), queue::Fence(1, bench.terms));
    let removed = bench.queue.put_latest(&tree, fence, &[("checkpoint".to_owned(), None)]).await;
    removed.expect("a removal");
    // So full that not even the record of a term fits.
    let topic = change::Topic::Changes.name("test");
    let size = bench.queue.size(&topic).await.expect("a size");
    assert_eq!(size.records, 12);
    let running = bench.watch().await;
    running.reach(Phase::Full).await;
    bench.delete("c00").await;
    relieve(&mut bench, &running.stats).await;
    bench.until_equal().await;
    assert_eq!(bench.tree.nodes().len(), 19);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_removed_is_served_once_a_term() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    let running = bench.stream().await;
    bench.until_equal().await;
    let anyone = |permission| Acl::new(permission, AuthId::new("world", "anyone"));
    let undeletable =
        [Permission::READ, Permission::WRITE, Permission::CREATE, Permission::ADMIN].map(anyone);
    bench.writer.client().set_acl("/control/resync", &undeletable, None).await.expect("an ACL");
    bench.writer.request_resync("a test").await.expect("a request");
    bench.until("the resync's end", |bench| bench.printed().iter().filter(ends_a_resync).count() == 2).await;
    bench.zookeeper.restart().await.expect("a restart");
    bench.reconnect().await;
    bench.put("b", "1").await;
    bench.until_equal().await;
    assert_eq!(bench.printed().iter().filter(ends_a_resync).count(), 2);
    bench.writer.client().set_acl("/control/resync", &[anyone(Permission::ALL)], None).await.expect("an ACL");
    bench.zookeeper.restart().await.expect("a restart");
    bench.reconnect().await;
    bench.put("c", "1").await;
    bench.until_equal().await;
    running.reach(Phase::Streaming).await;
    assert_eq!(bench.writer.resync_requests().await.expect("the requests").len(), 0);
    running.stop().await;
}

fn ends_a_resync(line: &&String) -> bool {
    line.starts_with("resync ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_cannot_be_understood_or_read_ends_the_term_at_once_and_says_so() {
    let mut bench = Bench::start().await;
    let running = bench.stream().await;
    bench.writer.client().set_data("/generation", b"junk", None).await.expect("a set");
    let error = running.fails().await.to_string();
    assert!(error.contains("generation"), "{error}");
    let mut bench = Bench::start().await;
    bench.config.broken_max = Duration::from_secs(3_600);
    let running = bench.stream().await;
    let hidden = [Acl::new(Permission::WRITE, AuthId::new("world", "anyone"))];
    bench.writer.client().set_acl("/generation", &hidden, None).await.expect("an ACL");
    bench.zookeeper.restart().await.expect("a restart");
    let error = running.fails().await.to_string();
    assert!(error.contains("generation"), "{error}");
}
