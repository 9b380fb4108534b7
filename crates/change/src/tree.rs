//! The known tree: what the log says is in ZooKeeper.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Change, Op, Record, ZnodePath, Zxid};

/// What is known of one znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The transaction that created this life of the znode.
    pub czxid: i64,
    /// The transaction that wrote its bytes.
    pub mzxid: Zxid,
    /// Data version within this life.
    pub version: i32,
}

/// Every live path and its [`Node`]. The fold of the topic `changes`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<ZnodePath, Node>,
    resync: Option<(Uuid, BTreeSet<ZnodePath>)>,
}

/// How a tree differs from another at one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Only the second has it.
    Created(Node),
    /// Both have the same life of it, with other bytes.
    Changed(Node, Node),
    /// It was deleted and created anew between the two.
    Recreated(Node, Node),
    /// Only the first has it.
    Deleted(Node),
}

impl Tree {
    /// A tree of these nodes.
    #[must_use]
    pub fn new(nodes: BTreeMap<ZnodePath, Node>) -> Tree {
        Tree { nodes, resync: None }
    }

    /// All nodes, by path.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<ZnodePath, Node> {
        &self.nodes
    }

    /// One node.
    #[must_use]
    pub fn get(&self, path: &ZnodePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The highest zxid of a live node's bytes or creation.
    #[must_use]
    pub fn last_zxid(&self) -> Option<Zxid> {
        self.nodes.values().map(|node| node.mzxid.max(Zxid(node.czxid))).max()
    }

    /// Takes in the next record of the log.
    ///
    /// A resync's end removes the paths that no record since its begin has put, unless they stand below a subtree
    /// that could not be read; an end without its begin removes nothing.
    pub fn fold(&mut self, record: &Record) {
        match record {
            Record::Term(_) => {}
            Record::Txn(txn) => txn.changes.iter().for_each(|change| self.fold_change(change)),
            Record::ResyncBegin(begin) => self.resync = Some((begin.id, BTreeSet::new())),
            Record::ResyncEnd(end) => {
                if let Some((_, put)) = self.resync.take_if(|(id, _)| *id == end.id) {
                    let unread = |path: &ZnodePath| end.unreadable.iter().any(|sub| path.is_within(sub));
                    self.nodes.retain(|path, _| put.contains(path) || unread(path));
                }
            }
        }
    }

    fn fold_change(&mut self, change: &Change) {
        match change.op {
            Op::Put { version, mzxid, .. } => {
                let node = Node { czxid: change.czxid, mzxid, version };
                self.nodes.insert(change.path.clone(), node);
                if let Some((_, put)) = &mut self.resync {
                    put.insert(change.path.clone());
                }
            }
            // A delete ends one life of a znode; a later life that was seen first stays.
            Op::Delete { .. } => {
                if self.nodes.get(&change.path).is_some_and(|node| node.czxid <= change.czxid) {
                    self.nodes.remove(&change.path);
                }
            }
        }
    }

    /// How `wanted` differs from `now`, by path. ACLs and children do not count, bytes and lives do.
    #[must_use]
    pub fn between(now: &Tree, wanted: &Tree) -> BTreeMap<ZnodePath, Difference> {
        let paths: BTreeSet<&ZnodePath> = now.nodes.keys().chain(wanted.nodes.keys()).collect();
        let differ = |path: &ZnodePath| match (now.nodes.get(path), wanted.nodes.get(path)) {
            (None, Some(new)) => Some(Difference::Created(*new)),
            (Some(old), None) => Some(Difference::Deleted(*old)),
            (Some(old), Some(new)) if old.czxid != new.czxid => Some(Difference::Recreated(*old, *new)),
            (Some(old), Some(new)) if old != new => Some(Difference::Changed(*old, *new)),
            _ => None,
        };
        paths.into_iter().filter_map(|path| Some((path.clone(), differ(path)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lifetime, Millis, ResyncBegin, ResyncEnd, Txn};

    fn put(path: &str, czxid: i64, version: i32) -> Change {
        let op = Op::Put {
            version,
            mzxid: Zxid(czxid + i64::from(version)),
            lifetime: Lifetime::Persistent,
            by_edit: false,
            bytes: vec![],
        };
        Change { path: path.parse().expect("a path"), czxid, op }
    }

    fn delete(path: &str, czxid: i64) -> Change {
        Change { path: path.parse().expect("a path"), czxid, op: Op::Delete { by_edit: false } }
    }

    fn txn(changes: Vec<Change>) -> Record {
        let at = Millis(0);
        Record::Txn(Txn { zxid: Zxid(0), committed: at, seen: at, resync: None, edit: None, changes })
    }

    fn paths(records: &[Record]) -> Vec<String> {
        let mut tree = Tree::default();
        records.iter().for_each(|record| tree.fold(record));
        tree.nodes().keys().map(ToString::to_string).collect()
    }

    fn begin(id: u128) -> Record {
        Record::ResyncBegin(ResyncBegin { id: Uuid::from_u128(id), seen: Millis(0) })
    }

    fn end(id: u128, unreadable: &[&str]) -> Record {
        let unreadable = unreadable.iter().map(|path| path.parse().expect("a path")).collect();
        Record::ResyncEnd(ResyncEnd { id: Uuid::from_u128(id), seen: Millis(0), count: 0, unreadable })
    }

    #[test]
    fn a_delete_of_an_earlier_life_leaves_the_later_one() {
        assert_eq!(
            paths(&[txn(vec![put("assets/a", 9, 0)]), txn(vec![delete("assets/a", 5)])]),
            ["assets/a"]
        );
        assert!(paths(&[txn(vec![put("assets/a", 9, 0)]), txn(vec![delete("assets/a", 9)])]).is_empty());
    }

    #[test]
    fn a_resync_removes_what_it_did_not_put_and_could_have_read() {
        let before = txn(vec![put("assets/a", 1, 0), put("assets/b", 1, 0), put("assets/x/c", 1, 0)]);
        let run = [before.clone(), begin(1), txn(vec![put("assets/a", 1, 0)]), end(1, &["assets/x"])];
        assert_eq!(paths(&run), ["assets/a", "assets/x/c"]);
    }

    #[test]
    fn a_resync_that_was_voided_or_never_begun_removes_nothing() {
        let before = txn(vec![put("assets/a", 1, 0)]);
        assert_eq!(paths(&[before.clone(), end(1, &[])]), ["assets/a"]);
        assert_eq!(paths(&[before.clone(), begin(1), begin(2), end(1, &[])]), ["assets/a"]);
    }

    #[test]
    fn trees_differ_by_life_and_version() {
        let tree = |nodes: &[(&str, i64, i32)]| {
            let mut tree = Tree::default();
            tree.fold(&txn(nodes.iter().map(|(path, czxid, version)| put(path, *czxid, *version)).collect()));
            tree
        };
        let now = tree(&[
            ("assets/gone", 1, 0),
            ("assets/new-life", 1, 0),
            ("assets/same", 1, 0),
            ("assets/set", 1, 0),
        ]);
        let wanted = tree(&[
            ("assets/new-life", 7, 0),
            ("assets/same", 1, 0),
            ("assets/set", 1, 3),
            ("assets/young", 8, 0),
        ]);
        let found: Vec<String> = Tree::between(&now, &wanted)
            .iter()
            .map(|(path, difference)| {
                let word = match difference {
                    Difference::Created(_) => "created",
                    Difference::Changed(..) => "changed",
                    Difference::Recreated(..) => "recreated",
                    Difference::Deleted(_) => "deleted",
                };
                format!("{} {word}", path.name())
            })
            .collect();
        assert_eq!(found, ["gone deleted", "new-life recreated", "set changed", "young created"]);
    }
}
