//! What can go wrong, one enum an operation.

use std::path::PathBuf;

use crate::Fence;

/// Why a queue could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file could not be created or looked at.
    #[error("open the queue file `{path}`; its folder must exist and be writable by this user")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// SQLite refused it.
    #[error("open the queue file `{path}` as a SQLite database")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// Something else's file, or one of another version.
    #[error(
        "open the queue file `{path}`: it has layout {found}, this program knows {known}; use the setkeeper that made it, or another file"
    )]
    Layout {
        /// The file.
        path: PathBuf,
        /// `user_version` found there.
        found: i64,
        /// The one known here.
        known: i64,
    },
}

/// Why the queue's file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The path now names another file (or none) than the one that is open: whatever is appended here would be
    /// lost. The worker starts again and opens the new one.
    #[error(
        "use the queue file `{path}`: it was replaced or removed while open; the worker must open it again"
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// Another process held the write lock for longer than the busy timeout.
    #[error(
        "{doing} in `{path}`: another process holds the queue's write lock; look for a stopped setkeeper process"
    )]
    Busy {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Anything else that SQLite said.
    #[error("{doing} in `{path}`")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
}

/// Why nothing was appended or put.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A writer with a higher fence has been here: this one's term is over.
    #[error("append to `{topic}` under fence {fence}: a writer with fence {highest} has taken over")]
    Fenced {
        /// The topic.
        topic: String,
        /// The fence that was refused.
        fence: Fence,
        /// The highest that the topic has seen.
        highest: Fence,
    },
    /// The topic has reached its bound; wait (see [`crate::Queue::room`]) until readers have caught up and it
    /// was trimmed.
    #[error("append to `{topic}`: it is full ({records} records, {bytes} bytes); its readers must catch up")]
    Full {
        /// The topic.
        topic: String,
        /// Records held.
        records: u64,
        /// Bytes held.
        bytes: u64,
    },
    /// One append larger than the whole bound: waiting would not help.
    #[error(
        "append {bytes} bytes in {records} records to `{topic}`: more than the queue may ever hold; raise `queue.bytes_max`"
    )]
    TooLarge {
        /// The topic.
        topic: String,
        /// Records in the append.
        records: u64,
        /// Bytes in the append.
        bytes: u64,
    },
    /// The file could not be written; nothing was appended.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log does not continue the reader's position: it must resynchronise.
    #[error("read `{topic}`: {reason}; the reader must resynchronise")]
    Lost {
        /// The topic.
        topic: String,
        /// How that was seen.
        reason: Lost,
    },
    /// The file could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How it was seen that a log does not continue a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The queue holds no such topic.
    #[error("the queue has no such topic")]
    NoTopic,
    /// The topic was made anew.
    #[error("the log has another id")]
    OtherLog,
    /// The position lies below the oldest record kept.
    #[error("offset {offset} was trimmed, the log starts at {first}")]
    Trimmed {
        /// Wanted.
        offset: i64,
        /// Oldest kept.
        first: i64,
    },
    /// The position lies beyond the log's end: the log is an older copy.
    #[error("offset {offset} lies beyond the log's end {end}")]
    Beyond {
        /// Wanted.
        offset: i64,
        /// Next to be appended.
        end: i64,
    },
    /// The record before the position is not the one that the reader has read.
    #[error("the record before offset {offset} is another one than was read")]
    OtherHistory {
        /// Wanted.
        offset: i64,
    },
    /// A record is missing in the middle.
    #[error("the record at offset {offset} is missing")]
    Gap {
        /// The missing one.
        offset: i64,
    },
}
