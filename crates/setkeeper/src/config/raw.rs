//! The configuration as written.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `setkeeper.toml`. `config/setkeeper.toml` describes every key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(super) env: String,
    pub(super) zookeeper: Zookeeper,
    #[serde(default)]
    pub(super) queue: Queue,
    #[serde(default)]
    pub(super) target: Vec<Target>,
    #[serde(default)]
    pub(super) audit: Audit,
    #[serde(default)]
    pub(super) deletes: Deletes,
    #[serde(default)]
    pub(super) projects: BTreeMap<String, Project>,
    #[serde(default)]
    pub(super) http: Http,
    #[serde(default)]
    pub(super) run: Run,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Zookeeper {
    pub(super) connect: String,
    pub(super) root: Option<String>,
    pub(super) feed: Option<Feed>,
    pub(super) session_timeout: Option<String>,
    pub(super) connect_timeout: Option<String>,
    pub(super) auth: Option<String>,
    pub(super) sasl_user: Option<String>,
    pub(super) sasl_password: Option<String>,
    pub(super) tls_ca: Option<String>,
    pub(super) tls_cert: Option<String>,
    pub(super) tls_key: Option<String>,
    pub(super) acl: Option<Vec<String>>,
    pub(super) request_bytes_max: Option<usize>,
    pub(super) reads_in_flight: Option<usize>,
    pub(super) edits_kept: Option<usize>,
    pub(super) canary_every: Option<String>,
    pub(super) canary_within: Option<String>,
    pub(super) reconcile_every: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Feed {
    Watch,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Queue {
    pub(super) kind: Option<QueueKind>,
    pub(super) path: Option<String>,
    pub(super) bytes_max: Option<u64>,
    pub(super) busy_timeout: Option<String>,
    pub(super) batch_max: Option<usize>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum QueueKind {
    Embedded,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) password: Option<String>,
    pub(super) secret_key: String,
    pub(super) timezone: Option<String>,
    pub(super) ledger_schema: Option<String>,
    pub(super) drivers: Option<Vec<String>>,
    pub(super) secret_folders: Option<Vec<String>>,
    pub(super) secret_env_prefix: Option<String>,
    pub(super) secret_retry: Option<String>,
    pub(super) pending_max: Option<usize>,
    pub(super) document_bytes_max: Option<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Audit {
    pub(super) url: Option<String>,
    pub(super) keep_queue: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deletes {
    pub(super) policy: Option<Policy>,
    pub(super) guard_count: Option<u64>,
    pub(super) guard_percent: Option<u64>,
    pub(super) guard_window: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Policy {
    Apply,
    Hold,
    Ignore,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Project {
    pub(super) kinds: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) listen: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) stop_within: Option<String>,
    pub(super) restart_pause_max: Option<String>,
}

/// One line for one fault of reading: where it was written, which key, what is wrong.
pub(super) fn explain(file: &str, error: &figment::Error) -> String {
    let place = match error.metadata.as_ref().map(|metadata| metadata.name.as_ref()) {
        Some(name) if name.contains("environment") => "environment".to_owned(),
        Some(name) if name.contains("TOML") => file.to_owned(),
        Some(_) => "command line".to_owned(),
        None => file.to_owned(),
    };
    let key = error.path.join(".");
    let colon = if key.is_empty() { "" } else { ": " };
    format!("{place}: {key}{colon}{}", error.kind)
}
