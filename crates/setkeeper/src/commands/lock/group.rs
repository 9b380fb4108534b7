//! The command under the lock, and whatever it starts: one process group.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::exit::{Exit, Failure};
use crate::output::say;

/// How often a group is looked at that has been told to end: nothing tells when its last process has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long the kernel may take to end what got a KILL; a process that waits for a dead disk takes longer.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// A process group of its own, led by the command. Whatever of it still runs when this is dropped gets KILL: nobody looks
/// after it any more.
pub(super) struct Group {
    leader: Child,
    id: Pid,
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_empty() {
            self.signal(Signal::KILL);
        }
    }
}

impl Group {
    /// Starts the command. It must be called on the main thread: the command is ended with the thread that started it.
    pub(super) fn start(command: &[OsString], environment: &[(String, OsString)]) -> Result<Group, Failure> {
        // This very program, also where its file was replaced since.
        let mut shim = Command::new("/proc/self/exe");
        shim.arg("__under-lock").arg(std::process::id().to_string()).arg("--").args(command);
        shim.envs(environment.iter().map(|(name, value)| (name, value)));
        // In a group of its own it could not read from a terminal: the kernel would stop it.
        if io::stdin().is_terminal() {
            shim.stdin(Stdio::null());
        }
        let leader = shim.process_group(0).spawn().map_err(|error| Failure::of(Exit::Failed, &error))?;
        let id = leader.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Group { leader, id: id.expect("a child that was not awaited has an id") })
    }

    /// Sends a signal to every process of the group. One that is empty needs none.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.id, signal);
    }

    /// Waits for the command itself. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        self.leader.wait().await.map_err(|error| Failure::of(Exit::Failed, &error))
    }

    /// Whether no process of the group runs.
    pub(super) fn is_empty(&self) -> bool {
        match test_kill_process_group(self.id) {
            Err(Errno::SRCH) => true,
            // A zombie whose parent does not look after it is in the group, too.
            Ok(()) => !has(self.id, lives_in),
            // All of it is another user's (sudo), whose processes `/proc` may hide: only what it shows is known.
            Err(_) => has(self.id, is_in) && !has(self.id, lives_in),
        }
    }

    /// Tells every process of the group to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
        // What is stopped would not notice.
        self.signal(Signal::CONT);
    }

    /// Waits until no process of the group runs; they get KILL at `kill_at`. Returns false if they run on all the same.
    pub(super) async fn end(&mut self, kill_at: Instant) -> bool {
        if timeout_at(kill_at, self.gone()).await.is_ok() {
            return true;
        }
        self.signal(Signal::KILL);
        if timeout(KILLED_WITHIN, self.gone()).await.is_ok() {
            return true;
        }
        let group = self.id.as_raw_nonzero();
        say(&format!(
            "setkeeper: a process of group {group} does not end even by KILL; if it is another user's (sudo), only that \
             user can end it: `kill -- -{group}`"
        ));
        false
    }

    /// Waits until no process of the group runs. Cancel-safe.
    pub(super) async fn gone(&mut self) {
        let _ = self.leader.wait().await;
        while !self.is_empty() {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// What a shell would say of it: the code, or 128 and the signal's number.
pub(super) fn exit(status: ExitStatus) -> Exit {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Exit::Command(u8::try_from(code).unwrap_or(1))
}

/// Whether a signal has ended it, or something in it, as shells tell of that.
pub(super) fn was_killed(status: ExitStatus) -> bool {
    status.signal().is_some() || status.code().is_some_and(|code| (129..=192).contains(&code))
}

/// Whether the group has such a process, as far as `/proc` tells.
fn has(group: Pid, such: fn(&str, &str) -> bool) -> bool {
    let group = group.as_raw_nonzero().to_string();
    let Ok(all) = std::fs::read_dir("/proc") else { return true };
    all.flatten().any(|entry| {
        let is_process =
            entry.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        is_process && std::fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| such(&stat, &group))
    })
}

/// Whether a process of this `stat` is in the group and more than a zombie.
fn lives_in(stat: &str, group: &str) -> bool {
    state_in(stat, group).is_some_and(|state| state != "Z" && state != "X")
}

fn is_in(stat: &str, group: &str) -> bool {
    state_in(stat, group).is_some()
}

/// `pid (any name) state ppid pgrp …`
fn state_in<'a>(stat: &'a str, group: &str) -> Option<&'a str> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    (fields.nth(1) == Some(group)).then_some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_its_group_whatever_it_calls_itself() {
        assert!(lives_in("7 (a) S 1 42 42 0", "42"));
        assert!(lives_in("7 (a) S 1 9 (b) S 1 42 42 0", "42"));
        assert!(!lives_in("7 (a) S 42 7 42 0", "42"));
        assert!(!lives_in("7 (a) Z 1 42 42 0", "42"));
        assert!(!lives_in("", "42"));
    }

    #[test]
    fn an_end_by_a_signal_is_told_as_a_shell_does() {
        assert_eq!(exit(ExitStatus::from_raw(3 << 8)), Exit::Command(3));
        assert_eq!(exit(ExitStatus::from_raw(15)), Exit::Command(143));
    }
}
