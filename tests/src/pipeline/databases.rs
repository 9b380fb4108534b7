//! Superset's metadata database, and how a test reads databases: with SQL of its own, not with ours.

use std::path::{Path, PathBuf};

use sql::{Database, Mode, Value, Values};
use testbed::{Postgres, postgres, superset};
use tokio::sync::{Mutex, OnceCell};

/// Which kind of metadata database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    /// A file.
    Sqlite,
    /// A database of the one server that all tests share.
    Postgres,
}

/// One metadata database, with Superset's tables and its user `admin`.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    kind: Metadata,
    url: String,
    /// The file of SQLite.
    pub(crate) file: Option<PathBuf>,
}

impl Store {
    /// A copy of the template.
    pub(crate) async fn make(kind: Metadata, folder: &Path) -> Store {
        match kind {
            Metadata::Sqlite => {
                let file = folder.join("superset.db");
                superset::sqlite_template(&file).expect("the template is there");
                Store { kind, url: format!("sqlite://{}", file.display()), file: Some(file) }
            }
            Metadata::Postgres => {
                let name = format!("superset_{}", uuid::Uuid::new_v4().simple());
                Store { kind, url: postgres(&name).await, file: None }
            }
        }
    }

    /// Which kind.
    pub(crate) fn kind(&self) -> Metadata {
        self.kind
    }

    /// A copy of it as it is now, while nobody writes: below `folder`, or as another database of the server.
    pub(crate) async fn backup(&self, folder: &Path) -> String {
        match &self.file {
            Some(file) => {
                let backup = folder.join("superset.backup");
                std::fs::copy(file, &backup).expect("a copy");
                backup.display().to_string()
            }
            None => {
                let (name, backup) = (self.name(), format!("{}_backup", self.name()));
                server()
                    .await
                    .psql("postgres", &clone(name, &backup))
                    .await
                    .expect("postgresql does as it is told");
                backup
            }
        }
    }

    /// Makes it what [`Store::backup`] has copied, while nobody uses it.
    pub(crate) async fn restore(&self, backup: &str) {
        match &self.file {
            Some(file) => {
                for tail in ["-wal", "-shm"] {
                    // Most often there is none.
                    let _ = std::fs::remove_file(format!("{}{tail}", file.display()));
                }
                std::fs::copy(backup, file).expect("a copy");
            }
            None => {
                let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name());
                server().await.psql("postgres", &drop).await.expect("postgresql does as it is told");
                server()
                    .await
                    .psql("postgres", &clone(backup, self.name()))
                    .await
                    .expect("postgresql does as it is told");
            }
        }
    }

    /// The name of a database of the server.
    fn name(&self) -> &str {
        self.url.rsplit_once('/').expect("a URL ends in the name").1
    }

    /// `sqlite://…` or `postgres://…`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Rows, each value as text.
    pub(crate) async fn fetch(&self, sql: &str) -> Result<Vec<Vec<String>>, sql::Error> {
        let database = self.connect().await;
        let rows = fetch(&database, sql).await;
        database.close().await;
        rows
    }

    /// Runs statements, in one transaction.
    pub(crate) async fn run(&self, script: &str) {
        let database = self.connect().await;
        let mut transaction = database.begin(Mode::Write).await.expect("a transaction");
        transaction.execute_script(script).await.expect("the statements are good");
        transaction.commit().await.expect("a commit");
        database.close().await;
    }

    async fn connect(&self) -> Database {
        Database::connect(&self.url, sql::Config::default()).await.expect("the metadata database is there")
    }
}

/// Rows of a SQLite file, each value as text.
pub(crate) async fn sqlite(file: &Path, sql: &str) -> Result<Vec<Vec<String>>, sql::Error> {
    let url = format!("sqlite://{}", file.display());
    let Ok(database) = Database::connect(&url, sql::Config::default()).await else {
        return Ok(Vec::new());
    };
    let rows = fetch(&database, sql).await;
    database.close().await;
    rows
}

async fn fetch(database: &Database, sql: &str) -> Result<Vec<Vec<String>>, sql::Error> {
    let mut transaction = database.begin(Mode::Read).await?;
    let rows = transaction.fetch(sql, Values(Vec::new())).await?;
    transaction.rollback().await;
    Ok(rows.iter().map(|row| row.iter().map(text).collect()).collect())
}

fn text(value: &Value) -> String {
    match value {
        value if sql::is_null(value) => "NULL".to_owned(),
        Value::String(Some(text)) => text.clone(),
        Value::BigInt(Some(number)) => number.to_string(),
        Value::Int(Some(number)) => number.to_string(),
        Value::Bool(Some(flag)) => i32::from(*flag).to_string(),
        Value::Uuid(Some(uuid)) => uuid.to_string(),
        Value::Bytes(Some(bytes)) => match uuid::Uuid::from_slice(bytes) {
            Ok(uuid) => uuid.to_string(),
            Err(_) => format!("{} bytes", bytes.len()),
        },
        other => format!("{other:?}"),
    }
}

fn clone(from: &str, to: &str) -> String {
    format!("CREATE DATABASE {to} TEMPLATE {from}")
}

/// The server that all tests share, which ends with the test program.
async fn server() -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    let server = SERVER.get_or_init(async || {
        // No test takes the power away, so that nothing has to wait for a disk.
        let settings = [("fsync", "off"), ("full_page_writes", "off"), ("max_connections", "200")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let options = postgres::Options { settings, ..postgres::Options::default() };
        Postgres::start(options).await.expect("postgresql does as it is told")
    });
    server.await
}

/// A new database on the shared server.
async fn postgres(name: &str) -> String {
    static MAKING: Mutex<()> = Mutex::const_new(());
    let server = server().await;
    // A template cannot be copied twice at once.
    let _making = MAKING.lock().await;
    server.restore_template(name).await.expect("postgresql does as it is told");
    server.url(name)
}
