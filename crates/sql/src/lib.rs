//! One transaction on SQLite or PostgreSQL, through sqlx, in sea-query's vocabulary.
//!
//! Statements come in as the parts that sea-query builds (a string and its [`Values`]); rows come out as
//! vectors of [`Value`], decoded by the type that the database says they have. The crate knows nothing of what
//! the tables mean.
//!
//! # Guarantees
//! - A [`Transaction`] that is dropped, cancelled or failed is rolled back: its connection is closed.
//! - After a statement has failed, [`Transaction::commit`] refuses. (PostgreSQL answers COMMIT of a failed
//!   transaction with a silent ROLLBACK.)
//! - A commit whose outcome is not known says so: [`CommitError::Unknown`].
//! - Every wait is bounded by [`Config`].
//! - No error, log line or `Debug` output holds a password or a bound value.

mod config;
mod database;
mod decode;
mod discover;
mod error;
mod ids;
mod transaction;
mod url;

pub use config::{Config, Isolation};
pub use database::{Database, Dialect, MigrateError};
pub use discover::{ColumnInfo, Columns};
pub use error::{Class, CommitError, ConnectError, Error, Violated};
pub use ids::IdSource;
pub use sea_query::{Value, Values};
pub use transaction::{Mode, Row, Transaction};

/// Whether a value is NULL, of whatever type: a NULL of SQLite has no type of its own and comes as
/// `Value::String(None)`.
#[must_use]
pub fn is_null(value: &Value) -> bool {
    *value == value.as_null()
}
