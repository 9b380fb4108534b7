//! Looking at locks, breaking one, and asking whether a token still counts.

use std::num::NonZeroU32;

use change::Millis;
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use serde::Serialize;
use zookeeper_client::Error as ZkError;

use crate::config::is_name;
use crate::lock::queue::{self, Kind, Mode, Turn};
use crate::lock::{Holder, LockError, Token};
use crate::session::Session;

/// One lock and its queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockState {
    /// Below `locks`.
    pub name: String,
    /// Whoever holds it or waits for it, in order.
    pub queue: Vec<Queued>,
}

/// One contender, of whatever client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Queued {
    /// The znode's name.
    pub znode: String,
    /// The znode, absolute.
    pub key: String,
    /// What its name tells.
    pub kind: Kind,
    /// Whether it holds the lock.
    pub holds: bool,
    /// The transaction that created it.
    pub czxid: i64,
    /// The session that it goes with.
    pub session: i64,
    /// When it joined, by the leader's clock.
    pub since: Millis,
    /// When its data was last written, by the leader's clock.
    pub noted: Millis,
    /// What it says of itself, if it is one of ours.
    pub holder: Option<Holder>,
    /// Its data as text, cut, for those that are not ours.
    pub text: String,
    #[serde(skip)]
    pub(crate) data: Vec<u8>,
}

/// How much of a foreign znode's data is shown.
const TEXT_MAX: usize = 200;

