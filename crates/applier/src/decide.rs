//! What each change comes to: facts in, rows and ledger and outcomes out. No I/O, no clock, no random ids.
//!
//! Records are folded one at a time over a working copy of rows and ledger, each judged by its own end state, so
//! that batch boundaries change nothing. Within a record puts come before deletes, in the order of references,
//! and whatever the record sets free of what was pending is applied with it.

use std::collections::{BTreeMap, BTreeSet};

use asset::{Document, Kind};
use change::{
    Cause, Change, ChangeId, Fence, Millis, Op, Outcome, OutcomeKey, Place, Record, ResyncEnd, Txn, Verdict,
    ZnodePath,
};
use superset::{Lookup, Rows, Spot};
use uuid::Uuid;

use crate::book::{Applied, Book, Entry, Ledger, Pending, State, Stream, Tombstone, Want, stamp};
use crate::fail::Broken;
use crate::work::{self, Brief, Kept, Parsed, Policy, Read, Selection, Work};

mod claims;
mod follow;
mod guard;
mod settle;

/// Everything that deciding may look at.
pub(crate) struct Facts<'f> {
    /// What was observed of Superset's tables; consumed as the working copy.
    pub(crate) rows: superset::Facts,
    /// The ledger as it stands.
    pub(crate) ledger: &'f Ledger,
    /// The documents.
    pub(crate) brief: &'f Brief,
    /// What is allowed.
    pub(crate) policy: &'f Policy,
    /// The applier's fence, for the outcomes' keys.
    pub(crate) fence: Fence,
    /// Changes whose statements the database has refused: not tried.
    pub(crate) refused: &'f BTreeMap<ChangeId, State>,
    /// What to do wrong, in tests of the checkers.
    pub(crate) broken: Option<Broken>,
}

/// What a piece of work comes to.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The rows as they are to be.
    pub(crate) rows: Rows,
    /// The entries that change; `None` is removed.
    pub(crate) changes: BTreeMap<ZnodePath, Option<Entry>>,
    /// Where the target then stands.
    pub(crate) stream: Stream,
    /// What to tell. `committed` is stamped when they are written.
    pub(crate) outcomes: Vec<Outcome>,
    /// What each outcome's change has changed of the rows.
    pub(crate) spots: Vec<BTreeSet<Spot>>,
}

/// Why nothing could be decided.
#[derive(Debug)]
pub(crate) enum Shortfall {
    /// The facts lack something that can be looked up or reserved.
    Rows(superset::FaultKind),
    /// The facts lack all of this.
    Lookups(BTreeSet<Lookup>),
    /// The facts lack the applied document of this path.
    Unread(ZnodePath),
    /// More changes are pending than may be.
    Full(usize),
}

/// Decides. See the module.
pub(crate) fn decide(work: &Work, facts: Facts<'_>) -> Result<Plan, Shortfall> {
    let mut rows = facts.rows;
    rows.endpoints = facts.ledger.chosen();
    let mut fold = Fold {
        stream: facts.ledger.stream.clone(),
        book: Book::new(facts.ledger),
        facts: rows,
        brief: facts.brief,
        policy: facts.policy,
        refused: facts.refused,
        broken: facts.broken,
        retry_all: matches!(work, Work::Reconcile(Selection::Pending)),
        offset: 0,
        drafts: Vec::new(),
        moved: BTreeMap::new(),
    };
    match work {
        Work::Records { records, next } => {
            for read in records {
                fold.record(read)?;
            }
            // Without records it is a jump over what the log has lost, perhaps the middle of the resync that was open:
            // what stood there would be missed, so its end must not count.
            if records.is_empty() {
                fold.stream.resync = None;
            }
            fold.stream.position = Some(*next);
        }
        Work::Reconcile(selection) => fold.reconcile(*selection)?,
    }
    fold.finish(facts.fence)
}

