//! Counters for metrics.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::changes::Counts;
use crate::facts::Stream;

/// What the auditor has done since it was built, and where it stands. Shared with whoever serves metrics.
#[derive(Debug, Default)]
pub struct Stats {
    changes: AtomicU64,
    outcomes: AtomicU64,
    events: AtomicU64,
    duplicates: AtomicU64,
    dropped: AtomicU64,
    batches: AtomicU64,
    trimmed: AtomicU64,
    rows: AtomicI64,
    effective: AtomicI64,
    resync_needed: AtomicBool,
}

/// The values of [`Stats`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Changes recorded.
    pub changes: u64,
    /// Outcomes recorded.
    pub outcomes: u64,
    /// Events recorded (terms, resyncs, gaps, conflicts, unreadable records).
    pub events: u64,
    /// Changes and outcomes that came again and were on record.
    pub duplicates: u64,
    /// Records dropped because a watcher with a higher fence had written before them.
    pub dropped: u64,
    /// Transactions committed.
    pub batches: u64,
    /// Records removed from the queue.
    pub trimmed: u64,
    /// Rows in the chain.
    pub rows: i64,
    /// Effective time of the last record, in milliseconds since 1970 UTC.
    pub effective: i64,
    /// Whether the log left something untold: a resync is wanted, and until it ends paths that are gone may
    /// still stand as live.
    pub resync_needed: bool,
}

impl Stats {
    /// Reads all values.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            changes: get(&self.changes),
            outcomes: get(&self.outcomes),
            events: get(&self.events),
            duplicates: get(&self.duplicates),
            dropped: get(&self.dropped),
            batches: get(&self.batches),
            trimmed: get(&self.trimmed),
            rows: self.rows.load(Ordering::Relaxed),
            effective: self.effective.load(Ordering::Relaxed),
            resync_needed: self.resync_needed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn committed(&self, counts: Counts, stream: &Stream) {
        let add = |counter: &AtomicU64, count| counter.fetch_add(count, Ordering::Relaxed);
        add(&self.changes, counts.changes);
        add(&self.outcomes, counts.outcomes);
        add(&self.events, counts.events);
        add(&self.duplicates, counts.duplicates);
        add(&self.dropped, counts.dropped);
        add(&self.batches, 1);
        self.stands(stream);
    }

    pub(crate) fn stands(&self, stream: &Stream) {
        self.rows.store(stream.head.seq, Ordering::Relaxed);
        self.effective.store(stream.effective.0, Ordering::Relaxed);
        self.resync_needed.store(stream.resync_needed.is_some(), Ordering::Relaxed);
    }

    pub(crate) fn trimmed(&self, records: usize) {
        self.trimmed.fetch_add(records as u64, Ordering::Relaxed);
    }
}
