//! Which znode has which asset: the uuid is the identity, and the oldest znode of a project that claims it owns it.

use asset::Kind;
use change::{Cause, ChangeId, ZnodePath};
use uuid::Uuid;

use super::settle::Round;
use super::{Draft, Fold, asset_of, verdict};
use crate::book::{Applied, Entry, State, Until, project};
use crate::work::{self, Parsed, Rejection};

impl Fold<'_> {
    /// Other znodes that are there and claim that uuid, so that its rows stay when `path` lets go of it. Into
    /// another project they go only within one record.
    pub(super) fn heirs(&self, path: &ZnodePath, uuid: Uuid) -> impl Iterator<Item = ZnodePath> {
        let home = project(path);
        let leaves_now = self.book.get(path).is_some_and(is_fresh);
        let is_heir = move |other: &ZnodePath| {
            *other != *path
                && self.book.get(other).is_some_and(|entry| {
                    let may_cross = leaves_now && is_fresh(entry);
                    entry.is_live() && claims(entry, uuid) && (project(other) == home || may_cross)
                })
        };
        let mut heirs: Vec<ZnodePath> = self.book.claimants(uuid).into_iter().filter(is_heir).collect();
        // One that has the rows by now is the heir; else the oldest.
        let lacks =
            |heir: &ZnodePath| self.book.get(heir).is_none_or(|entry| asset_of(entry, uuid).is_none());
        heirs.sort_by_key(|heir| (lacks(heir), self.age(heir), heir.clone()));
        heirs.into_iter()
    }

    /// When the znode was made: a zxid means something within its generation only.
    fn age(&self, path: &ZnodePath) -> (u64, i64) {
        let newest = self.book.get(path).and_then(|entry| entry.newest(path));
        newest.map_or((u64::MAX, i64::MAX), |id| (id.generation, id.czxid))
    }

    /// The younger znodes of the same uuid that this one takes over from; or why it may not.
    pub(super) fn rivals(
        &self,
        path: &ZnodePath,
        uuid: Uuid,
        round: &Round,
    ) -> Result<Vec<ZnodePath>, State> {
        let mut younger = Vec::new();
        // Rows that are about to go are nobody's to take.
        if let Some((owner, _)) = round.orphans.iter().find(|(_, (_, its))| *its == uuid) {
            return Err(of_another_project(uuid, owner));
        }
        for other in self.book.claimants(uuid).into_iter().filter(|other| other != path) {
            let Some(entry) = self.book.get(&other) else { continue };
            let is_owner = asset_of(entry, uuid).is_some();
            if entry.is_going() && round.goes.contains(&other) && self.may_inherit(path, &other) {
                continue;
            }
            if project(&other) != project(path) {
                if is_owner {
                    return Err(of_another_project(uuid, &other));
                }
            } else if !entry.is_going() {
                if (self.age(&other), &other) < (self.age(path), path) {
                    return Err(duplicate(uuid, &other));
                }
                younger.push(other);
            }
        }
        Ok(younger)
    }

    /// A put takes rows over from a znode that goes: within a project at any time, else in the same record only.
    fn may_inherit(&self, path: &ZnodePath, from: &ZnodePath) -> bool {
        let is_new = |path| {
            let pending = self.book.get(path).and_then(|entry: &Entry| entry.pending.as_ref());
            pending.is_some_and(|pending| pending.state == State::New)
        };
        project(path) == project(from) || (is_new(path) && is_new(from))
    }

    /// The younger znodes become duplicates.
    pub(super) fn take_over(&mut self, path: &ZnodePath, rivals: &[ZnodePath], uuid: Uuid) {
        for rival in rivals {
            let Some(mut entry) = self.book.get(rival).cloned() else { continue };
            let Some(applied) =
                entry.applied.take_if(|applied| applied.asset.is_some_and(|its| its.1 == uuid))
            else {
                continue;
            };
            let document = match self.brief.parsed.get(&applied.id) {
                Some(Parsed::Document(document)) => Some(document),
                _ => None,
            };
            if let (None, Some(document)) = (&entry.pending, document) {
                let state = duplicate(uuid, path);
                let id = ChangeId { path: rival.clone(), ..applied.id.clone() };
                self.drafts.push(Draft::new(id.clone(), Cause::Reconcile, verdict(&state)));
                entry.pending = Some(self.pending(id, work::want(document), state));
            }
            self.book.set(rival, entry);
        }
    }

    /// The path has another asset now: the old one goes, unless another znode claims it.
    pub(super) fn part_with(
        &mut self,
        path: &ZnodePath,
        asset: (Kind, Uuid),
        applied: Option<Applied>,
        round: &mut Round,
    ) {
        let heir = self.heirs(path, asset.1).next();
        let is_inherited = heir.zip(applied).is_some_and(|(heir, applied)| self.bequeath(&heir, applied));
        if !is_inherited {
            round.orphans.insert(path.clone(), asset);
        }
    }

    /// The heir's rows are those that stand; its own document is tried upon them.
    pub(super) fn bequeath(&mut self, heir: &ZnodePath, applied: Applied) -> bool {
        let Some(mut entry) = self.book.get(heir).cloned() else { return false };
        if entry.applied.is_none() {
            entry.applied = Some(applied);
            self.book.set(heir, entry);
            return true;
        }
        entry.applied_asset() == applied.asset
    }

    /// An asset is managed as long as one path has it.
    pub(super) fn forget(&mut self, uuid: Uuid) {
        let has = |path: ZnodePath| self.book.get(&path).is_some_and(|entry| asset_of(entry, uuid).is_some());
        if !self.book.claimants(uuid).into_iter().any(has) {
            self.facts.managed.remove(&uuid);
        }
    }
}

pub(super) fn duplicate(uuid: Uuid, owner: &ZnodePath) -> State {
    until_owner_goes(format!(
        "uuid {uuid} belongs to the older znode `{owner}`; delete one of the two, or give this one a uuid of its own"
    ))
}

pub(super) fn of_another_project(uuid: Uuid, owner: &ZnodePath) -> State {
    until_owner_goes(format!(
        "uuid {uuid} belongs to `{owner}` of another project; give this one a uuid of its own, or move it in one \
         transaction"
    ))
}

fn until_owner_goes(reason: String) -> State {
    Rejection { until: Until::OwnerGoes, ..Rejection::new(reason) }.state()
}

/// Whether the record in hand has changed the znode: what it wants is not tried yet, or was applied just now.
fn is_fresh(entry: &Entry) -> bool {
    entry.pending.as_ref().is_none_or(|pending| pending.state == State::New)
}

/// Whether a znode that is there wants that uuid, or has it and wants nothing else that is known.
fn claims(entry: &Entry, uuid: Uuid) -> bool {
    match entry.wanted_asset() {
        Some((_, wanted)) => wanted == uuid,
        None => asset_of(entry, uuid).is_some(),
    }
}
