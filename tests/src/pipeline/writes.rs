//! What a test writes into ZooKeeper: as a stranger with a plain client, or as our own tools do, with an edit.

use std::time::Duration;

use change::{ChangeId, ZnodePath};
use serde_json::Value;
use zk::{Draft, Expect, Session, VersionedEdit, WriteOp};
use zookeeper_client::{Acls, CreateMode, CreateOptions, Error as ZkError};

use super::{ENV, Pipeline, path};

/// One path of an edit.
#[derive(Debug, Clone)]
pub(crate) enum Edit<'p> {
    /// Create or set.
    Put(&'p str, Value),
    /// Delete.
    Delete(&'p str),
}

/// A session below the environment's root that outlives a killed server.
pub(crate) async fn connect(servers: &str) -> Session {
    let mut config = zk::Config::new(servers, ENV);
    config.session_timeout = Duration::from_secs(10);
    Session::connect(&config).await.expect("zookeeper serves")
}

fn persistent() -> CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}

impl Pipeline {
    /// Creates or sets a document as a stranger does: without an edit record, and without asking what is there.
    pub(crate) async fn put(&self, at: &str, document: &Value) -> ChangeId {
        self.put_bytes(at, document.to_string().as_bytes()).await
    }

    /// The same with any bytes.
    pub(crate) async fn put_bytes(&self, at: &str, bytes: &[u8]) -> ChangeId {
        let (client, node) = (self.session.client(), format!("/{at}"));
        let folder = node.rsplit_once('/').expect("below the root").0;
        client.mkdir(folder, &persistent()).await.expect("a folder");
        let stat = match client.create(&node, bytes, &persistent()).await {
            Ok((stat, _)) => stat,
            Err(ZkError::NodeExists) => client.set_data(&node, bytes, None).await.expect("a set"),
            Err(error) => panic!("create {node}: {error}"),
        };
        self.id(path(at), stat.czxid, Some(stat.version))
    }

    /// Deletes a document, as a stranger.
    pub(crate) async fn delete(&self, at: &str) -> ChangeId {
        let (client, node) = (self.session.client(), format!("/{at}"));
        let stat = client.check_stat(&node).await.expect("an answer").expect("a znode to delete");
        client.delete(&node, None).await.expect("a delete");
        self.id(path(at), stat.czxid, None)
    }

    /// Writes all of it in one multi with an edit record, as setkeeper's own commands do.
    pub(crate) async fn edit(&self, author: &str, edits: &[Edit<'_>]) -> Vec<ChangeId> {
        let mut versioned = Vec::new();
        for edit in edits {
            let (at, op) = match edit {
                Edit::Put(at, document) => (at, WriteOp::Put { bytes: document.to_string().into_bytes() }),
                Edit::Delete(at) => (at, WriteOp::Delete),
            };
            let found = self.session.read(&path(at)).await.expect("an answer");
            let expect = found
                .map_or(Expect::Absent, |found| Expect::Is { czxid: found.czxid, version: found.version });
            versioned.push(VersionedEdit { path: path(at), op, expect, group: Some(0) });
        }
        let draft = Draft { author: author.to_owned(), ..Draft::default() };
        let written = self.session.write(&versioned, &draft, |_, _| {}).await.expect("an edit");
        written.into_iter().flat_map(|part| part.changes).collect()
    }

    fn id(&self, path: ZnodePath, czxid: i64, version: Option<i32>) -> ChangeId {
        ChangeId { generation: self.generation, path, czxid, version }
    }
}
