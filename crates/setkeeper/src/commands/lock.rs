//! `lock`: commands under a lock of the fleet, and who holds which.

use std::os::unix::process::CommandExt as _;
use std::path::Path;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use serde::Serialize;
use zk::{LockError, LockState, Queued};

use super::connect;
use crate::cli::{Break, Lock, Output, UnderLock};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{self, Printed, table};

mod applier;
mod group;
mod run;
mod signals;

/// `setkeeper lock`; `file` and `settings` are the configuration that the command line gave.
pub(super) async fn lock(
    config: &Config,
    file: Option<&Path>,
    settings: &[String],
    output: Output,
    lock: Lock,
) -> Result<Exit, Failure> {
    match lock {
        Lock::Run(given) => run::run(config, &run::Source { file, settings }, *given).await,
        Lock::List => list(config, output).await,
        Lock::Show { name } => show(config, output, &name).await,
        Lock::Break(given) => break_lock(config, output, given).await,
    }
}

/// How a command ends whose lock could not be looked at.
pub(super) fn failed(error: &LockError) -> Failure {
    let exit = match error {
        LockError::Name(_) | LockError::Key { .. } => Exit::Usage,
        LockError::Zookeeper { .. } => Exit::Unreachable,
        LockError::Read(error) => reading(error),
        LockError::Removed { .. } => Exit::NotAcquired,
        LockError::Forbidden { .. } => Exit::Failed,
    };
    Failure::of(exit, error)
}

/// How a command ends that could not read.
fn reading(error: &zk::ReadError) -> Exit {
    match error {
        zk::ReadError::SessionOver { .. } | zk::ReadError::Zookeeper { .. } => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

/// Becomes the command that `lock run` was given. Should the holder of the lock die, by whatever signal, the kernel kills
/// the command: only the process itself can ask for that, and the request outlives its exec.
pub(crate) fn become_command(given: &UnderLock) -> Exit {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let is_alive = getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == given.holder);
    let Some((program, arguments)) = given.command.split_first().filter(|_| is_alive) else {
        return Exit::Lost;
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    output::say(&format!("setkeeper: run `{}`: {error}", program.display()));
    // As shells have it.
    Exit::Command(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}

#[derive(Debug, Serialize)]
struct Locks(Vec<LockState>);

impl Printed for Locks {
    fn text(&self) -> String {
        if self.0.is_empty() {
            return "nobody holds or waits for a lock".to_owned();
        }
        let rows = self.0.iter().map(|lock| {
            let holding: Vec<&Queued> = lock.queue.iter().filter(|each| each.holds).collect();
            let lines = |tell: fn(&Queued) -> String| {
                holding.iter().map(|each| tell(each)).collect::<Vec<_>>().join("\n")
            };
            vec![
                lock.name.clone(),
                lines(who),
                lines(|each| each.kind.to_string()),
                lines(|each| each.since.to_string()),
                lines(why),
                (lock.queue.len() - holding.len()).to_string(),
            ]
        });
        table(&["lock", "holder", "kind", "since", "reason", "waiting"], rows)
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Shown(LockState);

impl Printed for Shown {
    fn text(&self) -> String {
        if self.0.queue.is_empty() {
            return format!("nobody holds or waits for `{}`", self.0.name);
        }
        let rows = self.0.queue.iter().map(|each| {
            let holds = if each.holds { "holds" } else { "waits" };
            vec![
                holds.to_owned(),
                who(each),
                each.kind.to_string(),
                each.since.to_string(),
                why(each),
                each.znode.clone(),
            ]
        });
        table(&["", "who", "kind", "since", "reason", "znode"], rows)
    }
}

/// Host and pid; of a foreign client, whatever its znode says.
pub(super) fn who(queued: &Queued) -> String {
    match &queued.holder {
        Some(holder) => format!("{} pid {}", holder.host.escape_debug(), holder.pid),
        None if queued.text.is_empty() => format!("session {:#x}", queued.session),
        None => queued.text.escape_debug().to_string(),
    }
}

fn why(queued: &Queued) -> String {
    queued.holder.as_ref().map(|holder| holder.reason.escape_debug().to_string()).unwrap_or_default()
}

async fn list(config: &Config, output: Output) -> Result<Exit, Failure> {
    let session = connect(config).await?;
    let locks = session.locks().await.map_err(|error| failed(&error))?;
    output::print(output, &Locks(locks));
    Ok(Exit::Done)
}

async fn show(config: &Config, output: Output, name: &str) -> Result<Exit, Failure> {
    let session = connect(config).await?;
    let lock = session.lock_state(name).await.map_err(|error| failed(&error))?;
    output::print(output, &Shown(lock));
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct Broken {
    lock: String,
    broken: Queued,
    next: Option<Queued>,
}

impl Printed for Broken {
    fn text(&self) -> String {
        let next = match &self.next {
            Some(next) => format!("{} holds it now", who(next)),
            None => "nobody waited for it".to_owned(),
        };
        format!("took `{}` from {} ({}); {next}", self.lock, who(&self.broken), self.broken.znode)
    }
}

async fn break_lock(config: &Config, output: Output, given: Break) -> Result<Exit, Failure> {
    let session = connect(config).await?;
    let name = &given.name;
    let before = session.lock_state(name).await.map_err(|error| failed(&error))?;
    let broken = match &given.holder {
        Some(znode) => before.queue.iter().find(|each| &each.znode == znode).ok_or_else(|| {
            let text = format!("`{}` stands no longer in the queue of `{name}`", znode.escape_default());
            Failure::new(Exit::Failed, text).hint("look at it again with `setkeeper lock show`")
        })?,
        None => match before.queue.iter().filter(|each| each.holds).collect::<Vec<_>>()[..] {
            [] => return Err(Failure::new(Exit::Failed, format!("nobody holds `{name}`"))),
            [only] => only,
            _ => {
                let text = format!("several share `{name}`; name the one to take it from with --holder");
                return Err(Failure::new(Exit::Usage, text));
            }
        },
    };
    let done = session.break_lock(name, &broken.znode).await.map_err(|error| failed(&error))?;
    if !done {
        return Err(Failure::new(Exit::Failed, format!("{} has just left `{name}` by itself", who(broken))));
    }
    let after = session.lock_state(name).await.map_err(|error| failed(&error))?;
    let next = after.queue.into_iter().find(|each| each.holds);
    output::print(output, &Broken { lock: name.clone(), broken: broken.clone(), next });
    Ok(Exit::Done)
}
