use std::time::{Duration, Instant};

use asset::Choose;
use expect_test::{Expect, expect};

use super::{Candidate, Chooser, Health, Rules, Standing, Trouble};

mod random;

const SETTLE: Duration = Duration::from_secs(2);
const MIN_HOLD: Duration = Duration::from_secs(30);

fn rules(choose: Choose) -> Rules {
    Rules { name: "hive-prod".to_owned(), choose, settle: SETTLE, min_hold: MIN_HOLD }
}

/// `h1` passes, `h1?` was not checked yet, `h1!` fails.
fn candidate(word: &str) -> Candidate {
    let (host, health) = match word.strip_suffix(['?', '!']) {
        None => (word, Health::Passing),
        Some(host) if word.ends_with('?') => (host, Health::Unknown),
        Some(host) => (host, Health::Failing),
    };
    let at = format!("{host}:1").parse().expect("a host");
    Candidate { at, node: format!("{host}-znode"), health }
}

/// An endpoint and the time, in seconds since the beginning.
struct World {
    chooser: Chooser,
    epoch: Instant,
    candidates: Vec<Candidate>,
    lines: Vec<String>,
}

impl World {
    fn new(rules: Rules) -> World {
        World {
            chooser: Chooser::new(rules),
            epoch: Instant::now(),
            candidates: Vec::new(),
            lines: Vec::new(),
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.epoch + Duration::from_secs_f64(seconds)
    }

    /// Looks, makes the change, and looks again, as the worker does; returns when to look again.
    fn look(&mut self, now: Instant) -> Option<Instant> {
        let seconds = (now - self.epoch).as_secs_f64();
        let mut verdict = self.chooser.look(now, &self.candidates);
        if let Some(change) = verdict.change.take() {
            self.lines.push(format!("{seconds}: {change}"));
            let hosts = change.picks.into_iter().map(|pick| pick.at).collect();
            self.chooser.stands(Some(Standing { hosts, since: now }));
            verdict = self.chooser.look(now, &self.candidates);
            assert_eq!(verdict.change, None, "a change leaves nothing to change");
        }
        let trouble = verdict.trouble.map(|trouble| match trouble {
            Trouble::Empty => "nothing registered",
            Trouble::NoneHealthy => "none healthy",
        });
        if let Some(trouble) = trouble {
            self.lines.push(format!("{seconds}: {trouble}"));
        }
        verdict.wake_at
    }

    /// Each line is a time and what is registered from then on.
    fn play(&mut self, script: &str) {
        let lines: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        for (index, line) in lines.iter().enumerate() {
            let (seconds, words) = line.split_once(':').expect("a time and what is there");
            let until = lines.get(index + 1).map(|next| next.split_once(':').expect("a time").0);
            let end = self.at(until.map_or(1_000.0, |text| text.parse().expect("a number")));
            self.candidates = words.split_whitespace().map(candidate).collect();
            let mut next = Some(self.at(seconds.parse().expect("a number")));
            while let Some(now) = next.filter(|now| *now < end) {
                next = self.look(now);
            }
        }
    }
}

/// What happens to an endpoint without a choice.
fn check(choose: Choose, script: &str, want: &Expect) {
    let mut world = World::new(rules(choose));
    world.play(script);
    want.assert_eq(&world.lines.join("\n"));
}

/// The same where a host stands since long before.
fn check_standing(choose: Choose, hosts: &str, script: &str, want: &Expect) {
    let mut world = World::new(rules(choose));
    let hosts = hosts.split_whitespace().map(|host| candidate(host).at).collect();
    world.chooser.stands(Some(Standing { hosts, since: world.epoch }));
    world.epoch += Duration::from_secs(60);
    world.play(script);
    want.assert_eq(&world.lines.join("\n"));
}

#[test]
fn where_nothing_stands_one_is_chosen_at_once_that_has_passed_its_check() {
    check(Choose::Sticky, "0: h1 h2", &expect!["0: h1:1, as nothing was chosen"]);
    check(
        Choose::Sticky,
        "0: h1? h2?
         1: h1! h2",
        &expect![[r#"
            0: none healthy
            1: h2:1, as nothing was chosen"#]],
    );
}

#[test]
fn one_that_is_gone_is_replaced_settle_after_that_was_noticed() {
    check_standing(
        Choose::Sticky,
        "h1",
        "0: h1 h2\n5: h2",
        &expect!["7: h2:1 instead of h1:1, whose znode is gone"],
    );
    check_standing(
        Choose::First,
        "h1",
        "0: h1 h2\n5: h2",
        &expect!["7: h2:1 instead of h1:1, whose znode is gone"],
    );
    check_standing(
        Choose::All,
        "h1 h2",
        "0: h1 h2\n5: h2",
        &expect!["7: h2:1 instead of h1:1,h2:1; of h1:1 the znode is gone"],
    );
}

#[test]
fn further_events_do_not_put_a_replacement_off_and_it_is_judged_by_what_is_there_then() {
    check_standing(
        Choose::Sticky,
        "h1",
        "0: h1 h2
         5: h2
         6: h2 h3
         6.9: h3",
        &expect!["7: h3:1 instead of h1:1, whose znode is gone"],
    );
}

#[test]
fn one_that_comes_back_in_time_stays_however_often_it_goes() {
    check_standing(
        Choose::Sticky,
        "h1",
        "0: h1 h2
         5: h2
         6.5: h1 h2
         7.5: h2
         9: h2 h1
         10: h1! h2
         11: h1 h2",
        &expect![""],
    );
}

#[test]
fn one_that_fails_its_check_is_replaced_and_one_that_was_not_checked_yet_stays() {
    check_standing(
        Choose::Sticky,
        "h1",
        "0: h1? h2
         5: h1! h2",
        &expect!["7: h2:1 instead of h1:1, whose check fails"],
    );
}

#[test]
fn when_none_is_left_the_last_one_stays_and_that_is_told() {
    check_standing(
        Choose::Sticky,
        "h1",
        "0: h1
         5:
         9: h1
         10: h1! h2!",
        &expect![[r#"
            5: nothing registered
            10: none healthy"#]],
    );
    check_standing(
        Choose::Sticky,
        "h1",
        "0:
         60: h2? h3",
        &expect![[r#"
            0: nothing registered
            60: h3:1 instead of h1:1, whose znode is gone"#]],
    );
}

#[test]
fn a_change_that_nothing_forces_waits_for_settle_and_for_min_hold() {
    check_standing(
        Choose::First,
        "h2",
        "0: h1 h2",
        &expect!["2: h1:1 instead of h2:1, as the registry has it now"],
    );
    check(
        Choose::First,
        "0: h2
         3: h1 h2",
        &expect![[r#"
            0: h2:1, as nothing was chosen
            30: h1:1 instead of h2:1, as the registry has it now"#]],
    );
    check_standing(Choose::Sticky, "h2", "0: h1 h2", &expect![""]);
    check_standing(
        Choose::All,
        "h1",
        "0: h1 h2",
        &expect!["2: h1:1,h2:1 instead of h1:1, as the registry has it now"],
    );
}

#[test]
fn one_that_comes_and_goes_never_becomes_the_better_one() {
    check_standing(
        Choose::First,
        "h2",
        "0: h1 h2
         1.5: h2
         3: h1 h2
         4.5: h1! h2
         6: h1 h2
         7.5: h2",
        &expect![""],
    );
}

#[test]
fn another_order_of_the_same_hosts_changes_nothing() {
    check_standing(Choose::All, "h1 h2", "0: h2 h1", &expect![""]);
}

#[test]
fn at_random_each_endpoint_has_its_own_and_every_run_the_same() {
    let chosen = |name: &str, there: &str| {
        let mut world = World::new(Rules { name: name.to_owned(), ..rules(Choose::Random) });
        world.play(&format!("0: {there}"));
        world.lines.join("\n")
    };
    let of: Vec<String> = ["a", "b", "c", "d"].map(|name| chosen(name, "h1 h2 h3 h4")).to_vec();
    expect![[r#"
        0: h3:1, as nothing was chosen
        0: h4:1, as nothing was chosen
        0: h2:1, as nothing was chosen
        0: h1:1, as nothing was chosen"#]]
    .assert_eq(&of.join("\n"));
    assert_eq!(chosen("a", "h4 h3 h2 h1"), of[0], "the order of registration means nothing");
}

#[test]
fn at_random_one_that_comes_takes_only_what_it_wins() {
    let name = |n: usize| format!("endpoint-{n}");
    let chosen = |n: usize, there: &[Candidate]| {
        let mut chooser = Chooser::new(Rules { name: name(n), ..rules(Choose::Random) });
        let change = chooser.look(Instant::now(), there).change.expect("nothing stood");
        change.picks[0].at.clone()
    };
    let there: Vec<Candidate> = ["h1", "h2", "h3", "h4", "h5"].map(candidate).to_vec();
    let (before, after) = (&there[..4], &there[..]);
    let mut moved = 0;
    for n in 0..1_000 {
        let (old, new) = (chosen(n, before), chosen(n, after));
        assert!(old == new || new == there[4].at, "{} moved from {old} to {new}", name(n));
        moved += usize::from(old != new);
    }
    assert!((120..=280).contains(&moved), "a fifth of 1,000 moves, not {moved}");
}
