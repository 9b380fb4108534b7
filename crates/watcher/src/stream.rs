//! The stream: events, each with the reply to a read that was sent at it, made into [`Txn`]s. Pure.
//!
//! ZooKeeper sends the events of one transaction in a row, every event before any later reply, and replies in the
//! order of their requests. So when the reply to a read is here, all events of the transaction that the read was
//! sent for are here too. Slots (one an event) are therefore judged in *batches*: a batch is the slots that stood
//! when its first answer came, goes on while it holds deletes whose companions may stand behind it, and ends only
//! between two slots that do not share a transaction.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use change::{Change, Millis, Node, Op, Record, Tree, Txn, ZnodePath, Zxid};

use crate::seen::{Behind, ByEdit, Relation, Reply, Seen, SeenEdit, delete, is_bare_folder, put, relate};

mod gather;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A watched znode was created.
    Created(ZnodePath),
    /// A watched znode was set.
    Set(ZnodePath),
    /// A watched znode was deleted.
    Deleted(ZnodePath),
    /// An edit record `edits/<name>` was created.
    Edit(String),
}

/// A read to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    /// The znode below the environment's root, with a leading slash.
    pub(crate) path: String,
    /// Whose `pzxid` bounds the zxid of a delete, where the event does not tell it.
    pub(crate) parent: Option<String>,
}

/// What came of a [`Read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The znode.
    pub(crate) reply: Reply,
    /// The parent's `pzxid`, if it was asked for and stands.
    pub(crate) upper: Option<Zxid>,
}

/// What went by, for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Versions that were overwritten before they could be read.
    pub(crate) missed_versions: u64,
    /// Reads that were refused.
    pub(crate) forbidden: u64,
    /// Edit records that could not be understood.
    pub(crate) bad_edits: u64,
}

#[derive(Debug)]
struct Slot {
    what: What,
    zxid: Option<Zxid>,
    answer: Option<Answer>,
}

/// Events on their way to becoming records.
#[derive(Debug)]
pub(crate) struct Stream {
    slots: VecDeque<Slot>,
    /// How many slots, from the front, have had their read sent.
    asked: usize,
    /// How many slots, from the front, have their answer.
    answered: usize,
    /// How many slots, from the front, are in the open batch; 0 while there is none.
    until: usize,
    /// How many slots of the batch have been looked at for companions.
    scanned: usize,
    /// The end of the last edit's own slots: nothing in there needs companions.
    covered: usize,
    /// The highest zxid met.
    high: Zxid,
    /// Deletes that wait for the record of a put.
    owed: Vec<Owed>,
    reads_in_flight: usize,
    batch_max: usize,
    deletes_max: usize,
    counts: Counts,
}

/// Deletes beside puts that were gone before they could be read. What was moved may have been moved on, so they travel
/// with the end of where it was last: in a record of their own they would be no move but the end of the rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Owed {
    /// The paths at which the puts stood; an event of the end of each is still waiting.
    pub(crate) until: BTreeSet<ZnodePath>,
    /// The deletes.
    pub(crate) ends: Vec<Change>,
}

impl Stream {
    /// An empty stream that begins after `high`. A batch has `batch_max` slots unless a transaction goes on behind it;
    /// of one in which a delete may, so many as `deletes_max`.
    pub(crate) fn new(high: Zxid, reads_in_flight: usize, batch_max: usize, deletes_max: usize) -> Stream {
        Stream {
            slots: VecDeque::new(),
            asked: 0,
            answered: 0,
            until: 0,
            scanned: 0,
            covered: 0,
            high,
            owed: Vec::new(),
            reads_in_flight,
            batch_max,
            deletes_max: deletes_max.max(batch_max),
            counts: Counts::default(),
        }
    }

    /// Takes over deletes that belong to what is about to come.
    pub(crate) fn owing(mut self, owed: Vec<Owed>) -> Stream {
        self.owed = owed;
        self
    }

