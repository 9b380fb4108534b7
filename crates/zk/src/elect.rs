//! Electing the active worker of a role.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use change::{Fence, Generation};
use tokio::time::Instant;
use uuid::Uuid;
use zookeeper_client::{CreateMode, Error as ZkError, LockOptions, LockPrefix, OwnedLockClient, Stat};

use crate::config::is_name;
use crate::read::ReadError;
use crate::session::{Advice, Session, SessionEnd, is_over};

/// Why there was no election.
#[derive(Debug, thiserror::Error)]
pub enum ElectError {
    /// Not one path part.
    #[error("stand for the role `{0}`: it is not a name; use 1 to 200 of A-Z a-z 0-9 . _ -")]
    Role(String),
    /// The environment is not there, or could not be read.
    #[error("read the environment that the worker is elected for")]
    Read(#[from] ReadError),
    /// The lock znode was removed from under us, or another session's expiry took it.
    #[error("stand for `{path}`: the lock znode was removed; the worker must stand again")]
    Removed {
        /// The role's folder, absolute.
        path: String,
    },
    /// `NoAuth`.
    #[error("stand for `{path}`: zookeeper refuses; check zookeeper.auth and the ACL of `workers`")]
    Forbidden {
        /// The role's folder, absolute.
        path: String,
    },
    /// Anything else.
    #[error("stand for `{path}`")]
    Zookeeper {
        /// The role's folder, absolute.
        path: String,
        /// What ZooKeeper said.
        #[source]
        source: ZkError,
    },
}

impl ElectError {
    /// Whether trying again can help.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            ElectError::Read(error) => error.advice(),
            ElectError::Removed { .. } | ElectError::Zookeeper { .. } => Advice::Restart,
            ElectError::Role(_) | ElectError::Forbidden { .. } => Advice::Stop,
        }
    }
}

/// Why a term is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The session ended.
    #[error("the leadership ended with its session")]
    Session(#[source] SessionEnd),
    /// ZooKeeper has not answered for two thirds of the session timeout: the server may expire the session soon.
    #[error("zookeeper has not answered for {0:?}, so the leadership can no longer be trusted")]
    Silent(Duration),
    /// Somebody deleted the lock znode.
    #[error("the leadership's lock znode was deleted")]
    Deleted,
    /// The generation was raised or replaced: every term is over.
    #[error("the generation changed")]
    Generation,
}

/// A term as the active worker of a role. Dropping it releases the role, in the background;
/// [`Leadership::release`] does so before it returns.
pub struct Leadership {
    /// Orders this term after every earlier one of the role.
    pub fence: Fence,
    /// The generation that the term belongs to.
    pub generation: Generation,
    session: Session,
    lock: OwnedLockClient,
    generation_mzxid: i64,
    /// When the newest answered request was *sent*: the server has heard from us since.
    heard: Instant,
    armed: Option<Armed>,
}

type Armed = Pin<Box<dyn Future<Output = ()> + Send>>;

impl std::fmt::Debug for Leadership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leadership({} at {})", self.fence, self.lock.lock_path())
    }
}

impl Session {
    /// Stands for `role` and waits until it is ours; `holder` (host and pid) is what others can read of us.
    ///
    /// The lock znodes are named as Curator's `LeaderLatch` names them, `workers/<role>/_c_<uuid>-latch-<sequence>`.
    /// Cancel-safe: a dropped call withdraws.
    ///
    /// # Errors
    /// [`ElectError`].
    pub async fn elect(&self, role: &str, holder: &str) -> Result<Leadership, ElectError> {
        if !is_name(role) {
            return Err(ElectError::Role(role.escape_default().to_string()));
        }
        self.must_stand().await?;
        let folder = format!("/workers/{role}");
        let lock = self.contend(&folder, holder).await?;
        let asked = Instant::now();
        // A generation raised while we waited must be seen, whichever server we are connected to.
        self.sync().await?;
        let stat = self.again(|| self.client().check_stat(lock.lock_path())).await;
        let stat = stat.map_err(|source| self.elect_error(&folder, source))?;
        let czxid = stat.ok_or_else(|| ElectError::Removed { path: self.absolute(&folder) })?.czxid;
        let (generation, found) = self
            .read_generation()
            .await?
            .ok_or_else(|| ReadError::NotInitialised { root: self.root().to_owned() })?;
        Ok(Leadership {
            fence: Fence { generation: generation.n, czxid },
            generation,
            session: self.clone(),
            lock,
            generation_mzxid: found.mzxid.0,
            heard: asked,
            armed: None,
        })
    }

