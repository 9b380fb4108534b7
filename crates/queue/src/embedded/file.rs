//! One open file: its connections, who waits on it, and whether its path still names it.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, LazyLock, PoisonError, Weak};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::schema::{self, LAYOUT};
use crate::{Config, OpenError, StoreError};

/// Device and inode: what a path names at the moment.
type Identity = (u64, u64);

/// Connections that read at the same time, in one process.
const READERS: u32 = 4;

/// The write-ahead log is cut back to this after a checkpoint.
const WAL_BYTES: &str = "67108864";

/// Every file that this process has open, so that all handles share one writer and wake one another.
static OPEN: LazyLock<Mutex<HashMap<Identity, Weak<File>>>> = LazyLock::new(Mutex::default);

#[derive(Debug)]
pub(super) struct File {
    pub(super) config: Config,
    identity: Identity,
    options: SqliteConnectOptions,
    readers: SqlitePool,
    /// The one writer; `None` after a write that failed or was dropped half-way, whose connection (and with it
    /// its transaction) is closed.
    writer: Mutex<Option<SqliteConnection>>,
    poller: Mutex<Poller>,
    /// Counts the commits that this process knows of.
    commits: watch::Sender<u64>,
    /// The highest offset seen of each log. A file that has less is an older copy.
    seen: std::sync::Mutex<HashMap<Uuid, i64>>,
}

/// Looks for other processes' commits: `data_version` changes for commits of other connections only, so it
/// needs a connection that never writes.
#[derive(Debug)]
struct Poller {
    connection: Option<SqliteConnection>,
    version: i64,
    last: Instant,
}

impl File {
    pub(super) async fn shared(config: &Config) -> Result<Arc<Self>, OpenError> {
        let mut open = OPEN.lock().await;
        let identity = create(&config.path)
            .and_then(|()| identity(&config.path))
            .map_err(|source| OpenError::File { path: config.path.clone(), source })?;
        if let Some(file) = open.get(&identity).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let file = Arc::new(Self::open(config, identity).await?);
        open.retain(|_, file| file.strong_count() > 0);
        open.insert(identity, Arc::downgrade(&file));
        Ok(file)
    }

    async fn open(config: &Config, identity: Identity) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Sqlite { path: config.path.clone(), source };
        let options = SqliteConnectOptions::new()
            .filename(&config.path)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(config.busy_timeout)
            .pragma("journal_size_limit", WAL_BYTES)
            .row_buffer_size(16)
            .disable_statement_logging();
        let mut writer = options.connect().await.map_err(failed)?;
        use_wal(&mut writer, config.busy_timeout).await.map_err(failed)?;
        let found = schema::ensure(&mut writer).await.map_err(failed)?;
        if found != LAYOUT {
            return Err(OpenError::Layout { path: config.path.clone(), found, known: LAYOUT });
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(config.busy_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone().pragma("query_only", "ON"));
        Ok(Self {
            config: config.clone(),
            identity,
            options,
            readers,
            writer: Mutex::new(Some(writer)),
            poller: Mutex::new(Poller { connection: None, version: -1, last: Instant::now() }),
            commits: watch::Sender::new(0),
            seen: std::sync::Mutex::default(),
        })
    }

    /// The connections to read with, if the path still names this file.
    pub(super) fn readers(&self) -> Result<&SqlitePool, StoreError> {
        self.check_identity()?;
        Ok(&self.readers)
    }

