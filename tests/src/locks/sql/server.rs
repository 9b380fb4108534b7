//! Databases that the guide's SQL runs on.

use sql::{Database, Isolation, Mode, Values};
use tempfile::TempDir;
use testbed::{Mariadb, mariadb};
use tokio::sync::OnceCell;

use super::client::Client;
use crate::pipeline::{Metadata, Store};

/// A database, and where its SQL stands in the guide.
pub(super) enum Server {
    Sqlite(Ours),
    Postgres(Ours),
    /// On the one server that all tests share.
    Mariadb {
        database: String,
    },
}

/// A database that the crate `sql` knows.
pub(super) struct Ours {
    store: Store,
    database: Database,
    _folder: TempDir,
}

impl Ours {
    async fn make(kind: Metadata) -> Ours {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::make(kind, folder.path()).await;
        // PostgreSQL's default.
        let config = sql::Config { isolation: Isolation::ReadCommitted, ..sql::Config::default() };
        let database = Database::connect(store.url(), config).await.expect("it is there");
        Ours { store, database, _folder: folder }
    }
}

impl Server {
    pub(super) async fn sqlite() -> Server {
        Server::Sqlite(Ours::make(Metadata::Sqlite).await)
    }

    pub(super) async fn postgres() -> Server {
        Server::Postgres(Ours::make(Metadata::Postgres).await)
    }

    pub(super) async fn mariadb() -> Server {
        let database = format!("fence_{}", uuid::Uuid::new_v4().simple());
        let make = format!("CREATE DATABASE {database}");
        mariadb().await.run_sql("mysql", &make).await.expect("a database");
        Server::Mariadb { database }
    }

    /// The words of the guide before its block of SQL for this server.
    pub(super) fn title(&self) -> &'static str {
        match self {
            Server::Sqlite(_) => "\nSQLite:",
            Server::Postgres(_) => "\nPostgreSQL:",
            Server::Mariadb { .. } => "\nMariaDB and MySQL:",
        }
    }

    /// Runs statements.
    pub(super) async fn run(&self, script: &str) {
        match self {
            Server::Sqlite(ours) | Server::Postgres(ours) => ours.store.run(script).await,
            Server::Mariadb { database } => {
                mariadb().await.run_sql(database, script).await.expect("the statements are good");
            }
        }
    }

    /// The only column of rows.
    pub(super) async fn fetch(&self, sql: &str) -> Vec<String> {
        match self {
            Server::Sqlite(ours) | Server::Postgres(ours) => {
                ours.store.fetch(sql).await.expect("readable").concat()
            }
            Server::Mariadb { database } => {
                let rows = mariadb().await.run_sql(database, sql).await.expect("readable");
                rows.lines().map(str::to_owned).collect()
            }
        }
    }

    /// How many transactions wait for another's lock. On SQLite none: a writer does not begin beside another.
    pub(super) async fn waiting(&self) -> Vec<String> {
        let sql = match self {
            Server::Sqlite(_) => "SELECT 0",
            Server::Postgres(_) => {
                "SELECT count(*) FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock'"
            }
            // Of the whole server: no other test waits there. (What `innodb_trx` tells stands still for as long as it
            // is asked for more than ten times a second.)
            Server::Mariadb { .. } => {
                "SELECT variable_value FROM information_schema.global_status \
                 WHERE variable_name = 'Innodb_row_lock_current_waits'"
            }
        };
        self.fetch(sql).await
    }

    pub(super) async fn begin(&self) -> Transaction {
        match self {
            Server::Sqlite(ours) | Server::Postgres(ours) => {
                Transaction::Ours(ours.database.begin(Mode::Write).await.expect("a transaction"))
            }
            Server::Mariadb { database } => {
                Transaction::Mariadb(Box::new(Client::begin(mariadb().await.client(database)).await))
            }
        }
    }
}

/// One transaction, of a holder of the lock.
pub(super) enum Transaction {
    Ours(sql::Transaction),
    Mariadb(Box<Client>),
}

impl Transaction {
    /// Runs one statement, which ends in `;`. Returns how many rows the server says that it changed.
    pub(super) async fn execute(&mut self, statement: &str) -> u64 {
        match self {
            Transaction::Ours(ours) => {
                ours.execute(statement, Values(Vec::new())).await.expect("the statement is good")
            }
            Transaction::Mariadb(client) => client.execute(statement).await,
        }
    }

    pub(super) async fn commit(self) {
        match self {
            Transaction::Ours(ours) => ours.commit().await.expect("a commit"),
            Transaction::Mariadb(client) => client.end("COMMIT;\n").await,
        }
    }

    pub(super) async fn rollback(self) {
        match self {
            Transaction::Ours(ours) => ours.rollback().await,
            Transaction::Mariadb(client) => client.end("ROLLBACK;\n").await,
        }
    }
}

/// The server that all tests share, which ends with the test program.
async fn mariadb() -> &'static Mariadb {
    static SERVER: OnceCell<Mariadb> = OnceCell::const_new();
    let start = async || Mariadb::start(mariadb::Options::default()).await.expect("mariadb starts");
    SERVER.get_or_init(start).await
}
