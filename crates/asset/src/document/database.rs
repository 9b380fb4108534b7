//! Connections to databases.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::fault::FaultKind;
use crate::fields::{Builder, Fields};
use crate::secret;
use crate::setting::is_name;
use crate::{Chosen, Object, SecretRef, VERSION};

/// A connection to a database: a row of `dbs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// Unique within a Superset.
    pub database_name: String,
    /// SQLAlchemy's URI. Its password is absent or the mask `XXXXXXXXXX`, never clear. Of a database that follows an
    /// endpoint it has [`Database::ENDPOINT`] in the place of host and port; [`Database::uri_at`] fills it in.
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

    /// What stands in a URI in the place of the host and port of an endpoint.
    pub const ENDPOINT: &str = "{endpoint}";

    /// Returns the URI with an endpoint's hosts in the place of [`Database::ENDPOINT`], if it has that.
    #[must_use]
    pub fn uri_at(&self, chosen: &Chosen) -> String {
        self.sqlalchemy_uri.replacen(Database::ENDPOINT, &chosen.in_uri(), 1)
    }

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
    /// The name of the endpoint that this database connects to: `endpoints/<name>`. Default: `None`.
    pub endpoint: Option<String>,
}

/// References to the secrets of a database. `None` leaves the column NULL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// The column `password`.
    pub password: Option<SecretRef>,
    /// The column `encrypted_extra`: the secret's text is a JSON object.
    pub encrypted_extra: Option<SecretRef>,
}

const PASSWORD_BELONGS: &str =
    "write a reference instead: \"setkeeper\": {\"secrets\": {\"password\": \"env:NAME\"}}";
const EXTRA_BELONGS: &str =
    "write a reference instead: \"setkeeper\": {\"secrets\": {\"encrypted_extra\": \"file:/path\"}}";

pub(crate) fn parse(mut fields: Fields<'_>) -> Database {
    refuse_secrets(&mut fields);
    rename(&mut fields, "allow_file_upload", "allow_csv_upload");
    let database = Database {
        database_name: fields.required_name("database_name"),
        sqlalchemy_uri: sqlalchemy_uri(&mut fields),
        cache_timeout: fields.integer("cache_timeout", None),
        expose_in_sqllab: fields.flag("expose_in_sqllab", true),
        allow_run_async: fields.flag("allow_run_async", false),
        allow_ctas: fields.flag("allow_ctas", false),
        allow_cvas: fields.flag("allow_cvas", false),
        allow_dml: fields.flag("allow_dml", false),
        allow_csv_upload: fields.flag("allow_csv_upload", false),
        extra: extra(&mut fields),
        impersonate_user: fields.flag("impersonate_user", false),
        configuration_method: configuration_method(&mut fields),
        uuid: fields.required_uuid("uuid"),
        is_managed_externally: fields.plain_flag("is_managed_externally"),
        external_url: fields.url("external_url"),
        setkeeper: extras(&mut fields),
    };
    check_endpoint(&database, &mut fields);
    fields.finish("a database");
    database
}

/// Superset 1.3 exported two keys under other names for a while, and its importers read both.
fn rename(fields: &mut Fields<'_>, from: &str, to: &str) {
    let Some(value) = fields.take(from) else { return };
    if fields.has(to) {
        fields.fault(
            from,
            FaultKind::DuplicateKey,
            format!("another name of `{to}`, which is there too; remove one"),
        );
    } else {
        fields.put_back(to, value);
    }
}

fn refuse_secrets(fields: &mut Fields<'_>) {
    let secrets = [
        ("password", PASSWORD_BELONGS),
        ("encrypted_extra", EXTRA_BELONGS),
        ("masked_encrypted_extra", EXTRA_BELONGS),
    ];
    for (key, mend) in secrets {
        let value = fields.take_some(key);
        if value.is_some_and(|value| value.as_str() != Some(secret::PASSWORD_MASK)) {
            fields.fault(
                key,
                FaultKind::ClearSecret,
                format!("may hold a clear secret; rotate it, remove it and {mend}"),
            );
        }
    }
    if fields.take_some("ssh_tunnel").is_some() {
        fields.fault("ssh_tunnel", FaultKind::Unsupported, "ssh tunnels are not supported yet; remove it");
    }
}

