//! The checker passes what is right and names what is wrong.

use super::super::evidence::Write;
use super::*;
use crate::pipeline::documents::uuid;

fn id(text: &str) -> ChangeId {
    text.parse().expect("a change id")
}

fn outcome(change: &str, verdict: &str) -> Outcome {
    let transaction = format!("1-5 at {change}");
    Outcome { change: id(change), is_first_look: true, verdict: verdict.to_owned(), transaction }
}

fn effect(n: Number, what: Seen) -> Effect {
    Effect { uuid: uuid('c', 1), n, what }
}

const A0: &str = "1:assets/main/charts/a@7.0";
const A1: &str = "1:assets/main/charts/a@7.1";
const GONE: &str = "1:assets/main/charts/a@7.-";
const B0: &str = "1:assets/main/charts/b@9.0";

/// One chart: created with 1, changed with 2, deleted with 3, created anew elsewhere with 4.
fn good() -> Evidence {
    let chart = uuid('c', 1);
    let write = |n, done| Write { n, uuid: chart, done };
    let stand = || [("assets/main/charts/b".to_owned(), B0.to_owned())].into();
    Evidence {
        journal: vec![write(1, Done::Put), write(2, Done::Put), write(3, Done::Deleted), write(4, Done::Put)],
        zookeeper: stand(),
        documents: [(chart, 4)].into(),
        rows: [(chart, 4)].into(),
        effects: vec![
            effect(1, Seen::Written),
            effect(2, Seen::Written),
            effect(2, Seen::Deleted),
            effect(4, Seen::Written),
        ],
        deliveries: [A0, A1, GONE, B0].map(id).into(),
        contents: [(id(A0), (chart, 1)), (id(A1), (chart, 2)), (id(B0), (chart, 4))].into(),
        resyncs: 1,
        known: stand(),
        ledger: stand(),
        pending: BTreeSet::new(),
        recorded: stand(),
        changes: [A0, A1, GONE, B0].map(str::to_owned).into(),
        outcomes: vec![
            outcome(A0, "applied"),
            outcome(A1, "applied"),
            outcome(GONE, "deleted"),
            outcome(B0, "applied"),
        ],
        sequence: [1, 2, 3, 4].map(|sequence| (sequence, (1, 5))).into(),
        missed: [A0, A1, B0].map(|change| (id(change), 0)).into(),
        chain: None,
    }
}

/// Bends a good history; the checker names exactly those claims.
fn names<T>(claims: &[Claim], bend: impl FnOnce(&mut Evidence) -> T) {
    let mut evidence = good();
    let _ = bend(&mut evidence);
    let found = check(&evidence);
    let named: BTreeSet<Claim> = found.iter().map(|violation| violation.claim).collect();
    assert_eq!(named.into_iter().collect::<Vec<_>>(), claims, "{found:#?}");
}

#[test]
fn a_good_history_has_nothing_wrong() {
    names(&[], |_| {});
}

#[test]
fn a_change_that_waits_and_is_applied_later_has_one_final_outcome() {
    names(&[], |evidence| {
        evidence.outcomes[3].verdict = "held".to_owned();
        evidence.outcomes.push(Outcome { is_first_look: false, ..outcome(B0, "applied") });
    });
}

#[test]
fn changes_that_were_folded_into_one_batch_have_one_effect() {
    names(&[], |evidence| {
        evidence.effects.remove(0);
        evidence.outcomes[0].verdict = "superseded".to_owned();
    });
}

#[test]
fn a_lost_change_is_found() {
    names(&[Claim::Equal], |evidence| {
        evidence.journal.push(Write { n: 5, uuid: uuid('c', 1), done: Done::Put });
        evidence.documents.insert(uuid('c', 1), 5);
    });
    names(&[Claim::Equal], |evidence| evidence.ledger.pop_first());
    names(&[Claim::Equal], |evidence| evidence.pending.insert("assets/main/charts/b".to_owned()));
}

#[test]
fn an_effect_that_is_repeated_or_undone_is_found() {
    names(&[Claim::AtMostOnce], |evidence| evidence.effects.push(effect(4, Seen::Written)));
    names(&[Claim::AtMostOnce], |evidence| evidence.effects.insert(2, effect(1, Seen::Written)));
}

#[test]
fn an_effect_without_its_outcome_and_an_outcome_without_its_effect_are_found() {
    names(&[Claim::OnRecord, Claim::OneOutcome], |evidence| evidence.outcomes.remove(1));
    names(&[Claim::OnRecord], |evidence| evidence.outcomes[1].verdict = "unchanged".to_owned());
    names(&[Claim::OnRecord], |evidence| evidence.effects.remove(0));
    names(&[Claim::OnRecord], |evidence| evidence.outcomes[2].verdict = "skipped".to_owned());
}

#[test]
fn a_second_outcome_of_one_delivery_is_found() {
    names(&[Claim::OneOutcome], |evidence| evidence.outcomes.push(outcome(B0, "skipped")));
    names(&[Claim::OneOutcome], |evidence| {
        evidence.outcomes.push(Outcome { is_first_look: false, ..outcome(B0, "unchanged") });
    });
    // What is delivered twice has two.
    names(&[], |evidence| {
        evidence.deliveries.push(id(B0));
        evidence.outcomes.push(outcome(B0, "skipped"));
    });
}

#[test]
fn a_change_that_is_not_on_record_or_only_there_is_found() {
    names(&[Claim::OneOutcome], |evidence| evidence.changes.pop_first());
    names(&[Claim::OneOutcome], |evidence| evidence.changes.insert("1:assets/x@1.0".to_owned()));
}

#[test]
fn a_gap_in_the_targets_order_and_an_old_fence_are_found() {
    names(&[Claim::Order], |evidence| evidence.sequence.remove(1));
    names(&[Claim::Order], |evidence| evidence.sequence[1].0 = 1);
    names(&[Claim::Order], |evidence| evidence.sequence[3].1 = (1, 4));
}

#[test]
fn a_version_that_nobody_saw_and_nobody_counted_is_found() {
    names(&[Claim::Counted], |evidence| evidence.missed.remove(&id(A0)));
    names(&[Claim::Counted], |evidence| evidence.missed.insert(id(B0), 1));
}

#[test]
fn a_broken_chain_is_found() {
    names(&[Claim::Chain], |evidence| evidence.chain = Some("row 3 was altered".to_owned()));
}

#[test]
fn a_delete_that_nobody_made_is_found() {
    names(&[Claim::Deletes], |evidence| evidence.journal.remove(2));
    // A delete before the number was written is no reason either.
    names(&[Claim::Deletes], |evidence| evidence.journal[2].n = 1);
    // A move is none.
    names(&[Claim::Deletes], |evidence| evidence.journal[2].done = Done::Moved);
    // Two are none either.
    names(&[Claim::Deletes], |evidence| {
        evidence.journal[2].done = Done::Moved;
        evidence.journal[3].done = Done::Moved;
    });
    // Nor is one after the row was there again.
    names(&[Claim::Deletes], |evidence| evidence.journal[2].n = 5);
}

#[test]
fn a_tree_that_is_not_zookeepers_is_found() {
    names(&[Claim::Tree], |evidence| evidence.recorded.pop_first());
    names(&[Claim::Tree], |evidence| evidence.known.pop_first());
}
