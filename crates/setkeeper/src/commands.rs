//! What each command does.

use clap::CommandFactory as _;

use crate::cli::{Cli, Command};
use crate::config::{self, Config, ConfigError};
use crate::exit::{Exit, Failure};

mod ask;
mod assets;
mod check;
mod operate;
mod plan;
mod refuse;
mod serve;
mod wait;

/// Does what the command line asks for.
///
/// # Errors
/// [`Failure`], to be printed once.
pub(crate) async fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let output = cli.output;
    match &cli.command {
        Command::Config => {
            print!("{}", config::EXAMPLE);
            return Ok(Exit::Done);
        }
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "setkeeper", &mut std::io::stdout());
            return Ok(Exit::Done);
        }
        _ => {}
    }
    #[cfg_attr(not(feature = "faults"), expect(unused_mut, reason = "only faults change it"))]
    let mut config = config::load(cli.config.as_deref(), &cli.set).map_err(|error| configuration(&error))?;
    #[cfg(feature = "faults")]
    crate::faults::ask_for(&mut config).map_err(|why| Failure::new(Exit::Configuration, why))?;
    match cli.command {
        Command::Run => serve::run(config, serve::Roles::All).await,
        Command::Watch => serve::run(config, serve::Roles::Watcher).await,
        Command::Apply => serve::run(config, serve::Roles::Appliers).await,
        Command::Audit => serve::run(config, serve::Roles::Auditor).await,
        Command::Init => operate::init(&config, output).await,
        Command::InitDb => operate::init_db(&config, output).await,
        Command::Push(push) => assets::push(&config, output, push).await,
        Command::Put(put) => assets::put(&config, output, put).await,
        Command::Get(get) => assets::get(&config, get).await,
        Command::Ls(ls) => assets::ls(&config, output, ls).await,
        Command::Rm(rm) => assets::rm(&config, output, rm).await,
        Command::History(history) => ask::history(&config, output, history).await,
        Command::Status => ask::status(&config, output).await,
        Command::Verify { head } => ask::verify(&config, output, head.as_deref()).await,
        Command::Check => check::check(&config, output).await,
        Command::Approve(approve) => operate::approve(&config, output, approve).await,
        Command::Pause(pause) => operate::pause(&config, output, pause).await,
        Command::Resume => operate::resume(&config, output).await,
        Command::Resync(resync) => operate::resync(&config, output, resync).await,
        Command::Config | Command::Completions { .. } => Ok(Exit::Done),
    }
}

fn configuration(error: &ConfigError) -> Failure {
    Failure::of(Exit::Configuration, error)
}

/// A session with the configured ensemble.
///
/// # Errors
/// Exit code 69 if no server can be reached.
async fn connect(config: &Config) -> Result<zk::Session, Failure> {
    zk::Session::connect(&config.zookeeper).await.map_err(|error| {
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

/// Whoever runs the command: `--author`, else the login name.
fn author(given: Option<String>) -> String {
    given
        .or_else(|| ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok()))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
