//! Documents to rows of Superset's metadata database, and rows to documents. Pure: facts in, decisions out; it
//! performs no I/O and knows no ledger.
//!
//! # The way through
//! ```text
//! loop { ask(documents, deletes, &facts) -> queries, ids -> (the caller runs and reserves them) -> learn, reserve }
//! before = facts.rows.clone();   put | remove, each on the working copy in facts
//! render(&diff(&before, &facts.rows), &facts.schema) -> statements in an order that keeps every key whole
//! ```
//!
//! # Guarantees
//! - The same facts and documents give the same statements, byte for byte.
//! - `put` of a document that the rows already say changes nothing; a `put` or `remove` that fails changes nothing.
//! - What has no column in this Superset is refused, never dropped in silence.
//! - No secret is shown by `Debug` or stands in a [`Fault`]; rows and statements hold ciphertext only.
//!
//! # What Superset's importer changes, and [`put`] with it
//! [`portable`] names it all: ids inside JSON become those of this database; annotation layers other than
//! formulas go, and `annotation_layers` is always there; `native_filter_configuration` is always there;
//! `show_native_filters`, `filter_scopes` and `default_filters` go; a query context that is no JSON object goes.
//! Tags are not written, as with the importer of assets. Besides, `chartsInScope` is rewritten, which Superset 6.1
//! forgets.

mod ask;
mod cipher;
mod conflict;
mod diff;
mod digest;
mod facts;
mod fault;
mod ids;
mod json;
mod lift;
mod lower;
mod need;
mod permission;
mod perms;
mod portable;
mod put;
mod read;
mod remove;
mod render;
mod rows;
mod schema;
mod table;
#[cfg(test)]
mod tests;
mod uri;
mod value;

pub use ask::{Ask, By, Lookup, Query, introspection, probe, queries};
pub use cipher::{Cipher, CipherFault};
pub use conflict::conflicts;
pub use diff::{RowOp, Spot, diff};
pub use digest::{Digest, digest, unknown};
pub use facts::{Facts, Reserved, Savepoint, Secret};
pub use fault::{Fault, FaultKind, User, UserKind};
pub use json::{dumps, dumps_object};
pub use lift::lift;
pub use lower::lower;
pub use need::ask;
pub use portable::portable;
pub use put::{Touched, put};
pub use remove::{exists, remove, users_of};
pub use render::{Statement, render};
pub use rows::{Row, Rows};
pub use schema::{Schema, SchemaFault};
pub use table::{Breadth, Column, Dialect, IdSource, Role, Sweep, SweepAction, Table};
pub use uri::{DRIVERS, MASK, check_uri};
pub use value::{Json, Type, Value};
