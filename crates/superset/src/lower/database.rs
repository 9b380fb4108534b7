//! Databases to rows of `dbs`.

use asset::{Database, Object, SecretRef};
use serde_json::Value as Json;

use super::{Lowered, id_of, row, text};
use crate::facts::{Facts, Reserved};
use crate::fault::{Fault, FaultKind};
use crate::table::Table;
use crate::uri::check_uri;
use crate::value::Value;

/// The key in `extra` as the export format calls it, and as the column does.
pub(crate) const CSV_KEY: &str = "schemas_allowed_for_csv_upload";
pub(crate) const FILE_KEY: &str = "schemas_allowed_for_file_upload";

pub(crate) fn rows(database: &Database, facts: &Facts, ids: &mut Reserved) -> Result<Lowered, Fault> {
    let uri = uri(database, facts)?;
    let id = id_of(Table::Dbs, database.uuid, facts, ids)?;
    let extra = database.extra.as_ref().map(|extra| renamed_last(extra, CSV_KEY, FILE_KEY));
    let columns = [
        ("id", Value::Int(id)),
        ("database_name", (&database.database_name).into()),
        ("sqlalchemy_uri", uri.into()),
        ("password", password(database, facts)?),
        ("cache_timeout", database.cache_timeout.into()),
        ("expose_in_sqllab", database.expose_in_sqllab.into()),
        ("allow_run_async", database.allow_run_async.into()),
        ("allow_ctas", database.allow_ctas.into()),
        ("allow_cvas", database.allow_cvas.into()),
        ("allow_dml", database.allow_dml.into()),
        ("allow_file_upload", database.allow_csv_upload.into()),
        ("extra", text(extra.as_ref())),
        ("encrypted_extra", encrypted_extra(database, facts)?),
        ("impersonate_user", database.impersonate_user.into()),
        ("configuration_method", database.configuration_method.as_ref().into()),
        ("uuid", database.uuid.into()),
        ("is_managed_externally", database.is_managed_externally.into()),
        ("external_url", database.external_url.as_ref().into()),
    ];
    Ok(vec![(Table::Dbs, id, row(&facts.schema, Table::Dbs, columns)?)])
}

/// Renames a key, which then comes last, as both Superset's importer and its export do.
pub(crate) fn renamed_last(object: &Object, old: &str, new: &str) -> Object {
    let mut object = object.clone();
    if let Some(value) = object.shift_remove(old) {
        object.shift_remove(new);
        object.insert(new.to_owned(), value);
    }
    object
}

/// The URI as Superset gets it: with the endpoint's hosts in their place.
fn uri(database: &Database, facts: &Facts) -> Result<String, Fault> {
    check_uri(&database.sqlalchemy_uri, &facts.drivers)?;
    let Some(name) = &database.setkeeper.endpoint else { return Ok(database.sqlalchemy_uri.clone()) };
    let chosen = facts.endpoints.get(name).ok_or_else(|| {
        let message = format!(
            "connect to the endpoint `{name}`, which is not there; put `settings/endpoints/{name}`, so that it is \
             followed, or `endpoints/{name}` itself"
        );
        Fault::new(FaultKind::Endpoint(name.clone()), message).at("setkeeper.endpoint")
    })?;
    let uri = database.uri_at(chosen);
    check_uri(&uri, &facts.drivers)?;
    Ok(uri)
}

fn password(database: &Database, facts: &Facts) -> Result<Value, Fault> {
    const PLACE: &str = "setkeeper.secrets.password";
    let Some(reference) = &database.setkeeper.secrets.password else { return Ok(Value::Null) };
    encrypted(reference, reveal(reference, facts, PLACE)?, facts, PLACE)
}

fn encrypted_extra(database: &Database, facts: &Facts) -> Result<Value, Fault> {
    const PLACE: &str = "setkeeper.secrets.encrypted_extra";
    let Some(reference) = &database.setkeeper.secrets.encrypted_extra else { return Ok(Value::Null) };
    let secret = reveal(reference, facts, PLACE)?;
    if !matches!(serde_json::from_str(secret), Ok(Json::Object(_))) {
        let message = format!("store the secret `{reference}`: its text is not a JSON object");
        return Err(Fault::new(FaultKind::Secret(Some(reference.clone())), message).at(PLACE));
    }
    encrypted(reference, secret, facts, PLACE)
}

fn reveal<'a>(reference: &SecretRef, facts: &'a Facts, place: &str) -> Result<&'a str, Fault> {
    let secret = facts.secrets.get(reference).ok_or_else(|| {
        let message = format!(
            "resolve the secret `{reference}`: the applier does not have it; provide it where the applier runs"
        );
        Fault::new(FaultKind::Secret(Some(reference.clone())), message).at(place)
    })?;
    Ok(secret.reveal())
}

fn encrypted(reference: &SecretRef, secret: &str, facts: &Facts, place: &str) -> Result<Value, Fault> {
    let bytes = facts.cipher.encrypt(secret).map_err(|fault| {
        let message = format!("store the secret `{reference}`: {fault}");
        Fault::new(FaultKind::Secret(Some(reference.clone())), message).at(place)
    })?;
    Ok(Value::Bytes(bytes))
}
