//! Paths below an environment's root, and what stands where.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A znode's path below the environment's root, without a leading slash: `assets/main/charts/sales`.
///
/// Holds whatever ZooKeeper itself accepts, names outside setkeeper's allow-list too: such a change has to travel
/// to be rejected on record. [`ZnodePath::place`] tells whether it is a name we use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ZnodePath(String);

/// Why a text is no znode path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "znode path `{path}` {why}; write it below the environment's root, for example `assets/main/charts/sales`"
)]
pub struct ZnodePathError {
    path: String,
    why: &'static str,
}

impl ZnodePath {
    /// The text, without a leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Whether `self` is `ancestor` or stands below it.
    #[must_use]
    pub fn is_within(&self, ancestor: &ZnodePath) -> bool {
        self.0.strip_prefix(&ancestor.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether changes at this path are put on the queue at all.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        let mut parts = self.0.split('/');
        match parts.next() {
            Some("assets" | "settings" | "endpoints") => true,
            Some("control") => parts.next() == Some("approvals"),
            _ => false,
        }
    }

    /// What the path stands for.
    ///
    /// # Errors
    /// [`BadPlace`] if a name is outside `[A-Za-z0-9._-]{1,200}` or nothing of ours stands at that depth. The inner
    /// znodes of the tree (`assets/main`) are [`Place::Folder`].
    pub fn place(&self) -> Result<Place<'_>, BadPlace> {
        let parts: Vec<&str> = self.0.split('/').collect();
        if let Some(bad) = parts.iter().find(|part| !is_allowed(part)) {
            return Err(BadPlace::Name(escape(bad)));
        }
        match *parts.as_slice() {
            ["assets", project, folder, name] => Ok(Place::Asset { project, folder, name }),
            ["settings", group, name] => Ok(Place::Setting { group, name }),
            ["endpoints", name] => Ok(Place::Endpoint { name }),
            ["control", "approvals", name] => Ok(Place::Approval { name }),
            ["assets" | "settings" | "endpoints"] | ["control", "approvals"] => Ok(Place::Folder),
            ["assets", _] | ["assets", _, _] | ["settings", _] => Ok(Place::Folder),
            _ => Err(BadPlace::Depth(escape(&self.0))),
        }
    }
}

/// What a watched path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// `assets/<project>/<folder>/<name>`: a document.
    Asset {
        /// The unit of rights.
        project: &'a str,
        /// The kind's folder, not yet checked: `charts`.
        folder: &'a str,
        /// Free.
        name: &'a str,
    },
    /// `settings/<group>/<name>`.
    Setting {
        /// `feature_flags`, `config`, `scale`, `endpoints`.
        group: &'a str,
        /// The key.
        name: &'a str,
    },
    /// `endpoints/<name>`.
    Endpoint {
        /// The endpoint's name.
        name: &'a str,
    },
    /// `control/approvals/<ulid>`.
    Approval {
        /// The approval's id.
        name: &'a str,
    },
    /// An inner znode of the tree, which holds others and no document.
    Folder,
}

/// Why a watched path is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// A name outside the allow-list, escaped for printing.
    #[error("name `{0}` is not allowed; use 1 to 200 of A-Z a-z 0-9 . _ -")]
    Name(String),
    /// A znode where none of ours belongs, escaped for printing.
    #[error("nothing of setkeeper's stands at `{0}`; documents stand at assets/<project>/<folder>/<name>")]
    Depth(String),
}

fn is_allowed(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Keeps a hostile name from steering a terminal or a log line.
fn escape(name: &str) -> String {
    name.escape_default().take(300).collect()
}

impl fmt::Display for ZnodePath {
    /// Escapes what is not printable ASCII.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.bytes().all(|b| b.is_ascii_graphic()) {
            f.write_str(&self.0)
        } else {
            write!(f, "{}", self.0.escape_default())
        }
    }
}

impl FromStr for ZnodePath {
    type Err = ZnodePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why| Err(ZnodePathError { path: escape(text), why });
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.starts_with('/') {
            return refuse("starts with a slash");
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return refuse("has an empty, `.` or `..` part");
        }
        if text.contains('\0') {
            return refuse("holds a NUL");
        }
        Ok(ZnodePath(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for ZnodePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ZnodePath {
        text.parse().expect("a znode path")
    }

    #[test]
    fn a_hostile_name_travels_but_is_never_used() {
        for name in ["a'; DROP TABLE dbs", "${jndi:x}", "\u{202e}txt", "*", "a b", &"x".repeat(201)] {
            let path = path(&format!("assets/main/charts/{name}"));
            assert!(matches!(path.place(), Err(BadPlace::Name(_))), "{name}");
        }
        assert_eq!(path("assets/main/charts/a\u{202e}b").to_string(), "assets/main/charts/a\\u{202e}b");
    }

    #[test]
    fn only_the_four_roots_are_watched() {
        for watched in ["assets/a", "settings/config/X", "endpoints/hive", "control/approvals/1"] {
            assert!(path(watched).is_watched(), "{watched}");
        }
        for other in ["generation", "edits/1", "workers/watcher", "control/pause", "locks/a", "assetsx/a"] {
            assert!(!path(other).is_watched(), "{other}");
        }
    }

    #[test]
    fn places_are_told_by_depth() {
        assert_eq!(
            path("assets/main/charts/a").place(),
            Ok(Place::Asset { project: "main", folder: "charts", name: "a" })
        );
        assert_eq!(path("assets/main").place(), Ok(Place::Folder));
        assert!(matches!(path("assets/main/charts/a/b").place(), Err(BadPlace::Depth(_))));
    }

    #[test]
    fn within_means_whole_parts() {
        assert!(path("assets/main/charts").is_within(&path("assets/main")));
        assert!(!path("assets/mainline").is_within(&path("assets/main")));
    }
}
