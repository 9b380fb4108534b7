//! `settings/endpoints/<name>`: what an endpoint follows, and how it chooses.

use std::time::Duration;

use serde_json::json;

use crate::HostPort;
use crate::Object;
use crate::fault::FaultKind;
use crate::fields::{Builder, Fields};
use crate::setting::check_v;

/// The longest that an endpoint may take to settle or to hold on to its choice.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What an endpoint follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// How the registry writes its znodes.
    pub registry: Registry,
    /// The ensemble that holds the registry, `zk9:2181,zk8:2181/chroot`. Default: ours.
    pub connect: Option<String>,
    /// The registry's znode, absolute within the ensemble (and its chroot).
    pub path: String,
    /// How to choose from what is there. Default: [`Choose::Sticky`].
    pub choose: Choose,
    /// What must hold of one that is chosen, beside its being registered. Default: nothing.
    pub check: Option<Check>,
    /// How long a registry must be quiet before a change of it is taken over. Default: 2 s.
    pub settle: Duration,
    /// How long a choice stands at least, as long as it is there. Default: 30 s.
    pub min_hold: Duration,
}

impl Follow {
    /// What `settle` is when omitted.
    pub const DEFAULT_SETTLE: Duration = Duration::from_secs(2);
    /// What `min_hold` is when omitted.
    pub const DEFAULT_MIN_HOLD: Duration = Duration::from_secs(30);

    pub(crate) fn to_json(&self) -> Object {
        let mut object = Builder::default();
        object
            .put("v", 1)
            .put("registry", self.registry.as_str())
            .put_some("connect", &self.connect)
            .put("path", self.path.as_str())
            .put_unless("choose", &Some(self.choose.as_str()), Some(Choose::Sticky.as_str()));
        match &self.check {
            None => {}
            Some(Check::Tcp) => {
                object.put("check", json!({"tcp": true}));
            }
            Some(Check::Http(path)) => {
                object.put("check", json!({"http": path}));
            }
        }
        let waits = [
            ("settle", self.settle, Follow::DEFAULT_SETTLE),
            ("min_hold", self.min_hold, Follow::DEFAULT_MIN_HOLD),
        ];
        for (key, wait, default) in waits {
            if wait != default {
                object.put(key, humantime::format_duration(wait).to_string());
            }
        }
        object.into_object()
    }
}

/// How a registry writes its znodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Registry {
    /// HiveServer2: names like `serverUri=host:port;version=…;sequence=…`.
    HiveServer2,
    /// Kyuubi: names like `serverUri=host:port;version=…;…;sequence=…`.
    Kyuubi,
    /// Curator's x-discovery: `ServiceInstance` JSON.
    Curator,
    /// Twitter's serverset: JSON with `serviceEndpoint`.
    Serverset,
    /// Znodes whose data or name is `host:port`.
    HostPort,
}

impl Registry {
    /// All registries.
    pub const ALL: [Registry; 5] =
        [Registry::HiveServer2, Registry::Kyuubi, Registry::Curator, Registry::Serverset, Registry::HostPort];

    /// Returns the word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Registry::HiveServer2 => "hiveserver2",
            Registry::Kyuubi => "kyuubi",
            Registry::Curator => "curator",
            Registry::Serverset => "serverset",
            Registry::HostPort => "hostport",
        }
    }
}

/// How an endpoint chooses from what is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Choose {
    /// The first in the registry's order.
    First,
    /// The one that is chosen now, as long as it is there.
    Sticky,
    /// One at random, seeded by the endpoint's name, so that every run chooses alike.
    Random,
    /// All, in the registry's order.
    All,
}

impl Choose {
    /// All ways to choose.
    pub const ALL: [Choose; 4] = [Choose::First, Choose::Sticky, Choose::Random, Choose::All];

    /// Returns the word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Choose::First => "first",
            Choose::Sticky => "sticky",
            Choose::Random => "random",
            Choose::All => "all",
        }
    }
}

/// What must hold of a host before it is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// It accepts a TCP connection.
    Tcp,
    /// It answers a GET of this path with a status of success.
    Http(String),
}

