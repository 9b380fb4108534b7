//! `lock run`: a command that runs only while the lock is held.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};
use zk::{Held, Holder, Lost, Mode, Session, Style};

use super::applier::{self, Standstill};
use super::group::{self, Group};
use super::signals::{self, Signals};
use super::{failed, who};
use crate::cli::LockRun;
use crate::commands::connect_as;
use crate::config::Config;
use crate::exit::{Exit, Failure, chain};
use crate::supervisor::{holder, host, now};

/// After how long somebody who waits is told for whom.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// `setkeeper lock run`
pub(super) async fn run(config: &Config, file: Option<&Path>, given: LockRun) -> Result<Exit, Failure> {
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
        eprintln!(
            "setkeeper: the server grants sessions of {:?}: a command that loses the lock gets {left:?} to end after \
             TERM, not {grace:?} (lock.session_timeout asks for a longer one)",
            session.timeout()
        );
    }
    let held = acquire(config, &given, &session, &mut signals).await?;
    let mut under = Under { session, held, signals, grace };
    let done = under.work(config, file, &given).await;
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
    let held = if given.at_once {
        session.try_lock(name, style, mode, &me).await
    } else {
        let stop = async {
            tokio::select! {
                signal = signals.end() => why = GivenUp::Asked(signal),
                () = wait_for(session, name, given.wait) => {}
            }
        };
        session.lock_until(name, style, mode, &me, stop).await
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
        eprintln!("setkeeper: waiting for `{name}`, held by {holders}");
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

/// A held lock and what is done under it.
struct Under {
    session: Session,
    held: Held,
    signals: Signals,
    grace: Duration,
}

/// How the command's run ended.
enum Ended {
    /// By itself.
    Itself(Exit),
    /// It was ended, because the lock was lost.
    CutOff,
}

impl Under {
    async fn work(&mut self, config: &Config, file: Option<&Path>, given: &LockRun) -> Result<Exit, Failure> {
        let standstill = match given.pause_applier {
            true => Some(self.stand_still(config, &given.name).await?),
            false => None,
        };
        let ended = match Group::start(&given.command, &self.environment(file)) {
            Ok(group) => self.run(group).await,
            Err(failure) => Ok(Ended::Itself(failure.report())),
        };
        match (ended, standstill) {
            (Ok(Ended::Itself(exit)), standstill) => {
                if let Some(standstill) = standstill {
                    standstill.resume(&self.session).await;
                }
                Ok(exit)
            }
            (Ok(Ended::CutOff), Some(_)) => {
                eprintln!(
                    "setkeeper: the appliers stay paused, because the command was cut off: look at what it left, \
                     then `setkeeper resume`"
                );
                Ok(Exit::Lost)
            }
            (Ok(Ended::CutOff), None) => Ok(Exit::Lost),
            (Err(failure), _) => Err(failure),
        }
    }

    /// What the command is told. `setkeeper fence check` has to find the same environment in it.
    fn environment(&self, file: Option<&Path>) -> Vec<(&'static str, OsString)> {
        let token = ("SETKEEPER_LOCK_TOKEN", self.held.token().to_string().into());
        let key = ("SETKEEPER_LOCK_KEY", self.held.key().into());
        let file = file.and_then(|file| std::path::absolute(file).ok());
        let named = file.map(|file| ("SETKEEPER_CONFIG", file.into_os_string()));
        [token, key].into_iter().chain(named).collect()
    }

    /// Pauses the appliers and waits until they stand still. On a failure everything is as before.
    async fn stand_still(&mut self, config: &Config, name: &str) -> Result<Standstill, Failure> {
        let standstill = applier::pause(&self.session, &self.held.key(), name, &holder()).await?;
        let failure = tokio::select! {
            reached = standstill.reached(&self.session, config.lock.pause_within) => match reached {
                Ok(()) => return Ok(standstill),
                Err(failure) => failure,
            },
            signal = self.signals.end() => interrupted(name, signal),
            lost = self.held.lost() => Failure::of(Exit::Lost, &lost),
        };
        standstill.resume(&self.session).await;
        Err(failure)
    }

    /// Runs the command to its end, or ends it.
    async fn run(&mut self, mut group: Group) -> Result<Ended, Failure> {
        let ended = loop {
            tokio::select! {
                biased;
                status = group.ended() => break Ok(status),
                lost = self.held.lost() => break Err(lost),
                signal = self.signals.next() => group.signal(signal),
            }
        };
        let status = match ended {
            Ok(status) => status,
            Err(lost) => return Ok(self.cut_off(&mut group, &lost).await),
        };
        if !group.is_empty() {
            eprintln!(
                "setkeeper: the command has left processes behind; they are ended before the lock is released"
            );
            tokio::select! {
                biased;
                () = group.end(Instant::now() + self.grace) => {}
                lost = self.held.lost() => return Ok(self.cut_off(&mut group, &lost).await),
            }
        }
        if Instant::now() >= self.held.safe_until() {
            // This process was stopped, or starved, while the command ran on.
            eprintln!("setkeeper: the command has ended, but the lock may have been lost before it did");
            return Ok(Ended::CutOff);
        }
        Ok(Ended::Itself(group::exit(status?)))
    }

    /// Ends the command before the server can give the lock to another, as far as that can still be.
    async fn cut_off(&self, group: &mut Group, lost: &Lost) -> Ended {
        let now = Instant::now();
        let safe_until = match lost {
            Lost::Silent(_) => self.held.safe_until() - margin(self.session.timeout()),
            // Another may hold it by now.
            Lost::Session(_) => now,
            // Somebody has taken it, knowing that this ends.
            Lost::Deleted | Lost::Generation => now + time_to_end(self.session.timeout()),
        };
        let kill_at = safe_until.clamp(now, now + self.grace);
        eprintln!(
            "setkeeper: lost the lock: {}; the command gets TERM now and KILL in {:?}",
            chain(lost).join(": "),
            kill_at - now
        );
        group.end(kill_at).await;
        Ended::CutOff
    }

    async fn release(self) {
        let why = match timeout(self.session.timeout(), self.held.release()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => chain(&error).join(": "),
            Err(_) => "zookeeper does not answer".to_owned(),
        };
        eprintln!("setkeeper: {why}; the lock is free at the latest in {:?}", self.session.timeout());
    }
}
