use change::{Change, Lifetime, Millis, Op, ResyncBegin, ResyncEnd, Term, Txn};

use super::*;

const LOG: Uuid = Uuid::from_u128(1);

fn generation(n: u64, id: u128) -> Generation {
    Generation { n, id: Uuid::from_u128(id) }
}

fn fence(czxid: i64) -> Option<Fence> {
    Some(Fence { generation: 1, czxid })
}

fn position(offset: i64) -> Position {
    Position { offset, ..Position::start(LOG) }
}

fn term(n: u64, id: u128) -> Record {
    Record::Term(Term { generation: generation(n, id), seen: Millis(0) })
}

fn txn(name: &str, op: Op) -> Record {
    let path = format!("assets/m/charts/{name}").parse().expect("a path");
    let changes = vec![Change { path, czxid: 5, op }];
    let at = Millis(0);
    Record::Txn(Txn { zxid: Zxid(5), committed: at, seen: at, resync: None, edit: None, changes })
}

fn put(name: &str) -> Record {
    let lifetime = Lifetime::Persistent;
    txn(name, Op::Put { version: 0, mzxid: Zxid(5), lifetime, by_edit: false, bytes: vec![] })
}

fn delete(name: &str) -> Record {
    txn(name, Op::Delete { by_edit: false })
}

fn begin(id: u128) -> Record {
    Record::ResyncBegin(ResyncBegin { id: Uuid::from_u128(id), seen: Millis(0) })
}

fn end(id: u128) -> Record {
    Record::ResyncEnd(ResyncEnd { id: Uuid::from_u128(id), seen: Millis(0), count: 0, unreadable: vec![] })
}

fn fold(known: &mut Known, records: &[(Option<Fence>, Record)]) {
    for (fence, record) in records {
        let next = position(known.position.offset + 1);
        known.fold(*fence, record, next);
    }
}

fn names(known: &Known) -> Vec<&str> {
    known.tree.nodes().keys().map(ZnodePath::name).collect()
}

/// The table after the checkpoint was put into it.
fn save(rows: &mut BTreeMap<String, Vec<u8>>, known: &mut Known) {
    for (key, value) in known.checkpoint() {
        match value {
            Some(value) => drop(rows.insert(key, value)),
            None => drop(rows.remove(&key)),
        }
    }
    known.saved();
}

fn load(rows: &BTreeMap<String, Vec<u8>>) -> Option<Known> {
    let rows: Vec<(String, Vec<u8>)> = rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    Known::load(&rows)
}

fn nothing() -> Known {
    Known::nothing(Position::start(LOG), BTreeSet::new())
}

#[test]
fn a_checkpoint_and_the_log_behind_it_give_the_same_tree_as_the_whole_log() {
    let records = [
        (fence(1), term(1, 9)),
        (fence(1), begin(1)),
        (fence(1), put("a")),
        (fence(1), put("b")),
        (fence(1), end(1)),
        (fence(1), delete("a")),
        (fence(2), term(1, 9)),
        (fence(2), put("c")),
        (fence(2), delete("b")),
    ];
    let mut whole = nothing();
    fold(&mut whole, &records);
    for at in 0..=records.len() {
        let (mut first, mut rows) = (nothing(), BTreeMap::new());
        // Twice, so that the second checkpoint removes what the first has put.
        for half in [0..at / 2, at / 2..at] {
            fold(&mut first, &records[half]);
            if first.open.is_none() {
                save(&mut rows, &mut first);
            }
        }
        let Some(mut second) = load(&rows) else { continue };
        let done = usize::try_from(second.position.offset - 1).expect("an offset");
        fold(&mut second, &records[done..]);
        assert_eq!(second.tree.nodes(), whole.tree.nodes(), "checkpoint at {at}");
        assert_eq!((second.whole, second.fence, second.position), (whole.whole, whole.fence, whole.position));
    }
    assert_eq!(names(&whole), ["c"]);
}

#[test]
fn records_of_an_older_fence_do_not_count() {
    let mut known = nothing();
    fold(
        &mut known,
        &[(fence(1), put("a")), (fence(2), term(1, 9)), (fence(1), delete("a")), (None, delete("a"))],
    );
    assert_eq!(names(&known), ["a"]);
}

