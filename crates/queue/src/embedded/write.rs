//! Appending, putting, committing, trimming: everything that takes the write lock.

use std::time::Duration;

use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Embedded;
use super::topic::{self, Topic};
use crate::{AppendError, Appended, Entry, Fence, NewEntry, Position, StoreError, position};

impl Embedded {
    pub(crate) async fn append(
        &self,
        name: &str,
        fence: Option<Fence>,
        entries: &[NewEntry],
    ) -> Result<Appended, AppendError> {
        let (records, bytes) = (entries.len() as u64, entries.iter().map(NewEntry::size).sum());
        let config = &self.file.config;
        if records > config.max_records || bytes > config.max_bytes {
            return Err(AppendError::TooLarge { topic: name.to_owned(), records, bytes });
        }
        let mut writing = self.file.begin("append records").await?;
        let topic =
            Topic::ensure(&mut writing.connection, name).await.map_err(|source| writing.failed(source))?;
        let mut topic = raise(topic, name, fence)?;
        if !topic.has_room((records, bytes), config) {
            return Err(AppendError::Full {
                topic: name.to_owned(),
                records: topic.records,
                bytes: topic.bytes,
            });
        }
        if !self.file.is_no_older(topic.log, topic.last_offset) {
            tracing::warn!(topic = name, "the queue file is an older copy; its log gets a new id");
            topic.log = Uuid::new_v4();
        }
        let first = topic.last_offset + 1;
        let at = micros(OffsetDateTime::now_utc());
        let done = insert(&mut writing.connection, &mut topic, fence, at, entries).await;
        done.map_err(|source| writing.failed(source))?;
        writing.commit().await?;
        self.file.is_no_older(topic.log, topic.last_offset);
        Ok(Appended { first, end: topic.end() })
    }

    pub(crate) async fn put_latest(
        &self,
        name: &str,
        fence: Fence,
        values: &[(String, Option<Vec<u8>>)],
    ) -> Result<(), AppendError> {
        let mut writing = self.file.begin("put latest values").await?;
        let topic =
            Topic::ensure(&mut writing.connection, name).await.map_err(|source| writing.failed(source))?;
        let topic = raise(topic, name, Some(fence))?;
        let done = put(&mut writing.connection, &topic, values).await;
        done.map_err(|source| writing.failed(source))?;
        Ok(writing.commit().await?)
    }

    pub(crate) async fn commit(
        &self,
        group: &str,
        name: &str,
        position: &Position,
    ) -> Result<(), StoreError> {
        let mut writing = self.file.begin("note a reader's position").await?;
        let done = note(&mut writing.connection, group, name, position).await;
        done.map_err(|source| writing.failed(source))?;
        writing.commit().await
    }

    pub(super) async fn ensure_topic(&self, name: &str) -> Result<Topic, StoreError> {
        let mut writing = self.file.begin("make a topic").await?;
        let topic =
            Topic::ensure(&mut writing.connection, name).await.map_err(|source| writing.failed(source))?;
        writing.commit().await?;
        Ok(topic)
    }

    /// Notes what waits for room, so that trimming knows; of several, the most.
    pub(super) async fn want(&self, name: &str, (records, bytes): (u64, u64)) -> Result<(), StoreError> {
        let mut writing = self.file.begin("note what waits for room").await?;
        let done = async {
            let topic = Topic::ensure(&mut writing.connection, name).await?;
            let before = topic.wanted(&mut writing.connection).await?.unwrap_or_default();
            let most = (records.max(before.0), bytes.max(before.1));
            topic.wait_for(&mut writing.connection, Some(most)).await
        };
        let done = done.await;
        done.map_err(|source| writing.failed(source))?;
        writing.commit().await
    }

    pub(crate) async fn trim(
        &self,
        name: &str,
        below: i64,
        older_than: Duration,
        max_rows: usize,
    ) -> Result<usize, StoreError> {
        let before = micros(OffsetDateTime::now_utc() - older_than);
        let mut writing = self.file.begin("trim records").await?;
        let done = self.remove_oldest(&mut writing.connection, name, below, before, max_rows).await;
        let removed = done.map_err(|source| writing.failed(source))?;
        writing.commit().await?;
        Ok(removed)
    }

