//! The history of an environment: records what the topics `changes` and `outcomes` say, answers questions about
//! it, and proves that nobody altered it.
//!
//! What goes in: the two topics. What comes out: rows of the audit database (`migrations/audit/` describes them,
//! `docs/audit.md` explains them), each chained by hash to the one before it, and the views `config_history` and
//! `config_now`.
//!
//! # Guarantees
//! - A record and the position after it are committed in one transaction, under the auditor's fence: after a
//!   crash nothing is recorded twice or left out.
//! - A change is recorded once by its id and an outcome once by its key, however often they come.
//! - Rows are only added. Their order is one dense sequence, and [`Audit::verify`] names the first row that was
//!   altered, moved or removed.
//! - No secret is stored: documents are kept in their canonical form, which holds none, or redacted.
//! - How records were batched does not show in the rows.
//!
//! # Assumptions
//! - One auditor an environment at a time; a second one is kept out by the fence, not by trust in the lock.
//! - The applier's outcomes hold no secret.

mod chain;
mod changes;
mod describe;
mod facts;
mod history;
mod outcomes;
mod row;
mod run;
mod stats;
mod store;
mod trim;
mod verify;

pub use chain::{BadHead, Head};
pub use history::{Audit, Counts, Filter, HistoryRow, ReadError, Status};
pub use row::Table;
pub use run::{Advice, Auditor, Config, Error, FailPoint, Stopped, UnknownFailPoint};
pub use stats::{Snapshot, Stats};
pub use store::StoreError;
pub use verify::{Finding, VerifyReport};

/// The group under which the auditor's positions stand as hints in the queue.
pub const GROUP: &str = "auditor";
