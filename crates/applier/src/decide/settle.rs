//! One record's end state: every change that can be applied is, and what cannot says what it waits for.

use std::collections::{BTreeMap, BTreeSet};

use asset::{Document, Kind};
use change::{Cause, ChangeId, Verdict, Waiting, ZnodePath};
use superset::{Fault, FaultKind, Savepoint};
use uuid::Uuid;

use super::guard::drops;
use super::{Draft, Fold, Shortfall, Written, asset_of, caught, verdict};
use crate::book::{Applied, Entry, Pending, State, Tombstone, Until, Want};
use crate::work::{self, Deletes, Parsed, Rejection};

/// A moment to which a settling can return.
struct Mark {
    rows: Savepoint,
    book: usize,
    drafts: usize,
}

/// What is known while one record settles.
#[derive(Default)]
pub(super) struct Round {
    /// Changes that were tried and would have to be taken back: not tried again.
    pub(super) barred: BTreeMap<ZnodePath, State>,
    /// Kinds whose deletes the guard holds: how many there are, and how many may pass.
    pub(super) guarded: BTreeMap<Kind, (u64, u64)>,
    /// Deletes to look at: new ones, and those whose hindrance may be gone.
    pub(super) goes: BTreeSet<ZnodePath>,
    pub(super) approvals: BTreeSet<(ZnodePath, i64)>,
    /// What each try came to that was not the last word.
    pub(super) waits: BTreeMap<ZnodePath, State>,
    /// Assets that were put.
    pub(super) written: BTreeSet<Uuid>,
    /// Assets that a path held before its document got another uuid.
    pub(super) orphans: BTreeMap<ZnodePath, (Kind, Uuid)>,
    /// Assets that came or went, with the outcome that says so.
    pub(super) churn: Vec<(Uuid, usize)>,
}

enum Tried {
    Done,
    Waits(State),
}