/// An outcome before it has a key.
#[derive(Debug, Clone)]
struct Draft {
    id: ChangeId,
    cause: Cause,
    verdict: Verdict,
    also: BTreeSet<ZnodePath>,
    before: Option<String>,
    spots: BTreeSet<Spot>,
}

impl Draft {
    fn new(id: ChangeId, cause: Cause, verdict: Verdict) -> Draft {
        Draft { id, cause, verdict, also: BTreeSet::new(), before: None, spots: BTreeSet::new() }
    }
}

struct Fold<'f> {
    stream: Stream,
    book: Book<'f>,
    facts: superset::Facts,
    brief: &'f Brief,
    policy: &'f Policy,
    refused: &'f BTreeMap<ChangeId, State>,
    broken: Option<Broken>,
    retry_all: bool,
    offset: i64,
    drafts: Vec<Draft>,
    /// Endpoints that the record in hand has changed, with the outcomes that say so.
    moved: BTreeMap<String, usize>,
}

impl Fold<'_> {
    fn record(&mut self, read: &Read) -> Result<(), Shortfall> {
        let is_old = self.stream.watcher.is_some_and(|highest| read.fence < highest);
        if is_old && self.broken != Some(Broken::AcceptOldFence) {
            return Ok(());
        }
        self.stream.watcher = self.stream.watcher.max(Some(read.fence));
        self.stream.effective = read.record.effective(self.stream.effective);
        self.offset = read.offset;
        match &read.record {
            Record::Term(_) => Ok(()),
            Record::Txn(txn) => self.txn(txn, read.fence.generation),
            Record::ResyncBegin(begin) => {
                self.stream.resync = Some(begin.id);
                Ok(())
            }
            Record::ResyncEnd(end) => self.resync_end(end),
        }
    }

    /// The znodes as the record leaves them: puts first, so that a delete can tell a move.
    fn txn(&mut self, txn: &Txn, generation: u64) -> Result<(), Shortfall> {
        for change in &txn.changes {
            if let Op::Put { .. } = change.op {
                self.accept_put(txn, change, change.id(generation));
            }
        }
        for change in &txn.changes {
            if let Op::Delete { .. } = change.op {
                self.accept_delete(change.id(generation));
            }
        }
        self.settle()
    }

    /// What the resync did not find is gone, unless it stands where nothing could be read.
    fn resync_end(&mut self, end: &ResyncEnd) -> Result<(), Shortfall> {
        if self.stream.resync != Some(end.id) {
            return Ok(());
        }
        self.stream.resync = None;
        let unread = |path: &ZnodePath| end.unreadable.iter().any(|sub| path.is_within(sub));
        let unseen = self
            .book
            .iter()
            .filter(|(path, entry)| entry.is_live() && entry.seen != Some(end.id) && !unread(path));
        let gone: Vec<ChangeId> =
            unseen.filter_map(|(path, entry)| Some(delete_of(path, entry.newest(path)?))).collect();
        for id in gone {
            self.accept_delete(id);
        }
        self.settle()
    }

    fn reconcile(&mut self, selection: Selection) -> Result<(), Shortfall> {
        if selection == Selection::Secrets {
            self.write_secrets_again()?;
        }
        self.settle()
    }

    /// Writes the databases that have secrets once more; where no secret changed, nothing does.
    fn write_secrets_again(&mut self) -> Result<(), Shortfall> {
        for path in &self.brief.load {
            let Some(entry) = self.book.get(path).cloned() else { continue };
            let Some(applied) = entry.applied.clone().filter(|_| entry.pending.is_none()) else { continue };
            if let Some(Parsed::Document(document)) = self.brief.parsed.get(&applied.id)
                && !document.secrets().is_empty()
                && document.secrets().iter().all(|secret| self.facts.secrets.contains_key(secret))
            {
                self.write_again(path, &entry, document)?;
            }
        }
        Ok(())
    }

    fn write_again(&mut self, path: &ZnodePath, entry: &Entry, document: &Document) -> Result<(), Shortfall> {
        let is_refused = entry.applied.as_ref().is_some_and(|applied| self.refused.contains_key(&applied.id));
        if is_refused {
            return Ok(());
        }
        let Ok(written) = self.write(document)? else { return Ok(()) };
        if let Some(applied) = entry.applied.as_ref().filter(|_| written.changed()) {
            let mut draft = Draft::new(applied.id.clone(), Cause::Reconcile, Verdict::Applied);
            draft.also = self.note_others(&written)?;
            draft.spots.clone_from(&written.spots);
            self.renew_digest(path);
            self.drafts.push(draft);
        }
        Ok(())
    }

    fn write(&mut self, document: &Document) -> Result<Result<Written, superset::Fault>, Shortfall> {
        let savepoint = self.facts.savepoint();
        let put = caught(superset::put(document, &mut self.facts))?;
        Ok(put.map(|others| Written { others, spots: self.facts.spots_since(&savepoint) }))
    }

    /// Whether the ledger has this change, or a later one of its path.
    fn is_old(&self, entry: &Entry, id: &ChangeId) -> bool {
        let newest = entry.newest(&id.path);
        newest.is_some_and(|newest| stamp(id) <= stamp(newest)) && self.broken != Some(Broken::NoDedupe)
    }

    /// Takes a put down as the newest change of its path, unless it is an old one.
    fn accept_put(&mut self, txn: &Txn, change: &Change, id: ChangeId) {
        let path = &change.path;
        let mut entry = self.book.get(path).cloned().unwrap_or_default();
        if txn.resync.is_some() {
            self.revive(&mut entry, &id, txn.seen);
        }
        let is_read_anew = txn.resync.is_some() && self.makes_sense_now(&entry, &id);
        if !is_read_anew && self.is_old(&entry, &id) {
            if entry.is_live() && entry.seen != self.stream.resync {
                entry.seen = self.stream.resync;
                self.book.set(path, entry);
            }
            self.drafts.push(Draft::new(id, Cause::Change, Verdict::Skipped));
            return;
        }
        entry.seen = self.stream.resync;
        self.supersede_pending(&entry);
        match self.brief.parsed.get(&id) {
            Some(Parsed::Document(document)) => {
                let want = work::want(document);
                entry.pending = Some(self.pending(id, want, State::New));
            }
            Some(Parsed::Other { .. }) if self.refused.contains_key(&id) => {
                let state = self.refused[&id].clone();
                self.drafts.push(Draft::new(id.clone(), Cause::Change, verdict(&state)));
                entry.pending = Some(self.pending(id, Want::Nonsense, state));
            }
            Some(Parsed::Other { sha256, kept }) => self.store_other(&mut entry, id, sha256, kept),
            Some(Parsed::Rejected(rejection)) => {
                let state = rejection.clone().state();
                self.drafts.push(Draft::new(id.clone(), Cause::Change, verdict(&state)));
                entry.pending = Some(self.pending(id, Want::Nonsense, state));
            }
            None => {
                let state =
                    work::Rejection::new("the change was not read; this is a fault of setkeeper").state();
                self.drafts.push(Draft::new(id.clone(), Cause::Change, verdict(&state)));
                entry.pending = Some(self.pending(id, Want::Nonsense, state));
            }
        }
        self.book.set(path, entry);
    }

    /// Whether a put whose bytes were rejected may pass now: a resync brings the bytes again, and the configuration may
    /// be another one.
    fn makes_sense_now(&self, entry: &Entry, id: &ChangeId) -> bool {
        let was_nonsense =
            entry.pending.as_ref().is_some_and(|pending| pending.want == Want::Nonsense && pending.id == *id);
        was_nonsense && self.brief.parsed.get(id).is_some_and(|parsed| !matches!(parsed, Parsed::Rejected(_)))
    }

    /// A resync has looked: a life that it finds is not over, whatever an earlier one concluded from not finding it.
    /// One that looked before the delete, and is read again, says nothing.
    fn revive(&mut self, entry: &mut Entry, id: &ChangeId, looked: Millis) {
        let ends_this_life = |delete: &ChangeId| {
            (delete.generation, delete.czxid, delete.version) == (id.generation, id.czxid, None)
        };
        entry.tombstone.take_if(|tombstone| ends_this_life(&tombstone.id) && tombstone.at <= looked);
        let is_held = |pending: &Pending| ends_this_life(&pending.id) && pending.at <= looked;
        if entry.pending.as_ref().is_some_and(is_held) {
            self.supersede_pending(entry);
            entry.pending = None;
            self.book.set(&id.path, entry.clone());
        }
    }

    /// Settings, endpoints and approvals have no rows: to be stored is all that becomes of them. Databases follow an
    /// endpoint.
    fn store_other(&mut self, entry: &mut Entry, id: ChangeId, sha256: &str, kept: &Kept) {
        let is_same = entry.applied.as_ref().is_some_and(|applied| applied.digest == sha256);
        let verdict = if is_same { Verdict::Unchanged } else { Verdict::Applied };
        if let Kept::Chosen(chosen) = kept
            && self.facts.endpoints.insert(chosen.endpoint.clone(), chosen.clone()).as_ref() != Some(chosen)
        {
            self.moved.insert(chosen.endpoint.clone(), self.drafts.len());
        }
        self.drafts.push(Draft::new(id.clone(), Cause::Change, verdict));
        let (document, digest) = (kept.document(), sha256.to_owned());
        let applied = Applied { id, asset: None, document, digest, edges: Vec::new() };
        entry.applied = Some(applied).filter(|_| *kept != Kept::Emptied);
        entry.pending = None;
    }

    fn pending(&self, id: ChangeId, want: Want, state: State) -> Pending {
        Pending { id, at: self.stream.effective, offset: self.offset, want, state }
    }

    /// A held change that a later one of its path replaces has found its end.
    fn supersede_pending(&mut self, entry: &Entry) {
        if let Some(Pending { id, state: State::Held { .. } | State::New, .. }) = &entry.pending {
            self.drafts.push(Draft::new(id.clone(), Cause::Reconcile, Verdict::Superseded));
        }
    }

    /// Takes a delete down as the newest change of its path, unless it is of an earlier life.
    fn accept_delete(&mut self, id: ChangeId) {
        let path = id.path.clone();
        let mut entry = self.book.get(&path).cloned().unwrap_or_default();
        if self.is_old(&entry, &id) {
            self.drafts.push(Draft::new(id, Cause::Change, Verdict::Skipped));
            return;
        }
        self.supersede_pending(&entry);
        let kind = entry.applied_asset().map(|(kind, _)| kind);
        if kind.is_some() {
            entry.pending = Some(self.pending(id, Want::Delete, State::New));
        } else {
            let verdict = if entry.is_live() { Verdict::Deleted } else { Verdict::Unchanged };
            // The databases that followed an endpoint keep what they connect to.
            if let Ok(Place::Endpoint { name }) = path.place() {
                self.facts.endpoints.remove(name);
            }
            entry.applied = None;
            entry.pending = None;
            entry.tombstone =
                Some(Tombstone { id: id.clone(), at: self.stream.effective, offset: self.offset, kind });
            self.drafts.push(Draft::new(id, Cause::Change, verdict));
        }
        self.book.set(&path, entry);
    }

    fn finish(mut self, fence: Fence) -> Result<Plan, Shortfall> {
        let pending = self.book.pending().len();
        if pending > self.policy.pending_max {
            return Err(Shortfall::Full(pending));
        }
        let brief = self.brief;
        supersede(&mut self.drafts, |id| Some(brief.parsed.get(id)?.document()?.uuid()));
        let stream = &mut self.stream;
        let mut outcomes = Vec::with_capacity(self.drafts.len());
        let mut spots = Vec::with_capacity(self.drafts.len());
        for draft in self.drafts {
            let key = OutcomeKey { target: stream.id, fence, sequence: stream.sequence };
            stream.sequence += 1;
            spots.push(draft.spots);
            outcomes.push(Outcome {
                key,
                target: stream.name.clone(),
                change: draft.id,
                cause: draft.cause,
                verdict: draft.verdict,
                also: draft.also.into_iter().collect(),
                before: draft.before,
                committed: Millis(0),
            });
        }
        let changes = self.book.into_changes();
        Ok(Plan { rows: self.facts.rows, changes, stream: self.stream, outcomes, spots })
    }
}

