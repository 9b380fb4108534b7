//! A log that is not the one a reader has read: found, never skipped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use queue::{AppendError, Config, Lost, NewEntry, OpenError, Position, Queue, ReadError, StoreError};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

const T: &str = "env.changes";

async fn open(path: &Path) -> Queue {
    Queue::embedded(&Config::new(path)).await.expect("the queue opens")
}

async fn append(queue: &Queue, count: usize) -> Position {
    let entry = NewEntry { key: "k".to_owned(), headers: String::new(), body: b"same".to_vec() };
    queue.append(T, None, &vec![entry; count]).await.expect("an append").end
}

async fn lost(queue: &Queue, from: &Position) -> Option<Lost> {
    match queue.read(T, from, 10, 1000).await {
        Ok(_) => None,
        Err(ReadError::Lost { reason, .. }) => Some(reason),
        Err(other) => panic!("{other}"),
    }
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.expect("a plain connection")
}

/// A copy of a queue file as a backup makes it.
async fn back_up(path: &Path) -> PathBuf {
    let copy = path.with_extension("backup");
    let mut connection = raw(path).await;
    sqlx::query("VACUUM INTO ?1").bind(copy.to_str()).execute(&mut connection).await.expect("a backup");
    connection.close().await.expect("a close");
    copy
}

/// Puts a file in the place of the queue's, as a restore does while nothing runs.
fn put_back(copy: &Path, path: &Path) {
    std::fs::rename(copy, path).expect("a rename");
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("queue.db");
    (folder, path)
}

#[tokio::test]
async fn an_older_copy_is_found_whether_or_not_it_has_grown_again() {
    let (_folder, path) = place();
    let queue = open(&path).await;
    let third = append(&queue, 2).await;
    let copy = back_up(&path).await;
    let sixth = append(&queue, 3).await;
    put_back(&copy, &path);
    let queue = open(&path).await;
    assert_eq!(lost(&queue, &third).await, None, "up to here both are the same");
    assert_eq!(lost(&queue, &sixth).await, Some(Lost::Beyond { offset: 6, end: 3 }));
    append(&queue, 4).await;
    assert_eq!(lost(&queue, &sixth).await, Some(Lost::OtherHistory { offset: 6 }));
}

#[tokio::test]
async fn a_new_file_has_other_logs() {
    let (_folder, path) = place();
    let end = append(&open(&path).await, 2).await;
    std::fs::remove_file(&path).unwrap();
    let queue = open(&path).await;
    assert_eq!(lost(&queue, &end).await, Some(Lost::NoTopic));
    append(&queue, 2).await;
    assert_eq!(lost(&queue, &end).await, Some(Lost::OtherLog));
}

#[tokio::test]
async fn a_file_replaced_while_open_is_neither_written_nor_read() {
    let (_folder, path) = place();
    let queue = open(&path).await;
    let end = append(&queue, 2).await;
    let copy = back_up(&path).await;
    let (waited, ()) =
        tokio::join!(biased; queue.next_batch(T, &end, 1, 1), async { put_back(&copy, &path) });
    assert!(matches!(waited, Err(ReadError::Store(StoreError::Replaced { .. }))), "{waited:?}");
    let read = queue.read(T, &end, 1, 1).await;
    assert!(matches!(read, Err(ReadError::Store(StoreError::Replaced { .. }))), "{read:?}");
    let appended = queue.append(T, None, &[]).await;
    assert!(matches!(appended, Err(AppendError::Store(StoreError::Replaced { .. }))), "{appended:?}");
}

#[tokio::test]
async fn a_log_that_shrank_under_an_open_handle_gets_a_new_id() {
    let (_folder, path) = place();
    let queue = open(&path).await;
    let second = append(&queue, 1).await;
    let fourth = append(&queue, 2).await;
    let mut connection = raw(&path).await;
    for statement in [
        "UPDATE topic SET last_offset = 1, records = 1, last_digest = (SELECT digest FROM record WHERE offset = 1)",
        "DELETE FROM record WHERE offset > 1",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    assert_eq!(lost(&queue, &fourth).await, Some(Lost::Beyond { offset: 4, end: 2 }));
    let end = append(&queue, 1).await;
    assert_ne!(end.log, second.log);
    assert_eq!(lost(&queue, &second).await, Some(Lost::OtherLog));
    assert_eq!(append(&queue, 1).await.log, end.log, "once");
    assert_eq!(lost(&queue, &end).await, None);
}

#[tokio::test]
async fn a_record_that_is_missing_in_the_middle_is_found() {
    let (_folder, path) = place();
    let queue = open(&path).await;
    let start = queue.first(T).await.unwrap();
    append(&queue, 3).await;
    sqlx::query("DELETE FROM record WHERE offset = 2").execute(&mut raw(&path).await).await.unwrap();
    assert_eq!(lost(&queue, &start).await, Some(Lost::Gap { offset: 2 }));
}

#[tokio::test]
async fn a_layout_of_another_version_is_not_opened() {
    let (_folder, path) = place();
    drop(open(&path).await);
    let copy = back_up(&path).await;
    sqlx::query("PRAGMA user_version = 2").execute(&mut raw(&copy).await).await.unwrap();
    let refused = Queue::embedded(&Config::new(&copy)).await;
    assert!(matches!(refused, Err(OpenError::Layout { found: 2, known: 1, .. })), "{refused:?}");
}

#[tokio::test]
async fn another_holder_of_the_write_lock_is_waited_for_and_then_named() {
    let (_folder, path) = place();
    let mut config = Config::new(&path);
    config.busy_timeout = Duration::from_millis(50);
    let queue = Queue::embedded(&config).await.unwrap();
    let mut holder = raw(&path).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
    let refused = queue.append(T, None, &[]).await;
    assert!(matches!(refused, Err(AppendError::Store(StoreError::Busy { .. }))), "{refused:?}");
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    append(&queue, 1).await;
}
