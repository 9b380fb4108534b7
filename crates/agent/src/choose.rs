//! Which of the registered instances an endpoint uses. Pure: no clock, no I/O; instants are arguments.
//!
//! What stands is left alone as long as it can be. One that is gone or unhealthy is replaced `settle` after that was
//! first noticed, unless it came back meanwhile; a change that nothing forces waits for `settle` and for `min_hold`
//! since the last change. What is chosen is judged by the registry as it is at that time, not as it was.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use asset::{CHOSEN_MAX, Choose, HostPort};

/// How an endpoint chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The endpoint's name, from which [`Choose::Random`] makes its order.
    pub name: String,
    /// Which are wanted.
    pub choose: Choose,
    /// How long a change waits.
    pub settle: Duration,
    /// How long a change that nothing forces waits after the one before.
    pub min_hold: Duration,
}

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It passed its last check, or there is none.
    Passing,
    /// It has not been checked yet: good enough to stay, not to be chosen.
    Unknown,
    /// It failed so often that it counts as down.
    Failing,
}

/// A registered instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where.
    pub at: HostPort,
    /// The name of its znode.
    pub node: String,
    /// How it is.
    pub health: Health,
}

/// One that is chosen: where, and by which znode it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// Where.
    pub at: HostPort,
    /// The name of its znode.
    pub node: String,
}

/// What is chosen now, as it stands in ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where to connect to.
    pub hosts: Vec<HostPort>,
    /// Since when.
    pub since: Instant,
}

/// What has become of one that is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its znode is gone, or says that it takes no clients.
    Unregistered,
    /// Its check fails.
    Unhealthy,
}

/// Why another choice is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nothing was chosen.
    Nothing,
    /// Some of what was chosen cannot be used.
    Lost(Vec<(HostPort, Loss)>),
    /// Others come first now.
    Better,
}

/// Another choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What is chosen, in the order of the URI; never empty.
    pub picks: Vec<Pick>,
    /// What was chosen before.
    pub instead_of: Vec<HostPort>,
    /// Why.
    pub why: Why,
}