    /// Takes in an event; `zxid` where the server tells it (3.9 on).
    pub(crate) fn event(&mut self, what: What, zxid: Option<Zxid>) {
        self.slots.push_back(Slot { what, zxid, answer: None });
    }

    /// The next read to send, if one is due and may be in flight.
    pub(crate) fn ask(&mut self) -> Option<Read> {
        if self.asked - self.answered >= self.reads_in_flight {
            return None;
        }
        let slot = self.slots.get(self.asked)?;
        self.asked += 1;
        Some(match &slot.what {
            What::Created(path) | What::Set(path) => {
                Read { path: format!("/{path}", path = path.as_str()), parent: None }
            }
            What::Edit(name) => Read { path: format!("/edits/{name}"), parent: None },
            What::Deleted(path) => {
                let path = format!("/{}", path.as_str());
                let parent = path.rsplit_once('/').map(|(parent, _)| parent.to_owned());
                let parent = parent.filter(|parent| slot.zxid.is_none() && !parent.is_empty());
                Read { path, parent }
            }
        })
    }

    /// Takes in the answer to the oldest read that has none.
    pub(crate) fn answer(&mut self, answer: Answer) {
        self.counts.forbidden += u64::from(answer.reply == Reply::Forbidden);
        if let Some(slot) = self.slots.get_mut(self.answered) {
            slot.answer = Some(answer);
            self.answered += 1;
        }
    }

    /// Whether every event has become a record.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many events have not become records yet.
    pub(crate) fn waiting(&self) -> usize {
        self.slots.len()
    }

    /// Hands over what was counted since the last time.
    pub(crate) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// The records of every batch that is complete, already folded into `known`.
    pub(crate) fn take(&mut self, known: &mut Tree, now: Millis) -> Result<Vec<Record>, Behind> {
        let owed = std::mem::take(&mut self.owed);
        let mut sink = Sink { known, now, records: Vec::new(), owed };
        while let Some(count) = self.complete() {
            let batch: Vec<Slot> = self.slots.drain(..count).collect();
            self.asked -= count;
            self.answered -= count;
            (self.until, self.scanned, self.covered) = (0, 0, 0);
            self.judge(&batch, &mut sink)?;
        }
        self.owed = sink.owed;
        Ok(sink.records)
    }

    /// How many slots the open batch has, if it may close.
    fn complete(&mut self) -> Option<usize> {
        if self.answered == 0 {
            return None;
        }
        if self.until == 0 {
            self.until = self.slots.len().min(self.batch_max);
        }
        loop {
            self.extend();
            if self.answered < self.until {
                return None;
            }
            match self.goes_on()? {
                true => self.until += 1,
                false => return Some(self.until),
            }
        }
    }

    /// Whether the slot behind the open batch may share a transaction with the batch's last. `None`: its answer will
    /// tell.
    fn goes_on(&self) -> Option<bool> {
        let (Some(last), Some(next)) = (self.slots.get(self.until - 1), self.slots.get(self.until)) else {
            return Some(false);
        };
        if let (Some(last), Some(its)) = (last.zxid, next.zxid) {
            return Some(last == its && !matches!(next.what, What::Edit(_)));
        }
        match (&next.what, mzxid(next)) {
            (What::Edit(_), _) => Some(false),
            (What::Deleted(_), _) => Some(self.until < self.deletes_max),
            (What::Created(_) | What::Set(_), None) if next.answer.is_none() => None,
            (What::Created(_) | What::Set(_), next) => {
                // At the bound, the put may be the other half of a delete just before it.
                let is_bound = (self.batch_max..self.deletes_max).contains(&self.until);
                let is_half = is_bound && matches!(last.what, What::Deleted(_));
                Some(is_half || next.is_some() && next == mzxid(last))
            }
        }
    }

