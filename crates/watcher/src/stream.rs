//! The stream: events, each with the reply to a read that was sent at it, made into [`Txn`]s. Pure.
//!
//! ZooKeeper sends the events of one transaction in a row, every event before any later reply, and replies in the
//! order of their requests. So when the reply to a read is here, all events of the transaction that the read was
//! sent for are here too. Slots (one an event) are therefore judged in *batches*: a batch is the slots that stood
//! when its first answer came, goes on while it holds deletes whose companions may stand behind it, and ends only
//! between two slots that do not share a transaction.

use std::collections::{BTreeMap, VecDeque};

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
    reads_in_flight: usize,
    batch_max: usize,
    counts: Counts,
}

impl Stream {
    /// An empty stream that begins after `high`.
    pub(crate) fn new(high: Zxid, reads_in_flight: usize, batch_max: usize) -> Stream {
        Stream {
            slots: VecDeque::new(),
            asked: 0,
            answered: 0,
            until: 0,
            scanned: 0,
            covered: 0,
            high,
            reads_in_flight,
            batch_max,
            counts: Counts::default(),
        }
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
        let mut records = Vec::new();
        while let Some(count) = self.complete() {
            let batch: Vec<Slot> = self.slots.drain(..count).collect();
            self.asked -= count;
            self.answered -= count;
            (self.until, self.scanned, self.covered) = (0, 0, 0);
            self.judge(&batch, known, now, &mut records)?;
        }
        Ok(records)
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
            let Some(next) = self.slots.get(self.until) else { return Some(self.until) };
            if self.until >= self.batch_max {
                return Some(self.until);
            }
            match (&next.what, mzxid(next)) {
                (What::Edit(_), _) => return Some(self.until),
                (What::Deleted(_), _) => self.until += 1,
                (What::Created(_) | What::Set(_), None) if next.answer.is_none() => return None,
                (What::Created(_) | What::Set(_), mzxid_next) => {
                    if mzxid_next.is_none() || mzxid_next != mzxid(&self.slots[self.until - 1]) {
                        return Some(self.until);
                    }
                    self.until += 1;
                }
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

    fn judge(
        &mut self,
        batch: &[Slot],
        known: &mut Tree,
        now: Millis,
        records: &mut Vec<Record>,
    ) -> Result<(), Behind> {
        let mut run = Run::default();
        let mut at = 0;
        while let Some(slot) = batch.get(at) {
            at += 1;
            let What::Edit(name) = &slot.what else {
                run.add(slot, known, now, records, &mut self.counts)?;
                continue;
            };
            let Some(edit) = parse_edit(name, slot) else {
                self.counts.bad_edits += 1;
                continue;
            };
            run.finish(known, now, self.high, records);
            let gathered = gather::gather(edit, slot.zxid, &batch[at..], known, &mut self.counts)?;
            at += gathered.slots;
            let txn = Txn { seen: now, ..gathered.txn };
            self.high = self.high.max(txn.zxid);
            push(txn, known, records);
        }
        run.finish(known, now, self.high, records);
        let zxids = records.iter().filter_map(|record| match record {
            Record::Txn(txn) => Some(txn.zxid),
            Record::Term(_) | Record::ResyncBegin(_) | Record::ResyncEnd(_) => None,
        });
        self.high = zxids.max().unwrap_or(self.high).max(self.high);
        Ok(())
    }
}

fn push(txn: Txn, known: &mut Tree, records: &mut Vec<Record>) {
    let record = Record::Txn(txn);
    known.fold(&record);
    records.push(record);
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
}

impl Run {
    fn add(
        &mut self,
        slot: &Slot,
        known: &mut Tree,
        now: Millis,
        records: &mut Vec<Record>,
        counts: &mut Counts,
    ) -> Result<(), Behind> {
        if self.zxid.is_some() && slot.zxid != self.zxid {
            self.finish(known, now, Zxid(i64::MIN), records);
        }
        self.zxid = slot.zxid;
        let path = match &slot.what {
            What::Created(path) | What::Set(path) | What::Deleted(path) => path,
            What::Edit(_) => return Ok(()),
        };
        let before = self.now.get(path).copied().unwrap_or_else(|| known.get(path).copied());
        let judged = judge(slot, path, before, counts)?;
        if judged.is_empty() {
            return Ok(());
        }
        // A record holds one put and one delete of a path at most, the delete first.
        let puts_only = judged.iter().all(|one| matches!(one.change.op, Op::Put { .. }));
        if self.now.get(path).is_some_and(|node| node.is_some() || !puts_only) {
            self.finish(known, now, Zxid(i64::MIN), records);
        }
        for one in judged {
            let node = match one.change.op {
                Op::Put { version, mzxid, .. } => Some(Node { czxid: one.change.czxid, mzxid, version }),
                Op::Delete { .. } => None,
            };
            self.now.insert(path.clone(), node);
            self.changes.push(one);
        }
        Ok(())
    }

    /// Makes the run's records: one for all of it if it holds a delete (the feed cannot tell which of the puts
    /// came with it, and the applier has to see a move whole), else one for each transaction.
    fn finish(&mut self, known: &mut Tree, now: Millis, high: Zxid, records: &mut Vec<Record>) {
        self.now.clear();
        let changes = std::mem::take(&mut self.changes);
        let has_delete = changes.iter().any(|one| matches!(one.change.op, Op::Delete { .. }));
        let mut txns: BTreeMap<Zxid, Vec<Judged>> = BTreeMap::new();
        let whole = changes.iter().filter_map(|one| one.zxid).max().unwrap_or(high);
        for one in changes {
            let zxid = if has_delete { whole } else { one.zxid.unwrap_or(whole) };
            txns.entry(zxid).or_default().push(one);
        }
        for (zxid, changes) in txns {
            let committed = changes.iter().filter_map(|one| one.at).max().unwrap_or(now);
            let changes = changes.into_iter().map(|one| one.change).collect();
            push(Txn { zxid, committed, seen: now, resync: None, edit: None, changes }, known, records);
        }
    }
}

/// What one slot that belongs to no edit comes to, against what is known of its path.
fn judge(
    slot: &Slot,
    path: &ZnodePath,
    known: Option<Node>,
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
        (Relation::Reborn, What::Set(_)) => Vec::new(),
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