impl Session {
    /// Every lock that somebody holds or waits for, by name.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn locks(&self) -> Result<Vec<LockState>, LockError> {
        self.sync().await?;
        let mut names = match self.again(|| self.client().list_children("/locks")).await {
            Ok(names) => names,
            Err(ZkError::NoNode) => return Ok(self.must_stand().await.map(|()| Vec::new())?),
            Err(source) => return Err(self.lock_error("/locks", source)),
        };
        names.sort_unstable();
        let mut locks = Vec::new();
        for name in names {
            let queue = self.queued(&format!("/locks/{name}")).await?;
            if !queue.is_empty() {
                locks.push(LockState { name, queue });
            }
        }
        Ok(locks)
    }

    /// One lock; its queue is empty if nobody wants it.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn lock_state(&self, name: &str) -> Result<LockState, LockError> {
        if !is_name(name) {
            return Err(LockError::Name(name.escape_default().to_string()));
        }
        self.sync().await?;
        self.must_stand().await?;
        Ok(LockState { name: name.to_owned(), queue: self.queued(&format!("/locks/{name}")).await? })
    }

    /// Removes one contender of a lock, mostly its holder, whose session lives on: it learns that it has lost the lock,
    /// and whoever is next holds it at once. No other contender ever has the same znode's name, so that nobody is hit
    /// who came later. Returns whether it was still there.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn break_lock(&self, name: &str, znode: &str) -> Result<bool, LockError> {
        if !is_name(name) {
            return Err(LockError::Name(name.escape_default().to_string()));
        }
        if !is_contender(znode) {
            return Err(self.bad_key(znode));
        }
        let path = format!("/locks/{name}/{znode}");
        let mut sent_before = false;
        loop {
            match self.client().delete(&path, None).await {
                Ok(()) => return Ok(true),
                // The first try may have done it.
                Err(ZkError::NoNode) => return Ok(sent_before),
                Err(error) if crate::session::is_lost(&error) && !sent_before => sent_before = true,
                Err(source) => return Err(self.lock_error(&path, source)),
            }
        }
    }

    /// Whether `token` is that of a present holder of the lock znode at `key` (absolute).
    ///
    /// # Errors
    /// [`LockError::Key`] if `key` is no lock's.
    pub async fn is_held(&self, key: &str, token: Token) -> Result<bool, LockError> {
        let holding = self.by_key(key).await?.filter(|each| each.czxid == token.0.czxid && each.holds);
        let generation = self.generation().await?;
        let current = generation.is_some_and(|generation| generation.n == token.0.generation);
        Ok(current && holding.is_some())
    }

    /// Whether somebody stands in a lock's queue by the znode at `key` (absolute).
    ///
    /// # Errors
    /// [`LockError::Key`] if `key` is no lock's.
    pub async fn is_queued(&self, key: &str) -> Result<bool, LockError> {
        Ok(self.by_key(key).await?.is_some())
    }

    async fn by_key(&self, key: &str) -> Result<Option<Queued>, LockError> {
        let locks = format!("{}/locks/", self.root());
        let parts = key.strip_prefix(&locks).and_then(|rest| rest.split_once('/'));
        let Some((name, znode)) = parts.filter(|(_, znode)| is_contender(znode)) else {
            return Err(self.bad_key(key));
        };
        let lock = self.lock_state(name).await?;
        Ok(lock.queue.into_iter().find(|each| each.znode == znode))
    }

    /// The contenders in a folder, in order.
    pub(crate) async fn queued(&self, folder: &str) -> Result<Vec<Queued>, LockError> {
        let names = match self.again(|| self.client().list_children(folder)).await {
            Ok(names) => queue::order(names),
            Err(ZkError::NoNode) => return Ok(Vec::new()),
            Err(source) => return Err(self.lock_error(folder, source)),
        };
        let mut queued = Vec::new();
        for chunk in names.chunks(self.config().reads_in_flight.max(1)) {
            let mut reading: FuturesOrdered<_> =
                chunk.iter().map(|name| self.read_queued(folder, name)).collect();
            while let Some(read) = reading.next().await {
                queued.extend(read?);
            }
        }
        mark(&mut queued);
        Ok(queued)
    }

    async fn read_queued(&self, folder: &str, znode: &str) -> Result<Option<Queued>, LockError> {
        let path = format!("{folder}/{znode}");
        let (data, stat) = match self.again(|| self.client().get_data(&path)).await {
            Ok(found) => found,
            Err(ZkError::NoNode) => return Ok(None),
            // Its place in the queue counts all the same.
            Err(ZkError::NoAuth) => match self.again(|| self.client().check_stat(&path)).await {
                Ok(Some(stat)) => (Vec::new(), stat),
                Ok(None) => return Ok(None),
                Err(source) => return Err(self.lock_error(&path, source)),
            },
            Err(source) => return Err(self.lock_error(&path, source)),
        };
        let text = String::from_utf8_lossy(&data).chars().take(TEXT_MAX).collect();
        Ok(Some(Queued {
            znode: znode.to_owned(),
            key: format!("{}{path}", self.root()),
            kind: Kind::of(znode),
            holds: false,
            czxid: stat.czxid,
            session: stat.ephemeral_owner,
            since: Millis(stat.ctime),
            noted: Millis(stat.mtime),
            holder: serde_json::from_slice(&data).ok(),
            text,
            data,
        }))
    }

    fn bad_key(&self, key: &str) -> LockError {
        LockError::Key { key: key.escape_default().to_string(), root: self.root().to_owned() }
    }
}

/// Whether a znode of this name can stand in a lock's queue.
fn is_contender(znode: &str) -> bool {
    !znode.contains('/') && !queue::order(vec![znode.to_owned()]).is_empty()
}

/// Marks who holds: each by its own rule, as its client sees it.
fn mark(queued: &mut [Queued]) {
    let names: Vec<String> = queued.iter().map(|each| each.znode.clone()).collect();
    for (at, each) in queued.iter_mut().enumerate() {
        let count: Option<NonZeroU32> = each.holder.as_ref().and_then(|holder| holder.count);
        let mode = match count {
            Some(most) => Mode::Counted(most),
            None if each.kind.is_shared() => Mode::Shared,
            None => Mode::Exclusive,
        };
        each.holds = queue::turn(&names, at, mode) == Turn::Mine;
    }
}
