//! One transaction, hand-made: sqlx's own can neither try a busy COMMIT again nor say that its outcome is
//! unknown.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use sea_query::{Value, Values};
use sea_query_sqlx::SqlxValues;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Postgres, Sqlite};

use crate::database::Pool;
use crate::{Class, CommitError, Config, Database, Dialect, Error, Isolation, decode};

/// One row: its columns' values in the order of the SELECT.
pub type Row = Vec<Value>;

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Reads one snapshot, takes no write lock. PostgreSQL: repeatable read, read only.
    Read,
    /// SQLite takes the write lock at once (`BEGIN IMMEDIATE`), so that what was read cannot change before it
    /// is written.
    Write,
}

#[derive(Debug)]
enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A statement failed: only a rollback is left.
    Failed,
    /// A statement or the commit never came back: the connection must be closed.
    Broken,
    Over,
}

/// A transaction. Dropped without [`Transaction::commit`] or [`Transaction::rollback`] (a cancelled future, an
/// early return), its connection is closed, which rolls back.
#[derive(Debug)]
pub struct Transaction {
    connection: Connection,
    state: State,
    mode: Mode,
    label: Arc<str>,
    config: Arc<Config>,
    /// The highest id handed out for each table and column (see `ids`).
    pub(crate) reserved: BTreeMap<(String, String), i64>,
}

/// The client waits this much longer than the database's own timeout, which gives the better message.
const GRACE: Duration = Duration::from_secs(5);

/// Runs one sqlx expression on the connection of either kind.
macro_rules! on {
    ($transaction:expr, |$connection:ident| $run:expr) => {
        match &mut $transaction.connection {
            Connection::Sqlite($connection) => {
                let $connection = &mut **$connection;
                $run
            }
            Connection::Postgres($connection) => {
                let $connection = &mut **$connection;
                $run
            }
        }
    };
}

impl Transaction {
    pub(crate) async fn begin(database: &Database, mode: Mode) -> Result<Self, Error> {
        const DOING: &str = "begin a transaction";
        let failed = |error: &sqlx::Error| Error::from_sqlx(&database.label, DOING, error);
        let connection = match &database.pool {
            Pool::Sqlite(_, file) if !file.is_in_place() => {
                let message = "the file was replaced or removed; connect to it again";
                return Err(Error::new(&database.label, DOING, Class::Unreachable, message));
            }
            Pool::Sqlite(pool, _) => pool.acquire().await.map(Connection::Sqlite),
            Pool::Postgres(pool) => pool.acquire().await.map(Connection::Postgres),
        };
        let mut transaction = Self {
            connection: connection.map_err(|error| failed(&error))?,
            state: State::Broken, // Until BEGIN has come back.
            mode,
            label: Arc::clone(&database.label),
            config: Arc::clone(&database.config),
            reserved: BTreeMap::new(),
        };
        let begin = begin(database.dialect(), mode, database.config.isolation);
        transaction.command(DOING, begin).await?;
        transaction.state = State::Open;
        Ok(transaction)
    }

