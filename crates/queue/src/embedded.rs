//! The queue as one SQLite file on a local disk, for several processes of one machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::OpenError;

mod file;
mod read;
mod schema;
mod topic;
mod write;

use file::File;

/// How the embedded queue is kept. The first handle of a file in a process decides for all of that process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file; its folder must exist. Made with mode 0600 if missing.
    pub path: PathBuf,
    /// How long to wait for another process's write lock. Default 10 s.
    pub busy_timeout: Duration,
    /// Records that a topic may hold before appends are refused. Default 1,000,000.
    pub max_records: u64,
    /// Bytes of keys, headers and bodies that a topic may hold before appends are refused. Default 4 GiB.
    pub max_bytes: u64,
    /// How often a waiting reader looks for another process's appends. Default 20 ms (some 0.5 % of a core).
    pub poll_active: Duration,
    /// The same, once it has waited for `idle_after`. Default 250 ms.
    pub poll_idle: Duration,
    /// Default 5 s.
    pub idle_after: Duration,
}

impl Config {
    /// The defaults, for a file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            busy_timeout: Duration::from_secs(10),
            max_records: 1_000_000,
            max_bytes: 4 << 30,
            poll_active: Duration::from_millis(20),
            poll_idle: Duration::from_millis(250),
            idle_after: Duration::from_secs(5),
        }
    }
}

/// A handle of the embedded queue; cheap to clone.
#[derive(Debug, Clone)]
pub struct Embedded {
    file: Arc<File>,
}

impl Embedded {
    pub(crate) async fn open(config: &Config) -> Result<Self, OpenError> {
        File::shared(config).await.map(|file| Self { file })
    }
}