    /// Draws in the companions of the batch's newly answered slots: the rest of an edit's multi, and whatever stands
    /// behind a delete that no edit lists.
    fn extend(&mut self) {
        while self.scanned < self.until.min(self.answered) {
            let slot = &self.slots[self.scanned];
            match &slot.what {
                What::Edit(name) => {
                    if let Some(edit) = parse_edit(name, slot) {
                        let rest = self.slots.range(self.scanned + 1..);
                        self.covered = self.scanned + 1 + gather::reach(&edit, slot.zxid, rest);
                        self.until = self.until.max(self.covered);
                    }
                }
                What::Deleted(_) if self.scanned >= self.covered => {
                    self.until = self.until.max(self.slots.len().min(self.batch_max));
                }
                What::Deleted(_) | What::Created(_) | What::Set(_) => {}
            }
            self.scanned += 1;
        }
    }

    fn judge(&mut self, batch: &[Slot], sink: &mut Sink<'_>) -> Result<(), Behind> {
        let mut run = Run::default();
        let mut at = 0;
        while let Some(slot) = batch.get(at) {
            if run.ends_before(slot) {
                run.finish(self.high, Later { batch: &batch[at..], queue: &self.slots }, sink);
            }
            at += 1;
            let later = Later { batch: &batch[at..], queue: &self.slots };
            let What::Edit(name) = &slot.what else {
                run.add(slot, later, sink, &mut self.counts)?;
                continue;
            };
            let Some(edit) = parse_edit(name, slot) else {
                self.counts.bad_edits += 1;
                continue;
            };
            let gathered = gather::gather(edit, slot.zxid, later, sink.known, &mut self.counts)?;
            let (slots, rest) = later.batch.split_at(gathered.slots);
            at += gathered.slots;
            let mut txn = Txn { seen: sink.now, ..gathered.txn };
            // A delete stands before the put of a later life at its path.
            let paid: Vec<Change> = slots.iter().flat_map(|slot| sink.pay(slot)).collect();
            txn.changes.retain(|change| !paid.iter().any(|end| end.id(0) == change.id(0)));
            txn.changes.splice(0..0, paid);
            sink.owe(&mut txn, gathered.gone, Later { batch: rest, queue: &self.slots });
            self.high = self.high.max(txn.zxid);
            sink.push(txn);
        }
        run.finish(self.high, Later { batch: &[], queue: &self.slots }, sink);
        let zxids = sink.records.iter().filter_map(|record| match record {
            Record::Txn(txn) => Some(txn.zxid),
            Record::Term(_) | Record::ResyncBegin(_) | Record::ResyncEnd(_) => None,
        });
        self.high = zxids.max().unwrap_or(self.high).max(self.high);
        Ok(())
    }
}

/// The slots behind one. Whatever was sent before the reply to its read is among them, so a delete that is not has not
/// happened before the read.
#[derive(Clone, Copy)]
struct Later<'a> {
    /// Those of its batch.
    batch: &'a [Slot],
    /// Those behind the batch.
    queue: &'a VecDeque<Slot>,
}

impl<'a> Later<'a> {
    fn slots(self) -> impl Iterator<Item = &'a Slot> {
        self.batch.iter().chain(self.queue)
    }

    fn deletes(self, path: &ZnodePath) -> bool {
        self.slots().any(|slot| matches!(&slot.what, What::Deleted(its) if its == path))
    }
}

/// Where records go.
struct Sink<'a> {
    known: &'a mut Tree,
    now: Millis,
    records: Vec<Record>,
    owed: Vec<Owed>,
}

