//! Reading, waiting and counting: nothing here takes the write lock.

use sqlx::{FromRow, Row, SqlitePool, sqlite::SqliteRow};

use super::Embedded;
use super::topic::{self, Topic};
use crate::{Batch, Digest, Entry, Fence, Lag, Lost, Position, ReadError, Size, StoreError};

impl Embedded {
    pub(crate) async fn read(
        &self,
        name: &str,
        from: &Position,
        max_records: usize,
        max_bytes: u64,
    ) -> Result<Batch, ReadError> {
        let topic = self.continued(name, from).await?;
        if from.offset > topic.last_offset || max_records == 0 {
            return Ok(Batch { entries: Vec::new(), next: *from });
        }
        let pool = self.file.readers()?;
        let rows = records(pool, topic.id, from.offset, max_records, max_bytes).await;
        let rows = rows.map_err(|source| self.file.failed("read records", source))?;
        let mut batch = Batch { entries: Vec::with_capacity(rows.len()), next: *from };
        for (entry, digest) in rows {
            // The two queries are two snapshots: a trim between them shows as a gap at the very start.
            if entry.offset != batch.next.offset {
                return Err(lost(name, Lost::Gap { offset: batch.next.offset }));
            }
            batch.next = Position { log: from.log, offset: entry.offset + 1, before: digest };
            batch.entries.push(entry);
        }
        if batch.entries.is_empty() {
            return Err(lost(name, Lost::Gap { offset: from.offset }));
        }
        Ok(batch)
    }

    pub(crate) async fn next_batch(
        &self,
        name: &str,
        from: &Position,
        max_records: usize,
        max_bytes: u64,
    ) -> Result<Batch, ReadError> {
        // Subscribed before the first look, so that no commit falls between a look and the wait.
        let mut commits = self.file.subscribe();
        loop {
            let batch = self.read(name, from, max_records.max(1), max_bytes).await?;
            if !batch.entries.is_empty() {
                return Ok(batch);
            }
            self.file.changed(&mut commits).await?;
        }
    }

    pub(crate) async fn room(&self, name: &str, records: u64, bytes: u64) -> Result<(), StoreError> {
        let (max_records, max_bytes) = (self.file.config.max_records, self.file.config.max_bytes);
        if records > max_records || bytes > max_bytes {
            return Ok(()); // It will never fit; the append says so.
        }
        let mut commits = self.file.subscribe();
        loop {
            let size = self.size(name).await?;
            if size.records + records <= max_records && size.bytes + bytes <= max_bytes {
                return Ok(());
            }
            if !self.is_wanted(name, (records, bytes)).await? {
                self.want(name, (records, bytes)).await?;
            }
            self.file.changed(&mut commits).await?;
        }
    }

