use change::{Lifetime, Node};

use super::*;
use crate::seen::Seen;

fn bounds() -> Bounds {
    Bounds {
        canary_every: Duration::from_secs(5),
        canary_within: Duration::from_secs(2),
        reconcile_every: Duration::from_secs(600),
        broken_max: Duration::from_secs(60),
        reads_in_flight: 64,
        batch_max: 512,
        deletes_max: 2_000,
        events_max: 1_000,
    }
}

/// A feed with its clock and tree.
struct Bench {
    feed: Feed,
    known: Tree,
    start: Instant,
    at: u64,
}

impl Bench {
    fn new() -> Bench {
        let start = Instant::now();
        let now = Now { monotonic: start, wall: Millis(0) };
        Bench { feed: Feed::new(bounds(), now), known: Tree::default(), start, at: 0 }
    }

    fn streaming() -> Bench {
        let mut bench = Bench::new();
        assert_eq!(bench.step(Input::Rebuilt(Zxid(10), vec![])), []);
        bench
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let monotonic = self.start + Duration::from_secs(self.at);
        self.feed.step(input, &mut self.known, Now { monotonic, wall: Millis(0) })
    }

    fn event(&mut self, path: &str, kind: Kind) -> Vec<Output> {
        self.step(Input::Event { path: path.to_owned(), kind, zxid: None })
    }

    fn wait(&mut self, seconds: u64) -> Vec<Output> {
        self.at += seconds;
        self.step(Input::Time)
    }

    fn put(&mut self) -> Vec<Output> {
        assert_eq!(self.event("/assets/m/charts/a", Kind::Created), []);
        assert_eq!(self.feed.reads().len(), 1);
        let node = Node { czxid: 11, mzxid: Zxid(11), version: 0 };
        let seen = Seen { node, at: Millis(0), lifetime: Lifetime::Persistent, bytes: vec![] };
        self.step(Input::Answer(Answer { reply: Reply::Found(seen), upper: None }))
    }
}

#[test]
fn an_event_on_a_watched_path_is_read_and_recorded() {
    let mut bench = Bench::streaming();
    let outputs = bench.put();
    assert!(matches!(outputs.as_slice(), [Output::Append(records)] if records.len() == 1), "{outputs:?}");
}

#[test]
fn other_paths_are_not_read() {
    let mut bench = Bench::streaming();
    for path in
        ["/", "/head", "/services/a/1", "/locks/x", "/workers/watcher/lock", "/control/pause", "/edits"]
    {
        assert_eq!(bench.event(path, Kind::Created), [], "{path}");
    }
    assert_eq!(bench.feed.reads(), []);
}

#[test]
fn nothing_is_read_until_the_stream_is_built_again_after_a_reconnect() {
    let mut bench = Bench::streaming();
    assert_eq!(bench.step(Input::Connection(Connection::Lost)), [Output::Lost]);
    assert_eq!(bench.event("/assets/m/charts/a", Kind::Deleted), []);
    assert_eq!(bench.feed.reads(), []);
    assert_eq!(bench.step(Input::Connection(Connection::Back)), [Output::Rebuild(Why::Reconnect)]);
    bench.step(Input::Rebuilt(Zxid(20), vec![]));
    assert_eq!(bench.put().len(), 1);
}

#[test]
fn a_reply_that_was_lost_is_no_absence_and_breaks_the_stream() {
    let mut bench = Bench::streaming();
    bench.event("/assets/m/charts/a", Kind::Deleted);
    bench.feed.reads();
    assert_eq!(bench.step(Input::Answer(Answer { reply: Reply::Lost, upper: None })), [Output::Lost]);
    assert_eq!(bench.step(Input::Connection(Connection::Lost)), []);
    assert_eq!(bench.step(Input::Connection(Connection::Back)), [Output::Rebuild(Why::Reconnect)]);
}

#[test]
fn a_connection_that_stays_away_ends_the_term_and_so_does_a_lost_session() {
    let mut bench = Bench::streaming();
    bench.step(Input::Connection(Connection::Lost));
    assert_eq!(bench.wait(59), []);
    assert!(matches!(bench.wait(1)[..], [Output::Restart(_)]));
    assert!(matches!(Bench::streaming().step(Input::Connection(Connection::Over))[..], [Output::Restart(_)]));
}

#[test]
fn a_canary_that_is_heard_proves_the_stream_up_to_there() {
    let mut bench = Bench::streaming();
    assert_eq!(bench.wait(0), [Output::Beat]);
    bench.event("/assets/m/charts/a", Kind::Created);
    assert_eq!(bench.event(CANARY, Kind::Set), []);
    assert_eq!(bench.step(Input::Beaten(Zxid(12))), []);
    // What came before the canary is not on record yet.
    assert_eq!(bench.feed.mark(), None);
    bench.feed.reads();
    bench.step(Input::Answer(Answer { reply: Reply::Gone, upper: None }));
    assert_eq!(bench.feed.mark(), Some(Zxid(12)));
    assert_eq!(bench.wait(4), []);
    assert_eq!(bench.wait(1), [Output::Beat]);
}

#[test]
fn a_canary_that_stays_silent_means_a_dead_watch() {
    let mut bench = Bench::streaming();
    assert_eq!(bench.wait(0), [Output::Beat]);
    bench.step(Input::Beaten(Zxid(12)));
    assert_eq!(bench.wait(1), []);
    assert_eq!(bench.wait(1), [Output::Rebuild(Why::SilentCanary)]);
}

#[test]
fn the_whole_tree_is_compared_now_and_then() {
    let mut bench = Bench::streaming();
    assert_eq!(bench.wait(600), [Output::Rebuild(Why::Periodic)]);
}

#[test]
fn a_request_and_a_touched_generation_are_seen_at_once() {
    let mut bench = Bench::streaming();
    assert_eq!(bench.event("/generation", Kind::Set), [Output::CheckGeneration]);
    let request = "/control/resync/01ARZ3NDEKTSV4RRFFQ69G5FAV";
    assert_eq!(bench.event(request, Kind::Created), [Output::Rebuild(Why::Requested)]);
    assert_eq!(Bench::streaming().event(request, Kind::Deleted), []);
}

#[test]
fn a_live_znode_that_is_behind_freezes() {
    let mut bench = Bench::streaming();
    let path = "assets/m/charts/a".parse().expect("a path");
    bench.known = Tree::new([(path, Node { czxid: 11, mzxid: Zxid(15), version: 2 })].into());
    assert!(matches!(bench.put()[..], [Output::Freeze(_)]));
}

#[test]
fn more_events_than_may_wait_are_dropped_for_a_comparison() {
    let mut bench = Bench::streaming();
    let outputs: Vec<Output> =
        (0..=1_000).flat_map(|n| bench.event(&format!("/assets/m/charts/{n}"), Kind::Created)).collect();
    assert_eq!(outputs, [Output::Rebuild(Why::Overflow)]);
    assert_eq!(bench.feed.reads(), []);
}
