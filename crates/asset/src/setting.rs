//! What stands below `settings`: feature flags, configuration keys, counts of nodes, and what endpoints follow.

pub(crate) mod follow;
mod live;

use serde_json::Value;

use crate::fault::{Fault, FaultKind, Faults};
use crate::fields::{Builder, Fields, wrong_type};
use crate::{Follow, Object, parse, secret};

/// The most nodes that a service may be scaled to.
const COUNT_MAX: u32 = 10_000;

/// The groups of settings: the folders below `settings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// `feature_flags/<FLAG>`: a feature flag of Superset.
    FeatureFlags,
    /// `config/<KEY>`: a key of `superset_config.py`.
    Config,
    /// `scale/<service>`: how many nodes a service shall have.
    Scale,
    /// `endpoints/<name>`: what an endpoint follows.
    Endpoints,
}

impl Group {
    /// All groups.
    pub const ALL: [Group; 4] = [Group::FeatureFlags, Group::Config, Group::Scale, Group::Endpoints];

    /// Returns the group of the settings below `folder`.
    #[must_use]
    pub fn from_folder(folder: &str) -> Option<Group> {
        Group::ALL.into_iter().find(|group| group.folder() == folder)
    }

    /// Returns the folder that holds the settings of this group.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Group::FeatureFlags => "feature_flags",
            Group::Config => "config",
            Group::Scale => "scale",
            Group::Endpoints => "endpoints",
        }
    }
}

/// One setting, whole.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// Whether a feature flag is on.
    Flag(bool),
    /// The value of a configuration key.
    Config(Value),
    /// How many nodes a service shall have.
    Scale(Scale),
    /// What an endpoint follows.
    Follow(Follow),
}

/// How many nodes a service shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// The nodes, at most 10,000.
    pub count: u32,
}

impl Setting {
    /// Returns the canonical JSON: of objects that are ours the keys in the order of their documentation, without
    /// those at their default.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Setting::Flag(flag) => Value::from(*flag),
            Setting::Config(value) => value.clone(),
            Setting::Scale(scale) => scale.to_json().into(),
            Setting::Follow(follow) => follow.to_json().into(),
        }
    }
}

impl Scale {
    fn to_json(self) -> Object {
        let mut object = Builder::default();
        object.put("v", 1).put("count", self.count);
        object.into_object()
    }
}

/// Reads the bytes of `settings/<group>/<name>`: JSON, or gzip of it.
///
/// # Errors
/// Returns every fault that was found, as [`crate::parse`] does. A configuration key that must not stand in
/// ZooKeeper is a fault, and so is a value that may be a secret.
pub fn parse_setting(group: Group, name: &str, bytes: &[u8]) -> Result<Setting, Vec<Fault>> {
    let (value, mut faults) = parse::read(bytes).map_err(|fault| vec![fault])?;
    check_name(group, name, &mut faults);
    let setting = match group {
        Group::FeatureFlags => Setting::Flag(flag(&value, &mut faults)),
        Group::Config => Setting::Config(config(name, value, &mut faults)),
        Group::Scale => Setting::Scale(scale(Fields::new(String::new(), value, &mut faults))),
        Group::Endpoints => Setting::Follow(follow::parse(Fields::new(String::new(), value, &mut faults))),
    };
    if faults.is_empty() { Ok(setting) } else { Err(faults.into_vec()) }
}

/// Says whether an endpoint or a service may have this name: the allow-list of all our znodes.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn check_name(group: Group, name: &str, faults: &mut Faults) {
    let fault = match group {
        Group::FeatureFlags if !is_constant(name) => Some((FaultKind::BadValue, NOT_A_CONSTANT.to_owned())),
        Group::Config => refusal(name),
        Group::Scale | Group::Endpoints if !is_name(name) => {
            let message = "the name is 1 to 200 of A-Z a-z 0-9 . _ -; give the znode such a name";
            Some((FaultKind::BadValue, message.to_owned()))
        }
        Group::FeatureFlags | Group::Scale | Group::Endpoints => None,
    };
    if let Some((kind, message)) = fault {
        faults.push(Fault::new("", kind, message));
    }
}

