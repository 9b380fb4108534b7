//! The fault injector: kills and stops processes at random, and starts them again.

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustix::process::Signal;
use testbed::Zookeeper;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::pipeline::{Launcher, Role, Worker};

/// Where a worker can be made to die.
const POINTS: [(Role, &[&str]); 3] = [
    (
        Role::Watcher,
        &[
            "watcher:before_append",
            "watcher:after_append",
            "watcher:before_tree_saved",
            "watcher:after_tree_saved",
            "watcher:before_canary",
            "watcher:after_canary",
        ],
    ),
    (
        Role::Applier,
        &["applier:before_commit", "applier:after_commit", "applier:before_ack", "applier:after_ack"],
    ),
    (
        Role::Auditor,
        &["auditor:before_commit", "auditor:after_commit", "auditor:before_ack", "auditor:after_ack"],
    ),
];

/// What was done, for the report.
#[derive(Debug, Default)]
pub(crate) struct Kills {
    wanted: u32,
    /// SIGKILL of a worker.
    pub(crate) killed: Cell<u32>,
    /// Deaths at fail points.
    pub(crate) failed: Cell<u32>,
    /// Workers that were stopped until a successor ran, and went on then.
    pub(crate) zombies: Cell<u32>,
    /// SIGKILL of ZooKeeper.
    pub(crate) zookeeper: Cell<u32>,
    /// SIGSTOP of ZooKeeper.
    pub(crate) stops: Cell<u32>,
}

impl Kills {
    /// Until there were so many.
    pub(crate) fn until(wanted: u32) -> Kills {
        Kills { wanted, ..Kills::default() }
    }

    /// Processes that died.
    pub(crate) fn dead(&self) -> u32 {
        self.killed.get() + self.failed.get() + self.zookeeper.get()
    }

    fn are_enough(&self) -> bool {
        self.dead() >= self.wanted
    }
}

fn count(counter: &Cell<u32>) {
    counter.set(counter.get() + 1);
}

/// Between so many milliseconds; chance chooses.
fn between(chance: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(chance.random_range(from..to))
}

/// Lets time pass: the fault injector's own clock, not a wait for a state.
async fn pass(time: Duration) {
    let _ = timeout(time, std::future::pending::<()>()).await;
}

/// Runs one role, life after life.
pub(crate) async fn torment(launcher: &Launcher, role: Role, kills: &Kills, seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let points = POINTS.iter().find(|(its, _)| *its == role).expect("a role with fail points").1;
    let mut zombie: Option<Worker> = None;
    while !kills.are_enough() {
        let fail = match chance.random_range(0..10) {
            0..4 => {
                let point = points[chance.random_range(0..points.len())];
                format!("{point}:{}", [0.05, 0.3, 1.0][chance.random_range(0..3)])
            }
            _ => String::new(),
        };
        let mut worker = launcher.spawn(role, &[("SETKEEPER_FAIL", &fail)]);
        let life = between(&mut chance, 50, 3_500);
        if let Some(mut old) = zombie.take() {
            // The old one wakes up while its successor runs.
            pass(life / 2).await;
            old.signal(Signal::CONT);
            pass(life / 4).await;
            old.kill().await;
            count(&kills.killed);
        }
        match worker.end(life).await {
            Some(status) => {
                let at_its_point = !fail.is_empty() && status.signal() == Some(Signal::ABORT.as_raw());
                assert!(at_its_point, "`{}` ended by itself: {status}; fail point `{fail}`", role.command());
                count(&kills.failed);
            }
            None if chance.random_bool(0.15) => {
                worker.signal(Signal::STOP);
                count(&kills.zombies);
                zombie = Some(worker);
            }
            None => {
                worker.kill().await;
                count(&kills.killed);
            }
        }
    }
}

/// Kills, stops and restarts ZooKeeper until the workers have died often enough.
pub(crate) async fn torment_zookeeper(
    zookeeper: &mut Zookeeper,
    kills: &Kills,
    seed: u64,
    end: &CancellationToken,
) {
    let mut chance = StdRng::seed_from_u64(seed);
    loop {
        let calm = between(&mut chance, 1_500, 6_000);
        if timeout(calm, end.cancelled()).await.is_ok() {
            return;
        }
        if chance.random_bool(0.5) {
            zookeeper.restart().await.expect("zookeeper starts");
            count(&kills.zookeeper);
        } else {
            zookeeper.stop_process().expect("zookeeper runs");
            pass(between(&mut chance, 100, 2_500)).await;
            zookeeper.cont().expect("zookeeper runs");
            count(&kills.stops);
        }
    }
}
