//! The configuration as written.

use std::collections::BTreeMap;

use figment::error::{Actual, Kind};
use figment::value::Dict;
use figment::{Figment, Metadata};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::endpoints::RawEndpoints;
use super::lock::RawLock;
use super::node::RawAgent;
use super::template::RawTemplate;

/// `setkeeper.toml`. `config/setkeeper.toml` describes every key.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(super) env: String,
    pub(super) zookeeper: Zookeeper,
    pub(super) watcher: Watcher,
    pub(super) queue: Queue,
    pub(super) sql: Sql,
    pub(super) target: Vec<Target>,
    pub(super) audit: Audit,
    pub(super) template: Vec<RawTemplate>,
    pub(super) endpoints: RawEndpoints,
    pub(super) lock: RawLock,
    pub(super) deletes: Deletes,
    pub(super) projects: BTreeMap<String, Project>,
    pub(super) http: Http,
    pub(super) run: Run,
    pub(super) agent: Option<RawAgent>,
}

const SECTIONS: &[&str] = &[
    "env",
    "zookeeper",
    "watcher",
    "queue",
    "sql",
    "target",
    "audit",
    "template",
    "endpoints",
    "lock",
    "deletes",
    "projects",
    "http",
    "run",
    "agent",
];

/// What was read, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Read {
    /// With defaults in the place of the sections that could not be read.
    pub(super) raw: Raw,
    /// One line a fault.
    pub(super) faults: Vec<String>,
    /// The sections that could not be read: nothing more can be said of them.
    pub(super) unread: Vec<&'static str>,
}

/// Reads all layers, section by section, so that a fault in one does not hide those of the others.
///
/// # Errors
/// A layer that is no TOML at all: it says nothing of what is missing.
pub(super) fn read(figment: &Figment, file: &str) -> Result<Read, Vec<String>> {
    let mut reading = Reading { figment, file, faults: Vec::new(), unread: Vec::new() };
    reading.unknown_sections()?;
    let raw = Raw {
        env: reading.needed("env"),
        zookeeper: reading.needed("zookeeper"),
        watcher: reading.section("watcher").unwrap_or_default(),
        queue: reading.section("queue").unwrap_or_default(),
        sql: reading.section("sql").unwrap_or_default(),
        target: reading.targets(),
        audit: reading.section("audit").unwrap_or_default(),
        template: reading.section("template").unwrap_or_default(),
        endpoints: reading.section("endpoints").unwrap_or_default(),
        lock: reading.section("lock").unwrap_or_default(),
        deletes: reading.section("deletes").unwrap_or_default(),
        projects: reading.section("projects").unwrap_or_default(),
        http: reading.section("http").unwrap_or_default(),
        run: reading.section("run").unwrap_or_default(),
        agent: reading.section("agent"),
    };
    Ok(Read { raw, faults: reading.faults, unread: reading.unread })
}

struct Reading<'a> {
    figment: &'a Figment,
    file: &'a str,
    faults: Vec<String>,
    unread: Vec<&'static str>,
}

