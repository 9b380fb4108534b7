use change::{Lifetime, Millis, Zxid};

use super::*;

fn found(mzxid: i64) -> Found {
    Found {
        czxid: 1,
        mzxid: Zxid(mzxid),
        version: 0,
        mtime: Millis(0),
        lifetime: Lifetime::Persistent,
        bytes: vec![0; 10],
    }
}

fn here(mzxid: i64, children: Option<&[&str]>) -> Answer {
    let children = children.map(|names| names.iter().map(ToString::to_string).collect());
    Answer::Here { found: found(mzxid), children }
}

/// Answers every read from `tree` until nothing is left to read; returns what was read.
fn serve(view: &mut View, tree: &BTreeMap<&str, i64>) -> Vec<String> {
    let mut read = Vec::new();
    while let Some(Want { path, list }) = view.next(64) {
        let children: Vec<&str> = tree
            .keys()
            .filter(|key| !key.is_empty())
            .filter(|key| key.rsplit_once('/').map_or("", |(parent, _)| parent) == path)
            .map(|key| key.rsplit('/').next().expect("a name"))
            .collect();
        let answer = match tree.get(path.as_str()) {
            Some(mzxid) => here(*mzxid, list.then_some(&children)),
            None => Answer::Gone,
        };
        view.answer(&path, answer).expect("within bounds");
        read.push(path);
    }
    read
}

fn view() -> View {
    View::new(FollowConfig::default())
}

#[test]
fn a_crawl_finds_what_stands_and_what_is_gone() {
    let mut view = view();
    view.crawl();
    serve(&mut view, &BTreeMap::from([("", 1), ("a", 2), ("a/b", 3), ("c", 4)]));
    assert!(view.is_settled() && view.take_changed());
    assert_eq!(view.nodes.keys().collect::<Vec<_>>(), ["", "a", "a/b", "c"]);
    view.crawl();
    serve(&mut view, &BTreeMap::from([("", 1), ("a", 2), ("c", 5)]));
    assert!(view.is_settled() && view.take_changed());
    assert_eq!(view.nodes.keys().collect::<Vec<_>>(), ["", "a", "c"]);
    assert_eq!(view.nodes["c"].mzxid, Zxid(5));
    view.crawl();
    serve(&mut view, &BTreeMap::from([("", 1), ("a", 2), ("c", 5)]));
    assert!(!view.take_changed(), "nothing changed");
}

#[test]
fn many_events_of_a_path_are_one_read_and_one_more_if_they_came_meanwhile() {
    let mut view = view();
    for _ in 0..5 {
        view.want("a");
    }
    assert_eq!(view.next(64), Some(Want { path: "a".into(), list: false }));
    assert_eq!(view.next(64), None);
    view.want("a");
    view.want("a");
    assert_eq!(view.next(64), None, "not while its read is on the wire");
    view.answer("a", here(1, None)).expect("within bounds");
    assert!(!view.is_settled());
    assert_eq!(serve(&mut view, &BTreeMap::from([("a", 2)])), ["a"]);
    assert_eq!(view.nodes["a"].mzxid, Zxid(2));
}

#[test]
fn no_more_than_the_bound_are_on_the_wire() {
    let mut view = view();
    for path in ["a", "b", "c"] {
        view.want(path);
    }
    assert!(view.next(2).is_some() && view.next(2).is_some() && view.next(2).is_none());
}

#[test]
fn a_refused_read_keeps_what_was_known_and_says_so() {
    let mut view = view();
    view.want("a");
    serve(&mut view, &BTreeMap::from([("a", 1)]));
    view.take_changed();
    view.want("a");
    view.next(1);
    view.answer("a", Answer::Forbidden).expect("within bounds");
    assert!(view.take_changed() && view.nodes.contains_key("a") && view.unreadable.contains("a"));
    view.want("a");
    serve(&mut view, &BTreeMap::new());
    assert!(view.nodes.is_empty() && view.unreadable.is_empty());
}

#[test]
fn a_lost_read_is_sent_again() {
    let mut view = view();
    view.crawl();
    view.next(1);
    view.answer("", Answer::Lost).expect("within bounds");
    assert!(!view.is_settled() && view.nodes.is_empty());
    serve(&mut view, &BTreeMap::from([("", 1), ("a", 1)]));
    assert_eq!(view.nodes.len(), 2);
}

#[test]
fn a_plain_read_under_way_does_not_stand_in_for_a_visit() {
    let mut view = view();
    view.want("");
    view.next(1);
    view.crawl();
    view.answer("", here(1, None)).expect("within bounds");
    assert!(!view.is_settled());
    serve(&mut view, &BTreeMap::from([("", 1), ("a", 1)]));
    assert_eq!(view.nodes.len(), 2);
}

#[test]
fn a_subtree_beyond_the_bounds_is_an_error() {
    let mut small = View::new(FollowConfig { nodes_max: 1, ..FollowConfig::default() });
    let mut light = View::new(FollowConfig { bytes_max: 15, ..FollowConfig::default() });
    for view in [&mut small, &mut light] {
        view.want("a");
        view.want("b");
        view.next(2);
        view.next(2);
        assert_eq!(view.answer("a", here(1, None)), Ok(()));
        assert_eq!(view.answer("b", here(1, None)), Err(TooMuch));
    }
}
