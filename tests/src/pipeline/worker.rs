//! One process of setkeeper that runs on.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// What a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// All workers.
    All,
    /// The watcher.
    Watcher,
    /// The applier.
    Applier,
    /// The auditor.
    Auditor,
    /// The worker that follows registries.
    Endpoints,
}

impl Role {
    /// All of them.
    pub(crate) const EVERY: [Role; 5] =
        [Role::All, Role::Watcher, Role::Applier, Role::Auditor, Role::Endpoints];

    /// The command that runs it.
    pub(crate) fn command(self) -> &'static str {
        match self {
            Role::All => "run",
            Role::Watcher => "watch",
            Role::Applier => "apply",
            Role::Auditor => "audit",
            Role::Endpoints => "endpoints run",
        }
    }
}

/// A running process; killed with its value.
pub(crate) struct Worker {
    role: Role,
    child: Child,
}

impl Worker {
    /// Starts the role's command and logs to the end of `log`.
    pub(super) fn start(mut command: Command, role: Role, log: &Path) -> Worker {
        let log = OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let errors = log.try_clone().expect("a log");
        let child = command.args(role.command().split(' ')).stdout(log).stderr(errors).spawn();
        Worker { role, child: child.expect("the program starts") }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("not waited for yet")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the process is there");
    }

    /// SIGKILL, and waits for the end.
    pub(crate) async fn kill(&mut self) {
        // An error says that it has ended by itself.
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.end(Duration::from_secs(20)).await.expect("it ends when asked to")
    }

    /// Waits for it to end by itself: `None` if it did not within that time. Cancel-safe.
    pub(crate) async fn end(&mut self, within: Duration) -> Option<ExitStatus> {
        let ended = tokio::time::timeout(within, self.child.wait()).await.ok()?;
        Some(ended.expect("a child can be waited for"))
    }

    /// Waits until it has died at its fail point.
    pub(crate) async fn abort(&mut self, within: Duration) {
        let ended = self.end(within).await;
        let signal = ended.and_then(|status| status.signal());
        let role = self.role.command();
        assert_eq!(
            signal,
            Some(Signal::ABORT.as_raw()),
            "`{role}` ends at its fail point, not so: {ended:?}"
        );
    }
}