impl fmt::Display for Change {
    /// `h2:10000 instead of h1:10000, whose znode is gone`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now: Vec<&HostPort> = self.picks.iter().map(|pick| &pick.at).collect();
        match &self.why {
            Why::Nothing => write!(f, "{}, as nothing was chosen", list(&now)),
            Why::Better => {
                let before: Vec<&HostPort> = self.instead_of.iter().collect();
                write!(f, "{} instead of {}, as the registry has it now", list(&now), list(&before))
            }
            Why::Lost(lost) => {
                let before: Vec<&HostPort> = self.instead_of.iter().collect();
                write!(f, "{} instead of {}", list(&now), list(&before))?;
                for (at, loss) in lost {
                    let what = match loss {
                        Loss::Unregistered => "znode is gone",
                        Loss::Unhealthy => "check fails",
                    };
                    match before.len() {
                        1 => write!(f, ", whose {what}")?,
                        _ => write!(f, "; of {at} the {what}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

fn list(hosts: &[&HostPort]) -> String {
    hosts.iter().map(|host| host.to_string()).collect::<Vec<_>>().join(",")
}

/// Why what stands is not what should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing is registered.
    Empty,
    /// What is registered passes no check.
    NoneHealthy,
}

/// What one look comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What to change now. It counts once [`Chooser::stands`] is told of it.
    pub change: Option<Change>,
    /// What a person should know.
    pub trouble: Option<Trouble>,
    /// When to look again if nothing happens until then.
    pub wake_at: Option<Instant>,
}

/// The choice of one endpoint.
#[derive(Debug, Clone)]
pub struct Chooser {
    rules: Rules,
    standing: Option<Standing>,
    /// Of those that stand: since when they are lost.
    lost: BTreeMap<HostPort, (Instant, Loss)>,
    /// Since when others would be better.
    better: Option<Instant>,
}

impl Chooser {
    /// Nothing stands yet.
    #[must_use]
    pub fn new(rules: Rules) -> Chooser {
        Chooser { rules, standing: None, lost: BTreeMap::new(), better: None }
    }

    /// Chooses by other rules from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// What stands in ZooKeeper now.
    pub fn stands(&mut self, standing: Option<Standing>) {
        let hosts = standing.as_ref().map_or(&[][..], |standing| &standing.hosts);
        self.lost.retain(|host, _| hosts.contains(host));
        if self.standing.as_ref().map(|standing| &standing.hosts)
            != standing.as_ref().map(|other| &other.hosts)
        {
            self.better = None;
        }
        self.standing = standing;
    }

    /// What is chosen.
    #[must_use]
    pub fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// Judges the registry as it is `now`; `candidates` are in its order. A registry that cannot be read is not one
    /// that is empty: then nothing is asked here.
    #[must_use]
    pub fn look(&mut self, now: Instant, candidates: &[Candidate]) -> Verdict {
        let hosts: Vec<HostPort> = self.standing.iter().flat_map(|standing| standing.hosts.clone()).collect();
        self.note_losses(now, &hosts, candidates);
        let wanted = self.wanted(&hosts, candidates);
        let trouble = match (candidates, &wanted[..]) {
            ([], _) => Some(Trouble::Empty),
            (_, []) => Some(Trouble::NoneHealthy),
            _ => None,
        };
        let same = |host: &HostPort| wanted.iter().any(|pick| pick.at == *host);
        if wanted.is_empty() || (wanted.len() == hosts.len() && hosts.iter().all(same)) {
            self.better = None;
            return Verdict { change: None, trouble, wake_at: None };
        }
        let due = self.due(now);
        if now < due {
            return Verdict { change: None, trouble, wake_at: Some(due) };
        }
        let lost: Vec<_> = self.lost.iter().map(|(host, (_, loss))| (host.clone(), *loss)).collect();
        let why = match (&hosts[..], &lost[..]) {
            ([], _) => Why::Nothing,
            (_, []) => Why::Better,
            _ => Why::Lost(lost),
        };
        let change = Some(Change { picks: wanted, instead_of: hosts, why });
        Verdict { change, trouble, wake_at: None }
    }

    fn note_losses(&mut self, now: Instant, hosts: &[HostPort], candidates: &[Candidate]) {
        for host in hosts {
            let loss = match candidates.iter().find(|candidate| candidate.at == *host) {
                None => Some(Loss::Unregistered),
                Some(Candidate { health: Health::Failing, .. }) => Some(Loss::Unhealthy),
                Some(Candidate { health: Health::Passing | Health::Unknown, .. }) => None,
            };
            match loss {
                // What it died of may be seen later than that it did; the time stays.
                Some(loss) => self.lost.entry(host.clone()).or_insert((now, loss)).1 = loss,
                None => {
                    self.lost.remove(host);
                }
            }
        }
    }

    /// When the change that is wanted may be made.
    fn due(&mut self, now: Instant) -> Instant {
        let Some(standing) = &self.standing else { return now };
        if let Some(first) = self.lost.values().map(|(since, _)| *since).min() {
            return first + self.rules.settle;
        }
        let better = *self.better.get_or_insert(now);
        (better + self.rules.settle).max(standing.since + self.rules.min_hold)
    }

    fn wanted(&self, standing: &[HostPort], candidates: &[Candidate]) -> Vec<Pick> {
        let stands = |candidate: &Candidate| standing.contains(&candidate.at);
        let is_usable = |candidate: &&Candidate| match candidate.health {
            Health::Passing => true,
            Health::Unknown => stands(candidate),
            Health::Failing => false,
        };
        let mut usable = candidates.iter().filter(is_usable);
        let pick = |candidate: &Candidate| Pick { at: candidate.at.clone(), node: candidate.node.clone() };
        match self.rules.choose {
            Choose::First => usable.take(1).map(pick).collect(),
            Choose::Sticky => {
                let stays = usable.clone().find(|candidate| stands(candidate));
                stays.or_else(|| usable.next()).map(pick).into_iter().collect()
            }
            Choose::Random => {
                let rank =
                    |candidate: &&Candidate| (weight(&self.rules.name, &candidate.at), candidate.at.clone());
                usable.max_by_key(rank).map(pick).into_iter().collect()
            }
            Choose::All => usable.take(CHOSEN_MAX).map(pick).collect(),
        }
    }
}

/// Rendezvous hashing: of those that are there the one of the highest weight is taken, so that one that comes or goes
/// moves only those that it takes or leaves. FNV-1a with a finaliser (MurmurHash3's): the same in every run and
/// version, and nobody gains from a collision.
fn weight(name: &str, at: &HostPort) -> u64 {
    let text = format!("{name}\0{at}");
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
