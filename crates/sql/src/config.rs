//! How to connect, and how long to wait.

use std::time::Duration;

/// The bounds of a [`crate::Database`]. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Connections open at once. Default 4.
    pub max_connections: u32,
    /// How long to wait for a connection. Default 10 s.
    pub connect_timeout: Duration,
    /// How long the server may work on one statement. PostgreSQL ends it itself; on either database the client
    /// gives up 5 s later and closes the connection. Default 60 s.
    pub statement_timeout: Duration,
    /// How long a statement may wait for a row or table lock (PostgreSQL). Default 10 s.
    pub lock_timeout: Duration,
    /// After how long the server cuts off a client that was stopped in the middle of a transaction, so that its
    /// successor is not blocked (PostgreSQL). Default 15 s.
    pub idle_in_transaction_timeout: Duration,
    /// How long a statement may wait for the file's lock (SQLite). Default 10 s.
    pub busy_timeout: Duration,
    /// How many times COMMIT is tried while readers keep it from the file's lock, each for `busy_timeout`
    /// (SQLite in its rollback-journal mode). Default 3.
    pub commit_attempts: u32,
    /// Rows that one fetch may return before it is refused. Default 1,000,000.
    pub max_rows: usize,
    /// Make a missing file (SQLite). Default false.
    pub create: bool,
    /// Switch the file to a write-ahead log (SQLite), for databases of our own: the mode is permanent and
    /// Superset's own file must keep what it has. Default false.
    pub wal: bool,
    /// Schemas to look in, as `search_path` (PostgreSQL). Default: the role's own.
    pub search_path: Option<String>,
    /// Isolation of writing transactions (PostgreSQL; SQLite's are serial). Default repeatable read: the fence's row
    /// lock serialises our writers, and what anybody else changes under a transaction that has looked at it is a
    /// conflict.
    pub isolation: Isolation,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 4,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(10),
            idle_in_transaction_timeout: Duration::from_secs(15),
            busy_timeout: Duration::from_secs(10),
            commit_attempts: 3,
            max_rows: 1_000_000,
            create: false,
            wal: false,
            search_path: None,
            isolation: Isolation::default(),
        }
    }
}

/// How much a writing transaction sees of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    ReadCommitted,
    /// One snapshot; concurrent updates of one row are conflicts.
    #[default]
    RepeatableRead,
    /// As if one after the other.
    Serializable,
}
