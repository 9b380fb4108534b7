//! What the watcher shows of itself.

use std::sync::atomic::{AtomicU64, Ordering};

use change::Millis;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What the watcher is at. `setkeeper status` reads it in `tree` under the key `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading the log.
    Starting,
    /// Comparing ZooKeeper with the log.
    Reconciling,
    /// Sending every live path.
    Resyncing,
    /// Following the changes.
    Streaming,
    /// Waiting for room in the queue.
    Full,
    /// Without a connection.
    Disconnected,
    /// Waiting for a person to look at the ensemble and approve a new generation.
    Frozen,
}

/// The watcher's phase with its reason and beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What it is at.
    pub state: Phase,
    /// Why, for a person.
    pub reason: String,
    /// Since when, by the watcher's clock.
    pub since: Millis,
    /// `n` of the generation that the watcher works in.
    pub generation: u64,
}

/// Counters since the start of the process, and the state. One may serve several terms, one after the other.
#[derive(Debug)]
pub struct Stats {
    /// Records appended.
    pub appended: AtomicU64,
    /// Changes in them.
    pub changes: AtomicU64,
    /// Resyncs completed.
    pub resyncs: AtomicU64,
    /// Connections that were lost and came back.
    pub reconnects: AtomicU64,
    /// Changes that only a reconciliation found although the stream claimed to be past them. Expected to be 0.
    pub silent_misses: AtomicU64,
    /// Times that the canary's event did not come.
    pub silent_canaries: AtomicU64,
    /// Versions that were overwritten before they could be read.
    pub missed_versions: AtomicU64,
    /// Reads that were refused (`NoAuth`), a subtree counting once a snapshot.
    pub unreadable: AtomicU64,
    /// Edit records that could not be understood.
    pub bad_edits: AtomicU64,
    /// The state.
    pub state: watch::Sender<State>,
}

impl Default for Stats {
    fn default() -> Self {
        let state = State { state: Phase::Starting, reason: String::new(), since: Millis(0), generation: 0 };
        Stats {
            appended: AtomicU64::default(),
            changes: AtomicU64::default(),
            resyncs: AtomicU64::default(),
            reconnects: AtomicU64::default(),
            silent_misses: AtomicU64::default(),
            silent_canaries: AtomicU64::default(),
            missed_versions: AtomicU64::default(),
            unreadable: AtomicU64::default(),
            bad_edits: AtomicU64::default(),
            state: watch::Sender::new(state),
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
