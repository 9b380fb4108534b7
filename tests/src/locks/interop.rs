//! Locks that setkeeper, Python's kazoo and Java's Curator contend for together.

use std::sync::Arc;
use std::time::Duration;

use agent::instance::ServiceInstance;
use change::Millis;
use rustix::process::Signal;
use serde_json::Value;
use zk::{Held, Holder, Mode, Session, Style};

use super::foreign::{Language, Process};
use super::monitor::Monitor;
use super::world::{SESSION, World};

fn me() -> Holder {
    Holder { v: 1, host: "test".into(), pid: 1, reason: "a test".into(), since: Millis(1), count: None }
}

async fn lock(session: &Session, name: &str, style: Style, mode: Mode) -> Held {
    let me = me();
    let waiting = session.lock(name, style, mode, &me);
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the lock in time").expect("the lock")
}

async fn is_free(session: &Session, name: &str, style: Style, mode: Mode) -> bool {
    match session.try_lock(name, style, mode, &me()).await.expect("an answer") {
        Some(held) => held.release().await.map(|()| true).expect("released"),
        None => false,
    }
}

/// A session of its own, as a client of another process has one.
async fn session(world: &World) -> Session {
    let config =
        zk::Config { session_timeout: SESSION, ..zk::Config::new(world.zookeeper.connect(), "test") };
    Session::connect(&config).await.expect("a session")
}

fn path(name: &str) -> String {
    format!("/superset/test/locks/{name}")
}

/// Whoever comes second waits, whichever of the two it is.
async fn both_ways(world: &World, foreign: &mut Process, kind: &str, style: Style, mode: Mode) {
    let name = format!("both-{kind}");
    let client = &mut foreign.clients[0];
    for _ in 0..3 {
        client.must(&format!("lock {kind} {}", path(&name)), "held").await;
        assert!(!is_free(&world.session, &name, style, mode).await, "{kind} holds, and so do we");
        let (waiting, held_name) = (world.session.clone(), name.clone());
        let ours = tokio::spawn(async move { lock(&waiting, &held_name, style, mode).await });
        world.queued(&name, 2).await;
        assert!(!ours.is_finished(), "{kind} holds, and so do we");
        client.must("unlock", "free").await;
        let ours = ours.await.expect("our turn");
        client.say(&format!("lock {kind} {}", path(&name))).await;
        world.queued(&name, 2).await;
        // It is given the time to be wrong.
        let early = tokio::time::timeout(Duration::from_millis(300), client.heard()).await;
        assert!(early.is_err(), "we hold, and so does {kind}: {early:?}");
        ours.release().await.expect("released");
        assert_eq!(client.heard().await, "held");
        client.must("unlock", "free").await;
    }
    world.queued(&name, 0).await;
}

#[tokio::test]
async fn kazoos_own_locks_and_ours_in_its_style_exclude_each_other() {
    let world = World::start().await;
    let mut kazoo = Process::start(Language::Python, &world.zookeeper.connect(), 2).await;
    both_ways(&world, &mut kazoo, "lock", Style::Kazoo, Mode::Exclusive).await;
    both_ways(&world, &mut kazoo, "curator", Style::Curator, Mode::Exclusive).await;
    both_ways(&world, &mut kazoo, "write", Style::Kazoo, Mode::Shared).await;
    both_ways(&world, &mut kazoo, "read", Style::Kazoo, Mode::Exclusive).await;
    // Two that share it hold it together, and show so.
    kazoo.clients[0].must(&format!("lock read {}", path("boards")), "held").await;
    let ours = lock(&world.session, "boards", Style::Kazoo, Mode::Shared).await;
    let queue = world.session.lock_state("boards").await.expect("the queue").queue;
    assert!(queue.iter().all(|each| each.holds) && queue.len() == 2, "{queue:?}");
    kazoo.clients[1].must(&format!("lock read {}", path("boards")), "held").await;
    assert!(!is_free(&world.session, "boards", Style::Kazoo, Mode::Write).await);
    ours.release().await.expect("released");
    // Who holds it is shown, whatever client it is.
    kazoo.clients[0].must("unlock", "free").await;
    kazoo.clients[0].must(&format!("lock lock {}", path("shown")), "held").await;
    let shown = world.setkeeper(&["lock", "show", "shown", "-o", "json"]).await.stdout;
    let shown: Value = serde_json::from_slice(&shown).expect("JSON");
    let holder = &shown["queue"][0];
    assert_eq!((&holder["kind"], &holder["holds"]), (&"kazoo".into(), &true.into()));
    assert!(holder["text"].as_str().is_some_and(|text| text.starts_with("kazoo-")), "{holder}");
    let table = world.setkeeper(&["lock", "list"]).await.stdout;
    assert!(String::from_utf8_lossy(&table).contains("kazoo"));
    // One that is killed holds it until its session expires, and no longer.
    kazoo.signal(Signal::KILL);
    lock(&world.session, "shown", Style::Kazoo, Mode::Exclusive).await.release().await.expect("released");
}

