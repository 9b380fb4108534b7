//! One database: its connections, opened with the bounds of a [`Config`].

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use crate::url::{self, Secret, Target};
use crate::{Class, Config, ConnectError, Error, Mode, Transaction};

/// Which SQL a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite 3.
    Sqlite,
    /// PostgreSQL 12 or newer.
    Postgres,
}

#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool, File),
    Postgres(PgPool),
}

/// Which file the connections have open. One that was moved into its place (a restored backup) is another: what
/// is committed through the old connections would be lost.
#[derive(Debug, Clone)]
pub(crate) struct File {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl File {
    fn open(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: identity(path) }
    }

    pub(crate) fn is_in_place(&self) -> bool {
        self.identity.is_some() && identity(&self.path) == self.identity
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// A database and its connections; cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) pool: Pool,
    pub(crate) label: Arc<str>,
    pub(crate) config: Arc<Config>,
}

/// Why the schema of a database of our own could not be brought up to date.
#[derive(Debug, thiserror::Error)]
#[error("bring the schema of {database} up to date")]
pub struct MigrateError {
    database: String,
    #[source]
    source: sqlx::migrate::MigrateError,
}

impl Database {
    /// Opens a database and proves it with one connection.
    ///
    /// URLs: `sqlite:PATH`, `sqlite:///ABSOLUTE`, `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, and
    /// SQLAlchemy's spellings of them (`sqlite:////ABSOLUTE`, `postgresql+psycopg2://…`).
    ///
    /// # Errors
    /// See [`ConnectError`]; it never shows the password.
    pub async fn connect(url: &str, config: Config) -> Result<Self, ConnectError> {
        match url::parse(url)? {
            Target::Sqlite(path) => sqlite(&path, config).await,
            Target::Postgres(Secret(options)) => postgres(*options, config).await,
        }
    }

    /// Which SQL it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.pool {
            Pool::Sqlite(..) => Dialect::Sqlite,
            Pool::Postgres(_) => Dialect::Postgres,
        }
    }

    /// What to call it in messages: kind, host and database name, or the path. No user, no password.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// No connection could be had in time, or the file is not the one any more that was connected to:
    /// `Unreachable`, connect again. Or (SQLite, [`Mode::Write`]) somebody else held the write lock for
    /// longer than the busy timeout: `Conflict`.
    pub async fn begin(&self, mode: Mode) -> Result<Transaction, Error> {
        Transaction::begin(self, mode).await
    }

    /// Brings the schema of a database of our own up to date.
    ///
    /// # Errors
    /// See [`MigrateError`].
    pub async fn migrate(&self, migrator: &Migrator) -> Result<(), MigrateError> {
        let done = match &self.pool {
            Pool::Sqlite(pool, _) => migrate_sqlite(pool, migrator).await,
            Pool::Postgres(pool) => migrate_postgres(pool, migrator).await,
        };
        done.map_err(|source| MigrateError { database: self.label.to_string(), source })
    }

    /// Closes every connection, waiting for those in use.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool, _) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}

/// A pooled connection may have been one that only reads.
async fn migrate_sqlite(pool: &SqlitePool, migrator: &Migrator) -> Result<(), sqlx::migrate::MigrateError> {
    let mut connection = pool.acquire().await?;
    sqlx::query("PRAGMA query_only = OFF").execute(&mut *connection).await?;
    migrator.run_direct(None, &mut *connection, false).await
}

/// `run_direct`, because the future of [`Migrator::run`] cannot be sent between threads.
async fn migrate_postgres(pool: &PgPool, migrator: &Migrator) -> Result<(), sqlx::migrate::MigrateError> {
    migrator.run_direct(None, &mut *pool.acquire().await?, false).await
}

async fn sqlite(path: &Path, config: Config) -> Result<Database, ConnectError> {
    let label: Arc<str> = format!("sqlite `{}`", path.display()).into();
    if !config.create && !path.exists() {
        return Err(ConnectError::Missing { database: label.to_string() });
    }
    let mut options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(config.create)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(config.busy_timeout)
        .disable_statement_logging();
    if config.wal {
        options = options.journal_mode(SqliteJournalMode::Wal);
    }
    let failed = |error: &sqlx::Error| Error::from_sqlx(&label, "open the database", error);
    let mut connection = options.connect().await.map_err(|error| failed(&error))?;
    // The first look at the file finds what is no database.
    let looked = sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&mut connection).await;
    looked.map_err(|error| failed(&error))?;
    let pool = SqlitePoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(config.connect_timeout)
        .connect_lazy_with(options);
    drop(connection.close().await);
    Ok(Database { pool: Pool::Sqlite(pool, File::open(path)), label, config: Arc::new(config) })
}

async fn postgres(options: PgConnectOptions, config: Config) -> Result<Database, ConnectError> {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    let label: Arc<str> = format!("postgresql `{host}:{}/{database}`", options.get_port()).into();
    let options = options.application_name("setkeeper").disable_statement_logging();
    let config = Arc::new(config);
    // The pool tries again while a server refuses connections and then only says that time ran out, so the
    // first connection is made without it.
    let first = async {
        let mut connection = options.connect().await?;
        settle(&mut connection, &config).await?;
        connection.close().await
    };
    match tokio::time::timeout(config.connect_timeout, first).await {
        Ok(made) => made.map_err(|error| Error::from_sqlx(&label, "connect", &error))?,
        Err(_) => return Err(Error::new(&label, "connect", Class::Unreachable, "no answer in time").into()),
    }
    let each = Arc::clone(&config);
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(config.connect_timeout)
        .after_connect(move |connection, _| {
            let config = Arc::clone(&each);
            Box::pin(async move { settle(connection, &config).await })
        })
        .connect_lazy_with(options);
    Ok(Database { pool: Pool::Postgres(pool), label, config })
}

/// Sets a session's bounds by statement, not by start-up options, which connection poolers refuse.
async fn settle(connection: &mut PgConnection, config: &Config) -> Result<(), sqlx::Error> {
    let mut settings = vec![
        ("statement_timeout", millis(config.statement_timeout)),
        ("lock_timeout", millis(config.lock_timeout)),
        ("idle_in_transaction_session_timeout", millis(config.idle_in_transaction_timeout)),
    ];
    settings.extend(config.search_path.clone().map(|path| ("search_path", path)));
    for (name, value) in settings {
        sqlx::query("SELECT set_config($1, $2, false)")
            .bind(name)
            .bind(value)
            .execute(&mut *connection)
            .await?;
    }
    // Else a server notices that its client has gone only once the statement is done, and keeps its locks until
    // then. Servers before 14 do not know it, and some systems' refuse it.
    let noticed = sqlx::query("SELECT set_config(name, '1s', false) FROM pg_settings WHERE name = $1")
        .bind("client_connection_check_interval")
        .execute(&mut *connection)
        .await;
    match noticed {
        Ok(_) | Err(sqlx::Error::Database(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Zero would mean no bound at all.
fn millis(duration: Duration) -> String {
    duration.as_millis().max(1).to_string()
}
