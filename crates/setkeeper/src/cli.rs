//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod discover;
mod endpoints;
mod lock;
mod nodes;

pub(crate) use discover::{Discover, Template};
pub(crate) use endpoints::Endpoints;
pub(crate) use lock::{Break, Fence, Lock, LockRun, UnderLock};
pub(crate) use nodes::{Agent, AgentWhat, Drain, Nodes, NodesOf, RestartNodes};

/// Keeps Apache Superset's configuration in Apache ZooKeeper.
#[derive(Debug, Parser)]
#[command(name = "setkeeper", version, about, after_help = EXAMPLES, max_term_width = 110, propagate_version = true)]
pub(crate) struct Cli {
    /// The configuration file [default: $SETKEEPER_CONFIG, ./setkeeper.toml, /etc/setkeeper/setkeeper.toml]
    #[arg(long, short = 'c', global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key over the file and the environment: `--set zookeeper.connect=zk1:2181`
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// How results are printed
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = Form::Table)]
    pub(crate) output: Form,
    /// How logs are written to standard error; RUST_LOG chooses what
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  setkeeper config > setkeeper.toml        a commented configuration to start from
  setkeeper check                          tells all that is wrong with it, servers included
  setkeeper init && setkeeper init-db      makes the tree in ZooKeeper and our tables beside Superset's
  setkeeper run                            watcher, applier and auditor in one process
  setkeeper push export.zip -m 'Q3 boards' --wait
  setkeeper history assets/main/charts/sales
  setkeeper status -o json
  setkeeper lock run superset-upgrade --pause-applier -- superset db upgrade
  setkeeper agent                          beside each Superset node; setkeeper nodes list shows them all

Exit codes: 0 done · 1 failed · 2 differences or findings · 64 usage · 69 a server cannot be reached
  75 lock not acquired · 76 lock lost · 78 configuration";

/// What `-o` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people
    Table,
    /// For scripts
    Json,
    /// An upstream of nginx (`discover` only)
    Nginx,
    /// A backend of HAProxy (`discover` only)
    Haproxy,
    /// Endpoints of Envoy (`discover` only)
    Envoy,
    /// Targets of Prometheus (`discover` only)
    Prometheus,
}

