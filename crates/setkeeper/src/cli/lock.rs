//! The command line of locks.

use std::ffi::OsString;
use std::time::Duration;

use clap::{ArgAction, Args, Subcommand};

/// `setkeeper lock`
#[derive(Debug, Subcommand)]
pub(crate) enum Lock {
    /// Run a command only while the lock is held
    #[command(after_help = RUN_HELP)]
    Run(Box<LockRun>),
    /// Print every lock that somebody holds or waits for
    #[command(after_help = "Example:\n  setkeeper lock list -o json | jq '.[].name'")]
    List,
    /// Print who holds a lock and who waits for it
    #[command(after_help = "Example:\n  setkeeper lock show superset-upgrade")]
    Show {
        /// The lock
        name: String,
    },
    /// Take a lock from its holder, whose session lives on; the next in line holds it at once
    #[command(after_help = "Example:\n  setkeeper lock show superset-upgrade\n  \
                            setkeeper lock break superset-upgrade --holder _c_…-lock-0000000004")]
    Break(Break),
}

pub(super) const LOCK_EXAMPLES: &str = "\
Examples:
  setkeeper lock run nightly --try -- /opt/jobs/refresh.sh
  setkeeper lock list";

pub(super) const FENCE_EXAMPLE: &str =
    "Example, inside `setkeeper lock run`:\n  setkeeper fence check && curl -X POST …";

const RUN_HELP: &str = "\
Examples:
  setkeeper lock run superset-upgrade --pause-applier -- superset db upgrade
  setkeeper lock run nightly --try -- /opt/jobs/refresh.sh

The command runs in a process group of its own, with these in its environment:
  SETKEEPER_LOCK_TOKEN   the fence: a later holder's is the greater text (docs/locks.md shows what to do with it)
  SETKEEPER_LOCK_KEY     the lock's znode
Signals INT, TERM, HUP, QUIT, USR1 and USR2 are passed on to the whole group. What the command leaves running in its
group when it ends is ended (TERM, then KILL after --grace) before the lock is released. A terminal is not passed on:
the command's standard input is empty then.

Exit codes: the command's own (128 + n if signal n ended it, 127 if it is not found, 126 if it cannot be run), or
  64 usage · 69 ZooKeeper cannot be reached · 75 not acquired, and the command has not run
  76 lock lost: the command was ended, before another could hold the lock where ZooKeeper's session allows for it";

/// `setkeeper lock run`
#[derive(Debug, Args)]
pub(crate) struct LockRun {
    /// The lock, below `locks` in ZooKeeper
    pub(crate) name: String,
    /// Wait for the lock at most so long [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub(crate) wait: Option<Duration>,
    /// Do not wait for the lock
    #[arg(long = "try", conflicts_with = "wait")]
    pub(crate) at_once: bool,
    /// How long the command may take to end after TERM before it gets KILL [default: lock.grace]
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub(crate) grace: Option<Duration>,
    /// Whose clients can contend for it: curator or kazoo [default: lock.style]
    #[arg(long)]
    pub(crate) style: Option<zk::Style>,
    /// Hold the lock together with others that share it
    #[arg(long)]
    pub(crate) shared: bool,
    /// Hold it alone, as the writer of a lock that Curator's InterProcessReadWriteLock shares
    #[arg(long, conflicts_with = "shared")]
    pub(crate) write: bool,
    /// Why, for whoever looks at the lock [default: the command's name]
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Pause the appliers, and wait until they stand still, before the command runs; resume them afterwards
    #[arg(long, conflicts_with = "shared")]
    pub(crate) pause_applier: bool,
    /// The command and its arguments; no shell is between
    #[arg(last = true, required = true, action = ArgAction::Append)]
    pub(crate) command: Vec<OsString>,
}

/// `setkeeper lock break`
#[derive(Debug, Args)]
pub(crate) struct Break {
    /// The lock
    pub(crate) name: String,
    /// The znode of the holder that you saw (`lock show` prints it); nobody else is hit [default: whoever holds it now]
    #[arg(long, value_name = "ZNODE")]
    pub(crate) holder: Option<String>,
}

/// `setkeeper fence`
#[derive(Debug, Subcommand)]
pub(crate) enum Fence {
    /// Exit 0 while the token is that of the lock's present holder, 76 if it is not
    #[command(after_help = FENCE_EXAMPLE)]
    Check {
        /// The holder's token
        #[arg(long, env = "SETKEEPER_LOCK_TOKEN", value_name = "TOKEN")]
        token: String,
        /// The lock's znode
        #[arg(long, env = "SETKEEPER_LOCK_KEY", value_name = "KEY")]
        key: String,
    },
}

/// `setkeeper __under-lock`
#[derive(Debug, Args)]
pub(crate) struct UnderLock {
    /// The process that holds the lock
    pub(crate) holder: i32,
    /// The command
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}
