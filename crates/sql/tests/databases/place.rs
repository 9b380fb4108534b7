//! A database for one case.

use std::path::Path;

use sql::{Config, Database, Dialect};
use sqlx::migrate::Migrator;
use tempfile::TempDir;
use testbed::Postgres;
use tokio::sync::OnceCell;

/// Where a case keeps its tables.
pub(crate) struct Place {
    url: String,
    _folder: Option<TempDir>,
}

impl Place {
    /// A file of its own.
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite://{}", folder.path().join("case.db").display());
        Self { url, _folder: Some(folder) }
    }

    /// A database of its own on a server; PostgreSQL cuts names at 63 bytes.
    pub(crate) async fn postgres(server: &Postgres, name: &str) -> Self {
        let name = &name[..name.len().min(60)];
        server.create_database(name).await.expect("a database");
        Self { url: server.url(name), _folder: None }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        if self.url.starts_with("sqlite") { Dialect::Sqlite } else { Dialect::Postgres }
    }

    pub(crate) async fn connect(&self, config: Config) -> Database {
        Database::connect(&self.url, Config { create: true, ..config }).await.expect("a connection")
    }
}

/// The one server of this test binary; it ends with the process.
pub(crate) async fn server() -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    SERVER.get_or_init(async || Postgres::start(Default::default()).await.expect("PostgreSQL starts")).await
}

pub(crate) async fn migrator(folder: &Path) -> Migrator {
    Migrator::new(folder).await.expect("migrations")
}
