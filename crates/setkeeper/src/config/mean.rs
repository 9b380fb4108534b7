//! From the configuration as written to the configuration as meant: every fault is found, not only the first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use asset::{Kind, SecretRef};

use super::raw::{self, Raw};
use super::source::Source;
use super::{Audit, Config, Needs, Target};

/// What one transaction of applier or auditor takes of a topic.
#[derive(Clone, Copy)]
struct Batch {
    records: usize,
    bytes: u64,
}

/// Collects faults, so that one does not hide the next.
pub(super) struct Reading<'a> {
    base: &'a Path,
    state: &'a Path,
    needs: Needs,
    faults: Vec<Fault>,
}

/// What is wrong with one key, and how to mend it.
#[derive(Debug)]
pub(super) struct Fault {
    /// `target[0].url`
    pub(super) key: String,
    pub(super) what: String,
}

/// Turns `raw` into a [`Config`]. Relative paths are relative to `base`, the configuration's folder; what setkeeper
/// keeps for itself goes to `state`. The targets' secrets are read only if they are needed.
///
/// # Errors
/// Every fault.
pub(super) fn mean(raw: Raw, base: &Path, state: &Path, needs: Needs) -> Result<Config, Vec<Fault>> {
    let mut reading = Reading { base, state, needs, faults: Vec::new() };
    let config = reading.config(raw);
    if reading.faults.is_empty() { Ok(config) } else { Err(reading.faults) }
}