    /// Takes the write lock, in this process and among processes.
    pub(super) async fn begin(&self, doing: &'static str) -> Result<Writing<'_>, StoreError> {
        self.check_identity()?;
        let mut slot = self.writer.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(|source| self.failed(doing, source))?,
        };
        match sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await {
            Ok(_) => Ok(Writing { file: self, doing, slot, connection }),
            Err(source) => Err(self.failed(doing, source)),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Returns when there was a commit since `commits` was last looked at, of this process (at once) or of
    /// another (within a poll interval). Cancel-safe.
    pub(super) async fn changed(&self, commits: &mut watch::Receiver<u64>) -> Result<(), StoreError> {
        let started = Instant::now();
        loop {
            let idle = started.elapsed() >= self.config.idle_after;
            let interval = if idle { self.config.poll_idle } else { self.config.poll_active };
            tokio::select! {
                _ = commits.changed() => return Ok(()),
                () = tokio::time::sleep(interval) => self.poll(interval).await?,
            }
        }
    }

    /// Wakes every waiting reader of this process if another process has committed. One poll serves them all.
    async fn poll(&self, interval: Duration) -> Result<(), StoreError> {
        self.check_identity()?;
        let Ok(mut poller) = self.poller.try_lock() else { return Ok(()) };
        if poller.connection.is_some() && poller.last.elapsed() < interval / 2 {
            return Ok(());
        }
        let failed = |source| self.failed("look for new records", source);
        // The numbers of two connections do not compare: a new one may begin with the old one's.
        let (mut connection, before) = match poller.connection.take() {
            Some(connection) => (connection, Some(poller.version)),
            None => (self.options.connect().await.map_err(failed)?, None),
        };
        let version =
            sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut connection).await.map_err(failed)?;
        let changed = before != Some(version);
        *poller = Poller { connection: Some(connection), version, last: Instant::now() };
        if changed {
            self.wake();
        }
        Ok(())
    }

    fn wake(&self) {
        self.commits.send_modify(|commits| *commits = commits.wrapping_add(1));
    }

    /// Notes how long a log was; returns false if it is shorter than it once was, so an older copy.
    pub(super) fn is_no_older(&self, log: Uuid, last_offset: i64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = seen.entry(log).or_insert(last_offset);
        let no_older = last_offset >= *highest;
        *highest = last_offset.max(*highest);
        no_older
    }

    pub(super) fn failed(&self, doing: &'static str, source: sqlx::Error) -> StoreError {
        // What a file that was just put in the place of this one answers says nothing about this one.
        if let Err(replaced) = self.check_identity() {
            return replaced;
        }
        let path = self.config.path.clone();
        if is_busy(&source) {
            StoreError::Busy { doing, path }
        } else {
            StoreError::Sqlite { doing, path, source }
        }
    }

    fn check_identity(&self) -> Result<(), StoreError> {
        match identity(&self.config.path) {
            Ok(identity) if identity == self.identity => Ok(()),
            Ok(_) | Err(_) => Err(StoreError::Replaced { path: self.config.path.clone() }),
        }
    }
}

/// A write transaction. Dropped without [`Writing::commit`], its connection is closed, which rolls back.
pub(super) struct Writing<'a> {
    file: &'a File,
    doing: &'static str,
    slot: MutexGuard<'a, Option<SqliteConnection>>,
    pub(super) connection: SqliteConnection,
}

impl Writing<'_> {
    pub(super) fn failed(&self, source: sqlx::Error) -> StoreError {
        self.file.failed(self.doing, source)
    }

    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        match sqlx::query("COMMIT").execute(&mut self.connection).await {
            Ok(_) => {
                *self.slot = Some(self.connection);
                self.file.wake();
                Ok(())
            }
            Err(source) => Err(self.file.failed(self.doing, source)),
        }
    }
}

/// Only this user may read it; SQLite gives its `-wal` and `-shm` files the same mode.
fn create(path: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

fn identity(path: &Path) -> io::Result<Identity> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// SQLite does not wait with its busy handler when a file changes its journal mode, so two processes that make
/// the file together need a bounded retry.
async fn use_wal(connection: &mut SqliteConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    let deadline = Instant::now() + timeout;
    loop {
        match sqlx::query("PRAGMA journal_mode = WAL").execute(&mut *connection).await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            result => return result.map(drop),
        }
    }
}

/// `SQLITE_BUSY` or `SQLITE_LOCKED`, extended or not.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_poll_that_was_dropped_half_way_hides_no_commit() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = File::shared(&Config::new(folder.path().join("queue.db"))).await.expect("a queue");
        let mut commits = file.subscribe();
        file.poll(Duration::ZERO).await.expect("a poll");
        commits.mark_unchanged();
        // As a poll that was dropped leaves it; meanwhile another process commits.
        let version = {
            let mut poller = file.poller.lock().await;
            poller.connection = None;
            poller.version
        };
        file.poll(Duration::ZERO).await.expect("a poll");
        assert_eq!(
            file.poller.lock().await.version,
            version,
            "a new connection may count from the same number"
        );
        assert!(commits.has_changed().expect("a file"));
    }
}
