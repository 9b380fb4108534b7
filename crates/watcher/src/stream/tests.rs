//! Each script is one connection's traffic in its order. `known a 5.1@7` puts `assets/m/charts/a` on record (czxid 5,
//! version 1, mzxid 7); `new`, `set`, `del` and `edit` are events; each other line answers the oldest open read.
//! What comes out is printed as `zxid [edit]: changes` after the line that brought it out.

use change::{Edit, EditChange, EditOp, Lifetime};
use expect_test::{Expect, expect};

use super::*;

fn path(name: &str) -> ZnodePath {
    let text = if name.contains('/') { name.to_owned() } else { format!("assets/m/charts/{name}") };
    text.parse().expect("a path")
}

/// Reads `5.1@7`.
fn node(text: &str) -> Node {
    let (life, mzxid) = text.split_once('@').expect("czxid.version@mzxid");
    let (czxid, version) = life.split_once('.').expect("czxid.version");
    Node {
        czxid: czxid.parse().expect("a czxid"),
        version: version.parse().expect("a version"),
        mzxid: Zxid(mzxid.parse().expect("an mzxid")),
    }
}

fn seen(node: Node, bytes: &[u8]) -> Seen {
    Seen { node, at: Millis(node.mzxid.0 * 10), lifetime: Lifetime::Persistent, bytes: bytes.to_vec() }
}

/// Reads `e1@10 put a del b`: the edit e1 of transaction 10. The digests are those of the bytes `x`.
fn edit(words: &[&str]) -> Seen {
    let (name, zxid) = words[0].split_once('@').expect("name@zxid");
    let change = |pair: &[&str]| {
        let op = if pair[0] == "put" { EditOp::Put } else { EditOp::Delete };
        let sha256 = (op == EditOp::Put).then(|| change::sha256_hex(b"x"));
        EditChange { path: path(pair[1]), op, sha256 }
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
    seen(node(&format!("{zxid}.0@{zxid}")), &serde_json::to_vec(&edit).expect("json"))
}

fn print(record: &Record) -> String {
    let Record::Txn(txn) = record else { panic!("only Txns come from the stream") };
    let edit = txn.edit.as_ref().map(|edit| format!(" {}", edit.id)).unwrap_or_default();
    let changes: Vec<String> = txn
        .changes
        .iter()
        .map(|one| match one.op {
            Op::Put { version, mzxid, by_edit, .. } => {
                let by_edit = if by_edit { " by edit" } else { "" };
                format!("put {} {}.{version}@{}{by_edit}", one.path.name(), one.czxid, mzxid.0)
            }
            Op::Delete { by_edit } => {
                let by_edit = if by_edit { " by edit" } else { "" };
                format!("del {} {}{by_edit}", one.path.name(), one.czxid)
            }
        })
        .collect();
    format!("{}{edit}: {}", txn.zxid.0, changes.join(", "))
}

fn run(script: &str, bounds: (usize, usize, usize)) -> Result<(String, Stream), Behind> {
    let mut known = Tree::default();
    let mut stream = Stream::new(Zxid(1), bounds.0, bounds.1, bounds.2);
    let mut out = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (event, zxid) = match words[0].split_once('#') {
            Some((event, zxid)) => (event, Some(Zxid(zxid.parse().expect("a zxid")))),
            None => (words[0], None),
        };
        let found = |seen| Answer { reply: Reply::Found(seen), upper: None };
        match event {
            "known" => {
                let mut nodes = known.nodes().clone();
                nodes.insert(path(words[1]), node(words[2]));
                known = Tree::new(nodes);
            }
            "new" => stream.event(What::Created(path(words[1])), zxid),
            "set" => stream.event(What::Set(path(words[1])), zxid),
            "del" => stream.event(What::Deleted(path(words[1])), zxid),
            "edit" => stream.event(What::Edit(words[1].to_owned()), zxid),
            "gone" => {
                let upper = words.get(1).map(|zxid| Zxid(zxid.parse().expect("a zxid")));
                stream.answer(Answer { reply: Reply::Gone, upper });
            }
            "forbidden" => stream.answer(Answer { reply: Reply::Forbidden, upper: None }),
            "is" => stream.answer(found(edit(&words[1..]))),
            _ => stream.answer(found(seen(node(words[0]), words.get(1).unwrap_or(&"x").as_bytes()))),
        }
        while stream.ask().is_some() {}
        for record in stream.take(&mut known, Millis(5))? {
            out.push_str(&format!("{}\n", print(&record)));
        }
    }
    Ok((out, stream))
}

