use change::{Lifetime, Zxid};

use super::*;

fn znode(json: serde_json::Value) -> Found {
    Found {
        czxid: 1,
        mzxid: Zxid(1),
        version: 4,
        mtime: Millis(0),
        lifetime: Lifetime::Persistent,
        bytes: json.to_string().into_bytes(),
    }
}

fn request(state: &str, since: i64, nodes: &[&str]) -> Found {
    znode(serde_json::json!({
        "v": 1, "by": "ana", "reason": "new flags", "since": since, "nodes": nodes, "state": state,
    }))
}

fn progress(state: &str) -> Found {
    znode(serde_json::json!({"v": 1, "state": state, "since": 1}))
}

fn control(nodes: Vec<(&str, Found)>) -> BTreeMap<String, Found> {
    nodes.into_iter().map(|(path, found)| (path.to_owned(), found)).collect()
}

const HOUR: Duration = Duration::from_secs(3600);

/// What node `a` has to do at time 10.
fn check(nodes: Vec<(&str, Found)>, wanted: &str) {
    let restarts = restarts("superset", &control(nodes));
    let told = match task("a", &restarts, Millis(10), HOUR) {
        Task::None => "nothing".to_owned(),
        Task::Queue(restart) => format!("queue for {}", restart.id),
        Task::OwnUp(restart) => format!("own up to {}", restart.id),
        Task::GiveUp(restart) => format!("give up {}", restart.id),
    };
    assert_eq!(told, wanted);
}

#[test]
fn a_node_queues_for_the_oldest_running_request_that_names_it() {
    check(vec![], "nothing");
    check(vec![("restart/superset/1", request("running", 0, &["a", "b"]))], "queue for 1");
    check(vec![("restart/superset/1", request("running", 0, &["b"]))], "nothing");
    check(vec![("restart/other/1", request("running", 0, &["a"]))], "nothing");
    for ended in ["done", "failed", "cancelled"] {
        check(vec![("restart/superset/1", request(ended, 0, &["a"]))], "nothing");
    }
    check(
        vec![
            ("restart/superset/1", request("failed", 0, &["a"])),
            ("restart/superset/1/a", progress("waiting")),
            ("restart/superset/2", request("running", 0, &["a"])),
            ("restart/superset/3", request("running", 0, &["a"])),
        ],
        "queue for 2",
    );
}

#[test]
fn a_node_that_was_through_does_nothing_and_one_that_was_lost_owns_up() {
    let with = |state| {
        vec![
            ("restart/superset/1", request("running", 0, &["a", "b"])),
            ("restart/superset/1/a", progress(state)),
            ("restart/superset/1/b", progress("starting")),
        ]
    };
    check(with("waiting"), "queue for 1");
    for through in ["done", "failed"] {
        check(with(through), "nothing");
    }
    for away in ["draining", "restarting", "starting"] {
        check(with(away), "own up to 1");
    }
}

#[test]
fn a_request_that_is_too_old_or_of_no_form_is_nobodys_wish() {
    check(vec![("restart/superset/1", request("running", -3_700_000, &["a"]))], "give up 1");
    check(vec![("restart/superset/1", request("done", -3_700_000, &["a"]))], "nothing");
    check(vec![("restart/superset/1", znode(serde_json::json!({"v": 1})))], "nothing");
    check(
        vec![
            ("restart/superset/1", znode(serde_json::json!("x"))),
            ("restart/superset/1/a", progress("done")),
        ],
        "nothing",
    );
}

#[test]
fn a_request_that_nothing_happens_to_is_given_up_by_any_node_once_it_is_too_old() {
    let with = |moved: i64, state: &str| {
        let progress = znode(serde_json::json!({"v": 1, "state": state, "since": moved}));
        vec![
            ("restart/superset/1", request("running", -9_000_000, &["b", "c"])),
            ("restart/superset/1/b", progress),
        ]
    };
    check(with(-3_600_000, "done"), "give up 1");
    check(with(-3_500_000, "done"), "nothing");
    // Whether the lock of this one is held still, is for whoever gives up to see.
    check(with(-3_600_000, "starting"), "give up 1");
    let mut both = with(-3_600_000, "done");
    both.push(("restart/superset/2", request("running", 0, &["a"])));
    check(both, "queue for 2");
}

#[test]
fn a_node_waits_so_long_from_its_first_turn_or_from_when_another_came_back() {
    let begin = Instant::now();
    let at = |secs| begin + Duration::from_secs(secs);
    let within = Duration::from_secs(10);
    let mut patience = Patience::default();
    assert!(!patience.is_over(within, at(100)), "its turn has not come");
    patience.turn(0, at(100));
    patience.turn(0, at(109));
    assert!(!patience.is_over(within, at(110)));
    assert!(patience.is_over(within, at(111)));
    patience.turn(1, at(170));
    assert!(!patience.is_over(within, at(180)));
    assert!(patience.is_over(within, at(181)));
}

#[test]
fn a_request_is_through_when_all_of_its_nodes_are() {
    let with = |b: &str| {
        let nodes = vec![
            ("restart/superset/1", request("running", 0, &["a", "b"])),
            ("restart/superset/1/a", progress("done")),
            ("restart/superset/1/b", progress(b)),
            ("restart/superset/1/c", progress("failed")),
        ];
        restarts("superset", &control(nodes)).remove(0)
    };
    assert!(with("done").is_through());
    assert!(!with("starting").is_through());
    assert_eq!(with("done").version, 4);
}

/// Whether node `a` may leave with at most one away; the fleet is written `a+ b- c~`: registered, not, drained.
fn leaves(fleet: &str, wanted: bool) {
    let mut parsed = Fleet::default();
    for word in fleet.split(' ') {
        let (node, mark) = word.split_at(1);
        parsed.nodes.insert(node.to_owned());
        match mark {
            "+" => parsed.registered.insert(node.to_owned()),
            "~" => parsed.drained.insert(node.to_owned()),
            _ => false,
        };
    }
    assert_eq!(parsed.may_leave("a", 1).is_ok(), wanted, "{fleet}: {:?}", parsed.may_leave("a", 1));
}

#[test]
fn a_node_leaves_only_if_enough_others_are_registered() {
    leaves("a+", true);
    leaves("a+ b+", true);
    leaves("a+ b-", false);
    leaves("a+ b+ c-", false);
    leaves("a+ b+ c~", true);
    leaves("a+ b~", true);
}

#[test]
fn a_node_that_is_out_already_may_always_be_restarted() {
    leaves("a- b-", true);
    leaves("a- b+", true);
    leaves("a~ b-", true);
}

#[test]
fn the_newest_ended_requests_are_kept_and_the_running_ones() {
    let nodes = vec![
        ("restart/superset/1", request("running", 0, &["a"])),
        ("restart/superset/2", request("done", 0, &["a"])),
        ("restart/superset/3", request("failed", 0, &["a"])),
        ("restart/superset/4", request("done", 0, &["a"])),
    ];
    let all = restarts("superset", &control(nodes));
    let ids = |kept| outdated(&all, kept).iter().map(|restart| restart.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(2), ["2"]);
    assert_eq!(ids(0), ["2", "3", "4"]);
    assert_eq!(ids(9), Vec::<String>::new());
}