impl Reading<'_> {
    fn config(&mut self, raw: Raw) -> Config {
        let batch = Batch {
            records: self.at_least_1("queue.batch_max", raw.queue.batch_max, 256),
            bytes: self.at_least_1("queue.batch_bytes", raw.queue.batch_bytes, 16 << 20),
        };
        let sql = self.sql(&raw.sql);
        let policy = self.policy(&raw.deletes, &raw.projects);
        let mut names = BTreeSet::new();
        let mut targets = Vec::new();
        for (index, target) in raw.target.iter().enumerate() {
            if !names.insert(target.name.clone()) {
                self.fault(
                    &format!("target[{index}].name"),
                    &format!("`{}` is taken; names are unique", target.name),
                );
            }
            let applier = applier::Config {
                batch_records: batch.records,
                batch_bytes: batch.bytes,
                secrets_interval: self.secret_retry(index, target),
                ..applier::Config::new(self.target(index, target, &policy, &raw.env))
            };
            let url = self.target_url(&format!("target[{index}]"), target);
            targets.push(Target {
                name: target.name.clone(),
                database: Source::new(url, sql.clone()),
                applier,
            });
        }
        if raw.target.is_empty() && self.needs == Needs::Targets {
            self.fault("target", "no target is configured; add a [[target]] with name, url and secret_key");
        }
        Config {
            watcher: self.watcher(&raw.zookeeper, &raw.watcher),
            zookeeper: self.zookeeper(&raw.env, &raw.zookeeper),
            queue: self.queue(&raw.queue),
            targets,
            audit: self.audit(&raw.audit, batch, sql),
            templates: self.templates(&raw.template),
            endpoints: self.endpoints(&raw.endpoints),
            lock: self.lock(&raw.lock),
            listen: self.listen(raw.http.listen.as_deref()),
            stop_within: self.duration(
                "run.stop_within",
                raw.run.stop_within.as_deref(),
                Duration::from_secs(10),
            ),
            restart_pause_max: self.duration(
                "run.restart_pause_max",
                raw.run.restart_pause_max.as_deref(),
                Duration::from_secs(30),
            ),
            has_agent: raw.agent.is_some(),
            agent: self.agent(&raw.agent.unwrap_or_default()),
            env: raw.env,
        }
    }

    pub(super) fn fault(&mut self, key: &str, what: &str) {
        self.faults.push(Fault { key: key.to_owned(), what: what.to_owned() });
    }

    fn zookeeper(&mut self, env: &str, raw: &raw::Zookeeper) -> zk::Config {
        let mut config = zk::Config::new(&raw.connect, env);
        if let Err(error) = config.check() {
            self.fault("env", &error.to_string());
        }
        if let Some(root) = &raw.root {
            match root.parse() {
                Ok(root) => config.root = root,
                Err(error) => self.fault("zookeeper.root", &format!("{error}")),
            }
        }
        if raw.connect.trim().is_empty() {
            self.fault("zookeeper.connect", "is empty; write host:port, several by comma");
        }
        self.credentials(raw, &mut config);
        config.session_timeout = self.duration(
            "zookeeper.session_timeout",
            raw.session_timeout.as_deref(),
            config.session_timeout,
        );
        config.connect_timeout = self.duration(
            "zookeeper.connect_timeout",
            raw.connect_timeout.as_deref(),
            config.connect_timeout,
        );
        self.counts([
            ("zookeeper.request_bytes_max", raw.request_bytes_max, &mut config.request_bytes_max),
            ("zookeeper.reads_in_flight", raw.reads_in_flight, &mut config.reads_in_flight),
            ("zookeeper.prune_max", raw.prune_max, &mut config.prune_max),
        ]);
        self.counts([("zookeeper.attempts", raw.attempts, &mut config.attempts)]);
        config.follow = self.follow(raw);
        config
    }

    fn follow(&mut self, raw: &raw::Zookeeper) -> zk::FollowConfig {
        let mut follow = zk::FollowConfig::default();
        self.durations([
            ("zookeeper.follow_crawl_every", &raw.follow_crawl_every, &mut follow.crawl_every),
            ("zookeeper.follow_gather", &raw.follow_gather, &mut follow.gather),
        ]);
        self.counts([
            ("zookeeper.follow_nodes_max", raw.follow_nodes_max, &mut follow.nodes_max),
            ("zookeeper.follow_bytes_max", raw.follow_bytes_max, &mut follow.bytes_max),
        ]);
        follow
    }

    fn credentials(&mut self, raw: &raw::Zookeeper, config: &mut zk::Config) {
        if let Some(auth) = self.secret("zookeeper.auth", raw.auth.as_deref()) {
            config.auth.push(zk::Auth::digest(auth));
        }
        let password = self.secret("zookeeper.sasl_password", raw.sasl_password.as_deref());
        config.sasl = match (&raw.sasl_user, password) {
            (Some(user), Some(password)) => {
                Some(zk::Sasl { user: user.clone(), password: zk::Secret::new(password) })
            }
            (None, None) => None,
            _ => {
                self.fault("zookeeper.sasl_user", "sasl_user and sasl_password go together");
                None
            }
        };
        let identity = match (&raw.tls_cert, &raw.tls_key) {
            (Some(cert), Some(key)) => Some((self.path(cert), self.path(key))),
            (None, None) => None,
            _ => {
                self.fault("zookeeper.tls_cert", "tls_cert and tls_key go together");
                None
            }
        };
        config.tls = raw.tls_ca.as_ref().map(|ca| zk::Tls { ca: self.path(ca), identity });
        config.acl = match raw.acl.as_deref().unwrap_or_default() {
            [] => zk::Acls::Open,
            [one] if one == "open" => zk::Acls::Open,
            [one] if one == "creator" => zk::Acls::Creator,
            entries => {
                let read = entries.iter().map(|entry| entry.parse::<zk::AclEntry>());
                match read.collect::<Result<Vec<_>, _>>() {
                    Ok(entries) => zk::Acls::List(entries),
                    Err(error) => {
                        self.fault("zookeeper.acl", &error.to_string());
                        zk::Acls::Open
                    }
                }
            }
        };
    }

    fn watcher(&mut self, zookeeper: &raw::Zookeeper, raw: &raw::Watcher) -> watcher::Config {
        let (Some(raw::Feed::Watch) | None) = zookeeper.feed;
        let mut config = watcher::Config::default();
        let times = [
            ("zookeeper.canary_every", &zookeeper.canary_every, &mut config.canary_every),
            ("zookeeper.canary_within", &zookeeper.canary_within, &mut config.canary_within),
            ("zookeeper.reconcile_every", &zookeeper.reconcile_every, &mut config.reconcile_every),
            ("watcher.checkpoint_every", &raw.checkpoint_every, &mut config.checkpoint_every),
            ("watcher.disconnected_max", &raw.disconnected_max, &mut config.broken_max),
        ];
        self.durations(times);
        let counts = [
            ("zookeeper.reads_in_flight", zookeeper.reads_in_flight, &mut config.reads_in_flight),
            ("zookeeper.edits_kept", zookeeper.edits_kept, &mut config.edits_kept),
            ("watcher.events_max", raw.events_max, &mut config.events_max),
            ("watcher.batch_max", raw.batch_max, &mut config.batch_max),
            ("watcher.checkpoint_records", raw.checkpoint_records, &mut config.checkpoint_records),
            ("watcher.append_records", raw.append_records, &mut config.append_records),
            ("watcher.coupled_changes", raw.coupled_changes, &mut config.coupled_changes),
            ("watcher.coupled_bytes", raw.coupled_bytes, &mut config.coupled_bytes),
        ];
        self.counts(counts);
        self.counts([
            ("watcher.append_bytes", raw.append_bytes, &mut config.append_bytes),
            ("watcher.prune_every", raw.prune_every, &mut config.prune_every),
        ]);
        config
    }

    fn queue(&mut self, raw: &raw::Queue) -> queue::Config {
        let (Some(raw::QueueKind::Embedded) | None) = raw.kind;
        let path = raw.path.as_deref().map_or_else(|| self.state.join("queue.db"), |path| self.path(path));
        let mut config = queue::Config::new(path);
        self.counts([
            ("queue.bytes_max", raw.bytes_max, &mut config.max_bytes),
            ("queue.records_max", raw.records_max, &mut config.max_records),
        ]);
        self.durations([
            ("queue.busy_timeout", &raw.busy_timeout, &mut config.busy_timeout),
            ("queue.poll_active", &raw.poll_active, &mut config.poll_active),
            ("queue.poll_idle", &raw.poll_idle, &mut config.poll_idle),
            ("queue.idle_after", &raw.idle_after, &mut config.idle_after),
        ]);
        config
    }

    fn sql(&mut self, raw: &raw::Sql) -> sql::Config {
        let mut config = sql::Config::default();
        self.durations([
            ("sql.connect_timeout", &raw.connect_timeout, &mut config.connect_timeout),
            ("sql.statement_timeout", &raw.statement_timeout, &mut config.statement_timeout),
            ("sql.lock_timeout", &raw.lock_timeout, &mut config.lock_timeout),
            (
                "sql.idle_in_transaction_timeout",
                &raw.idle_in_transaction_timeout,
                &mut config.idle_in_transaction_timeout,
            ),
            ("sql.busy_timeout", &raw.busy_timeout, &mut config.busy_timeout),
        ]);
        self.counts([
            ("sql.connections_max", raw.connections_max, &mut config.max_connections),
            ("sql.commit_attempts", raw.commit_attempts, &mut config.commit_attempts),
        ]);
        self.counts([("sql.rows_max", raw.rows_max, &mut config.max_rows)]);
        config
    }

    fn audit(&mut self, raw: &raw::Audit, batch: Batch, sql: sql::Config) -> Audit {
        let url =
            raw.url.clone().unwrap_or_else(|| format!("sqlite://{}", self.state.join("audit.db").display()));
        if !url.starts_with("sqlite:") {
            self.fault("audit.url", "is no SQLite database; write sqlite:///path/to/audit.db");
        }
        let defaults = auditor::Config::default();
        Audit {
            database: Source::new(url, sql::Config { create: true, wal: true, ..sql }),
            auditor: auditor::Config {
                keep_queue: self.duration("audit.keep_queue", raw.keep_queue.as_deref(), defaults.keep_queue),
                trim_every: self.duration("audit.trim_every", raw.trim_every.as_deref(), defaults.trim_every),
                trim_records: self.at_least_1("audit.trim_records", raw.trim_records, defaults.trim_records),
                outcomes_wait_max: raw.outcomes_wait_max.unwrap_or(defaults.outcomes_wait_max),
                batch_records: batch.records,
                batch_bytes: batch.bytes,
                ..defaults
            },
        }
    }

    fn listen(&mut self, raw: Option<&str>) -> SocketAddr {
        let text = raw.unwrap_or("127.0.0.1:8630");
        text.parse().unwrap_or_else(|_| {
            self.fault("http.listen", &format!("`{text}` is no address; write one like 127.0.0.1:8630"));
            SocketAddr::from(([127, 0, 0, 1], 8630))
        })
    }

    fn policy(&mut self, raw: &raw::Deletes, projects: &BTreeMap<String, raw::Project>) -> applier::Policy {
        let defaults = applier::Policy::default();
        let window = Duration::from_millis(u64::try_from(defaults.guard_window).unwrap_or_default());
        let window = self.duration("deletes.guard_window", raw.guard_window.as_deref(), window);
        applier::Policy {
            deletes: match raw.policy {
                Some(raw::Policy::Apply) | None => applier::Deletes::Apply,
                Some(raw::Policy::Hold) => applier::Deletes::Hold,
                Some(raw::Policy::Ignore) => applier::Deletes::Ignore,
            },
            projects: projects
                .iter()
                .map(|(name, project)| (name.clone(), self.kinds(name, project)))
                .collect(),
            guard_count: raw.guard_count.unwrap_or(defaults.guard_count),
            guard_percent: raw.guard_percent.unwrap_or(defaults.guard_percent),
            guard_window: i64::try_from(window.as_millis()).unwrap_or(i64::MAX),
            ..defaults
        }
    }

    fn kinds(&mut self, project: &str, raw: &raw::Project) -> BTreeSet<Kind> {
        let Some(names) = &raw.kinds else { return Kind::ALL.into_iter().collect() };
        let mut kinds = BTreeSet::new();
        for name in names {
            match Kind::from_folder(&format!("{name}s")) {
                Some(kind) => {
                    kinds.insert(kind);
                }
                None => self.fault(
                    &format!("projects.{project}.kinds"),
                    &format!("`{name}` is no kind; use database, dataset, chart, dashboard"),
                ),
            }
        }
        kinds
    }

    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }

    /// A file in the state folder.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    pub(super) fn duration(&mut self, key: &str, text: Option<&str>, default: Duration) -> Duration {
        let Some(text) = text else { return default };
        match humantime::parse_duration(text) {
            Ok(duration) if !duration.is_zero() => duration,
            _ => {
                self.fault(key, &format!("`{text}` is no duration; write one like 500ms, 6s or 10m"));
                default
            }
        }
    }

    pub(super) fn durations<const N: usize>(&mut self, all: [(&str, &Option<String>, &mut Duration); N]) {
        for (key, text, place) in all {
            *place = self.duration(key, text.as_deref(), *place);
        }
    }

    pub(super) fn counts<T: Copy + Default + PartialEq, const N: usize>(
        &mut self,
        all: [(&str, Option<T>, &mut T); N],
    ) {
        for (key, value, place) in all {
            *place = self.at_least_1(key, value, *place);
        }
    }

    pub(super) fn at_least_1<T: Default + PartialEq>(
        &mut self,
        key: &str,
        value: Option<T>,
        default: T,
    ) -> T {
        match value {
            Some(zero) if zero == T::default() => {
                self.fault(key, "must be at least 1");
                default
            }
            Some(value) => value,
            None => default,
        }
    }

    /// Resolves a reference to a secret; the fault names the reference, which is no secret.
    fn secret(&mut self, key: &str, reference: Option<&str>) -> Option<String> {
        let reference = reference?;
        // A clear secret written by mistake must not be printed, so the text itself is not.
        let Ok(parsed) = SecretRef::from_str(reference) else {
            self.fault(key, "is no reference to a secret; write env:NAME or file:/path");
            return None;
        };
        match parsed {
            SecretRef::Env(name) => match std::env::var(&name) {
                Ok(value) if value.is_empty() => {
                    self.fault(key, &format!("the environment variable {name} is empty"));
                    None
                }
                Ok(value) => Some(value),
                Err(_) => {
                    self.fault(key, &format!("the environment variable {name} is not set"));
                    None
                }
            },
            SecretRef::File(path, Some(inner)) => {
                let (shown, suffix) = (path.display(), format!("#{inner}"));
                self.fault(
                    key,
                    &format!("takes the whole file; write file:{shown} without `{suffix}`, and the secret alone in it"),
                );
                None
            }
            SecretRef::File(path, None) => match std::fs::read_to_string(self.base.join(&path)) {
                Ok(text) if text.trim().is_empty() => {
                    self.fault(key, &format!("{} is empty", path.display()));
                    None
                }
                Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    self.fault(key, &format!("cannot read {}: {error}", path.display()));
                    None
                }
            },
        }
    }

    /// A secret of a target, `None` where the command at hand does without.
    fn target_secret(&mut self, key: &str, reference: Option<&str>) -> Option<String> {
        match self.needs {
            Needs::Targets | Needs::TargetsIfAny => self.secret(key, reference),
            Needs::Ensemble => None,
        }
    }

    fn target_url(&mut self, key: &str, raw: &raw::Target) -> String {
        let parsed = url::Url::parse(&raw.url).ok();
        if parsed.as_ref().is_some_and(|url| url.password().is_some()) {
            self.fault(
                &format!("{key}.url"),
                "holds a clear password; rotate it, take it out, and write password = \"env:NAME\" or \"file:/path\"",
            );
        }
        let password = self.target_secret(&format!("{key}.password"), raw.password.as_deref());
        let Some(password) = password else { return raw.url.clone() };
        let with_password = parsed.and_then(|mut url| {
            url.set_password(Some(&password)).ok()?;
            Some(url.to_string())
        });
        with_password.unwrap_or_else(|| {
            self.fault(
                &format!("{key}.url"),
                "takes no password; write it like postgres://user@host:5432/superset",
            );
            raw.url.clone()
        })
    }

    fn target(
        &mut self,
        index: usize,
        raw: &raw::Target,
        policy: &applier::Policy,
        env: &str,
    ) -> applier::TargetConfig {
        let key = format!("target[{index}]");
        if raw.name.is_empty()
            || !raw.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        {
            self.fault(&format!("{key}.name"), &format!("`{}` is no name; use A-Z a-z 0-9 _ -", raw.name));
        }
        let secret_key =
            self.target_secret(&format!("{key}.secret_key"), Some(&raw.secret_key)).unwrap_or_default();
        let mut target = applier::TargetConfig::new(&raw.name, env, superset::Cipher::new(&secret_key));
        if let Some(name) = &raw.timezone {
            match jiff::tz::TimeZone::get(name) {
                Ok(timezone) => target.timezone = timezone,
                Err(_) => self.fault(
                    &format!("{key}.timezone"),
                    &format!("`{name}` is no timezone; write one like UTC or Europe/Berlin"),
                ),
            }
        }
        target.ledger_schema.clone_from(&raw.ledger_schema);
        if let Some(drivers) = &raw.drivers {
            target.drivers = drivers.iter().cloned().collect();
        }
        target.secrets.folders = match &raw.secret_folders {
            Some(folders) => folders.iter().map(|folder| self.path(folder)).collect(),
            None => ["/run/secrets", "/etc/setkeeper/secrets"].map(PathBuf::from).into(),
        };
        let prefix = raw.secret_env_prefix.clone().unwrap_or_else(|| "SETKEEPER_SECRET_".to_owned());
        target.secrets.variables = vec![prefix];
        target.policy = applier::Policy {
            pending_max: self.at_least_1(&format!("{key}.pending_max"), raw.pending_max, policy.pending_max),
            document_max: self.at_least_1(
                &format!("{key}.document_bytes_max"),
                raw.document_bytes_max,
                policy.document_max,
            ),
            ..policy.clone()
        };
        self.counts([
            (&format!("{key}.observe_rounds"), raw.observe_rounds, &mut target.rounds),
            (&format!("{key}.attempts"), raw.attempts, &mut target.attempts),
        ]);
        target
    }

    fn secret_retry(&mut self, index: usize, raw: &raw::Target) -> Duration {
        let key = format!("target[{index}].secret_retry");
        self.duration(&key, raw.secret_retry.as_deref(), Duration::from_secs(60))
    }
}
