//! The command line of `setkeeper agent` and `setkeeper nodes`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Who, duration};

pub(super) const AGENT_EXAMPLES: &str = "\
Examples:
  setkeeper agent                          beside each Superset; see [agent] of the configuration
  setkeeper agent live-module > /etc/superset/setkeeper_live.py
                                           the last line of superset_config.py then reads the live settings:
                                           import setkeeper_live; setkeeper_live.install(globals())";

/// `setkeeper agent`
#[derive(Debug, Args)]
pub(crate) struct Agent {
    #[command(subcommand)]
    pub(crate) what: Option<AgentWhat>,
}

/// What else than running.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentWhat {
    /// Print the Python module that brings live settings into Superset
    #[command(
        name = "live-module",
        after_help = "Example:\n  setkeeper agent live-module > /etc/superset/setkeeper_live.py"
    )]
    LiveModule,
}

pub(super) const NODES_EXAMPLES: &str = "\
Examples:
  setkeeper nodes list
  setkeeper nodes restart -m 'new TALISMAN_CONFIG' --wait
  setkeeper nodes drain superset-2 --wait -m 'new disk'    and `setkeeper nodes undrain superset-2` afterwards";

/// `setkeeper nodes`
#[derive(Debug, Subcommand)]
pub(crate) enum Nodes {
    /// List the nodes: registered, healthy, drained, restarting, and which settings they lack until a restart
    #[command(after_help = LIST_EXAMPLES)]
    List(NodesOf),
    /// Take a node out of the registry until `undrain`, or until Superset has restarted
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain(Drain),
    /// Let a drained node in again
    #[command(after_help = "Example:\n  setkeeper nodes undrain superset-2    in again once it is healthy")]
    Undrain {
        /// The node
        instance: String,
        #[command(flatten)]
        of: NodesOf,
    },
    /// Wait until so many nodes are registered
    #[command(after_help = "Example:\n  setkeeper nodes wait --count 3 --wait 5m")]
    Wait {
        /// At least so many
        #[arg(long)]
        count: usize,
        /// For how long
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1m")]
        wait: Duration,
        #[command(flatten)]
        of: NodesOf,
    },
    /// Restart the nodes one after the other; stops at the first that does not come back
    #[command(after_help = RESTART_EXAMPLES)]
    Restart(RestartNodes),
    /// Forget a node that is gone for good
    #[command(after_help = "Example:\n  setkeeper nodes forget superset-2     its agent must have ended")]
    Forget {
        /// The node
        instance: String,
    },
}

/// Of which service.
#[derive(Debug, Args)]
pub(crate) struct NodesOf {
    /// The service [default: agent.service of the configuration]
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
}

const LIST_EXAMPLES: &str = "\
Examples:
  setkeeper nodes list
  setkeeper nodes list -o json | jq -r '.[] | select(.registered | not) | .instance'";

const DRAIN_EXAMPLES: &str = "\
Examples:
  setkeeper nodes drain superset-2 --wait -m 'new disk'
  ExecStop=setkeeper nodes drain --self --wait     in Superset's unit: out before SIGTERM, in again after the restart";

/// `setkeeper nodes drain`
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// The node
    #[arg(required_unless_present = "self_node", conflicts_with = "self_node")]
    pub(crate) instance: Option<String>,
    /// The node on this machine, until its Superset has restarted
    #[arg(long = "self", id = "self_node")]
    pub(crate) self_node: bool,
    /// Until Superset has gone and come back, instead of until `undrain`
    #[arg(long)]
    pub(crate) until_restart: bool,
    /// Wait until it is out, and agent.drain_grace longer
    #[arg(long)]
    pub(crate) wait: bool,
    /// For how long
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(crate) wait_max: Duration,
    #[command(flatten)]
    pub(crate) who: Who,
    #[command(flatten)]
    pub(crate) of: NodesOf,
}

const RESTART_EXAMPLES: &str = "\
Examples:
  setkeeper nodes restart -m 'new TALISMAN_CONFIG' --wait
  setkeeper nodes restart --cancel         no further node begins";

/// `setkeeper nodes restart`
#[derive(Debug, Args)]
pub(crate) struct RestartNodes {
    /// Call off the restart that runs: no further node begins
    #[arg(long, conflicts_with = "wait")]
    pub(crate) cancel: bool,
    /// Wait for the end, and show each node's progress; fail if a node does not come back
    #[arg(long)]
    pub(crate) wait: bool,
    /// For how long
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    pub(crate) wait_max: Duration,
    #[command(flatten)]
    pub(crate) who: Who,
    #[command(flatten)]
    pub(crate) of: NodesOf,
}
