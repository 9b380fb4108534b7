//! Where a process can be made to die, to show that nothing is lost or done twice.

use std::str::FromStr;

/// A place to die at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailPoint {
    /// After everything was written, before COMMIT.
    BeforeCommit,
    /// After COMMIT, before the outcomes are relayed.
    AfterCommit,
    /// Before the outcomes are appended to the queue.
    BeforeAck,
    /// After the queue has acknowledged them, before the outbox forgets them.
    AfterAck,
}

/// A text that names nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is none of {known}")]
pub struct UnknownName {
    text: String,
    known: String,
}

fn named<T: Copy>(text: &str, names: &[(&str, T)]) -> Result<T, UnknownName> {
    let found = names.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        UnknownName { text: text.to_owned(), known: known.join(", ") }
    })
}

impl FromStr for FailPoint {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = [
            ("before-commit", FailPoint::BeforeCommit),
            ("after-commit", FailPoint::AfterCommit),
            ("before-ack", FailPoint::BeforeAck),
            ("after-ack", FailPoint::AfterAck),
        ];
        named(text, &names)
    }
}

impl FromStr for Broken {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = [
            ("position-after-commit", Broken::PositionAfterCommit),
            ("no-dedupe", Broken::NoDedupe),
            ("outbox-outside-transaction", Broken::OutboxOutsideTransaction),
            ("accept-old-fence", Broken::AcceptOldFence),
            ("computes-long", Broken::ComputesLong),
        ];
        named(text, &names)
    }
}

/// A place to die at, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fail {
    /// Where.
    pub at: FailPoint,
    /// Between 0 (never) and 1 (each time).
    pub probability: f64,
}

/// A fault that can be built in, so that the checkers can be shown to find it, or a hardship that must do no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Ledger and position are saved after the commit of the rows.
    PositionAfterCommit,
    /// A change that the ledger has already is applied again.
    NoDedupe,
    /// Outcomes are written after the commit.
    OutboxOutsideTransaction,
    /// The records of an old watcher are taken.
    AcceptOldFence,
    /// Each batch computes for two seconds.
    ComputesLong,
}

/// Dies here if that is asked for, as by `kill -9`.
pub(crate) fn pass(fail: Option<Fail>, here: FailPoint) {
    let Some(fail) = fail.filter(|fail| fail.at == here) else { return };
    // The low bits of a random uuid are as good a die as any, and need no further crate.
    let [.., die] = uuid::Uuid::new_v4().into_bytes();
    if f64::from(die) < fail.probability * 256.0 {
        std::process::abort();
    }
}

/// Does what [`Broken::ComputesLong`] says.
pub(crate) fn compute_long() {
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(2) {
        std::hint::spin_loop();
    }
}
