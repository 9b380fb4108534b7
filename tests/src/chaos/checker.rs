//! The history checker: pure, from [`Evidence`] to what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use change::ChangeId;
use uuid::Uuid;

use super::evidence::{Done, Effect, Evidence, Number, Outcome, Seen, Write};
use crate::pipeline::difference;

#[cfg(test)]
mod tests;

/// What is claimed of every run, whatever was killed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// The metadata database equals ZooKeeper, and the ledger says so too.
    Equal,
    /// A change has at most one effect: numbers of an asset only rise.
    AtMostOnce,
    /// Every effect has its outcome on record, and every outcome that claims an effect had it.
    OnRecord,
    /// Each application of a change has exactly one final outcome, and each change that was delivered is on record.
    OneOutcome,
    /// The target's own order of outcomes is on record without a gap, and no older fence writes after a newer one.
    Order,
    /// Every version that nobody could see is counted.
    Counted,
    /// The audit's chain holds.
    Chain,
    /// Nothing was deleted that ZooKeeper did not delete.
    Deletes,
    /// What the log and the audit say is live is what ZooKeeper holds.
    Tree,
}

/// A claim that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) claim: Claim,
    pub(crate) what: String,
}

/// Everything that is wrong.
pub(crate) fn check(evidence: &Evidence) -> Vec<Violation> {
    let found = [
        (Claim::Equal, equal(evidence)),
        (Claim::AtMostOnce, at_most_once(evidence)),
        (Claim::OnRecord, on_record(evidence)),
        (Claim::OneOutcome, one_outcome(evidence)),
        (Claim::Order, order(evidence)),
        (Claim::Counted, counted(evidence)),
        (Claim::Chain, evidence.chain.iter().cloned().collect()),
        (Claim::Deletes, deletes(evidence)),
        (Claim::Tree, trees(evidence)),
    ];
    let violation = |claim| move |what| Violation { claim, what };
    found.into_iter().flat_map(|(claim, wrong)| wrong.into_iter().map(violation(claim))).collect()
}

/// All that is known of the assets that violations name, for whoever has to find out why.
pub(crate) fn stories(evidence: &Evidence, violations: &[Violation]) -> String {
    let is_named = |uuid: &&Uuid| violations.iter().any(|its| its.what.contains(&uuid.to_string()));
    let all: BTreeSet<&Uuid> = evidence.journal.iter().map(|write| &write.uuid).collect();
    let mut text = String::new();
    for uuid in all.into_iter().filter(is_named) {
        let paths: BTreeSet<&str> = evidence
            .contents
            .iter()
            .filter(|(_, (its, _))| its == uuid)
            .map(|(change, _)| change.path.as_str())
            .collect();
        let is_its = |change: &&ChangeId| paths.contains(change.path.as_str());
        text.push_str(&format!("=== {uuid}\nwritten:"));
        for write in evidence.journal.iter().filter(|write| write.uuid == *uuid) {
            let sign = match write.done {
                Done::Put => '+',
                Done::Moved => '>',
                Done::Deleted => '-',
            };
            text.push_str(&format!(" {sign}{}", write.n));
        }
        text.push_str("\ndelivered:");
        for change in evidence.deliveries.iter().filter(is_its) {
            let n = evidence.contents.get(change).map_or_else(String::new, |(_, n)| format!("={n}"));
            text.push_str(&format!(" {change}{n}"));
        }
        text.push_str("\noutcomes:");
        for outcome in evidence.outcomes.iter().filter(|outcome| is_its(&&outcome.change)) {
            text.push_str(&format!("\n  {} {} {}", outcome.transaction, outcome.change, outcome.verdict));
        }
        text.push_str("\neffects:");
        for effect in evidence.effects.iter().filter(|effect| effect.uuid == *uuid) {
            text.push_str(&format!(" {}{}", if effect.what == Seen::Written { '+' } else { '-' }, effect.n));
        }
        text.push('\n');
    }
    text
}

fn equal(evidence: &Evidence) -> Vec<String> {
    let mut wrong = difference("ledger", &evidence.zookeeper, &evidence.ledger);
    wrong.extend(evidence.pending.iter().map(|path| format!("{path} is still pending")));
    let assets: BTreeSet<&Uuid> = evidence.documents.keys().chain(evidence.rows.keys()).collect();
    for uuid in assets {
        let (wanted, found) = (evidence.documents.get(uuid), evidence.rows.get(uuid));
        if wanted != found {
            wrong.push(format!("{uuid}: ZooKeeper has number {wanted:?}, Superset's row has {found:?}"));
        }
    }
    wrong
}