impl Fold<'_> {
    /// Applies all that can be, until nothing more can.
    ///
    /// Unique values of changes that are tried together may cross over, which only the end shows; and a changed
    /// uuid is a create and a delete that go together or not at all. Whatever turns out to have been tried in
    /// vain is barred, and all is tried anew without it; what that set free is tried in a round of its own.
    pub(super) fn settle(&mut self) -> Result<(), Shortfall> {
        while self.settle_once()? {}
        self.facts.yielding.clear();
        self.follow_endpoints()
    }

    /// Says whether another round may bring more: something was barred, and something moved.
    fn settle_once(&mut self) -> Result<bool, Shortfall> {
        let mark = Mark { rows: self.facts.savepoint(), book: self.book.mark(), drafts: self.drafts.len() };
        let mut barred = BTreeMap::new();
        loop {
            let mut round = self.round(barred);
            self.pass(&mut round)?;
            let vain = self.in_vain(&round);
            if vain.is_empty() {
                self.render_again(&round)?;
                let is_open = !round.barred.is_empty() && self.drafts.len() > mark.drafts;
                let moved = self.drafts[mark.drafts..].iter().any(|draft| draft.verdict.is_final());
                self.conclude(round);
                return Ok(is_open && moved);
            }
            self.roll_back(&mark);
            barred = round.barred;
            barred.extend(vain);
        }
    }

    fn roll_back(&mut self, mark: &Mark) {
        self.facts.roll_back(&mark.rows);
        self.book.roll_back(mark.book);
        self.drafts.truncate(mark.drafts);
        self.facts.managed =
            self.book.iter().filter_map(|(_, entry)| entry.applied_asset()).map(|its| its.1).collect();
    }

    fn round(&mut self, barred: BTreeMap<ZnodePath, State>) -> Round {
        let mut round = Round { barred, ..Round::default() };
        let pending: Vec<ZnodePath> = self.book.pending().iter().cloned().collect();
        let mut yielding = BTreeSet::new();
        let mut is_guarded = false;
        for path in pending {
            let Some(entry) = self.book.get(&path) else { continue };
            let Some(pending) = &entry.pending else { continue };
            let drops_rows = entry.applied_asset().is_some_and(|(_, uuid)| drops(pending, uuid));
            is_guarded |= drops_rows;
            match &pending.want {
                Want::Delete => {
                    yielding.extend(entry.applied_asset());
                    round.goes.insert(path);
                }
                Want::Put { asset, .. } if !round.barred.contains_key(&path) => {
                    yielding.extend(entry.applied_asset().into_iter().chain([*asset]));
                }
                Want::Put { .. } | Want::Nonsense => {}
            }
        }
        self.facts.yielding = yielding.into_iter().map(|(_, uuid)| uuid).collect();
        if is_guarded {
            round.approvals = self.approvals();
            round.guarded = self.guarded();
        }
        round
    }

    /// Tries puts in the order of references, then deletes against it, until nothing moves any more.
    fn pass(&mut self, round: &mut Round) -> Result<(), Shortfall> {
        loop {
            let mut moved = false;
            for path in self.puts(round) {
                match self.try_put(&path, round)? {
                    Tried::Done => moved = true,
                    Tried::Waits(state) => drop(round.waits.insert(path, state)),
                }
            }
            if moved {
                continue;
            }
            for path in self.deletes(round) {
                match self.try_delete(&path, round)? {
                    Tried::Done => moved = true,
                    Tried::Waits(state) => drop(round.waits.insert(path, state)),
                }
            }
            for (path, asset) in round.orphans.clone() {
                moved |= self.try_orphan(&path, asset, round)?;
            }
            if !moved {
                return Ok(());
            }
        }
    }

    fn puts(&self, round: &Round) -> Vec<ZnodePath> {
        let mut puts: Vec<(Kind, ZnodePath)> = Vec::new();
        for path in self.book.pending() {
            let Some(pending) = self.book.get(path).and_then(|entry| entry.pending.as_ref()) else {
                continue;
            };
            if let Want::Put { asset, .. } = &pending.want
                && self.is_eligible(pending)
                && !round.barred.contains_key(path)
                && !self.still_waits(round.waits.get(path).unwrap_or(&pending.state))
            {
                puts.push((asset.0, path.clone()));
            }
        }
        puts.sort();
        puts.into_iter().map(|(_, path)| path).collect()
    }

    fn is_eligible(&self, pending: &Pending) -> bool {
        let is_open = match &pending.state {
            State::New | State::Held { .. } => true,
            State::Rejected { until, .. } => self.retry_all || until.may_pass_by_itself(),
        };
        is_open && self.brief.parsed.contains_key(&pending.id)
    }

    /// Whether it is plain without trying that a change must go on waiting.
    fn still_waits(&self, state: &State) -> bool {
        let State::Held { waiting } = state else { return false };
        waiting.iter().any(|each| match each {
            Waiting::Reference { kind, uuid } => {
                kind_named(kind).is_some_and(|kind| !superset::exists(kind, *uuid, &self.facts))
            }
            Waiting::Endpoint { name } => !self.facts.endpoints.contains_key(name),
            Waiting::Secret { .. }
            | Waiting::DeleteGuard { .. }
            | Waiting::StillUsed { .. }
            | Waiting::Policy => false,
        })
    }

    fn deletes(&self, round: &Round) -> Vec<ZnodePath> {
        let asset = |path: &ZnodePath| {
            let entry = self.book.get(path).filter(|entry| entry.is_going())?;
            Some((std::cmp::Reverse(entry.applied_asset()?.0), path.clone()))
        };
        let mut deletes: Vec<_> = round.goes.iter().filter_map(asset).collect();
        deletes.sort();
        deletes.into_iter().map(|(_, path)| path).collect()
    }

    fn try_put(&mut self, path: &ZnodePath, round: &mut Round) -> Result<Tried, Shortfall> {
        let Some(entry) = self.book.get(path).cloned() else { return Ok(Tried::Done) };
        let Some(pending) = entry.pending.clone() else { return Ok(Tried::Done) };
        let brief = self.brief;
        let document = match brief.parsed.get(&pending.id) {
            Some(Parsed::Document(document)) => document,
            Some(Parsed::Rejected(rejection)) => return Ok(Tried::Waits(rejection.clone().state())),
            Some(Parsed::Other { .. }) | None => return Ok(Tried::Waits(pending.state)),
        };
        if let Some(rejection) = work::out_of_place(path, document.kind(), self.policy) {
            return Ok(Tried::Waits(rejection.state()));
        }
        if let Some(refusal) = self.refused.get(&pending.id) {
            return Ok(Tried::Waits(refusal.clone()));
        }
        let rivals = match self.rivals(path, document.uuid(), round) {
            Ok(rivals) => rivals,
            Err(state) => return Ok(Tried::Waits(state)),
        };
        if let Some(state) = self.hindrance(path, &entry, &pending, round) {
            return Ok(Tried::Waits(state));
        }
        let before = self.drifted(&entry, document)?;
        let is_new = !superset::exists(document.kind(), document.uuid(), &self.facts);
        let showing = if is_new { self.shown_truly(document.uuid()) } else { Vec::new() };
        match self.write(document)? {
            Err(fault) => Ok(Tried::Waits(self.state_of(document, fault))),
            Ok(written) => {
                self.take_over(path, &rivals, document.uuid());
                self.applied(path, &pending, document);
                showing.iter().for_each(|path| self.renew_digest(path));
                let mut draft = Draft::new(pending.id.clone(), cause(&pending), Verdict::Unchanged);
                if written.changed() {
                    draft.verdict = Verdict::Applied;
                }
                draft.before = before;
                draft.also = self.note_others(&written)?;
                round.written.insert(document.uuid());
                if is_new {
                    round.churn.push((document.uuid(), self.drafts.len()));
                }
                draft.spots = written.spots;
                self.drafts.push(draft);
                round.waits.remove(path);
                if let Some((kind, old)) = entry.applied_asset().filter(|(_, old)| *old != document.uuid()) {
                    self.part_with(path, (kind, old), entry.applied, round);
                }
                Ok(Tried::Done)
            }
        }
    }

    /// What the rows held before, where that was not what the ledger says.
    pub(super) fn drifted(&self, entry: &Entry, document: &Document) -> Result<Option<String>, Shortfall> {
        let (kind, uuid) = (document.kind(), document.uuid());
        if !superset::exists(kind, uuid, &self.facts) {
            return Ok(None);
        }
        let now = self.digest((kind, uuid));
        let owner = self.book.claimants(uuid).into_iter();
        let known = owner.filter_map(|path| self.book.get(&path)).filter_map(|its| its.applied.as_ref());
        let known =
            entry.applied.iter().chain(known).any(|its| its.asset == Some((kind, uuid)) && its.digest == now);
        if known {
            return Ok(None);
        }
        Ok(caught(superset::lift(kind, uuid, &self.facts))?
            .ok()
            .map(|document| asset::redact(kind, document.canonical().as_bytes())))
    }

    fn digest(&self, (kind, uuid): (Kind, Uuid)) -> String {
        superset::digest(kind, uuid, &self.facts.rows).map(|digest| digest.to_string()).unwrap_or_default()
    }

    fn applied(&mut self, path: &ZnodePath, pending: &Pending, document: &Document) {
        let Some(mut entry) = self.book.get(path).cloned() else { return };
        let asset = (document.kind(), document.uuid());
        let Want::Put { document: text, edges, .. } = &pending.want else { return };
        entry.applied = Some(Applied {
            id: pending.id.clone(),
            asset: Some(asset),
            document: Some(text.clone()),
            digest: self.digest(asset),
            edges: edges.clone(),
        });
        entry.pending = None;
        self.facts.managed.insert(asset.1);
        self.book.set(path, entry);
    }

    /// Keeps the ledger's digests true where a change rewrote rows of other assets; returns their paths.
    pub(super) fn note_others(&mut self, written: &Written) -> Result<BTreeSet<ZnodePath>, Shortfall> {
        let (mut also, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        for (kind, uuid) in &written.others {
            for path in self.book.claimants(*uuid) {
                if self.book.get(&path).is_some_and(|entry| asset_of(entry, *uuid).is_some()) {
                    unknown.extend(superset::unknown(*kind, *uuid, &self.facts));
                    also.insert(path);
                }
            }
        }
        if !unknown.is_empty() {
            return Err(Shortfall::Lookups(unknown));
        }
        also.iter().for_each(|path| self.renew_digest(path));
        Ok(also)
    }

    /// The dashboards that name an asset and stand as the ledger says. Their digests tell a chart that is there from one
    /// that is not, so they change when it comes or goes, before the dashboards are rendered again.
    fn shown_truly(&self, uuid: Uuid) -> Vec<ZnodePath> {
        let stands = |path: &ZnodePath| {
            let applied = self.book.get(path).and_then(|entry| entry.applied.as_ref());
            applied.is_some_and(|its| {
                its.asset.is_some_and(|asset| asset.0 == Kind::Dashboard && self.digest(asset) == its.digest)
            })
        };
        self.book.referrers(uuid).into_iter().filter(stands).collect()
    }

    pub(super) fn renew_digest(&mut self, path: &ZnodePath) {
        let Some(mut entry) = self.book.get(path).cloned() else { return };
        if let Some(applied) = &mut entry.applied
            && let Some((kind, uuid)) = applied.asset
        {
            applied.digest = self.digest((kind, uuid));
            self.book.set(path, entry);
        }
    }

    fn try_delete(&mut self, path: &ZnodePath, round: &mut Round) -> Result<Tried, Shortfall> {
        let Some(mut entry) = self.book.get(path).cloned() else { return Ok(Tried::Done) };
        let (Some(pending), Some(applied)) = (entry.pending.clone(), entry.applied.clone()) else {
            return Ok(Tried::Done);
        };
        let Some((kind, uuid)) = applied.asset else { return Ok(Tried::Done) };
        let heir = self.heirs(path, uuid).next();
        let showing = self.shown_truly(uuid);
        let (verdict, buried, written) = if heir.is_some_and(|heir| self.bequeath(&heir, applied)) {
            (Verdict::Superseded, None, None)
        } else if let Some(refusal) = self.refused.get(&pending.id) {
            return Ok(Tried::Waits(refusal.clone()));
        } else if self.is_rejected_for_now(&pending.state) {
            return Ok(Tried::Waits(pending.state));
        } else if let Some(state) = self.needs_approval(kind, &pending, round) {
            return Ok(Tried::Waits(state));
        } else if self.policy.deletes == Deletes::Ignore {
            (Verdict::Unchanged, None, None)
        } else {
            match self.remove((kind, uuid))? {
                Ok(written) => (Verdict::Deleted, Some(kind), Some(written)),
                // Somebody has removed it in Superset: the rows are as they are to be.
                Err(Fault { kind: FaultKind::Absent, .. }) => (Verdict::Unchanged, None, None),
                Err(fault) => return Ok(Tried::Waits(self.state_of_delete(fault))),
            }
        };
        entry.applied = None;
        entry.pending = None;
        entry.tombstone =
            Some(Tombstone { id: pending.id.clone(), at: pending.at, offset: pending.offset, kind: buried });
        self.book.set(path, entry);
        self.forget(uuid);
        let mut draft = Draft::new(pending.id.clone(), cause(&pending), verdict);
        if let Some(written) = written {
            round.churn.push((uuid, self.drafts.len()));
            draft.also = self.note_others(&written)?;
            draft.spots = written.spots;
            showing.iter().for_each(|path| self.renew_digest(path));
        }
        self.drafts.push(draft);
        round.waits.remove(path);
        Ok(Tried::Done)
    }

    /// A delete that was rejected is not tried with every record that comes: the facts may lack what it needs.
    fn is_rejected_for_now(&self, state: &State) -> bool {
        matches!(state, State::Rejected { until, .. } if !self.retry_all && !until.may_pass_by_itself())
    }

    fn remove(&mut self, (kind, uuid): (Kind, Uuid)) -> Result<Result<Written, Fault>, Shortfall> {
        let savepoint = self.facts.savepoint();
        let removed = caught(superset::remove(kind, uuid, &mut self.facts))?;
        Ok(removed.map(|others| Written { others, spots: self.facts.spots_since(&savepoint) }))
    }

    /// Removes what a path held before its uuid changed; says whether it is gone.
    fn try_orphan(
        &mut self,
        path: &ZnodePath,
        (kind, uuid): (Kind, Uuid),
        round: &mut Round,
    ) -> Result<bool, Shortfall> {
        self.forget(uuid);
        if self.policy.deletes == Deletes::Ignore {
            round.orphans.remove(path);
            return Ok(true);
        }
        match self.remove((kind, uuid))? {
            // Somebody has removed it in Superset.
            Err(Fault { kind: FaultKind::Absent, .. }) => {
                round.orphans.remove(path);
                round.waits.remove(path);
                Ok(true)
            }
            Err(fault) => {
                let state = self.state_of_delete(fault);
                round.waits.insert(path.clone(), state);
                Ok(false)
            }
            Ok(written) => {
                let also = self.note_others(&written)?;
                let newest = self.drafts.iter().rposition(|draft| draft.id.path == *path);
                if let Some(index) = newest {
                    self.drafts[index].also.extend(also);
                    self.drafts[index].spots.extend(written.spots);
                    round.churn.push((uuid, index));
                }
                self.bury(path, kind);
                round.orphans.remove(path);
                round.waits.remove(path);
                Ok(true)
            }
        }
    }

    /// A changed uuid counts as a delete for the guard, though the path lives on.
    fn bury(&mut self, path: &ZnodePath, kind: Kind) {
        let Some(mut entry) = self.book.get(path).cloned() else { return };
        let Some(applied) = &entry.applied else { return };
        // A delete of no life: it orders before every change of the path.
        let id = ChangeId { generation: 0, czxid: 0, version: None, path: applied.id.path.clone() };
        entry.tombstone =
            Some(Tombstone { id, at: self.stream.effective, offset: self.offset, kind: Some(kind) });
        self.book.set(path, entry);
    }

    /// What was tried and cannot stay: changed uuids whose old asset cannot go; or else takers of a name that was not
    /// let go of, one at a time where its holder was tried too, because it may let go once the other is barred.
    fn in_vain(&self, round: &Round) -> BTreeMap<ZnodePath, State> {
        let orphans =
            round.orphans.keys().filter_map(|path| Some((path.clone(), round.waits.get(path)?.clone())));
        let orphans: BTreeMap<ZnodePath, State> = orphans.collect();
        if !orphans.is_empty() {
            return orphans;
        }
        let mut vain = BTreeMap::new();
        let mut undecided = None;
        for (_, taker, fault) in superset::conflicts(&self.facts, &round.written) {
            let is_taker =
                |path: &ZnodePath| self.book.get(path).is_some_and(|its| asset_of(its, taker).is_some());
            let Some(path) = self.book.claimants(taker).into_iter().find(is_taker) else { continue };
            let state = conflict(&fault).state();
            let holder = match &fault.kind {
                FaultKind::Conflict { with, .. } => with.uuid,
                _ => None,
            };
            if holder.is_some_and(|holder| self.facts.yielding.contains(&holder)) {
                undecided.get_or_insert((path, state));
            } else {
                vain.insert(path, state);
            }
        }
        if vain.is_empty() {
            vain.extend(undecided);
        }
        vain
    }

    /// Dashboards show the charts that are there.
    fn render_again(&mut self, round: &Round) -> Result<(), Shortfall> {
        for (uuid, index) in &round.churn {
            for path in self.book.referrers(*uuid) {
                let Some(entry) = self.book.get(&path).cloned() else { continue };
                let Some(applied) = &entry.applied else { continue };
                let brief = self.brief;
                let document = match brief.parsed.get(&applied.id) {
                    Some(Parsed::Document(document)) => document,
                    // Stored by an earlier setkeeper, and no document to this one: its rows stay as they are.
                    Some(Parsed::Rejected(_) | Parsed::Other { .. }) => continue,
                    None => return Err(Shortfall::Unread(path)),
                };
                let exists = superset::exists(document.kind(), document.uuid(), &self.facts);
                if !exists || document.kind() != Kind::Dashboard {
                    continue;
                }
                let Ok(written) = self.write(document)? else { continue };
                if written.changed() {
                    self.renew_digest(&path);
                    if let Some(draft) = self.drafts.get_mut(*index) {
                        draft.spots.extend(written.spots);
                        draft.also.extend(Some(path).filter(|path| draft.id.path != *path));
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes down what each change waits for, and tells where that is new.
    fn conclude(&mut self, round: Round) {
        let Round { waits, barred, .. } = round;
        let states: BTreeMap<ZnodePath, State> = waits.into_iter().chain(barred).collect();
        for (path, state) in states {
            let Some(mut entry) = self.book.get(&path).cloned() else { continue };
            let Some(pending) = entry.pending.as_mut().filter(|pending| pending.state != state) else {
                continue;
            };
            let cause = cause(pending);
            pending.state = state;
            self.drafts.push(Draft::new(pending.id.clone(), cause, verdict(&pending.state)));
            self.book.set(&path, entry);
        }
    }

    pub(super) fn state_of(&self, document: &Document, fault: Fault) -> State {
        let reference = |(kind, uuid): (Kind, Uuid)| Waiting::Reference { kind: kind.to_string(), uuid };
        match fault.kind {
            FaultKind::Missing(missing) => {
                let absent = |(kind, uuid): &(Kind, Uuid)| !superset::exists(*kind, *uuid, &self.facts);
                let mut waiting: Vec<Waiting> =
                    work::needs(document).into_iter().filter(absent).map(reference).collect();
                if waiting.is_empty() {
                    waiting.push(reference((missing.to, missing.uuid)));
                }
                State::Held { waiting }
            }
            FaultKind::Endpoint(name) => State::Held { waiting: vec![Waiting::Endpoint { name }] },
            FaultKind::Secret(Some(ref secret)) if !self.facts.secrets.contains_key(secret) => {
                State::Held { waiting: vec![Waiting::Secret { reference: secret.to_string() }] }
            }
            FaultKind::Conflict { .. } => conflict(&fault).state(),
            FaultKind::StillUsed { .. } => self.state_of_delete(fault),
            FaultKind::Driver
            | FaultKind::Secret(_)
            | FaultKind::Unsupported
            | FaultKind::Unreadable
            | FaultKind::Absent
            | FaultKind::Unasked(_)
            | FaultKind::NoIds(_) => {
                Rejection { place: fault.place.clone(), ..Rejection::new(fault.message) }.state()
            }
        }
    }

    /// Why a delete must wait: who still uses the asset, by their paths if they are managed.
    fn state_of_delete(&self, fault: Fault) -> State {
        let FaultKind::StillUsed { by } = fault.kind else {
            return Rejection { place: fault.place, ..Rejection::new(fault.message) }.state();
        };
        let path_of = |uuid: Uuid| self.book.claimants(uuid).into_iter().next();
        let name = |user: &superset::User| match user.uuid.and_then(path_of) {
            Some(path) => path.to_string(),
            None => user.to_string(),
        };
        let mut by: Vec<String> = by.iter().map(name).collect();
        by.sort();
        by.truncate(USERS_TOLD);
        State::Held { waiting: vec![Waiting::StillUsed { by }] }
    }
}

fn kind_named(name: &str) -> Option<Kind> {
    match name {
        "database" => Some(Kind::Database),
        "dataset" => Some(Kind::Dataset),
        "chart" => Some(Kind::Chart),
        "dashboard" => Some(Kind::Dashboard),
        _ => None,
    }
}

fn conflict(fault: &Fault) -> Rejection {
    let rejection = Rejection { place: fault.place.clone(), ..Rejection::new(fault.message.clone()) };
    Rejection { until: Until::NameIsFree, ..rejection }
}

fn cause(pending: &Pending) -> Cause {
    if pending.state == State::New { Cause::Change } else { Cause::Reconcile }
}

/// So many users of an asset are told of.
const USERS_TOLD: usize = 20;
