//! `--pause-applier`: the appliers stand still while the command runs.

use std::time::Duration;

use change::Zxid;
use tokio::time::{Instant, timeout, timeout_at};
use zk::{Candidate, ControlError, LockError, Pause, Session};

use super::{failed, reading};
use crate::exit::{Exit, Failure, chain};
use crate::output::say;
use crate::supervisor::now;

/// How often the end of another's lock is looked for, whose pause is waited for: its pause stays without it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A pause that stands while the command runs.
pub(super) struct Standstill {
    pause: Pause,
    written: Zxid,
    is_ours: bool,
}

/// The pause of whoever holds the lock at `key`.
pub(super) fn wanted(key: &str, name: &str, by: &str) -> Pause {
    Pause {
        v: 1,
        by: by.to_owned(),
        reason: format!("a command runs under the lock `{name}`"),
        since: now(),
        lock: Some(key.to_owned()),
    }
}

/// Pauses the appliers and waits until they stand still. A pause of somebody else's stays theirs; that of a command which
/// still runs is waited for. Dropped or failed, it may leave the pause `wanted` behind.
pub(super) async fn stand_still(
    session: &Session,
    wanted: &Pause,
    within: Duration,
) -> Result<Standstill, Failure> {
    let until = Instant::now() + within;
    let mut told = false;
    loop {
        let standing = session.pause_unless_paused(wanted).await.map_err(|error| writing(&error))?;
        if let Some(standstill) = settle(session, wanted, standing.clone()).await? {
            standstill.reached(session, within).await?;
            return Ok(standstill);
        }
        let pause = standing.0;
        if Instant::now() >= until {
            let text = format!(
                "the command has not run: within {within:?} the pause by {} did not end: {}",
                pause.by, pause.reason
            );
            return Err(Failure::new(Exit::NotAcquired, text)
                .hint("try again when that command has ended; lock.pause_within bounds the wait for it"));
        }
        if !told {
            told = true;
            say(&format!("setkeeper: waiting for the end of the pause by {}: {}", pause.by, pause.reason));
        }
        let mut watch = session.watch_pause().await.map_err(|error| Failure::of(reading(&error), &error))?;
        if watch.current() == Some(&pause)
            && let Ok(changed) = timeout_at(until.min(Instant::now() + LOOK_EVERY), watch.changed()).await
        {
            changed.map_err(|error| Failure::of(reading(&error), &error))?;
        }
    }
}

/// Whether the pause that stands is one to run under; `None` if it ends with another's command.
async fn settle(
    session: &Session,
    wanted: &Pause,
    (pause, written): (Pause, Zxid),
) -> Result<Option<Standstill>, Failure> {
    if &pause == wanted {
        return Ok(Some(Standstill { pause, written, is_ours: true }));
    }
    let already = format!(
        "setkeeper: the appliers are paused already, by {}: {}; they stay so afterwards",
        pause.by, pause.reason
    );
    // A command around this one outlives it.
    let around = std::env::var("SETKEEPER_LOCK_KEY").ok();
    let lives = match pause.lock.as_deref().filter(|lock| Some(*lock) != around.as_deref()) {
        None => None,
        Some(lock) => match session.is_queued(lock).await {
            Ok(lives) => Some(lives),
            // Not by us, so a person's.
            Err(LockError::Key { .. }) => None,
            Err(error) => return Err(failed(&error)),
        },
    };
    match lives {
        None => {
            say(&already);
            Ok(Some(Standstill { pause, written, is_ours: false }))
        }
        Some(true) => Ok(None),
        // Its holder is gone, but may not know it, and end it yet: not once it is another.
        Some(false) => {
            let reason = format!("{}; before, by {}: {}", wanted.reason, pause.by, pause.reason);
            let taken = Pause { reason, ..wanted.clone() };
            let written = session.take_pause_over(&pause, &taken).await.map_err(|error| writing(&error))?;
            Ok(written.map(|written| {
                say(&already);
                Standstill { pause: taken, written, is_ours: false }
            }))
        }
    }
}

/// Ends the pause `wanted` if it stands: the command has not run.
pub(super) async fn take_back(session: &Session, wanted: &Pause) {
    end(session, wanted).await;
}

/// Whether the pause stood.
async fn end(session: &Session, pause: &Pause) -> bool {
    match timeout(session.timeout(), session.resume_from(pause)).await {
        Ok(Ok(stood)) => return stood,
        Ok(Err(error)) => say(&format!("setkeeper: {}; run `setkeeper resume`", chain(&error).join(": "))),
        Err(_) => say("setkeeper: zookeeper does not answer; run `setkeeper resume` later"),
    }
    true
}

fn writing(error: &ControlError) -> Failure {
    let exit = match error {
        ControlError::Read(error) => reading(error),
        ControlError::Forbidden { .. } => Exit::Failed,
        ControlError::Zookeeper { .. } => Exit::Unreachable,
    };
    Failure::of(exit, error)
}

impl Standstill {
    /// Waits until every elected applier has told that it stands still for this pause or a later one. Cancel-safe.
    async fn reached(&self, session: &Session, within: Duration) -> Result<(), Failure> {
        let until = Instant::now() + within;
        let reading = |error: zk::ReadError| Failure::of(reading(&error), &error);
        let mut workers = session.follow("workers").await.map_err(reading)?;
        loop {
            let elected = session.elected("applier-").await.map_err(|error| failed(&error))?;
            let working: Vec<Candidate> =
                elected.into_iter().filter(|each| !self.is_reached_by(each)).collect();
            if working.is_empty() {
                return Ok(());
            }
            match timeout_at(until, workers.changed()).await {
                Ok(changed) => changed.map_err(reading)?,
                Err(_) => return Err(still_working(&working, within)),
            }
        }
    }

    fn is_reached_by(&self, applier: &Candidate) -> bool {
        let paused = applier.worker.as_ref().and_then(|worker| worker.pause);
        paused.is_some_and(|paused| paused >= self.written)
    }

    /// Lets the appliers go on, if the pause is still the one that was made here.
    pub(super) async fn resume(&self, session: &Session) {
        if self.is_ours && !end(session, &self.pause).await {
            say("setkeeper: somebody else has changed the pause, so it stays as it is");
        }
    }
}

fn still_working(working: &[Candidate], within: Duration) -> Failure {
    let tell = |each: &Candidate| {
        let worker = each.worker.as_ref();
        let (who, doing) = worker.map_or(("somebody", "unknown"), |worker| (&*worker.holder, &*worker.doing));
        format!("{} ({}, {})", each.role, who.escape_debug(), doing.escape_debug())
    };
    let all: Vec<String> = working.iter().map(tell).collect();
    let text =
        format!("the command has not run: within {within:?} these did not stand still: {}", all.join(", "));
    Failure::new(Exit::NotAcquired, text).hint(
        "look at their logs; a batch in hand is finished first, and lock.pause_within bounds the wait for it",
    )
}
