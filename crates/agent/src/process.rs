//! A process of this machine, told apart from a later one with its pid.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// When the kernel started it, in ticks since boot, as `/proc/<pid>/stat` has it.
    pub started: String,
}

impl Process {
    /// The process that has this pid now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Process> {
        started(pid).map(|started| Process { pid, started })
    }

    /// Whether it runs still.
    #[must_use]
    pub fn runs(&self) -> bool {
        started(self.pid).as_ref() == Some(&self.started)
    }
}

/// When the kernel started a process; `None` if there is none.
pub(crate) fn started(pid: u32) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, fields) = stat.rsplit_once(')')?;
    // A zombie runs no longer.
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if state == "Z" { None } else { fields.nth(18).map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_another_one_than_a_later_one_with_its_pid() {
        let own = Process::of(std::process::id()).expect("this process runs");
        assert!(own.runs());
        assert!(!Process { started: "1".to_owned(), ..own }.runs());
        // No process has a pid beyond 2^22.
        assert_eq!(Process::of(4_194_999), None);
    }
}