fn sqlalchemy_uri(fields: &mut Fields<'_>) -> String {
    let is_given = fields.has("sqlalchemy_uri");
    let uri = fields.required_text("sqlalchemy_uri");
    if is_given && !uri.contains("://") {
        let message = "not a URI of SQLAlchemy; write it like `postgresql://user@host/name`";
        fields.fault("sqlalchemy_uri", FaultKind::BadValue, message);
    } else if secret::in_uri(&uri) || secret::in_uri(&uri.replace(Database::ENDPOINT, EXAMPLE)) {
        let mask = secret::PASSWORD_MASK;
        let message =
            format!("holds a clear secret; rotate it, put `{mask}` in its place and {PASSWORD_BELONGS}");
        fields.fault("sqlalchemy_uri", FaultKind::ClearSecret, message);
    }
    uri
}

/// A host that an endpoint may have.
const EXAMPLE: &str = "host:10000";

/// The place for an endpoint and its name go together. In the place stands a host with its port, so it must be where
/// SQLAlchemy looks for that, and must not become a part of anything else.
fn check_endpoint(database: &Database, fields: &mut Fields<'_>) {
    let parts: Vec<&str> = database.sqlalchemy_uri.split(Database::ENDPOINT).collect();
    let fault = match (&database.setkeeper.endpoint, parts.as_slice()) {
        (None, [_]) => None,
        (Some(_), [before, after]) => {
            let user = before.split_once("://").map(|(_, user)| user);
            let is_host = user.is_some_and(is_user) && (after.is_empty() || after.starts_with(['/', '?']));
            let message = "`{endpoint}` is no host there; write it like `hive://user@{endpoint}/name`";
            (!is_host).then_some(("sqlalchemy_uri", message))
        }
        (None, _) => Some((
            "sqlalchemy_uri",
            "holds `{endpoint}`, and no endpoint is named; add \"setkeeper\": {\"endpoint\": \"NAME\"}, or write host \
             and port",
        )),
        (Some(_), [_]) => Some((
            "setkeeper.endpoint",
            "`sqlalchemy_uri` has no place for the endpoint; write `{endpoint}` there for host and port, or remove this \
             key",
        )),
        (Some(_), _) => Some(("sqlalchemy_uri", "holds `{endpoint}` more than once; write it once")),
    };
    if let Some((path, message)) = fault {
        fields.fault_at(path.to_owned(), FaultKind::BadValue, message);
    }
}

/// Nothing, or what stands before a host in SQLAlchemy's URIs.
fn is_user(text: &str) -> bool {
    text.is_empty() || text.strip_suffix('@').is_some_and(|user| !user.contains(['/', '?', '#', '@']))
}

fn extra(fields: &mut Fields<'_>) -> Option<Object> {
    if !fields.has("extra") {
        return Some(Database::default_extra());
    }
    let mut extra = fields.object_or_text("extra")?;
    let (old, new) = ("schemas_allowed_for_csv_upload", "schemas_allowed_for_file_upload");
    if extra.contains_key(new) {
        if extra.contains_key(old) {
            let message = format!("`{new}` is another name of `{old}`, which is there too; remove one");
            fields.fault("extra", FaultKind::DuplicateKey, message);
        }
        let renamed =
            extra.into_iter().map(|(key, value)| (if key == new { old.to_owned() } else { key }, value));
        extra = renamed.collect();
    }
    for path in secret::keys_with_secrets(&fields.path_of("extra"), &extra) {
        let message = format!(
            "may hold a clear secret; rotate it, move it into the encrypted extra and {EXTRA_BELONGS}"
        );
        fields.fault_at(path, FaultKind::ClearSecret, message);
    }
    Some(extra)
}