#[test]
fn the_tree_is_whole_only_after_a_resync_that_ended() {
    for (records, whole) in [
        (vec![term(1, 9), put("a")], false),
        (vec![begin(1), put("a")], false),
        (vec![end(1)], false),
        (vec![begin(1), begin(2), end(1)], false),
        (vec![begin(1), end(1)], true),
    ] {
        let mut known = nothing();
        fold(&mut known, &records.iter().map(|record| (fence(1), record.clone())).collect::<Vec<_>>());
        assert_eq!(known.whole, whole, "{records:?}");
    }
}

#[test]
fn an_approved_generation_voids_the_tree_and_its_rows_and_any_other_does_not() {
    for (n, id, left) in [(2, 7, 0), (1, 7, 1), (1, 9, 1)] {
        let (mut known, mut rows) = (nothing(), BTreeMap::new());
        fold(
            &mut known,
            &[(fence(1), term(1, 9)), (fence(1), begin(1)), (fence(1), put("a")), (fence(1), end(1))],
        );
        save(&mut rows, &mut known);
        fold(&mut known, &[(fence(2), term(n, id))]);
        save(&mut rows, &mut known);
        assert_eq!(known.tree.nodes().len(), left, "{n} {id}");
        assert_eq!(rows.keys().filter(|key| key.starts_with(NODE)).count(), left);
        assert_eq!(known.whole, left == 1);
        assert_eq!(known.generation.map(|known| known.n), Some(n));
    }
}

#[test]
fn no_checkpoint_is_taken_inside_a_resync() {
    let mut known = nothing();
    fold(&mut known, &[(fence(1), begin(1)), (fence(1), put("a"))]);
    assert_eq!(known.unsaved(), 0);
    fold(&mut known, &[(fence(1), end(1))]);
    assert_eq!(known.unsaved(), 3);
}

#[test]
fn rows_that_make_no_sense_are_no_checkpoint_and_are_cleaned_up_by_the_next() {
    let mut known = nothing();
    fold(&mut known, &[(fence(1), put("a"))]);
    let mut rows = BTreeMap::new();
    save(&mut rows, &mut known);
    rows.insert(CHECKPOINT.to_owned(), b"{}".to_vec());
    assert!(load(&rows).is_none());
    let pairs: Vec<(String, Vec<u8>)> = rows.clone().into_iter().collect();
    let mut known = Known::nothing(Position::start(LOG), Known::stale(&pairs));
    save(&mut rows, &mut known);
    assert_eq!(rows.keys().collect::<Vec<_>>(), [CHECKPOINT]);
}

#[test]
fn a_new_generation_voids_the_tree_even_where_the_log_does_not_tell_of_the_old_one() {
    let new = |czxid| Some(Fence { generation: 2, czxid });
    let mut known = nothing();
    fold(&mut known, &[(fence(1), put("a")), (new(1), term(2, 8)), (new(1), begin(1)), (new(1), put("b"))]);
    assert_eq!(names(&known), ["b"]);
    assert!(!known.whole);
}

#[test]
fn a_resync_that_its_watcher_did_not_end_does_not_hold_the_next_ones_checkpoint() {
    let mut known = nothing();
    fold(&mut known, &[(fence(1), term(1, 9)), (fence(1), begin(1)), (fence(1), put("a"))]);
    assert_eq!(known.unsaved(), 0);
    fold(&mut known, &[(fence(2), term(1, 9)), (fence(2), put("b"))]);
    assert_eq!(known.unsaved(), 5);
}

#[test]
fn what_a_resync_could_not_read_makes_another_one_due_once_it_can_be_read() {
    let path = |text: &str| text.parse::<ZnodePath>().expect("a path");
    let end =
        ResyncEnd { id: Uuid::from_u128(1), seen: Millis(0), count: 0, unreadable: vec![path("assets/m")] };
    let mut known = nothing();
    fold(&mut known, &[(fence(1), begin(1)), (fence(1), Record::ResyncEnd(end))]);
    let mut rows = BTreeMap::new();
    save(&mut rows, &mut known);
    for known in [known, load(&rows).expect("a checkpoint")] {
        assert!(known.is_whole(&[path("assets/m")]) && known.is_whole(&[path("assets")]));
        assert!(!known.is_whole(&[]) && !known.is_whole(&[path("assets/other")]));
    }
}
