//! `known` and `live` list znodes as `name czxid.version@mzxid`; `edits` as `name@zxid put a del b`. What is printed are
//! the Txns in their order.

use change::{Edit, EditChange, Lifetime};
use expect_test::{Expect, expect};

use super::*;

fn path(name: &str) -> ZnodePath {
    format!("assets/m/charts/{name}").parse().expect("a path")
}

fn node(text: &str) -> Node {
    let (life, mzxid) = text.split_once('@').expect("czxid.version@mzxid");
    let (czxid, version) = life.split_once('.').expect("czxid.version");
    Node {
        czxid: czxid.parse().expect("a czxid"),
        version: version.parse().expect("a version"),
        mzxid: Zxid(mzxid.parse().expect("an mzxid")),
    }
}

fn tree(text: &str) -> Tree {
    let words: Vec<&str> = text.split_whitespace().collect();
    Tree::new(words.chunks(2).map(|pair| (path(pair[0]), node(pair[1]))).collect())
}

fn live(text: &str) -> Live {
    let seen = |node: &Node| Seen {
        node: *node,
        at: Millis(node.mzxid.0 * 10),
        lifetime: Lifetime::Persistent,
        bytes: b"x".to_vec(),
    };
    let nodes = tree(text).nodes().iter().map(|(path, node)| (path.clone(), seen(node))).collect();
    Live { nodes, unreadable: vec![] }
}

fn edit(line: &str) -> SeenEdit {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, zxid) = words[0].split_once('@').expect("name@zxid");
    let change = |pair: &[&str]| EditChange {
        path: path(pair[1]),
        op: if pair[0] == "put" { EditOp::Put } else { EditOp::Delete },
        sha256: None,
    };
    let edit = Edit {
        v: 1,
        id: name.to_owned(),
        of: name.to_owned(),
        part: 1,
        parts: 1,
        author: "ann".to_owned(),
        message: "why".to_owned(),
        traceparent: None,
        rollback_of: None,
        changes: words[1..].chunks(2).map(change).collect(),
    };
    SeenEdit { zxid: Zxid(zxid.parse().expect("a zxid")), at: Millis(1), edit }
}

