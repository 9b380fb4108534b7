//! Who stands in a lock's queue, by the names of its znodes. Pure.
//!
//! The recipe is the same everywhere: an ephemeral sequential znode each, in the order of their sequence. What differs
//! is which of the others a client looks at. Ours look at every name that ends in a sequence, so that nobody's turn is
//! passed over; kazoo's look only at names with `__lock__` or `__rlock__`, and Curator's mutex sorts a name without
//! `lock-` by its whole text. That is why no name serves both, and why there is a [`Style`].

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::Serialize;
use uuid::Uuid;

/// Whose names a lock's znodes have: who else is to contend for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// Curator's `InterProcessMutex` and `InterProcessReadWriteLock`.
    #[default]
    Curator,
    /// Python kazoo's `Lock`, `ReadLock` and `WriteLock`, as they come.
    Kazoo,
}

/// A text that is no [`Style`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no style of lock; there are `curator` and `kazoo`")]
pub struct ParseStyleError(String);

impl FromStr for Style {
    type Err = ParseStyleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "curator" => Ok(Style::Curator),
            "kazoo" => Ok(Style::Kazoo),
            _ => Err(ParseStyleError(text.escape_default().to_string())),
        }
    }
}

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Alone.
    #[default]
    Exclusive,
    /// Alone, under the name that Curator's `InterProcessReadWriteLock` looks for: the writer among its readers. The
    /// same as [`Mode::Exclusive`] among setkeeper's own and kazoo's clients.
    Write,
    /// Together with others that share it.
    Shared,
    /// Together with so many in all; every client of the lock must give the same number. Known to setkeeper alone.
    Counted(NonZeroU32),
}

/// What a contender's name tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Curator's mutex, and ours in its style.
    Curator,
    /// A reader of Curator's read-write lock.
    CuratorRead,
    /// A writer of Curator's read-write lock.
    CuratorWrite,
    /// Curator's leader latch, and our elections.
    CuratorLatch,
    /// kazoo's lock, and ours in its style.
    Kazoo,
    /// kazoo's read lock.
    KazooRead,
    /// A name with `lock-` and without Curator's prefix: the kazoo subclass that the documentation shows, or another
    /// client that Curator's mutexes take for one of theirs.
    CuratorLike,
    /// Some other client.
    Unknown,
}

impl Kind {
    /// The kind of the contender of this name.
    #[must_use]
    pub fn of(znode: &str) -> Kind {
        let Some((before, _)) = split(znode) else { return Kind::Unknown };
        let by_curator = before.starts_with("_c_");
        match before {
            _ if before.ends_with("__READ__") => Kind::CuratorRead,
            _ if before.ends_with("__WRIT__") => Kind::CuratorWrite,
            _ if before.ends_with("__rlock__") => Kind::KazooRead,
            _ if before.ends_with("__lock__") => Kind::Kazoo,
            _ if before.ends_with("latch-") && by_curator => Kind::CuratorLatch,
            _ if before.ends_with("lock-") && by_curator => Kind::Curator,
            _ if before.ends_with("lock-") => Kind::CuratorLike,
            _ => Kind::Unknown,
        }
    }

    /// Whether it shares the lock with others of its kind.
    #[must_use]
    pub fn is_shared(self) -> bool {
        matches!(self, Kind::CuratorRead | Kind::KazooRead)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Curator => "curator",
            Kind::CuratorRead => "curator, shared",
            Kind::CuratorWrite => "curator, write",
            Kind::CuratorLatch => "curator latch",
            Kind::Kazoo => "kazoo",
            Kind::KazooRead => "kazoo, shared",
            Kind::CuratorLike => "curator-like",
            Kind::Unknown => "unknown",
        })
    }
}

/// The name of a new contender, without the sequence that the server adds. The uuid makes it findable after a create of
/// unknown outcome.
pub(crate) fn prefix(style: Style, mode: Mode, unique: Uuid) -> String {
    match (style, mode) {
        (Style::Curator, Mode::Exclusive | Mode::Counted(_)) => format!("_c_{unique}-lock-"),
        (Style::Curator, Mode::Write) => format!("_c_{unique}-__WRIT__"),
        (Style::Curator, Mode::Shared) => format!("_c_{unique}-__READ__"),
        (Style::Kazoo, Mode::Shared) => format!("{}__rlock__", unique.simple()),
        (Style::Kazoo, Mode::Exclusive | Mode::Write | Mode::Counted(_)) => {
            format!("{}__lock__", unique.simple())
        }
    }
}

/// A name without its sequence, and the sequence. The server's counter is a signed 32-bit number printed as `%010d`, so
/// that after 2³¹ contenders it goes on at `-2147483648`.
fn split(znode: &str) -> Option<(&str, i64)> {
    let at = znode.len().checked_sub(10)?;
    let (before, digits) = (znode.get(..at)?, znode.get(at..)?);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let sequence: i64 = digits.parse().ok()?;
    match before.strip_suffix('-') {
        Some(rest) if rest.ends_with(['-', '_']) => Some((rest, -sequence)),
        _ => Some((before, sequence)),
    }
}

