//! Runs the roles of this process: elects, builds the worker for one term, ends the term when the leadership is
//! lost, when somebody pauses or when the process is asked to stop, and begins again after a pause.
//!
//! Only this module spawns, and only it retries: a restart and a recovery are the same path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use change::{Millis, Zxid};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, error, info, warn};
use zk::{Held, Lost, PauseWatch, Reporter, Session};

use crate::config::Config;
use crate::exit::chain;
use crate::health::{Doing, Health};
use crate::metrics::Metrics;
use crate::role::{Role, Term};

/// Why a term ended badly: the message with its causes, and whether trying again soon can help.
#[derive(Debug)]
pub(crate) struct TermError {
    lines: Vec<String>,
    /// A person must act first, so the next try comes after the longest pause.
    hopeless: bool,
    /// The batch in hand was given up: what it did is decided by its transaction alone.
    cut_off: bool,
}

impl TermError {
    /// An error and whether a person must act first.
    pub(crate) fn new(error: &dyn std::error::Error, hopeless: bool) -> TermError {
        TermError { lines: chain(error), hopeless, cut_off: false }
    }
}

/// What every role of this process shares.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) health: Health,
    pub(crate) metrics: Arc<Metrics>,
}

/// Runs `roles` until `stop`, each on its own. A role that panics ends the process: half a pipeline that looks
/// alive is worse than none.
///
/// # Errors
/// Which role panicked, or did not end in time.
pub(crate) async fn run(shared: Shared, roles: Vec<Role>, stop: CancellationToken) -> Result<(), String> {
    let mut tasks = JoinSet::new();
    let mut names = BTreeMap::new();
    for role in roles {
        let (name, span) = (role.to_string(), tracing::info_span!("role", name = %role));
        let task = tasks.spawn(keep(shared.clone(), role, stop.clone()).instrument(span));
        names.insert(task.id(), name);
    }
    let mut fault = Ok(());
    while let Some(ended) = tasks.join_next_with_id().await {
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((_, Err(late))) => fault = fault.and(Err(late)),
            Err(error) => {
                let name = names.remove(&error.id()).unwrap_or_default();
                fault = fault.and(Err(format!(
                    "the worker `{name}` panicked, which is a fault of setkeeper; its message stands above"
                )));
                stop.cancel();
            }
        }
    }
    fault
}

