//! Applies changes to one Superset metadata database, each at most once in effect, in order.
//!
//! What goes in: records of the topic `changes`, from the position that the database's own ledger holds. What
//! comes out: Superset's rows, and one [`change::Outcome`] per change and try on the topic `outcomes`.
//!
//! ```text
//! Work ──brief──▶ documents ──ask, observe──▶ Facts ──decide──▶ Plan ──diff, render──▶ statements ──▶ COMMIT
//!                                                                └─ ledger, outbox, position ──┘
//! ```
//!
//! # Guarantees
//! - Rows, ledger, outcomes and position are committed together or not at all, under a fence that only grows. So
//!   whatever dies wherever, a change takes effect once, and a database that was restored from a backup catches up
//!   from its own position.
//! - Deciding is pure: the same work over the same facts gives the same plan, and any batching of records gives
//!   the rows and the ledger that one record at a time gives.
//! - A change that cannot be applied is recorded with its reason, and everything else flows on.
//! - No secret is in the ledger, an outcome, an error or a log line.

mod book;
mod decide;
mod fail;
mod ledger;
mod observe;
mod outbox;
mod run;
mod secrets;
mod target;
mod transact;
mod work;

#[cfg(test)]
mod tests;

pub use book::{Applied, Edge, Entry, Ledger, Pending, State, Stream, Tombstone, Until, Want};
pub use fail::{Broken, Fail, FailPoint, UnknownName};
pub use ledger::{InitError, Inited, Item, LedgerError, StatusError, TargetStatus, init_db, status};
pub use observe::ObserveError;
pub use run::{Advice, Applier, Config, Error, Stats, Stopped};
pub use secrets::SecretSources;
pub use target::{ApplyError, OpenError, Target, TargetConfig};
pub use work::{Deletes, Policy, Read, Selection, Work};
