//! `lock run`: a command that runs only while the lock is held.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use zk::{Held, Holder, Lost, Mode, Session, Style};

use super::applier::{self, Standstill};
use super::group::{self, Group};
use super::signals::{self, Signals};
use super::{failed, who};
use crate::cli::LockRun;
use crate::commands::connect_as;
use crate::config::{self, Config};
use crate::exit::{Exit, Failure, chain};
use crate::output::say;
use crate::supervisor::{holder, host, now};

/// After how long somebody who waits is told for whom.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// How long leaving the queue may take. Without an answer the session's end takes us out of it.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// What the command line says of the configuration.
pub(super) struct Source<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) settings: &'a [String],
}

/// `setkeeper lock run`
pub(super) async fn run(config: &Config, source: &Source<'_>, given: LockRun) -> Result<Exit, Failure> {
    let mut signals = Signals::install()?;
    let session_timeout = config.lock.session_timeout;
    let zookeeper = zk::Config { session_timeout, ..config.zookeeper.clone() };
    let session = tokio::select! {
        session = connect_as(&zookeeper) => session?,
        signal = signals.end() => return Err(interrupted(&given.name, signal)),
    };
    let grace = given.grace.unwrap_or(config.lock.grace);
    let left = time_to_end(session.timeout());
    if grace > left {
        say(&format!(
            "setkeeper: the server grants sessions of {:?}: a command that loses the lock gets {left:?} to end after \
             TERM, not {grace:?} (lock.session_timeout asks for a longer one)",
            session.timeout()
        ));
    }
    // To wait for no time is not to wait: the queue is looked at once.
    let at_once = given.at_once || given.wait.is_some_and(|longest| longest.is_zero());
    let given = LockRun { at_once, ..given };
    let held = acquire(config, &given, &session, &mut signals).await?;
    let mut under = Under { session, held, signals, grace, left: false };
    let done = under.work(config, source, &given).await;
    under.release().await;
    done
}

/// From the moment that the lock is given up for lost until a twelfth of the session timeout before the server can expire
/// the session.
fn time_to_end(session_timeout: Duration) -> Duration {
    session_timeout / 3 - margin(session_timeout)
}

/// What the kernel may take to kill a process group.
fn margin(session_timeout: Duration) -> Duration {
    session_timeout / 12
}

fn interrupted(name: &str, signal: Signal) -> Failure {
    let text = format!("gave up on the lock `{name}` at {}: the command has not run", signals::name(signal));
    Failure::new(Exit::NotAcquired, text)
}

/// Why the wait for a lock is over.
enum GivenUp {
    Asked(Signal),
    TooLong,
}

async fn acquire(
    config: &Config,
    given: &LockRun,
    session: &Session,
    signals: &mut Signals,
) -> Result<Held, Failure> {
    let name = &given.name;
    let style: Style = given.style.unwrap_or(config.lock.style);
    let mode = match (given.shared, given.write) {
        (true, _) => Mode::Shared,
        (false, true) => Mode::Write,
        (false, false) => Mode::Exclusive,
    };
    let program = given.command.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    let reason = given.reason.clone().unwrap_or_else(|| program.display().to_string());
    let me = Holder { v: 1, host: host(), pid: std::process::id(), reason, since: now(), count: None };
    let mut why = GivenUp::TooLong;
    let stopped = CancellationToken::new();
    let locking = async {
        match given.at_once {
            true => session.try_lock(name, style, mode, &me).await,
            false => session.lock_until(name, style, mode, &me, stopped.cancelled()).await,
        }
    };
    let giving_up = async {
        tokio::select! {
            signal = signals.end() => why = GivenUp::Asked(signal),
            () = wait_for(session, name, given.wait), if !given.at_once => {}
            // As long as that an answer is awaited.
            () = sleep(session.timeout()), if given.at_once => {}
        }
        stopped.cancel();
        sleep(LEAVE_WITHIN).await;
    };
    let held = tokio::select! {
        biased;
        held = locking => held,
        () = giving_up => Ok(None),
    };
    if let Some(held) = held.map_err(|error| failed(&error))? {
        return Ok(held);
    }
    if let GivenUp::Asked(signal) = why {
        return Err(interrupted(name, signal));
    }
    let text = match holders(session, name).await {
        Some(holders) => format!("`{name}` is held by {holders}: the command has not run"),
        None => format!("`{name}` was not free: the command has not run"),
    };
    Err(Failure::new(Exit::NotAcquired, text))
}

