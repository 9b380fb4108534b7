//! Waiting for a state, with a deadline.

use std::fmt::Debug;
use std::time::Duration;

/// How long a state may take to come. Generous: machines that run tests are busy.
const DEADLINE: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `look` gives something: `Err` says what it saw instead, and is told at the deadline.
pub(crate) async fn until<T, W: Debug>(what: &str, look: impl AsyncFnMut() -> Result<T, W>) -> T {
    until_or_tell(what, look, String::new).await
}

/// The same, and tells the logs as well.
pub(crate) async fn until_or_tell<T, W: Debug>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, W>,
    logs: impl FnOnce() -> String,
) -> T {
    let mut last = None;
    let looking = async {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match look().await {
                Ok(found) => return found,
                Err(seen) => last = Some(seen),
            }
        }
    };
    match tokio::time::timeout(DEADLINE, looking).await {
        Ok(found) => found,
        Err(_) => panic!("not seen within {DEADLINE:?}: {what}; last: {last:#?}\n{}", logs()),
    }
}
