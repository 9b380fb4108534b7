//! A rolling restart: what is asked for, how far each node has come, and what a node may do next. Pure.
//!
//! A request is a znode `control/restart/<service>/<id>`, each node's progress one below it. A node begins when it
//! holds the fleet lock, when no node before it was lost on the way, and when enough others are registered; the first
//! node that does not come back ends the request for all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use change::Millis;
use serde::{Deserialize, Serialize};
use zk::Found;

/// A wish to restart every node of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Format, 1.
    pub v: u32,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, by the clock of whoever asked.
    pub since: Millis,
    /// The nodes: instances whose agent ran then.
    pub nodes: BTreeSet<String>,
    /// Where it stands.
    pub state: RequestState,
    /// The node that ended it, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// Nodes restart one after the other.
    Running,
    /// All have.
    Done,
    /// One did not come back; no other begins.
    Failed,
    /// Somebody called it off; no other begins.
    Cancelled,
}

/// The node that did not come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Its instance.
    pub node: String,
    /// What happened.
    pub why: String,
}

/// How far one node has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Format, 1.
    pub v: u32,
    /// Where it is.
    pub state: Stage,
    /// What it waits for, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Since when, by the node's own clock.
    pub since: Millis,
    /// The lock znode that it holds meanwhile, below the environment's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

/// Where a node is in its restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// For its turn.
    Waiting,
    /// Out of the registry, while clients turn away.
    Draining,
    /// The restart command runs.
    Restarting,
    /// Superset starts.
    Starting,
    /// Back, healthy and registered (unless it is drained).
    Done,
    /// Not back.
    Failed,
}

impl Stage {
    /// Whether the node has left and is not back yet.
    #[must_use]
    pub fn is_away(self) -> bool {
        match self {
            Stage::Draining | Stage::Restarting | Stage::Starting => true,
            Stage::Waiting | Stage::Done | Stage::Failed => false,
        }
    }

    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stage::Waiting => "waiting",
            Stage::Draining => "draining",
            Stage::Restarting => "restarting",
            Stage::Starting => "starting",
            Stage::Done => "done",
            Stage::Failed => "failed",
        }
    }
}

/// A request with the progress of its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// The request's id, a ULID: later requests have higher ones.
    pub id: String,
    /// Data version of the request's znode.
    pub version: i32,
    /// The request.
    pub request: Request,
    /// The nodes that have told anything.
    pub progress: BTreeMap<String, Progress>,
}

impl Restart {
    /// Whether all of its nodes are through.
    #[must_use]
    pub fn is_through(&self) -> bool {
        let done =
            |node: &String| self.progress.get(node).is_some_and(|progress| progress.state == Stage::Done);
        self.request.nodes.iter().all(done)
    }

    /// How many nodes are through.
    #[must_use]
    pub fn done(&self) -> usize {
        self.progress.values().filter(|progress| progress.state == Stage::Done).count()
    }

    /// The nodes that are not.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let is_done =
            |node: &&String| self.progress.get(*node).is_some_and(|progress| progress.state == Stage::Done);
        self.request.nodes.iter().filter(move |node| !is_done(node)).map(String::as_str)
    }

    /// Whether it runs still, although nothing has happened to it for longer than `valid`: the agents that it waits for
    /// are gone, and would not begin with it any more.
    #[must_use]
    pub fn is_stale(&self, now: Millis, valid: Duration) -> bool {
        let told = self.progress.values().map(|progress| progress.since);
        let newest = told.chain([self.request.since]).max().unwrap_or(now);
        self.request.state == RequestState::Running && is_older(newest, now, valid)
    }

    /// The request with its state changed.
    #[must_use]
    pub fn ended(&self, state: RequestState, failed: Option<Failed>) -> Request {
        Request { state, failed, ..self.request.clone() }
    }
}

/// The requests for `service` among what stands below `control`, the oldest first. What is not of the form is left out:
/// nobody restarts anything for it.
#[must_use]
pub fn restarts(service: &str, control: &BTreeMap<String, Found>) -> Vec<Restart> {
    let prefix = format!("restart/{service}/");
    let mut found: Vec<Restart> = Vec::new();
    // In order of their paths, a request comes before what is below it.
    for (path, node) in control.range(prefix.clone()..) {
        let Some(rest) = path.strip_prefix(&prefix) else { break };
        match rest.split_once('/') {
            None => {
                if let Ok(request) = serde_json::from_slice::<Request>(&node.bytes) {
                    let (id, version) = (rest.to_owned(), node.version);
                    found.push(Restart { id, version, request, progress: BTreeMap::new() });
                }
            }
            Some((id, instance)) => {
                if let Some(restart) = found.last_mut().filter(|restart| restart.id == id)
                    && let Ok(progress) = serde_json::from_slice(&node.bytes)
                {
                    restart.progress.insert(instance.to_owned(), progress);
                }
            }
        }
    }
    found
}

