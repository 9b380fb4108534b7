//! Why an asset cannot become rows, or rows an asset.

use std::fmt;

use asset::{Kind, Reference, SecretRef};
use uuid::Uuid;

use crate::ask::Lookup;
use crate::table::Table;

/// Who uses an asset, or holds a unique value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct User {
    /// What it is.
    pub kind: UserKind,
    /// Its uuid, if it has one.
    pub uuid: Option<Uuid>,
    /// The name that people know.
    pub name: String,
}

/// What a [`User`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserKind {
    /// An asset of a kind that documents have.
    Asset(Kind),
    /// An alert or a report.
    Report,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            UserKind::Asset(kind) => write!(f, "{kind} `{}`", self.name)?,
            UserKind::Report => write!(f, "alert or report `{}`", self.name)?,
        }
        match self.uuid {
            Some(uuid) => write!(f, " ({uuid})"),
            None => Ok(()),
        }
    }
}

/// The class of a [`Fault`], for the caller to act upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// Something that must be there first is not: hold the change until it comes.
    Missing(Reference),
    /// The endpoint of this name is not there: hold the change until it comes.
    Endpoint(String),
    /// A unique value belongs to another row.
    Conflict {
        /// The column, as `table.column`.
        what: &'static str,
        /// Who has it.
        with: User,
    },
    /// Others still use what is to be deleted: hold the change until they go.
    StillUsed {
        /// Who they are.
        by: Vec<User>,
    },
    /// The driver of a database is not allowed.
    Driver,
    /// A secret is not known, or cannot be stored.
    Secret(Option<SecretRef>),
    /// This Superset has no place for something in the document.
    Unsupported,
    /// Rows that Superset wrote cannot be read as a document.
    Unreadable,
    /// There are no rows of such an asset.
    Absent,
    /// The facts lack an answer that [`crate::ask`] would have asked for: a mistake of the caller.
    Unasked(Box<Lookup>),
    /// The facts lack reserved ids that [`crate::ask`] would have asked for: a mistake of the caller.
    NoIds(Table),
}

/// Why an asset cannot become rows, or rows an asset. It never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The class.
    pub kind: FaultKind,
    /// Where in the document, as a path of keys.
    pub place: Option<String>,
    /// What is wrong, on which thing, and how to mend it.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Fault {
        Fault { kind, place: None, message: message.into() }
    }

    pub(crate) fn at(self, place: impl Into<String>) -> Fault {
        Fault { place: Some(place.into()), ..self }
    }

    pub(crate) fn missing(reference: Reference) -> Fault {
        let place = match reference.to {
            Kind::Database => "database_uuid",
            Kind::Dataset => "dataset_uuid",
            Kind::Chart | Kind::Dashboard => "uuid",
        };
        let message =
            format!("refer to {} {}, which does not exist; add it first", reference.to, reference.uuid);
        Fault::new(FaultKind::Missing(reference), message).at(place)
    }

    pub(crate) fn unreadable(table: Table, id: i64, column: &str, why: &str) -> Fault {
        let message = format!("read `{}.{column}` of the row with id {id}: {why}", table.name());
        Fault::new(FaultKind::Unreadable, message)
    }
}
