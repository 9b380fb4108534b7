//! The known tree and its checkpoint. Pure: `run` reads and writes the queue.
//!
//! The checkpoint stands in the latest-per-key topic `tree`: `node/<path>` for every live path and `checkpoint` for
//! the position in `changes` that they belong to, written together. What the log holds behind that position is folded
//! on top, so nothing is lost if the watcher dies between an append and the next checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use change::{Fence, Generation, Node, Record, Tree, ZnodePath, Zxid};
use queue::Position;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What stands under `checkpoint`.
#[derive(Debug, Serialize, Deserialize)]
struct CheckpointV1 {
    v: u32,
    position: String,
    generation: Option<Generation>,
    fence: Fence,
    whole: bool,
    #[serde(default)]
    unread: Vec<ZnodePath>,
    edits: Option<Zxid>,
}

/// What the log says is in ZooKeeper, and how far it was read.
#[derive(Debug)]
pub(crate) struct Known {
    /// Every live path.
    pub(crate) tree: Tree,
    /// The next record to fold.
    pub(crate) position: Position,
    /// The highest fence of a record folded: records below it are an old watcher's and count for nothing.
    pub(crate) fence: Fence,
    /// The generation that the tree belongs to.
    pub(crate) generation: Option<Generation>,
    /// Whether the tree is all there is: a resync of this generation has ended.
    pub(crate) whole: bool,
    /// Subtrees that the last resync could not read. The readers of the log may know paths there that this tree does
    /// not, so once they can be read another resync has to look.
    unread: Vec<ZnodePath>,
    /// The newest edit on record.
    pub(crate) edits: Option<Zxid>,
    /// The resync that has begun and not ended.
    open: Option<Uuid>,
    /// Paths whose node differs from the checkpoint's.
    dirty: BTreeSet<ZnodePath>,
    /// Records folded since the checkpoint.
    unsaved: usize,
}

/// The key of the checkpoint's head.
pub(crate) const CHECKPOINT: &str = "checkpoint";
const NODE: &str = "node/";

/// Keys and their new values (`None`: removed), to be put in one transaction.
pub(crate) type Values = Vec<(String, Option<Vec<u8>>)>;

impl Known {
    /// Nothing known, from `position` on. `stale` are paths that the checkpoint table still holds.
    pub(crate) fn nothing(position: Position, stale: BTreeSet<ZnodePath>) -> Known {
        Known {
            tree: Tree::default(),
            position,
            fence: Fence { generation: 0, czxid: i64::MIN },
            generation: None,
            whole: false,
            unread: Vec::new(),
            edits: None,
            open: None,
            dirty: stale,
            unsaved: 0,
        }
    }

    /// Reads the checkpoint out of the table's rows; `None` if there is none that makes sense.
    pub(crate) fn load(rows: &[(String, Vec<u8>)]) -> Option<Known> {
        let (_, head) = rows.iter().find(|(key, _)| key == CHECKPOINT)?;
        let head: CheckpointV1 =
            serde_json::from_slice(head).ok().filter(|head: &CheckpointV1| head.v == 1)?;
        let mut nodes = BTreeMap::new();
        for (key, value) in rows {
            let Some(path) = key.strip_prefix(NODE) else { continue };
            let node: Node = serde_json::from_slice(value).ok()?;
            nodes.insert(path.parse().ok()?, node);
        }
        Some(Known {
            tree: Tree::new(nodes),
            fence: head.fence,
            generation: head.generation,
            whole: head.whole,
            unread: head.unread,
            edits: head.edits,
            ..Known::nothing(head.position.parse().ok()?, BTreeSet::new())
        })
    }

    /// The paths that the table's rows hold.
    pub(crate) fn stale(rows: &[(String, Vec<u8>)]) -> BTreeSet<ZnodePath> {
        rows.iter().filter_map(|(key, _)| key.strip_prefix(NODE)?.parse().ok()).collect()
    }

