//! The one binary: command line, configuration, supervisor, health and metrics. It composes the workers and knows no
//! business rule of its own.

mod cli;
mod commands;
mod config;
mod exit;
#[cfg(feature = "faults")]
mod faults;
mod health;
mod http;
mod metrics;
mod output;
mod role;
mod supervisor;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use cli::{Cli, LogFormat};
use exit::Exit;

/// Runs the program and gives the code to end with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let asked_for_help = !error.use_stderr();
            return if asked_for_help { Exit::Done.into() } else { Exit::Usage.into() };
        }
    };
    if let cli::Command::UnderLock(command) = cli.command {
        return commands::lock::become_command(&command).into();
    }
    start_logs(cli.log);
    // More threads than workers that may compute at once, so that locks are watched all the while.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cores.max(8)).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return exit::Failure::of(Exit::Failed, &error).report().into(),
    };
    let ended = runtime.block_on(commands::dispatch(cli));
    // What still runs in the background (a session being closed) must not hold the end up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended.unwrap_or_else(|failure| failure.report()).into()
}

fn start_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,zookeeper_client=warn,sqlx=warn"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell of a closed standard error there, and panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.with_target(false).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}
