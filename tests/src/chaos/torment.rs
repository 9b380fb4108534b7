//! The fault injector: kills and stops processes at random, and starts them again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
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

/// For a worker to reach its fail point, ZooKeeper's own faults included.
const DIES_WITHIN: Duration = Duration::from_secs(60);

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
    /// Resyncs asked for.
    pub(crate) requests: Cell<u32>,
    /// The fail points that somebody died at.
    points: RefCell<BTreeSet<&'static str>>,
    /// What was done to each role, by its command.
    roles: RefCell<BTreeSet<(&'static str, Fate)>>,
}

/// What may be done to a worker besides a fail point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Killed,
    Stopped,
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

    /// What was never done, although every run is to do it.
    pub(crate) fn missing(&self) -> Vec<String> {
        let (points, roles) = (self.points.borrow(), self.roles.borrow());
        let mut missing = Vec::new();
        for (role, its) in POINTS {
            missing.extend(
                its.iter()
                    .filter(|point| !points.contains(*point))
                    .map(|point| format!("a death at {point}")),
            );
            for fate in [Fate::Killed, Fate::Stopped] {
                if !roles.contains(&(role.command(), fate)) {
                    missing.push(format!("{fate:?} {}", role.command()));
                }
            }
        }
        let servers =
            [("a kill", &self.zookeeper), ("a stop", &self.stops), ("a resync on request", &self.requests)];
        missing.extend(
            servers
                .iter()
                .filter(|(_, count)| count.get() == 0)
                .map(|(what, _)| format!("{what} of ZooKeeper")),
        );
        missing
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

/// Runs one role, life after life: first one for each of its fail points, then a kill and a stop, then as chance has it.
pub(crate) async fn torment(launcher: &Launcher, role: Role, kills: &Kills, seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let points = POINTS.iter().find(|(its, _)| *its == role).expect("a role with fail points").1;
    for point in points {
        let mut worker = launcher.spawn(role, &[("SETKEEPER_FAIL", &format!("{point}:1"))]);
        worker.abort(DIES_WITHIN).await;
        count(&kills.failed);
        kills.points.borrow_mut().insert(point);
    }
    let mut zombie: Option<Worker> = None;
    let mut fates = vec![Fate::Killed, Fate::Stopped];
    while !kills.are_enough() || !fates.is_empty() || zombie.is_some() {
        let fail = match chance.random_range(0..10) {
            0..4 if fates.is_empty() => {
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
        let by_chance = if chance.random_bool(0.15) { Fate::Stopped } else { Fate::Killed };
        match worker.end(life).await {
            Some(status) => {
                let at_its_point = !fail.is_empty() && status.signal() == Some(Signal::ABORT.as_raw());
                assert!(at_its_point, "`{}` ended by itself: {status}; fail point `{fail}`", role.command());
                count(&kills.failed);
            }
            None => {
                let fate = fates.pop().unwrap_or(by_chance);
                kills.roles.borrow_mut().insert((role.command(), fate));
                match fate {
                    Fate::Stopped => {
                        worker.signal(Signal::STOP);
                        count(&kills.zombies);
                        zombie = Some(worker);
                    }
                    Fate::Killed => {
                        worker.kill().await;
                        count(&kills.killed);
                    }
                }
            }
        }
    }
}

/// What is done to ZooKeeper.
enum Fault {
    Kill,
    Stop,
    Resync,
}

/// Kills, stops and restarts ZooKeeper until the workers have died often enough, and asks for a resync now and then; each
/// once at the least.
pub(crate) async fn torment_zookeeper(
    zookeeper: &mut Zookeeper,
    kills: &Kills,
    seed: u64,
    end: &CancellationToken,
) {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut first = vec![Fault::Kill, Fault::Stop, Fault::Resync];
    loop {
        let calm = between(&mut chance, 1_500, 6_000);
        if timeout(calm, end.cancelled()).await.is_ok() && first.is_empty() {
            return;
        }
        let by_chance = match chance.random_range(0..9) {
            0..4 => Fault::Kill,
            4..8 => Fault::Stop,
            _ => Fault::Resync,
        };
        match first.pop().unwrap_or(by_chance) {
            Fault::Kill => {
                zookeeper.restart().await.expect("zookeeper starts");
                count(&kills.zookeeper);
            }
            Fault::Stop => {
                zookeeper.stop_process().expect("zookeeper runs");
                pass(between(&mut chance, 100, 2_500)).await;
                zookeeper.cont().expect("zookeeper runs");
                count(&kills.stops);
            }
            Fault::Resync => {
                let session = crate::pipeline::connect(&zookeeper.connect()).await;
                session.request_resync("the kill loop").await.expect("a request");
                count(&kills.requests);
            }
        }
    }
}
