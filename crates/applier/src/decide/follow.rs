//! Databases that follow an endpoint: where it goes, their URIs go.

use asset::Document;
use change::{Cause, ChangeId, Verdict, ZnodePath};

use super::{Draft, Fold, Shortfall, verdict};
use crate::book::{Applied, Entry, State, Want};
use crate::work::{self, Parsed};

impl Fold<'_> {
    /// Writes the databases that name an endpoint which the record has changed, as they stand, whatever else is
    /// pending of them.
    pub(super) fn follow_endpoints(&mut self) -> Result<(), Shortfall> {
        for (name, index) in std::mem::take(&mut self.moved) {
            for path in self.book.followers(&name) {
                let Some(entry) = self.book.get(&path).cloned() else { continue };
                let Some(applied) = entry.applied.clone() else { continue };
                let brief = self.brief;
                let document = match brief.parsed.get(&applied.id) {
                    Some(Parsed::Document(document)) => document,
                    // Stored by an earlier setkeeper, and no document to this one: only a later change brings it there.
                    Some(Parsed::Rejected(rejection)) => {
                        let state = rejection.clone().state();
                        self.stay_behind(&path, &entry, &applied, Want::Nonsense, state);
                        continue;
                    }
                    Some(Parsed::Other { .. }) => continue,
                    None => return Err(Shortfall::Unread(path)),
                };
                if superset::exists(document.kind(), document.uuid(), &self.facts) {
                    self.follow(&path, &entry, &applied, document, index)?;
                }
            }
        }
        Ok(())
    }

    fn follow(
        &mut self,
        path: &ZnodePath,
        entry: &Entry,
        applied: &Applied,
        document: &Document,
        index: usize,
    ) -> Result<(), Shortfall> {
        if let Some(refusal) = self.refused.get(&applied.id) {
            self.stay_behind(path, entry, applied, work::want(document), refusal.clone());
            return Ok(());
        }
        let before = self.drifted(entry, document)?;
        match self.write(document)? {
            Ok(written) => {
                let was_behind = self.catch_up(path, entry, applied);
                let changed = written.changed();
                if changed || was_behind {
                    let verdict = if changed { Verdict::Applied } else { Verdict::Unchanged };
                    let mut draft = Draft::new(applied.id.clone(), Cause::Reconcile, verdict);
                    draft.before = before;
                    draft.also = self.note_others(&written)?;
                    self.renew_digest(path);
                    let also = draft.also.iter().chain(changed.then_some(path)).cloned();
                    self.drafts[index].also.extend(also);
                    draft.spots = written.spots;
                    self.drafts.push(draft);
                }
            }
            Err(fault) => {
                let state = self.state_of(document, fault);
                self.stay_behind(path, entry, applied, work::want(document), state);
            }
        }
        Ok(())
    }

    /// Says whether an earlier move had left the database behind, which is over then.
    fn catch_up(&mut self, path: &ZnodePath, entry: &Entry, applied: &Applied) -> bool {
        let id = ChangeId { path: path.clone(), ..applied.id.clone() };
        let was_behind = entry.pending.as_ref().is_some_and(|pending| pending.id == id);
        if was_behind {
            self.book.set(path, Entry { pending: None, ..entry.clone() });
        }
        was_behind
    }

    /// A database that could not follow, as one whose password cannot be read, is tried again like any other that
    /// waits. If a later change of it is pending, that one will bring it there.
    fn stay_behind(&mut self, path: &ZnodePath, entry: &Entry, applied: &Applied, want: Want, state: State) {
        if entry.pending.is_some() {
            return;
        }
        let id = ChangeId { path: path.clone(), ..applied.id.clone() };
        self.drafts.push(Draft::new(id.clone(), Cause::Reconcile, verdict(&state)));
        let pending = self.pending(id, want, state);
        self.book.set(path, Entry { pending: Some(pending), ..entry.clone() });
    }
}
