//! Writing an edit: parts, each one multi with its edit record.

use change::{ChangeId, EditOp, ZnodePath, Zxid};

mod error;
mod plan;
mod prune;
mod send;

pub use error::{Conflict, PartFault, PruneError, WriteError};
pub use prune::Pruner;

/// One path to change, from the state that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedEdit {
    /// Where.
    pub path: ZnodePath,
    /// What.
    pub op: WriteOp,
    /// From which state; any other is a [`Conflict`].
    pub expect: Expect,
    /// Edits of one group stay in one part: a move, or names that swap.
    pub group: Option<u32>,
}

/// What to do at a path. `Debug` shows how many bytes there are, not the bytes: a secret may be among them.
#[derive(Clone, PartialEq, Eq)]
pub enum WriteOp {
    /// Create or set.
    Put {
        /// The bytes to store.
        bytes: Vec<u8>,
    },
    /// Delete.
    Delete,
}

impl std::fmt::Debug for WriteOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WriteOp::Put { bytes } => f.debug_struct("Put").field("bytes_len", &bytes.len()).finish(),
            WriteOp::Delete => f.write_str("Delete"),
        }
    }
}

impl WriteOp {
    fn kind(&self) -> EditOp {
        match self {
            WriteOp::Put { .. } => EditOp::Put,
            WriteOp::Delete => EditOp::Delete,
        }
    }
}

/// The state that an edit was decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Not there.
    Absent,
    /// There, in this life, with these bytes.
    Is {
        /// The transaction that created this life of the znode.
        czxid: i64,
        /// Data version.
        version: i32,
    },
}

impl std::fmt::Display for Expect {
    /// `absent` or `77.4`, czxid and version as in a [`ChangeId`].
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expect::Absent => f.write_str("absent"),
            Expect::Is { czxid, version } => write!(f, "{czxid}.{version}"),
        }
    }
}

/// Who, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// Who.
    pub author: String,
    /// Why.
    pub message: String,
    /// W3C trace context, if there is one.
    pub traceparent: Option<String>,
    /// The edit that this one undoes.
    pub rollback_of: Option<String>,
}

/// One part that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenPart {
    /// The id of its edit record, `edits/<id>`.
    pub id: String,
    /// The id of the edit's first part.
    pub of: String,
    /// This part, from 1.
    pub part: u32,
    /// Of how many.
    pub parts: u32,
    /// The transaction.
    pub zxid: Zxid,
    /// What changed, in the order given.
    pub changes: Vec<ChangeId>,
    /// Paths that somebody else had deleted and created again after they were looked at, so that a life other than
    /// the expected one was overwritten. Known only of paths that were set, not of deleted ones.
    pub overwrote: Vec<ZnodePath>,
}
