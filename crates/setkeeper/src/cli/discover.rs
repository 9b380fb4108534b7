//! `discover` and `template`.

use clap::{Args, Subcommand};

/// `setkeeper discover`
#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// The service: the folder below `services`
    pub(crate) service: String,
}

/// What `discover --help` ends with.
pub(crate) const DISCOVER_EXAMPLES: &str = "\
Examples:
  setkeeper discover superset
  setkeeper discover superset -o nginx > /etc/nginx/conf.d/superset.conf   once; a [[template]] keeps it fresh
  setkeeper discover superset -o prometheus > targets.json

Exit codes: 0 printed (json and prometheus print an empty list) · 2 nobody is registered";

/// `setkeeper template`
#[derive(Debug, Subcommand)]
pub(crate) enum Template {
    /// Keep the files of the configured templates, until SIGTERM; `setkeeper agent` does it beside a Superset node
    #[command(after_help = "Example:\n  setkeeper template run    on a machine with nginx and no Superset")]
    Run,
    /// Print what a template makes of ZooKeeper now; nothing is written and no command is run
    #[command(after_help = "Example:\n  setkeeper template render superset.conf")]
    Render {
        /// The `target` of a configured template: its path, or the end of it
        target: String,
    },
}
