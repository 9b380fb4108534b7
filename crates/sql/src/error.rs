//! What can go wrong, and what a caller may do about it. Only what is safe to show is kept of a driver's error:
//! its details may quote values.

use std::fmt;

use sqlx::error::ErrorKind;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

/// What a caller may do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Somebody else was at it (serialisation, deadlock, a lock not got in time): the same transaction may
    /// succeed if it is tried again.
    Conflict,
    /// The data is bad: a constraint, a value out of range, text that the database cannot hold.
    Refused,
    /// The connection could not be made or was lost, or the server is shutting down.
    Unreachable,
    /// A statement took longer than its timeout.
    Slow,
    /// The database accepts no writes.
    ReadOnly,
    /// The disk, or another of the server's resources, is full.
    NoSpace,
    /// The role may not do this, or could not log in.
    Denied,
    /// The statement does not fit the schema: no such table or column, or bad SQL.
    Schema,
    /// Anything else: corruption, a type that is not supported, a mistake of ours.
    Other,
}

/// Why a statement failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Which database, without its password.
    pub database: String,
    /// What was being done.
    pub doing: &'static str,
    /// What the caller may do.
    pub class: Class,
    /// PostgreSQL's SQLSTATE or SQLite's extended result code.
    pub code: Option<String>,
    /// The database's own words, without values.
    pub message: String,
    /// What refused the data, as far as the database names it.
    pub violated: Option<Box<Violated>>,
}

/// The place of a violated constraint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Violated {
    /// The constraint's name.
    pub constraint: Option<String>,
    /// The table.
    pub table: Option<String>,
    /// The column; of several the first.
    pub column: Option<String>,
}

impl Error {
    /// What the caller may do.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Whether a row with the same unique value was there already: if nobody knew of it, somebody else has made it
    /// meanwhile, and the transaction may succeed once it knows.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        // SQLITE_CONSTRAINT_UNIQUE and SQLITE_CONSTRAINT_PRIMARYKEY.
        matches!(self.code.as_deref(), Some("23505" | "2067" | "1555"))
    }

    pub(crate) fn new(database: &str, doing: &'static str, class: Class, message: impl Into<String>) -> Self {
        Self {
            database: database.to_owned(),
            doing,
            class,
            code: None,
            message: message.into(),
            violated: None,
        }
    }

    pub(crate) fn from_sqlx(database: &str, doing: &'static str, error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(source) => {
                if let Some(error) = source.try_downcast_ref::<PgDatabaseError>() {
                    return postgres(Self::new(database, doing, Class::Other, ""), error);
                }
                let known = source.try_downcast_ref::<SqliteError>().is_some();
                let error = Self::new(database, doing, Class::Other, source.message());
                if known { sqlite(error, source.as_ref()) } else { error }
            }
            other => Self::new(database, doing, class_of_driver(other), other.to_string()),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.doing, self.database, self.message)?;
        match &self.code {
            Some(code) => write!(f, " (code {code})"),
            None => Ok(()),
        }
    }
}

fn class_of_driver(error: &sqlx::Error) -> Class {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Class::Unreachable,
        _ => Class::Other,
    }
}

fn postgres(mut error: Error, source: &PgDatabaseError) -> Error {
    let code = source.code();
    error.class = class_of_sqlstate(code);
    error.code = Some(code.to_owned());
    error.message = source.message().to_owned();
    if code.starts_with("22") {
        // `invalid input syntax for type integer: "…"` quotes the value.
        error.message.truncate(error.message.find(": \"").unwrap_or(error.message.len()));
    }
    if code == "0A000" && source.message().contains("cached plan") {
        error.class = Class::Conflict; // The table was altered; another connection plans anew.
    }
    let violated = Violated {
        constraint: source.constraint().map(ToOwned::to_owned),
        table: source.table().map(ToOwned::to_owned),
        column: source.column().map(ToOwned::to_owned),
    };
    error.violated = (violated != Violated::default()).then(|| Box::new(violated));
    error
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn class_of_sqlstate(code: &str) -> Class {
    match code {
        "55P03" => Class::Conflict,
        "57014" => Class::Slow,
        "53300" | "25P03" | "25P04" => Class::Unreachable,
        "25006" => Class::ReadOnly,
        "42501" => Class::Denied,
        "P0001" => Class::Refused,
        _ => match code.get(..2).unwrap_or_default() {
            "40" => Class::Conflict,
            "22" | "23" | "44" => Class::Refused,
            "08" | "57" => Class::Unreachable,
            "53" | "54" => Class::NoSpace,
            "28" => Class::Denied,
            "42" | "3D" | "3F" => Class::Schema,
            _ => Class::Other,
        },
    }
}

fn sqlite(mut error: Error, source: &dyn sqlx::error::DatabaseError) -> Error {
    let code = source.code().unwrap_or_default().into_owned();
    error.class = class_of_sqlite(code.parse().unwrap_or(0));
    error.code = Some(code);
    // `UNIQUE constraint failed: tables.table_name, tables.schema`
    if let Some((_, place)) = source.message().split_once(" constraint failed: ") {
        let place = place.split(", ").next().unwrap_or(place);
        error.violated = Some(Box::new(match place.split_once('.') {
            Some((table, column)) if source.kind() != ErrorKind::CheckViolation => {
                Violated { constraint: None, table: Some(table.to_owned()), column: Some(column.to_owned()) }
            }
            _ => Violated { constraint: Some(place.to_owned()), ..Violated::default() },
        }));
    }
    error
}

/// <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
fn class_of_sqlite(code: i32) -> Class {
    match code & 0xff {
        1 | 25 => Class::Schema,
        3 | 23 => Class::Denied,
        5 | 6 | 17 => Class::Conflict,
        8 => Class::ReadOnly,
        10 | 14 => Class::Unreachable,
        13 => Class::NoSpace,
        18..=20 => Class::Refused,
        _ => Class::Other,
    }
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a URL of a database. The URL itself is not shown: it may hold a password.
    #[error("read the database url: {reason}")]
    Url {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A database that is not supported.
    #[error("read the database url: `{scheme}` is not supported; use `sqlite:` or `postgresql:`")]
    Scheme {
        /// The URL's scheme.
        scheme: String,
    },
    /// The SQLite file is not there.
    #[error("open {database}: there is no such file; check the path, or create it first")]
    Missing {
        /// Which database.
        database: String,
    },
    /// The server, or the file, could not be opened.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl ConnectError {
    /// What the caller may do: a bad URL is `Other`, a missing file `Unreachable`.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Url { .. } | Self::Scheme { .. } => Class::Other,
            Self::Missing { .. } => Class::Unreachable,
            Self::Failed(error) => error.class,
        }
    }
}

/// Why a commit did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// Nothing was committed.
    #[error("{0}; nothing was committed")]
    NotCommitted(Error),
    /// The connection was lost in COMMIT: it may have happened or not. Read what the transaction would have
    /// written; never try again blindly.
    #[error("{0}; whether it was committed is not known")]
    Unknown(Error),
}

impl CommitError {
    /// What the caller may do, once it knows what became of the transaction.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::NotCommitted(error) | Self::Unknown(error) => error.class,
        }
    }
}
