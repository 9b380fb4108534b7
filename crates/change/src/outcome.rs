//! What an applier came to, one per change and try.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ChangeId, Fence, Millis, ZnodePath};

/// Identifies an outcome, so that one that is relayed twice is recorded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OutcomeKey {
    /// The target's id, from its own ledger.
    pub target: Uuid,
    /// The applier's fence.
    pub fence: Fence,
    /// Counts up within the target.
    pub sequence: u64,
}

impl fmt::Display for OutcomeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.target, self.fence, self.sequence)
    }
}

/// What one application of one change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Identity.
    pub key: OutcomeKey,
    /// The target's name.
    pub target: String,
    /// The change.
    pub change: ChangeId,
    /// What made the applier look at it.
    pub cause: Cause,
    /// What it came to.
    pub verdict: Verdict,
    /// Other managed paths whose rows this change rewrote.
    pub also: Vec<ZnodePath>,
    /// The document that the rows held before, only where they had drifted from the ledger.
    pub before: Option<String>,
    /// By the applier's clock, right before its transaction's commit.
    pub committed: Millis,
}

/// What made the applier look at a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It came on the queue.
    Change,
    /// It was pending, and what it waited for may have come.
    Reconcile,
}

/// What a change came to. Any number of `Held`, then exactly one of the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Waits; tried again whenever its cause changes.
    Held {
        /// What for.
        waiting: Vec<Waiting>,
    },
    /// The rows were written.
    Applied,
    /// The rows were so already.
    Unchanged,
    /// A later change of the asset was written in its place.
    Superseded,
    /// Older than what the ledger has.
    Skipped,
    /// Cannot be applied; the last good state stays.
    Rejected {
        /// What is wrong and how to mend it. Never holds a secret.
        reason: String,
        /// Where in the document: `columns[3].type`.
        place: Option<String>,
    },
    /// The rows were removed.
    Deleted,
}

impl Verdict {
    /// The one word for it, as in the audit's column `outcome`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Held { .. } => "held",
            Verdict::Applied => "applied",
            Verdict::Unchanged => "unchanged",
            Verdict::Superseded => "superseded",
            Verdict::Skipped => "skipped",
            Verdict::Rejected { .. } => "rejected",
            Verdict::Deleted => "deleted",
        }
    }

    /// Whether this ends the application.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Verdict::Held { .. })
    }
}

/// What a held change waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "crate::wire::WaitingV1", into = "crate::wire::WaitingV1")]
pub enum Waiting {
    /// An asset that is not there yet.
    Reference {
        /// The asset's kind: `dataset`.
        kind: String,
        /// The asset's uuid.
        uuid: Uuid,
    },
    /// An endpoint that is not there yet.
    Endpoint {
        /// Its name: `endpoints/<name>`.
        name: String,
    },
    /// A secret that could not be resolved: the reference, never the value.
    Secret {
        /// `env:NAME` or `file:/path`.
        reference: String,
    },
    /// The delete guard: `setkeeper approve` lets it pass.
    DeleteGuard {
        /// How many deletes of the kind came within the window.
        deletes: u64,
        /// How many may.
        limit: u64,
    },
    /// A delete of something that others still use.
    StillUsed {
        /// Who: paths of managed assets, names of others.
        by: Vec<String>,
    },
    /// A target that is configured to hold deletes.
    Policy,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Reference { kind, uuid } => write!(f, "{kind} {uuid}, which is not there yet"),
            Waiting::Endpoint { name } => write!(f, "endpoint {name}, which is not there yet"),
            Waiting::Secret { reference } => write!(f, "secret {reference}, which cannot be read"),
            Waiting::DeleteGuard { deletes, limit } => {
                write!(f, "an approval: {deletes} deletes of this kind, {limit} may pass unasked")
            }
            Waiting::StillUsed { by } => write!(f, "those that still use it: {}", by.join(", ")),
            Waiting::Policy => f.write_str("an approval: this target holds deletes"),
        }
    }
}
