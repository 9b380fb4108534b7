//! One endpoint: what it follows, what stands, and what a person should know of it. No I/O.

use std::time::{Duration, Instant};

use asset::{Check, Chosen, Follow, Group, HostPort, Setting, Source, parse_chosen, parse_setting};
use change::{Lifetime, Millis};
use zk::{Expect, Found};

use super::sources::{Key, View};
use crate::check::{Prober, Target};
use crate::choose::{Candidate, Change, Chooser, Health, Rules, Standing, Trouble};

/// What an endpoint follows, and what became of it.
pub(super) struct Endpoint {
    name: String,
    /// The newest setting that could be read.
    pub(super) follow: Option<Follow>,
    /// Which bytes of the setting were read last.
    setting: Option<(i64, i32)>,
    setting_fault: Option<String>,
    chooser: Chooser,
    pub(super) known: Known,
    trouble: Option<Trouble>,
    /// When to look again.
    pub(super) wake_at: Option<Instant>,
    /// Why its znode could not be written, and when that is tried again.
    pub(super) refused: Option<(String, Instant)>,
}

/// What stands at `endpoints/<name>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Its life and version; `None` if it is not there.
    at: Option<(i64, i32)>,
    /// When it was written.
    pub(super) since: Option<Millis>,
    pub(super) hosts: Vec<HostPort>,
    fault: Option<String>,
}

/// The clocks of one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) clock: Instant,
    pub(super) wall: Millis,
}

impl Known {
    pub(super) fn of(name: &str, found: Option<&Found>) -> Known {
        let Some(found) = found else { return Known::default() };
        let (hosts, fault) = match parse_chosen(name, &found.bytes) {
            Ok(chosen) => (chosen.chosen, None),
            Err(faults) => (Vec::new(), Some(joined(&faults))),
        };
        Known { at: Some((found.czxid, found.version)), since: Some(found.mtime), hosts, fault }
    }

    /// Whether that is what was seen.
    pub(super) fn is(&self, found: Option<&Found>) -> bool {
        self.at == found.map(|found| (found.czxid, found.version))
    }

    /// What a write must find.
    pub(super) fn expect(&self) -> Expect {
        self.at.map_or(Expect::Absent, |(czxid, version)| Expect::Is { czxid, version })
    }
}

impl Endpoint {
    pub(super) fn new(name: &str) -> Endpoint {
        let unset = Rules {
            name: name.to_owned(),
            choose: asset::Choose::Sticky,
            settle: Follow::DEFAULT_SETTLE,
            min_hold: Follow::DEFAULT_MIN_HOLD,
        };
        Endpoint {
            name: name.to_owned(),
            follow: None,
            setting: None,
            setting_fault: None,
            chooser: Chooser::new(unset),
            known: Known::default(),
            trouble: None,
            wake_at: None,
            refused: None,
        }
    }

    /// Reads the setting, if it is another than the one read last. One that cannot be read leaves the last good one.
    pub(super) fn read_setting(&mut self, found: &Found) {
        let at = (found.czxid, found.version);
        if self.setting == Some(at) {
            return;
        }
        self.setting = Some(at);
        self.setting_fault = None;
        if found.lifetime != Lifetime::Persistent {
            self.setting_fault =
                Some("it goes with the session of who wrote it; create it persistent".to_owned());
            return;
        }
        match parse_setting(Group::Endpoints, &self.name, &found.bytes) {
            Ok(Setting::Follow(follow)) => {
                self.chooser.set_rules(Rules {
                    name: self.name.clone(),
                    choose: follow.choose,
                    settle: follow.settle,
                    min_hold: follow.min_hold,
                });
                self.follow = Some(follow);
            }
            Ok(_) => self.setting_fault = Some("it is no endpoint's setting".to_owned()),
            Err(faults) => self.setting_fault = Some(joined(&faults)),
        }
    }

    pub(super) fn key(&self) -> Option<Key> {
        let follow = self.follow.as_ref()?;
        Some(Key { registry: follow.registry, connect: follow.connect.clone(), path: follow.path.clone() })
    }

    fn check(&self) -> Option<&Check> {
        self.follow.as_ref().and_then(|follow| follow.check.as_ref())
    }

    /// What has to be checked for it.
    pub(super) fn targets<'a>(&'a self, view: &'a View) -> impl Iterator<Item = Target> + 'a {
        let instances = view.registered.instances.iter();
        self.check().into_iter().flat_map(move |check| {
            instances.clone().map(move |instance| Target::new(instance.at.clone(), check))
        })
    }

