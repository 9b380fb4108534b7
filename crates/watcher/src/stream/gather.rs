//! One edit and the slots of its multi, made into one [`Txn`].

use std::collections::{BTreeMap, BTreeSet};

use change::{Change, EditOp, Millis, Tree, Txn, ZnodePath, Zxid};

use super::{Counts, Later, Slot, What, found};
use crate::seen::{Behind, ByEdit, Relation, Reply, Seen, SeenEdit, delete, is_bare_folder, put, relate};

/// An edit's Txn and how many slots behind its own it took.
pub(super) struct Gathered {
    pub(super) txn: Txn,
    pub(super) slots: usize,
    /// Where the edit's puts do not stand any more, or a later life does.
    pub(super) gone: BTreeSet<ZnodePath>,
}

/// How many slots behind the edit's own may belong to its multi: the run of slots at paths that it lists.
pub(super) fn reach<'a>(edit: &SeenEdit, zxid: Option<Zxid>, rest: impl Iterator<Item = &'a Slot>) -> usize {
    let listed = listed(edit);
    rest.take_while(|slot| match &slot.what {
        What::Created(path) | What::Set(path) | What::Deleted(path) => {
            slot.zxid == zxid && (listed.contains_key(path) || path.place() == Ok(change::Place::Folder))
        }
        What::Edit(_) => false,
    })
    .count()
}

fn listed(edit: &SeenEdit) -> BTreeMap<&ZnodePath, EditOp> {
    edit.edit.changes.iter().map(|listed| (&listed.path, listed.op)).collect()
}

/// What a slot is to the edit before it.
enum Part {
    /// Of its multi, with these changes (none if there is nothing to record).
    Changes(Vec<Change>),
    /// Of a later transaction; so is all behind it.
    Stranger,
}

/// Makes the Txn of an edit out of the slots behind its own.
///
/// All that the edit lists travels in it. A listed path that was overwritten before it was read stays in with its
/// later version, not attributed, so that whoever applies the record finds nothing of the multi missing.
pub(super) fn gather(
    edit: SeenEdit,
    zxid: Option<Zxid>,
    rest: Later<'_>,
    known: &Tree,
    counts: &mut Counts,
) -> Result<Gathered, Behind> {
    let ops = listed(&edit);
    let mut changes = Vec::new();
    let mut taken: BTreeMap<&ZnodePath, Option<&Seen>> = BTreeMap::new();
    let (mut slots, mut gone) = (0, BTreeSet::new());
    for slot in &rest.batch[..reach(&edit, zxid, rest.batch.iter())] {
        let (What::Created(path) | What::Set(path) | What::Deleted(path)) = &slot.what else { break };
        let part = match (ops.get(path), taken.get(path)) {
            (None, _) if found(slot).is_some_and(|seen| is_bare_folder(path, seen)) => {
                Part::Changes(Vec::new())
            }
            (None, _) => Part::Stranger,
            (Some(EditOp::Put), Some(first)) => again(slot, *first),
            (Some(EditOp::Put), None) => {
                let later = Later { batch: &rest.batch[slots + 1..], ..rest };
                if is_gone(slot, &edit) {
                    gone.insert(path.clone());
                }
                listed_put(slot, path, &edit, later, known, counts)?
            }
            (Some(EditOp::Delete), Some(_)) => Part::Stranger,
            (Some(EditOp::Delete), None) => listed_delete(slot, path, known),
        };
        let Part::Changes(mut part) = part else { break };
        slots += 1;
        if ops.contains_key(path) {
            taken.insert(path, found(slot));
        }
        changes.append(&mut part);
    }
    let (zxid, committed) = (edit.zxid, edit.at);
    let txn = Txn { zxid, committed, seen: Millis(0), resync: None, edit: Some(edit.edit), changes };
    Ok(Gathered { txn, slots, gone })
}

/// Whether what the edit put there had ended before the read.
fn is_gone(slot: &Slot, edit: &SeenEdit) -> bool {
    match slot.answer.as_ref().map(|answer| &answer.reply) {
        Some(Reply::Gone) => true,
        Some(Reply::Found(seen)) => Zxid(seen.node.czxid) > edit.zxid,
        Some(Reply::Forbidden | Reply::Lost) | None => false,
    }
}

/// A listed path for the second time: of the same multi if it was set twice there, so that both reads are equal.
fn again(slot: &Slot, first: Option<&Seen>) -> Part {
    let same = found(slot).map(|seen| seen.node) == first.map(|seen| seen.node);
    if same && !matches!(slot.what, What::Deleted(_)) { Part::Changes(Vec::new()) } else { Part::Stranger }
}

fn listed_put(
    slot: &Slot,
    path: &ZnodePath,
    edit: &SeenEdit,
    later: Later<'_>,
    known: &Tree,
    counts: &mut Counts,
) -> Result<Part, Behind> {
    let is_delete = matches!(slot.what, What::Deleted(_));
    let Some(seen) = found(slot) else {
        return Ok(if is_delete { Part::Stranger } else { Part::Changes(Vec::new()) });
    };
    let before = known.get(path);
    let of_this_multi = Zxid(seen.node.czxid) == edit.zxid;
    let relation = relate(path, before, seen.node)?;
    if is_delete && !of_this_multi {
        return Ok(Part::Stranger);
    }
    // Deleted and created again after the edit: both follow as events of their own.
    if is_gone(slot, edit) && later.deletes(path) {
        return Ok(Part::Changes(Vec::new()));
    }
    if let Relation::Later { missed } = relation {
        counts.missed_versions += u64::from(missed);
    }
    let end = before.filter(|_| is_delete && relation == Relation::Reborn);
    let end = end.map(|node| delete(path, node, ByEdit::Yes));
    Ok(Part::Changes(end.into_iter().chain([put(path, seen, Some(edit))]).collect()))
}

fn listed_delete(slot: &Slot, path: &ZnodePath, known: &Tree) -> Part {
    let reply = slot.answer.as_ref().map(|answer| &answer.reply);
    if !matches!(slot.what, What::Deleted(_)) {
        // Set and deleted by the same multi, or a stranger's znode.
        let gone = matches!(reply, Some(Reply::Gone));
        return if gone { Part::Changes(Vec::new()) } else { Part::Stranger };
    }
    // The reply may show a later life already: its creation follows as an event of its own. The life on record
    // may itself be that later one, if it was read before this delete's event came.
    let ended = known.get(path).filter(|node| match reply {
        Some(Reply::Found(seen)) => seen.node.czxid != node.czxid,
        Some(Reply::Gone) => true,
        Some(Reply::Forbidden | Reply::Lost) | None => false,
    });
    Part::Changes(ended.map(|node| delete(path, node, ByEdit::Yes)).into_iter().collect())
}
