//! The process group of a command: the command with all that it has started.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;
use tokio::time::timeout;

/// How long a command that is ended for its time may take to end well.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A group that is killed when this is dropped: its command took too long, or nobody waits for it any more.
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// The group of a child that leads one.
    pub(crate) fn new(child: &Child) -> Group {
        Group(child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)))
    }

    /// Leaves the group alone.
    pub(crate) fn release(mut self) {
        self.0 = None;
    }

    /// Asks the group to end, and kills what has not after a while.
    pub(crate) async fn end(self, child: &mut Child) {
        if let Some(pid) = self.0 {
            // It fails only for a group that has ended.
            let _ = kill_process_group(pid, Signal::TERM);
            let _ = timeout(LAST_WORDS, child.wait()).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It fails only for a group that has ended.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