impl Sink<'_> {
    fn push(&mut self, txn: Txn) {
        let record = Record::Txn(txn);
        self.known.fold(&record);
        self.records.push(record);
    }

    /// Takes the deletes out of a record if puts beside them are gone and something was put since: that may be where
    /// what they are the other half of went.
    fn owe(&mut self, txn: &mut Txn, gone: BTreeSet<ZnodePath>, later: Later<'_>) {
        let until: BTreeSet<ZnodePath> = gone.into_iter().filter(|path| later.deletes(path)).collect();
        let is_put = |slot: &Slot| matches!(slot.what, What::Created(_) | What::Set(_));
        if until.is_empty() || !later.slots().any(is_put) {
            return;
        }
        let ends = txn.changes.extract_if(.., |change| matches!(change.op, Op::Delete { .. }));
        // An edit that lists them has a record of its own, without them.
        let ends: Vec<Change> = ends.map(|end| Change { op: Op::Delete { by_edit: false }, ..end }).collect();
        if !ends.is_empty() {
            self.owed.push(Owed { until, ends });
        }
    }

    /// The deletes that have waited for this slot, and for no other one any more, unless they are on record by now.
    fn pay(&mut self, slot: &Slot) -> Vec<Change> {
        let What::Deleted(path) = &slot.what else { return Vec::new() };
        for debt in &mut self.owed {
            debt.until.remove(path);
        }
        let due = self.owed.extract_if(.., |debt| debt.until.is_empty()).flat_map(|debt| debt.ends);
        due.filter(|end| self.known.get(&end.path).is_some_and(|node| node.czxid >= end.czxid)).collect()
    }
}

fn found(slot: &Slot) -> Option<&Seen> {
    match &slot.answer.as_ref()?.reply {
        Reply::Found(seen) => Some(seen),
        Reply::Gone | Reply::Forbidden | Reply::Lost => None,
    }
}

fn mzxid(slot: &Slot) -> Option<Zxid> {
    found(slot).map(|seen| seen.node.mzxid)
}

fn parse_edit(name: &str, slot: &Slot) -> Option<SeenEdit> {
    SeenEdit::parse(name, found(slot)?)
}

/// One change of a run.
#[derive(Debug)]
struct Judged {
    change: Change,
    /// When it was committed, if that can be known.
    at: Option<Millis>,
    /// Its transaction, or for a delete an upper bound of it.
    zxid: Option<Zxid>,
}

/// Changes that belong to no edit, in the order seen.
#[derive(Debug, Default)]
struct Run {
    changes: Vec<Judged>,
    /// What the changes make of the known tree.
    now: BTreeMap<ZnodePath, Option<Node>>,
    /// The event zxid of the latest, where the server tells it.
    zxid: Option<Zxid>,
    /// Where something was put that had gone again before the read.
    gone: BTreeSet<ZnodePath>,
}

impl Run {
    /// Whether the slot is of another transaction for sure.
    fn ends_before(&self, slot: &Slot) -> bool {
        matches!(slot.what, What::Edit(_)) || self.zxid.is_some() && slot.zxid != self.zxid
    }

    fn add(
        &mut self,
        slot: &Slot,
        later: Later<'_>,
        sink: &mut Sink<'_>,
        counts: &mut Counts,
    ) -> Result<(), Behind> {
        self.zxid = slot.zxid;
        let path = match &slot.what {
            What::Created(path) | What::Set(path) | What::Deleted(path) => path,
            What::Edit(_) => return Ok(()),
        };
        let zxid = slot.zxid.or(slot.answer.as_ref().and_then(|answer| answer.upper));
        let paid = sink.pay(slot).into_iter().map(|change| Judged { change, at: None, zxid });
        self.take(paid.collect(), later, sink);
        let before = self.now.get(path).copied().unwrap_or_else(|| sink.known.get(path).copied());
        self.take(judge(slot, path, before, later, counts)?, later, sink);
        let reply = slot.answer.as_ref().map(|answer| &answer.reply);
        if !matches!(slot.what, What::Deleted(_)) && reply == Some(&Reply::Gone) {
            self.gone.insert(path.clone());
        }
        Ok(())
    }

