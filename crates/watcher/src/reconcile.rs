//! The difference between what is on record and what stands in ZooKeeper, as [`Txn`]s. Pure.

use std::collections::{BTreeMap, BTreeSet};

use change::{
    Change, Difference, EditOp, Millis, Node, Op, Record, ResyncBegin, ResyncEnd, Tree, Txn, ZnodePath, Zxid,
};
use uuid::Uuid;

use crate::seen::{Behind, ByEdit, Relation, Seen, SeenEdit, delete, put, relate};
use crate::stream::Owed;

/// All that stands below the watched roots.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// What could be read.
    pub(crate) nodes: BTreeMap<ZnodePath, Seen>,
    /// Subtrees that could not: nothing is known of what stands in them.
    pub(crate) unreadable: Vec<ZnodePath>,
}

/// Where the record and the live tree differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Live paths whose bytes are not on record.
    pub(crate) puts: BTreeSet<ZnodePath>,
    /// Those of them that begin a life.
    pub(crate) born: BTreeSet<ZnodePath>,
    /// Lives on record that have ended: at these paths stands nothing, or a later life.
    pub(crate) ended: BTreeMap<ZnodePath, Node>,
    /// Paths whose delete the stream has an event of.
    pub(crate) deleted_later: BTreeSet<ZnodePath>,
    /// Those of them at which nothing was ever read: what a stranger moved there has been moved on.
    pub(crate) unread: BTreeSet<ZnodePath>,
    /// Versions between the two that nobody read.
    pub(crate) missed_versions: u64,
}

impl Gap {
    /// The paths that seem to be gone. Each is to be confirmed by asking for it alone.
    pub(crate) fn missing(&self, live: &Live) -> Vec<ZnodePath> {
        self.ended.keys().filter(|path| !live.nodes.contains_key(*path)).cloned().collect()
    }

    /// How many of the puts had been committed before `mark`, up to which the stream claimed to have all.
    pub(crate) fn older_than(&self, live: &Live, mark: Zxid) -> u64 {
        let older = |path: &&ZnodePath| live.nodes.get(*path).is_some_and(|seen| seen.node.mzxid < mark);
        self.puts.iter().filter(older).count() as u64
    }
}

/// Where the stream takes over: what it will bring by itself is not in the gap.
#[derive(Debug)]
pub(crate) struct Cut {
    /// The last transaction before the stream's first event.
    pub(crate) at: Zxid,
    /// Paths whose delete the stream has an event of.
    pub(crate) deleted_later: BTreeSet<ZnodePath>,
}

/// Compares the two, up to the cut.
///
/// # Errors
/// [`Behind`] if a live znode is behind the record: then this is another history and nothing in it is a delete.
pub(crate) fn compare(known: &Tree, live: &Live, cut: &Cut) -> Result<Gap, Behind> {
    let standing = live.nodes.iter().map(|(path, seen)| (path.clone(), seen.node)).collect();
    let is_unread = |path: &&ZnodePath| known.get(path).is_none() && !live.nodes.contains_key(path);
    let unread = cut.deleted_later.iter().filter(is_unread).cloned().collect();
    let mut gap = Gap { deleted_later: cut.deleted_later.clone(), unread, ..Gap::default() };
    for (path, difference) in Tree::between(known, &Tree::new(standing)) {
        let node = match difference {
            Difference::Deleted(node) => {
                let unread = live.unreadable.iter().any(|subtree| path.is_within(subtree));
                if !unread && !cut.deleted_later.contains(&path) {
                    gap.ended.insert(path, node);
                }
                continue;
            }
            Difference::Created(node) | Difference::Changed(_, node) | Difference::Recreated(_, node) => node,
        };
        let before = known.get(&path);
        let relation = relate(&path, before, node)?;
        let is_deleted_later = cut.deleted_later.contains(&path);
        if let (Relation::Reborn, Some(old)) = (relation, before)
            && !is_deleted_later
        {
            gap.ended.insert(path.clone(), *old);
        }
        // Of a life that began before the cut, the stream has no event but of what was set behind it.
        let has_begun = relation == Relation::Reborn && Zxid(node.czxid) <= cut.at && !is_deleted_later;
        if node.mzxid > cut.at && !has_begun {
            continue;
        }
        match relation {
            Relation::Same => continue,
            Relation::New | Relation::Reborn => drop(gap.born.insert(path.clone())),
            Relation::Later { missed } => gap.missed_versions += u64::from(missed),
        }
        gap.puts.insert(path);
    }
    Ok(gap)
}

/// Bounds of one record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Changes in a record that couples deletes with the puts that may be their other half.
    pub(crate) changes: usize,
    /// Bytes of those puts.
    pub(crate) bytes: usize,
}

/// What the whole reconciliation happens under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The watcher's clock.
    pub(crate) now: Millis,
    /// A zxid that none of the deletes found is higher than.
    pub(crate) upper: Zxid,
    /// The resync that the Txns belong to.
    pub(crate) resync: Option<Uuid>,
}

