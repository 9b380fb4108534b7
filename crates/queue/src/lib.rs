//! A durable ordered log that is read by position, and a latest-per-key table.
//!
//! The queue knows nothing of what the bytes mean; a [`Fence`] is an ordered pair of integers to it. There is
//! one implementation today, [`Embedded`] (one SQLite file on a local disk), behind the enum [`Queue`].
//!
//! # Guarantees
//! - What [`Queue::append`] returned is on disk (WAL, `synchronous=FULL`), all of it or, on an error, none.
//! - Offsets of a topic are dense and start at 1. A reader sees the records in offset order, each once, and
//!   never one that could still be rolled back.
//! - A [`Position`] carries the digest of the record before it. If the log is not the one that the position was
//!   taken from (restored, replaced, trimmed too far), the answer is [`ReadError::Lost`], never a skipped or a
//!   repeated record: the reader resynchronises.
//! - The highest fence of a topic only grows, and an append or a put below it is refused.
//!
//! # Assumptions
//! - A local file system: SQLite's WAL needs shared memory, so never NFS.
//! - The file holds whatever its writers put there, secrets included. It is created with mode 0600.

mod embedded;
mod error;
mod position;
mod queue;
mod record;

pub use embedded::{Config, Embedded};
pub use error::{AppendError, Lost, OpenError, ReadError, StoreError};
pub use position::{BadPosition, Digest, Position};
pub use queue::Queue;
pub use record::{Appended, Batch, Entry, Fence, Lag, NewEntry, Size};
