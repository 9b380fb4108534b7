//! When the operator's `scale_command` is to be called: pure.

use std::time::Duration;

use change::Millis;
use serde::{Deserialize, Serialize};

/// The newest call of the hook, as all agents see it at `control/scale/<service>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Format, 1.
    pub v: u32,
    /// When it ended, or began if it runs, by the clock of the node that called.
    pub at: Millis,
    /// The node that called.
    pub by: String,
    /// How many nodes were wanted.
    pub wanted: u32,
    /// How many there were.
    pub present: u32,
    /// Whether it had begun only: a node that is lost meanwhile leaves it so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub running: bool,
    /// What went wrong, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The bounds of scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How long a difference must stand before the hook is called.
    pub settle: Duration,
    /// How long after a call the next one comes for the same count.
    pub retry: Duration,
}

/// What is wanted and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Nodes that `settings/scale/<service>` asks for.
    pub wanted: u32,
    /// Nodes whose agent runs, registered or not: one that restarts is no missing one.
    pub present: u32,
}

/// Remembers since when the counts have differed as they do now.
#[derive(Debug, Clone, Default)]
pub struct Scaler {
    differs: Option<(Counts, Millis)>,
}

impl Scaler {
    /// Takes what is seen now. Gives how long to wait until the hook is due: zero if it is now, `None` if there is
    /// nothing to do.
    pub fn due(
        &mut self,
        now: Millis,
        counts: Option<Counts>,
        last: Option<&Call>,
        bounds: Bounds,
    ) -> Option<Duration> {
        let Some(counts) = counts.filter(|counts| counts.wanted != counts.present) else {
            self.differs = None;
            return None;
        };
        let since = match self.differs {
            Some((before, since)) if before == counts => since,
            _ => now,
        };
        self.differs = Some((counts, since));
        let mut at = since.0.saturating_add(millis(bounds.settle));
        // A call whose end lies ahead is another node's clock: it counts as one of now.
        if let Some(last) = last.filter(|last| last.wanted == counts.wanted) {
            at = at.max(last.at.0.min(now.0).saturating_add(millis(bounds.retry)));
        }
        Some(Duration::from_millis(u64::try_from(at.saturating_sub(now.0)).unwrap_or(0)))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { settle: Duration::from_millis(100), retry: Duration::from_millis(1000) };

    fn call(at: i64, wanted: u32) -> Call {
        Call { v: 1, at: Millis(at), by: "a".to_owned(), wanted, present: 1, running: false, failed: None }
    }

    fn check(
        scaler: &mut Scaler,
        now: i64,
        (wanted, present): (u32, u32),
        last: Option<&Call>,
        due: Option<u64>,
    ) {
        let told = scaler.due(Millis(now), Some(Counts { wanted, present }), last, BOUNDS);
        assert_eq!(told, due.map(Duration::from_millis), "at {now}");
    }

    #[test]
    fn the_hook_is_due_once_a_difference_has_stood_for_a_while() {
        let mut scaler = Scaler::default();
        check(&mut scaler, 0, (2, 2), None, None);
        check(&mut scaler, 10, (3, 2), None, Some(100));
        check(&mut scaler, 60, (3, 2), None, Some(50));
        check(&mut scaler, 70, (3, 1), None, Some(100));
        check(&mut scaler, 170, (3, 1), None, Some(0));
        check(&mut scaler, 180, (3, 3), None, None);
        check(&mut scaler, 190, (3, 2), None, Some(100));
        assert_eq!(scaler.due(Millis(200), None, None, BOUNDS), None);
    }

    #[test]
    fn after_a_call_the_next_for_the_same_count_waits() {
        let mut scaler = Scaler::default();
        let last = call(50, 3);
        check(&mut scaler, 60, (3, 2), Some(&last), Some(990));
        check(&mut scaler, 1050, (3, 2), Some(&last), Some(0));
        check(&mut scaler, 1050, (4, 2), Some(&last), Some(100));
    }

    #[test]
    fn a_clock_ahead_puts_the_next_call_off_by_no_more_than_the_pause() {
        let mut scaler = Scaler::default();
        check(&mut scaler, 0, (3, 2), Some(&call(900_000, 3)), Some(1000));
    }
}
