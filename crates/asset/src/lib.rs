//! Superset's documents: one JSON object for one database, dataset, chart or dashboard, in the shape of
//! Superset's own v1 export, field for field.
//!
//! Beside the documents it reads what stands below `settings` ([`parse_setting`]) and `endpoints`
//! ([`parse_chosen`]), just as strictly.
//!
//! What goes in: bytes of a znode ([`parse`]) or of a bundle ([`bundle::read`]). What comes out: a
//! [`Document`], its one canonical text ([`Document::canonical`]), what it refers to
//! ([`Document::references`], [`Document::secrets`]) and how it differs from another ([`diff`]). Nothing here
//! knows rows or SQL, and nothing is read or written except by [`bundle::read`], which reads files.
//!
//! # Guarantees
//! - `parse(kind, canonical(x)) == x`, and an omitted field has the same canonical bytes as its explicit default.
//! - A [`Document`] never holds a clear secret, only references to secrets, so its `Debug`, its canonical text
//!   and its differences may be shown. A [`Fault`] never repeats a value of the document, so it may be shown too.

pub mod bundle;
mod canonical;
mod diff;
mod document;
mod endpoint;
mod fault;
mod fields;
mod json;
mod parse;
mod redact;
mod secret;
mod setting;
mod yaml;

pub use diff::{FieldChange, diff, diff_values};
pub use document::chart::Chart;
pub use document::dashboard::Dashboard;
pub use document::database::{Database, Extras, Secrets};
pub use document::dataset::{Column, Dataset, Metric};
pub use document::reference::{Reference, SecretRef, SecretRefFault, Strength};
pub use document::{Document, Kind, VERSION};
pub use endpoint::{CHOSEN_MAX, Chosen, HostPort, HostPortFault, Source, parse_chosen};

pub use fault::{Fault, FaultKind};
pub use parse::{DOCUMENT_BYTES_MAX, parse, unpack};
pub use redact::redact;
pub use secret::PASSWORD_MASK;
pub use setting::follow::{Check, Choose, Follow, Registry};
pub use setting::{Group, Scale, Setting, is_live_flag, is_live_key, parse_setting};

/// A JSON object whose keys keep their order, as Superset keeps it.
pub type Object = serde_json::Map<String, serde_json::Value>;