fn at_most_once(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut highest: BTreeMap<Uuid, Number> = BTreeMap::new();
    for Effect { uuid, n, what } in &evidence.effects {
        match (what, highest.get(uuid)) {
            (Seen::Written, Some(before)) if n == before => {
                wrong.push(format!("{uuid}: {n} was written twice"))
            }
            (Seen::Written, Some(before)) if n < before => {
                wrong.push(format!("{uuid}: {n} was written after {before}"));
            }
            (Seen::Written, _) => drop(highest.insert(*uuid, *n)),
            (Seen::Deleted, _) => {}
        }
    }
    wrong
}

fn on_record(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    let written: BTreeSet<(Uuid, Number)> = effects(evidence, Seen::Written).collect();
    let applied: Vec<&Outcome> = evidence.outcomes.iter().filter(|its| its.verdict == "applied").collect();
    let claimed: BTreeSet<(Uuid, Number)> =
        applied.iter().filter_map(|its| evidence.contents.get(&its.change).copied()).collect();
    for (uuid, n) in written.difference(&claimed) {
        wrong.push(format!("{uuid}: {n} was written, and no outcome says `applied`"));
    }
    let mixed = mixed(evidence);
    for outcome in applied {
        let Some(content) = evidence.contents.get(&outcome.change) else {
            wrong.push(format!("{} was applied, and is not in the log", outcome.change));
            continue;
        };
        let mine = assets(evidence, outcome);
        if !written.contains(content) && mixed.is_disjoint(&mine) {
            let Outcome { change, transaction, .. } = outcome;
            let beside = evidence.outcomes.iter().filter(|its| its.transaction == *transaction);
            let of_asset =
                beside.filter(|its| assets(evidence, its).iter().any(|asset| mine.contains(asset)));
            let beside: Vec<String> = of_asset.map(|its| format!("{} {}", its.change, its.verdict)).collect();
            wrong.push(format!(
                "{change} is said to be applied, and nothing was written; beside it: {beside:?}"
            ));
        }
    }
    wrong.extend(deletes_on_record(evidence));
    wrong
}

fn effects(evidence: &Evidence, what: Seen) -> impl Iterator<Item = (Uuid, Number)> {
    evidence.effects.iter().filter(move |effect| effect.what == what).map(|effect| (effect.uuid, effect.n))
}

/// The transaction and what is one asset in it: a path, and a uuid wherever it moves.
fn assets<'e>(evidence: &'e Evidence, outcome: &'e Outcome) -> BTreeSet<(&'e str, String)> {
    let uuid = evidence.contents.get(&outcome.change).map(|(uuid, _)| uuid.to_string());
    let both = [Some(outcome.change.path.to_string()), uuid];
    both.into_iter().flatten().map(|asset| (outcome.transaction.as_str(), asset)).collect()
}

/// Where a batch held or rejected a change of an asset, each change of that asset keeps the verdict that it would
/// have had alone, although only the last one's rows ever stood in the database.
fn mixed(evidence: &Evidence) -> BTreeSet<(&str, String)> {
    let is_mixed = |outcome: &&Outcome| matches!(outcome.verdict.as_str(), "held" | "rejected");
    evidence.outcomes.iter().filter(is_mixed).flat_map(|outcome| assets(evidence, outcome)).collect()
}

/// A create and a delete within one batch leave an outcome and no effect, so that only the one direction is asked. A
/// delete that the same batch makes up for by a new life was superseded, and the row was replaced all the same.
fn deletes_on_record(evidence: &Evidence) -> Vec<String> {
    let life = |change: &ChangeId| (change.path.clone(), change.czxid);
    let assets: BTreeMap<_, Uuid> =
        evidence.contents.iter().map(|(change, (uuid, _))| (life(change), *uuid)).collect();
    let mut outcomes: BTreeMap<Uuid, usize> = BTreeMap::new();
    let is_delete = |outcome: &&Outcome| {
        outcome.change.version.is_none() && matches!(outcome.verdict.as_str(), "deleted" | "superseded")
    };
    for outcome in evidence.outcomes.iter().filter(is_delete) {
        if let Some(uuid) = assets.get(&life(&outcome.change)) {
            *outcomes.entry(*uuid).or_default() += 1;
        }
    }
    let mut seen: BTreeMap<Uuid, usize> = BTreeMap::new();
    for (uuid, _) in effects(evidence, Seen::Deleted) {
        *seen.entry(uuid).or_default() += 1;
    }
    let short = seen.into_iter().filter(|(uuid, count)| outcomes.get(uuid).copied().unwrap_or(0) < *count);
    short
        .map(|(uuid, count)| {
            format!("{uuid}: deleted {count} times, with {:?} outcomes that say so", outcomes.get(&uuid))
        })
        .collect()
}

