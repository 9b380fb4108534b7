//! Connections to databases.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Object, SecretRef};

/// A connection to a database: a row of `dbs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// Unique within a Superset.
    pub database_name: String,
    /// SQLAlchemy's URI. Its password is absent or the mask `XXXXXXXXXX`, never clear.
    pub sqlalchemy_uri: String,
    /// Seconds. Default: `None`.
    pub cache_timeout: Option<i64>,
    /// Default: `Some(true)`.
    pub expose_in_sqllab: Option<bool>,
    /// Default: `Some(false)`.
    pub allow_run_async: Option<bool>,
    /// Default: `Some(false)`.
    pub allow_ctas: Option<bool>,
    /// Default: `Some(false)`.
    pub allow_cvas: Option<bool>,
    /// Default: `Some(false)`.
    pub allow_dml: Option<bool>,
    /// The column `allow_file_upload`, which the export format calls by its old name (the new one is read too).
    /// Default: `Some(false)`, as in the ORM; Superset's importer makes a missing key `true`.
    pub allow_csv_upload: Option<bool>,
    /// Default: [`Database::default_extra`]. The key `schemas_allowed_for_csv_upload` in it is the column's
    /// `schemas_allowed_for_file_upload` (which is read too, and stored here under the old name).
    pub extra: Option<Object>,
    /// Default: `Some(false)`.
    pub impersonate_user: Option<bool>,
    /// `sqlalchemy_form` or `dynamic_form`. Default: `Some("sqlalchemy_form")`.
    pub configuration_method: Option<String>,
    /// The identity.
    pub uuid: Uuid,
    /// Default: false.
    pub is_managed_externally: bool,
    /// Default: `None`.
    pub external_url: Option<String>,
    /// Our own keys, below `setkeeper`. Default: nothing.
    pub setkeeper: Extras,
}

impl Database {
    /// What `configuration_method` is when omitted.
    pub const DEFAULT_CONFIGURATION_METHOD: &str = "sqlalchemy_form";

    /// Returns what `extra` is when omitted: the ORM's default, with the export's name of its last key.
    #[must_use]
    pub fn default_extra() -> Object {
        let extra = json!({
            "metadata_params": {},
            "engine_params": {},
            "metadata_cache_timeout": {},
            "schemas_allowed_for_csv_upload": [],
        });
        match extra {
            Value::Object(extra) => extra,
            _ => Object::new(),
        }
    }
}

/// The keys below `setkeeper`, which Superset does not know and which no export contains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// Where the secrets of this document are kept.
    pub secrets: Secrets,
}

/// References to the secrets of a database. `None` leaves the column NULL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// The column `password`.
    pub password: Option<SecretRef>,
    /// The column `encrypted_extra`: the secret's text is a JSON object.
    pub encrypted_extra: Option<SecretRef>,
}
