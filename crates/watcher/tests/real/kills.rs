//! The watcher as a process of its own that dies at every fail point.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use change::Fence;
use queue::Queue;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use watcher::{Config, Fail, FailPoint, Watcher};

use super::bench::{Bench, ENV, WITHIN, connect};
use super::chaos::{Done, Random, write};

/// What the child is told: address, queue file, generation, czxid of the fence, fail point.
const TOLD: &str = "SETKEEPER_TEST_WATCHER";
const NAME: &str = "real::kills::a_watcher_that_dies_at_any_point_loses_nothing_and_invents_nothing";

/// SIGABRT.
const ABORTED: i32 = 6;

const POINTS: [&str; 6] = [
    "before-append",
    "after-append",
    "before-tree-saved",
    "after-tree-saved",
    "before-canary",
    "after-canary",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_dies_at_any_point_loses_nothing_and_invents_nothing() {
    if let Ok(told) = std::env::var(TOLD) {
        return die(&told).await;
    }
    let (mut random, mut done) = (Random::seeded(), Done::default());
    let mut bench = Bench::start().await;
    // The first resync takes only the edits that explain what stands.
    bench.stream().await.stop().await;
    let mut step = 0;
    for _ in 0..2 {
        for point in POINTS {
            let mut child = spawn(&mut bench, point);
            // Writes go on until the child is dead.
            let died = loop {
                write(&mut bench, &mut random, &mut done, step).await;
                step += 1;
                assert!(step < 20_000, "{point} was not reached");
                if let Some(died) = child.try_wait().expect("a child") {
                    break died;
                }
            };
            assert_eq!(died.signal(), Some(ABORTED), "{point}: {died}");
        }
        let running = bench.stream().await;
        bench.put("last", "1").await;
        bench.until_equal().await;
        running.stop().await;
    }
    done.verify(&bench);
}

fn spawn(bench: &mut Bench, point: &str) -> Child {
    bench.terms += 1;
    let generation = serde_json::to_string(&bench.generation).expect("json");
    let told = [
        bench.zookeeper.connect(),
        bench.file.display().to_string(),
        generation,
        bench.terms.to_string(),
        point.to_owned(),
    ];
    Command::new(std::env::current_exe().expect("this test"))
        .args([NAME, "--exact"])
        .env(TOLD, told.join("\n"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("a child")
}

/// One term that ends at its fail point.
async fn die(told: &str) {
    let [address, file, generation, czxid, point] = told.split('\n').collect::<Vec<_>>()[..] else {
        panic!("five lines")
    };
    let point: FailPoint = point.parse().expect("a fail point");
    let config = Config {
        canary_every: Duration::from_millis(50),
        checkpoint_every: Duration::from_millis(50),
        fail: Some(Fail { point, probability: 0.3 }),
        ..Config::default()
    };
    let queue = Queue::embedded(&queue::Config::new(file)).await.expect("the queue");
    let generation: change::Generation = serde_json::from_str(generation).expect("a generation");
    let fence = Fence { generation: generation.n, czxid: czxid.parse().expect("a czxid") };
    let term = Watcher::new(config, connect(address).await, queue, fence, generation, ENV);
    let ended = timeout(WITHIN, term.run(CancellationToken::new())).await;
    panic!("the fail point was not reached: {ended:?}");
}