/// Resolves when the wait is too long; tells meanwhile for whom.
async fn wait_for(session: &Session, name: &str, longest: Option<Duration>) {
    let begun = Instant::now();
    sleep(longest.unwrap_or(TELL_AFTER).min(TELL_AFTER)).await;
    if longest.is_none_or(|longest| longest > TELL_AFTER)
        && let Some(holders) = holders(session, name).await
    {
        say(&format!("setkeeper: waiting for `{name}`, held by {holders}"));
    }
    match longest {
        Some(longest) => tokio::time::sleep_until(begun + longest).await,
        None => std::future::pending().await,
    }
}

/// Whoever holds a lock, for a message.
async fn holders(session: &Session, name: &str) -> Option<String> {
    let state = timeout(TELL_AFTER, session.lock_state(name)).await.ok()?.ok()?;
    let holding = state.queue.iter().filter(|each| each.holds);
    let all: Vec<String> = holding.map(|each| format!("{} since {}", who(each), each.since)).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The lock was lost before the command began.
fn not_begun(name: &str, lost: &Lost) -> Failure {
    let why = chain(lost).join(": ");
    Failure::new(Exit::NotAcquired, format!("lost the lock `{name}`: {why}; the command has not run"))
}

fn stay_paused(why: &str) {
    say(&format!("setkeeper: the appliers stay paused, because {why}, then `setkeeper resume`"));
}

/// A held lock and what is done under it.
struct Under {
    session: Session,
    held: Held,
    signals: Signals,
    grace: Duration,
    /// Something runs that could not be ended: the lock is not to be given to another.
    left: bool,
}

/// How the command's run ended.
enum Ended {
    /// By itself.
    Itself(Exit),
    /// By a signal, ours or another's.
    BySignal(Exit),
    /// It was ended, because the lock was lost.
    CutOff,
}

impl Under {
    async fn work(&mut self, config: &Config, source: &Source<'_>, given: &LockRun) -> Result<Exit, Failure> {
        let standstill = match given.pause_applier {
            true => Some(self.stand_still(config, &given.name).await?),
            false => None,
        };
        let environment = self.environment(source);
        // To get here may have taken longer than the lock can be trusted.
        if let Err(lost) = self.held.confirm().await {
            if standstill.is_some() {
                stay_paused("the lock was lost: see that nothing else runs under it");
            }
            return Err(not_begun(&given.name, &lost));
        }
        let ended = match Group::start(&given.command, &environment) {
            Ok(group) => self.run(group).await?,
            Err(failure) => Ended::Itself(failure.report()),
        };
        if let Some(standstill) = standstill {
            self.go_on(&ended, &standstill).await;
        }
        match ended {
            Ended::Itself(exit) | Ended::BySignal(exit) => Ok(exit),
            Ended::CutOff => Ok(Exit::Lost),
        }
    }

    /// Lets the appliers go on, unless somebody has to look first.
    async fn go_on(&mut self, ended: &Ended, standstill: &Standstill) {
        match ended {
            Ended::BySignal(_) => stay_paused("a signal ended the command: look at what it left"),
            Ended::CutOff => stay_paused("the command was cut off: look at what it left"),
            // Once the lock is lost, another may rely on the pause.
            Ended::Itself(_) => match self.held.confirm().await {
                Ok(()) => standstill.resume(&self.session).await,
                Err(lost) => {
                    let why = chain(&lost).join(": ");
                    stay_paused(&format!("the lock was lost ({why}): see that nothing else runs under it"));
                }
            },
        }
    }

    /// What the command is told. `setkeeper fence check` has to find the same environment in it, wherever it is run.
    fn environment(&self, source: &Source<'_>) -> Vec<(String, OsString)> {
        let mut all = vec![
            ("SETKEEPER_LOCK_TOKEN".to_owned(), self.held.token().to_string().into()),
            ("SETKEEPER_LOCK_KEY".to_owned(), self.held.key().into()),
        ];
        let file = config::find(source.file).ok().and_then(|file| std::path::absolute(file).ok());
        all.extend(file.map(|file| ("SETKEEPER_CONFIG".to_owned(), file.into_os_string())));
        all.extend(source.settings.iter().filter_map(|setting| {
            let (key, value) = setting.split_once('=')?;
            Some((format!("SETKEEPER__{}", key.to_uppercase().replace('.', "__")), value.into()))
        }));
        all
    }

    /// Pauses the appliers and waits until they stand still. On a failure everything is as before, unless the lock is
    /// lost: another may rely on the pause by then.
    async fn stand_still(&mut self, config: &Config, name: &str) -> Result<Standstill, Failure> {
        let wanted = applier::wanted(&self.held.key(), name, &holder());
        let failure = tokio::select! {
            reached = applier::stand_still(&self.session, &wanted, config.lock.pause_within) => match reached {
                Ok(standstill) => return Ok(standstill),
                Err(failure) => failure,
            },
            signal = self.signals.end() => interrupted(name, signal),
            lost = self.held.lost() => {
                stay_paused("the lock was lost: see that nothing else runs under it");
                return Err(not_begun(name, &lost));
            }
        };
        match self.held.confirm().await {
            Ok(()) => applier::take_back(&self.session, &wanted).await,
            Err(_) => stay_paused("the lock was lost: see that nothing else runs under it"),
        }
        Err(failure)
    }

    /// Runs the command to its end, or ends it.
    async fn run(&mut self, mut group: Group) -> Result<Ended, Failure> {
        let mut asked_to_end = false;
        let ended = loop {
            tokio::select! {
                biased;
                status = group.ended() => break Ok(status),
                lost = self.held.lost() => break Err(lost),
                signal = self.signals.next() => {
                    group.signal(signal);
                    asked_to_end |= signals::is_end(signal);
                }
            }
        };
        let status = match ended {
            Ok(status) => status,
            Err(lost) => return Ok(self.cut_off(&mut group, &lost).await),
        };
        if !group.is_empty() {
            group.terminate();
            say(
                "setkeeper: the command has left processes behind; they are ended before the lock is released",
            );
            let ended = tokio::select! {
                biased;
                ended = group.end(Instant::now() + self.grace) => ended,
                lost = self.held.lost() => return Ok(self.cut_off(&mut group, &lost).await),
            };
            if !ended && !self.outlast(&mut group).await {
                return Ok(Ended::CutOff);
            }
        }
        if Instant::now() >= self.held.safe_until() {
            // This process was stopped, or starved, while the command ran on.
            say("setkeeper: the command has ended, but the lock may have been lost before it did");
            return Ok(Ended::CutOff);
        }
        let status = status?;
        let by_signal = group::was_killed(status) || (asked_to_end && !status.success());
        let exit = group::exit(status);
        Ok(if by_signal { Ended::BySignal(exit) } else { Ended::Itself(exit) })
    }

    /// Holds the lock while something runs that cannot be ended. Returns false if it runs on when that is over.
    async fn outlast(&mut self, group: &mut Group) -> bool {
        say("setkeeper: the lock is held until it has ended");
        tokio::select! {
            biased;
            () = group.gone() => true,
            _ = self.held.lost() => { self.left = true; false }
            _ = self.signals.end() => { self.left = true; false }
        }
    }

    /// Ends the command before the server can give the lock to another, as far as that can still be.
    async fn cut_off(&mut self, group: &mut Group, lost: &Lost) -> Ended {
        group.terminate();
        let now = Instant::now();
        let safe_until = match lost {
            Lost::Silent(_) => self.held.safe_until() - margin(self.session.timeout()),
            // Another may hold it by now.
            Lost::Session(_) => now,
            // Somebody has taken it, knowing that this ends.
            Lost::Deleted | Lost::Generation => now + time_to_end(self.session.timeout()),
        };
        let kill_at = safe_until.clamp(now, now + self.grace);
        say(&format!(
            "setkeeper: lost the lock: {}; the command gets TERM now and KILL in {:?}",
            chain(lost).join(": "),
            kill_at - now
        ));
        self.left |= !group.end(kill_at).await;
        Ended::CutOff
    }

    async fn release(self) {
        let why = if self.left {
            // Neither released nor closed: the session is left to expire.
            std::mem::forget(self.held);
            "the lock is not released".to_owned()
        } else {
            match timeout(self.session.timeout(), self.held.release()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => chain(&error).join(": "),
                Err(_) => "zookeeper does not answer".to_owned(),
            }
        };
        say(&format!("setkeeper: {why}; the lock is free at the latest in {:?}", self.session.timeout()));
    }
}