#[derive(Default)]
struct Tally {
    deliveries: usize,
    first_looks: usize,
    finals: usize,
    rejections: usize,
}

fn one_outcome(evidence: &Evidence) -> Vec<String> {
    let mut tallies: BTreeMap<&ChangeId, Tally> = BTreeMap::new();
    for change in &evidence.deliveries {
        tallies.entry(change).or_default().deliveries += 1;
    }
    for outcome in &evidence.outcomes {
        let tally = tallies.entry(&outcome.change).or_default();
        tally.first_looks += usize::from(outcome.is_first_look);
        tally.finals += usize::from(outcome.verdict != "held");
        tally.rejections += usize::from(outcome.verdict == "rejected");
    }
    let mut wrong = Vec::new();
    for (change, tally) in &tallies {
        if tally.first_looks != tally.deliveries {
            let Tally { deliveries, first_looks, .. } = tally;
            wrong.push(format!("{change} was delivered {deliveries} times and taken up {first_looks} times"));
        }
        // A rejected change may be looked at again, and come to something else.
        let finals_wanted = tally.deliveries.max(tally.finals.min(tally.rejections + tally.deliveries));
        let is_pending = evidence.pending.contains(change.path.as_str());
        if tally.finals != finals_wanted && !is_pending {
            let Tally { deliveries, finals, .. } = tally;
            wrong.push(format!("{change} was delivered {deliveries} times and has {finals} final outcomes"));
        }
    }
    let delivered: BTreeSet<String> = evidence.deliveries.iter().map(ToString::to_string).collect();
    let unrecorded = delivered.difference(&evidence.changes).map(|id| format!("{id} is not on record"));
    let undelivered = evidence.changes.difference(&delivered).map(|id| format!("{id} was never delivered"));
    wrong.extend(unrecorded.chain(undelivered));
    wrong
}

fn order(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, (sequence, _)) in (1..).zip(&evidence.sequence) {
        if *sequence != number {
            wrong.push(format!(
                "outcome {number} of the target is missing or there twice: {sequence} is in its place"
            ));
            break;
        }
    }
    for pair in evidence.sequence.windows(2) {
        if pair[0].1 > pair[1].1 {
            wrong.push(format!("a fence wrote after a newer one: {pair:?}"));
        }
    }
    wrong
}

fn counted(evidence: &Evidence) -> Vec<String> {
    let mut before: Option<&ChangeId> = None;
    let mut wrong = Vec::new();
    // The order of ids is that of lives and versions.
    for (change, missed) in &evidence.missed {
        let is_same_life = |before: &&ChangeId| (&before.path, before.czxid) == (&change.path, change.czxid);
        let last = before.filter(is_same_life).and_then(|before| before.version).unwrap_or(-1);
        let unseen = i64::from(change.version.unwrap_or(0) - last - 1);
        if *missed != unseen {
            wrong.push(format!(
                "{change}: {unseen} versions were overwritten unseen, and the audit counts {missed}"
            ));
        }
        before = Some(change);
    }
    wrong
}

/// A row may only go for a delete in ZooKeeper that came after the number which the row had, and before the one that
/// it got next. Moves are none, however many.
fn deletes(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, Effect { uuid, n, what }) in evidence.effects.iter().enumerate() {
        if *what == Seen::Written {
            continue;
        }
        // A row that is replaced within a transaction is written first and deleted then.
        let written = evidence
            .effects
            .iter()
            .filter(|effect| effect.uuid == *uuid && effect.what == Seen::Written && effect.n > *n);
        let next = written.map(|effect| effect.n).min().unwrap_or(Number::MAX);
        let is_its = |write: &&Write| write.uuid == *uuid && write.done == Done::Deleted;
        if !evidence.journal.iter().filter(is_its).any(|write| *n < write.n && write.n < next) {
            wrong.push(format!(
                "{uuid}: its row with {n} was deleted (effect {at}), nobody deleted it in ZooKeeper"
            ));
        }
    }
    wrong
}

fn trees(evidence: &Evidence) -> Vec<String> {
    let mut wrong = difference("audit", &evidence.zookeeper, &evidence.recorded);
    wrong.extend(difference("log", &evidence.zookeeper, &evidence.known));
    wrong
}
