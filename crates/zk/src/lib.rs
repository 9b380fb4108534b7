//! One ZooKeeper ensemble, seen from one environment: a session below `/superset/<env>`, reading its tree, writing
//! an edit, following a subtree, locks and the election of a role's active worker, registrations, the generation, pause
//! and requests for a resync.
//!
//! Knows nothing of Superset, of SQL or of the queue.
//!
//! # Guarantees
//! - A failed read is never an absence: a missing root is [`ReadError::NotInitialised`], a subtree that may not be
//!   read stands in [`Snapshot::unreadable`], a lost session is an error.
//! - [`Session::write`] changes a path only from the state that the caller expected, and happens once: every part
//!   is one multi with its edit record, and after an unknown outcome that record tells whether it happened.
//! - A later [`Held`] of a lock or a role has the higher fence, and [`Held::lost`] resolves before the server can expire
//!   the session.
//! - Whatever becomes of a connection or of a dropped call, no znode of ours stays behind in a lock's queue.
//!
//! # Assumptions
//! - ZooKeeper 3.6 or later. Writers that are not ours may write at any time; those that delete and create a znode
//!   again between our look and our write are found afterwards ([`WrittenPart::overwrote`]), not refused, because a
//!   multi cannot check a czxid.

mod config;
mod control;
mod elect;
mod follow;
mod generation;
mod held;
mod lock;
mod marks;
mod read;
mod register;
mod report;
mod session;
mod write;

pub use config::{AclEntry, Acls, Auth, BadConfig, Config, FollowConfig, Sasl, Secret, Tls, ZkRoot};
pub use control::{ControlError, Pause, PauseWatch, ResyncRequest};
pub use elect::{Candidate, Reporter, Worker};
pub use follow::{Elsewhere, Follower};
pub use generation::GenerationError;
pub use held::{Held, Lost, Note};
pub use lock::{
    Holder, Kind, LockError, LockState, Mode, ParseStyleError, ParseTokenError, Queued, Style, Token,
};
pub use read::{Found, ReadError, Snapshot};
pub use register::{Gone, RegisterError, Registration};
pub use session::{Advice, ConnectError, Session, SessionEnd};
pub use write::{
    Conflict, Draft, Expect, PartFault, PruneError, Pruner, VersionedEdit, WriteError, WriteOp, WrittenPart,
};
