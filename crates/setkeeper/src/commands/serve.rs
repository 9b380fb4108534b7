//! `run`, `watch`, `apply`, `audit`, `agent` and `template run`: the workers, until SIGTERM.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::health::Health;
use crate::http;
use crate::metrics::Metrics;
use crate::role::Role;
use crate::supervisor::{self, Shared};

/// Which workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Roles {
    /// All of them.
    All,
    /// The watcher.
    Watcher,
    /// One applier a target.
    Appliers,
    /// The auditor.
    Auditor,
    /// The files of the templates.
    Templates,
    /// The agent of this machine's node, and who is registered, with the files of the templates if there are any.
    Agent,
    /// The worker that follows registries.
    Endpoints,
}

impl Roles {
    fn of(self, config: &Config) -> Vec<Role> {
        let appliers = || config.targets.iter().map(|target| Role::Applier(target.name.clone()));
        match self {
            Roles::All => [Role::Watcher, Role::Auditor, Role::Discovery, Role::Endpoints]
                .into_iter()
                .chain(appliers())
                .collect(),
            Roles::Watcher => vec![Role::Watcher],
            Roles::Appliers => appliers().collect(),
            Roles::Auditor => vec![Role::Auditor],
            Roles::Templates => vec![Role::Templates],
            Roles::Agent => {
                let files = if config.templates.is_empty() { Role::Discovery } else { Role::Templates };
                let node = agent::run::role(&config.agent.service, &config.agent.instance);
                vec![Role::Agent(node), files]
            }
            Roles::Endpoints => vec![Role::Endpoints],
        }
    }
}

/// Runs until SIGTERM or SIGINT; the batch in hand is finished, within a bound.
pub(super) async fn run(config: Config, roles: Roles) -> Result<Exit, Failure> {
    let stop = CancellationToken::new();
    if matches!(roles, Roles::Agent) && config.agent.instance == "localhost" {
        let what = "agent.instance: `localhost` is every machine's name, and the nodes of a service have one each; \
                    write one, or name the machine";
        return Err(Failure::new(Exit::Configuration, what));
    }
    let listener = http::listen(config.listen).await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    if !matches!(roles, Roles::Templates | Roles::Agent | Roles::Endpoints) {
        make_state_folder(&config)?;
    }
    stop_on_signals(&stop)?;
    let roles = roles.of(&config);
    let shared =
        Shared { config: Arc::new(config), health: Health::default(), metrics: Arc::new(Metrics::default()) };
    // Not the configured address: its port may be 0, for any that is free.
    let listen = listener.local_addr().map_err(|error| Failure::of(Exit::Failed, &error))?;
    info!(roles = ?roles.iter().map(ToString::to_string).collect::<Vec<_>>(), %listen, "started");
    let served =
        tokio::spawn(http::serve(listener, shared.health.clone(), Arc::clone(&shared.metrics), stop.clone()));
    let ended = supervisor::run(shared, roles, stop.clone()).await;
    stop.cancel();
    let _ = served.await;
    info!("stopped");
    ended.map(|()| Exit::Done).map_err(|fault| Failure::new(Exit::Failed, fault))
}

fn make_state_folder(config: &Config) -> Result<(), Failure> {
    let Some(folder) = config.queue.path.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| {
        Failure::new(Exit::Failed, format!("make the state folder {}: {error}", folder.display()))
    })
}

fn stop_on_signals(stop: &CancellationToken) -> Result<(), Failure> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).map_err(|error| Failure::of(Exit::Failed, &error))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(())
}
