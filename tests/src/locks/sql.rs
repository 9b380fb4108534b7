//! The SQL of `docs/locks.md`, word for word, on real servers.

use self::server::{Server, Transaction};
use crate::until::until;

mod client;
mod server;

const GUIDE: &str = include_str!("../../../docs/locks.md");

/// The block of SQL after these words.
fn block(after: &str) -> &'static str {
    let from = GUIDE.find(after).unwrap_or_else(|| panic!("`{after}` is not in the guide")) + after.len();
    let block = GUIDE[from..].strip_prefix("\n```sql\n").expect("SQL follows");
    block.split("```").next().expect("the block ends")
}

/// What the guide has a holder run first in each transaction.
fn update(token: &str) -> String {
    block("each transaction that writes:").replace(":token", &format!("'{token}'"))
}

fn token(generation: u64, czxid: i64) -> String {
    zk::Token(change::Fence { generation, czxid }).to_string()
}

/// The guide's table, made twice, and one for effects.
async fn prepare(server: &Server) {
    for _ in 0..2 {
        server.run(block(server.title())).await;
    }
    server.run("CREATE TABLE effect (token TEXT)").await;
}

async fn effects(server: &Server) -> Vec<String> {
    server.fetch("SELECT token FROM effect").await
}

/// What a holder does: the statement, in a transaction with an effect. Returns whether it went through.
async fn work(server: &Server, token: &str) -> bool {
    let mut transaction = server.begin().await;
    if transaction.execute(&update(token)).await == 0 {
        transaction.rollback().await;
        return false;
    }
    finish(transaction, token).await;
    true
}

/// The rest, of a holder that has passed.
async fn finish(mut transaction: Transaction, token: &str) {
    transaction.execute(&format!("INSERT INTO effect VALUES ('{token}');")).await;
    transaction.commit().await;
}

async fn the_later_holder_passes(server: Server) {
    prepare(&server).await;
    let (old, new) = (token(1, 99), token(1, 1_000));
    let (restored, later) = (token(2, 3), token(10, 1));
    let mut passed = Vec::new();
    for token in [&old, &new, &old, &new, &restored, &new, &later, &restored, &later] {
        passed.push(work(&server, token).await);
    }
    assert_eq!(passed, [true, true, false, true, true, false, true, false, true]);
    assert_eq!(effects(&server).await, [&old, &new, &new, &restored, &later, &later].map(String::clone));
}

#[tokio::test]
async fn on_sqlite_no_earlier_holder_passes_after_a_later_one() {
    the_later_holder_passes(Server::sqlite().await).await;
}

#[tokio::test]
async fn on_postgresql_no_earlier_holder_passes_after_a_later_one() {
    the_later_holder_passes(Server::postgres().await).await;
}

#[tokio::test]
async fn on_mariadb_no_earlier_holder_passes_after_a_later_one() {
    the_later_holder_passes(Server::mariadb().await).await;
}

/// The first one has passed and not yet committed, the second one comes and waits. Returns whether it went through in
/// the end.
async fn comes_meanwhile(server: &Server, first: &str, second: &str) -> bool {
    let mut open = server.begin().await;
    assert_eq!(open.execute(&update(first)).await, 1);
    let finish_once_waited_for = async {
        until("the second one waits", async || match server.waiting().await {
            waiting if waiting == ["1"] => Ok(()),
            waiting => Err(waiting),
        })
        .await;
        finish(open, first).await;
    };
    tokio::join!(work(server, second), finish_once_waited_for).0
}

async fn two_at_once_go_one_after_the_other(server: Server) {
    prepare(&server).await;
    let (old, new, later) = (token(1, 99), token(1, 1_000), token(1, 1_001));
    assert!(comes_meanwhile(&server, &old, &new).await);
    assert!(!work(&server, &old).await);
    assert!(!comes_meanwhile(&server, &later, &new).await);
    assert_eq!(effects(&server).await, [old, new, later]);
}

#[tokio::test]
async fn on_postgresql_a_holder_that_comes_meanwhile_waits_and_passes_only_if_it_is_the_later_one() {
    two_at_once_go_one_after_the_other(Server::postgres().await).await;
}

#[tokio::test]
async fn on_mariadb_a_holder_that_comes_meanwhile_waits_and_passes_only_if_it_is_the_later_one() {
    two_at_once_go_one_after_the_other(Server::mariadb().await).await;
}

/// What the guide says that `used` is there for.
#[tokio::test]
async fn on_mariadb_the_same_holder_would_pass_only_once_without_used() {
    let server = Server::mariadb().await;
    prepare(&server).await;
    let mut transaction = server.begin().await;
    let statement = update(&token(1, 99));
    let without = statement.replace(", used = used + 1", "");
    assert_ne!(statement, without);
    let mut counts = Vec::new();
    for statement in [&without, &without, &statement, &statement] {
        counts.push(transaction.execute(statement).await);
    }
    assert_eq!(counts, [1, 0, 1, 1]);
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
