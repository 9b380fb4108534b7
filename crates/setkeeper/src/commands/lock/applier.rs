//! `--pause-applier`: the appliers stand still while the command runs.

use std::time::Duration;

use change::Zxid;
use tokio::time::{Instant, timeout_at};
use zk::{Candidate, Pause, Session};

use super::failed;
use crate::exit::{Exit, Failure, chain};
use crate::supervisor::now;

/// A pause that stands while the command runs.
pub(super) struct Standstill {
    pause: Pause,
    written: Zxid,
    is_ours: bool,
}

/// Pauses the appliers under the lock at `key`. A pause that somebody else has made stays theirs.
pub(super) async fn pause(session: &Session, key: &str, name: &str, by: &str) -> Result<Standstill, Failure> {
    let wanted = Pause {
        v: 1,
        by: by.to_owned(),
        reason: format!("a command runs under the lock `{name}`"),
        since: now(),
        lock: Some(key.to_owned()),
    };
    let (pause, written) =
        session.pause_unless_paused(&wanted).await.map_err(|error| Failure::of(Exit::Unreachable, &error))?;
    let is_ours = pause == wanted;
    if !is_ours {
        eprintln!(
            "setkeeper: the appliers are paused already, by {}: {}; they stay so afterwards",
            pause.by, pause.reason
        );
    }
    Ok(Standstill { pause, written, is_ours })
}

impl Standstill {
    /// Waits until every elected applier has told that it stands still for this pause or a later one. Cancel-safe.
    pub(super) async fn reached(&self, session: &Session, within: Duration) -> Result<(), Failure> {
        let until = Instant::now() + within;
        let reading = |error: zk::ReadError| Failure::of(Exit::Unreachable, &error);
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
        if !self.is_ours {
            return;
        }
        match tokio::time::timeout(session.timeout(), session.resume_from(&self.pause)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                eprintln!("setkeeper: somebody else has changed the pause, so it stays as it is")
            }
            Ok(Err(error)) => {
                eprintln!("setkeeper: {}; run `setkeeper resume`", chain(&error).join(": "));
            }
            Err(_) => eprintln!("setkeeper: zookeeper does not answer; run `setkeeper resume` later"),
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
