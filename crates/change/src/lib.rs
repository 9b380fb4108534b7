//! What travels on the queue: the changes of one ZooKeeper transaction, the outcomes that an applier came to,
//! the identities that both are known by, and the wire form of it all.
//!
//! Pure: no I/O, no clock, no table shapes. Every other crate may depend on this one; it depends on none.
//!
//! ```text
//! watcher ──Record──▶ topic `changes` ──▶ applier ──Outcome──▶ topic `outcomes` ──▶ auditor
//! ```

mod edit;
mod ids;
mod outcome;
mod path;
mod record;
mod tree;
pub mod wire;

pub use edit::{Edit, EditChange, EditOp};
pub use ids::{ChangeId, Fence, Generation, Millis, ParseIdError, Zxid, sha256_hex};
pub use outcome::{Cause, Outcome, OutcomeKey, Verdict, Waiting};
pub use path::{BadPlace, Place, ZnodePath, ZnodePathError};
pub use record::{Change, Lifetime, Op, Record, ResyncBegin, ResyncEnd, Term, Txn};
pub use tree::{Difference, Node, Tree};

/// The three topics of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// What ZooKeeper committed: written by the watcher under its fence.
    Changes,
    /// What appliers came to: never fenced, deduplicated by [`OutcomeKey`].
    Outcomes,
    /// The checkpoint of the known tree: latest value per key.
    Tree,
}

impl Topic {
    /// The topic's name in the queue, `setkeeper.<env>.changes` and so on.
    #[must_use]
    pub fn name(self, env: &str) -> String {
        let tail = match self {
            Topic::Changes => "changes",
            Topic::Outcomes => "outcomes",
            Topic::Tree => "tree",
        };
        format!("setkeeper.{env}.{tail}")
    }
}