#[tokio::test]
async fn curators_locks_and_ours_in_its_style_exclude_each_other() {
    let world = World::start().await;
    let mut curator = Process::start(Language::Java, &world.zookeeper.connect(), 2).await;
    both_ways(&world, &mut curator, "lock", Style::Curator, Mode::Exclusive).await;
    both_ways(&world, &mut curator, "write", Style::Curator, Mode::Shared).await;
    both_ways(&world, &mut curator, "read", Style::Curator, Mode::Write).await;
    curator.clients[0].must(&format!("lock read {}", path("boards")), "held").await;
    let ours = lock(&world.session, "boards", Style::Curator, Mode::Shared).await;
    curator.clients[1].must(&format!("lock read {}", path("boards")), "held").await;
    assert!(!is_free(&world.session, "boards", Style::Curator, Mode::Write).await);
    ours.release().await.expect("released");
    curator.clients[0].must("unlock", "free").await;
    curator.clients[0].must(&format!("lock lock {}", path("shown")), "held").await;
    let queue = world.session.lock_state("shown").await.expect("the queue").queue;
    assert_eq!((queue[0].kind, queue[0].holds, &queue[0].holder), (zk::Kind::Curator, true, &None));
    curator.signal(Signal::KILL);
    lock(&world.session, "shown", Style::Curator, Mode::Exclusive).await.release().await.expect("released");
}

/// Lets `ours` clients of setkeeper and the processes' clients take the lock, so many times each.
async fn contend(
    world: &World,
    name: &str,
    ours: usize,
    foreign: Vec<(Process, &'static str)>,
    times: u32,
) -> Arc<Monitor> {
    let monitor = Arc::new(Monitor::default());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..ours {
        let (session, monitor, name) = (session(world).await, monitor.clone(), name.to_owned());
        tasks.spawn(async move {
            for _ in 0..times {
                let held = lock(&session, &name, Style::Curator, Mode::Exclusive).await;
                monitor.enter_with(&format!("setkeeper {number}"), held.token());
                session.sync().await.expect("a round trip's time inside");
                monitor.leave();
                held.release().await.expect("released");
            }
        });
    }
    let mut kept = Vec::new();
    for (mut process, kind) in foreign {
        for (number, mut client) in std::mem::take(&mut process.clients).into_iter().enumerate() {
            let (monitor, path) = (monitor.clone(), path(name));
            tasks.spawn(async move {
                client.contend(kind, &path, times, &monitor, &format!("{kind} {number}")).await;
            });
        }
        kept.push(process);
    }
    let all = tokio::time::timeout(Duration::from_secs(300), tasks.join_all());
    all.await.expect("every client has had its turns");
    monitor
}

#[tokio::test]
async fn twenty_clients_of_three_kinds_never_hold_one_lock_together() {
    let world = World::start().await;
    let zookeeper = world.zookeeper.connect();
    let (kazoo, curator) = tokio::join!(
        Process::start(Language::Python, &zookeeper, 6),
        Process::start(Language::Java, &zookeeper, 7)
    );
    let monitor = contend(&world, "hot", 7, vec![(kazoo, "curator"), (curator, "lock")], 50).await;
    assert_eq!((monitor.turns(), monitor.met()), (1_000, Vec::<String>::new()));
    world.queued("hot", 0).await;
}

#[tokio::test]
async fn a_client_whose_names_the_others_do_not_see_is_caught() {
    let world = World::start().await;
    let zookeeper = world.zookeeper.connect();
    // kazoo's own lock, on a lock of Curator's style: the trap that docs/locks.md warns of.
    let kazoo = Process::start(Language::Python, &zookeeper, 4).await;
    let monitor = contend(&world, "trap", 4, vec![(kazoo, "lock")], 25).await;
    assert_eq!(monitor.turns(), 200);
    assert!(!monitor.met().is_empty(), "nobody met although kazoo's clients do not see ours");
}

#[tokio::test]
async fn curators_discovery_finds_what_is_registered_while_it_lives() {
    let world = World::start().await;
    let mut curator = Process::start(Language::Java, &world.zookeeper.connect(), 1).await;
    let find = "find /superset/test/services superset";
    let client = &mut curator.clients[0];
    client.must(find, "").await;
    let mut instance =
        ServiceInstance::new("superset", "node-1", "10.0.0.1", 8088, Millis(1_795_417_852_367));
    instance.payload = Some(serde_json::json!({"version": "6.1.0", "weight": 3}));
    let node = session(&world).await;
    let mut registration =
        node.register("superset", "node-1", &instance.to_json()).await.expect("registered");
    let found = "node-1@10.0.0.1:8088 {version=6.1.0, weight=3}";
    client.must(find, found).await;
    client.must("find-maps /superset/test/services superset", found).await;
    instance.payload = None;
    registration.update(&instance.to_json()).await.expect("updated");
    client.must(find, "node-1@10.0.0.1:8088 null").await;
    registration.withdraw().await.expect("withdrawn");
    client.must(find, "").await;
}
