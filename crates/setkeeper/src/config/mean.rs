//! From the configuration as written to the configuration as meant: every fault is found, not only the first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use asset::{Kind, SecretRef};

use super::raw::{self, Raw};
use super::source::Source;
use super::{Audit, Config, Target};

/// Collects faults, so that one does not hide the next.
struct Reading<'a> {
    base: &'a Path,
    state: &'a Path,
    faults: Vec<String>,
}

/// Turns `raw` into a [`Config`]. Relative paths are relative to `base`, the configuration's folder; what setkeeper
/// keeps for itself goes to `state`.
///
/// # Errors
/// One line a fault: the key, what is wrong, how to mend it.
pub(super) fn mean(raw: Raw, base: &Path, state: &Path) -> Result<Config, Vec<String>> {
    let mut reading = Reading { base, state, faults: Vec::new() };
    let config = reading.config(raw);
    if reading.faults.is_empty() { Ok(config) } else { Err(reading.faults) }
}

impl Reading<'_> {
    fn config(&mut self, raw: Raw) -> Config {
        let batch = raw.queue.batch_max.unwrap_or(256);
        if batch == 0 {
            self.fault("queue.batch_max", "must be at least 1");
        }
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
            targets.push(self.target(index, target, &policy, &raw.env, batch));
        }
        if raw.target.is_empty() {
            self.fault("target", "no target is configured; add a [[target]] with name, url and secret_key");
        }
        Config {
            watcher: self.watcher(&raw.zookeeper),
            zookeeper: self.zookeeper(&raw.env, &raw.zookeeper),
            queue: self.queue(&raw.queue),
            targets,
            audit: self.audit(&raw.audit, batch),
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
            env: raw.env,
        }
    }

    fn fault(&mut self, key: &str, what: &str) {
        self.faults.push(format!("{key}: {what}"));
    }

    fn zookeeper(&mut self, env: &str, raw: &raw::Zookeeper) -> zk::Config {
        let mut config = zk::Config::new(&raw.connect, env);
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
        config.request_bytes_max = raw.request_bytes_max.unwrap_or(config.request_bytes_max);
        config.reads_in_flight = self.at_least_1("zookeeper.reads_in_flight", raw.reads_in_flight, 64);
        config
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

    fn watcher(&mut self, raw: &raw::Zookeeper) -> watcher::Config {
        let (Some(raw::Feed::Watch) | None) = raw.feed;
        let defaults = watcher::Config::default();
        watcher::Config {
            canary_every: self.duration(
                "zookeeper.canary_every",
                raw.canary_every.as_deref(),
                defaults.canary_every,
            ),
            canary_within: self.duration(
                "zookeeper.canary_within",
                raw.canary_within.as_deref(),
                defaults.canary_within,
            ),
            reconcile_every: self.duration(
                "zookeeper.reconcile_every",
                raw.reconcile_every.as_deref(),
                defaults.reconcile_every,
            ),
            reads_in_flight: self.at_least_1("zookeeper.reads_in_flight", raw.reads_in_flight, 64),
            edits_kept: self.at_least_1("zookeeper.edits_kept", raw.edits_kept, defaults.edits_kept),
            ..defaults
        }
    }

    fn queue(&mut self, raw: &raw::Queue) -> queue::Config {
        let (Some(raw::QueueKind::Embedded) | None) = raw.kind;
        let path = raw.path.as_deref().map_or_else(|| self.state.join("queue.db"), |path| self.path(path));
        let defaults = queue::Config::new(path);
        queue::Config {
            max_bytes: raw.bytes_max.unwrap_or(defaults.max_bytes),
            busy_timeout: self.duration(
                "queue.busy_timeout",
                raw.busy_timeout.as_deref(),
                defaults.busy_timeout,
            ),
            ..defaults
        }
    }

    fn audit(&mut self, raw: &raw::Audit, batch: usize) -> Audit {
        let url =
            raw.url.clone().unwrap_or_else(|| format!("sqlite://{}", self.state.join("audit.db").display()));
        if !url.starts_with("sqlite:") {
            self.fault("audit.url", "is no SQLite database; write sqlite:///path/to/audit.db");
        }
        let defaults = auditor::Config::default();
        Audit {
            database: Source::new(url, sql::Config { create: true, wal: true, ..sql::Config::default() }),
            auditor: auditor::Config {
                keep_queue: self.duration("audit.keep_queue", raw.keep_queue.as_deref(), defaults.keep_queue),
                batch_records: batch,
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

    fn path(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }

    fn duration(&mut self, key: &str, text: Option<&str>, default: Duration) -> Duration {
        let Some(text) = text else { return default };
        match humantime::parse_duration(text) {
            Ok(duration) if !duration.is_zero() => duration,
            _ => {
                self.fault(key, &format!("`{text}` is no duration; write one like 500ms, 6s or 10m"));
                default
            }
        }
    }

    fn at_least_1(&mut self, key: &str, value: Option<usize>, default: usize) -> usize {
        match value {
            Some(0) => {
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
                Ok(value) => Some(value),
                Err(_) => {
                    self.fault(key, &format!("the environment variable {name} is not set"));
                    None
                }
            },
            SecretRef::File(path, _) => match std::fs::read_to_string(self.base.join(&path)) {
                Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    self.fault(key, &format!("cannot read {}: {error}", path.display()));
                    None
                }
            },
        }
    }

    fn target_url(&mut self, key: &str, raw: &raw::Target) -> String {
        let Some(password) = self.secret(&format!("{key}.password"), raw.password.as_deref()) else {
            return raw.url.clone();
        };
        let with_password = url::Url::parse(&raw.url).ok().and_then(|mut url| {
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
        batch: usize,
    ) -> Target {
        let key = format!("target[{index}]");
        if raw.name.is_empty()
            || !raw.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        {
            self.fault(&format!("{key}.name"), &format!("`{}` is no name; use A-Z a-z 0-9 _ -", raw.name));
        }
        let secret_key = self.secret(&format!("{key}.secret_key"), Some(&raw.secret_key)).unwrap_or_default();
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
        let retry = self.duration(
            &format!("{key}.secret_retry"),
            raw.secret_retry.as_deref(),
            Duration::from_secs(60),
        );
        Target {
            name: raw.name.clone(),
            database: Source::new(self.target_url(&key, raw), sql::Config::default()),
            applier: applier::Config {
                batch_records: batch,
                secrets_interval: retry,
                ..applier::Config::new(target)
            },
        }
    }
}
