//! Rows of `dbs` to databases.

use asset::{Database, Extras};
use uuid::Uuid;

use super::Source;
use crate::fault::Fault;
use crate::lower::database::{CSV_KEY, FILE_KEY, renamed_last};

pub(crate) fn lift(source: &Source<'_>, uuid: Uuid) -> Result<Database, Fault> {
    let extra = source.object("extra")?;
    Ok(Database {
        database_name: source.text_or_fault("database_name")?,
        sqlalchemy_uri: source.text_or_fault("sqlalchemy_uri")?,
        cache_timeout: source.int("cache_timeout"),
        expose_in_sqllab: source.bool("expose_in_sqllab"),
        allow_run_async: source.bool("allow_run_async"),
        allow_ctas: source.bool("allow_ctas"),
        allow_cvas: source.bool("allow_cvas"),
        allow_dml: source.bool("allow_dml"),
        allow_csv_upload: source.bool("allow_file_upload"),
        extra: extra.map(|extra| renamed_last(&extra, FILE_KEY, CSV_KEY)),
        impersonate_user: source.bool("impersonate_user"),
        configuration_method: source.text("configuration_method"),
        uuid,
        is_managed_externally: source.bool("is_managed_externally").unwrap_or(false),
        external_url: source.text("external_url"),
        setkeeper: Extras::default(),
    })
}
