//! Database URLs, in SQLAlchemy's spelling too, so that Superset's own `SQLALCHEMY_DATABASE_URI` can be used.

use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::ConnectError;

/// What a URL asks for.
#[derive(Debug)]
pub(crate) enum Target {
    Sqlite(PathBuf),
    /// Its `Debug` would show the password.
    Postgres(Secret<Box<PgConnectOptions>>),
}

/// Hides what it holds from `Debug`.
pub(crate) struct Secret<T>(pub(crate) T);

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// The URL's own parameters that are handed on; drivers of other languages have more, which are left out.
const POSTGRES_PARAMETERS: [&str; 16] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "options",
    "application_name",
];

/// Reads `sqlite:PATH`, `sqlite://PATH` (an absolute path gives three slashes, SQLAlchemy writes four),
/// `postgres://…`, `postgresql://…` and `postgresql+DRIVER://…`. What follows a `?` is ignored for SQLite.
pub(crate) fn parse(url: &str) -> Result<Target, ConnectError> {
    let (scheme, rest) = url.split_once(':').ok_or_else(|| malformed("it has no `scheme:`"))?;
    match scheme.split('+').next().unwrap_or(scheme) {
        "sqlite" => sqlite(rest),
        "postgres" | "postgresql" => postgres(rest),
        other => Err(ConnectError::Scheme { scheme: other.chars().take(20).collect() }),
    }
}

fn sqlite(rest: &str) -> Result<Target, ConnectError> {
    let path = rest.split('?').next().unwrap_or(rest);
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = if path.starts_with("//") { &path[1..] } else { path };
    if path.is_empty() || path == "/" || path == ":memory:" || path == "/:memory:" {
        return Err(malformed("it names no SQLite file"));
    }
    Ok(Target::Sqlite(PathBuf::from(path)))
}

fn postgres(rest: &str) -> Result<Target, ConnectError> {
    let (main, query) = rest.split_once('?').unwrap_or((rest, ""));
    let known = query.split('&').filter(|pair| {
        let key = pair.split('=').next().unwrap_or(pair);
        POSTGRES_PARAMETERS.contains(&key) || key.starts_with("options[")
    });
    let url = format!("postgres:{}?{}", with_host(main), known.collect::<Vec<_>>().join("&"));
    // The parser's own message may quote a part of the URL.
    let options =
        PgConnectOptions::from_str(&url).map_err(|_| malformed("it is not `postgresql://USER:PASSWORD@HOST/DATABASE`; percent-encode special characters of the password"))?;
    Ok(Target::Postgres(Secret(Box::new(options))))
}

/// `//user@/database?host=/a/socket` names no host where the parser wants one; the parameter then wins.
fn with_host(main: &str) -> String {
    let authority = main.strip_prefix("//").unwrap_or(main).split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, host)) if host.is_empty() || host.starts_with(':') => {
            main.replacen(authority, &format!("{user}@localhost{host}"), 1)
        }
        _ => main.to_owned(),
    }
}

fn malformed(reason: &'static str) -> ConnectError {
    ConnectError::Url { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: &str) {
        let shown = match parse(url) {
            Ok(Target::Sqlite(path)) => format!("sqlite {}", path.display()),
            Ok(Target::Postgres(Secret(options))) => format!(
                "postgres {}@{}:{}/{} {:?}",
                options.get_username(),
                options
                    .get_socket()
                    .map_or_else(|| options.get_host().to_owned(), |path| path.display().to_string()),
                options.get_port(),
                options.get_database().unwrap_or("-"),
                options.get_ssl_mode(),
            ),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(shown, expected, "{url}");
        assert!(!shown.contains("s3cret"));
    }

    #[test]
    fn sqlite_paths_are_read_in_both_spellings() {
        check("sqlite:superset.db", "sqlite superset.db");
        check("sqlite:/var/superset.db", "sqlite /var/superset.db");
        check("sqlite:///var/superset.db", "sqlite /var/superset.db");
        check("sqlite:////var/superset.db?check_same_thread=false", "sqlite /var/superset.db");
        check("sqlite://", "error: read the database url: it names no SQLite file");
    }

    #[test]
    fn postgres_urls_are_read_with_a_driver_and_with_foreign_parameters() {
        let plain = "postgres u@h:5433/d Prefer";
        check("postgresql://u:s3cret@h:5433/d", plain);
        check("postgresql+psycopg2://u:s3cret@h:5433/d?client_encoding=utf8", plain);
        check("postgres://u:s3cret@h:5433/d?sslmode=require", "postgres u@h:5433/d Require");
        check("postgresql://u@/d?host=/run/pg&port=5433", "postgres u@/run/pg:5433/d Prefer");
    }

    #[test]
    fn other_urls_are_refused_without_showing_them() {
        check(
            "mysql://u:s3cret@h/d",
            "error: read the database url: `mysql` is not supported; use `sqlite:` or `postgresql:`",
        );
        check(
            "u:s3cret@h",
            "error: read the database url: `u` is not supported; use `sqlite:` or `postgresql:`",
        );
        check("s3cret", "error: read the database url: it has no `scheme:`");
        check(
            "postgresql://u:s3cret@h:port/d",
            "error: read the database url: it is not `postgresql://USER:PASSWORD@HOST/DATABASE`; percent-encode special characters of the password",
        );
    }
}
