//! Any batching of any history gives what one record at a time gives.

use std::collections::{BTreeMap, BTreeSet};

use change::{Outcome, Verdict};
use proptest::prelude::*;
use uuid::Uuid;

use super::notation::{self, Notation};
use super::world::World;
use crate::work::{Deletes, Policy, Read, Selection, Work};

/// One change before it is known whether it can be: a znode that is not there cannot be deleted.
#[derive(Debug, Clone)]
enum Step {
    Put { place: usize, uuid: u8, name: u8, refers: u8 },
    Choose { place: usize, chosen: u8 },
    Set { place: usize, value: u8 },
    Bad { place: usize },
    Delete { place: usize },
    Again { place: usize },
    Approve { place: usize },
    Begin { id: u8 },
    End { id: u8, unread: bool },
    Fence { fence: u8 },
    After { minutes: u8 },
}

const PLACES: &[&str] = &[
    "databases/a",
    "databases/b",
    "datasets/s",
    "datasets/t",
    "charts/c",
    "charts/e",
    "charts/f",
    "dashboards/d",
    "dashboards/g",
    "/other/charts/c",
    "//endpoints/e",
    "//endpoints/f",
    "//settings/config/ROW_LIMIT",
    "//settings/endpoints/e",
];

/// So many of them are assets, so many endpoints, and the rest settings.
const ASSETS: usize = 10;
const ENDPOINTS: usize = 2;

fn step() -> impl Strategy<Value = Step> {
    let place = 0..PLACES.len();
    let settings = ASSETS + ENDPOINTS..PLACES.len();
    prop_oneof![
        3 => (ASSETS..ASSETS + ENDPOINTS, 0..3_u8).prop_map(|(place, chosen)| Step::Choose { place, chosen }),
        1 => (settings, 0..3_u8).prop_map(|(place, value)| Step::Set { place, value }),
        12 => (0..ASSETS, 0..3_u8, 0..3_u8, 0..4_u8)
            .prop_map(|(place, uuid, name, refers)| Step::Put { place, uuid, name, refers }),
        1 => place.clone().prop_map(|place| Step::Bad { place }),
        5 => place.clone().prop_map(|place| Step::Delete { place }),
        2 => place.clone().prop_map(|place| Step::Again { place }),
        1 => place.prop_map(|place| Step::Approve { place }),
        1 => (0..2_u8).prop_map(|id| Step::Begin { id }),
        1 => (0..2_u8, any::<bool>()).prop_map(|(id, unread)| Step::End { id, unread }),
        1 => (1..4_u8).prop_map(|fence| Step::Fence { fence }),
        1 => (1..12_u8).prop_map(|minutes| Step::After { minutes }),
    ]
}

/// Writes the steps down as a script; each is on a line of its own unless it joins the one before.
fn script(steps: &[(Step, bool)]) -> String {
    let mut live = BTreeSet::new();
    let mut known = BTreeSet::new();
    let mut lines: Vec<String> = Vec::new();
    let mut touched = BTreeSet::new();
    for (step, joins) in steps {
        let (change, place) = match step {
            Step::Put { place, uuid, name, refers } => (Some(put(*place, *uuid, *name, *refers)), *place),
            Step::Choose { place, chosen } => {
                (Some(format!("+{} h{chosen}:1{chosen}", PLACES[*place])), *place)
            }
            Step::Set { place, value } => (Some(set(PLACES[*place], *value)), *place),
            Step::Bad { place } => (Some(format!("+{} {{", PLACES[*place])), *place),
            Step::Delete { place } if live.contains(place) => (Some(format!("-{}", PLACES[*place])), *place),
            Step::Again { place } if known.contains(place) => (Some(format!("={}", PLACES[*place])), *place),
            Step::Approve { place } if known.contains(place) => {
                lines.push(format!("approve {}", PLACES[*place]));
                touched.clear();
                continue;
            }
            Step::Delete { .. } | Step::Again { .. } | Step::Approve { .. } => continue,
            Step::Begin { id } => (None, usize::from(*id)),
            Step::End { id, unread } => {
                lines.push(format!("end {id}{}", if *unread { " charts" } else { "" }));
                touched = BTreeSet::from([usize::MAX]);
                continue;
            }
            Step::Fence { fence } => {
                lines.push(format!("fence {fence}"));
                touched = BTreeSet::from([usize::MAX]);
                continue;
            }
            Step::After { minutes } => {
                lines.push(format!("after {minutes}m"));
                touched = BTreeSet::from([usize::MAX]);
                continue;
            }
        };
        let Some(change) = change else {
            lines.push(format!("begin {place}"));
            touched = BTreeSet::from([usize::MAX]);
            continue;
        };
        if change.starts_with('-') {
            live.remove(&place);
        } else if change.starts_with('+') {
            live.insert(place);
            known.insert(place);
        }
        match lines
            .last_mut()
            .filter(|_| *joins && !touched.contains(&usize::MAX) && !touched.contains(&place))
        {
            Some(line) if !line.starts_with("approve") => line.push_str(&format!(" ; {change}")),
            _ => {
                lines.push(change);
                touched.clear();
            }
        }
        touched.insert(place);
    }
    lines.join("\n")
}

