//! What goes into the queue and what comes out of it.

use std::fmt;

use crate::Position;

/// An ordered pair of integers: the generation first, then the lock's czxid. A writer below the highest fence
/// that a topic has seen is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64, pub i64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// One record to append. `Debug` shows the body's length only, since bodies may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// What the record is about. The queue neither orders nor dedupes by it.
    pub key: String,
    /// Opaque text beside the body, for example a JSON object of CloudEvents attributes.
    pub headers: String,
    /// Opaque bytes.
    pub body: Vec<u8>,
}

impl NewEntry {
    /// The bytes that the record counts for against [`crate::Config::max_bytes`].
    #[must_use]
    pub fn size(&self) -> u64 {
        (self.key.len() + self.headers.len() + self.body.len()) as u64
    }
}

impl fmt::Debug for NewEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewEntry").field("key", &self.key).field("body_len", &self.body.len()).finish()
    }
}

/// One record as read. `Debug` shows the body's length only, since bodies may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Place in the topic: dense, from 1.
    pub offset: i64,
    /// When it was appended by the writer's clock, in microseconds since 1970 (UTC). It may go back.
    pub at: i64,
    /// The fence that it was appended under, if any.
    pub fence: Option<Fence>,
    /// As appended.
    pub key: String,
    /// As appended.
    pub headers: String,
    /// As appended.
    pub body: Vec<u8>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("offset", &self.offset)
            .field("at", &self.at)
            .field("fence", &self.fence)
            .field("key", &self.key)
            .field("body_len", &self.body.len())
            .finish()
    }
}

/// What one append came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record appended (of the next one, if nothing was appended).
    pub first: i64,
    /// The position after the last record appended.
    pub end: Position,
}

/// Records read in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// In offset order, without a gap.
    pub entries: Vec<Entry>,
    /// Where to read next.
    pub next: Position,
}

/// How much a topic holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Records kept.
    pub records: u64,
    /// Bytes of their keys, headers and bodies.
    pub bytes: u64,
    /// Offset of the oldest record kept (of the next one, if none is).
    pub first: i64,
    /// Offset that the next record gets.
    pub end: i64,
}

/// How far a reader is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Records that it has still to read.
    pub records: u64,
    /// When the oldest of them was appended, in microseconds since 1970 (UTC).
    pub oldest: Option<i64>,
}
