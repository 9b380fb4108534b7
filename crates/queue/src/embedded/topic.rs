//! The row of one topic, and what it says about a position.

use sqlx::{FromRow, Row, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use crate::position::GENESIS;
use crate::{Config, Digest, Fence, Lost, Position};

#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) id: i64,
    pub(super) log: Uuid,
    pub(super) fence: Option<Fence>,
    pub(super) last_offset: i64,
    pub(super) last_digest: Digest,
    pub(super) trimmed_offset: i64,
    pub(super) trimmed_digest: Digest,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl<'r> FromRow<'r, SqliteRow> for Topic {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            log: row.try_get("log")?,
            fence: fence(row)?,
            last_offset: row.try_get("last_offset")?,
            last_digest: digest(row, "last_digest")?,
            trimmed_offset: row.try_get("trimmed_offset")?,
            trimmed_digest: digest(row, "trimmed_digest")?,
            records: row.try_get::<i64, _>("records")?.cast_unsigned(),
            bytes: row.try_get::<i64, _>("bytes")?.cast_unsigned(),
        })
    }
}

impl Topic {
    /// The topic of that name, made if there is none. Call within a write transaction.
    pub(super) async fn ensure(connection: &mut SqliteConnection, name: &str) -> Result<Self, sqlx::Error> {
        sqlx::query(
            "INSERT INTO topic(name, log, last_offset, last_digest, trimmed_offset, trimmed_digest, records, bytes)
             VALUES (?1, ?2, 0, ?3, 0, ?3, 0, 0) ON CONFLICT(name) DO NOTHING",
        )
        .bind(name)
        .bind(Uuid::new_v4())
        .bind(GENESIS.as_slice())
        .execute(&mut *connection)
        .await?;
        sqlx::query_as("SELECT * FROM topic WHERE name = ?1").bind(name).fetch_one(connection).await
    }

    /// Writes back what an append, a put or a trim changed.
    pub(super) async fn save(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE topic SET log = ?2, generation = ?3, czxid = ?4, last_offset = ?5, last_digest = ?6,
             trimmed_offset = ?7, trimmed_digest = ?8, records = ?9, bytes = ?10 WHERE id = ?1",
        )
        .bind(self.id)
        .bind(self.log)
        .bind(self.fence.map(|fence| fence.0.cast_signed()))
        .bind(self.fence.map(|fence| fence.1))
        .bind(self.last_offset)
        .bind(self.last_digest.as_slice())
        .bind(self.trimmed_offset)
        .bind(self.trimmed_digest.as_slice())
        .bind(self.records.cast_signed())
        .bind(self.bytes.cast_signed())
        .execute(connection)
        .await
        .map(drop)
    }

    /// Whether so many more records and bytes fit.
    pub(super) fn has_room(&self, (records, bytes): (u64, u64), config: &Config) -> bool {
        self.records.saturating_add(records) <= config.max_records
            && self.bytes.saturating_add(bytes) <= config.max_bytes
    }

    /// Notes what is waited for; `None` once an append was made.
    pub(super) async fn wait_for(
        &self,
        connection: &mut SqliteConnection,
        wanted: Option<(u64, u64)>,
    ) -> Result<(), sqlx::Error> {
        let statement = match wanted {
            Some((records, bytes)) => {
                sqlx::query("INSERT OR REPLACE INTO waiting(topic, records, bytes) VALUES (?1, ?2, ?3)")
                    .bind(self.id)
                    .bind(records.cast_signed())
                    .bind(bytes.cast_signed())
            }
            None => sqlx::query("DELETE FROM waiting WHERE topic = ?1").bind(self.id),
        };
        statement.execute(connection).await.map(drop)
    }

    /// What an append waits for, if one does.
    pub(super) async fn wanted(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<(u64, u64)>, sqlx::Error> {
        let wanted: Option<(i64, i64)> =
            sqlx::query_as("SELECT records, bytes FROM waiting WHERE topic = ?1")
                .bind(self.id)
                .fetch_optional(connection)
                .await?;
        Ok(wanted.map(|(records, bytes)| (records.cast_unsigned(), bytes.cast_unsigned())))
    }

    pub(super) fn first(&self) -> Position {
        Position { log: self.log, offset: self.trimmed_offset + 1, before: self.trimmed_digest }
    }

    pub(super) fn end(&self) -> Position {
        Position { log: self.log, offset: self.last_offset + 1, before: self.last_digest }
    }

    /// Whether this log continues a position. `before` is the digest of the record before it, if it is kept.
    pub(super) fn check(&self, position: &Position, before: Option<&[u8]>) -> Result<(), Lost> {
        let offset = position.offset;
        if position.log != self.log {
            return Err(Lost::OtherLog);
        }
        if offset > self.last_offset + 1 {
            return Err(Lost::Beyond { offset, end: self.last_offset + 1 });
        }
        if offset <= self.trimmed_offset {
            return Err(Lost::Trimmed { offset, first: self.trimmed_offset + 1 });
        }
        let before =
            if offset == self.trimmed_offset + 1 { Some(self.trimmed_digest.as_slice()) } else { before };
        match before {
            None => Err(Lost::Gap { offset: offset - 1 }),
            Some(before) if before != position.before => Err(Lost::OtherHistory { offset }),
            Some(_) => Ok(()),
        }
    }
}

/// The fence of a row; generations are stored by their bits.
pub(super) fn fence(row: &SqliteRow) -> Result<Option<Fence>, sqlx::Error> {
    let generation: Option<i64> = row.try_get("generation")?;
    let czxid: Option<i64> = row.try_get("czxid")?;
    Ok(generation.zip(czxid).map(|(generation, czxid)| Fence(generation.cast_unsigned(), czxid)))
}

pub(super) fn digest(row: &SqliteRow, column: &str) -> Result<Digest, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes
        .try_into()
        .map_err(|_| sqlx::Error::Protocol(format!("`{column}` has {} bytes, not 32", bytes.len())))
}
