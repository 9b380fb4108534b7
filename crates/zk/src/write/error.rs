//! Why an edit, or the rest of it, was not written.

use std::fmt;

use change::ZnodePath;
use zookeeper_client::Error as ZkError;

use super::{Expect, WrittenPart};
use crate::read::ReadError;
use crate::session::Advice;

/// Why an edit, or the rest of it, was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The same path twice in one edit.
    #[error("write the edit: `{0}` stands in it twice; keep one")]
    Twice(ZnodePath),
    /// Nothing of ours stands there.
    #[error("write `{path}`: {why}")]
    Place {
        /// Where.
        path: ZnodePath,
        /// Why not there.
        why: String,
    },
    /// More than one request holds, and it cannot be parted.
    #[error(
        "write {}: that takes a request of {bytes} bytes and {max} are allowed (zookeeper.request_bytes_max, below \
         the server's jute.maxbuffer); make the document smaller, for example by gzip",
        Paths(.paths)
    )]
    TooLarge {
        /// One document, or those of one group; none if author and message alone are too long.
        paths: Vec<ZnodePath>,
        /// What it takes.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// Nothing was written.
    #[error("write the edit; nothing was written")]
    Nothing(#[source] PartFault),
    /// The parts before were written, this one and those after were not.
    #[error(
        "write part {} of {parts}; the {} before it are written: {}",
        .written.len() + 1, .written.len(), Ids(.written)
    )]
    Partly {
        /// What is written.
        written: Vec<WrittenPart>,
        /// How many parts the edit has.
        parts: u32,
        /// Why the next one is not.
        #[source]
        fault: PartFault,
    },
}

/// Why one part was not written.
#[derive(Debug, thiserror::Error)]
pub enum PartFault {
    /// Somebody else changed a path since it was looked at.
    #[error("somebody else changed {}; plan again", Conflicts(.0))]
    Conflict(Vec<Conflict>),
    /// Others wrote all the while.
    #[error("other writers were faster {attempts} times in a row; try again")]
    Busy {
        /// How often it was tried.
        attempts: u32,
    },
    /// The connection was lost each time before the answer came, and what could be read says that it did not happen.
    #[error(
        "the connection was lost {attempts} times before an answer came to a request of {bytes} bytes; look at the \
         server, and whether its jute.maxbuffer is lower than zookeeper.request_bytes_max"
    )]
    Unanswered {
        /// How often it was tried.
        attempts: u32,
        /// How long the request was.
        bytes: usize,
    },
    /// The session ended while the answer was awaited: it may have happened or not.
    #[error("the outcome is unknown: whether it happened is told by `{edit}` (there: it did)")]
    Unknown {
        /// The edit record, absolute.
        edit: String,
        /// What ended it.
        #[source]
        source: ReadError,
    },
    /// The generation was raised meanwhile.
    #[error("the generation changed meanwhile; plan again")]
    Generation,
    /// ZooKeeper refuses one operation for good: `NoAuth`, `NotEmpty`, a quota, an ACL.
    #[error(
        "zookeeper refuses `{path}`; check zookeeper.auth, its ACL, and that a znode to be deleted has no children"
    )]
    Refused {
        /// The znode, absolute.
        path: String,
        /// What ZooKeeper said.
        #[source]
        source: ZkError,
    },
    /// What stands there could not be read.
    #[error("look at what stands there")]
    Read(#[from] ReadError),
}

/// A path that is not as it was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: ZnodePath,
    /// As it was when the edit was decided.
    pub expected: Expect,
    /// As it is.
    pub found: Expect,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (expected {}, found {})", self.path, self.expected, self.found)
    }
}

impl WriteError {
    /// Why the part that failed did.
    #[must_use]
    pub fn fault(&self) -> Option<&PartFault> {
        match self {
            WriteError::Nothing(fault) | WriteError::Partly { fault, .. } => Some(fault),
            WriteError::Twice(_) | WriteError::Place { .. } | WriteError::TooLarge { .. } => None,
        }
    }

    /// The parts that are written all the same.
    #[must_use]
    pub fn written(&self) -> &[WrittenPart] {
        match self {
            WriteError::Partly { written, .. } => written,
            WriteError::Twice(_)
            | WriteError::Place { .. }
            | WriteError::TooLarge { .. }
            | WriteError::Nothing(_) => &[],
        }
    }

    /// The paths that are not as expected.
    #[must_use]
    pub fn conflicts(&self) -> &[Conflict] {
        match self.fault() {
            Some(PartFault::Conflict(conflicts)) => conflicts,
            _ => &[],
        }
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn advice(&self) -> Advice {
        self.fault().map_or(Advice::Stop, PartFault::advice)
    }
}

impl PartFault {
    /// Whether trying again can help; never blindly, because after [`PartFault::Unknown`] the edit record has to be
    /// looked for first.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            PartFault::Busy { .. } | PartFault::Unanswered { .. } => Advice::Restart,
            PartFault::Read(error) => error.advice(),
            PartFault::Conflict(_)
            | PartFault::Unknown { .. }
            | PartFault::Generation
            | PartFault::Refused { .. } => Advice::Stop,
        }
    }
}

/// Why edit records could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// They could not be listed.
    #[error("list the edit records")]
    Read(#[from] ReadError),
    /// One could not be deleted.
    #[error("remove the edit record `{path}`")]
    Zookeeper {
        /// The edit record, absolute.
        path: String,
        /// What ZooKeeper said.
        #[source]
        source: ZkError,
    },
}

impl PruneError {
    /// Whether trying again can help.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            PruneError::Read(error) => error.advice(),
            PruneError::Zookeeper { .. } => Advice::Restart,
        }
    }
}

/// How many of a list are printed.
const SHOWN: usize = 5;

struct Paths<'a>(&'a [ZnodePath]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the edit's author and message");
        }
        list(f, self.0.iter().map(|path| format!("`{path}`")))
    }
}

struct Conflicts<'a>(&'a [Conflict]);

impl fmt::Display for Conflicts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0.iter().map(Conflict::to_string))
    }
}

struct Ids<'a>(&'a [WrittenPart]);

impl fmt::Display for Ids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0.iter().map(|part| part.id.clone()))
    }
}

fn list(f: &mut fmt::Formatter<'_>, all: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    let more = all.len().saturating_sub(SHOWN);
    let shown: Vec<String> = all.take(SHOWN).collect();
    f.write_str(&shown.join(", "))?;
    if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
}
