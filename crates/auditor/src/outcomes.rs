//! Outcomes to rows of the history. Pure: what is on record comes in as [`OutcomeFacts`].

use change::{Millis, Outcome, Verdict};
use serde_json::json;
use uuid::Uuid;

use crate::changes::Counts;
use crate::describe::keep;
use crate::facts::{Applied, OutcomeFacts};
use crate::row::{self, At, Entry, EventKind, Row};

/// Takes in outcomes, one after the other.
pub(crate) struct Fold<'a> {
    effective: Millis,
    facts: &'a mut OutcomeFacts,
    pub(crate) rows: Vec<Row>,
    pub(crate) counts: Counts,
}

impl<'a> Fold<'a> {
    /// `effective` is the effective time of the last change.
    pub(crate) fn new(effective: Millis, facts: &'a mut OutcomeFacts) -> Fold<'a> {
        Fold { effective, facts, rows: Vec::new(), counts: Counts::default() }
    }

    pub(crate) fn entry(&mut self, entry: &Entry<Outcome>) {
        match &entry.content {
            Ok(outcome) => self.outcome(entry.at, outcome),
            Err(unreadable) => {
                let detail = unreadable.detail("outcomes");
                let row = row::event(EventKind::Unreadable, self.effective, &detail, None, Some(entry.at));
                self.rows.push(row);
                self.counts.events += 1;
            }
        }
    }

    fn outcome(&mut self, at: At, outcome: &Outcome) {
        let (key, said) = (outcome.key.to_string(), row::gist(outcome));
        if let Some(recorded) = self.facts.recorded.get(&key) {
            if *recorded == said {
                self.counts.duplicates += 1;
            } else {
                self.conflict(at, outcome, recorded.clone(), said);
            }
            return;
        }
        self.facts.recorded.insert(key, said);
        let uuid = self.facts.uuids.get(&outcome.change.to_string()).copied();
        let replaced = self.take_effect(outcome, uuid);
        let drifted = outcome.before.as_deref().and_then(|text| keep(&outcome.change.path, text));
        self.rows.push(row::outcome(outcome, row::OutcomeFacts { uuid, replaced, drifted, at }));
        self.counts.outcomes += 1;
    }

    /// Another outcome under a key that is on record: a database was restored under an applier that went on numbering.
    fn conflict(&mut self, at: At, outcome: &Outcome, recorded: String, came: String) {
        let detail = json!({
            "outcome": outcome.key.to_string(), "on_record": recorded, "came": came,
            "change": outcome.change.to_string(), "verdict": outcome.verdict.name(),
        });
        self.rows.push(row::event(EventKind::Conflict, self.effective, &detail, None, Some(at)));
        self.counts.events += 1;
    }

    /// Notes what the target holds from now on; returns the change that it held before.
    fn take_effect(&mut self, outcome: &Outcome, uuid: Option<Uuid>) -> Option<String> {
        let target = outcome.key.target;
        let here = (target, outcome.change.path.to_string());
        let found = self.held(&here, uuid);
        let replaced = found.as_ref().and_then(|key| self.facts.applied.get(key)?.change_id.clone());
        let is_put = outcome.change.version.is_some();
        match outcome.verdict {
            Verdict::Applied | Verdict::Unchanged if is_put => {
                // The asset moved here: it stands at one path.
                if let Some(moved) = found.filter(|key| *key != here) {
                    self.facts.applied.remove(&moved);
                }
                let change_id = Some(outcome.change.to_string());
                let applied = Applied { target: outcome.target.clone(), uuid, change_id };
                self.facts.applied.insert(here, applied);
            }
            Verdict::Applied | Verdict::Unchanged | Verdict::Deleted => {
                self.facts.applied.remove(&here);
            }
            Verdict::Held { .. } | Verdict::Superseded | Verdict::Skipped | Verdict::Rejected { .. } => {
                let target = outcome.target.clone();
                let nothing = Applied { target, uuid: None, change_id: None };
                self.facts.applied.entry(here).or_insert(nothing);
            }
        }
        replaced
    }

    /// Where the target holds an earlier state of the asset: at this path, or else, of the same uuid, at another.
    fn held(&self, here: &(Uuid, String), uuid: Option<Uuid>) -> Option<(Uuid, String)> {
        let holds = |applied: &Applied| applied.change_id.is_some();
        if self.facts.applied.get(here).is_some_and(holds) {
            return Some(here.clone());
        }
        let uuid = uuid?;
        let mut all = self.facts.applied.iter();
        all.find(|((target, _), applied)| *target == here.0 && applied.uuid == Some(uuid) && holds(applied))
            .map(|(key, _)| key.clone())
    }
}