const NOT_A_CONSTANT: &str =
    "the name is capital letters, digits and `_`, the first a letter; give the znode such a name";

fn is_constant(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What feature flags are made of. They have a group of their own, and the hook that brings them live is ours.
const FLAG_KEYS: [&str; 5] = [
    "FEATURE_FLAGS",
    "DEFAULT_FEATURE_FLAGS",
    "GET_FEATURE_FLAGS_FUNC",
    "IS_FEATURE_ENABLED_FUNC",
    "FLASK_APP_MUTATOR",
];

/// Says why a key of Superset's configuration must not stand in ZooKeeper.
fn refusal(key: &str) -> Option<(FaultKind, String)> {
    let keep = "keep it in superset_config.py, and delete the znode";
    if !is_constant(key) {
        return Some((FaultKind::BadValue, NOT_A_CONSTANT.to_owned()));
    }
    if matches!(key, "SECRET_KEY" | "PREVIOUS_SECRET_KEY") || secret::is_secret_name(key) {
        return Some((FaultKind::ClearSecret, format!("named like a secret; rotate it, {keep}")));
    }
    if key.starts_with("AUTH_") || key.ends_with("_URI") {
        return Some((
            FaultKind::Unsupported,
            format!("who may log in and where data are is not a setting; {keep}"),
        ));
    }
    if FLAG_KEYS.contains(&key) {
        let message = "feature flags have settings of their own; write settings/feature_flags/<FLAG>, \
                       and delete the znode";
        return Some((FaultKind::Unsupported, message.to_owned()));
    }
    None
}

/// Superset takes the text `"false"` for on, so a flag is true or false and nothing else.
fn flag(value: &Value, faults: &mut Faults) -> bool {
    if let Value::Bool(flag) = value {
        return *flag;
    }
    faults.push(wrong_type("", "true or false", value));
    false
}

fn config(key: &str, value: Value, faults: &mut Faults) -> Value {
    live::check(key, &value, faults);
    for path in secret::places_with_secrets(&value) {
        let message = "may hold a clear secret; rotate it, and keep it in superset_config.py";
        faults.push(Fault::new(path, FaultKind::ClearSecret, message));
    }
    value
}

fn scale(mut fields: Fields<'_>) -> Scale {
    check_v(&mut fields);
    let count = fields.required("count").and_then(|value| {
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        let count = count.filter(|count| *count <= COUNT_MAX);
        if count.is_none() {
            let message = format!("not a number of nodes; write an integer from 0 to {COUNT_MAX}");
            fields.fault("count", FaultKind::BadValue, message);
        }
        count
    });
    fields.finish("a scale setting");
    Scale { count: count.unwrap_or_default() }
}

/// Takes the version of one of our own formats, of which there is one.
pub(crate) fn check_v(fields: &mut Fields<'_>) {
    if let Some(version) = fields.required("v")
        && version.as_u64() != Some(1)
    {
        fields.fault("v", FaultKind::BadValue, "not a version of this format; write 1");
    }
}

/// The feature flags that Superset 6.1 reads once, at its start.
const FLAGS_READ_AT_START: [&str; 7] = [
    "GLOBAL_TASK_FRAMEWORK",
    "ENABLE_EXTENSIONS",
    "GLOBAL_ASYNC_QUERIES",
    "THUMBNAILS_SQLA_LISTENERS",
    "DRUID_JOINS",
    "ENABLE_JAVASCRIPT_CONTROLS",
    "TAGGING_SYSTEM",
];

/// Says whether a running Superset obeys a changed `settings/config/<KEY>`; every other key needs a restart.
///
/// The list was tested on Superset 6.1.0. `DATA_CACHE_CONFIG` is not in it: of that only the timeout is live.
#[must_use]
pub fn is_live_key(key: &str) -> bool {
    live::KEYS.iter().any(|(live, _)| *live == key)
}

/// Says whether a running Superset obeys a changed `settings/feature_flags/<FLAG>`: every flag but those that
/// Superset 6.1.0 reads at its start.
#[must_use]
pub fn is_live_flag(flag: &str) -> bool {
    !FLAGS_READ_AT_START.contains(&flag)
}

#[cfg(test)]
mod tests;