fn set(place: &str, value: u8) -> String {
    if place.contains("config") {
        format!("+{place} {value}")
    } else {
        format!(r#"+{place} {{"v":1,"registry":"hostport","path":"/p{value}"}}"#)
    }
}

fn put(place: usize, uuid: u8, name: u8, refers: u8) -> String {
    let path = PLACES[place];
    let fields = if path.contains("databases") {
        let endpoint = ["", "", " endpoint=e", " endpoint=f"][usize::from(refers % 4)];
        format!("#{} name=n{name}{endpoint}", 10 + uuid)
    } else if path.contains("datasets") {
        format!("#{} name=n{name} db={}", 20 + uuid, 10 + refers % 3)
    } else if path.contains("charts") {
        format!("#{} name=n{name} ds={}", 30 + uuid, 20 + refers % 3)
    } else {
        let slug = if name == 0 { String::new() } else { format!(" slug=s{name}") };
        format!("#{} name=n{name} charts={},{}{slug}", 40 + uuid, 30 + refers % 3, 30 + uuid)
    };
    format!("+{path}{fields}")
}

/// Batching changes one thing of what is told: what was written and written again in the same batch is superseded.
fn gist(outcome: &Outcome, alone: &Outcome) -> String {
    let superseded = outcome.verdict == Verdict::Superseded
        && matches!(alone.verdict, Verdict::Applied | Verdict::Deleted | Verdict::Superseded);
    let verdict = if superseded { &alone.verdict } else { &outcome.verdict };
    notation::outcome(&Outcome { verdict: verdict.clone(), ..outcome.clone() })
}

/// What the rows held before, without the ids of charts in it: how many are reserved, and so which, is the batch's.
fn before(outcome: &Outcome) -> Option<String> {
    let parts = outcome.before.as_deref()?.split("\"chartId\":");
    Some(parts.map(|part| part.trim_start_matches(|char: char| char.is_ascii_digit())).collect())
}

/// The rows are those of the applied documents, each once, and nothing that is pending could have been applied.
fn sound(world: &World, script: &str) {
    let mut applied: BTreeMap<Uuid, String> = BTreeMap::new();
    for entry in world.ledger.entries().values() {
        if let Some((its, (_, uuid))) = entry.applied.as_ref().and_then(|its| Some((its, its.asset?))) {
            let twice = applied.insert(uuid, its.digest.clone());
            assert!(twice.is_none(), "{uuid} is applied at two paths in\n{script}");
        }
    }
    assert_eq!(world.digests(), applied, "the rows and the ledger in\n{script}");
    let astray = world.astray();
    assert!(astray.is_empty(), "do not follow their endpoints: {astray:?} in\n{script}");
    let mut again = world.clone();
    let moved = again.apply(&Work::Reconcile(Selection::Pending));
    // Of several reasons to wait, another one may come to be told.
    let moved: Vec<String> = moved
        .iter()
        .map(notation::outcome)
        .filter(|line| !line.contains(" held: ") && !line.contains(" rejected: "))
        .collect();
    assert!(moved.is_empty(), "left undone: {moved:?} in\n{script}");
    let still: Vec<String> =
        again.apply(&Work::Reconcile(Selection::Pending)).iter().map(notation::outcome).collect();
    assert!(still.is_empty(), "told again and again: {still:?} in\n{script}");
}

fn check(steps: &[(Step, bool)], cuts: &[usize], policy: &Policy) {
    check_script(&script(steps), cuts, policy);
}

fn check_script(script: &str, cuts: &[usize], policy: &Policy) {
    let records = Notation::default().read(script);
    let mut singly = World::new(policy.clone());
    let mut told = Vec::new();
    for read in &records {
        told.extend(singly.records(vec![read.clone()]));
        if policy.deletes != Deletes::Ignore {
            sound(&singly, script);
        }
    }
    let mut batched = World::new(policy.clone());
    let mut batched_told = Vec::new();
    let mut rest: Vec<Read> = records;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let tail = rest.split_off(cut.min(rest.len()));
        if !rest.is_empty() {
            batched_told.extend(batched.records(rest));
        }
        rest = tail;
    }
    assert_eq!(batched_told.len(), told.len(), "the outcomes of\n{script}");
    let pairs = || batched_told.iter().zip(&told);
    let gists: Vec<String> = pairs().map(|(outcome, alone)| gist(outcome, alone)).collect();
    let alone: Vec<String> = told.iter().map(notation::outcome).collect();
    assert_eq!(gists.join("\n"), alone.join("\n"), "the outcomes of\n{script}");
    let befores = pairs().all(|(outcome, alone)| before(outcome) == before(alone));
    assert!(befores, "what the rows held before in\n{script}");
    // Rows that were left alone when their znode went are nobody's edit either, but known to nobody.
    let by_hand = told.iter().any(|outcome| outcome.before.is_some()) && policy.deletes != Deletes::Ignore;
    assert!(!by_hand, "nobody has edited by hand in\n{script}");
    assert_eq!(batched.ledger.stream, singly.ledger.stream, "the position after\n{script}");
    assert_eq!(batched.ledger.entries(), singly.ledger.entries(), "the ledger after\n{script}");
    assert_eq!(batched.digests(), singly.digests(), "the rows after\n{script}");
}

