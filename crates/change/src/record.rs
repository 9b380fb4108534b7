//! What the watcher puts on the topic `changes`. One queue record holds one whole [`Txn`], so that a multi cannot
//! be torn.

use std::fmt;

use uuid::Uuid;

use crate::{ChangeId, Edit, Generation, Millis, ZnodePath, Zxid};

/// One record of the topic `changes`. Its generation is that of the fence it was appended under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A watcher begins its term: whoever reads on drops later records of older fences.
    Term(Term),
    /// The changes of one ZooKeeper transaction.
    Txn(Txn),
    /// Every live path follows, each in a [`Txn`] of this resync.
    ResyncBegin(ResyncBegin),
    /// All live paths were sent.
    ResyncEnd(ResyncEnd),
}

/// The first record of a watcher's term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// The generation that the watcher found.
    pub generation: Generation,
    /// When it was appended, by the watcher's clock.
    pub seen: Millis,
}

/// The changes of one ZooKeeper transaction below the watched roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    /// The transaction. With the `watch` feed an upper bound if the record holds deletes that no edit lists.
    pub zxid: Zxid,
    /// When ZooKeeper committed it, by the leader's clock; of a lone delete, when it was seen.
    pub committed: Millis,
    /// When the watcher saw it, by its own clock.
    pub seen: Millis,
    /// The resync that this record belongs to.
    pub resync: Option<Uuid>,
    /// The edit record written in the same transaction.
    pub edit: Option<Edit>,
    /// Net changes, at most one put and one delete a path, in the order seen.
    pub changes: Vec<Change>,
}

/// What happened to one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: ZnodePath,
    /// The transaction that created this life of the znode.
    pub czxid: i64,
    /// What.
    pub op: Op,
}

/// What happened. `Debug` shows how many bytes there are, not the bytes: another client may have put a secret there.
#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    /// The znode was created or set.
    Put {
        /// Data version within this life of the znode.
        version: i32,
        /// The transaction that wrote these bytes.
        mzxid: Zxid,
        /// Whether the znode outlives its creator.
        lifetime: Lifetime,
        /// Whether the record's edit wrote these very bytes (a listed path may have been overwritten since).
        by_edit: bool,
        /// The stored bytes, untouched.
        bytes: Vec<u8>,
    },
    /// The znode is gone.
    Delete {
        /// Whether the record's edit lists this delete.
        by_edit: bool,
    },
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Put { version, mzxid, lifetime, by_edit, bytes } => f
                .debug_struct("Put")
                .field("version", version)
                .field("mzxid", mzxid)
                .field("lifetime", lifetime)
                .field("by_edit", by_edit)
                .field("bytes_len", &bytes.len())
                .finish(),
            Op::Delete { by_edit } => f.debug_struct("Delete").field("by_edit", by_edit).finish(),
        }
    }
}

/// How long a znode lives, told from its `ephemeralOwner`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until somebody deletes it: the only one that documents may have.
    Persistent,
    /// Until its session ends.
    Ephemeral,
    /// Until it has been empty for a while.
    Container,
    /// Until its time is up.
    Ttl,
}

impl Lifetime {
    /// Reads `Stat.ephemeralOwner` (ZooKeeper's `EphemeralType`: container is the lowest i64, a TTL has the top
    /// byte 0xff, 0 is persistent).
    ///
    /// A server shows its clients 0 for the last two, so that they pass for persistent (`getClientEphemeralOwner` of
    /// ZooKeeper's `DataNode`); only its transactions tell. A container is removed once its last child has gone, and
    /// a document has none; a TTL takes a server that was started with `zookeeper.extendedTypesEnabled=true`.
    #[must_use]
    pub fn of_owner(ephemeral_owner: i64) -> Lifetime {
        match ephemeral_owner {
            0 => Lifetime::Persistent,
            i64::MIN => Lifetime::Container,
            owner if owner >> 56 == -1 => Lifetime::Ttl,
            _ => Lifetime::Ephemeral,
        }
    }
}

/// A resync opens; an open one is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResyncBegin {
    /// Random.
    pub id: Uuid,
    /// When it began, by the watcher's clock.
    pub seen: Millis,
}

/// A resync closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResyncEnd {
    /// The one that began.
    pub id: Uuid,
    /// When it ended, by the watcher's clock.
    pub seen: Millis,
    /// How many paths were sent between begin and end.
    pub count: u64,
    /// Subtrees that could not be read (`NoAuth`): their absence says nothing.
    pub unreadable: Vec<ZnodePath>,
}

impl Change {
    /// The change's identity within `generation`.
    #[must_use]
    pub fn id(&self, generation: u64) -> ChangeId {
        let version = match self.op {
            Op::Put { version, .. } => Some(version),
            Op::Delete { .. } => None,
        };
        ChangeId { generation, path: self.path.clone(), czxid: self.czxid, version }
    }
}

impl Record {
    /// When the watcher saw it, by its own clock.
    #[must_use]
    pub fn seen(&self) -> Millis {
        match self {
            Record::Term(term) => term.seen,
            Record::Txn(txn) => txn.seen,
            Record::ResyncBegin(begin) => begin.seen,
            Record::ResyncEnd(end) => end.seen,
        }
    }

    /// The record's effective time after `previous`: never goes back, and never runs ahead of the watcher's clock.
    #[must_use]
    pub fn effective(&self, previous: Millis) -> Millis {
        let at = match self {
            Record::Txn(txn) => txn.committed.min(txn.seen),
            other => other.seen(),
        };
        previous.max(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_told_from_the_owner() {
        for (owner, lifetime) in [
            (0, Lifetime::Persistent),
            (0x0100_0234_5678_0001, Lifetime::Ephemeral),
            (i64::MIN, Lifetime::Container),
            (0xff00_0000_0000_2710_u64.cast_signed(), Lifetime::Ttl),
        ] {
            assert_eq!(Lifetime::of_owner(owner), lifetime, "{owner:#x}");
        }
    }

    #[test]
    fn what_a_znode_holds_is_not_printed() {
        let op = Op::Put {
            version: 1,
            mzxid: Zxid(2),
            lifetime: Lifetime::Persistent,
            by_edit: false,
            bytes: b"hunter2".to_vec(),
        };
        let shown = format!("{op:?}");
        assert!(shown.contains("bytes_len: 7") && !shown.contains("104, 117"), "{shown}");
    }

    #[test]
    fn effective_time_neither_goes_back_nor_runs_ahead() {
        let txn = |committed, seen| {
            Record::Txn(Txn {
                zxid: Zxid(1),
                committed: Millis(committed),
                seen: Millis(seen),
                resync: None,
                edit: None,
                changes: vec![],
            })
        };
        assert_eq!(txn(50, 60).effective(Millis(10)), Millis(50));
        assert_eq!(txn(5, 60).effective(Millis(10)), Millis(10));
        assert_eq!(txn(9_999, 60).effective(Millis(10)), Millis(60));
    }
}