impl Form {
    /// The form in which every command prints; `None` if only `discover` knows it.
    pub(crate) fn plain(self) -> Option<Output> {
        match self {
            Form::Table => Some(Output::Table),
            Form::Json => Some(Output::Json),
            Form::Nginx | Form::Haproxy | Form::Envoy | Form::Prometheus => None,
        }
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line an event, for people.
    Text,
    /// One JSON object an event.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run watcher, appliers and auditor in one process, until SIGTERM
    #[command(after_help = "Example:\n  setkeeper run --log json")]
    Run,
    /// Run the watcher alone
    #[command(after_help = "Example:\n  setkeeper watch --set http.listen=127.0.0.1:8631")]
    Watch,
    /// Run the appliers alone
    #[command(after_help = "Example:\n  setkeeper apply --set http.listen=127.0.0.1:8632")]
    Apply,
    /// Run the auditor alone
    #[command(after_help = "Example:\n  setkeeper audit --set http.listen=127.0.0.1:8633")]
    Audit,
    /// Look after the Superset node on this machine: register it, keep its live settings, restart it in its turn
    #[command(after_help = nodes::AGENT_EXAMPLES)]
    Agent(Agent),
    /// Superset's nodes: list, drain, restart one after the other, wait for their number
    #[command(subcommand, after_help = nodes::NODES_EXAMPLES)]
    Nodes(Nodes),
    /// Make the environment's tree in ZooKeeper; what is there stays
    #[command(after_help = "Example:\n  setkeeper init")]
    Init,
    /// Make setkeeper's own tables in each target's metadata database; what is there stays
    #[command(
        name = "init-db",
        after_help = "Example:\n  setkeeper init-db    also prints the least rights that the applier's role needs"
    )]
    InitDb,
    /// Write a Superset v1 export (zip or folder) into ZooKeeper
    #[command(after_help = PUSH_EXAMPLES)]
    Push(Push),
    /// Write one document into ZooKeeper
    #[command(after_help = PUT_EXAMPLES)]
    Put(Put),
    /// Print what ZooKeeper holds at a path
    #[command(after_help = "Example:\n  setkeeper get assets/main/charts/sales | jq .params")]
    Get(Get),
    /// List what ZooKeeper holds below a path
    #[command(after_help = "Example:\n  setkeeper ls assets/main/charts")]
    Ls(Ls),
    /// Delete documents in ZooKeeper
    #[command(
        after_help = "Example:\n  setkeeper rm assets/main/charts/sales -m 'replaced by revenue' --wait"
    )]
    Rm(Rm),
    /// Show what changed: when, who, why, before and after, and what came of it
    #[command(after_help = HISTORY_EXAMPLES)]
    History(History),
    /// Show each stage's position and lag, and what is pending, rejected or frozen
    #[command(after_help = STATUS_EXAMPLES)]
    Status,
    /// Print who is registered as a service
    #[command(after_help = discover::DISCOVER_EXAMPLES)]
    Discover(Discover),
    /// Databases that follow other services' registries: what was chosen for them
    #[command(subcommand, after_help = "Example:\n  setkeeper endpoints list")]
    Endpoints(Endpoints),
    /// Files that are made of templates over services, settings and documents
    #[command(subcommand, after_help = "Example:\n  setkeeper template render superset.conf")]
    Template(Template),
    /// Run a command under a lock of the fleet; see, and break, who holds one
    #[command(subcommand, after_help = lock::LOCK_EXAMPLES)]
    Lock(Lock),
    /// Ask whether what a lock's holder was given still counts
    #[command(subcommand, after_help = lock::FENCE_EXAMPLE)]
    Fence(Fence),
    /// What `lock run` becomes before it becomes the command
    #[command(name = "__under-lock", hide = true)]
    UnderLock(UnderLock),
    /// Check the configuration and every connection; all faults at once
    #[command(after_help = "Example:\n  setkeeper check -o json    exit code 2 if anything is wrong")]
    Check,
    /// Prove the audit's chain of hashes; exit code 2 if a row was altered, moved or removed
    #[command(
        after_help = "Example:\n  setkeeper verify --head \"$(cat /safe/place/head)\"   also proves that no tail was cut"
    )]
    Verify {
        /// A head that was kept elsewhere (`setkeeper status` prints it): the chain must still go through it
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<String>,
    },
    /// Let something pass that waits for a person
    #[command(subcommand, after_help = "Example:\n  setkeeper approve deletes assets/main/charts/sales")]
    Approve(Approve),
    /// Stop applying, everywhere, until `resume`
    #[command(after_help = "Example:\n  setkeeper pause -m 'superset db upgrade'")]
    Pause(Pause),
    /// Apply again
    #[command(after_help = "Example:\n  setkeeper resume")]
    Resume,
    /// Send every live document down the road again, once
    #[command(after_help = "Example:\n  setkeeper resync -m 'a target was emptied by hand'")]
    Resync(Resync),
    /// Print a commented configuration to start from
    #[command(after_help = "Example:\n  setkeeper config > setkeeper.toml")]
    Config,
    /// Print a shell's completion script
    #[command(after_help = "Example:\n  setkeeper completions bash > /etc/bash_completion.d/setkeeper")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const PUSH_EXAMPLES: &str = "\
Examples:
  setkeeper push dashboard_export.zip -m 'import from staging'
  setkeeper push ./bundle --project sales --author ana --wait
  setkeeper push ./bundle --dry-run        what would be written, nothing is";

const PUT_EXAMPLES: &str = "\
Examples:
  setkeeper put assets/main/charts/sales sales.json -m 'wider window' --wait
  setkeeper get assets/main/charts/sales | jq '.params.row_limit = 50' |
    setkeeper put assets/main/charts/sales - -m 'fewer rows'";

