//! Waiting for what a write came to, on the topic `outcomes`.

use std::collections::BTreeMap;
use std::time::Duration;

use change::{ChangeId, Outcome, Topic, Verdict, wire};
use queue::{Position, Queue};
use serde::Serialize;
use tokio::time::Instant;

use super::existing_queue;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{Printed, table};

/// Where to read on from, taken before the write.
pub(crate) struct Waiting {
    queue: Queue,
    topic: String,
    from: Position,
}

/// What one change came to at one target.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Came {
    path: String,
    /// Empty of a write that was not waited for.
    #[serde(skip_serializing_if = "String::is_empty")]
    target: String,
    #[serde(flatten)]
    verdict: Option<Verdict>,
}

/// What all changes of a write came to.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    edits: Vec<String>,
    outcomes: Vec<Came>,
}

/// How long a worker that was just started may take to make the queue.
const QUEUE_GRACE: Duration = Duration::from_secs(5);

/// How long a held change may still be set free by what was written with it.
const HELD_GRACE: Duration = Duration::from_secs(2);

impl Waiting {
    /// Notes where the topic ends now.
    ///
    /// # Errors
    /// The queue cannot be opened here within [`QUEUE_GRACE`]: `--wait` needs the queue's file, so it works where the workers run.
    pub(crate) async fn begin(config: &Config) -> Result<Waiting, Failure> {
        const HINT: &str =
            "--wait reads the outcomes from the queue; run it where the workers run, or leave --wait out";
        let failed = |error: &dyn std::error::Error| Failure::of(Exit::Unreachable, error).hint(HINT);
        let deadline = Instant::now() + QUEUE_GRACE;
        let queue = loop {
            match existing_queue(config).await.map_err(|error| failed(&error))? {
                Some(queue) => break queue,
                None if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
                None => {
                    let path = config.queue.path.display();
                    let what = format!("the queue `{path}` is not there: no worker has run here");
                    return Err(Failure::new(Exit::Unreachable, what).hint(HINT));
                }
            }
        };
        let topic = Topic::Outcomes.name(&config.env);
        let from = queue.end(&topic).await.map_err(|error| failed(&error))?;
        Ok(Waiting { queue, topic, from })
    }

    /// Waits until each of `changes` has a final outcome at each target, for at most `max`. Once all have one and some
    /// are held, nothing but a later change, or a person, sets those free: that is waited for only [`HELD_GRACE`].
    ///
    /// # Errors
    /// The queue cannot be read.
    pub(crate) async fn outcomes(
        mut self,
        config: &Config,
        parts: &[zk::WrittenPart],
        max: Duration,
    ) -> Result<Results, Failure> {
        let changes: Vec<&ChangeId> = parts.iter().flat_map(|part| &part.changes).collect();
        let targets: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
        let mut known: BTreeMap<(usize, String), Outcome> = BTreeMap::new();
        let deadline = Instant::now() + max;
        let wanted = changes.len() * targets.len();
        while known.values().filter(|outcome| outcome.verdict.is_final()).count() < wanted {
            let reading = self.queue.next_batch(&self.topic, &self.from, 256, 16 << 20);
            let until =
                if known.len() < wanted { deadline } else { deadline.min(Instant::now() + HELD_GRACE) };
            let Ok(batch) = tokio::time::timeout_at(until, reading).await else { break };
            let batch = batch.map_err(|error| Failure::of(Exit::Failed, &error))?;
            self.from = batch.next;
            for entry in &batch.entries {
                let outcome = wire::decode_outcome(&entry.headers, &entry.body)
                    .map_err(|error| Failure::of(Exit::Failed, &error))?;
                for index in (0..changes.len()).filter(|index| answers(&outcome, changes[*index])) {
                    known.insert((index, outcome.target.clone()), outcome.clone());
                }
            }
        }
        let came = |(index, id): (usize, &&ChangeId)| {
            let outcomes: Vec<Came> = targets
                .iter()
                .map(|target| {
                    let outcome = known.get(&(index, (*target).to_owned()));
                    Came {
                        path: id.path.to_string(),
                        target: (*target).to_owned(),
                        verdict: outcome.map(|outcome| outcome.verdict.clone()),
                    }
                })
                .collect();
            outcomes
        };
        Ok(Results {
            edits: parts.iter().map(|part| part.id.clone()).collect(),
            outcomes: changes.iter().enumerate().flat_map(came).collect(),
        })
    }
}

/// Whether an outcome tells what became of a change: its own, or that of a later version of the same znode, which
/// was read in its place.
fn answers(outcome: &Outcome, change: &ChangeId) -> bool {
    let seen = &outcome.change;
    let same_life =
        seen.path == change.path && seen.czxid == change.czxid && seen.generation == change.generation;
    same_life
        && (seen.version == change.version || (seen.version > change.version && change.version.is_some()))
}

impl Results {
    /// Results without outcomes, of a write that was not waited for.
    pub(crate) fn unawaited(parts: &[zk::WrittenPart]) -> Results {
        let came = |id: &ChangeId| Came { path: id.path.to_string(), target: String::new(), verdict: None };
        Results {
            edits: parts.iter().map(|part| part.id.clone()).collect(),
            outcomes: parts.iter().flat_map(|part| &part.changes).map(came).collect(),
        }
    }

    /// How the command ends: 1 if something was rejected or is not known, 2 if something is held.
    pub(crate) fn exit(&self) -> Exit {
        let worst = |came: &Came| match &came.verdict {
            _ if came.target.is_empty() => Exit::Done,
            None | Some(Verdict::Rejected { .. }) => Exit::Failed,
            Some(Verdict::Held { .. }) => Exit::Found,
            Some(
                Verdict::Applied
                | Verdict::Unchanged
                | Verdict::Superseded
                | Verdict::Skipped
                | Verdict::Deleted,
            ) => Exit::Done,
        };
        let exits: Vec<Exit> = self.outcomes.iter().map(worst).collect();
        [Exit::Failed, Exit::Found].into_iter().find(|exit| exits.contains(exit)).unwrap_or(Exit::Done)
    }
}

/// The one line that says what a verdict means for a person.
pub(crate) fn explain(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Held { waiting } => {
            let waiting: Vec<String> = waiting.iter().map(ToString::to_string).collect();
            format!("waits for {}", waiting.join("; "))
        }
        Verdict::Rejected { reason, place: Some(place) } => format!("{place}: {reason}"),
        Verdict::Rejected { reason, place: None } => reason.clone(),
        Verdict::Applied | Verdict::Unchanged | Verdict::Superseded | Verdict::Skipped | Verdict::Deleted => {
            String::new()
        }
    }
}

impl Printed for Results {
    fn text(&self) -> String {
        if self.outcomes.is_empty() {
            return "nothing to write: ZooKeeper holds it all already".to_owned();
        }
        let edits = format!("edit {}", self.edits.join(", "));
        let waited = self.outcomes.iter().any(|came| !came.target.is_empty());
        if !waited {
            let paths: Vec<&str> = self.outcomes.iter().map(|came| came.path.as_str()).collect();
            return format!("{edits}\n{}", paths.join("\n"));
        }
        let rows = self.outcomes.iter().map(|came| {
            let (name, why) = match &came.verdict {
                Some(verdict) => (verdict.name().to_owned(), explain(verdict)),
                None => (
                    "unknown".to_owned(),
                    "no outcome yet: is `setkeeper run` running? see status".to_owned(),
                ),
            };
            vec![came.path.clone(), came.target.clone(), name, why]
        });
        format!("{edits}\n{}", table(&["path", "target", "outcome", "why"], rows))
    }
}