fn configuration_method(fields: &mut Fields<'_>) -> Option<String> {
    if !fields.has("configuration_method") {
        return Some(Database::DEFAULT_CONFIGURATION_METHOD.to_owned());
    }
    let method = fields.text("configuration_method");
    if method.as_ref().is_some_and(|method| !["sqlalchemy_form", "dynamic_form"].contains(&method.as_str())) {
        let message = "write `sqlalchemy_form` or `dynamic_form`";
        fields.fault("configuration_method", FaultKind::BadValue, message);
    }
    method
}

fn extras(fields: &mut Fields<'_>) -> Extras {
    let mut extras = Extras::default();
    let Some(value) = fields.take_some("setkeeper") else { return extras };
    let path = fields.path_of("setkeeper");
    let mut ours = Fields::new(path, value, fields.faults());
    if let Some(value) = ours.take_some("secrets") {
        let path = ours.path_of("secrets");
        let mut secrets = Fields::new(path, value, ours.faults());
        extras.secrets.password = secret_ref(&mut secrets, "password");
        extras.secrets.encrypted_extra = secret_ref(&mut secrets, "encrypted_extra");
        secrets.finish("`secrets` of a database");
    }
    extras.endpoint = endpoint(&mut ours);
    ours.finish("`setkeeper` of a database");
    extras
}

fn endpoint(fields: &mut Fields<'_>) -> Option<String> {
    let name = fields.text("endpoint")?;
    if !is_name(&name) {
        let message = "not the name of an endpoint; that is 1 to 200 of A-Z a-z 0-9 . _ -";
        fields.fault("endpoint", FaultKind::BadValue, message);
    }
    Some(name)
}

fn secret_ref(fields: &mut Fields<'_>, key: &str) -> Option<SecretRef> {
    match fields.text(key)?.parse() {
        Ok(reference) => Some(reference),
        Err(fault) => {
            fields.fault(key, FaultKind::ClearSecret, fault.to_string());
            None
        }
    }
}

pub(crate) fn to_json(database: &Database) -> Object {
    let configuration_method = Some(Database::DEFAULT_CONFIGURATION_METHOD.to_owned());
    let mut object = Builder::default();
    object
        .put("database_name", database.database_name.as_str())
        .put("sqlalchemy_uri", database.sqlalchemy_uri.as_str())
        .put_some("cache_timeout", &database.cache_timeout)
        .put_unless("expose_in_sqllab", &database.expose_in_sqllab, Some(true))
        .put_unless("allow_run_async", &database.allow_run_async, Some(false))
        .put_unless("allow_ctas", &database.allow_ctas, Some(false))
        .put_unless("allow_cvas", &database.allow_cvas, Some(false))
        .put_unless("allow_dml", &database.allow_dml, Some(false))
        .put_unless("allow_csv_upload", &database.allow_csv_upload, Some(false))
        .put_unless("extra", &database.extra, Some(Database::default_extra()))
        .put_unless("impersonate_user", &database.impersonate_user, Some(false))
        .put_unless("configuration_method", &database.configuration_method, configuration_method)
        .put_uuid("uuid", database.uuid)
        .put("version", VERSION)
        .put_true("is_managed_externally", database.is_managed_externally)
        .put_some("external_url", &database.external_url);
    let extras = extras_to_json(&database.setkeeper);
    if !extras.is_empty() {
        object.put("setkeeper", extras);
    }
    object.into_object()
}

fn extras_to_json(extras: &Extras) -> Object {
    let mut secrets = Builder::default();
    secrets
        .put_some("password", &extras.secrets.password.as_ref().map(SecretRef::to_string))
        .put_some("encrypted_extra", &extras.secrets.encrypted_extra.as_ref().map(SecretRef::to_string));
    let secrets = secrets.into_object();
    let mut object = Builder::default();
    if !secrets.is_empty() {
        object.put("secrets", secrets);
    }
    object.put_some("endpoint", &extras.endpoint);
    object.into_object()
}