fn policies() -> impl Strategy<Value = Policy> {
    let deletes =
        prop_oneof![6 => Just(Deletes::Apply), 1 => Just(Deletes::Hold), 1 => Just(Deletes::Ignore)];
    (deletes, 0..3_u64).prop_map(|(deletes, guard_count)| Policy {
        deletes,
        guard_count,
        ..Policy::default()
    })
}

proptest! {
    // `PROPTEST_CASES` says how many. What it found so far stands in the table below.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_batching_gives_what_one_record_at_a_time_gives(
        steps in proptest::collection::vec((step(), proptest::bool::weighted(0.3)), 1..40),
        cuts in proptest::collection::vec(1..8_usize, 0..10),
        policy in policies(),
    ) {
        check(&steps, &cuts, &policy);
    }
}

#[test]
fn what_random_histories_have_found_stays_mended() {
    for script in [
        // A reason to wait that a passing claim of another project hid.
        "+datasets/s#22 name=n0 db=10
         +databases/a#10 name=n0
         +charts/f#30 name=n0 ds=20
         +charts/e#32 name=n0 ds=22
         +charts/e#30 name=n0 ds=20
         +/other/charts/c#32 name=n0 ds=20",
        // Two znodes that swap uuids and names while one of them is used.
        "+datasets/s#20 name=n0 db=10
         +databases/b#10 name=n1 ; +databases/a#12 name=n2
         +databases/a#11 name=n1
         +databases/b#12 name=n0
         +databases/a#10 name=n0",
        // Rows that are about to go, taken by another project's znode that waited for them.
        "+charts/f#31 name=n0 ds=22
         +databases/a#10 name=n0
         +datasets/s#22 name=n0 db=10
         +/other/charts/c#31 name=n0 ds=22
         +charts/f#32 name=n0 ds=22",
        // A move to another project past an older znode that waits for the same uuid.
        "+charts/f#30 name=n0 ds=22
         +databases/a#12 name=n0
         +datasets/s#22 name=n0 db=12
         +charts/c#30 name=n0 ds=20
         +charts/f#31 name=n0 ds=22
         +charts/e#30 name=n0 ds=20
         +/other/charts/c#30 name=n0 ds=22 ; -charts/c",
        // A dashboard that is put again together with a chart that it lacked.
        "+databases/a#10 ; +datasets/s#20 name=n0 db=10
         +dashboards/g#40 charts=30,31
         +dashboards/g#40 charts=30,31 ; +charts/c#30 ds=20
         -charts/c ; +dashboards/g#40 charts=30,31 ; +charts/e#31 ds=20",
        // A changed uuid that was rejected at first and must not slip past the guard later.
        "+datasets/s#20 name=n0 db=10
         +databases/b#11 name=n0
         +databases/b#10 name=n1
         +databases/a#12 name=n1
         +databases/a#11 name=n0",
        // Rows that were left alone, taken up again: they name charts by ids.
        "+charts/c#31 name=n0 ds=21
         +dashboards/g#40 name=n0 charts=30,30
         +datasets/s#21 name=n0 db=10
         +databases/a#10 name=n0
         +charts/c#30 name=n0 ds=21
         +dashboards/g#41 name=n0 charts=30,31
         +dashboards/d#40 name=n0 charts=30,30",
    ] {
        for deletes in [Deletes::Apply, Deletes::Hold, Deletes::Ignore] {
            for guard_count in [0, 5] {
                check_script(script, &[2], &Policy { deletes, guard_count, ..Policy::default() });
            }
        }
    }
}
