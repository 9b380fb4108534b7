//! A registry that does what it likes, against what must hold whatever it does. `SEED=n` repeats a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use asset::{Choose, HostPort};

use super::super::{Candidate, Change, Chooser, Health, Rules, Standing, Why};
use super::{MIN_HOLD, SETTLE, candidate, rules};

/// How often the registry changes in one run.
const STEPS: usize = 400;
const RUNS: u64 = 40;

/// xorshift64*: the same numbers from the same seed, everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        for (left, shift) in [(false, 12), (true, 25), (false, 27)] {
            self.0 ^= if left { self.0 << shift } else { self.0 >> shift };
        }
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    /// Four hosts, each there or not, healthy or not.
    fn registry(&mut self) -> Vec<Candidate> {
        let mut there: Vec<Candidate> = Vec::new();
        for host in ["h1", "h2", "h3", "h4"] {
            let health = match self.below(6) {
                0 | 1 => continue,
                2 => Health::Failing,
                3 => Health::Unknown,
                _ => Health::Passing,
            };
            there.push(Candidate { health, ..candidate(host) });
        }
        if self.below(4) == 0 {
            there.reverse();
        }
        there
    }
}

/// What must hold, said without looking at how it is made to.
struct Oracle {
    choose: Choose,
    hosts: Vec<HostPort>,
    changed: Option<Instant>,
    /// Of those that stand: since when each is lost without a break.
    lost: BTreeMap<HostPort, Instant>,
}

impl Oracle {
    fn is_lost(host: &HostPort, there: &[Candidate]) -> bool {
        !there.iter().any(|other| other.at == *host && other.health != Health::Failing)
    }

    fn see(&mut self, now: Instant, there: &[Candidate]) {
        for host in &self.hosts {
            if Oracle::is_lost(host, there) {
                self.lost.entry(host.clone()).or_insert(now);
            } else {
                self.lost.remove(host);
            }
        }
    }

    fn judge_change(&mut self, now: Instant, there: &[Candidate], change: &Change) {
        let picks: Vec<HostPort> = change.picks.iter().map(|pick| pick.at.clone()).collect();
        assert!(!picks.is_empty(), "something is chosen");
        for pick in &picks {
            let found = there.iter().find(|other| other.at == *pick).expect("what is chosen is registered");
            let was_chosen = self.hosts.contains(pick);
            assert!(
                found.health == Health::Passing || (was_chosen && found.health == Health::Unknown),
                "a new one has passed its check"
            );
        }
        if self.choose != Choose::All {
            assert_eq!(picks.len(), 1);
        }
        let forced = self.hosts.is_empty() || !self.lost.is_empty();
        if forced {
            let long = self.lost.values().any(|since| now >= *since + SETTLE);
            assert!(self.hosts.is_empty() || long, "lost for `settle` before it is replaced");
            assert_eq!(change.why == Why::Nothing, self.hosts.is_empty());
        } else {
            assert_eq!(change.why, Why::Better);
            let changed = self.changed.expect("something stands");
            assert!(now >= changed + MIN_HOLD, "at most one change of our own accord in `min_hold`");
            assert_ne!(self.choose, Choose::Sticky, "sticky moves only when it must");
        }
        self.lost.retain(|host, _| picks.contains(host));
        (self.hosts, self.changed) = (picks, Some(now));
    }

    /// After what is due at `now` is done, nothing lost stands longer than it may while there is another.
    fn judge_rest(&self, now: Instant, there: &[Candidate]) {
        let healthy = there.iter().any(|other| other.health == Health::Passing);
        let overdue = self.lost.values().any(|since| now >= *since + SETTLE);
        assert!(!(healthy && overdue), "replaced within `settle` as soon as there is another");
        assert!(!(healthy && self.hosts.is_empty()), "chosen at once where nothing stands");
    }
}

fn run(rules: Rules, seed: u64) {
    let choose = rules.choose;
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut chooser = Chooser::new(rules);
    let mut oracle = Oracle { choose, hosts: Vec::new(), changed: None, lost: BTreeMap::new() };
    let mut now = Instant::now();
    for _ in 0..STEPS {
        let there = numbers.registry();
        let end = now
            + Duration::from_millis(
                [100, 700, 2_500, 20_000][usize::try_from(numbers.below(4)).unwrap_or(0)],
            );
        loop {
            oracle.see(now, &there);
            let mut verdict = chooser.look(now, &there);
            if let Some(change) = verdict.change.take() {
                oracle.judge_change(now, &there, &change);
                chooser.stands(Some(Standing { hosts: oracle.hosts.clone(), since: now }));
                verdict = chooser.look(now, &there);
                assert_eq!(verdict.change, None, "a change leaves nothing to change");
            }
            oracle.judge_rest(now, &there);
            match verdict.wake_at {
                Some(wake_at) if wake_at < end => {
                    assert!(wake_at > now, "a wait has an end that is not now");
                    now = wake_at;
                }
                _ => break,
            }
        }
        now = end;
    }
}

#[test]
fn whatever_a_registry_does_a_choice_does_not_flap_and_what_is_lost_is_replaced() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => seed.parse().map_or(0..0, |seed: u64| seed..seed + 1),
        Err(_) => 0..RUNS,
    };
    assert!(!seeds.is_empty(), "SEED is a number");
    for seed in seeds {
        for choose in Choose::ALL {
            let ran = std::panic::catch_unwind(|| run(rules(choose), seed));
            assert!(ran.is_ok(), "SEED={seed} {choose:?}");
        }
    }
}

#[test]
fn the_oracle_finds_a_choice_that_comes_too_early_or_too_late() {
    let second = Duration::from_secs(1);
    let good = rules(Choose::First);
    let wrong = [
        Rules { settle: SETTLE - second, ..good.clone() },
        Rules { settle: SETTLE + second, ..good.clone() },
        Rules { min_hold: MIN_HOLD - second, ..good },
    ];
    for rules in wrong {
        let passed = (0..RUNS).all(|seed| std::panic::catch_unwind(|| run(rules.clone(), seed)).is_ok());
        assert!(!passed, "{rules:?} is wrong");
    }
}