    fn take(&mut self, judged: Vec<Judged>, later: Later<'_>, sink: &mut Sink<'_>) {
        // A record holds one put and one delete of a path at most, the delete first.
        let is_taken = |one: &Judged| {
            let is_put = matches!(one.change.op, Op::Put { .. });
            self.now.get(&one.change.path).is_some_and(|node| node.is_some() || !is_put)
        };
        if judged.iter().any(is_taken) {
            self.finish(Zxid(i64::MIN), later, sink);
        }
        for one in judged {
            let node = match one.change.op {
                Op::Put { version, mzxid, .. } => Some(Node { czxid: one.change.czxid, mzxid, version }),
                Op::Delete { .. } => None,
            };
            self.now.insert(one.change.path.clone(), node);
            self.changes.push(one);
        }
    }

    /// Makes the run's records: one for all of it if it holds a delete (the feed cannot tell which of the puts
    /// came with it, and the applier has to see a move whole), else one for each transaction.
    fn finish(&mut self, high: Zxid, later: Later<'_>, sink: &mut Sink<'_>) {
        self.now.clear();
        self.zxid = None;
        let gone = std::mem::take(&mut self.gone);
        let changes = std::mem::take(&mut self.changes);
        let has_delete = changes.iter().any(|one| matches!(one.change.op, Op::Delete { .. }));
        let mut txns: BTreeMap<Zxid, Vec<Judged>> = BTreeMap::new();
        let whole = changes.iter().filter_map(|one| one.zxid).max().unwrap_or(high);
        for one in changes {
            let zxid = if has_delete { whole } else { one.zxid.unwrap_or(whole) };
            txns.entry(zxid).or_default().push(one);
        }
        for (zxid, changes) in txns {
            let committed = changes.iter().filter_map(|one| one.at).max().unwrap_or(sink.now);
            let changes = changes.into_iter().map(|one| one.change).collect();
            let mut txn = Txn { zxid, committed, seen: sink.now, resync: None, edit: None, changes };
            if has_delete {
                sink.owe(&mut txn, gone.clone(), later);
            }
            if !txn.changes.is_empty() {
                sink.push(txn);
            }
        }
    }
}

/// What one slot that belongs to no edit comes to, against what is known of its path.
fn judge(
    slot: &Slot,
    path: &ZnodePath,
    known: Option<Node>,
    later: Later<'_>,
    counts: &mut Counts,
) -> Result<Vec<Judged>, Behind> {
    let Some(answer) = &slot.answer else { return Ok(Vec::new()) };
    let is_delete = matches!(slot.what, What::Deleted(_));
    let end = |node: &Node| {
        let zxid = slot.zxid.or(answer.upper);
        Judged { change: delete(path, node, ByEdit::No), at: None, zxid }
    };
    let seen = match &answer.reply {
        Reply::Found(seen) => seen,
        // Of a znode that was created or set, the delete follows as an event of its own.
        Reply::Gone => return Ok(known.filter(|_| is_delete).iter().map(end).collect()),
        Reply::Forbidden | Reply::Lost => return Ok(Vec::new()),
    };
    if known.is_none() && is_bare_folder(path, seen) {
        return Ok(Vec::new());
    }
    let write = || Judged { change: put(path, seen, None), at: Some(seen.at), zxid: Some(seen.node.mzxid) };
    Ok(match (relate(path, known.as_ref(), seen.node)?, &slot.what) {
        (Relation::Same, _) => Vec::new(),
        // The delete between the two lives follows as an event of its own.
        (Relation::Reborn, What::Set(_)) if later.deletes(path) => Vec::new(),
        (Relation::Reborn, What::Deleted(_)) => {
            counts.missed_versions += u64::from(seen.node.version.unsigned_abs());
            known.iter().map(end).chain([write()]).collect()
        }
        (Relation::New | Relation::Reborn, _) => {
            counts.missed_versions += u64::from(seen.node.version.unsigned_abs());
            vec![write()]
        }
        (Relation::Later { missed }, _) => {
            counts.missed_versions += u64::from(missed);
            vec![write()]
        }
    })
}

#[cfg(test)]
mod tests;