    async fn remove_oldest(
        &self,
        connection: &mut SqliteConnection,
        name: &str,
        below: i64,
        before: i64,
        max_rows: usize,
    ) -> Result<usize, sqlx::Error> {
        let mut topic = Topic::ensure(connection, name).await?;
        let wanted = topic.wanted(connection).await?;
        let rows = sqlx::query(
            "SELECT offset, at, size, digest FROM record WHERE topic = ?1 AND offset < ?2 ORDER BY offset LIMIT ?3",
        )
        .bind(topic.id)
        .bind(below)
        .bind(i64::try_from(max_rows).unwrap_or(i64::MAX))
        .fetch_all(&mut *connection)
        .await?;
        let mut removed = 0;
        for row in &rows {
            // While an append waits, age is no reason to keep what everybody has read.
            let has_room = wanted.is_none_or(|wanted| topic.has_room(wanted, &self.file.config));
            if row.try_get::<i64, _>("at")? > before && has_room {
                break;
            }
            topic.trimmed_offset = row.try_get("offset")?;
            topic.trimmed_digest = topic::digest(row, "digest")?;
            topic.records -= 1;
            topic.bytes -= row.try_get::<i64, _>("size")?.cast_unsigned();
            removed += 1;
        }
        if removed > 0 {
            sqlx::query("DELETE FROM record WHERE topic = ?1 AND offset <= ?2")
                .bind(topic.id)
                .bind(topic.trimmed_offset)
                .execute(&mut *connection)
                .await?;
            topic.save(connection).await?;
        }
        Ok(removed)
    }
}

/// Compares and raises the topic's highest fence.
fn raise(mut topic: Topic, name: &str, fence: Option<Fence>) -> Result<Topic, AppendError> {
    match (fence, topic.fence) {
        (Some(fence), Some(highest)) if fence < highest => {
            Err(AppendError::Fenced { topic: name.to_owned(), fence, highest })
        }
        (fence, highest) => {
            topic.fence = fence.or(highest);
            Ok(topic)
        }
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    topic: &mut Topic,
    fence: Option<Fence>,
    at: i64,
    entries: &[NewEntry],
) -> Result<(), sqlx::Error> {
    for new in entries {
        let entry = Entry {
            offset: topic.last_offset + 1,
            at,
            fence,
            key: new.key.clone(),
            headers: new.headers.clone(),
            body: new.body.clone(),
        };
        topic.last_digest = position::digest(topic.log, &topic.last_digest, &entry);
        topic.last_offset = entry.offset;
        topic.records += 1;
        topic.bytes += new.size();
        sqlx::query(
            "INSERT INTO record(topic, offset, log, at, generation, czxid, size, digest, key, headers, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )
        .bind(topic.id)
        .bind(entry.offset)
        .bind(topic.log)
        .bind(at)
        .bind(fence.map(|fence| fence.0.cast_signed()))
        .bind(fence.map(|fence| fence.1))
        .bind(new.size().cast_signed())
        .bind(topic.last_digest.as_slice())
        .bind(entry.key)
        .bind(entry.headers)
        .bind(entry.body)
        .execute(&mut *connection)
        .await?;
    }
    topic.wait_for(connection, None).await?;
    topic.save(connection).await
}

/// A removal removes the row: the fence is the topic's, so no old writer can bring the key back.
async fn put(
    connection: &mut SqliteConnection,
    topic: &Topic,
    values: &[(String, Option<Vec<u8>>)],
) -> Result<(), sqlx::Error> {
    topic.save(connection).await?;
    for (key, value) in values {
        let statement = match value {
            Some(value) => {
                sqlx::query("INSERT OR REPLACE INTO latest(topic, key, value) VALUES (?1, ?2, ?3)")
                    .bind(topic.id)
                    .bind(key)
                    .bind(value.as_slice())
            }
            None => sqlx::query("DELETE FROM latest WHERE topic = ?1 AND key = ?2").bind(topic.id).bind(key),
        };
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn note(
    connection: &mut SqliteConnection,
    group: &str,
    name: &str,
    position: &Position,
) -> Result<(), sqlx::Error> {
    let topic = Topic::ensure(connection, name).await?;
    sqlx::query("INSERT OR REPLACE INTO reader(name, topic, position) VALUES (?1, ?2, ?3)")
        .bind(group)
        .bind(topic.id)
        .bind(position.to_string())
        .execute(connection)
        .await
        .map(drop)
}

fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}
