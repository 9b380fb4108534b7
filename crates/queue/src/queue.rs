//! The queue of whichever kind, as its users see it.

use std::time::Duration;

use crate::{
    AppendError, Appended, Batch, Config, Embedded, Fence, Lag, NewEntry, OpenError, Position, ReadError,
    Size, StoreError,
};

/// A durable ordered log read by position, and a latest-per-key table. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Queue {
    /// One SQLite file on a local disk.
    Embedded(Embedded),
}

impl Queue {
    /// Opens the embedded queue, making its file if there is none. Handles of one file in one process share
    /// their connections and wake one another at once.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn embedded(config: &Config) -> Result<Self, OpenError> {
        Embedded::open(config).await.map(Self::Embedded)
    }

    /// Appends all entries in one transaction, or none, and returns once they are on disk.
    ///
    /// With a fence it is compared with the topic's highest one and raises it, even if `entries` is empty;
    /// without one neither happens. Not cancel-safe: dropped half-way, it may or may not have happened.
    ///
    /// # Errors
    /// See [`AppendError`]; on each of them nothing was appended.
    pub async fn append(
        &self,
        topic: &str,
        fence: Option<Fence>,
        entries: &[NewEntry],
    ) -> Result<Appended, AppendError> {
        match self {
            Self::Embedded(queue) => queue.append(topic, fence, entries).await,
        }
    }

    /// Waits until an append of this size would fit. Cancel-safe.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn room(&self, topic: &str, records: u64, bytes: u64) -> Result<(), StoreError> {
        match self {
            Self::Embedded(queue) => queue.room(topic, records, bytes).await,
        }
    }

    /// Reads what is there from a position on: at most `max_records` records and `max_bytes` bytes, but always
    /// one record if there is one. An empty batch means that the position is the end. Cancel-safe.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(
        &self,
        topic: &str,
        from: &Position,
        max_records: usize,
        max_bytes: u64,
    ) -> Result<Batch, ReadError> {
        match self {
            Self::Embedded(queue) => queue.read(topic, from, max_records, max_bytes).await,
        }
    }

    /// As [`Queue::read`], but waits until there is at least one record. Cancel-safe.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn next_batch(
        &self,
        topic: &str,
        from: &Position,
        max_records: usize,
        max_bytes: u64,
    ) -> Result<Batch, ReadError> {
        match self {
            Self::Embedded(queue) => queue.next_batch(topic, from, max_records, max_bytes).await,
        }
    }

    /// The position of the oldest record kept. Makes the topic if there is none.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub async fn first(&self, topic: &str) -> Result<Position, StoreError> {
        match self {
            Self::Embedded(queue) => queue.first(topic).await,
        }
    }

    /// The position after the newest record. Makes the topic if there is none.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub async fn end(&self, topic: &str) -> Result<Position, StoreError> {
        match self {
            Self::Embedded(queue) => queue.end(topic).await,
        }
    }

    /// The highest fence that a topic has seen.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn highest_fence(&self, topic: &str) -> Result<Option<Fence>, StoreError> {
        match self {
            Self::Embedded(queue) => queue.highest_fence(topic).await,
        }
    }

    /// Puts (`Some`) and removes (`None`) keys of a topic's latest-per-key table, all in one transaction, under
    /// the topic's fence. Not cancel-safe.
    ///
    /// # Errors
    /// See [`AppendError`]; never `Full` or `TooLarge`. On each of them nothing was put.
    pub async fn put_latest(
        &self,
        topic: &str,
        fence: Fence,
        values: &[(String, Option<Vec<u8>>)],
    ) -> Result<(), AppendError> {
        match self {
            Self::Embedded(queue) => queue.put_latest(topic, fence, values).await,
        }
    }

    /// Every key of a topic's latest-per-key table with its value, ordered by key.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn latest(&self, topic: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        match self {
            Self::Embedded(queue) => queue.latest(topic).await,
        }
    }

    /// The value of one key of a topic's latest-per-key table.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn latest_one(&self, topic: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Embedded(queue) => queue.latest_one(topic, key).await,
        }
    }

    /// Notes how far a group of readers has come. A hint for operators and for trimming only: the position that
    /// a reader commits with its effects rules.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn commit(&self, group: &str, topic: &str, position: &Position) -> Result<(), StoreError> {
        match self {
            Self::Embedded(queue) => queue.commit(group, topic, position).await,
        }
    }

    /// What [`Queue::commit`] noted last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn committed(&self, group: &str, topic: &str) -> Result<Option<Position>, StoreError> {
        match self {
            Self::Embedded(queue) => queue.committed(group, topic).await,
        }
    }

    /// Removes the oldest records: those with an offset lower than `below` and older than `older_than`, at most
    /// `max_rows` of them, so that no lock is held for long. While somebody waits for room ([`Queue::room`]), younger
    /// ones go too until there is. Returns how many; call again while it is `max_rows`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn trim(
        &self,
        topic: &str,
        below: i64,
        older_than: Duration,
        max_rows: usize,
    ) -> Result<usize, StoreError> {
        match self {
            Self::Embedded(queue) => queue.trim(topic, below, older_than, max_rows).await,
        }
    }

    /// How much a topic holds.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn size(&self, topic: &str) -> Result<Size, StoreError> {
        match self {
            Self::Embedded(queue) => queue.size(topic).await,
        }
    }

    /// How far a position is behind the end.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn lag(&self, topic: &str, position: &Position) -> Result<Lag, ReadError> {
        match self {
            Self::Embedded(queue) => queue.lag(topic, position).await,
        }
    }
}