/// One role, term after term. An error is that it was asked to stop and did not in time.
async fn keep(shared: Shared, role: Role, stop: CancellationToken) -> Result<(), String> {
    let mut pauses = Pauses::new(shared.config.restart_pause_max);
    while !stop.is_cancelled() {
        shared.health.set(&role.to_string(), Doing::Starting);
        let began = Instant::now();
        let pause = match term(&shared, &role, &stop).await {
            Ok(()) => pauses.after_success(),
            Err(error) => {
                let text = error.lines.join(": ");
                error!(error = %text, "the term ended");
                if error.cut_off && stop.is_cancelled() {
                    return Err(format!("the worker `{role}` had to be cut off: {text}"));
                }
                shared.health.set(&role.to_string(), Doing::Failed { error: text });
                pauses.after_failure(&error, began.elapsed())
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    Ok(())
}

/// One term: connect, be elected, work until something ends it.
async fn term(shared: &Shared, role: &Role, stop: &CancellationToken) -> Result<(), TermError> {
    let connecting = Session::connect(&shared.config.zookeeper);
    let Some(session) = or_stop(stop, connecting).await else { return Ok(()) };
    let session = session.map_err(|error| TermError::new(&error, error.advice() == zk::Advice::Stop))?;
    let name = role.to_string();
    let Some(election) = role.election() else {
        return role.run_alone(shared, session, stop.clone()).await;
    };
    shared.health.set(&name, Doing::Standby);
    if matches!(role, Role::Agent(_)) {
        or_stop(stop, tell_holder(&session, &election)).await;
    }
    let Some(elected) = or_stop(stop, session.elect(&election, &holder())).await else {
        return Ok(());
    };
    let (mut leadership, reporter) =
        elected.map_err(|error| TermError::new(&error, error.advice() == zk::Advice::Stop))?;
    info!(fence = %leadership.fence, "elected");
    let done = lead(shared, role, &session, &mut leadership, &reporter, stop).await;
    // Without a connection it waits for one; after the session's timeout the server has released the role by itself.
    let released = tokio::time::timeout(session.timeout(), leadership.release()).await;
    let why = match released {
        Ok(Ok(())) => return done,
        Ok(Err(error)) => chain(&error).join(": "),
        Err(_) => "zookeeper does not answer".to_owned(),
    };
    warn!(error = %why, "the role was not released; it is free once the session expires");
    done
}

/// A second agent of a node may be meant to stand by, or be another machine of the same name.
async fn tell_holder(session: &Session, election: &str) {
    let Ok(candidates) = session.candidates(election).await else { return };
    if let Some(holder) = candidates.into_iter().find(|each| each.elected) {
        let holder = holder.worker.map_or(holder.key, |worker| worker.holder);
        warn!(role = election, %holder, "another agent has this node's name already, and this one stands by until it ends");
    }
}

/// Works as the active one, once nobody pauses. A pause that comes later ends the term: a database that is restored
/// meanwhile has forgotten which outcomes it has numbered, and another fence keeps them apart from the new ones.
async fn lead(
    shared: &Shared,
    role: &Role,
    session: &Session,
    leadership: &mut Held,
    reporter: &Reporter,
    stop: &CancellationToken,
) -> Result<(), TermError> {
    let reading = |error: zk::ReadError| TermError::new(&error, error.advice() == zk::Advice::Stop);
    let Some(pause) = or_stop(stop, session.watch_pause()).await else { return Ok(()) };
    let mut pause = pause.map_err(reading)?;
    while let Some(reason) = role.obeys_pause().then(|| describe(&pause)).flatten() {
        info!(%reason, "paused");
        // Whoever waits for this standstill asks for the pause that it is due to.
        reporter.paused(pause.written().unwrap_or(Zxid(0)));
        shared.health.set(&role.to_string(), Doing::Paused { reason });
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            lost = leadership.lost() => return Err(TermError::new(&lost, false)),
            changed = pause.changed() => { changed.map_err(reading)?; }
        }
    }
    let term = Term {
        session: session.clone(),
        fence: leadership.fence,
        generation: leadership.generation,
        reporter: reporter.clone(),
    };
    work(shared, role, term, leadership, &mut pause, stop).await
}

/// Builds the worker and runs it until it ends, or until it has to. It is a task of its own: what it computes must not
/// keep the lock from being watched.
async fn work(
    shared: &Shared,
    role: &Role,
    term: Term,
    leadership: &mut Held,
    pause: &mut PauseWatch,
    stop: &CancellationToken,
) -> Result<(), TermError> {
    let end = stop.child_token();
    let last_third = term.session.timeout() / 3;
    term.reporter.doing("running");
    // Before the worker's task begins, which says by itself when it runs.
    shared.health.set(&role.to_string(), Doing::Starting);
    let running = {
        let (shared, role, end) = (shared.clone(), role.clone(), end.clone());
        async move { role.run(&shared, term, end).await }
    };
    let mut running = AbortOnDropHandle::new(tokio::spawn(running.in_current_span()));
    let (mut lost, mut left) = (None, None);
    loop {
        tokio::select! {
            biased;
            ended = &mut running => return joined(ended),
            () = stop.cancelled() => break,
            why = leadership.lost() => {
                left = Some(time_left(&why, leadership.safe_until(), last_third));
                lost = Some(TermError::new(&why, false));
                break;
            }
            changed = pause.changed() => match changed {
                Ok(Some(_)) if role.obeys_pause() => break,
                Ok(_) => {}
                Err(error) => { lost = Some(TermError::new(&error, false)); break }
            }
        }
    }
    end.cancel();
    let stop_within = shared.config.stop_within;
    let left = left.or_else(|| lost.is_some().then_some(last_third));
    let within = left.map_or(stop_within, |left| left.min(stop_within));
    match tokio::time::timeout(within, &mut running).await {
        Ok(ended) => match joined(ended) {
            Ok(()) => lost.map_or(Ok(()), Err),
            Err(error) => Err(lost.unwrap_or(error)),
        },
        Err(_) => {
            running.abort();
            // What it computes goes on until it next awaits; its fence keeps its writes out in any case.
            let _ = tokio::time::timeout(SHORTEST, running).await;
            Err(lost.unwrap_or_else(|| TermError {
                lines: vec![format!("the batch in hand did not end within {within:?}")],
                hopeless: false,
                cut_off: true,
            }))
        }
    }
}

/// What the worker's task came to; its panic is the role's.
fn joined(ended: Result<Result<(), TermError>, JoinError>) -> Result<(), TermError> {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// How long a worker may take to end that has lost its role.
fn time_left(lost: &Lost, safe_until: Instant, last_third: Duration) -> Duration {
    match lost {
        Lost::Silent(_) => safe_until.saturating_duration_since(Instant::now()),
        // Another may be elected by now.
        Lost::Session(_) | Lost::Deleted => SHORTEST,
        // Its fences are void; nobody else is elected for that.
        Lost::Generation => last_third,
    }
}

async fn or_stop<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        done = work => Some(done),
    }
}

fn describe(pause: &PauseWatch) -> Option<String> {
    pause.current().map(|pause| format!("by {} since {}: {}", pause.by, pause.since, pause.reason))
}

/// Host and pid, for whoever looks at the lock znode.
pub(crate) fn holder() -> String {
    format!("{} pid {}", host(), std::process::id())
}

/// This machine's name.
pub(crate) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The wall clock.
pub(crate) fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The pauses between terms: doubling while they fail, jittered so that a fleet does not come back as one.
struct Pauses {
    next: Duration,
    max: Duration,
}

const SHORTEST: Duration = Duration::from_millis(100);

impl Pauses {
    fn new(max: Duration) -> Pauses {
        Pauses { next: SHORTEST, max }
    }

    fn after_success(&mut self) -> Duration {
        self.next = SHORTEST;
        Duration::ZERO
    }

    fn after_failure(&mut self, error: &TermError, lasted: Duration) -> Duration {
        // A term that lasted was no part of a row of failures.
        if lasted > self.max {
            self.next = SHORTEST;
        }
        let pause = if error.hopeless { self.max } else { self.next };
        self.next = (self.next * 2).min(self.max);
        jittered(pause)
    }
}

/// Between half and all of `pause`.
fn jittered(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_fields().0;
    pause / 2 + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(hopeless: bool) -> TermError {
        TermError { lines: vec![], hopeless, cut_off: false }
    }

    #[test]
    fn pauses_double_up_to_the_bound_and_start_over_after_a_good_term() {
        let mut pauses = Pauses::new(Duration::from_secs(1));
        let mut longest = Vec::new();
        for _ in 0..6 {
            longest.push(pauses.next);
            let pause = pauses.after_failure(&failed(false), Duration::ZERO);
            assert!(pause >= longest[longest.len() - 1] / 2 && pause <= longest[longest.len() - 1]);
        }
        assert_eq!(longest[5], Duration::from_secs(1));
        assert_eq!(pauses.after_failure(&failed(false), Duration::from_secs(9)).max(SHORTEST), SHORTEST);
    }

    #[test]
    fn what_a_person_must_mend_is_not_tried_in_a_hurry() {
        let mut pauses = Pauses::new(Duration::from_secs(30));
        assert!(pauses.after_failure(&failed(true), Duration::ZERO) >= Duration::from_secs(15));
    }
}
