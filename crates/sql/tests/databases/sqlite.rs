//! What is SQLite's own: storage classes, files, and the lock of a rollback journal.

use std::time::Duration;

use sql::{Class, CommitError, Config, ConnectError, Database, Mode, Value, Values};
use tempfile::TempDir;

fn none() -> Values {
    Values(Vec::new())
}

fn url(folder: &TempDir) -> String {
    format!("sqlite://{}", folder.path().join("some.db").display())
}

async fn open(folder: &TempDir, config: Config) -> Database {
    Database::connect(&url(folder), Config { create: true, ..config }).await.expect("the file opens")
}

async fn run(database: &Database, sql: &str) {
    let mut tx = database.begin(Mode::Write).await.expect("a transaction");
    tx.execute_script(sql).await.expect("the script");
    tx.commit().await.expect("a commit");
}

async fn one(database: &Database, sql: &str) -> Value {
    let mut tx = database.begin(Mode::Read).await.expect("a transaction");
    let value = tx.fetch(sql, none()).await.expect("a row").remove(0).remove(0);
    tx.rollback().await;
    value
}

#[tokio::test]
async fn values_come_by_their_storage_class_whatever_the_column_was_declared() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, Config::default()).await;
    run(&database, "CREATE TABLE t(a NUMERIC(16), b BOOLEAN, c DATETIME, d JSON, e FLOAT, f TEXT)").await;
    let row = vec![
        Value::Bytes(Some(vec![7; 16])),
        Value::BigInt(Some(1)),
        Value::String(Some("2026-11-24 03:00:00.000001".to_owned())),
        Value::String(Some("{\"b\": 1, \"a\": 2}".to_owned())),
        Value::Double(Some(1.5)),
        Value::String(None),
    ];
    let mut tx = database.begin(Mode::Write).await.unwrap();
    tx.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", Values(row.clone())).await.unwrap();
    let typed = vec![
        Value::Uuid(Some(uuid::Uuid::from_bytes([7; 16]))),
        Value::Bool(Some(true)),
        Value::String(None),
        Value::BigInt(None),
        Value::Int(Some(2)),
        Value::Bytes(None),
    ];
    tx.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", Values(typed)).await.unwrap();
    let rows = tx.fetch("SELECT * FROM t", none()).await.unwrap();
    assert_eq!(rows[0], row);
    assert_eq!(rows[1][..2], row[..2], "a uuid is 16 bytes, a boolean 0 or 1");
    assert_eq!(rows[1][4], Value::Double(Some(2.0)), "a REAL column makes a float of it");
    assert!([2, 3, 5].iter().all(|column| sql::is_null(&rows[1][*column])));
}

#[tokio::test]
async fn a_missing_file_is_made_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Database::connect(&url(&folder), Config::default()).await;
    assert!(matches!(refused, Err(ConnectError::Missing { .. })), "{refused:?}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    open(&folder, Config::default()).await.close().await;
    Database::connect(&url(&folder), Config::default()).await.expect("now it is there");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("some.db"), "no database, but long enough to be looked at ".repeat(10))
        .unwrap();
    let Err(error) = Database::connect(&url(&folder), Config::default()).await else { panic!("it opened") };
    assert_eq!(error.class(), Class::Other, "{error}");
}

#[tokio::test]
async fn the_journal_mode_is_changed_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |mode: &str| Value::String(Some(mode.to_owned()));
    let database = open(&folder, Config::default()).await;
    run(&database, "CREATE TABLE t(a)").await;
    assert_eq!(one(&database, "PRAGMA journal_mode").await, mode("delete"));
    assert_eq!(one(&database, "PRAGMA foreign_keys").await, Value::BigInt(Some(1)));
    database.close().await;
    let database = open(&folder, Config { wal: true, ..Config::default() }).await;
    assert_eq!(one(&database, "PRAGMA journal_mode").await, mode("wal"));
    database.close().await;
    let database = open(&folder, Config::default()).await;
    assert_eq!(one(&database, "PRAGMA journal_mode").await, mode("wal"), "it is kept");
}

#[tokio::test]
async fn a_commit_kept_waiting_by_a_reader_is_tried_again_and_then_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let busy_timeout = Duration::from_millis(20);
    let database = open(&folder, Config { busy_timeout, ..Config::default() }).await;
    run(&database, "CREATE TABLE t(a)").await;
    let mut reader = database.begin(Mode::Read).await.unwrap();
    reader.fetch("SELECT * FROM t", none()).await.unwrap();
    let mut writer = database.begin(Mode::Write).await.unwrap();
    writer.execute("INSERT INTO t VALUES (1)", none()).await.unwrap();
    match writer.commit().await {
        Err(CommitError::NotCommitted(error)) => assert_eq!(error.class(), Class::Conflict),
        other => panic!("{other:?}"),
    }
    reader.rollback().await;
    run(&database, "INSERT INTO t VALUES (2)").await;
    assert_eq!(one(&database, "SELECT sum(a) FROM t").await, Value::BigInt(Some(2)));
}

#[tokio::test]
async fn a_commit_goes_through_once_the_reader_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        Config { busy_timeout: Duration::from_millis(5), commit_attempts: 1000, ..Config::default() };
    let database = open(&folder, config).await;
    run(&database, "CREATE TABLE t(a)").await;
    let mut reader = database.begin(Mode::Read).await.unwrap();
    reader.fetch("SELECT * FROM t", none()).await.unwrap();
    let mut writer = database.begin(Mode::Write).await.unwrap();
    writer.execute("INSERT INTO t VALUES (1)", none()).await.unwrap();
    // A commit that waits for readers to go lets no new one in.
    let kept_out = async || match database.begin(Mode::Read).await {
        Ok(mut tx) => tx.fetch("SELECT * FROM t", none()).await.is_err(),
        Err(_) => true,
    };
    let (committed, ()) = tokio::join!(biased; writer.commit(), async {
        let waiting = async { while !kept_out().await {} };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the commit waits");
        reader.rollback().await;
    });
    committed.unwrap();
    assert_eq!(one(&database, "SELECT sum(a) FROM t").await, Value::BigInt(Some(1)));
}

#[tokio::test]
async fn a_reader_sees_one_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, Config { wal: true, ..Config::default() }).await;
    run(&database, "CREATE TABLE t(a); INSERT INTO t VALUES (1)").await;
    let mut reader = database.begin(Mode::Read).await.unwrap();
    let count = "SELECT count(*) FROM t";
    let before = reader.fetch(count, none()).await.unwrap();
    run(&database, "INSERT INTO t VALUES (2)").await;
    assert_eq!(reader.fetch(count, none()).await.unwrap(), before);
    reader.rollback().await;
    assert_eq!(one(&database, count).await, Value::BigInt(Some(2)));
}

#[tokio::test]
async fn a_file_replaced_by_its_backup_must_be_connected_to_again() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, Config::default()).await;
    run(&database, "CREATE TABLE t(a)").await;
    let (path, backup) = (folder.path().join("some.db"), folder.path().join("backup"));
    std::fs::copy(&path, &backup).unwrap();
    run(&database, "INSERT INTO t VALUES (1)").await;
    std::fs::rename(&backup, &path).unwrap();
    let error = database.begin(Mode::Read).await.unwrap_err();
    assert_eq!(error.class(), Class::Unreachable, "{error}");
    let database = open(&folder, Config::default()).await;
    assert_eq!(one(&database, "SELECT count(*) FROM t").await, Value::BigInt(Some(0)));
}
