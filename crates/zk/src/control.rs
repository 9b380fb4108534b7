//! What an operator asks of the workers: pause, and a resync.

use std::future::Future;
use std::pin::Pin;

use change::{Millis, Zxid};
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use zookeeper_client::{CreateMode, Error as ZkError};

use crate::read::ReadError;
use crate::session::{Advice, Session, is_over};

const PAUSE: &str = "/control/pause";
const RESYNC: &str = "/control/resync";

/// Why the workers stand still, as at `control/pause`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Format, 1.
    pub v: u32,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since 1970 UTC, by the clock of whoever paused.
    pub since: Millis,
    /// The key of the lock that it was made under (`setkeeper lock run --pause-applier`): whoever holds that lock ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

/// A wish for a resync, as at `control/resync/<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResyncRequest {
    /// A ULID: later requests have higher ids.
    pub id: String,
    /// Why.
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
struct ResyncJson {
    v: u32,
    reason: String,
}

/// Why a wish could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The environment is not there, or could not be read.
    #[error("look at the environment")]
    Read(#[from] ReadError),
    /// `NoAuth`.
    #[error("write `{path}`: zookeeper refuses; check zookeeper.auth and the ACL of `control`")]
    Forbidden {
        /// The znode, absolute.
        path: String,
    },
    /// Anything else.
    #[error("write `{path}`")]
    Zookeeper {
        /// The znode, absolute.
        path: String,
        /// What ZooKeeper said.
        #[source]
        source: ZkError,
    },
}

impl ControlError {
    /// Whether trying again can help.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            ControlError::Read(error) => error.advice(),
            ControlError::Forbidden { .. } => Advice::Stop,
            ControlError::Zookeeper { .. } => Advice::Restart,
        }
    }
}

