//! Reading one znode, or a whole tree.

use std::collections::BTreeMap;
use std::fmt;

use change::{Lifetime, Millis, ZnodePath, Zxid};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use zookeeper_client::{Error as ZkError, Stat};

use crate::session::{Advice, Session, is_over};

/// One znode as it stands. `Debug` shows how many bytes it holds, not the bytes: a secret may be among them.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// The transaction that created this life of the znode.
    pub czxid: i64,
    /// The transaction that last wrote its bytes.
    pub mzxid: Zxid,
    /// Data version within this life.
    pub version: i32,
    /// When the bytes were written, by the leader's clock.
    pub mtime: Millis,
    /// Whether it outlives its creator.
    pub lifetime: Lifetime,
    /// The stored bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("czxid", &self.czxid)
            .field("mzxid", &self.mzxid)
            .field("version", &self.version)
            .field("mtime", &self.mtime)
            .field("lifetime", &self.lifetime)
            .field("bytes_len", &self.bytes.len())
            .finish()
    }
}

impl Found {
    pub(crate) fn new(bytes: Vec<u8>, stat: &Stat) -> Found {
        Found {
            czxid: stat.czxid,
            mzxid: Zxid(stat.mzxid),
            version: stat.version,
            mtime: Millis(stat.mtime),
            lifetime: Lifetime::of_owner(stat.ephemeral_owner),
            bytes,
        }
    }
}

/// Subtrees as they stood while they were read; not one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every znode that holds something. The inner znodes of the tree ([`change::Place::Folder`]) are left out while
    /// they hold no bytes.
    pub nodes: BTreeMap<ZnodePath, Found>,
    /// Where reading is not allowed: nothing is known of these paths and of what is below them.
    pub unreadable: Vec<ZnodePath>,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The environment's root or its generation is not there: never to be taken for an empty tree.
    #[error(
        "find an environment at `{root}`; check env and zookeeper.root, run `setkeeper init` if it is new, and if it \
         was there before, the ensemble was wiped or replaced: restore it"
    )]
    NotInitialised {
        /// The environment's root.
        root: String,
    },
    /// `NoAuth`.
    #[error("read `{path}`: zookeeper refuses; check zookeeper.auth and the znode's ACL (`getAcl {path}`)")]
    Forbidden {
        /// The znode, absolute.
        path: String,
    },
    /// The znode does not hold what it should.
    #[error("understand `{path}`; look at it with `get {path}`")]
    Malformed {
        /// The znode, absolute.
        path: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A child's name that ZooKeeper itself would not have accepted.
    #[error("use the name of a child that the server listed")]
    Name(#[from] change::ZnodePathError),
    /// A followed subtree is beyond its bounds.
    #[error(
        "follow `{path}`: it holds more than {nodes} znodes or {bytes} bytes; follow a path further down, or raise \
         zookeeper.follow_nodes_max or follow_bytes_max"
    )]
    TooMuch {
        /// The followed root, absolute.
        path: String,
        /// The most znodes.
        nodes: usize,
        /// The most bytes.
        bytes: usize,
    },
    /// The session ended.
    #[error("read `{path}`: the session is over")]
    SessionOver {
        /// The znode, absolute.
        path: String,
        /// How.
        #[source]
        source: ZkError,
    },
    /// Anything else.
    #[error("read `{path}`")]
    Zookeeper {
        /// The znode, absolute.
        path: String,
        /// What ZooKeeper said.
        #[source]
        source: ZkError,
    },
}

impl ReadError {
    /// Whether trying again can help.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            ReadError::SessionOver { .. } | ReadError::Zookeeper { .. } => Advice::Restart,
            ReadError::NotInitialised { .. }
            | ReadError::Forbidden { .. }
            | ReadError::Malformed { .. }
            | ReadError::TooMuch { .. }
            | ReadError::Name(_) => Advice::Stop,
        }
    }
}

