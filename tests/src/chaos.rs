//! Kill loops with a history checker.
//!
//! A writer changes a small world in ZooKeeper all the time; every write carries a number greater than any before.
//! Meanwhile the workers, each in a process of its own, are killed at random and at fail points, stopped and woken
//! beside their successors, and ZooKeeper itself is killed and stopped. Afterwards all must come to rest, and
//! [`checker`] judges what [`evidence`] has gathered. `broken` shows that the checker can fail.

mod broken;
mod checker;
mod effects;
mod evidence;
mod torment;
mod world;
mod writer;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::pipeline::{Metadata, Options, Pipeline, Program, Role};
use checker::{check, stories};
use evidence::Evidence;
use torment::{Kills, torment, torment_zookeeper};
use writer::Writer;

const WORKERS: [Role; 3] = [Role::Watcher, Role::Applier, Role::Auditor];

#[tokio::test]
async fn nothing_is_lost_or_done_twice_over_kills_with_sqlite() {
    kill_loop(Metadata::Sqlite).await;
}

#[tokio::test]
async fn nothing_is_lost_or_done_twice_over_kills_with_postgresql() {
    kill_loop(Metadata::Postgres).await;
}

async fn kill_loop(metadata: Metadata) {
    let wanted = from_environment("SETKEEPER_KILLS", 60);
    let seed = from_environment("SEED", u64::from(uuid::Uuid::new_v4().as_fields().0));
    println!("{metadata:?}: SEED={seed}, {wanted} kills");
    let began = Instant::now();
    let mut pipeline = Pipeline::start(metadata, options().idle()).await;
    effects::install(&pipeline).await;
    let kills = Kills::until(u32::try_from(wanted).expect("a number of kills"));
    let mut writer = Writer::new(&pipeline.zookeeper.connect(), seed).await;
    let (enough, quiet) = (CancellationToken::new(), CancellationToken::new());
    let launcher = pipeline.launcher.clone();
    let workers = async {
        let [watcher, applier, auditor] = WORKERS;
        tokio::join!(
            torment(&launcher, watcher, &kills, seed + 1),
            torment(&launcher, applier, &kills, seed + 2),
            torment(&launcher, auditor, &kills, seed + 3),
        );
        enough.cancel();
    };
    let servers = async {
        torment_zookeeper(&mut pipeline.zookeeper, &kills, seed + 4, &enough).await;
        quiet.cancel();
    };
    tokio::join!(workers, servers, writer.run(&quiet));
    writer.complete().await;
    let tormented = began.elapsed();
    pipeline.reconnect().await;
    for role in WORKERS {
        pipeline.start_worker(role).await;
    }
    pipeline.await_equal().await;
    let evidence = Evidence::gather(&pipeline, std::mem::take(&mut writer.journal)).await;
    report(&evidence, &kills, writer.troubles, tormented, began.elapsed());
    let missing = kills.missing();
    assert!(missing.is_empty(), "SEED={seed}: this run has not done {missing:?}");
    let violations = check(&evidence);
    assert!(violations.is_empty(), "SEED={seed}: {violations:#?}\n{}", stories(&evidence, &violations));
}

/// Short sessions, so that a killed worker's successor does not wait long; no guard, since the writer deletes a lot.
fn options() -> Options {
    Options { program: Program::Faults, tick: Duration::from_millis(250), ..Options::default() }
        .set("deletes.guard_count", 1_000_000)
        .set("zookeeper.canary_every", "500ms")
        .set("zookeeper.canary_within", "1s")
        .set("watcher.checkpoint_every", "1s")
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn report(evidence: &Evidence, kills: &Kills, troubles: usize, tormented: Duration, all: Duration) {
    println!(
        "{} kills ({} workers, {} at fail points, {} ZooKeeper; {} zombies, {} stops of ZooKeeper, {} requests) in {tormented:.1?}; \
         {} writes ({troubles} in trouble), {} deliveries ({} again, {} resyncs), {} outcomes, {} effects; all in {all:.1?}",
        kills.dead(),
        kills.killed.get(),
        kills.failed.get(),
        kills.zookeeper.get(),
        kills.zombies.get(),
        kills.stops.get(),
        kills.requests.get(),
        evidence.journal.len(),
        evidence.deliveries.len(),
        evidence.deliveries.len() - evidence.deliveries.iter().collect::<BTreeSet<_>>().len(),
        evidence.resyncs,
        evidence.outcomes.len(),
        evidence.effects.len(),
    );
}
