//! The live settings of one node: what `settings/feature_flags` and `settings/config` hold, as the one file that
//! `setkeeper_live.py` reads inside Superset.
//!
//! # Guarantees
//! - Same settings, same bytes.
//! - What cannot be read or understood is never taken for gone: the last good value of a znode that is bad, unreadable
//!   or ephemeral stays in the file, and [`Settings::faults`] says why it is not the newest.

use std::collections::{BTreeMap, BTreeSet};

use asset::{Group, Setting, is_live_flag, is_live_key, parse_setting};
use change::Lifetime;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use zk::Found;

mod file;

pub use file::{FileError, LiveFile, Note};

/// The Python module that Superset's configuration imports.
pub const MODULE: &str = include_str!("../../../deploy/setkeeper_live.py");

/// The groups that become live settings.
const GROUPS: [Group; 2] = [Group::FeatureFlags, Group::Config];

/// The settings as the newest good version of each znode has them. Keys are paths below `settings`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    good: BTreeMap<String, Value>,
    faults: BTreeMap<String, String>,
}

impl Settings {
    /// The settings that a file of ours holds; `None` if it is not one.
    #[must_use]
    pub fn read_back(bytes: &[u8]) -> Option<Settings> {
        let file: Value = serde_json::from_slice(bytes).ok()?;
        if file["v"] != json!(1) {
            return None;
        }
        let mut settings = Settings::default();
        for group in GROUPS {
            for (name, entry) in file[group.folder()].as_object()? {
                settings.good.insert(format!("{}/{name}", group.folder()), entry.get("value")?.clone());
            }
        }
        Some(settings)
    }

    /// Takes over what stands below `settings`, as a follower of it has it. Returns whether anything came of it.
    pub fn fold(&mut self, nodes: &BTreeMap<String, Found>, unreadable: &BTreeSet<String>) -> bool {
        let before = self.clone();
        self.faults.clear();
        for path in unreadable.iter().filter(|path| is_ours(path)) {
            let what = "zookeeper refuses to show it; check zookeeper.auth and its ACL";
            self.faults.insert(format!("settings/{path}").trim_end_matches('/').to_owned(), what.to_owned());
        }
        if !nodes.contains_key("") && !self.good.is_empty() {
            let what = "is gone, whole; if that is meant, delete what is below it one by one, or run `setkeeper init`";
            self.faults.insert("settings".to_owned(), what.to_owned());
            return *self != before;
        }
        self.good.retain(|path, _| nodes.contains_key(path) || is_below(path, unreadable));
        for (path, found) in nodes {
            let Some((group, name)) = setting_at(path) else { continue };
            match value_of(group, name, found) {
                Ok(value) => {
                    self.good.insert(path.clone(), value);
                }
                Err(why) => {
                    self.faults.insert(format!("settings/{path}"), why);
                }
            }
        }
        *self != before
    }

    /// What is wrong, by path, and whose last good value stands in the file therefore.
    #[must_use]
    pub fn faults(&self) -> &BTreeMap<String, String> {
        &self.faults
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.good.len()
    }

    /// The file.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut file = Map::new();
        file.insert("v".to_owned(), json!(1));
        for group in GROUPS {
            let entries = self.group(group).map(|(name, value)| {
                let mut entry = Map::new();
                entry.insert("value".to_owned(), value.clone());
                entry.insert("live".to_owned(), json!(is_live(group, name)));
                entry.insert("digest".to_owned(), json!(digest(value)));
                (name.to_owned(), Value::Object(entry))
            });
            file.insert(group.folder().to_owned(), Value::Object(entries.collect()));
        }
        let mut bytes = serde_json::to_vec_pretty(&file).expect("JSON values always make JSON");
        bytes.push(b'\n');
        bytes
    }

    /// The settings, as paths below `settings`, that need a restart and that one of these processes began without, or
    /// with another value.
    #[must_use]
    pub fn lacks<'a>(&self, processes: impl IntoIterator<Item = &'a Note>) -> BTreeSet<String> {
        let needed: BTreeMap<&str, String> = self
            .good
            .iter()
            .filter(|(path, _)| needs_restart(path))
            .map(|(path, value)| (path.as_str(), digest(value)))
            .collect();
        let mut lacks = BTreeSet::new();
        for process in processes {
            let other = needed.iter().filter(|(path, digest)| process.had.get(**path) != Some(digest));
            lacks.extend(other.map(|(path, _)| (*path).to_owned()));
            let removed =
                process.had.keys().filter(|path| needs_restart(path) && !needed.contains_key(path.as_str()));
            lacks.extend(removed.cloned());
        }
        lacks
    }

    fn group(&self, group: Group) -> impl Iterator<Item = (&str, &Value)> {
        let below =
            move |path: &'_ str| path.strip_prefix(group.folder()).is_some_and(|rest| rest.starts_with('/'));
        self.good
            .iter()
            .filter(move |(path, _)| below(path))
            .map(move |(path, value)| (&path[group.folder().len() + 1..], value))
    }
}

/// The group and the name of a live setting; `None` for every other path.
fn setting_at(path: &str) -> Option<(Group, &str)> {
    let (folder, name) = path.split_once('/')?;
    let group = Group::from_folder(folder).filter(|group| GROUPS.contains(group))?;
    Some((group, name))
}

/// Whether a path is one of the live settings' folders, above them or below.
fn is_ours(path: &str) -> bool {
    path.is_empty() || GROUPS.iter().any(|group| path.split('/').next() == Some(group.folder()))
}

fn is_below(path: &str, roots: &BTreeSet<String>) -> bool {
    let covers = |root: &String| {
        root.is_empty()
            || path.strip_prefix(root.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    roots.iter().any(covers)
}

fn value_of(group: Group, name: &str, found: &Found) -> Result<Value, String> {
    if found.lifetime != Lifetime::Persistent {
        return Err("would go with its session; create it persistent".to_owned());
    }
    match parse_setting(group, name, &found.bytes) {
        Ok(Setting::Flag(flag)) => Ok(json!(flag)),
        Ok(Setting::Config(value)) => Ok(value),
        Ok(Setting::Scale(_) | Setting::Follow(_)) => Err("is no setting of Superset".to_owned()),
        Err(faults) => Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    }
}

fn is_live(group: Group, name: &str) -> bool {
    match group {
        Group::FeatureFlags => is_live_flag(name),
        Group::Config => is_live_key(name),
        Group::Scale | Group::Endpoints => false,
    }
}

fn needs_restart(path: &str) -> bool {
    setting_at(path).is_some_and(|(group, name)| !is_live(group, name))
}

/// Tells values apart: the first half of the SHA-256 of the JSON text.
fn digest(value: &Value) -> String {
    let bytes = serde_json::to_vec(value).expect("a JSON value always makes JSON");
    Sha256::digest(&bytes)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
