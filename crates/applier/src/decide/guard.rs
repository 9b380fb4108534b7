//! Whether rows may go: the delete guard, the configured policy, and approvals.

use std::collections::{BTreeMap, BTreeSet};

use asset::Kind;
use change::{Waiting, ZnodePath};
use uuid::Uuid;

use super::Fold;
use super::settle::Round;
use crate::book::{Entry, Pending, State, Tombstone, Want};
use crate::work::{Approval, Deletes};

impl Fold<'_> {
    pub(super) fn approvals(&self) -> BTreeSet<(ZnodePath, i64)> {
        let documents = self.book.approvals();
        let approvals = documents.filter_map(|document| serde_json::from_str::<Approval>(document).ok());
        approvals.map(|approval| (approval.path, approval.czxid)).collect()
    }

    /// The kinds of which more is deleted within the window than may pass unasked.
    ///
    /// Recorded deletes count, held ones too; so does a document's change to another uuid.
    pub(super) fn guarded(&self) -> BTreeMap<Kind, (u64, u64)> {
        let since = self.stream.effective.0 - self.policy.guard_window;
        let mut fresh: BTreeMap<Kind, u64> = BTreeMap::new();
        let mut earlier: BTreeMap<Kind, u64> = BTreeMap::new();
        let mut live: BTreeMap<Kind, u64> = BTreeMap::new();
        for (path, entry) in self.book.iter() {
            if let Some((kind, uuid)) = entry.applied_asset() {
                *live.entry(kind).or_default() += 1;
                if let Some(pending) = entry.pending.as_ref().filter(|its| drops(its, uuid)) {
                    let is_move = self.heirs(path, uuid).next().is_some();
                    if self.awaits_judgement(&pending.state) {
                        *fresh.entry(kind).or_default() += u64::from(!is_move);
                    } else if pending.at.0 > since {
                        *earlier.entry(kind).or_default() += 1;
                    }
                }
            }
            if let Some(Tombstone { at, kind: Some(kind), .. }) = entry.tombstone
                && at.0 > since
            {
                *earlier.entry(kind).or_default() += 1;
                *live.entry(kind).or_default() += 1;
            }
        }
        let judge = |(kind, fresh): (Kind, u64)| {
            let deletes = fresh + earlier.get(&kind).copied().unwrap_or(0);
            let percent = live.get(&kind).copied().unwrap_or(0) * self.policy.guard_percent / 100;
            let limit = self.policy.guard_count.max(percent);
            (deletes > limit).then_some((kind, (deletes, limit)))
        };
        fresh.into_iter().filter_map(judge).collect()
    }

    /// Whether a change that drops rows, once nothing else hinders it, is still to be judged by the guard.
    pub(super) fn awaits_judgement(&self, state: &State) -> bool {
        match state {
            State::New => true,
            State::Held { waiting } => waiting.iter().all(|each| match each {
                Waiting::Reference { .. } | Waiting::Endpoint { .. } | Waiting::Secret { .. } => true,
                Waiting::DeleteGuard { .. } | Waiting::StillUsed { .. } => false,
                // Under another policy the guard was not asked.
                Waiting::Policy => self.policy.deletes == Deletes::Apply,
            }),
            State::Rejected { until, .. } => self.retry_all || until.may_pass_by_itself(),
        }
    }

    /// Whether the delete that a changed uuid means has to wait, which holds the whole change.
    pub(super) fn hindrance(
        &self,
        path: &ZnodePath,
        entry: &Entry,
        pending: &Pending,
        round: &Round,
    ) -> Option<State> {
        let (kind, uuid) = entry.applied_asset()?;
        if !drops(pending, uuid) || self.heirs(path, uuid).next().is_some() {
            return None;
        }
        self.needs_approval(kind, pending, round)
    }

    /// What stands between a delete and the rows, unless it was approved.
    pub(super) fn needs_approval(&self, kind: Kind, pending: &Pending, round: &Round) -> Option<State> {
        if round.approvals.contains(&(pending.id.path.clone(), pending.id.czxid)) {
            return None;
        }
        let guarded = round.guarded.get(&kind);
        let guard = guarded.map(|(deletes, limit)| Waiting::DeleteGuard { deletes: *deletes, limit: *limit });
        let waiting = match (&pending.state, self.policy.deletes) {
            (_, Deletes::Ignore) => None,
            (_, Deletes::Hold) => Some(Waiting::Policy),
            (State::Held { waiting }, Deletes::Apply) if !self.awaits_judgement(&pending.state) => {
                waiting.iter().find(|each| matches!(each, Waiting::DeleteGuard { .. })).cloned()
            }
            (State::New | State::Held { .. } | State::Rejected { .. }, Deletes::Apply) => guard,
        };
        waiting.map(|each| State::Held { waiting: vec![each] })
    }
}

/// Whether a change, once applied, leaves nothing of that uuid at its path.
pub(super) fn drops(pending: &Pending, uuid: Uuid) -> bool {
    match &pending.want {
        Want::Put { asset, .. } => asset.1 != uuid,
        Want::Delete => true,
        Want::Nonsense => false,
    }
}
