//! What the feed is told about single znodes, and what it makes of one against the known tree. Pure.

use change::{Change, Edit, Lifetime, Millis, Node, Op, ZnodePath, Zxid};

/// A znode as it was read. `Debug` does not show the bytes: a secret may be among them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its life, version and transaction.
    pub(crate) node: Node,
    /// When its bytes were written, by the leader's clock.
    pub(crate) at: Millis,
    /// How long it lives.
    pub(crate) lifetime: Lifetime,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen")
            .field("node", &self.node)
            .field("bytes_len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// What a read came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The znode stands.
    Found(Seen),
    /// `NoNode`, from a server that we are connected to and that has proved to be the known ensemble.
    Gone,
    /// `NoAuth`: says nothing about the znode.
    Forbidden,
    /// The connection broke: says nothing, and everything is read again after the reconnect.
    Lost,
}

/// An edit record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenEdit {
    /// The transaction that made the edit record, and with it everything that the edit lists.
    pub(crate) zxid: Zxid,
    /// When that was, by the leader's clock.
    pub(crate) at: Millis,
    /// What it says.
    pub(crate) edit: Edit,
}

impl SeenEdit {
    /// Reads the znode `edits/<name>`; `None` if it is no edit record of ours (then its changes are unattributed).
    pub(crate) fn parse(name: &str, seen: &Seen) -> Option<SeenEdit> {
        let edit: Edit = serde_json::from_slice(&seen.bytes).ok()?;
        (edit.v == 1 && edit.id == name).then_some(SeenEdit {
            zxid: Zxid(seen.node.czxid),
            at: seen.at,
            edit,
        })
    }

    /// Whether this edit wrote these very bytes at `path`.
    pub(crate) fn wrote(&self, path: &ZnodePath, seen: &Seen) -> bool {
        seen.node.mzxid == self.zxid
            && self.edit.changes.iter().any(|listed| {
                listed.path == *path
                    && listed.sha256.as_ref().is_none_or(|sha| *sha == change::sha256_hex(&seen.bytes))
            })
    }
}

/// The live tree is behind what is on record: this is another history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{path}` stands at czxid {}, version {}, mzxid {}, which is behind its czxid {}, version {}, mzxid {} on record",
    live.czxid, live.version, live.mzxid, known.czxid, known.version, known.mzxid
)]
pub(crate) struct Behind {
    /// Where.
    pub(crate) path: ZnodePath,
    /// What stands there.
    pub(crate) live: Node,
    /// What is on record.
    pub(crate) known: Node,
}

/// How a live znode relates to the one on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Nothing is on record.
    New,
    /// It is on record.
    Same,
    /// The same life, written since; so many versions between the two were never read.
    Later {
        /// Versions that nobody read.
        missed: u32,
    },
    /// A later life.
    Reborn,
}

/// Relates a live znode to the one on record.
///
/// Within one life the version and the mzxid grow together, so the one without the other is another history, too.
pub(crate) fn relate(path: &ZnodePath, known: Option<&Node>, live: Node) -> Result<Relation, Behind> {
    let Some(&known) = known else { return Ok(Relation::New) };
    if known == live {
        Ok(Relation::Same)
    } else if live.czxid > known.czxid {
        Ok(Relation::Reborn)
    } else if live.czxid == known.czxid && live.version > known.version && live.mzxid > known.mzxid {
        Ok(Relation::Later { missed: live.version.abs_diff(known.version) - 1 })
    } else {
        Err(Behind { path: path.clone(), live, known })
    }
}

/// The put of a znode as read.
pub(crate) fn put(path: &ZnodePath, seen: &Seen, edit: Option<&SeenEdit>) -> Change {
    let op = Op::Put {
        version: seen.node.version,
        mzxid: seen.node.mzxid,
        lifetime: seen.lifetime,
        by_edit: edit.is_some_and(|edit| edit.wrote(path, seen)),
        bytes: seen.bytes.clone(),
    };
    Change { path: path.clone(), czxid: seen.node.czxid, op }
}

/// The end of a life.
pub(crate) fn delete(path: &ZnodePath, node: &Node, by_edit: ByEdit) -> Change {
    let by_edit = by_edit == ByEdit::Yes;
    Change { path: path.clone(), czxid: node.czxid, op: Op::Delete { by_edit } }
}

/// Whether an edit lists a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByEdit {
    /// It does.
    Yes,
    /// Nobody says who did it.
    No,
}

/// Whether this is an inner znode of the tree that holds nothing: it is no document and makes no change.
pub(crate) fn is_bare_folder(path: &ZnodePath, seen: &Seen) -> bool {
    seen.bytes.is_empty() && path.place() == Ok(change::Place::Folder)
}