    async fn contend(&self, folder: &str, holder: &str) -> Result<OwnedLockClient, ElectError> {
        // Not `LockPrefix::new_curator`: zookeeper-client 0.11.2 leaves the znode of a dropped call behind there (it
        // deletes by the bare name), and with it a role that nobody holds while the session lives.
        let prefix = format!("{folder}/_c_{}-latch-", Uuid::new_v4());
        let prefix =
            LockPrefix::new_custom(prefix, "latch-").map_err(|source| self.elect_error(folder, source))?;
        let options = LockOptions::new(self.acls())
            .with_ancestor_options(CreateMode::Persistent.with_acls(self.acls()))
            .map_err(|source| self.elect_error(folder, source))?;
        match self.client().lock(prefix, holder.as_bytes(), options).await {
            Ok(lock) => Ok(lock.into_owned()),
            Err(ZkError::RuntimeInconsistent) => Err(ElectError::Removed { path: self.absolute(folder) }),
            Err(source) => Err(self.elect_error(folder, source)),
        }
    }

    fn elect_error(&self, folder: &str, source: ZkError) -> ElectError {
        let path = self.absolute(folder);
        match source {
            ZkError::NoAuth | ZkError::InvalidAcl => ElectError::Forbidden { path },
            source if is_over(&source) => self.read_error(folder, source).into(),
            source => ElectError::Zookeeper { path, source },
        }
    }
}

impl Leadership {
    /// The lock znode, below the environment's root.
    #[must_use]
    pub fn lock_path(&self) -> &str {
        self.lock.lock_path()
    }

    /// Waits until the term is over.
    ///
    /// Six times a session timeout the lock and the generation are looked at, and watches on both tell of a change
    /// at once. It resolves when two thirds of the session timeout have passed since the sending of the newest
    /// request that was answered; the server, which counts from the arrival of that request or a later one, cannot
    /// have expired the session by then. It must be polled, therefore: a term that nobody awaits is not watched.
    /// Cancel-safe.
    pub async fn lost(&mut self) -> Lost {
        let timeout = self.session.timeout();
        let (limit, pause) = (timeout * 2 / 3, timeout / 6);
        let ended = self.session.closed();
        tokio::pin!(ended);
        loop {
            let asked = Instant::now();
            let answer = tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.heard + limit) => return Lost::Silent(limit),
                end = &mut ended => return Lost::Session(end),
                answer = self.look() => answer,
            };
            match answer {
                Ok(None) => self.heard = asked,
                Ok(Some(lost)) => return lost,
                // The connection is down or the server is busy: the deadline above decides.
                Err(_) => tokio::time::sleep(pause.min(Duration::from_millis(50))).await,
            }
            let Some(armed) = &mut self.armed else { continue };
            tokio::select! {
                end = &mut ended => return Lost::Session(end),
                () = tokio::time::sleep(pause) => {}
                () = armed => self.armed = None,
            }
        }
    }

    /// Gives the role to the next in line. Even on an error it is given up, at the latest with the session.
    ///
    /// # Errors
    /// [`ElectError`].
    pub async fn release(self) -> Result<(), ElectError> {
        let path = self.lock.lock_path().to_owned();
        match self.session.again(|| self.session.client().delete(&path, None)).await {
            Ok(()) | Err(ZkError::NoNode) => Ok(()),
            Err(source) => Err(self.session.elect_error(&path, source)),
        }
    }

    /// One look at the lock and the generation, setting the watches if they are not set.
    async fn look(&mut self) -> Result<Option<Lost>, ZkError> {
        let client = self.session.client();
        let lock = self.lock.lock_path();
        let (lock, generation) = if self.armed.is_some() {
            tokio::try_join!(client.check_stat(lock), client.check_stat("/generation"))?
        } else {
            let (lock, generation) = tokio::try_join!(
                client.check_and_watch_stat(lock),
                client.check_and_watch_stat("/generation")
            )?;
            self.armed = Some(Box::pin(async move {
                tokio::select! {
                    _ = lock.1.changed() => {}
                    _ = generation.1.changed() => {}
                }
            }));
            (lock.0, generation.0)
        };
        Ok(self.judge(lock, generation))
    }

    fn judge(&self, lock: Option<Stat>, generation: Option<Stat>) -> Option<Lost> {
        if lock.is_none_or(|stat| stat.czxid != self.fence.czxid) {
            return Some(Lost::Deleted);
        }
        if generation.is_none_or(|stat| stat.mzxid != self.generation_mzxid) {
            return Some(Lost::Generation);
        }
        None
    }
}
