//! What the pure folds look at and change: a working copy of the bookkeeping that a batch touches.

use std::collections::{BTreeMap, BTreeSet};

use change::{Fence, Millis};
use queue::Position;
use uuid::Uuid;

use crate::chain::Head;

/// The row of `audit_stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) env: String,
    pub(crate) changes: Option<Position>,
    pub(crate) outcomes: Option<Position>,
    pub(crate) fence: Fence,
    /// The highest watcher fence read.
    pub(crate) watcher: Option<Fence>,
    pub(crate) effective: Millis,
    pub(crate) resync: Option<Uuid>,
    pub(crate) resync_needed: Option<String>,
    pub(crate) head: Head,
}

/// A live path, known by its text: escaped, as everything that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) generation: u64,
    pub(crate) czxid: i64,
    pub(crate) version: i32,
    pub(crate) change_id: String,
    /// The open resync that has put it.
    pub(crate) resync: Option<Uuid>,
}

impl Node {
    /// Whether the node's life is `(generation, czxid)` or an earlier one.
    pub(crate) fn is_up_to(&self, generation: u64, czxid: i64) -> bool {
        (self.generation, self.czxid) <= (generation, czxid)
    }
}

/// What is on record of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) sha256: Option<String>,
    pub(crate) uuid: Option<Uuid>,
    pub(crate) name: Option<String>,
}

/// One life of a znode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) generation: u64,
    pub(crate) path: String,
    pub(crate) czxid: i64,
}

/// What a batch of changes needs to know, and the tree as it will be after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChangeFacts {
    /// The live paths that the batch names; all of them if a resync begins or ends.
    pub(crate) tree: BTreeMap<String, Node>,
    /// The changes on record that the batch names, and those that stand in `tree`.
    pub(crate) known: BTreeMap<String, Known>,
    /// Of each life that the batch names, the versions on record: at least the one before each named one.
    pub(crate) versions: BTreeMap<Life, BTreeSet<i32>>,
}

/// What a target has applied of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) target: String,
    pub(crate) uuid: Option<Uuid>,
    /// `None`: nothing yet.
    pub(crate) change_id: Option<String>,
}

/// What a batch of outcomes needs to know, and what will be applied after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OutcomeFacts {
    /// The keys of the batch that are on record, with a digest of what each outcome says.
    pub(crate) recorded: BTreeMap<String, String>,
    /// The uuids of the changes that the batch names.
    pub(crate) uuids: BTreeMap<String, Uuid>,
    /// By target and path: those that the batch names, by path or uuid.
    pub(crate) applied: BTreeMap<(Uuid, String), Applied>,
}
