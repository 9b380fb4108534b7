use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use change::Millis;
use tokio::time::Instant;
use zk::{Config, Held, Holder, Kind, LockError, Lost, Mode, Session, Style};
use zookeeper_client::{Acls, CreateMode};

use super::proxy::{Lose, Proxy};
use super::{config, connect, environment, within};

fn holder(reason: &str) -> Holder {
    let reason = reason.to_owned();
    Holder { v: 1, host: "test".into(), pid: std::process::id(), reason, since: Millis(1), count: None }
}

async fn lock(session: &Session, name: &str, style: Style, mode: Mode) -> Held {
    within("the lock", session.lock(name, style, mode, &holder("test"))).await.unwrap()
}

async fn try_lock(session: &Session, name: &str, style: Style, mode: Mode) -> Option<Held> {
    within("an answer", session.try_lock(name, style, mode, &holder("test"))).await.unwrap()
}

/// Waits until so many are in the lock's queue.
async fn queued(session: &Session, name: &str, count: usize) {
    within("the queue", async {
        while session.lock_state(name).await.unwrap().queue.len() != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_holds_at_a_time_whatever_style_they_come_in() {
    let session = environment("lock").await;
    let (inside, most, turns) = (AtomicI32::new(0), AtomicI32::new(0), AtomicU32::new(0));
    let counters = Arc::new((inside, most, turns));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..6 {
        let (session, counters) = (session.clone(), counters.clone());
        let style = if number % 2 == 0 { Style::Curator } else { Style::Kazoo };
        let mode = if number % 3 == 0 { Mode::Write } else { Mode::Exclusive };
        tasks.spawn(async move {
            let mut last = None;
            for _ in 0..20 {
                let held = lock(&session, "mixed", style, mode).await;
                let now = counters.0.fetch_add(1, Ordering::SeqCst) + 1;
                counters.1.fetch_max(now, Ordering::SeqCst);
                assert!(Some(held.token()) > last);
                last = Some(held.token());
                session.sync().await.unwrap();
                counters.2.fetch_add(1, Ordering::SeqCst);
                counters.0.fetch_sub(1, Ordering::SeqCst);
                held.release().await.unwrap();
            }
        });
    }
    within("all turns", tasks.join_all()).await;
    assert_eq!((counters.1.load(Ordering::SeqCst), counters.2.load(Ordering::SeqCst)), (1, 120));
    assert!(session.locks().await.unwrap().is_empty());
}

#[tokio::test]
async fn readers_share_and_a_writer_comes_in_its_turn() {
    let session = environment("shared").await;
    for style in [Style::Curator, Style::Kazoo] {
        let one = lock(&session, "boards", style, Mode::Shared).await;
        let two = lock(&session, "boards", style, Mode::Shared).await;
        let writing = session.clone();
        let writer = tokio::spawn(async move { lock(&writing, "boards", style, Mode::Write).await });
        queued(&session, "boards", 3).await;
        // A reader that comes later stands behind the writer.
        assert!(try_lock(&session, "boards", style, Mode::Shared).await.is_none());
        one.release().await.unwrap();
        assert!(!writer.is_finished());
        two.release().await.unwrap();
        let writer = within("the writer", writer).await.unwrap();
        assert!(try_lock(&session, "boards", style, Mode::Exclusive).await.is_none());
        writer.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_counted_lock_lets_so_many_in() {
    let session = environment("counted").await;
    let two = Mode::Counted(NonZeroU32::new(2).unwrap());
    let first = lock(&session, "restart", Style::Curator, two).await;
    let second = lock(&session, "restart", Style::Curator, two).await;
    assert!(try_lock(&session, "restart", Style::Curator, two).await.is_none());
    let waiting = session.clone();
    let third = tokio::spawn(async move { lock(&waiting, "restart", Style::Curator, two).await });
    queued(&session, "restart", 3).await;
    let state = session.lock_state("restart").await.unwrap();
    assert_eq!(state.queue.iter().map(|each| each.holds).collect::<Vec<_>>(), [true, true, false]);
    // Not the oldest one goes: whoever waits must see that too.
    second.release().await.unwrap();
    let third = within("the third", third).await.unwrap();
    first.release().await.unwrap();
    third.release().await.unwrap();
}

#[tokio::test]
async fn whoever_gives_up_leaves_the_queue_at_every_point() {
    let session = environment("gives-up-lock").await;
    let held = lock(&session, "busy", Style::Curator, Mode::Exclusive).await;
    for answers in 0..12 {
        let me = holder("given up");
        let mut waiting = Box::pin(session.lock("busy", Style::Kazoo, Mode::Exclusive, &me));
        for _ in 0..answers {
            tokio::select! {
                biased;
                _ = &mut waiting => panic!("two hold it"),
                synced = session.client().sync("/") => synced.unwrap(),
            }
        }
        drop(waiting);
        queued(&session, "busy", 1).await;
    }
    drop(held);
    queued(&session, "busy", 0).await;
}

#[tokio::test]
async fn a_create_whose_request_or_answer_is_lost_makes_one_contender() {
    let session = environment("lossy-lock").await;
    let proxy = Proxy::start(super::server().await).await;
    let lossy = connect(&Config { connect: proxy.connect.clone(), ..config("lossy-lock").await }).await;
    for (lose, mode) in [
        (Lose::Create, Mode::Exclusive),
        (Lose::CreateAnswer, Mode::Exclusive),
        (Lose::CreateAnswer, Mode::Shared),
    ] {
        // The folder has to stand, or the create that is lost is its.
        lock(&session, "lossy", Style::Curator, Mode::Exclusive).await.release().await.unwrap();
        proxy.lose(lose);
        let held = lock(&lossy, "lossy", Style::Curator, mode).await;
        assert!(proxy.has_lost());
        let state = session.lock_state("lossy").await.unwrap();
        assert_eq!(state.queue.len(), 1, "{lose:?}: an orphan stands in the queue");
        assert_eq!(state.queue[0].key, held.key());
        held.release().await.unwrap();
        queued(&session, "lossy", 0).await;
    }
    // Given up while the outcome is open: what was created goes all the same.
    proxy.lose(Lose::CreateAnswer);
    let me = holder("given up");
    let mut waiting = Box::pin(lossy.lock("lossy", Style::Curator, Mode::Exclusive, &me));
    within("the loss", async {
        while !proxy.has_lost() {
            tokio::select! {
                biased;
                held = &mut waiting => panic!("{held:?} although the answer is lost"),
                () = tokio::task::yield_now() => {}
            }
        }
    })
    .await;
    drop(waiting);
    within("the clean up", async {
        lossy.sync().await.unwrap();
        queued(&session, "lossy", 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_broken_lock_is_lost_at_once_and_the_next_one_holds_it() {
    let session = environment("broken-lock").await;
    let mut held = lock(&session, "upgrade", Style::Curator, Mode::Exclusive).await;
    let token = held.token();
    let waiting = session.clone();
    let next = tokio::spawn(async move { lock(&waiting, "upgrade", Style::Curator, Mode::Exclusive).await });
    queued(&session, "upgrade", 2).await;
    let state = session.lock_state("upgrade").await.unwrap();
    assert_eq!(state.queue[0].holder.as_ref().unwrap().reason, "test");
    assert_eq!(
        (state.queue[0].kind, state.queue[0].holds, state.queue[1].holds),
        (Kind::Curator, true, false)
    );
    assert!(session.is_held(&held.key(), token).await.unwrap());
    assert!(session.break_lock("upgrade", &state.queue[0].znode).await.unwrap());
    assert!(!session.break_lock("upgrade", &state.queue[0].znode).await.unwrap());
    assert_eq!(within("the loss", held.lost()).await, Lost::Deleted);
    let next = within("the next", next).await.unwrap();
    assert!(next.token() > token && next.token().to_string() > token.to_string());
    assert!(!session.is_held(&held.key(), token).await.unwrap(), "the fence of a broken lock passes");
    assert!(session.is_held(&next.key(), next.token()).await.unwrap());
    assert!(!session.is_held(&next.key(), token).await.unwrap());
    for bad in [
        "",
        "/superset/broken-lock/locks/upgrade",
        "/other/locks/upgrade/x-0000000001",
        "/superset/broken-lock/locks/a/b",
    ] {
        assert!(matches!(session.is_held(bad, token).await, Err(LockError::Key { .. })), "{bad}");
    }
    session.approve_generation(7).await.unwrap();
    assert!(!session.is_held(&next.key(), next.token()).await.unwrap(), "a fence outlives its generation");
}

#[tokio::test]
async fn a_holder_cut_off_knows_before_the_next_one_holds() {
    environment("cut-lock").await;
    let proxy = Proxy::start(super::server().await).await;
    let cut = connect(&Config { connect: proxy.connect.clone(), ..config("cut-lock").await }).await;
    let mut held = lock(&cut, "upgrade", Style::Kazoo, Mode::Exclusive).await;
    let other = connect(&config("cut-lock").await).await;
    let waiting = other.clone();
    let next = tokio::spawn(async move {
        (lock(&waiting, "upgrade", Style::Kazoo, Mode::Exclusive).await, Instant::now())
    });
    queued(&other, "upgrade", 2).await;
    proxy.lose(Lose::Everything);
    let lost = within("the loss", held.lost()).await;
    let (known, safe) = (Instant::now(), held.safe_until());
    assert!(matches!(lost, Lost::Silent(_)), "{lost}");
    assert!(safe > known + Duration::from_millis(500), "no time is left to end what runs");
    let (next, since) = within("the next", next).await.unwrap();
    assert!(safe <= since, "the server has expired the session {:?} too early", safe - since);
    assert!(next.token() > held.token());
}

#[tokio::test]
async fn a_lock_that_nobody_has_awaited_is_looked_at_before_it_is_relied_on() {
    let session = environment("confirm-lock").await;
    let mut held = lock(&session, "upgrade", Style::Curator, Mode::Exclusive).await;
    let before = held.safe_until();
    assert_eq!(within("a look", held.confirm()).await, Ok(()));
    assert!(held.safe_until() > before, "the look counts as a sign of life");
    let znode = session.lock_state("upgrade").await.unwrap().queue[0].znode.clone();
    assert!(session.break_lock("upgrade", &znode).await.unwrap());
    assert_eq!(within("a look", held.confirm()).await, Err(Lost::Deleted));
}

#[tokio::test]
async fn what_is_noted_stands_in_the_znode() {
    let session = environment("noted").await;
    let (mut held, reporter) = session.elect("applier-a", "host pid 1").await.unwrap();
    let watching = session.clone();
    let told = tokio::spawn(async move {
        within("the report", async {
            loop {
                let elected = watching.elected("applier-").await.unwrap();
                let worker = elected[0].worker.clone().unwrap();
                assert_eq!(worker.holder, "host pid 1");
                if worker.doing == "paused" {
                    return worker;
                }
            }
        })
        .await
    });
    for _ in 0..50 {
        reporter.doing("running");
    }
    reporter.detail(serde_json::json!({"healthy": true}));
    reporter.paused(change::Zxid(7));
    let worker = tokio::select! {
        lost = held.lost() => panic!("{lost}"),
        worker = told => worker.unwrap(),
    };
    assert_eq!((worker.pause, worker.detail), (Some(change::Zxid(7)), serde_json::json!({"healthy": true})));
    held.release().await.unwrap();
    assert!(session.elected("applier-").await.unwrap().is_empty());
}

#[tokio::test]
async fn foreign_contenders_are_shown_as_what_they_are() {
    let session = environment("foreign").await;
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    session.client().mkdir("/locks/alien", &options).await.unwrap();
    let sequential = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    let create = async |name: &str, data: &[u8]| {
        session.client().create(&format!("/locks/alien/{name}"), data, &sequential).await.unwrap();
    };
    create("6f8c2e5f0b8a4c6f9d51c0c4a9d6f0aa__lock__", b"web-1.example").await;
    create("_c_9a3f57a1-8a3b-4c4b-8f11-0d0a6b8f7a55-lock-", b"10.0.0.1").await;
    create("n_", b"\x1b[31m\xff").await;
    let state = session.lock_state("alien").await.unwrap();
    let shown: Vec<_> = state.queue.iter().map(|each| (each.kind, each.holds, each.text.as_str())).collect();
    let expected = [
        (Kind::Kazoo, true, "web-1.example"),
        (Kind::Curator, false, "10.0.0.1"),
        (Kind::Unknown, false, "\u{1b}[31m\u{fffd}"),
    ];
    assert_eq!(shown, expected);
    assert!(state.queue.iter().all(|each| each.holder.is_none()));
    assert!(try_lock(&session, "alien", Style::Curator, Mode::Shared).await.is_none());
    assert_eq!(session.locks().await.unwrap(), [state]);
}

#[tokio::test]
async fn a_pause_of_ones_own_is_ended_and_nobody_elses() {
    let session = environment("own-pause").await;
    let own = zk::Pause {
        v: 1,
        by: "ops".into(),
        reason: "upgrade".into(),
        since: Millis(5),
        lock: Some("/superset/own-pause/locks/upgrade/x".into()),
    };
    let (standing, written) = session.pause_unless_paused(&own).await.unwrap();
    assert_eq!(standing, own);
    assert_eq!(session.pause_unless_paused(&own).await.unwrap(), (own.clone(), written), "again is the same");
    let watch = session.watch_pause().await.unwrap();
    assert_eq!((watch.current(), watch.written()), (Some(&own), Some(written)));
    let other = session.pause("ana", "incident", Millis(9)).await.unwrap();
    assert!(!session.resume_from(&own).await.unwrap());
    assert_eq!(session.pause_unless_paused(&own).await.unwrap().0, other);
    // Taken over, it is no longer for whoever made it to end.
    assert_eq!(session.take_pause_over(&own, &own).await.unwrap(), None);
    let taken = zk::Pause { reason: "later".into(), ..own.clone() };
    let (_, before) = session.pause_unless_paused(&own).await.unwrap();
    let after = session.take_pause_over(&other, &taken).await.unwrap().expect("it stood");
    assert!(after > before);
    assert_eq!(session.pause_unless_paused(&own).await.unwrap(), (taken, after));
    assert!(!session.resume_from(&other).await.unwrap());
    session.resume().await.unwrap();
    session.pause_unless_paused(&own).await.unwrap();
    assert!(session.resume_from(&own).await.unwrap());
    assert!(!session.resume_from(&own).await.unwrap());
    assert_eq!(session.paused().await.unwrap(), None);
}