    /// Which SQL it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.connection {
            Connection::Sqlite(_) => Dialect::Sqlite,
            Connection::Postgres(_) => Dialect::Postgres,
        }
    }

    /// What it is for.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Runs one statement and returns how many rows it changed.
    ///
    /// # Errors
    /// See [`Error`]. After an error the transaction can only be rolled back.
    pub async fn execute(&mut self, sql: &str, values: Values) -> Result<u64, Error> {
        const DOING: &str = "execute a statement";
        self.check(DOING, &values)?;
        let deadline = self.deadline();
        let sql = AssertSqlSafe(sql);
        self.state = State::Broken; // If this future is dropped in the middle.
        let done = match &mut self.connection {
            Connection::Sqlite(connection) => {
                let query = sqlx::query_with(sql, SqlxValues(values)).execute(&mut **connection);
                within(deadline, async { query.await.map(|done| done.rows_affected()) }).await
            }
            Connection::Postgres(connection) => {
                let query = sqlx::query_with(sql, SqlxValues(values)).execute(&mut **connection);
                within(deadline, async { query.await.map(|done| done.rows_affected()) }).await
            }
        };
        self.settle(DOING, done)
    }

    /// Runs one query and returns its rows.
    ///
    /// Values come as the database types them. PostgreSQL: `bool`, `int2/4/8` (`SmallInt`, `Int`, `BigInt`),
    /// `float4/8`, `numeric` as text, all text types, `bytea`, `uuid`, `json` and `jsonb` as their text,
    /// `date`, `time`, `timestamp`, `timestamptz`; other types are refused, cast them in the query. SQLite: the
    /// value's own storage class (`BigInt`, `Double`, `String`, `Bytes`), whatever the column was declared as;
    /// NULL as `String(None)`.
    ///
    /// # Errors
    /// See [`Error`]. After an error the transaction can only be rolled back.
    pub async fn fetch(&mut self, sql: &str, values: Values) -> Result<Vec<Row>, Error> {
        const DOING: &str = "run a query";
        self.check(DOING, &values)?;
        let (deadline, max_rows) = (self.deadline(), self.config.max_rows);
        let sql = AssertSqlSafe(sql);
        self.state = State::Broken;
        let done = match &mut self.connection {
            Connection::Sqlite(connection) => {
                let rows = sqlx::query_with(sql, SqlxValues(values)).fetch(&mut **connection);
                within(deadline, collect(rows.map_ok(|row| decode::sqlite(&row)), max_rows)).await
            }
            Connection::Postgres(connection) => {
                let rows = sqlx::query_with(sql, SqlxValues(values)).fetch(&mut **connection);
                within(deadline, collect(rows.map_ok(|row| decode::postgres(&row)), max_rows)).await
            }
        };
        self.settle(DOING, done)
    }

    /// Runs several statements without values, separated by semicolons, for making tables.
    ///
    /// # Errors
    /// See [`Error`]. After an error the transaction can only be rolled back.
    pub async fn execute_script(&mut self, sql: &str) -> Result<(), Error> {
        const DOING: &str = "execute a script";
        self.check(DOING, &Values(Vec::new()))?;
        self.state = State::Broken;
        let deadline = self.deadline();
        let done = on!(self, |connection| {
            let script = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection);
            within(deadline, async { script.await.map(drop) }).await
        });
        self.settle(DOING, done)
    }

    /// Commits. A COMMIT that SQLite's readers keep from the file's lock is tried again, bounded. Dropped
    /// half-way, the outcome is unknown.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit(mut self) -> Result<(), CommitError> {
        const DOING: &str = "commit";
        if self.state != State::Open {
            let error =
                Error::new(&self.label, DOING, Class::Other, "a statement of the transaction has failed");
            return Err(CommitError::NotCommitted(error));
        }
        let mut attempts = self.config.commit_attempts.max(1);
        loop {
            attempts -= 1;
            self.state = State::Broken;
            match self.command(DOING, "COMMIT").await {
                Ok(()) => {
                    self.state = State::Over;
                    return Ok(());
                }
                Err(error) if is_busy(&self, &error) && attempts > 0 => {}
                Err(error) if is_certain(&self, &error) => return Err(CommitError::NotCommitted(error)),
                Err(error) => return Err(CommitError::Unknown(error)),
            }
        }
    }

    /// Rolls back. It cannot fail: a connection that does not answer is closed, which rolls back too.
    pub async fn rollback(mut self) {
        if matches!(self.state, State::Open | State::Failed) {
            self.state = State::Broken;
            if self.command("roll back", "ROLLBACK").await.is_ok() {
                self.state = State::Over;
            }
        }
    }

    pub(crate) fn error(&self, doing: &'static str, class: Class, message: impl Into<String>) -> Error {
        Error::new(&self.label, doing, class, message)
    }

    /// When the client gives up on an answer: later than the database itself.
    fn deadline(&self) -> Duration {
        self.config.statement_timeout.max(self.config.busy_timeout) + GRACE
    }

    /// Whether another statement may run, and whether its values can be bound at all.
    fn check(&mut self, doing: &'static str, values: &Values) -> Result<(), Error> {
        if self.state != State::Open {
            return Err(self.error(
                doing,
                Class::Other,
                "an earlier statement of the transaction has failed",
            ));
        }
        // sea-query-sqlx panics on these.
        let too_large =
            |value: &Value| matches!(value, Value::BigUnsigned(Some(n)) if i64::try_from(*n).is_err());
        if values.0.iter().any(too_large) {
            self.state = State::Failed;
            return Err(self.error(doing, Class::Refused, "an integer is beyond 63 bits"));
        }
        Ok(())
    }

    fn settle<T>(&mut self, doing: &'static str, done: Result<T, Failure>) -> Result<T, Error> {
        match done {
            Ok(value) => {
                self.state = State::Open;
                Ok(value)
            }
            Err(failure) => {
                let error = failure.error(&self.label, doing);
                // Only a plain refusal leaves a connection that is surely good for others.
                self.state = if error.class == Class::Refused { State::Failed } else { State::Broken };
                Err(error)
            }
        }
    }

    async fn command(&mut self, doing: &'static str, sql: &'static str) -> Result<(), Error> {
        let deadline = self.deadline();
        let done = on!(self, |connection| {
            let command = sqlx::raw_sql(sql).execute(connection);
            within(deadline, async { command.await.map(drop) }).await
        });
        done.map_err(|failure| failure.error(&self.label, doing))
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.state != State::Over {
            match &mut self.connection {
                Connection::Sqlite(connection) => connection.close_on_drop(),
                Connection::Postgres(connection) => connection.close_on_drop(),
            }
        }
    }
}

