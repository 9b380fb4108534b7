//! The SQL of `docs/locks.md`, word for word, on real servers.

use sql::{Database, Mode, Values};

use crate::pipeline::{Metadata, Store};

const GUIDE: &str = include_str!("../../../docs/locks.md");

/// The block of SQL after these words.
fn block(after: &str) -> &'static str {
    let from = GUIDE.find(after).unwrap_or_else(|| panic!("`{after}` is not in the guide")) + after.len();
    let block = GUIDE[from..].strip_prefix("\n```sql\n").expect("SQL follows");
    block.split("```").next().expect("the block ends")
}

/// What a holder does: the statement, in a transaction with an effect. Returns whether it went through.
async fn work(database: &Database, token: &str) -> bool {
    let update = block("each transaction that writes:").replace(":token", &format!("'{token}'"));
    let mut transaction = database.begin(Mode::Write).await.expect("a transaction");
    let rows = transaction.execute(&update, Values(Vec::new())).await.expect("the statement is good");
    if rows == 0 {
        transaction.rollback().await;
        return false;
    }
    let effect = format!("INSERT INTO effect VALUES ('{token}')");
    transaction.execute(&effect, Values(Vec::new())).await.expect("an effect");
    transaction.commit().await.expect("a commit");
    true
}

async fn the_later_holder_passes(kind: Metadata, title: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::make(kind, folder.path()).await;
    for _ in 0..2 {
        store.run(block(title)).await;
    }
    store.run("CREATE TABLE effect (token TEXT)").await;
    let database = Database::connect(store.url(), sql::Config::default()).await.expect("it is there");
    let token = |generation, czxid| zk::Token(change::Fence { generation, czxid }).to_string();
    let (old, new) = (token(1, 99), token(1, 1_000));
    let (restored, later) = (token(2, 3), token(10, 1));
    let mut passed = Vec::new();
    for token in [&old, &new, &old, &new, &restored, &new, &later, &restored, &later] {
        passed.push(work(&database, token).await);
    }
    assert_eq!(passed, [true, true, false, true, true, false, true, false, true]);
    database.close().await;
    let effects = store.fetch("SELECT token FROM effect").await.expect("readable").concat();
    assert_eq!(effects, [&old, &new, &new, &restored, &later, &later].map(String::clone));
}

#[tokio::test]
async fn on_sqlite_no_earlier_holder_passes_after_a_later_one() {
    the_later_holder_passes(Metadata::Sqlite, "\nSQLite:").await;
}

#[tokio::test]
async fn on_postgresql_no_earlier_holder_passes_after_a_later_one() {
    the_later_holder_passes(Metadata::Postgres, "\nPostgreSQL:").await;
}

/// The class that the guide shows is the one that the tests of kazoo use.
#[test]
fn the_subclass_of_the_guide_is_the_one_that_is_tested() {
    let tested = include_str!("foreign/clients.py");
    for line in
        ["class CuratorLock(Lock):", "    _NODE_NAME = \"-lock-\"", "    _EXCLUDE_NAMES = [\"lock-\"]"]
    {
        assert!(GUIDE.contains(&format!("{line}\n")) && tested.contains(&format!("{line}\n")), "{line}");
    }
}