impl Session {
    /// Pauses every worker of the environment that obeys a pause: the appliers. A pause that stands already is replaced.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn pause(&self, by: &str, reason: &str, since: Millis) -> Result<Pause, ControlError> {
        let pause = Pause { v: 1, by: by.to_owned(), reason: reason.to_owned(), since, lock: None };
        let bytes = serde_json::to_vec(&pause).expect("texts and numbers always make JSON");
        self.put_control(PAUSE, &bytes).await?;
        Ok(pause)
    }

    /// Ends the pause; `None` if there was none.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn resume(&self) -> Result<Option<Pause>, ControlError> {
        let paused = self.paused().await?;
        self.remove_control(PAUSE).await?;
        Ok(paused)
    }

    /// Pauses as [`Session::pause`] does, unless a pause stands already; returns which one does then, `pause` or another,
    /// and the transaction that wrote it.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn pause_unless_paused(&self, pause: &Pause) -> Result<(Pause, Zxid), ControlError> {
        let bytes = serde_json::to_vec(pause).expect("texts and numbers always make JSON");
        let options = CreateMode::Persistent.with_acls(self.acls());
        for _ in 0..self.config().attempts.max(1) {
            self.must_stand().await?;
            match self.again(|| self.client().create(PAUSE, &bytes, &options)).await {
                Ok(_) | Err(ZkError::NodeExists) => {}
                Err(source) => return Err(self.control_error(PAUSE, source).await),
            }
            self.sync().await?;
            if let Some(standing) = self.read_pause().await? {
                return Ok(standing);
            }
        }
        Err(self.control_error(PAUSE, ZkError::NodeExists).await)
    }

    /// Ends `pause`, and no other; returns whether it still stood.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn resume_from(&self, pause: &Pause) -> Result<bool, ControlError> {
        self.sync().await?;
        let Some(found) = self.look(PAUSE).await? else { return Ok(false) };
        if serde_json::from_slice::<Pause>(&found.bytes).ok().as_ref() != Some(pause) {
            return Ok(false);
        }
        match self.again(|| self.client().delete(PAUSE, Some(found.version))).await {
            // Gone: by an earlier try of ours, or by `setkeeper resume`.
            Ok(()) | Err(ZkError::NoNode) => Ok(true),
            Err(ZkError::BadVersion) => Ok(false),
            Err(source) => Err(self.control_error(PAUSE, source).await),
        }
    }

    /// Puts `pause` in the place of `standing`, and of no other; returns the transaction that did, or `None` if another
    /// pause stands by then, or none.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn take_pause_over(
        &self,
        standing: &Pause,
        pause: &Pause,
    ) -> Result<Option<Zxid>, ControlError> {
        self.sync().await?;
        let Some(found) = self.look(PAUSE).await? else { return Ok(None) };
        if serde_json::from_slice::<Pause>(&found.bytes).ok().as_ref() != Some(standing) {
            return Ok(None);
        }
        let bytes = serde_json::to_vec(pause).expect("texts and numbers always make JSON");
        match self.client().set_data(PAUSE, &bytes, Some(found.version)).await {
            Ok(stat) => Ok(Some(Zxid(stat.mzxid))),
            Err(ZkError::NoNode | ZkError::BadVersion) => Ok(None),
            Err(source) => Err(self.control_error(PAUSE, source).await),
        }
    }

    /// The pause that stands. One that cannot be understood counts: whoever wrote it wanted a standstill.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn paused(&self) -> Result<Option<Pause>, ReadError> {
        Ok(self.read_pause().await?.map(|(pause, _)| pause))
    }

    /// The pause that stands and the transaction that wrote it.
    async fn read_pause(&self) -> Result<Option<(Pause, Zxid)>, ReadError> {
        let Some(found) = self.look(PAUSE).await? else {
            self.must_stand().await?;
            return Ok(None);
        };
        let pause = serde_json::from_slice(&found.bytes).unwrap_or_else(|error| Pause {
            v: 1,
            by: "unknown".to_owned(),
            reason: format!("{} holds something else than a pause: {error}", self.absolute(PAUSE)),
            since: found.mtime,
            lock: None,
        });
        Ok(Some((pause, found.mzxid)))
    }

    /// Follows the pause.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn watch_pause(&self) -> Result<PauseWatch, ReadError> {
        let mut watch = PauseWatch { session: self.clone(), now: None, armed: None };
        watch.arm().await?;
        watch.now = self.read_pause().await?;
        Ok(watch)
    }

    /// Asks the watcher for a resync; returns the request's id.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn request_resync(&self, reason: &str) -> Result<String, ControlError> {
        let id = Ulid::generate().to_string();
        let json = ResyncJson { v: 1, reason: reason.to_owned() };
        let bytes = serde_json::to_vec(&json).expect("texts and numbers always make JSON");
        self.put_control(&format!("{RESYNC}/{id}"), &bytes).await?;
        Ok(id)
    }

    /// The requests that stand, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn resync_requests(&self) -> Result<Vec<ResyncRequest>, ReadError> {
        let mut ids = match self.again(|| self.client().list_children(RESYNC)).await {
            Ok(ids) => ids,
            Err(ZkError::NoNode) => return self.must_stand().await.map(|()| Vec::new()),
            Err(source) => return Err(self.read_error(RESYNC, source)),
        };
        ids.sort_unstable();
        let mut requests = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(found) = self.look(&format!("{RESYNC}/{id}")).await? else { continue };
            let reason = match serde_json::from_slice::<ResyncJson>(&found.bytes) {
                Ok(json) => json.reason,
                Err(_) => "no reason given".to_owned(),
            };
            requests.push(ResyncRequest { id, reason });
        }
        Ok(requests)
    }

    /// Creates or sets: doing it twice is doing it once, so a lost connection may be tried again.
    async fn put_control(&self, path: &str, bytes: &[u8]) -> Result<(), ControlError> {
        let options = CreateMode::Persistent.with_acls(self.acls());
        let created = self.again(|| self.client().create(path, bytes, &options)).await;
        let done = match created {
            Err(ZkError::NodeExists) => {
                self.again(|| self.client().set_data(path, bytes, None)).await.map(|_| ())
            }
            other => other.map(|_| ()),
        };
        match done {
            Ok(()) => Ok(()),
            Err(source) => Err(self.control_error(path, source).await),
        }
    }

    async fn remove_control(&self, path: &str) -> Result<(), ControlError> {
        match self.again(|| self.client().delete(path, None)).await {
            Ok(()) | Err(ZkError::NoNode) => Ok(self.must_stand().await?),
            Err(source) => Err(self.control_error(path, source).await),
        }
    }

    pub(crate) async fn control_error(&self, path: &str, source: ZkError) -> ControlError {
        if source == ZkError::NoNode
            && let Err(error) = self.must_stand().await
        {
            return error.into();
        }
        let at = self.absolute(path);
        match source {
            ZkError::NoAuth => ControlError::Forbidden { path: at },
            source if is_over(&source) => self.read_error(path, source).into(),
            source => ControlError::Zookeeper { path: at, source },
        }
    }
}

type Armed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The pause, kept fresh by whoever awaits [`PauseWatch::changed`].
pub struct PauseWatch {
    session: Session,
    now: Option<(Pause, Zxid)>,
    armed: Option<Armed>,
}

impl std::fmt::Debug for PauseWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PauseWatch").field("now", &self.now).finish_non_exhaustive()
    }
}

impl PauseWatch {
    /// The pause as last seen.
    #[must_use]
    pub fn current(&self) -> Option<&Pause> {
        self.now.as_ref().map(|(pause, _)| pause)
    }

    /// The transaction that wrote [`PauseWatch::current`].
    #[must_use]
    pub fn written(&self) -> Option<Zxid> {
        self.now.as_ref().map(|(_, written)| *written)
    }

    /// Waits until the pause is another than [`PauseWatch::current`] or was written anew, and returns it. A pause that came and went
    /// in between is not seen. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError`], also when the session ends.
    pub async fn changed(&mut self) -> Result<Option<&Pause>, ReadError> {
        loop {
            if let Some(armed) = &mut self.armed {
                armed.await;
                self.armed = None;
            }
            // The watch is set before the read, so no change can slip between them.
            self.arm().await?;
            let now = self.session.read_pause().await?;
            if now != self.now {
                self.now = now;
                return Ok(self.current());
            }
        }
    }

    async fn arm(&mut self) -> Result<(), ReadError> {
        let client = self.session.client();
        let armed = self.session.again(|| client.check_and_watch_stat(PAUSE)).await;
        let (_, watcher) = armed.map_err(|source| self.session.read_error(PAUSE, source))?;
        self.armed = Some(Box::pin(async move {
            watcher.changed().await;
        }));
        Ok(())
    }
}
