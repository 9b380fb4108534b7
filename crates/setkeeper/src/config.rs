//! Configuration in two layers: [`raw::Raw`] as written, [`Config`] as meant. Only the second goes further.
//!
//! Values come from the file, then from the environment (`SETKEEPER__ZOOKEEPER__CONNECT`), then from `--set`; a
//! later layer wins. Unknown keys are refused, and all faults are reported at once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

mod endpoints;
mod lock;
mod mean;
mod node;
mod raw;
mod source;
mod template;

pub(crate) use source::Source;

/// What a command needs of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The ensemble, the queue, the audit: no target's secret is read, so that it need not be on this machine, and
    /// there may be no target at all.
    Ensemble,
    /// The targets that there are, with their secrets.
    TargetsIfAny,
    /// At least one target, with its secrets.
    Targets,
}

/// The configuration as meant: parsed, checked, with every default filled in.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The environment's name.
    pub(crate) env: String,
    /// The ensemble.
    pub(crate) zookeeper: zk::Config,
    /// The feed and its bounds.
    pub(crate) watcher: watcher::Config,
    /// The embedded queue.
    pub(crate) queue: queue::Config,
    /// One per Superset metadata database.
    pub(crate) targets: Vec<Target>,
    /// The audit.
    pub(crate) audit: Audit,
    /// Files that are made of templates.
    pub(crate) templates: Vec<agent::template::Template>,
    /// Registries that endpoints follow.
    pub(crate) endpoints: agent::endpoints::Config,
    /// Commands under a lock.
    pub(crate) lock: lock::Lock,
    /// Where `/livez`, `/readyz`, `/metrics` and `/sd` are served.
    pub(crate) listen: SocketAddr,
    /// How long SIGTERM waits for the batch in hand.
    pub(crate) stop_within: Duration,
    /// The longest pause before a worker that failed is built anew.
    pub(crate) restart_pause_max: Duration,
    /// The Superset node on this machine.
    pub(crate) agent: agent::run::Config,
    /// Whether the configuration says anything of it.
    pub(crate) has_agent: bool,
}

/// One Superset metadata database.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Its name in the ledger, in outcomes and in messages.
    pub(crate) name: String,
    /// How to reach it.
    pub(crate) database: Source,
    /// How the applier treats it.
    pub(crate) applier: applier::Config,
}

impl Target {
    /// PostgreSQL's schema of the ledger, if it has one of its own.
    pub(crate) fn ledger_schema(&self) -> Option<&str> {
        self.applier.target.ledger_schema.as_deref()
    }
}

/// The audit database and how the auditor treats it.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    /// How to reach it.
    pub(crate) database: Source,
    /// Batches and trimming.
    pub(crate) auditor: auditor::Config,
}

/// Why there is no configuration to work with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// No file at any of the places where one is looked for.
    #[error(
        "no configuration found (looked at {looked}); write one (`setkeeper config` prints a commented example) \
         and name it with --config or SETKEEPER_CONFIG"
    )]
    Missing {
        /// The places.
        looked: String,
    },
    /// Of the command line, not of the configuration.
    #[error("--set {0}: not of the form key=value; for example --set zookeeper.connect=zk1:2181")]
    Setting(String),
    /// Everything that is wrong with it, one line each.
    #[error("{}", .0.join("\n"))]
    Faults(Vec<String>),
}

/// Reads the configuration: the file at `path` or at the first usual place, the environment, the settings of the
/// command line (`zookeeper.connect=…`).
///
/// # Errors
/// [`ConfigError`], with all faults at once.
pub(crate) fn load(path: Option<&Path>, settings: &[String], needs: Needs) -> Result<Config, ConfigError> {
    let file = find(path)?;
    let shown = file.display().to_string();
    let environment = Env::prefixed("SETKEEPER__").split("__");
    let figment = layers(Toml::file_exact(&file), environment, settings)?;
    let base = file.parent().map(Path::to_path_buf).unwrap_or_default();
    understand(&figment, &shown, &base, &state_folder(), needs).map_err(ConfigError::Faults)
}

/// One layer over the other: the file, the environment, the settings of the command line.
fn layers(
    file: impl Provider,
    environment: impl Provider,
    settings: &[String],
) -> Result<Figment, ConfigError> {
    let below = Figment::new().merge(ByPlace(file)).merge(environment);
    settings.iter().try_fold(below, |below, setting| match setting.split_once('=') {
        Some((key, value)) => Ok(below.merge(Serialized::default(key, scalar(value)))),
        None => Err(ConfigError::Setting(setting.clone())),
    })
}

/// A layer whose list of targets is a table by place (`target.0.url`): of a table, a later layer can change one key,
/// while it would replace a list as a whole.
struct ByPlace<P>(P);

impl<P: Provider> Provider for ByPlace<P> {
    fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut data = self.0.data()?;
        for target in data.values_mut().filter_map(|sections| sections.get_mut("target")) {
            if let Value::Array(tag, list) = target {
                let by_place = (0..).map(|place: usize| place.to_string()).zip(std::mem::take(list));
                *target = Value::Dict(*tag, by_place.collect());
            }
        }
        Ok(data)
    }
}

/// From the layers to the configuration as meant; every fault is told with the layer that it comes from.
fn understand(
    figment: &Figment,
    file: &str,
    base: &Path,
    state: &Path,
    needs: Needs,
) -> Result<Config, Vec<String>> {
    let raw::Read { raw, mut faults, unread } = raw::read(figment, file)?;
    let meant = mean::mean(raw, base, state, needs);
    for fault in meant.as_ref().err().into_iter().flatten() {
        let section = fault.key.split(['.', '[']).next().unwrap_or_default();
        if !unread.contains(&section) {
            let place = raw::place_of(figment, file, &fault.key.replace('[', ".").replace(']', ""));
            faults.push(format!("{place}: {}: {}", fault.key, fault.what));
        }
    }
    match meant {
        Ok(config) if faults.is_empty() => Ok(config),
        _ => Err(faults),
    }
}

/// The file that [`load`] reads: the named one, or the first that is where it is looked for.
///
/// # Errors
/// [`ConfigError::Missing`].
pub(crate) fn find(path: Option<&Path>) -> Result<PathBuf, ConfigError> {
    let named =
        path.map(Path::to_path_buf).or_else(|| std::env::var_os("SETKEEPER_CONFIG").map(PathBuf::from));
    let places = match named {
        Some(path) => vec![path],
        None => vec![PathBuf::from("setkeeper.toml"), PathBuf::from("/etc/setkeeper/setkeeper.toml")],
    };
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| ConfigError::Missing {
        looked: places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", "),
    })
}

/// `$STATE_DIRECTORY` (systemd sets it), else `/var/lib/setkeeper` where the service has made it, so that a command in a
/// shell looks where the service works; else `$XDG_STATE_HOME/setkeeper`, else `~/.local/state/setkeeper`.
fn state_folder() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let of_service = || Some(PathBuf::from("/var/lib/setkeeper")).filter(|folder| folder.is_dir());
    set("STATE_DIRECTORY")
        .or_else(of_service)
        .or_else(|| set("XDG_STATE_HOME").map(|folder| folder.join("setkeeper")))
        // Also where HOME is not set, as in some schedulers.
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state/setkeeper")))
        .unwrap_or_else(|| PathBuf::from("."))
}

/// A setting's value as TOML reads it, or the bare text.
fn scalar(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| Value::from(text))
}

/// A configuration to start from; `config/setkeeper.toml` in the repository.
pub(crate) const EXAMPLE: &str = include_str!("../../../config/setkeeper.toml");

#[cfg(test)]
mod tests;
