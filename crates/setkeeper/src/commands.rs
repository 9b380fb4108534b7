//! What each command does.

use clap::CommandFactory as _;

use crate::cli::{Agent, AgentWhat, Cli, Command, Output};
use crate::config::{self, Config, ConfigError, Needs};
use crate::exit::{Exit, Failure};
use crate::output;

mod ask;
mod assets;
mod check;
mod discover;
mod endpoints;
mod fence;
pub(crate) mod lock;
mod nodes;
mod operate;
mod plan;
mod refuse;
mod serve;
mod status;
mod wait;

/// Does what the command line asks for.
///
/// # Errors
/// [`Failure`], to be printed once.
pub(crate) async fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let form = cli.output;
    let format = match form.plain() {
        Some(format) => format,
        None if matches!(cli.command, Command::Discover(_)) => Output::Table,
        None => {
            let text = "this command prints a table or JSON; nginx, haproxy, envoy and prometheus are for `discover`";
            return Err(Failure::new(Exit::Usage, text));
        }
    };
    match &cli.command {
        Command::Config => {
            output::raw(config::EXAMPLE.as_bytes());
            return Ok(Exit::Done);
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "setkeeper", &mut script);
            output::raw(&script);
            return Ok(Exit::Done);
        }
        Command::Agent(Agent { what: Some(AgentWhat::LiveModule) }) => {
            output::raw(agent::live::MODULE.as_bytes());
            return Ok(Exit::Done);
        }
        _ => {}
    }
    #[cfg_attr(not(feature = "faults"), expect(unused_mut, reason = "only faults change it"))]
    let mut config = config::load(cli.config.as_deref(), &cli.set, needs(&cli.command))
        .map_err(|error| configuration(&error))?;
    #[cfg(feature = "faults")]
    crate::faults::ask_for(&mut config).map_err(|why| Failure::new(Exit::Configuration, why))?;
    match cli.command {
        Command::Run => serve::run(config, serve::Roles::All).await,
        Command::Watch => serve::run(config, serve::Roles::Watcher).await,
        Command::Apply => serve::run(config, serve::Roles::Appliers).await,
        Command::Audit => serve::run(config, serve::Roles::Auditor).await,
        Command::Agent(_) => serve::run(config, serve::Roles::Agent).await,
        Command::Nodes(nodes) => nodes::nodes(&config, format, nodes).await,
        Command::Init => operate::init(&config, format).await,
        Command::InitDb => operate::init_db(&config, format).await,
        Command::Push(push) => assets::push(&config, format, push).await,
        Command::Put(put) => assets::put(&config, format, put).await,
        Command::Get(get) => assets::get(&config, get).await,
        Command::Ls(ls) => assets::ls(&config, format, ls).await,
        Command::Rm(rm) => assets::rm(&config, format, rm).await,
        Command::History(history) => ask::history(&config, format, history).await,
        Command::Status => status::status(&config, format).await,
        Command::Verify { head } => ask::verify(&config, format, head.as_deref()).await,
        Command::Check => check::check(&config, format).await,
        Command::Lock(given) => lock::lock(&config, cli.config.as_deref(), &cli.set, format, given).await,
        Command::Fence(given) => fence::fence(&config, format, &given).await,
        Command::Discover(given) => discover::discover(&config, form, given).await,
        Command::Template(given) => discover::template(config, given).await,
        Command::Endpoints(given) => endpoints::endpoints(config, format, given).await,
        Command::Approve(approve) => operate::approve(&config, format, approve).await,
        Command::Pause(pause) => operate::pause(&config, format, pause).await,
        Command::Resume => operate::resume(&config, format).await,
        Command::Resync(resync) => operate::resync(&config, format, resync).await,
        Command::Config | Command::Completions { .. } | Command::UnderLock(_) => Ok(Exit::Done),
    }
}

/// Only what reads or writes a metadata database needs its secrets.
fn needs(command: &Command) -> Needs {
    match command {
        Command::Run | Command::Apply | Command::InitDb | Command::Approve(_) => Needs::Targets,
        // A machine that only keeps files has no target.
        Command::Status | Command::Check => Needs::TargetsIfAny,
        Command::Watch
        | Command::Audit
        | Command::Agent(_)
        | Command::Nodes(_)
        | Command::Init
        | Command::Push(_)
        | Command::Put(_)
        | Command::Get(_)
        | Command::Ls(_)
        | Command::Rm(_)
        | Command::History(_)
        | Command::Discover(_)
        | Command::Template(_)
        | Command::Endpoints(_)
        | Command::Lock(_)
        | Command::Fence(_)
        | Command::UnderLock(_)
        | Command::Verify { .. }
        | Command::Pause(_)
        | Command::Resume
        | Command::Resync(_)
        | Command::Config
        | Command::Completions { .. } => Needs::Ensemble,
    }
}

fn configuration(error: &ConfigError) -> Failure {
    let exit = match error {
        ConfigError::Setting(_) => Exit::Usage,
        ConfigError::Missing { .. } | ConfigError::Faults(_) => Exit::Configuration,
    };
    Failure::of(exit, error)
}

/// A session with the configured ensemble.
///
/// # Errors
/// Exit code 69 if no server can be reached.
async fn connect(config: &Config) -> Result<zk::Session, Failure> {
    connect_as(&config.zookeeper).await
}

/// As [`connect`], with another session timeout, for example.
async fn connect_as(config: &zk::Config) -> Result<zk::Session, Failure> {
    zk::Session::connect(config).await.map_err(|error| {
        let exit = match error {
            zk::ConnectError::Config(_)
            | zk::ConnectError::Hosts { .. }
            | zk::ConnectError::NoCa { .. }
            | zk::ConnectError::Pem { .. } => Exit::Configuration,
            _ => Exit::Unreachable,
        };
        Failure::of(exit, &error)
    })
}

/// The queue, if its file is there. A command never makes it: that is for the workers, under their own user.
///
/// # Errors
/// It cannot be opened.
async fn existing_queue(config: &Config) -> Result<Option<queue::Queue>, queue::OpenError> {
    if !config.queue.path.exists() {
        return Ok(None);
    }
    queue::Queue::embedded(&config.queue).await.map(Some)
}

/// Whoever runs the command: `--author`, else the login name, else the name that the machine has for the user.
fn author(given: Option<String>) -> String {
    given
        .or_else(|| ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok()))
        .filter(|name| !name.is_empty())
        .or_else(user_name)
        .unwrap_or_else(|| "unknown".to_owned())
}

fn user_name() -> Option<String> {
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").ok()?).to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut entries = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    entries.find(|entry| entry.get(2) == Some(&&*uid)).map(|entry| entry[0].to_owned())
}
