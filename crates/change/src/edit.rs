//! What a person or a tool did on purpose.

use serde::{Deserialize, Serialize};

use crate::ZnodePath;

/// The edit record: the first znode of every multi that our tools write, at `edits/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Format, 1.
    pub v: u32,
    /// ULID of the edit; the parts of one edit have ids of their own and the same `of`.
    pub id: String,
    /// The id of the first part; the same as `id` for an edit of one part.
    pub of: String,
    /// This part, from 1.
    pub part: u32,
    /// How many parts the edit has.
    pub parts: u32,
    /// Who.
    pub author: String,
    /// Why.
    pub message: String,
    /// W3C trace context, if the caller had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The edit that this one undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<String>,
    /// What this part changed.
    pub changes: Vec<EditChange>,
}

/// One path of an edit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditChange {
    /// Below the environment's root.
    pub path: ZnodePath,
    /// What was done there.
    pub op: EditOp,
    /// SHA-256 of the stored bytes; absent for a delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What an edit did to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EditOp {
    /// Created or set.
    Put,
    /// Deleted.
    Delete,
}