/// On SQLite a connection is told each time whether it may write, since the pool hands it out for both.
fn begin(dialect: Dialect, mode: Mode, isolation: Isolation) -> &'static str {
    match (dialect, mode, isolation) {
        (Dialect::Sqlite, Mode::Read, _) => "PRAGMA query_only = ON; BEGIN",
        (Dialect::Sqlite, Mode::Write, _) => "PRAGMA query_only = OFF; BEGIN IMMEDIATE",
        (Dialect::Postgres, Mode::Read, _) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        (Dialect::Postgres, Mode::Write, Isolation::ReadCommitted) => {
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
        }
        (Dialect::Postgres, Mode::Write, Isolation::RepeatableRead) => {
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE"
        }
        (Dialect::Postgres, Mode::Write, Isolation::Serializable) => {
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE"
        }
    }
}

/// SQLite keeps a transaction open whose COMMIT was busy.
fn is_busy(transaction: &Transaction, error: &Error) -> bool {
    transaction.dialect() == Dialect::Sqlite && error.class == Class::Conflict
}

/// Whether a failed COMMIT surely did nothing: the database said so itself, and it was not on its way down. An
/// input or output error of SQLite leaves it open.
fn is_certain(transaction: &Transaction, error: &Error) -> bool {
    let said = error.code.is_some() && error.class != Class::Unreachable;
    match transaction.dialect() {
        Dialect::Sqlite => said && error.class != Class::Other,
        Dialect::Postgres => said,
    }
}

/// How a call on a connection failed.
enum Failure {
    Driver(sqlx::Error),
    Decode(String),
    TooMany(usize),
    NoAnswer,
}

impl Failure {
    fn error(self, label: &str, doing: &'static str) -> Error {
        match self {
            Self::Driver(error) => Error::from_sqlx(label, doing, &error),
            Self::Decode(message) => Error::new(label, doing, Class::Other, message),
            Self::TooMany(max) => {
                Error::new(label, doing, Class::Other, format!("more than {max} rows came back"))
            }
            Self::NoAnswer => Error::new(label, doing, Class::Unreachable, "no answer in time"),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

async fn within<T, E: Into<Failure>>(
    deadline: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(deadline, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Failure::NoAnswer),
    }
}

async fn collect(
    rows: impl futures_util::Stream<Item = Result<Result<Row, String>, sqlx::Error>>,
    max: usize,
) -> Result<Vec<Row>, Failure> {
    let mut all = Vec::new();
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.try_next().await? {
        if all.len() == max {
            return Err(Failure::TooMany(max));
        }
        all.push(row.map_err(Failure::Decode)?);
    }
    Ok(all)
}
