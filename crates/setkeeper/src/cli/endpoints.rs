//! The command line of endpoints.

use clap::Subcommand;

/// `setkeeper endpoints`
#[derive(Debug, Subcommand)]
pub(crate) enum Endpoints {
    /// Run the worker that follows registries alone, until SIGTERM; `setkeeper run` has one too
    #[command(after_help = "Example:\n  setkeeper endpoints run --set http.listen=127.0.0.1:8634")]
    Run,
    /// Print what each endpoint follows and what it has chosen
    #[command(after_help = LIST_HELP)]
    List,
}

const LIST_HELP: &str = "\
Examples:
  setkeeper endpoints list
  setkeeper endpoints list -o json | jq '.endpoints[] | select(.problems != [])'

What is chosen is read from ZooKeeper; what is registered is told by the worker, and by nobody while none runs.";