impl Reading<'_> {
    fn unknown_sections(&mut self) -> Result<(), Vec<String>> {
        match self.figment.extract::<Dict>() {
            Ok(all) => {
                for key in all.keys().filter(|key| !SECTIONS.contains(&key.as_str())) {
                    let (place, known) = (place_of(self.figment, self.file, key), SECTIONS.join("`, `"));
                    self.faults.push(format!("{place}: {key}: unknown key; the sections are `{known}`"));
                }
            }
            Err(error) => {
                self.explain(error);
                return Err(std::mem::take(&mut self.faults));
            }
        }
        Ok(())
    }

    /// A section, or `None` if it is not there.
    fn section<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        match self.figment.extract_inner(key) {
            Ok(section) => Some(section),
            Err(_) if !self.figment.contains(key) => None,
            Err(errors) => {
                self.unread.push(key);
                // figment 0.10 appends the section's own name to the path where it belongs before it.
                self.explain(errors.into_iter().map(|mut error| {
                    error.path.rotate_right(1);
                    error
                }));
                None
            }
        }
    }

    /// The targets by their places, which count from 0 without a gap.
    fn targets(&mut self) -> Vec<Target> {
        let places: Dict = self.figment.extract_inner("target").unwrap_or_default();
        let odd = places.keys().find(|key| !(0..places.len()).any(|place| place.to_string() == **key));
        if let Some(odd) = odd {
            self.unread.push("target");
            let place = place_of(self.figment, self.file, &format!("target.{odd}"));
            self.faults.push(format!(
                "{place}: target.{odd}: there is no such target; in the file each has a [[target]] of its own, elsewhere \
                 its keys are `target.0.url` and so on for the first, `target.1.url` for the second"
            ));
            return Vec::new();
        }
        let by_place: BTreeMap<String, Target> = self.section("target").unwrap_or_default();
        let mut in_order: Vec<_> = by_place.into_iter().collect();
        in_order.sort_by_key(|(place, _)| place.parse::<usize>().ok());
        in_order.into_iter().map(|(_, target)| target).collect()
    }

    fn needed<T: DeserializeOwned + Default>(&mut self, key: &'static str) -> T {
        let faults = self.faults.len();
        let section = self.section(key);
        if section.is_none() && self.faults.len() == faults {
            self.unread.push(key);
            self.faults
                .push(format!("{}: {key}: is missing; `setkeeper config` prints an example", self.file));
        }
        section.unwrap_or_default()
    }

    fn explain(&mut self, errors: impl IntoIterator<Item = figment::Error>) {
        for error in errors {
            let line = explain(self.file, &error);
            if !self.faults.contains(&line) {
                self.faults.push(line);
            }
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
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
    pub(super) prune_max: Option<usize>,
    pub(super) attempts: Option<u32>,
    pub(super) canary_every: Option<String>,
    pub(super) canary_within: Option<String>,
    pub(super) reconcile_every: Option<String>,
    pub(super) follow_crawl_every: Option<String>,
    pub(super) follow_gather: Option<String>,
    pub(super) follow_nodes_max: Option<usize>,
    pub(super) follow_bytes_max: Option<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Watcher {
    pub(super) events_max: Option<usize>,
    pub(super) batch_max: Option<usize>,
    pub(super) checkpoint_records: Option<usize>,
    pub(super) checkpoint_every: Option<String>,
    pub(super) append_records: Option<usize>,
    pub(super) append_bytes: Option<u64>,
    pub(super) coupled_changes: Option<usize>,
    pub(super) coupled_bytes: Option<usize>,
    pub(super) disconnected_max: Option<String>,
    pub(super) prune_every: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sql {
    pub(super) connections_max: Option<u32>,
    pub(super) connect_timeout: Option<String>,
    pub(super) statement_timeout: Option<String>,
    pub(super) lock_timeout: Option<String>,
    pub(super) idle_in_transaction_timeout: Option<String>,
    pub(super) busy_timeout: Option<String>,
    pub(super) commit_attempts: Option<u32>,
    pub(super) rows_max: Option<usize>,
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
    pub(super) records_max: Option<u64>,
    pub(super) busy_timeout: Option<String>,
    pub(super) poll_active: Option<String>,
    pub(super) poll_idle: Option<String>,
    pub(super) idle_after: Option<String>,
    pub(super) batch_max: Option<usize>,
    pub(super) batch_bytes: Option<u64>,
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
    pub(super) observe_rounds: Option<usize>,
    pub(super) attempts: Option<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Audit {
    pub(super) url: Option<String>,
    pub(super) keep_queue: Option<String>,
    pub(super) trim_every: Option<String>,
    pub(super) trim_records: Option<usize>,
    pub(super) outcomes_wait_max: Option<u32>,
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

/// The layer that a key comes from.
pub(super) fn place_of(figment: &Figment, file: &str, key: &str) -> String {
    place(file, figment.find_metadata(key))
}

fn place(file: &str, metadata: Option<&Metadata>) -> String {
    match metadata.map(|metadata| metadata.name.as_ref()) {
        Some(name) if name.contains("environment") => "environment".to_owned(),
        Some(name) if name.contains("TOML") => file.to_owned(),
        Some(_) => "command line".to_owned(),
        None => file.to_owned(),
    }
}

/// One line for one fault of reading: where it was written, which key, what is wrong.
fn explain(file: &str, error: &figment::Error) -> String {
    let place = place(file, error.metadata.as_ref());
    let key = error.path.join(".");
    let colon = if key.is_empty() { "" } else { ": " };
    format!("{place}: {key}{colon}{}", what(&error.kind))
}

/// As figment says it, but without the value: a clear secret may stand there by mistake.
fn what(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(found, expected) => {
            format!("invalid type: found {}, expected {expected}", sort_of(found))
        }
        Kind::InvalidValue(found, expected) => {
            format!("invalid value: found {}, expected {expected}", sort_of(found))
        }
        other => without_excerpt(&other.to_string()),
    }
}

/// What TOML's parser says, without the line of the file that it quotes (`9 | url = "…`).
fn without_excerpt(text: &str) -> String {
    let is_excerpt = |line: &&str| {
        line.trim_start().trim_start_matches(|each: char| each.is_ascii_digit()).trim_start().starts_with('|')
    };
    let lines: Vec<&str> = text.lines().filter(|line| !is_excerpt(line) && !line.is_empty()).collect();
    lines.join(": ")
}

fn sort_of(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "a text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}
