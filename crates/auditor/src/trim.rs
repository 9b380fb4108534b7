//! Trimming the queue: below what is on record, below what the watcher's next term folds, and only what is old.

use change::Topic;
use queue::{Position, Queue, StoreError};

use crate::run::Config;

/// The key of the topic `tree` under which the watcher keeps where its checkpoint stands.
const CHECKPOINT: &str = "checkpoint";

#[derive(serde::Deserialize)]
struct Checkpoint {
    position: String,
}

/// Removes at most one portion of each topic; returns how many records went.
///
/// Positions of appliers do not count: one that finds its position trimmed resynchronises, and none may hold the
/// queue.
pub(crate) async fn trim(
    queue: &Queue,
    env: &str,
    config: &Config,
    changes: Option<&Position>,
    outcomes: Option<&Position>,
) -> Result<usize, StoreError> {
    let mut trimmed = 0;
    let below = match changes {
        Some(recorded) => below(recorded, checkpoint(queue, env).await?.as_ref()),
        None => None,
    };
    let each = [(Topic::Changes, below), (Topic::Outcomes, outcomes.map(|position| position.offset))];
    for (topic, below) in each {
        let Some(below) = below else { continue };
        trimmed += queue.trim(&topic.name(env), below, config.keep_queue, config.trim_records).await?;
    }
    Ok(trimmed)
}

async fn checkpoint(queue: &Queue, env: &str) -> Result<Option<Position>, StoreError> {
    let bytes = queue.latest_one(&Topic::Tree.name(env), CHECKPOINT).await?;
    let read = |bytes: Vec<u8>| serde_json::from_slice::<Checkpoint>(&bytes).ok()?.position.parse().ok();
    Ok(bytes.and_then(read))
}

/// Below which offset nobody needs the changes. `None`: nothing may go, since the watcher's checkpoint is not
/// there or is of another log.
fn below(recorded: &Position, checkpoint: Option<&Position>) -> Option<i64> {
    checkpoint
        .filter(|checkpoint| checkpoint.log == recorded.log)
        .map(|checkpoint| checkpoint.offset.min(recorded.offset))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(log: u128, offset: i64) -> Position {
        Position { offset, ..Position::start(Uuid::from_u128(log)) }
    }

    #[test]
    fn nothing_goes_that_the_watcher_would_fold_again() {
        assert_eq!(below(&at(1, 90), Some(&at(1, 40))), Some(40));
        assert_eq!(below(&at(1, 90), Some(&at(1, 140))), Some(90));
        assert_eq!(below(&at(1, 90), Some(&at(2, 40))), None);
        assert_eq!(below(&at(1, 90), None), None);
    }
}