    /// Folds the next record of the log; `next` is the position after it.
    pub(crate) fn fold(&mut self, fence: Option<Fence>, record: &Record, next: Position) {
        self.position = next;
        self.unsaved += 1;
        let Some(fence) = fence.filter(|fence| *fence >= self.fence) else { return };
        // The record that began the generation may be trimmed: then its first record here voids what came before.
        if fence.generation > self.fence.generation {
            self.void();
        }
        self.fence = fence;
        self.absorb(record);
        self.note(record);
    }

    fn absorb(&mut self, record: &Record) {
        if let Record::ResyncEnd(_) = record {
            let before: BTreeSet<ZnodePath> = self.tree.nodes().keys().cloned().collect();
            self.tree.fold(record);
            self.dirty.extend(before.into_iter().filter(|path| self.tree.get(path).is_none()));
        } else {
            self.tree.fold(record);
        }
    }

    /// Folds a record of ours, once it was appended and not before: a checkpoint never says more than the log.
    pub(crate) fn appended(&mut self, record: &Record, next: Position) {
        self.position = next;
        self.unsaved += 1;
        self.absorb(record);
        self.note(record);
    }

    fn note(&mut self, record: &Record) {
        match record {
            // Only a higher generation voids the tree: another id with the same number is not approved.
            Record::Term(term) => {
                // Whoever had a resync open can no longer end it.
                self.open = None;
                if self.generation.is_none_or(|known| term.generation.n > known.n) {
                    let void = self.generation.is_some();
                    self.generation = Some(term.generation);
                    if void {
                        self.void();
                    }
                }
            }
            Record::Txn(txn) => {
                self.dirty.extend(txn.changes.iter().map(|one| one.path.clone()));
                if txn.edit.is_some() {
                    self.edits = self.edits.max(Some(txn.zxid));
                }
            }
            Record::ResyncBegin(begin) => self.open = Some(begin.id),
            Record::ResyncEnd(end) => {
                if self.open.take_if(|id| *id == end.id).is_some() {
                    self.whole = true;
                    self.unread.clone_from(&end.unreadable);
                }
            }
        }
    }

    /// Whether no resync is due where these subtrees are unreadable now.
    pub(crate) fn is_whole(&self, unreadable: &[ZnodePath]) -> bool {
        let still = |subtree: &ZnodePath| unreadable.iter().any(|now| subtree.is_within(now));
        self.whole && self.unread.iter().all(still)
    }

    fn void(&mut self) {
        let tree = std::mem::take(&mut self.tree);
        self.dirty.extend(tree.nodes().keys().cloned());
        (self.whole, self.edits, self.open) = (false, None, None);
    }

    /// How many records the checkpoint is behind for which it is worth saving: none while a resync is open, because a
    /// fold that starts inside it does not know what the resync has put, and cannot end it.
    pub(crate) fn unsaved(&self) -> usize {
        if self.open.is_some() { 0 } else { self.unsaved }
    }

    /// Whether the checkpoint is behind at all.
    pub(crate) fn is_behind(&self) -> bool {
        self.unsaved > 0
    }

    /// The next checkpoint. One that is taken inside a resync costs a term that begins there another resync, unless the
    /// tree was whole before.
    pub(crate) fn checkpoint(&self) -> Values {
        let head = CheckpointV1 {
            v: 1,
            position: self.position.to_string(),
            generation: self.generation,
            fence: self.fence,
            whole: self.whole,
            unread: self.unread.clone(),
            edits: self.edits,
        };
        let node = |path: &ZnodePath| (format!("{NODE}{}", path.as_str()), self.tree.get(path).map(json));
        self.dirty.iter().map(node).chain([(CHECKPOINT.to_owned(), Some(json(&head)))]).collect()
    }

    /// The checkpoint was written.
    pub(crate) fn saved(&mut self) {
        self.dirty.clear();
        self.unsaved = 0;
    }
}

/// JSON of one of our own types.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own types have string keys and no failing serialisers")
}

#[cfg(test)]
mod tests;