/// Of several changes of an asset in one batch that were all written, only the last one's rows ever stood in the
/// database. Where one was rejected or held, each keeps the verdict that it would have had alone.
///
/// An asset's changes are those of a path, and those of a uuid wherever it moved.
fn supersede(drafts: &mut [Draft], asset: impl Fn(&ChangeId) -> Option<Uuid>) {
    let mut assets: BTreeMap<(Option<&ZnodePath>, Option<Uuid>), Vec<usize>> = BTreeMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        assets.entry((Some(&draft.id.path), None)).or_default().push(index);
        if let Some(uuid) = asset(&draft.id) {
            assets.entry((None, Some(uuid))).or_default().push(index);
        }
    }
    let (mut superseded, mut kept) = (BTreeSet::new(), BTreeSet::new());
    for indexes in assets.into_values() {
        let is_written =
            |index: &usize| matches!(drafts[*index].verdict, Verdict::Applied | Verdict::Deleted);
        let is_stuck =
            |index: &usize| matches!(drafts[*index].verdict, Verdict::Rejected { .. } | Verdict::Held { .. });
        if indexes.iter().any(is_stuck) {
            kept.extend(indexes);
            continue;
        }
        let written: Vec<usize> = indexes.into_iter().filter(is_written).collect();
        // What wrote the same change again, because an endpoint moved, did not take its place.
        let last = written.last().map(|index| &drafts[*index].id);
        let is_last =
            |index: &&usize| drafts[**index].cause == Cause::Change && last == Some(&drafts[**index].id);
        superseded.extend(written.iter().rev().skip(1).filter(|index| !is_last(index)));
    }
    for index in superseded.difference(&kept) {
        drafts[*index].verdict = Verdict::Superseded;
    }
}

