//! Identities and the numbers that order things.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ZnodePath;

/// A ZooKeeper transaction id. Comparable only within one [`Generation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Zxid(pub i64);

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Milliseconds since 1970-01-01 UTC, as ZooKeeper's `Stat` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl fmt::Display for Millis {
    /// RFC 3339 in UTC with milliseconds; times outside the calendar print as the bare number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = time::macros::format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        );
        let text = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|at| at.format(&format).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}ms", self.0),
        }
    }
}

/// Which life of the ensemble zxids belong to. It stands at `/superset/<env>/generation`; `n` only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Raised by `setkeeper approve generation`, never by a worker.
    pub n: u64,
    /// Random; tells two ensembles with the same `n` apart.
    pub id: Uuid,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.n, self.id)
    }
}

/// What makes a worker's term safe: the generation, then the czxid of the lock znode that elected it.
///
/// A later term always has the higher fence, because a lock znode created later has the higher czxid and a new
/// generation is only ever raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// `n` of the [`Generation`] that the worker was elected in.
    pub generation: u64,
    /// czxid of the election's lock znode.
    pub czxid: i64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.czxid)
    }
}

/// Identifies one change, whichever feed saw it and however often.
///
/// Within one life of a znode (one czxid) its data version only grows, so the four together never repeat; a
/// delete ends that life, so it needs no version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId {
    /// `n` of the generation.
    pub generation: u64,
    /// Where, below the environment's root.
    pub path: ZnodePath,
    /// The transaction that created this life of the znode.
    pub czxid: i64,
    /// Data version; `None` for the delete that ended this life.
    pub version: Option<i32>,
}

impl fmt::Display for ChangeId {
    /// `3:assets/main/charts/sales@77.4`, and `…@77.-` for a delete.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}@{}.", self.generation, self.path, self.czxid)?;
        match self.version {
            Some(version) => write!(f, "{version}"),
            None => f.write_str("-"),
        }
    }
}

/// A text that is not a [`ChangeId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a change id; one looks like `3:assets/main/charts/sales@77.4`")]
pub struct ParseIdError(String);

impl FromStr for ChangeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (generation, rest) = text.split_once(':')?;
            let (path, tail) = rest.rsplit_once('@')?;
            let (czxid, version) = tail.split_once('.')?;
            let version = if version == "-" { None } else { Some(version.parse().ok()?) };
            Some(ChangeId {
                generation: generation.parse().ok()?,
                path: path.parse().ok()?,
                czxid: czxid.parse().ok()?,
                version,
            })
        };
        parse().ok_or_else(|| ParseIdError(text.to_owned()))
    }
}

impl Serialize for ChangeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChangeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Lower-case hexadecimal SHA-256 of stored bytes.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_id_reads_back_what_it_prints() {
        for text in ["3:assets/main/charts/sales@77.4", "1:assets/main/charts/a:b@c@1.-"] {
            assert_eq!(text.parse::<ChangeId>().expect("parses").to_string(), text);
        }
        assert!("assets/main/charts/sales".parse::<ChangeId>().is_err());
    }

    #[test]
    fn a_newer_generation_outranks_any_czxid() {
        let old = Fence { generation: 1, czxid: 900 };
        let new = Fence { generation: 2, czxid: 1 };
        assert!(new > old);
    }

    #[test]
    fn millis_print_as_utc() {
        assert_eq!(Millis(1_795_417_852_367).to_string(), "2026-11-23T07:10:52.367Z");
    }
}