/// The contenders among a folder's children, first come first. Other children are none of the lock's business.
pub(crate) fn order(children: Vec<String>) -> Vec<String> {
    let sequenced = children.into_iter().filter_map(|name| split(&name).map(|(_, at)| (at, name.clone())));
    let mut queue: Vec<(i64, String)> = sequenced.collect();
    queue.sort_unstable();
    queue.into_iter().map(|(_, name)| name).collect()
}

/// What the contender at `at` waits for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing: it holds.
    Mine,
    /// The end of this one.
    After(String),
    /// The end of any of those before it.
    AfterAny,
}

pub(crate) fn turn(queue: &[String], at: usize, mode: Mode) -> Turn {
    let ahead = &queue[..at];
    let last = match mode {
        Mode::Exclusive | Mode::Write => ahead.last(),
        Mode::Shared => ahead.iter().rev().find(|name| !Kind::of(name).is_shared()),
        Mode::Counted(most) => {
            let full = u32::try_from(at).unwrap_or(u32::MAX) >= most.get();
            return if full { Turn::AfterAny } else { Turn::Mine };
        }
    };
    last.map_or(Turn::Mine, |name| Turn::After(name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURATOR: &str = "_c_9a3f57a1-8a3b-4c4b-8f11-0d0a6b8f7a55-lock-0000000007";
    const READ: &str = "_c_9a3f57a1-8a3b-4c4b-8f11-0d0a6b8f7a55-__READ__0000000008";
    const KAZOO: &str = "6f8c2e5f0b8a4c6f9d51c0c4a9d6f0aa__lock__0000000003";
    const KAZOO_READ: &str = "6f8c2e5f0b8a4c6f9d51c0c4a9d6f0aa__rlock__0000000009";

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn contenders_are_told_by_their_names() {
        for (name, kind) in [
            (CURATOR, Kind::Curator),
            (READ, Kind::CuratorRead),
            (KAZOO, Kind::Kazoo),
            (KAZOO_READ, Kind::KazooRead),
            ("_c_9a3f57a1-8a3b-4c4b-8f11-0d0a6b8f7a55-__WRIT__0000000001", Kind::CuratorWrite),
            ("_c_9a3f57a1-8a3b-4c4b-8f11-0d0a6b8f7a55-latch-0000000001", Kind::CuratorLatch),
            ("6f8c2e5f0b8a4c6f9d51c0c4a9d6f0aa-lock-0000000001", Kind::CuratorLike),
            ("n_0000000001", Kind::Unknown),
            ("canary", Kind::Unknown),
            ("", Kind::Unknown),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn our_names_are_the_kind_that_they_should_be() {
        let unique = Uuid::new_v4();
        let count = Mode::Counted(NonZeroU32::MIN);
        for (style, mode, kind) in [
            (Style::Curator, Mode::Exclusive, Kind::Curator),
            (Style::Curator, count, Kind::Curator),
            (Style::Curator, Mode::Write, Kind::CuratorWrite),
            (Style::Curator, Mode::Shared, Kind::CuratorRead),
            (Style::Kazoo, Mode::Exclusive, Kind::Kazoo),
            (Style::Kazoo, Mode::Write, Kind::Kazoo),
            (Style::Kazoo, Mode::Shared, Kind::KazooRead),
        ] {
            assert_eq!(Kind::of(&format!("{}0000000000", prefix(style, mode, unique))), kind);
        }
    }

    #[test]
    fn the_queue_goes_by_sequence_whoever_stands_in_it() {
        let old = "_c_9a3f57a1-8a3b-4c4b-8f11-0d0a6b8f7a55-lock--2147483648";
        let oldest = "6f8c2e5f0b8a4c6f9d51c0c4a9d6f0aa__lock__-2147483649";
        let queue = order(names(&[READ, "canary", CURATOR, old, KAZOO, "x", "ä000000000", oldest]));
        assert_eq!(queue, names(&[oldest, old, KAZOO, CURATOR, READ]));
    }

    #[test]
    fn one_waits_for_the_last_that_stands_in_its_way() {
        let queue = names(&[KAZOO, CURATOR, READ, KAZOO_READ]);
        let after = |name: &str| Turn::After(name.to_owned());
        assert_eq!(turn(&queue, 0, Mode::Exclusive), Turn::Mine);
        assert_eq!(turn(&queue, 1, Mode::Exclusive), after(KAZOO));
        assert_eq!(turn(&queue, 3, Mode::Write), after(READ));
        assert_eq!(turn(&queue, 3, Mode::Shared), after(CURATOR));
        assert_eq!(turn(&queue[2..], 1, Mode::Shared), Turn::Mine);
        let two = Mode::Counted(NonZeroU32::MIN.saturating_add(1));
        assert_eq!(turn(&queue, 1, two), Turn::Mine);
        assert_eq!(turn(&queue, 2, two), Turn::AfterAny);
    }
}