/// What a node has to do about the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task<'a> {
    /// Nothing.
    None,
    /// Queue for this one's turn.
    Queue(&'a Restart),
    /// Own up: the agent was lost while it restarted its node, and nobody knows how far it came.
    OwnUp(&'a Restart),
    /// End this one for all: those that it waits for are gone.
    GiveUp(&'a Restart),
}

fn is_older(since: Millis, now: Millis, valid: Duration) -> bool {
    now.0.saturating_sub(since.0) > i64::try_from(valid.as_millis()).unwrap_or(i64::MAX)
}

/// How long a node whose turn it is waits for others. Time in which another node had its turn does not count: that is
/// what it waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Patience {
    since: Option<(usize, Instant)>,
}

impl Patience {
    /// The turn has come (again), so many nodes being through.
    pub fn turn(&mut self, done: usize, now: Instant) {
        if self.since.is_none_or(|(before, _)| before != done) {
            self.since = Some((done, now));
        }
    }

    /// Whether it has waited for longer than this.
    #[must_use]
    pub fn is_over(&self, within: Duration, now: Instant) -> bool {
        self.since.is_some_and(|(_, since)| now.saturating_duration_since(since) > within)
    }
}

/// What `instance` has to do: the oldest running request that names it and that it has not been through. Requests older
/// than `valid` are nobody's wish any more, and ended by whoever sees them.
#[must_use]
pub fn task<'a>(instance: &str, restarts: &'a [Restart], now: Millis, valid: Duration) -> Task<'a> {
    for restart in restarts.iter().filter(|restart| restart.request.state == RequestState::Running) {
        if !restart.request.nodes.contains(instance) {
            continue;
        }
        match restart.progress.get(instance).map(|progress| progress.state) {
            Some(Stage::Done | Stage::Failed) => {}
            Some(Stage::Draining | Stage::Restarting | Stage::Starting) => return Task::OwnUp(restart),
            None | Some(Stage::Waiting) => {
                if !is_older(restart.request.since, now, valid) {
                    return Task::Queue(restart);
                }
            }
        }
    }
    restarts.iter().find(|restart| restart.is_stale(now, valid)).map_or(Task::None, Task::GiveUp)
}

/// What the fleet looks like to a node whose turn it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// The nodes of the request.
    pub nodes: BTreeSet<String>,
    /// The registered ones.
    pub registered: BTreeSet<String>,
    /// The drained ones: whoever took them out does not count on them.
    pub drained: BTreeSet<String>,
}

impl Fleet {
    /// Whether `instance` may leave without more than `max_unavailable` nodes being away; else, what it waits for.
    ///
    /// # Errors
    /// The words for its progress.
    pub fn may_leave(&self, instance: &str, max_unavailable: u32) -> Result<(), String> {
        if !self.registered.contains(instance) {
            return Ok(());
        }
        let counted: Vec<&String> = self.nodes.iter().filter(|node| !self.drained.contains(*node)).collect();
        let stay =
            counted.iter().filter(|node| **node != instance && self.registered.contains(**node)).count();
        let needed = counted.len().saturating_sub(usize::try_from(max_unavailable).unwrap_or(usize::MAX));
        if stay >= needed {
            return Ok(());
        }
        let away: Vec<&str> = counted
            .iter()
            .filter(|node| **node != instance && !self.registered.contains(**node))
            .map(|node| node.as_str())
            .collect();
        Err(format!(
            "only {stay} other nodes are registered, {needed} have to be; missing: {}",
            away.join(", ")
        ))
    }
}

/// The requests that are kept no longer: all but the newest `kept`, and never a running one.
#[must_use]
pub fn outdated(restarts: &[Restart], kept: usize) -> Vec<&Restart> {
    let ended = restarts.iter().filter(|restart| restart.request.state != RequestState::Running);
    let ended: Vec<&Restart> = ended.collect();
    ended[..ended.len().saturating_sub(kept)].to_vec()
}

#[cfg(test)]
mod tests;
