//! What the worker tells of itself at `workers/endpoints/report`, for `setkeeper endpoints list` and `status`.

use std::collections::BTreeMap;

use asset::{Choose, HostPort, Registry};
use change::Millis;
use serde::{Deserialize, Serialize};

use crate::choose::Health;
use crate::registry::Dropped;

/// The most instances and the most dropped znodes that are told one by one.
const SHOWN: usize = 20;

/// The worker's view of all endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Format, 1.
    pub v: u32,
    /// By name.
    pub endpoints: BTreeMap<String, Told>,
    /// What belongs to no endpoint.
    pub problems: Vec<String>,
}

/// The worker's view of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What it follows; none of these if its setting could not be read.
    pub registry: Option<String>,
    /// The other ensemble.
    pub connect: Option<String>,
    /// The registry's znode.
    pub path: Option<String>,
    /// How it chooses.
    pub choose: Option<String>,
    /// What stands at `endpoints/<name>`.
    pub chosen: Vec<String>,
    /// Since when, by ZooKeeper's clock.
    pub since: Option<Millis>,
    /// How many instances take clients.
    pub registered: usize,
    /// How many of them pass their check, if there is one.
    pub healthy: usize,
    /// The first of them.
    pub instances: Vec<ToldInstance>,
    /// The first znodes that are no instance: by their own word, or because they cannot be understood.
    pub dropped: Vec<ToldDropped>,
    /// What a person should know.
    pub problems: Vec<String>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldInstance {
    /// Where.
    pub at: String,
    /// Its znode's name.
    pub node: String,
    /// `passing`, `unknown` or `failing`.
    pub health: String,
    /// Why its last check failed.
    pub why: Option<String>,
}

/// One znode that is no instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldDropped {
    /// Its name.
    pub node: String,
    /// Why.
    pub reason: String,
}

impl Report {
    /// The bytes of a report, with fewer details if it is longer than `max`.
    pub(super) fn to_bytes(&self, max: usize) -> Vec<u8> {
        let bytes = |report: &Report| serde_json::to_vec(report).expect("texts and numbers always make JSON");
        let full = bytes(self);
        if full.len() <= max {
            return full;
        }
        let mut short = self.clone();
        for told in short.endpoints.values_mut() {
            told.instances.clear();
            told.dropped.clear();
        }
        let short = bytes(&short);
        if short.len() <= max {
            return short;
        }
        let count = self.endpoints.len();
        let problem = format!("the report on {count} endpoints does not fit into one znode; follow fewer");
        bytes(&Report { v: self.v, endpoints: BTreeMap::new(), problems: vec![problem] })
    }

    /// Reads what [`zk::Session::reported`] found.
    ///
    /// # Errors
    /// If it is of another version.
    pub fn parse(bytes: &[u8]) -> Result<Report, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl Told {
    pub(super) fn shown<T, S>(all: &[T], shown: impl FnMut(&T) -> S) -> Vec<S> {
        all.iter().take(SHOWN).map(shown).collect()
    }
}

impl From<&Dropped> for ToldDropped {
    fn from(dropped: &Dropped) -> ToldDropped {
        ToldDropped { node: dropped.node.clone(), reason: dropped.reason.clone() }
    }
}

pub(super) fn health(health: Health) -> &'static str {
    match health {
        Health::Passing => "passing",
        Health::Unknown => "unknown",
        Health::Failing => "failing",
    }
}

pub(super) fn hosts(hosts: &[HostPort]) -> Vec<String> {
    hosts.iter().map(ToString::to_string).collect()
}

pub(super) fn registry(registry: Registry) -> String {
    registry.as_str().to_owned()
}

pub(super) fn choose(choose: Choose) -> String {
    choose.as_str().to_owned()
}