#[derive(Default)]
struct Group<'a> {
    edit: Option<&'a SeenEdit>,
    changes: Vec<Change>,
    /// The paths that have a put among the changes.
    puts: BTreeSet<&'a ZnodePath>,
}

/// What closes a gap.
#[derive(Debug)]
pub(crate) struct Closed {
    /// Ascending by zxid.
    pub(crate) txns: Vec<Txn>,
    /// Deletes that belong to what the stream is about to bring.
    pub(crate) owed: Vec<Owed>,
}

/// The Txns that close the gap, ascending by zxid: `edits` are those that are not on record yet, ascending, and
/// `gap.ended` holds confirmed paths only.
///
/// Each edit becomes a Txn of all that it lists, as in the stream; only the deletes of one whose put was moved on travel
/// with the put that stands. Deletes that no edit lists come last, together with the lives that began meanwhile (so that
/// the applier can see a move), unless that would be too large, or with what the stream brings, if that moved on what was
/// never read.
pub(crate) fn close(live: &Live, gap: &Gap, edits: &[SeenEdit], moment: Moment, limits: Limits) -> Closed {
    let mut groups: BTreeMap<Zxid, Group<'_>> = BTreeMap::new();
    let mut ended = gap.ended.clone();
    let homes = homes(live, gap, edits);
    let mut moved: BTreeMap<Zxid, Vec<Change>> = BTreeMap::new();
    let mut owed = Vec::new();
    for (edit, home) in edits.iter().zip(&homes) {
        let group = groups.entry(edit.zxid).or_default();
        group.edit = Some(edit);
        for listed in &edit.edit.changes {
            match (listed.op, live.nodes.get(&listed.path), home) {
                (EditOp::Put, Some(seen), _) if stands(edit, seen) => {
                    group.changes.push(put(&listed.path, seen, Some(edit)));
                    group.puts.insert(&listed.path);
                }
                (EditOp::Put, _, _) | (EditOp::Delete, _, Home::Last) => {}
                (EditOp::Delete, _, Home::Own) => {
                    let node = ended.remove(&listed.path);
                    group.changes.extend(node.map(|node| delete(&listed.path, &node, ByEdit::Yes)));
                }
                (EditOp::Delete, _, Home::Edit(zxid)) => {
                    let node = ended.remove(&listed.path);
                    let change = node.map(|node| delete(&listed.path, &node, ByEdit::No));
                    moved.entry(*zxid).or_default().extend(change);
                }
                (EditOp::Delete, _, Home::Later(until)) => {
                    let node = ended.remove(&listed.path);
                    owed.extend(node.map(|node| Owed {
                        until: until.clone(),
                        ends: vec![delete(&listed.path, &node, ByEdit::No)],
                    }));
                }
            }
        }
        // A delete stands before the put of a later life at its path.
        group.changes.splice(0..0, moved.remove(&edit.zxid).into_iter().flatten());
    }
    for path in &gap.puts {
        let Some(seen) = live.nodes.get(path) else { continue };
        let group = groups.entry(seen.node.mzxid).or_default();
        if group.puts.insert(path) {
            group.changes.push(put(path, seen, group.edit));
        }
    }
    // A later life stands there: no feed saw the delete between the two, so none is claimed.
    ended.retain(|path, _| !live.nodes.contains_key(path));
    let fits_one_record = (1..=limits.changes).contains(&ended.len());
    let last = if moment.resync.is_some() {
        Vec::new()
    } else if fits_one_record && !gap.unread.is_empty() {
        let ends = ended.iter().map(|(path, node)| delete(path, node, ByEdit::No)).collect();
        owed.push(Owed { until: gap.unread.clone(), ends });
        Vec::new()
    } else {
        couple(&mut groups, gap, &ended, limits)
    };
    let mut txns: Vec<Txn> = groups.into_iter().map(|(zxid, group)| txn(zxid, group, live, moment)).collect();
    txns.extend(
        last.into_iter()
            .map(|changes| txn(moment.upper, Group { changes, ..Group::default() }, live, moment)),
    );
    Closed { txns, owed }
}

/// Whether what the edit put somewhere, or a later version of it, stands there.
fn stands(edit: &SeenEdit, seen: &Seen) -> bool {
    seen.node.mzxid >= edit.zxid && Zxid(seen.node.czxid) <= edit.zxid
}

/// Which record the deletes of an edit travel in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Home {
    /// The edit's own.
    Own,
    /// That of a later edit.
    Edit(Zxid),
    /// The last one.
    Last,
    /// One that the stream brings, when these paths have ended.
    Later(BTreeSet<ZnodePath>),
}

impl Home {
    /// The later of two.
    fn further(one: Option<Home>, other: Option<Home>) -> Option<Home> {
        match (one, other) {
            (Some(Home::Later(mut one)), Some(Home::Later(other))) => {
                one.extend(other);
                Some(Home::Later(one))
            }
            (one, other) => one.max(other),
        }
    }
}