    /// Whether so much is noted as waited for.
    async fn is_wanted(&self, name: &str, (records, bytes): (u64, u64)) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "SELECT EXISTS(SELECT 1 FROM waiting WHERE topic = (SELECT id FROM topic WHERE name = ?1)
             AND records >= ?2 AND bytes >= ?3)",
        )
        .bind(name)
        .bind(records.cast_signed())
        .bind(bytes.cast_signed())
        .fetch_one(self.file.readers()?)
        .await
        .map_err(|source| self.file.failed("look for what waits for room", source))
    }

    pub(crate) async fn first(&self, name: &str) -> Result<Position, StoreError> {
        Ok(self.topic_or_new(name).await?.first())
    }

    pub(crate) async fn end(&self, name: &str) -> Result<Position, StoreError> {
        Ok(self.topic_or_new(name).await?.end())
    }

    pub(crate) async fn highest_fence(&self, name: &str) -> Result<Option<Fence>, StoreError> {
        Ok(self.topic(name).await?.and_then(|topic| topic.fence))
    }

    pub(crate) async fn size(&self, name: &str) -> Result<Size, StoreError> {
        Ok(match self.topic(name).await? {
            None => Size { records: 0, bytes: 0, first: 1, end: 1 },
            Some(topic) => Size {
                records: topic.records,
                bytes: topic.bytes,
                first: topic.trimmed_offset + 1,
                end: topic.last_offset + 1,
            },
        })
    }

    pub(crate) async fn lag(&self, name: &str, position: &Position) -> Result<Lag, ReadError> {
        let topic = self.continued(name, position).await?;
        let oldest = sqlx::query_scalar("SELECT at FROM record WHERE topic = ?1 AND offset = ?2")
            .bind(topic.id)
            .bind(position.offset)
            .fetch_optional(self.file.readers()?)
            .await
            .map_err(|source| self.file.failed("measure the lag", source))?;
        Ok(Lag { records: (topic.last_offset + 1 - position.offset).cast_unsigned(), oldest })
    }

    pub(crate) async fn latest(&self, name: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        sqlx::query_as(
            "SELECT key, value FROM latest WHERE topic = (SELECT id FROM topic WHERE name = ?1) ORDER BY key",
        )
        .bind(name)
        .fetch_all(self.file.readers()?)
        .await
        .map_err(|source| self.file.failed("read latest values", source))
    }

    pub(crate) async fn latest_one(&self, name: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        sqlx::query_scalar(
            "SELECT value FROM latest WHERE topic = (SELECT id FROM topic WHERE name = ?1) AND key = ?2",
        )
        .bind(name)
        .bind(key)
        .fetch_optional(self.file.readers()?)
        .await
        .map_err(|source| self.file.failed("read a latest value", source))
    }

    pub(crate) async fn committed(&self, group: &str, name: &str) -> Result<Option<Position>, StoreError> {
        let text: Option<String> = sqlx::query_scalar(
            "SELECT position FROM reader WHERE name = ?1 AND topic = (SELECT id FROM topic WHERE name = ?2)",
        )
        .bind(group)
        .bind(name)
        .fetch_optional(self.file.readers()?)
        .await
        .map_err(|source| self.file.failed("read a reader's position", source))?;
        // It is a hint: one that cannot be read is none.
        Ok(text.and_then(|text| text.parse().ok()))
    }

    async fn topic(&self, name: &str) -> Result<Option<Topic>, StoreError> {
        sqlx::query_as("SELECT * FROM topic WHERE name = ?1")
            .bind(name)
            .fetch_optional(self.file.readers()?)
            .await
            .map_err(|source| self.file.failed("read a topic", source))
    }

    async fn topic_or_new(&self, name: &str) -> Result<Topic, StoreError> {
        match self.topic(name).await? {
            Some(topic) => Ok(topic),
            None => self.ensure_topic(name).await,
        }
    }

    /// The topic, if it continues the position.
    async fn continued(&self, name: &str, position: &Position) -> Result<Topic, ReadError> {
        let row = sqlx::query(
            "SELECT topic.*, (SELECT digest FROM record WHERE record.topic = topic.id AND offset = ?2) AS before
             FROM topic WHERE name = ?1",
        )
        .bind(name)
        .bind(position.offset - 1)
        .fetch_optional(self.file.readers()?)
        .await
        .map_err(|source| self.file.failed("read a topic", source))?;
        let row = row.ok_or_else(|| lost(name, Lost::NoTopic))?;
        let failed = |source| self.file.failed("read a topic", source);
        let topic = Topic::from_row(&row).map_err(failed)?;
        let before: Option<&[u8]> = row.try_get("before").map_err(failed)?;
        topic.check(position, before).map_err(|reason| lost(name, reason))?;
        self.file.is_no_older(topic.log, topic.last_offset);
        Ok(topic)
    }
}

/// Stops at the record that would exceed `max_bytes`, so that only little more than that is ever in memory.
async fn records(
    pool: &SqlitePool,
    topic: i64,
    from: i64,
    max_records: usize,
    max_bytes: u64,
) -> Result<Vec<(Entry, Digest)>, sqlx::Error> {
    let sizes: Vec<i64> = sqlx::query_scalar(
        "SELECT size FROM record WHERE topic = ?1 AND offset >= ?2 ORDER BY offset LIMIT ?3",
    )
    .bind(topic)
    .bind(from)
    .bind(i64::try_from(max_records).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    let mut bytes = 0_u64;
    let fitting = sizes.iter().take_while(|size| {
        bytes = bytes.saturating_add(size.cast_unsigned());
        bytes <= max_bytes
    });
    let fitting = fitting.count().max(1);
    let rows = sqlx::query(
        "SELECT offset, at, generation, czxid, key, headers, body, digest FROM record
         WHERE topic = ?1 AND offset >= ?2 ORDER BY offset LIMIT ?3",
    )
    .bind(topic)
    .bind(from)
    .bind(i64::try_from(fitting).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &SqliteRow) -> Result<(Entry, Digest), sqlx::Error> {
    let entry = Entry {
        offset: row.try_get("offset")?,
        at: row.try_get("at")?,
        fence: topic::fence(row)?,
        key: row.try_get("key")?,
        headers: row.try_get("headers")?,
        body: row.try_get("body")?,
    };
    Ok((entry, topic::digest(row, "digest")?))
}

fn lost(topic: &str, reason: Lost) -> ReadError {
    ReadError::Lost { topic: topic.to_owned(), reason }
}