const STATUS_EXAMPLES: &str = "\
Examples:
  setkeeper status
  setkeeper status -o json | jq '.pending[] | select(.state == \"rejected\")'

Exit codes: 0 all could be asked and works (what is held, rejected or paused is in the tables) · 2 something is
  wrong (TROUBLE says what) · 69 a server cannot be reached";

const HISTORY_EXAMPLES: &str = "\
Examples:
  setkeeper history                                  the newest changes of all assets
  setkeeper history assets/main/charts/sales         one path
  setkeeper history 7f0c3a52-6d1f-4f3e-9f0e-2f1f5f7f8a90   one asset, wherever it stood
  setkeeper history --author ana --limit 5 -o json";

/// Who and why.
#[derive(Debug, Args)]
pub(crate) struct Who {
    /// Why
    #[arg(long, short = 'm', default_value = "")]
    pub(crate) message: String,
    /// Who
    #[arg(long, env = "SETKEEPER_AUTHOR", value_name = "NAME")]
    pub(crate) author: Option<String>,
}

/// Who and why, for the history, for every command that writes documents.
#[derive(Debug, Args)]
pub(crate) struct Why {
    #[command(flatten)]
    pub(crate) who: Who,
    /// Wait for the outcome at every target; fail if one is rejected
    #[arg(long)]
    pub(crate) wait: bool,
    /// For how long --wait waits
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1m")]
    pub(crate) wait_max: Duration,
}

/// A duration: `90s`, `1m 30s`, or a number of seconds.
fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text),
    }
}

/// `setkeeper push`
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// A v1 export: a zip or a folder
    pub(crate) bundle: PathBuf,
    /// The project that new assets go to
    #[arg(long, default_value = "main")]
    pub(crate) project: String,
    /// Print what would be written and write nothing; exit code 2 if anything would
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) why: Why,
}

/// `setkeeper put`
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// Where: `assets/<project>/<folder>/<name>`, `settings/<group>/<name>` or `endpoints/<name>`
    pub(crate) path: String,
    /// The document or the setting, JSON; `-` reads standard input
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) why: Why,
}

/// `setkeeper get`
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Where: `assets/<project>/<folder>/<name>`, `settings/<group>/<name>` or `endpoints/<name>`
    pub(crate) path: String,
}

/// `setkeeper ls`
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Below which path
    #[arg(default_value = "assets")]
    pub(crate) path: String,
}

/// `setkeeper rm`
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// What
    #[arg(required = true)]
    pub(crate) paths: Vec<String>,
    #[command(flatten)]
    pub(crate) why: Why,
}

/// `setkeeper history`
#[derive(Debug, Args)]
pub(crate) struct History {
    /// A path or a uuid
    pub(crate) asset: Option<String>,
    /// Only this author's
    #[arg(long)]
    pub(crate) author: Option<String>,
    /// At most so many, the newest
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: u32,
}

/// `setkeeper approve`
#[derive(Debug, Subcommand)]
pub(crate) enum Approve {
    /// The ensemble was restored or replaced on purpose: begin a new generation
    #[command(after_help = "Example:\n  setkeeper status                what the watcher has found\n  \
                            setkeeper approve generation")]
    Generation {
        /// Also where nothing says that the ensemble was restored or replaced
        #[arg(long)]
        force: bool,
    },
    /// Let deletes pass that wait for an approval, and changes of a uuid, which delete the asset that had the old one
    #[command(
        after_help = "Example:\n  setkeeper approve deletes assets/main/charts/sales\n  setkeeper approve deletes --all"
    )]
    Deletes {
        /// The held paths; `setkeeper status` lists them
        paths: Vec<String>,
        /// All that are held now
        #[arg(long, conflicts_with = "paths")]
        all: bool,
        #[command(flatten)]
        why: Why,
    },
}

/// `setkeeper pause`
#[derive(Debug, Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    pub(crate) who: Who,
}

/// `setkeeper resync`
#[derive(Debug, Args)]
pub(crate) struct Resync {
    /// Why
    #[arg(long, short = 'm', default_value = "asked by an operator")]
    pub(crate) message: String,
}