/// The home of each edit's deletes. An edit that moved something to where it was moved on from has nothing to put: its
/// deletes in a record of their own would be no move but the end of the rows. So they go where the last of what it put
/// may have arrived.
fn homes(live: &Live, gap: &Gap, edits: &[SeenEdit]) -> Vec<Home> {
    let listed: BTreeSet<&ZnodePath> =
        edits.iter().flat_map(|edit| &edit.edit.changes).map(|listed| &listed.path).collect();
    let has_strangers = gap.born.iter().any(|path| !listed.contains(path));
    // Of the edits behind the one at hand, the first that deletes a path, and where what stood there may have arrived.
    let mut behind: BTreeMap<&ZnodePath, Option<Home>> = BTreeMap::new();
    let mut homes = Vec::new();
    for edit in edits.iter().rev() {
        let (mut own, mut onward) = (false, None);
        for listed in edit.edit.changes.iter().filter(|listed| listed.op == EditOp::Put) {
            if live.nodes.get(&listed.path).is_some_and(|seen| stands(edit, seen)) {
                own = true;
            } else {
                let unlisted = if gap.deleted_later.contains(&listed.path) {
                    Some(Home::Later([listed.path.clone()].into()))
                } else {
                    has_strangers.then_some(Home::Last)
                };
                onward = Home::further(onward, behind.get(&listed.path).cloned().unwrap_or(unlisted));
            }
        }
        homes.push(onward.clone().unwrap_or(Home::Own));
        let arrived = onward.or(own.then_some(Home::Edit(edit.zxid)));
        for listed in edit.edit.changes.iter().filter(|listed| listed.op == EditOp::Delete) {
            behind.insert(&listed.path, arrived.clone());
        }
    }
    homes.reverse();
    homes
}

/// Takes the lives that began out of their groups and puts them with the deletes, if all of it fits one record;
/// else the deletes stand alone, in records that each fit.
fn couple(
    groups: &mut BTreeMap<Zxid, Group<'_>>,
    gap: &Gap,
    ended: &BTreeMap<ZnodePath, Node>,
    limits: Limits,
) -> Vec<Vec<Change>> {
    if ended.is_empty() {
        return Vec::new();
    }
    let mut deletes: Vec<Change> = ended.iter().map(|(path, node)| delete(path, node, ByEdit::No)).collect();
    let is_born = |change: &Change| gap.born.contains(&change.path);
    let free = || groups.values().filter(|group| group.edit.is_none()).flat_map(|group| &group.changes);
    let (count, bytes) = free().filter(|change| is_born(change)).fold((0, 0), |(count, bytes), change| {
        let size = if let Op::Put { bytes, .. } = &change.op { bytes.len() } else { 0 };
        (count + 1, bytes + size)
    });
    if count + deletes.len() > limits.changes || bytes > limits.bytes {
        return deletes.chunks(limits.changes.max(1)).map(<[Change]>::to_vec).collect();
    }
    for group in groups.values_mut().filter(|group| group.edit.is_none()) {
        deletes.extend(group.changes.extract_if(.., |change| is_born(change)));
    }
    groups.retain(|_, group| group.edit.is_some() || !group.changes.is_empty());
    vec![deletes]
}

fn txn(zxid: Zxid, group: Group<'_>, live: &Live, moment: Moment) -> Txn {
    let at = |change: &Change| match change.op {
        Op::Put { .. } => live.nodes.get(&change.path).map(|seen| seen.at),
        Op::Delete { .. } => None,
    };
    let latest = group.changes.iter().filter_map(at).max();
    Txn {
        zxid,
        committed: group.edit.map(|edit| edit.at).or(latest).unwrap_or(moment.now),
        seen: moment.now,
        resync: moment.resync,
        edit: group.edit.map(|edit| edit.edit.clone()),
        changes: group.changes,
    }
}

/// The records of a resync: begin, every live path, end.
pub(crate) fn resync(
    live: &Live,
    gap: &Gap,
    edits: &[SeenEdit],
    id: Uuid,
    moment: Moment,
    limits: Limits,
) -> Vec<Record> {
    let all = Gap {
        puts: live.nodes.keys().cloned().collect(),
        born: gap.born.clone(),
        ended: gap.ended.clone(),
        deleted_later: gap.deleted_later.clone(),
        unread: BTreeSet::new(),
        missed_versions: 0,
    };
    // What is owed is what the end deletes, unless a later life stands there.
    let Closed { txns, owed: _ } = close(live, &all, edits, Moment { resync: Some(id), ..moment }, limits);
    let count = live.nodes.len() as u64;
    let end = ResyncEnd { id, seen: moment.now, count, unreadable: live.unreadable.clone() };
    let begin = Record::ResyncBegin(ResyncBegin { id, seen: moment.now });
    [begin].into_iter().chain(txns.into_iter().map(Record::Txn)).chain([Record::ResyncEnd(end)]).collect()
}

#[cfg(test)]
mod tests;