impl Session {
    /// Waits until the server that we are connected to has what the leader had. What is read then can be behind
    /// other clients still, but not behind what they did before this call, short of a change of leaders.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn sync(&self) -> Result<(), ReadError> {
        let synced = self.again(|| self.client().sync("/")).await;
        synced.map_err(|source| self.read_error("/", source))
    }

    /// Reads one znode; `None` if it is not there although the environment is.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self, path: &ZnodePath) -> Result<Option<Found>, ReadError> {
        let path = format!("/{path}", path = path.as_str());
        let found = self.look(&path).await?;
        if found.is_none() {
            self.must_stand().await?;
        }
        Ok(found)
    }

    /// Reads everything below `roots` (`assets`, `control/approvals`), with at most `reads_in_flight` requests on
    /// the wire. A root that is missing in an environment that stands is empty.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::NotInitialised`] if the environment is missing.
    pub async fn read_tree(&self, roots: &[&str]) -> Result<Snapshot, ReadError> {
        self.sync().await?;
        self.must_stand().await?;
        let mut todo = roots.iter().map(|root| root.parse()).collect::<Result<Vec<ZnodePath>, _>>()?;
        let mut reading = FuturesUnordered::new();
        let mut snapshot = Snapshot::default();
        loop {
            while reading.len() < self.config().reads_in_flight.max(1) {
                let Some(path) = todo.pop() else { break };
                reading.push(self.visit(path));
            }
            let Some(visit) = reading.next().await else {
                snapshot.unreadable.sort_unstable();
                return Ok(snapshot);
            };
            match visit? {
                Visit::Gone => {}
                Visit::Unreadable(path) => snapshot.unreadable.push(path),
                Visit::Here { path, found, children } => {
                    for child in children {
                        todo.push(format!("{}/{child}", path.as_str()).parse()?);
                    }
                    if !(found.bytes.is_empty() && path.place() == Ok(change::Place::Folder)) {
                        snapshot.nodes.insert(path, found);
                    }
                }
            }
        }
    }

    async fn visit(&self, path: ZnodePath) -> Result<Visit, ReadError> {
        let at = format!("/{}", path.as_str());
        let (bytes, stat) = match self.again(|| self.client().get_data(&at)).await {
            Ok(answer) => answer,
            Err(ZkError::NoNode) => return Ok(Visit::Gone),
            Err(ZkError::NoAuth) => return Ok(Visit::Unreadable(path)),
            Err(source) => return Err(self.read_error(&at, source)),
        };
        let children = match stat.num_children {
            0 => Vec::new(),
            _ => match self.again(|| self.client().list_children(&at)).await {
                Ok(children) => children,
                Err(ZkError::NoNode) => return Ok(Visit::Gone),
                Err(ZkError::NoAuth) => return Ok(Visit::Unreadable(path)),
                Err(source) => return Err(self.read_error(&at, source)),
            },
        };
        Ok(Visit::Here { found: Found::new(bytes, &stat), path, children })
    }

    /// Reads one znode of the environment, which may be missing with the whole environment.
    pub(crate) async fn look(&self, path: &str) -> Result<Option<Found>, ReadError> {
        match self.again(|| self.client().get_data(path)).await {
            Ok((bytes, stat)) => Ok(Some(Found::new(bytes, &stat))),
            Err(ZkError::NoNode) => Ok(None),
            Err(source) => Err(self.read_error(path, source)),
        }
    }

    /// Makes sure that an absence is not that of the whole environment.
    pub(crate) async fn must_stand(&self) -> Result<(), ReadError> {
        let stat = self.again(|| self.client().check_stat("/generation")).await;
        match stat.map_err(|source| self.read_error("/generation", source))? {
            Some(_) => Ok(()),
            None => Err(ReadError::NotInitialised { root: self.root().to_owned() }),
        }
    }

    pub(crate) fn read_error(&self, path: &str, source: ZkError) -> ReadError {
        let path = self.absolute(path);
        match source {
            ZkError::NoAuth => ReadError::Forbidden { path },
            source if is_over(&source) => ReadError::SessionOver { path, source },
            source => ReadError::Zookeeper { path, source },
        }
    }

    /// For messages: escaped, from ZooKeeper's own root.
    pub(crate) fn absolute(&self, path: &str) -> String {
        format!("{}{}", self.root(), path.trim_end_matches('/').escape_default())
    }
}

enum Visit {
    /// Deleted between the listing and the read.
    Gone,
    Unreadable(ZnodePath),
    Here {
        path: ZnodePath,
        found: Found,
        children: Vec<String>,
    },
}
