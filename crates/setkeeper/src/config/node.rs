//! `[agent]`: how one Superset node is looked after.

use std::time::Duration;

use agent::health::HealthUrl;
use agent::hook::Command;
use agent::run::Config;
use agent::scale;
use serde::Deserialize;

use super::mean::Reading;

/// As written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAgent {
    service: Option<String>,
    instance: Option<String>,
    address: Option<String>,
    port: Option<u16>,
    weight: Option<u32>,
    version: Option<String>,
    payload: Option<serde_json::Map<String, serde_json::Value>>,
    health_url: Option<String>,
    health_every: Option<String>,
    health_timeout: Option<String>,
    failures: Option<u32>,
    live_file: Option<String>,
    drain_grace: Option<String>,
    restart_command: Option<Vec<String>>,
    restart_timeout: Option<String>,
    healthy_within: Option<String>,
    max_unavailable: Option<std::num::NonZeroU32>,
    restart_valid: Option<String>,
    scale_command: Option<Vec<String>>,
    scale_timeout: Option<String>,
    scale_settle: Option<String>,
    scale_retry: Option<String>,
}

/// Where Superset's own server tells how it is, if nothing else is written.
const HEALTH_URL: &str = "http://127.0.0.1:8088/health";

/// The two names are one path part (`agent-<service>-<instance>`) of at most so many characters.
const ROLE_MAX: usize = 200;

impl Reading<'_> {
    /// The node as meant. What is not written comes from the machine.
    pub(super) fn agent(&mut self, raw: &RawAgent) -> Config {
        let host = hostname();
        let health_url = self.health_url(raw.health_url.as_deref());
        let mut config = Config {
            service: self.node_name("agent.service", raw.service.as_deref(), "superset"),
            instance: self.node_name("agent.instance", raw.instance.as_deref(), &host),
            address: self.address(raw.address.as_deref(), &host),
            port: raw.port.unwrap_or_else(|| health_url.port()),
            weight: raw.weight.unwrap_or(1),
            version: raw.version.clone(),
            payload: raw.payload.clone().unwrap_or_default(),
            health_url,
            health_every: Duration::from_secs(2),
            health_timeout: Duration::from_secs(5),
            failures: 3,
            live_file: self.live_file(raw.live_file.as_deref()),
            drain_grace: self.drain_grace(raw.drain_grace.as_deref()),
            restart_command: self.hook("agent.restart_command", raw.restart_command.as_deref()),
            restart_timeout: Duration::from_secs(120),
            healthy_within: Duration::from_secs(180),
            max_unavailable: raw.max_unavailable.unwrap_or(std::num::NonZeroU32::MIN),
            restart_valid: Duration::from_secs(3600),
            scale_command: self.hook("agent.scale_command", raw.scale_command.as_deref()),
            scale_timeout: Duration::from_secs(300),
            scale: scale::Bounds { settle: Duration::from_secs(30), retry: Duration::from_secs(300) },
        };
        self.durations([
            ("agent.health_every", &raw.health_every, &mut config.health_every),
            ("agent.health_timeout", &raw.health_timeout, &mut config.health_timeout),
            ("agent.restart_timeout", &raw.restart_timeout, &mut config.restart_timeout),
            ("agent.healthy_within", &raw.healthy_within, &mut config.healthy_within),
            ("agent.restart_valid", &raw.restart_valid, &mut config.restart_valid),
            ("agent.scale_timeout", &raw.scale_timeout, &mut config.scale_timeout),
            ("agent.scale_settle", &raw.scale_settle, &mut config.scale.settle),
            ("agent.scale_retry", &raw.scale_retry, &mut config.scale.retry),
        ]);
        self.counts([("agent.failures", raw.failures, &mut config.failures)]);
        self.weight(&config);
        if agent::run::role(&config.service, &config.instance).len() > ROLE_MAX {
            let what = format!(
                "is too long beside agent.service; `agent-<service>-<instance>`, in which a `-` of the service counts \
                 twice, may have {ROLE_MAX} characters"
            );
            self.fault("agent.instance", &what);
        }
        if config.instance.starts_with('-') {
            self.fault("agent.instance", "begins with `-`; name the node otherwise");
        }
        if config.port == 0 {
            self.fault("agent.port", "0 is no port; write the one that clients reach superset at");
        }
        config
    }

    /// Whoever reads the registry leaves out a node whose weight it cannot take.
    fn weight(&mut self, config: &Config) {
        let max = agent::discover::WEIGHT_MAX;
        let fits = |weight: u64| weight <= max;
        if !fits(config.weight.into()) {
            self.fault("agent.weight", &format!("is no weight; write 0 to {max}"));
        }
        if config.payload.get("weight").is_some_and(|weight| !weight.as_u64().is_some_and(fits)) {
            self.fault("agent.payload.weight", &format!("is no weight; write a whole number of 0 to {max}"));
        }
    }

    fn health_url(&mut self, text: Option<&str>) -> HealthUrl {
        let default = || HEALTH_URL.parse().expect("the default is a plain HTTP address");
        let Some(text) = text else { return default() };
        text.parse().unwrap_or_else(|error: agent::health::BadHealthUrl| {
            self.fault("agent.health_url", &error.to_string());
            default()
        })
    }

    fn node_name(&mut self, key: &str, text: Option<&str>, default: &str) -> String {
        let name = text.unwrap_or(default);
        if text.is_some() && !is_name(name) {
            self.fault(
                key,
                &format!("`{}` is no name; use 1 to 190 of A-Z a-z 0-9 . _ -", name.escape_default()),
            );
        }
        name.to_owned()
    }

    fn address(&mut self, text: Option<&str>, default: &str) -> String {
        let address = text.unwrap_or(default);
        let host_port = if address.contains(':') { format!("[{address}]:1") } else { format!("{address}:1") };
        if text.is_some() && host_port.parse::<asset::HostPort>().is_err() {
            let what = format!("`{}` is no host name or IP address", address.escape_default());
            self.fault("agent.address", &what);
        }
        address.to_owned()
    }

    fn live_file(&self, text: Option<&str>) -> Option<std::path::PathBuf> {
        match text {
            Some("") => None,
            Some(text) => Some(self.path(text)),
            None => Some(self.state("live.json")),
        }
    }

    /// None at all is a choice, too.
    fn drain_grace(&mut self, text: Option<&str>) -> Duration {
        match text.map(humantime::parse_duration) {
            Some(Ok(Duration::ZERO)) => Duration::ZERO,
            _ => self.duration("agent.drain_grace", text, Duration::from_secs(5)),
        }
    }

    fn hook(&mut self, key: &str, words: Option<&[String]>) -> Option<Command> {
        let command = Command::new(words?);
        if command.is_none() {
            self.fault(key, "is empty; write the program and its arguments, for example [\"systemctl\", \"restart\", \"superset\"]");
        }
        command
    }
}

/// One path part, short enough for the names that are made of it.
fn is_name(text: &str) -> bool {
    (1..=190).contains(&text.len())
        && !matches!(text, "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// This machine's name; what a name may not hold becomes `-`.
fn hostname() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_good = |each: char| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '-');
    let name: String = text.trim().chars().map(|each| if is_good(each) { each } else { '-' }).collect();
    if is_name(&name) { name } else { "localhost".to_owned() }
}
