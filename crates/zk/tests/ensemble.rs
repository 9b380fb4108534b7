//! The crate on a real ZooKeeper. One server serves all tests, each in an environment of its own; those that kill
//! it start their own, and those that lose a connection go through a proxy.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

#[path = "ensemble/control.rs"]
mod control;
#[path = "ensemble/elect.rs"]
mod elect;
#[path = "ensemble/follow.rs"]
mod follow;
#[path = "ensemble/lock.rs"]
mod lock;
#[path = "ensemble/proxy.rs"]
mod proxy;
#[path = "ensemble/read.rs"]
mod read;
#[path = "ensemble/register.rs"]
mod register;
#[path = "ensemble/write.rs"]
mod write;

use std::future::Future;
use std::time::Duration;

use testbed::Zookeeper;
use testbed::zookeeper::Options;
use tokio::sync::OnceCell;
use zk::{Config, Draft, Expect, Session, VersionedEdit, WriteOp};

static SERVER: OnceCell<Zookeeper> = OnceCell::const_new();

/// The address of the server that all share.
async fn server() -> String {
    let server = SERVER.get_or_init(|| async { Zookeeper::start(Options::default()).await.unwrap() }).await;
    server.connect()
}

/// A configuration for an environment named after the test.
async fn config(env: &str) -> Config {
    Config { session_timeout: Duration::from_secs(3), ..Config::new(server().await, env) }
}

/// A session of an environment that stands.
async fn environment(env: &str) -> Session {
    let session = Session::connect(&config(env).await).await.unwrap();
    session.init().await.unwrap();
    session
}

async fn connect(config: &Config) -> Session {
    Session::connect(config).await.unwrap()
}

fn put(path: &str, bytes: &[u8], expect: Expect) -> VersionedEdit {
    let op = WriteOp::Put { bytes: bytes.to_vec() };
    VersionedEdit { path: path.parse().unwrap(), op, expect, group: None }
}

fn delete(path: &str, expect: Expect) -> VersionedEdit {
    VersionedEdit { path: path.parse().unwrap(), op: WriteOp::Delete, expect, group: None }
}

fn draft(message: &str) -> Draft {
    Draft { author: "tester".into(), message: message.into(), ..Draft::default() }
}

/// What stands at a path, as an edit expects it.
async fn state(session: &Session, path: &str) -> Expect {
    match session.read(&path.parse().unwrap()).await.unwrap() {
        Some(found) => Expect::Is { czxid: found.czxid, version: found.version },
        None => Expect::Absent,
    }
}

/// Awaits a state, with a deadline.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(30);
    tokio::time::timeout(deadline, future).await.unwrap_or_else(|_| panic!("{what} within {deadline:?}"))
}