fn check(script: &str, expected: Expect) {
    let (out, stream) = run(script, (64, 512, 2_000)).expect("no other history");
    expected.assert_eq(&out);
    assert!(stream.is_idle(), "every event has been dealt with");
}

#[test]
fn a_set_becomes_a_put_of_what_was_read() {
    check(
        "known a 5.0@5 \n set a \n 5.1@7",
        expect![[r#"
        7: put a 5.1@7
    "#]],
    );
}

#[test]
fn a_version_that_is_on_record_makes_nothing() {
    check("known a 5.1@7 \n set a \n set a \n 5.1@7 \n 5.1@7", expect![""]);
}

#[test]
fn an_inner_znode_makes_nothing_unless_it_holds_bytes() {
    let mut known = Tree::default();
    for (bytes, records) in [("", 0), ("x", 1)] {
        let mut stream = Stream::new(Zxid(1), 64, 512, 2_000);
        stream.event(What::Created(path("assets/m")), None);
        assert!(stream.ask().is_some());
        let reply = Reply::Found(seen(node("5.0@5"), bytes.as_bytes()));
        stream.answer(Answer { reply, upper: None });
        assert_eq!(stream.take(&mut known, Millis(5)).expect("no other history").len(), records);
    }
}

#[test]
fn puts_of_one_transaction_travel_together_even_if_one_was_overwritten() {
    check(
        "known a 1.0@1 \n known b 2.0@2 \n known c 3.0@3
         set a \n set b \n set c \n set b
         1.1@10 \n 2.2@11 \n 3.1@10 \n 2.2@11",
        expect![[r#"
            10: put a 1.1@10, put c 3.1@10
            11: put b 2.2@11
        "#]],
    );
}

#[test]
fn a_batch_does_not_end_inside_a_transaction() {
    check(
        "new a \n new b \n 5.0@5 \n new c \n new d \n 6.0@6 \n 6.0@6 \n 7.0@7",
        expect![[r#"
        5: put a 5.0@5
        6: put b 6.0@6, put c 6.0@6
        7: put d 7.0@7
    "#]],
    );
}

#[test]
fn a_move_by_a_stranger_is_one_record_in_either_order() {
    check(
        "known a 5.0@5 \n del a \n new b \n gone 9 \n 9.0@9",
        expect![[r#"
        9: del a 5, put b 9.0@9
    "#]],
    );
    check(
        "known a 5.0@5 \n new b \n del a \n 9.0@9 \n gone 9",
        expect![[r#"
        9: put b 9.0@9, del a 5
    "#]],
    );
}

#[test]
fn a_lone_delete_carries_the_known_life_and_its_parents_zxid() {
    check(
        "known a 5.3@8 \n del a \n gone 12",
        expect![[r#"
        12: del a 5
    "#]],
    );
}

#[test]
fn a_delete_of_what_was_never_on_record_makes_nothing() {
    check("del a \n gone 12", expect![""]);
    check("new a \n del a \n gone \n gone 12", expect![""]);
}

#[test]
fn a_delete_that_was_followed_by_a_recreate_before_the_read_is_seen_nevertheless() {
    check(
        "known a 5.3@8 \n del a \n new a \n 9.0@9 \n 9.0@9",
        expect![[r#"
        9: del a 5, put a 9.0@9
    "#]],
    );
    check(
        "known a 5.3@8 \n set a \n del a \n new a \n 9.0@9 \n 9.0@9 \n 9.0@9",
        expect![[r#"
        9: del a 5, put a 9.0@9
    "#]],
    );
}

#[test]
fn no_record_holds_a_path_twice() {
    check(
        "known a 5.0@5 \n del a \n new a \n del a \n 9.0@9 \n 9.0@9 \n gone 10",
        expect![[r#"
        9: del a 5, put a 9.0@9
        10: del a 9
    "#]],
    );
}

#[test]
fn a_refused_read_is_no_delete() {
    check("known a 5.0@5 \n set a \n del a \n forbidden \n forbidden", expect![""]);
}

#[test]
fn an_edit_is_one_txn_of_all_that_it_lists() {
    check(
        "known b 5.0@5 \n known c 5.0@5
         edit e1 \n new a \n set b \n del c \n set d
         is e1@10 put a put b del c \n 10.0@10 \n 5.1@10 \n gone \n 6.1@11",
        expect![[r#"
            10 e1: put a 10.0@10 by edit, put b 5.1@10 by edit, del c 5 by edit
            11: put d 6.1@11
        "#]],
    );
}

#[test]
fn a_listed_path_that_was_overwritten_stays_in_and_is_recorded_again_with_its_own_edit() {
    check(
        "known a 1.0@1 \n known b 2.0@2
         edit e1 \n set a \n set b \n edit e2 \n set a
         is e1@10 put a put b \n 1.2@11 \n 2.1@10 \n is e2@11 put a \n 1.2@11",
        expect![[r#"
            10 e1: put a 1.2@11, put b 2.1@10 by edit
            11 e2: put a 1.2@11 by edit
        "#]],
    );
}

#[test]
fn a_path_that_an_edit_set_twice_is_one_put() {
    check(
        "known a 1.0@1 \n edit e1 \n set a \n set a \n is e1@10 put a \n 1.2@10 \n 1.2@10",
        expect![[r#"
        10 e1: put a 1.2@10 by edit
    "#]],
    );
}

#[test]
fn bytes_that_the_edit_did_not_write_are_not_attributed_to_it() {
    check(
        "known a 1.0@1 \n edit e1 \n set a \n is e1@10 put a \n 1.2@10 other",
        expect![[r#"
        10 e1: put a 1.2@10
    "#]],
    );
}

#[test]
fn a_strangers_change_right_behind_an_edit_stays_apart() {
    check(
        "known a 1.0@1 \n edit e1 \n set a \n set a \n del a
         is e1@10 put a \n 1.1@10 \n 1.2@11 \n gone 12",
        expect![[r#"
            10 e1: put a 1.1@10 by edit
            11: put a 1.2@11
            12: del a 1
        "#]],
    );
}

#[test]
fn an_edits_delete_and_a_later_recreate_are_two_records() {
    check(
        "known a 1.0@1 \n edit e1 \n del a \n new a \n is e1@10 del a \n 11.0@11 \n 11.0@11",
        expect![[r#"
        10 e1: del a 1 by edit
        11: put a 11.0@11
    "#]],
    );
}

#[test]
fn an_edit_that_lists_what_never_happened_is_on_record_without_it() {
    check(
        "edit e1 \n is e1@10 put a",
        expect![[r#"
        10 e1: 
    "#]],
    );
}

#[test]
fn an_edit_record_that_is_none_leaves_its_changes_unattributed() {
    check(
        "edit e1 \n new a \n 10.0@10 junk \n 10.0@10",
        expect![[r#"
        10: put a 10.0@10
    "#]],
    );
}

#[test]
fn with_zxids_in_the_events_a_delete_has_its_own_and_strangers_multis_stay_whole() {
    check(
        "known a 5.0@5 \n known c 5.0@5
         del#9 a \n new#9 b \n set#10 c
         gone \n 9.0@9 \n 5.1@10",
        expect![[r#"
            9: del a 5, put b 9.0@9
            10: put c 5.1@10
        "#]],
    );
}

#[test]
fn another_history_is_told_from_an_older_read() {
    for (known, live) in [("5.2@9", "5.1@7"), ("5.2@9", "4.7@12"), ("5.2@9", "5.2@11"), ("5.2@9", "5.3@8")] {
        let script = format!("known a {known} \n set a \n {live}");
        assert!(run(&script, (64, 512, 2_000)).is_err(), "{known} then {live}");
    }
}

#[test]
fn unread_versions_are_counted() {
    let (_, mut stream) =
        run("known a 5.0@5 \n set a \n 5.4@9 \n new b \n 10.2@12", (64, 512, 2_000)).expect("fine");
    assert_eq!(stream.take_counts().missed_versions, 5);
}

#[test]
fn no_more_reads_are_in_flight_than_allowed() {
    let mut stream = Stream::new(Zxid(1), 2, 512, 2_000);
    ["a", "b", "c"].iter().for_each(|name| stream.event(What::Created(path(name)), None));
    assert_eq!(std::iter::from_fn(|| stream.ask()).count(), 2);
    stream.answer(Answer { reply: Reply::Gone, upper: None });
    assert_eq!(std::iter::from_fn(|| stream.ask()).count(), 1);
}

#[test]
fn a_batch_of_deletes_ends_at_its_bound() {
    let (out, _) = run(
        "known a 1.0@1 \n known b 2.0@2 \n known c 3.0@3 \n known d 3.0@3
         del a \n del b \n del c \n del d \n gone 4 \n gone 5",
        (64, 2, 2),
    )
    .expect("no other history");
    expect![[r#"
        5: del a 1, del b 2
    "#]]
    .assert_eq(&out);
}

#[test]
fn a_set_of_a_later_life_is_put_if_no_delete_follows() {
    check(
        "known a 3.0@3 \n set a \n 5.1@9",
        expect![[r#"
        9: put a 5.1@9
    "#]],
    );
    check(
        "known a 3.0@3 \n edit e1 \n set a \n is e1@9 put a \n 5.1@9",
        expect![[r#"
        9 e1: put a 5.1@9 by edit
    "#]],
    );
}

#[test]
fn what_is_moved_twice_before_it_is_read_is_deleted_where_it_is_put_at_last() {
    check(
        "known a 1.0@1 \n edit e1 \n new b \n del a \n edit e2 \n new c \n del b
         is e1@10 put b del a \n gone \n gone \n is e2@11 put c del b \n 11.0@11 \n gone",
        expect![[r#"
            10 e1: 
            11 e2: del a 1, put c 11.0@11 by edit
        "#]],
    );
    // The edit that moves it on is not read yet when the first one is judged.
    check(
        "known a 1.0@1 \n edit e1 \n del a \n new b \n is e1@10 put b del a \n edit e2 \n del b \n new c
         gone \n gone \n is e2@11 put c del b \n gone \n 11.0@11",
        expect![[r#"
            10 e1: 
            11 e2: del a 1, put c 11.0@11 by edit
        "#]],
    );
    // The second move is a stranger's, in either order.
    check(
        "known a 1.0@1 \n edit e1 \n new b \n del a \n new c \n del b
         is e1@10 put b del a \n gone \n gone \n 11.0@11 \n gone 11",
        expect![[r#"
            10 e1: 
            11: put c 11.0@11, del a 1
        "#]],
    );
    check(
        "known a 1.0@1 \n edit e1 \n new b \n del a \n del b \n new c
         is e1@10 put b del a \n gone \n gone \n gone 11 \n 11.0@11",
        expect![[r#"
            10 e1: 
            11: del a 1, put c 11.0@11
        "#]],
    );
}

#[test]
fn what_is_moved_thrice_before_it_is_read_is_deleted_where_it_is_put_at_last() {
    check(
        "known a 1.0@1 \n edit e1 \n new b \n del a \n edit e2 \n new c \n del b \n edit e3 \n new d \n del c
         is e1@10 put b del a \n gone \n gone \n is e2@11 put c del b \n gone \n gone
         is e3@12 put d del c \n 12.0@12 \n gone",
        expect![[r#"
            10 e1: 
            11 e2: 
            12 e3: del a 1, put d 12.0@12 by edit
        "#]],
    );
}

#[test]
fn what_is_moved_there_and_back_before_it_is_read_is_deleted_where_it_is_put_at_last() {
    check(
        "known a 1.0@1 \n edit e1 \n new b \n del a \n edit e2 \n new a \n del b
         is e1@10 put b del a \n gone \n 11.0@11 \n is e2@11 put a del b \n 11.0@11 \n gone",
        expect![[r#"
            10 e1: 
            11 e2: del a 1, put a 11.0@11 by edit
        "#]],
    );
    // And there again.
    check(
        "known a 1.0@1 \n edit e1 \n new b \n del a \n edit e2 \n new a \n del b \n edit e3 \n new b \n del a
         is e1@10 put b del a \n 12.0@12 \n gone \n is e2@11 put a del b \n gone \n 12.0@12
         is e3@12 put b del a \n 12.0@12 \n gone",
        expect![[r#"
            10 e1: 
            11 e2: 
            12 e3: del a 1, put b 12.0@12 by edit
        "#]],
    );
    // And back again.
    check(
        "known a 1.0@1 \n edit e1 \n new b \n del a \n edit e2 \n new a \n del b \n edit e3 \n new b \n del a
         edit e4 \n new a \n del b
         is e1@10 put b del a \n gone \n 13.0@13 \n is e2@11 put a del b \n 13.0@13 \n gone
         is e3@12 put b del a \n gone \n 13.0@13 \n is e4@13 put a del b \n 13.0@13 \n gone",
        expect![[r#"
            10 e1: 
            11 e2: 
            12 e3: 
            13 e4: del a 1, put a 13.0@13 by edit
        "#]],
    );
    // By a stranger.
    check(
        "known a 1.0@1 \n new b \n del a \n new a \n del b \n new b \n del a \n edit e4 \n new a \n del b
         gone \n 13.0@13 \n 13.0@13 \n gone 12 \n gone \n 13.0@13 \n is e4@13 put a del b \n 13.0@13 \n gone",
        expect![[r#"
            13: put a 13.0@13
            13 e4: del a 1, put a 13.0@13 by edit
        "#]],
    );
}

#[test]
fn a_delete_stays_with_its_edit_if_nothing_is_put_behind_it() {
    check(
        "known a 1.0@1 \n edit e1 \n new b \n del a \n edit e2 \n del b
         is e1@10 put b del a \n gone \n gone \n is e2@11 del b \n gone",
        expect![[r#"
            10 e1: del a 1 by edit
            11 e2: 
        "#]],
    );
}

#[test]
fn the_place_that_a_move_has_left_may_be_taken_by_another_one() {
    check(
        "known a 1.0@1 \n known x 2.0@2
         edit e1 \n new b \n del a \n edit e2 \n new c \n del b \n edit e3 \n new b \n del x
         is e1@10 put b del a \n 12.0@12 \n gone \n is e2@11 put c del b \n 11.0@11 \n 12.0@12
         is e3@12 put b del x \n 12.0@12 \n gone",
        expect![[r#"
            10 e1: 
            11 e2: del a 1, put c 11.0@11 by edit
            12 e3: put b 12.0@12 by edit, del x 2 by edit
        "#]],
    );
}

#[test]
fn no_transaction_is_cut_at_the_bound_of_a_batch() {
    let bounded = |script: &str, expected: Expect| {
        let (out, stream) = run(script, (64, 2, 5)).expect("no other history");
        expected.assert_eq(&out);
        assert!(stream.is_idle(), "every event has been dealt with");
    };
    // A move by a stranger: the delete is the last that fits.
    bounded(
        "known a 1.0@1 \n new x \n del a \n new b \n new c \n 5.0@5 \n gone 9 \n 9.0@9 \n 10.0@10",
        expect![[r#"
            9: put x 5.0@5, del a 1, put b 9.0@9
            10: put c 10.0@10
        "#]],
    );
    bounded(
        "known a 1.0@1 \n new x \n new b \n del a \n 5.0@5 \n 9.0@9 \n gone 9",
        expect![[r#"
            9: put x 5.0@5, put b 9.0@9, del a 1
        "#]],
    );
    bounded(
        "new a \n new b \n new c \n 5.0@5 \n 6.0@6 \n 6.0@6",
        expect![[r#"
            5: put a 5.0@5
            6: put b 6.0@6, put c 6.0@6
        "#]],
    );
    // Where the events tell their transactions, only those.
    bounded(
        "known a 1.0@1 \n new#5 x \n del#9 a \n new#9 b \n del#10 b \n 5.0@5 \n gone \n gone \n gone",
        expect![[r#"
            5: put x 5.0@5
            9: del a 1
        "#]],
    );
}

#[test]
fn what_a_stranger_moved_and_an_edit_moved_on_is_deleted_where_it_is_put_at_last() {
    check(
        "known a 1.0@1 \n new b \n del a \n edit e2 \n new c \n del b
         gone \n gone 10 \n is e2@11 put c del b \n 11.0@11 \n gone",
        expect![[r#"
            11 e2: del a 1, put c 11.0@11 by edit
        "#]],
    );
}

#[test]
fn what_a_reconciliation_owes_travels_with_what_moved_it_on() {
    let a = node("1.0@1");
    let mut known = Tree::new([(path("a"), a)].into());
    let owed = Owed { until: [path("b")].into(), ends: vec![delete(&path("a"), &a, ByEdit::No)] };
    let mut stream = Stream::new(Zxid(8), 64, 512, 2_000).owing(vec![owed]);
    stream.event(What::Edit("e2".to_owned()), None);
    stream.event(What::Deleted(path("b")), None);
    stream.event(What::Created(path("a")), None);
    let found = |seen| Answer { reply: Reply::Found(seen), upper: None };
    while stream.ask().is_some() {}
    stream.answer(found(edit(&["e2@11", "put", "a", "del", "b"])));
    stream.answer(Answer { reply: Reply::Gone, upper: None });
    stream.answer(found(seen(node("11.0@11"), b"x")));
    let records = stream.take(&mut known, Millis(5)).expect("no other history");
    let printed: Vec<String> = records.iter().map(print).collect();
    assert_eq!(printed, ["11 e2: del a 1, put a 11.0@11 by edit"]);
}
