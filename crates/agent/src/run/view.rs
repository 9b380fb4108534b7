//! What others can see of a node.

use std::collections::{BTreeMap, BTreeSet};

use change::Millis;
use serde::{Deserialize, Serialize};
use zk::Found;

use super::{Agent, now};
use crate::node::{Health, Until};
use crate::process::Process;
use crate::rolling::Stage;

/// What others can see of a node: `workers/agent-<service>-<instance>/report`. It stays when the agent is gone, whose lock znode
/// beside it tells whether it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Format, 1.
    pub v: u32,
    /// The service.
    pub service: String,
    /// The node's name in it.
    pub instance: String,
    /// Where clients reach it.
    pub endpoint: String,
    /// How Superset is.
    pub health: Health,
    /// Why the newest look at it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether it stands in the registry.
    pub registered: bool,
    /// Until when it is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Until>,
    /// Where it is in a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarting: Option<Stage>,
    /// Whether it can be restarted from here.
    pub can_restart: bool,
    /// The settings, as paths below `settings`, that a restart would bring.
    pub lacks: BTreeSet<String>,
    /// How many settings its live file holds.
    #[serde(default)]
    pub settings: usize,
    /// Superset's processes that read the live settings.
    pub processes: usize,
    /// Superset's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What is wrong with the settings or their file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub faults: BTreeMap<String, String>,
    /// Since when all of it is so, by the node's clock.
    pub since: Millis,
}

/// A node that somebody took out, as at `control/drain/<service>/<instance>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Format, 1.
    pub v: u32,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, by the clock of whoever drained.
    pub since: Millis,
    /// Until when.
    pub until: Until,
    /// The machine's boot, if it was drained there: after the next one Superset has restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// The Superset that it waits for the end of, if it was drained there and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

impl Drain {
    /// Reads a znode. One that cannot be understood counts: whoever wrote it wanted the node out.
    #[must_use]
    pub fn read(found: &Found) -> Drain {
        serde_json::from_slice(&found.bytes).unwrap_or_else(|error| Drain {
            v: 1,
            by: "unknown".to_owned(),
            reason: format!("the znode holds something else than a drain: {error}"),
            since: found.mtime,
            until: Until::Undrain,
            boot: None,
            process: None,
        })
    }
}

/// Where a drain stands, below the environment's root.
#[must_use]
pub fn drain_path(service: &str, instance: &str) -> String {
    format!("control/drain/{service}/{instance}")
}

/// The role that a node's agent is elected for: the folder below `workers` where its view stands, too. Each `-` of the
/// service is doubled; since no instance begins with one, no two nodes share a role.
#[must_use]
pub fn role(service: &str, instance: &str) -> String {
    format!("agent-{}-{instance}", service.replace('-', "--"))
}

/// What tells one start of this machine from another.
#[must_use]
pub fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

impl Agent {
    /// The node as it is now; `since` is that of `before` if nothing else has changed.
    pub(super) fn view(&self, before: Option<&View>) -> View {
        let (mut settings, mut processes) = (0, 0);
        let mut faults = BTreeMap::new();
        let mut lacks = BTreeSet::new();
        if let Some(live) = &self.live {
            faults.extend(live.settings.faults().clone());
            faults.extend(live.fault.clone().map(|fault| ("live_file".to_owned(), fault)));
            lacks = live.settings.lacks(&live.notes);
            settings = live.settings.count();
            processes = live.notes.len();
        }
        let mut view = View {
            v: 1,
            service: self.config.service.clone(),
            instance: self.config.instance.clone(),
            endpoint: format!("{}:{}", self.config.address, self.config.port),
            health: self.node.health(),
            why: self.node.why().map(str::to_owned),
            registered: self.registration.is_some(),
            drained: self.node.drained(),
            restarting: self.turn.stage(),
            can_restart: self.config.restart_command.is_some(),
            lacks,
            settings,
            processes,
            version: self.version(),
            faults,
            since: now(),
        };
        if let Some(before) = before {
            let since = view.since;
            view.since = before.since;
            if view != *before {
                view.since = since;
            }
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use super::role;

    #[test]
    fn no_two_nodes_share_a_role() {
        let nodes = [("a-b", "c"), ("a", "b-c"), ("a", "b--c"), ("a--b", "c"), ("a-", "c"), ("a", "c")];
        let roles: std::collections::BTreeSet<String> =
            nodes.iter().map(|(service, instance)| role(service, instance)).collect();
        assert_eq!(roles.len(), nodes.len(), "{roles:?}");
    }
}
