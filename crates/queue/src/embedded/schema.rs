//! The layout of the file.

use sqlx::{Connection, SqliteConnection};

/// `user_version` of the layout below.
pub(super) const LAYOUT: i64 = 1;

/// `topic` holds each log's id, end, bounds and highest fence; what was trimmed leaves its last offset and
/// digest there, so that a position right behind it can still be proved. The columns of `record` stand so that
/// the small ones are read without following a large body's overflow pages.
const TABLES: &str = "
CREATE TABLE topic(
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    log BLOB NOT NULL,
    generation INTEGER,
    czxid INTEGER,
    last_offset INTEGER NOT NULL,
    last_digest BLOB NOT NULL,
    trimmed_offset INTEGER NOT NULL,
    trimmed_digest BLOB NOT NULL,
    records INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE record(
    topic INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    log BLOB NOT NULL,
    at INTEGER NOT NULL,
    generation INTEGER,
    czxid INTEGER,
    size INTEGER NOT NULL,
    digest BLOB NOT NULL,
    key TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY(topic, offset)
) STRICT;
CREATE TABLE latest(
    topic INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY(topic, key)
) STRICT;
CREATE TABLE reader(
    name TEXT NOT NULL,
    topic INTEGER NOT NULL,
    position TEXT NOT NULL,
    PRIMARY KEY(name, topic)
) STRICT;
PRAGMA user_version = 1;
";

/// What is waited for that a topic has no room for, until an append has been made. It came after the others, and who does
/// not know it does without.
const WAITING: &str = "
CREATE TABLE IF NOT EXISTS waiting(
    topic INTEGER PRIMARY KEY,
    records INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
";

/// Makes the tables if the file is empty, and returns the layout found or made. Several processes may do this
/// at once: the write lock is taken first.
pub(super) async fn ensure(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let layout: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *transaction).await?;
    let is_empty = layout == 0 && tables == 0;
    if is_empty {
        sqlx::raw_sql(TABLES).execute(&mut *transaction).await?;
    } else if layout != LAYOUT {
        transaction.rollback().await?;
        return Ok(layout);
    }
    sqlx::raw_sql(WAITING).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(LAYOUT)
}
