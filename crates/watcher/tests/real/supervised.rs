//! Terms one after the other, as the supervisor begins them.

use std::sync::Arc;

use change::Fence;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use watcher::{Advice, Phase, Stats, Watcher};

use super::bench::{Bench, ENV, WITHIN, reach, session};

pub(crate) struct Supervised {
    pub(crate) stats: Arc<Stats>,
    stop: CancellationToken,
    kill: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Supervised {
    pub(crate) async fn reach(&self, phase: Phase) {
        reach(&self.stats, phase).await;
    }

    /// Drops the term at hand wherever it is; the next one begins.
    pub(crate) fn kill(&self) {
        self.kill.notify_one();
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(WITHIN, self.task).await.expect("the supervisor ends in time").expect("no panic");
    }
}

impl Bench {
    /// Terms at this address, until they are asked to stop.
    pub(crate) fn supervise(&mut self, address: &str) -> Supervised {
        let first = self.terms + 1;
        self.terms += 10_000;
        let (stats, stop, kill) =
            (Arc::new(Stats::default()), CancellationToken::new(), Arc::new(Notify::new()));
        let (config, queue, generation) = (self.config.clone(), self.queue.clone(), self.generation);
        let (reported, stopped, killed) = (Arc::clone(&stats), stop.clone(), Arc::clone(&kill));
        let zookeeper = session(address);
        let task = tokio::spawn(async move {
            for czxid in first.. {
                let connected = tokio::select! {
                    () = stopped.cancelled() => return,
                    connected = zk::Session::connect(&zookeeper) => connected,
                };
                let Ok(session) = connected else { continue };
                let fence = Fence { generation: generation.n, czxid };
                let term = Watcher::new(config.clone(), session, queue.clone(), fence, generation, ENV)
                    .reporting(Arc::clone(&reported));
                let ended = tokio::select! {
                    () = killed.notified() => continue,
                    ended = term.run(stopped.clone()) => ended,
                };
                match ended {
                    Ok(_) => return,
                    Err(error) => assert_eq!(error.advice(), Advice::Restart, "{error:?}"),
                }
            }
        });
        Supervised { stats, stop, kill, task }
    }
}
