//! SQLAlchemy's URIs: which drivers may be used, and that no password stands in them.

use std::collections::BTreeSet;

use crate::fault::{Fault, FaultKind};

/// What Superset puts in the place of a password.
pub const MASK: &str = "XXXXXXXXXX";

/// The drivers that a database may use unless the configuration says otherwise: the part of the URI's scheme
/// before a `+`. Those that open files of Superset's host (`sqlite`, `shillelagh`, `duckdb`) and Superset's own
/// meta database (`superset`) are not among them.
pub const DRIVERS: &[&str] = &[
    "athena",
    "awsathena",
    "bigquery",
    "clickhouse",
    "clickhousedb",
    "cockroachdb",
    "crate",
    "databend",
    "databricks",
    "db2",
    "denodo",
    "doris",
    "dremio",
    "drill",
    "druid",
    "elasticsearch",
    "exa",
    "firebird",
    "firebolt",
    "hana",
    "hive",
    "ibm_db_sa",
    "impala",
    "kylin",
    "kyuubi",
    "mariadb",
    "monetdb",
    "mssql",
    "mysql",
    "netezza",
    "oceanbase",
    "odelasticsearch",
    "oracle",
    "pinot",
    "postgres",
    "postgresql",
    "presto",
    "pydoris",
    "redshift",
    "risingwave",
    "snowflake",
    "spark",
    "starrocks",
    "teradatasql",
    "trino",
    "vertica",
    "ydb",
];

/// Checks that a URI names an allowed driver and holds no clear password.
///
/// # Errors
/// [`FaultKind::Driver`] or [`FaultKind::Secret`]; neither repeats the URI.
pub fn check_uri(uri: &str, allowed: &BTreeSet<String>) -> Result<(), Fault> {
    let Some((scheme, rest)) = uri.trim().split_once("://") else {
        let message = "read `sqlalchemy_uri`: it does not look like `driver://user@host/name`";
        return Err(Fault::new(FaultKind::Driver, message).at("sqlalchemy_uri"));
    };
    let driver = scheme.split_once('+').map_or(scheme, |(driver, _)| driver).to_ascii_lowercase();
    if !allowed.contains(&driver) {
        let message = format!(
            "use the driver `{driver}`, which is not allowed; if it is safe on your Superset's hosts, add it to \
             the allowed drivers of the target"
        );
        return Err(Fault::new(FaultKind::Driver, message).at("sqlalchemy_uri"));
    }
    match password(rest) {
        None | Some("" | MASK) => Ok(()),
        Some(_) => {
            let message = "store a clear password in `sqlalchemy_uri`; rotate it, write XXXXXXXXXX there and \
                           name the new one under `setkeeper.secrets.password`";
            Err(Fault::new(FaultKind::Secret(None), message).at("sqlalchemy_uri"))
        }
    }
}

/// Returns the password as SQLAlchemy finds it: `[^:/]*` is the user, and what follows a colon, up to the next
/// `@`, is the password.
fn password(rest: &str) -> Option<&str> {
    let after_user = &rest[rest.find([':', '/'])?..];
    Some(after_user.strip_prefix(':')?.split_once('@')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, want: Option<&str>) {
        let drivers = DRIVERS.iter().map(|driver| (*driver).to_owned()).collect();
        let got = check_uri(uri, &drivers).err().map(|fault| match fault.kind {
            FaultKind::Driver => "driver",
            FaultKind::Secret(None) => "password",
            _ => "?",
        });
        assert_eq!(got, want, "{uri}");
    }

    #[test]
    fn drivers_outside_the_list_are_refused_whatever_their_dialect() {
        check("postgresql://u@h/d", None);
        check("postgresql+psycopg2://u@h:5432/d?sslmode=require", None);
        check("HIVE://u@h/d", None);
        check("bigquery://project", None);
        check("sqlite:////etc/passwd", Some("driver"));
        check("sqlite+pysqlite:////etc/passwd", Some("driver"));
        check("shillelagh+apsw://", Some("driver"));
        check("duckdb:///x", Some("driver"));
        check("superset://", Some("driver"));
        check("no uri", Some("driver"));
    }

    #[test]
    fn a_clear_password_is_refused_and_never_repeated() {
        check("postgresql://u:XXXXXXXXXX@h/d", None);
        check("postgresql://u:@h/d", None);
        check("postgresql://u:hunter2@h/d", Some("password"));
        check("postgresql://u:a@b@h/d", Some("password"));
        check("postgresql://u:a/b@h/d", Some("password"));
        check("snowflake://u:p@account/db/schema?warehouse=w@x", Some("password"));
        check("trino://h:8080/catalog", None);
        let drivers = BTreeSet::from(["postgresql".to_owned()]);
        let fault = check_uri("postgresql://u:hunter2@h/d", &drivers).unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains("hunter2"));
    }
}