pub(crate) fn parse(mut fields: Fields<'_>) -> Follow {
    check_v(&mut fields);
    let follow = Follow {
        registry: registry(&mut fields).unwrap_or(Registry::HostPort),
        connect: connect(&mut fields),
        path: znode(&mut fields),
        choose: choose(&mut fields),
        check: check(&mut fields),
        settle: wait(&mut fields, "settle", Follow::DEFAULT_SETTLE),
        min_hold: wait(&mut fields, "min_hold", Follow::DEFAULT_MIN_HOLD),
    };
    fields.finish("what an endpoint follows");
    follow
}

pub(crate) fn registry(fields: &mut Fields<'_>) -> Option<Registry> {
    let word = fields.required_name("registry");
    let registry = Registry::ALL.into_iter().find(|registry| registry.as_str() == word);
    if registry.is_none() && !word.is_empty() {
        let message =
            format!("no such registry; write one of {}", words(Registry::ALL.map(Registry::as_str)));
        fields.fault("registry", FaultKind::BadValue, message);
    }
    registry
}

fn choose(fields: &mut Fields<'_>) -> Choose {
    let Some(word) = fields.text("choose") else { return Choose::Sticky };
    let choose = Choose::ALL.into_iter().find(|choose| choose.as_str() == word);
    if choose.is_none() {
        let message = format!("no way to choose; write one of {}", words(Choose::ALL.map(Choose::as_str)));
        fields.fault("choose", FaultKind::BadValue, message);
    }
    choose.unwrap_or(Choose::Sticky)
}

fn words<const N: usize>(words: [&str; N]) -> String {
    words.map(|word| format!("`{word}`")).join(", ")
}

/// Takes the hosts of another ensemble. A user has no place in it: no credentials of ours go there.
pub(crate) fn connect(fields: &mut Fields<'_>) -> Option<String> {
    let connect = fields.text("connect")?;
    let (hosts, chroot) = connect.split_at(connect.find('/').unwrap_or(connect.len()));
    let is_right = hosts.split(',').all(|host| host.parse::<HostPort>().is_ok())
        && (chroot.is_empty() || is_znode(chroot));
    if !is_right {
        let message = "not the hosts of an ensemble; write them like `zk1:2181,zk2:2181` or with a chroot, \
                       `zk1:2181/chroot`";
        fields.fault("connect", FaultKind::BadValue, message);
    }
    Some(connect)
}

/// Takes the registry's znode.
pub(crate) fn znode(fields: &mut Fields<'_>) -> String {
    let path = fields.required_name("path");
    if !path.is_empty() && !is_znode(&path) {
        let message = "not the absolute path of a znode; write it like `/hiveserver2`";
        fields.fault("path", FaultKind::BadValue, message);
    }
    path
}

fn is_znode(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains(char::is_control))
    })
}

fn check(fields: &mut Fields<'_>) -> Option<Check> {
    let value = fields.take_some("check")?;
    let path = fields.path_of("check");
    let mut check = Fields::new(path.clone(), value, fields.faults());
    let tcp = check.flag("tcp", false).unwrap_or(false);
    let http = check.text("http");
    if http.as_ref().is_some_and(|path| !is_http_path(path)) {
        let message = "not a path; write it like `/health`, the host and port are the endpoint's";
        check.fault("http", FaultKind::BadValue, message);
    }
    let is_one = tcp != http.is_some();
    check.finish("`check` of an endpoint");
    if !is_one {
        let message = "not one check; write `{\"tcp\": true}`, `{\"http\": \"/path\"}` or null";
        fields.fault_at(path, FaultKind::BadValue, message);
    }
    Some(http.map_or(Check::Tcp, Check::Http))
}

fn is_http_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

fn wait(fields: &mut Fields<'_>, key: &str, default: Duration) -> Duration {
    let Some(text) = fields.text(key) else { return default };
    let wait = humantime::parse_duration(&text).ok().filter(|wait| *wait <= WAIT_MAX);
    if wait.is_none() {
        let message = "not a time of at most a day; write it like `2s` or `500ms`";
        fields.fault(key, FaultKind::BadValue, message);
    }
    wait.unwrap_or(default)
}