/// The delete that ended the life of which `newest` is the last known change.
fn delete_of(path: &ZnodePath, newest: &ChangeId) -> ChangeId {
    ChangeId { generation: newest.generation, path: path.clone(), czxid: newest.czxid, version: None }
}

fn verdict(state: &State) -> Verdict {
    match state {
        State::Held { waiting } => Verdict::Held { waiting: waiting.clone() },
        State::Rejected { reason, place, .. } => {
            Verdict::Rejected { reason: reason.clone(), place: place.clone() }
        }
        State::New => Verdict::Held { waiting: Vec::new() },
    }
}

/// What writing a document did.
struct Written {
    /// Other assets whose rows changed.
    others: superset::Touched,
    /// What changed of the rows.
    spots: BTreeSet<Spot>,
}

impl Written {
    fn changed(&self) -> bool {
        !self.spots.is_empty()
    }
}

/// Tells a fault of the facts, which the caller mends, from one of the document.
fn caught<T>(result: Result<T, superset::Fault>) -> Result<Result<T, superset::Fault>, Shortfall> {
    match result {
        Err(superset::Fault {
            kind: kind @ (superset::FaultKind::Unasked(_) | superset::FaultKind::NoIds(_)),
            ..
        }) => Err(Shortfall::Rows(kind)),
        other => Ok(other),
    }
}

fn asset_of(entry: &Entry, uuid: Uuid) -> Option<(Kind, Uuid)> {
    entry.applied_asset().filter(|(_, its)| *its == uuid)
}