    /// What is registered, and how it is.
    pub(super) fn candidates(&self, view: &View, prober: &Prober) -> Vec<(Candidate, Option<String>)> {
        let candidate = |instance: &crate::registry::Instance| {
            let (health, why) = match self.check() {
                None => (Health::Passing, None),
                Some(check) => prober.health(&Target::new(instance.at.clone(), check)),
            };
            // Good enough to stay, not to be chosen.
            let health = if instance.stale && health == Health::Passing { Health::Unknown } else { health };
            let (at, node) = (instance.at.clone(), instance.node.clone());
            (Candidate { at, node, health }, why.map(ToOwned::to_owned))
        };
        view.registered.instances.iter().map(candidate).collect()
    }

    /// Takes over what stands at `endpoints/<name>`.
    pub(super) fn stands(&mut self, known: Known, now: Now) {
        let age = known.since.map_or(0, |since| now.wall.0.saturating_sub(since.0));
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        // A clock that cannot go back so far, since the machine's start, is long enough ago too.
        let since = now.clock.checked_sub(age).unwrap_or(now.clock);
        let standing = || Standing { hosts: known.hosts.clone(), since };
        self.chooser.stands((!known.hosts.is_empty()).then(standing));
        self.known = known;
    }

    /// Decides; nothing is decided by a registry that is not live.
    pub(super) fn look(&mut self, view: &View, prober: &Prober, now: Now) -> Option<Change> {
        (self.wake_at, self.trouble) = (None, None);
        // What cannot be read may be a newer setkeeper's: whoever wrote it knows more than we do.
        if self.follow.is_none() || !view.live || self.known.fault.is_some() {
            return None;
        }
        if let Some((_, again)) = self.refused {
            if now.clock < again {
                self.wake_at = Some(again);
                return None;
            }
            self.refused = None;
        }
        let candidates: Vec<Candidate> =
            self.candidates(view, prober).into_iter().map(|(candidate, _)| candidate).collect();
        let verdict = self.chooser.look(now.clock, &candidates);
        self.wake_at = verdict.wake_at;
        self.trouble = verdict.trouble;
        verdict.change
    }

    /// The znode that a change comes to.
    pub(super) fn chosen(&self, change: &Change) -> Option<Chosen> {
        let key = self.key()?;
        let from = Source {
            registry: key.registry,
            connect: key.connect,
            path: key.path,
            nodes: change.picks.iter().map(|pick| pick.node.clone()).collect(),
        };
        let chosen = change.picks.iter().map(|pick| pick.at.clone()).collect();
        Some(Chosen { endpoint: self.name.clone(), chosen, from: Some(from) })
    }

    /// All that a person should know.
    pub(super) fn problems(&self, view: &View) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(fault) = &self.setting_fault {
            let then = if self.follow.is_some() { "the last good one counts" } else { "nothing is followed" };
            problems.push(format!("its setting cannot be read, {then}: {fault}"));
        }
        if let Some(fault) = &self.known.fault {
            problems.push(format!(
                "what stands at endpoints/{} cannot be read and is not written over; mend it, or delete it to have it \
                 chosen anew: {fault}",
                self.name
            ));
        }
        let stays = match &self.known.hosts[..] {
            [] => "nothing is chosen yet".to_owned(),
            hosts => format!("{} stays", list(hosts)),
        };
        if let Some(trouble) = &view.trouble {
            problems.push(format!("{trouble}; {stays}"));
        } else if self.follow.is_some() && !view.live {
            problems.push(format!("the registry has not been heard from yet; {stays}"));
        }
        match self.trouble {
            None => {}
            Some(Trouble::Empty) => problems.push(format!("nothing is registered; {stays}")),
            Some(Trouble::NoneHealthy) => problems.push(format!("no instance passes its check; {stays}")),
        }
        match &view.registered.faults[..] {
            [] => {}
            [fault] => problems.push(format!("a registration cannot be used: {fault}")),
            [fault, ..] => {
                let count = view.registered.faults.len();
                problems.push(format!("{count} registrations cannot be used, the first: {fault}"));
            }
        }
        if let Some((why, _)) = &self.refused {
            problems.push(format!("endpoints/{} cannot be written: {why}", self.name));
        }
        problems
    }
}

fn list(hosts: &[HostPort]) -> String {
    hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn joined(faults: &[asset::Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
