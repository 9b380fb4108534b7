//! The data that is charted: databases of a real PostgreSQL which asks some roles for a password.

use testbed::{Postgres, postgres};
use tokio::sync::OnceCell;

/// A database of its own for each test, made by `sql`. Members of the role `guarded` need their password.
pub(super) async fn database(name: &str, sql: &str) -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    let server = SERVER.get_or_init(async || {
        let settings = vec![("fsync".to_owned(), "off".to_owned())];
        let options = postgres::Options { settings, ..postgres::Options::default() };
        let server = Postgres::start(options).await.expect("postgresql starts");
        guard(&server).await;
        server
    });
    let server = server.await;
    server.create_database(name).await.expect("postgresql takes it");
    server.psql(name, sql).await.expect("postgresql takes it");
    server
}

async fn guard(server: &Postgres) {
    let rules = "CREATE ROLE guarded;\n\
         SELECT format($$COPY (VALUES ('host all +guarded 127.0.0.1/32 scram-sha-256'), \
         ('host all all 127.0.0.1/32 trust')) TO %L$$, current_setting('hba_file')) \\gexec\n\
         SELECT pg_reload_conf();";
    server.psql("postgres", rules).await.expect("postgresql takes it");
}
