//! Locks: the recipe that setkeeper's elections use too, and that Curator's and kazoo's clients can take part in.

use std::num::NonZeroU32;

use change::{Fence, Millis};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;
use zookeeper_client::Error as ZkError;

use crate::config::is_name;
use crate::held::Held;
use crate::read::ReadError;
use crate::session::{Advice, Session, is_over};

pub(crate) use contend::Contender;
pub use queue::{Kind, Mode, ParseStyleError, Style};
pub use show::{LockState, Queued};
pub use token::{ParseTokenError, Token};

mod contend;
pub(crate) mod queue;
mod show;
mod token;

/// Why a lock is not held, or a role not won.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Not one path part.
    #[error("contend for `{0}`: it is not a name; use 1 to 200 of A-Z a-z 0-9 . _ -")]
    Name(String),
    /// The environment is not there, or could not be read.
    #[error("look at the environment that the lock stands in")]
    Read(#[from] ReadError),
    /// The znode was removed from under us, or another session's expiry took it.
    #[error("contend for `{path}`: the znode in its queue was removed; contend again")]
    Removed {
        /// The znode, absolute.
        path: String,
    },
    /// `NoAuth`.
    #[error("contend at `{path}`: zookeeper refuses; check zookeeper.auth and the ACL of its parent")]
    Forbidden {
        /// The znode or its folder, absolute.
        path: String,
    },
    /// Not the znode of a lock.
    #[error(
        "find a lock by `{key}`; a key looks like {root}/locks/NAME/ZNODE, as `setkeeper lock show NAME` prints it"
    )]
    Key {
        /// What was given.
        key: String,
        /// The environment's root.
        root: String,
    },
    /// Anything else.
    #[error("contend at `{path}`")]
    Zookeeper {
        /// The znode or its folder, absolute.
        path: String,
        /// What ZooKeeper said.
        #[source]
        source: ZkError,
    },
}

impl LockError {
    /// Whether trying again can help.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            LockError::Read(error) => error.advice(),
            LockError::Removed { .. } | LockError::Zookeeper { .. } => Advice::Restart,
            LockError::Name(_) | LockError::Forbidden { .. } | LockError::Key { .. } => Advice::Stop,
        }
    }
}

/// Who holds a lock, for whoever looks; the data of its znode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Format, 1.
    pub v: u32,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Why.
    pub reason: String,
    /// Since when it wants the lock, by its own clock.
    pub since: Millis,
    /// How many may hold the lock at once, if it is a counted one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<NonZeroU32>,
}

impl Session {
    /// Joins the queue for the lock `name`, which stands at `locks/<name>`, and waits until it is ours.
    ///
    /// Cancel-safe: a dropped call withdraws. To bound the wait, put it under a timeout.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn lock(
        &self,
        name: &str,
        style: Style,
        mode: Mode,
        holder: &Holder,
    ) -> Result<Held, LockError> {
        let contender = self.contend(name, style, mode, holder).await?;
        contender.wait(mode).await?;
        self.hold(contender).await
    }

    /// As [`Session::lock`], but `None` if the lock is not free at once.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn try_lock(
        &self,
        name: &str,
        style: Style,
        mode: Mode,
        holder: &Holder,
    ) -> Result<Option<Held>, LockError> {
        let contender = self.contend(name, style, mode, holder).await?;
        if contender.is_first(mode).await? {
            self.hold(contender).await.map(Some)
        } else {
            contender.withdraw().await?;
            Ok(None)
        }
    }

    /// As [`Session::lock`], but leaves the queue once `stop` resolves, before it returns `None`.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn lock_until(
        &self,
        name: &str,
        style: Style,
        mode: Mode,
        holder: &Holder,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Held>, LockError> {
        // Not given up half-way: only what is known to stand can be taken back for certain.
        let contender = self.contend(name, style, mode, holder).await?;
        let is_ours = tokio::select! {
            waited = contender.wait(mode) => waited.map(|()| true)?,
            () = stop => false,
        };
        if is_ours { self.hold(contender).await.map(Some) } else { contender.withdraw().await.map(|()| None) }
    }

    async fn contend(
        &self,
        name: &str,
        style: Style,
        mode: Mode,
        holder: &Holder,
    ) -> Result<Contender, LockError> {
        if !is_name(name) {
            return Err(LockError::Name(name.escape_default().to_string()));
        }
        self.must_stand().await?;
        let count = match mode {
            Mode::Counted(most) => Some(most),
            Mode::Exclusive | Mode::Write | Mode::Shared => None,
        };
        let holder = Holder { count, ..holder.clone() };
        let data = serde_json::to_vec(&holder).expect("texts and numbers always make JSON");
        Contender::join(self, &format!("/locks/{name}"), queue::prefix(style, mode, Uuid::new_v4()), &data)
            .await
    }

    /// Makes a held lock of a contender whose turn it is.
    pub(crate) async fn hold(&self, contender: Contender) -> Result<Held, LockError> {
        // Not the wait's own request: its answer may be old by now, if we were stopped or the connection was down.
        let asked = Instant::now();
        // A generation raised while we waited must be seen, whichever server we are connected to.
        self.sync().await?;
        let path = contender.path();
        let stat = self.again(|| self.client().check_stat(&path)).await;
        let stat = stat.map_err(|source| self.lock_error(&path, source))?;
        let czxid = stat.ok_or_else(|| LockError::Removed { path: self.absolute(&path) })?.czxid;
        let (generation, found) = self
            .read_generation()
            .await?
            .ok_or_else(|| ReadError::NotInitialised { root: self.root().to_owned() })?;
        let fence = Fence { generation: generation.n, czxid };
        Ok(Held::new(self.clone(), contender, fence, generation, found.mzxid.0, asked))
    }

    pub(crate) fn lock_error(&self, at: &str, source: ZkError) -> LockError {
        let path = self.absolute(at);
        match source {
            ZkError::NoAuth | ZkError::InvalidAcl => LockError::Forbidden { path },
            source if is_over(&source) => self.read_error(at, source).into(),
            source => LockError::Zookeeper { path, source },
        }
    }
}