fn print(txn: &Txn) -> String {
    let edit = txn.edit.as_ref().map(|edit| format!(" {}", edit.id)).unwrap_or_default();
    let one = |one: &Change| match one.op {
        Op::Put { version, mzxid, by_edit, .. } => {
            let by_edit = if by_edit { " by edit" } else { "" };
            format!("put {} {}.{version}@{}{by_edit}", one.path.name(), one.czxid, mzxid.0)
        }
        Op::Delete { by_edit } => {
            format!("del {} {}{}", one.path.name(), one.czxid, if by_edit { " by edit" } else { "" })
        }
    };
    format!("{}{edit}: {}\n", txn.zxid.0, txn.changes.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// A cut behind everything.
fn late() -> Cut {
    Cut { at: Zxid(i64::MAX), deleted_later: BTreeSet::new() }
}

const MOMENT: Moment = Moment { now: Millis(5), upper: Zxid(99), resync: None };

fn check(known: &str, standing: &str, edits: &str, limit: usize, expected: Expect) {
    let (mut known, live) = (tree(known), live(standing));
    let gap = compare(&known, &live, &late()).expect("no other history");
    let edits: Vec<SeenEdit> = edits.lines().map(edit).collect();
    let limits = Limits { changes: limit, bytes: 1_000 };
    let Closed { txns, owed } = close(&live, &gap, &edits, MOMENT, limits);
    assert_eq!(owed, []);
    expected.assert_eq(&txns.iter().map(print).collect::<String>());
    txns.into_iter().for_each(|txn| known.fold(&Record::Txn(txn)));
    assert_eq!(known, tree(standing), "the record equals what stands");
}

#[test]
fn what_was_written_meanwhile_is_grouped_by_transaction_in_order() {
    check(
        "a 1.0@1 b 2.0@2",
        "a 1.2@9 b 2.1@7 c 9.0@9",
        "",
        10,
        expect![[r#"
        7: put b 2.1@7
        9: put a 1.2@9, put c 9.0@9
    "#]],
    );
}

#[test]
fn deletes_come_last_and_with_the_lives_that_began_so_that_a_move_is_seen() {
    check(
        "a 1.0@1 b 2.0@2",
        "b 2.1@7 c 6.0@6",
        "",
        10,
        expect![[r#"
        7: put b 2.1@7
        99: del a 1, put c 6.0@6
    "#]],
    );
}

#[test]
fn too_many_to_couple_are_split() {
    check(
        "a 1.0@1 b 2.0@2 c 3.0@3",
        "d 6.0@6",
        "",
        2,
        expect![[r#"
        6: put d 6.0@6
        99: del a 1, del b 2
        99: del c 3
    "#]],
    );
}

#[test]
fn an_edit_made_meanwhile_is_one_txn_of_all_that_it_lists() {
    check(
        "a 1.0@1 b 2.0@2",
        "b 2.1@7 c 7.0@7",
        "e1@7 put b put c del a",
        10,
        expect![[r#"
        7 e1: put b 2.1@7 by edit, put c 7.0@7 by edit, del a 1 by edit
    "#]],
    );
}

#[test]
fn an_edit_whose_work_was_overwritten_is_on_record_unattributed() {
    check(
        "a 1.0@1 b 2.0@2",
        "a 1.2@9 b 2.1@7",
        "e1@7 put a put b\ne2@9 put a",
        10,
        expect![[r#"
        7 e1: put a 1.2@9, put b 2.1@7 by edit
        9 e2: put a 1.2@9 by edit
    "#]],
    );
}

#[test]
fn a_recreate_claims_no_delete_unless_an_edit_tells_of_it() {
    check(
        "a 1.0@1",
        "a 8.0@8",
        "",
        10,
        expect![[r#"
        8: put a 8.0@8
    "#]],
    );
    check(
        "a 1.0@1",
        "a 8.0@8",
        "e1@7 del a\ne2@8 put a",
        10,
        expect![[r#"
        7 e1: del a 1 by edit
        8 e2: put a 8.0@8 by edit
    "#]],
    );
}

#[test]
fn nothing_is_missing_below_a_subtree_that_could_not_be_read() {
    let mut standing = live("");
    standing.unreadable = vec!["assets/m".parse().expect("a path")];
    assert_eq!(compare(&tree("a 1.0@1"), &standing, &late()), Ok(Gap::default()));
}

#[test]
fn a_live_tree_that_is_behind_is_another_history() {
    for (known, standing) in [("a 5.2@9", "a 5.1@7"), ("a 5.2@9", "a 4.9@12"), ("a 5.2@9", "a 5.2@10")] {
        assert!(compare(&tree(known), &live(standing), &late()).is_err(), "{known} {standing}");
    }
}

#[test]
fn a_resync_sends_every_live_path_and_leaves_the_deletes_to_its_end() {
    let (mut known, standing) = (tree("a 1.0@1 gone 2.0@2"), live("a 1.0@1 b 3.0@3"));
    let gap = compare(&known, &standing, &late()).expect("no other history");
    let id = Uuid::from_u128(1);
    let limits = Limits { changes: 10, bytes: 1_000 };
    let records = resync(&standing, &gap, &[], id, MOMENT, limits);
    let changes = |record: &Record| match record {
        Record::Txn(txn) if txn.resync == Some(id) => print(txn),
        Record::Txn(_) | Record::Term(_) => panic!("not of this resync"),
        Record::ResyncBegin(_) => "begin\n".to_owned(),
        Record::ResyncEnd(end) => format!("end of {}\n", end.count),
    };
    expect![[r#"
        begin
        1: put a 1.0@1
        3: put b 3.0@3
        end of 2
    "#]]
    .assert_eq(&records.iter().map(changes).collect::<String>());
    records.iter().for_each(|record| known.fold(record));
    assert_eq!(known, tree("a 1.0@1 b 3.0@3"));
}

#[test]
fn changes_that_the_stream_claimed_to_be_past_are_told_apart() {
    let standing = live("a 1.2@9 b 2.1@7");
    let gap = compare(&tree("a 1.0@1 b 2.0@2"), &standing, &late()).expect("no other history");
    assert_eq!((gap.older_than(&standing, Zxid(8)), gap.missed_versions), (1, 1));
}

#[test]
fn what_the_stream_brings_by_itself_is_left_to_it() {
    let standing = live("a 1.1@5 b 2.1@9 c 9.0@9 reborn 9.0@9");
    let known = tree("a 1.0@1 b 2.0@2 gone 3.0@3 later 3.0@3 reborn 3.0@3");
    let cut = Cut { at: Zxid(7), deleted_later: ["assets/m/charts/later".parse().expect("a path")].into() };
    let gap = compare(&known, &standing, &cut).expect("no other history");
    let names = |paths: Vec<&ZnodePath>| paths.iter().map(|path| path.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(gap.puts.iter().collect()), ["a"]);
    assert_eq!(names(gap.ended.keys().collect()), ["gone", "reborn"]);
    assert_eq!(names(gap.missing(&standing).iter().collect()), ["gone"]);
}

#[test]
fn a_life_that_began_before_the_cut_is_put_at_once_although_it_was_set_behind_it() {
    // The stream has an event of the set alone: the delete and the create came before it.
    let standing = live("a 5.1@9");
    let cut = Cut { at: Zxid(7), deleted_later: BTreeSet::new() };
    let gap = compare(&tree("a 3.0@3"), &standing, &cut).expect("no other history");
    assert_eq!(gap.puts.iter().map(ZnodePath::name).collect::<Vec<_>>(), ["a"]);
    // Unless the stream has the delete as well.
    let cut = Cut { at: Zxid(7), deleted_later: [path("a")].into() };
    let gap = compare(&tree("a 3.0@3"), &standing, &cut).expect("no other history");
    assert_eq!(gap.puts, BTreeSet::new());
}

#[test]
fn what_was_moved_twice_meanwhile_is_deleted_where_it_is_put_at_last() {
    let edits = "e1@7 put b del a\ne2@8 put c del b";
    check(
        "a 1.0@1",
        "c 8.0@8",
        edits,
        10,
        expect![[r#"
            7 e1: 
            8 e2: del a 1, put c 8.0@8 by edit
        "#]],
    );
    check(
        "a 1.0@1",
        "d 9.0@9",
        &format!("{edits}\ne3@9 put d del c"),
        10,
        expect![[r#"
            7 e1: 
            8 e2: 
            9 e3: del a 1, put d 9.0@9 by edit
        "#]],
    );
    // The second move is a stranger's.
    check(
        "a 1.0@1",
        "c 8.0@8",
        "e1@7 put b del a",
        10,
        expect![[r#"
        7 e1: 
        99: del a 1, put c 8.0@8
    "#]],
    );
}

#[test]
fn a_move_whose_place_was_taken_by_another_one_ends_where_it_went_on_to() {
    check(
        "a 1.0@1 x 2.0@2",
        "b 9.0@9 c 8.0@8",
        "e1@7 put b del a\ne2@8 put c del b\ne3@9 put b del x",
        10,
        expect![[r#"
            7 e1: 
            8 e2: del a 1, put c 8.0@8 by edit
            9 e3: put b 9.0@9 by edit, del x 2 by edit
        "#]],
    );
}

#[test]
fn a_delete_stays_with_its_edit_if_what_the_edit_put_was_plainly_deleted_later() {
    check(
        "a 1.0@1",
        "",
        "e1@7 put b del a\ne2@8 del b",
        10,
        expect![[r#"
        7 e1: del a 1 by edit
        8 e2: 
    "#]],
    );
    check(
        "a 1.0@1 x 1.0@1",
        "x 1.1@9",
        "e1@7 put b del a",
        10,
        expect![[r#"
        7 e1: del a 1 by edit
        9: put x 1.1@9
    "#]],
    );
}

#[test]
fn a_delete_of_what_is_moved_on_behind_the_cut_is_left_to_the_stream() {
    for standing in ["c 12.0@12", "a 12.0@12"] {
        let (standing, known) = (live(standing), tree("a 1.0@1"));
        let cut = Cut { at: Zxid(8), deleted_later: [path("b")].into() };
        let gap = compare(&known, &standing, &cut).expect("no other history");
        let limits = Limits { changes: 10, bytes: 1_000 };
        let closed = close(&standing, &gap, &[edit("e1@7 put b del a")], MOMENT, limits);
        assert_eq!(closed.txns.iter().map(print).collect::<String>(), "7 e1: \n");
        let a = *known.get(&path("a")).expect("a node");
        let end = delete(&path("a"), &a, ByEdit::No);
        assert_eq!(closed.owed, [Owed { until: [path("b")].into(), ends: vec![end] }]);
    }
}

#[test]
fn a_resync_leaves_what_is_moved_on_behind_the_cut_to_its_end() {
    for standing in ["c 12.0@12", "a 12.0@12"] {
        let (standing, known) = (live(standing), tree("a 1.0@1"));
        let cut = Cut { at: Zxid(8), deleted_later: [path("b")].into() };
        let gap = compare(&known, &standing, &cut).expect("no other history");
        let limits = Limits { changes: 10, bytes: 1_000 };
        let edits = [edit("e1@7 put b del a")];
        let records = resync(&standing, &gap, &edits, Uuid::from_u128(1), MOMENT, limits);
        let is_delete = |record: &Record| match record {
            Record::Txn(txn) => txn.changes.iter().any(|change| matches!(change.op, Op::Delete { .. })),
            Record::Term(_) | Record::ResyncBegin(_) | Record::ResyncEnd(_) => false,
        };
        assert_eq!(records.iter().filter(|record| is_delete(record)).count(), 0);
    }
}

#[test]
fn a_delete_of_what_a_stranger_moved_on_behind_the_cut_is_left_to_the_stream() {
    let (standing, known) = (live("c 12.0@12"), tree("a 1.0@1 x 2.0@2"));
    let limits = Limits { changes: 10, bytes: 1_000 };
    let close_with = |deleted_later: &str| {
        let cut = Cut { at: Zxid(8), deleted_later: [path(deleted_later)].into() };
        let gap = compare(&known, &standing, &cut).expect("no other history");
        close(&standing, &gap, &[], MOMENT, limits)
    };
    let closed = close_with("b");
    assert_eq!(closed.txns, []);
    let end = |name| delete(&path(name), known.get(&path(name)).expect("a node"), ByEdit::No);
    assert_eq!(closed.owed, [Owed { until: [path("b")].into(), ends: vec![end("a"), end("x")] }]);
    // Of what was on record before it was deleted behind the cut, nothing can have come from elsewhere.
    let closed = close_with("x");
    assert_eq!(closed.txns.iter().map(print).collect::<String>(), "99: del a 1\n");
    assert_eq!(closed.owed, []);
}
