//! A lock that is held, an election's among them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use change::{Fence, Generation};
use tokio::sync::watch;
use tokio::time::Instant;
use zookeeper_client::{Error as ZkError, Stat};

use crate::lock::{Contender, LockError, Token};
use crate::session::{Session, SessionEnd, is_lost};

/// Why a lock is no longer held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The session ended.
    #[error("the lock ended with its session")]
    Session(#[source] SessionEnd),
    /// ZooKeeper has not answered for two thirds of the session timeout: the server may expire the session soon.
    #[error("zookeeper has not answered for {0:?}, so the lock can no longer be trusted")]
    Silent(Duration),
    /// Somebody deleted the lock znode.
    #[error("the lock's znode was deleted")]
    Deleted,
    /// The generation was raised or replaced: every fence of it is void.
    #[error("the generation changed")]
    Generation,
}

/// A held lock: a role's, or one below `locks`. Dropping it releases it, in the background; [`Held::release`] does so
/// before it returns.
pub struct Held {
    /// Orders this holder after every earlier one of the same lock.
    pub fence: Fence,
    /// The generation that the fence belongs to.
    pub generation: Generation,
    session: Session,
    contender: Contender,
    path: String,
    generation_mzxid: i64,
    /// When the newest answered look was *sent*: the leader has heard from us since.
    heard: Instant,
    armed: Option<Armed>,
    note: watch::Sender<Vec<u8>>,
    noted: watch::Receiver<Vec<u8>>,
    /// A note that is not known to be written.
    unwritten: Option<Vec<u8>>,
}

type Armed = Pin<Box<dyn Future<Output = ()> + Send>>;

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} at {})", self.fence, self.path)
    }
}

/// Sets the data of a held lock's znode, from anywhere; written by whoever awaits [`Held::lost`].
#[derive(Debug, Clone)]
pub struct Note(watch::Sender<Vec<u8>>);

impl Note {
    /// The data from now on. Of several that follow each other quickly only the last is written.
    pub fn set(&self, data: Vec<u8>) {
        self.0.send_if_modified(|now| {
            let differs = *now != data;
            *now = data;
            differs
        });
    }
}

impl Held {
    pub(crate) fn new(
        session: Session,
        contender: Contender,
        fence: Fence,
        generation: Generation,
        generation_mzxid: i64,
        heard: Instant,
    ) -> Held {
        let (note, noted) = watch::channel(Vec::new());
        let path = contender.path();
        Held {
            fence,
            generation,
            session,
            contender,
            path,
            generation_mzxid,
            heard,
            armed: None,
            note,
            noted,
            unwritten: None,
        }
    }

    /// The lock znode, below the environment's root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The lock znode, absolute.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}{}", self.session.root(), self.path)
    }

    /// The fence as text.
    #[must_use]
    pub fn token(&self) -> Token {
        Token(self.fence)
    }

    /// What sets the znode's data.
    #[must_use]
    pub fn note(&self) -> Note {
        Note(self.note.clone())
    }

    /// Before this moment, less the twelfth of the session timeout that lies between two looks, no server can have expired
    /// the session.
    #[must_use]
    pub fn safe_until(&self) -> Instant {
        self.heard + self.session.timeout()
    }

    /// Waits until the lock is lost.
    ///
    /// Twelve times a session timeout the znode and the generation are looked at, and watches on both tell of a change
    /// at once. It resolves when two thirds of the session timeout have passed since the sending of the newest
    /// look that was answered; the servers, which count from the arrival of that look or a later one, cannot
    /// have expired the session by then. It must be polled, therefore: a lock that nobody awaits is not watched.
    /// Cancel-safe.
    pub async fn lost(&mut self) -> Lost {
        let (limit, pause) = (self.limit(), self.session.timeout() / 12);
        let ended = self.session.closed();
        tokio::pin!(ended);
        loop {
            if let Err(lost) = self.confirm().await {
                return lost;
            }
            let Some(armed) = &mut self.armed else { continue };
            tokio::select! {
                () = tokio::time::sleep_until(self.heard + limit) => return Lost::Silent(limit),
                end = &mut ended => return Lost::Session(end),
                () = tokio::time::sleep(pause) => {}
                () = armed => self.armed = None,
                // `self` holds a sender, so this never ends.
                _ = self.noted.changed() => self.noted.mark_changed(),
            }
        }
    }

    /// Looks once more, and tells whether the lock is still held. It waits for an answer as long as [`Held::lost`] would:
    /// until the lock can no longer be trusted. Cancel-safe.
    ///
    /// # Errors
    /// Why it is lost.
    pub async fn confirm(&mut self) -> Result<(), Lost> {
        let (limit, pause) = (self.limit(), self.session.timeout() / 12);
        let ended = self.session.closed();
        tokio::pin!(ended);
        loop {
            let asked = Instant::now();
            let answer = tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.heard + limit) => return Err(Lost::Silent(limit)),
                end = &mut ended => return Err(Lost::Session(end)),
                answer = self.look() => answer,
            };
            match answer {
                Ok(None) => {
                    self.heard = asked;
                    return Ok(());
                }
                Ok(Some(lost)) => return Err(lost),
                // The connection is down or the server is busy: the deadline above decides.
                Err(_) => tokio::time::sleep(pause.min(Duration::from_millis(50))).await,
            }
        }
    }

    /// For how long silence is borne.
    fn limit(&self) -> Duration {
        self.session.timeout() * 2 / 3
    }

    /// Gives the lock to the next in line. Even on an error it is given up, at the latest with the session.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn release(self) -> Result<(), LockError> {
        self.contender.withdraw().await
    }

    /// One look at the lock and the generation, setting the watches if they are not set, and writing what is noted.
    ///
    /// Through the leader, by a `sync` before the reads: a follower that is cut off from it answers reads by itself for
    /// some ticks yet, while the leader expires the sessions that it no longer hears of. The leader hears of them by the
    /// followers' pings, so that of the last look before a cut it may not count more than the one before it.
    async fn look(&mut self) -> Result<Option<Lost>, ZkError> {
        let client = self.session.client();
        let lock = self.path.as_str();
        let (lock, generation) = if self.armed.is_some() {
            let (_, lock, generation) = tokio::try_join!(
                client.sync("/"),
                client.check_stat(lock),
                client.check_stat("/generation")
            )?;
            (lock, generation)
        } else {
            let (_, lock, generation) = tokio::try_join!(
                client.sync("/"),
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
        let lost = self.judge(lock, generation);
        if lost.is_none() {
            self.write_note().await?;
        }
        Ok(lost)
    }

    async fn write_note(&mut self) -> Result<(), ZkError> {
        if self.noted.has_changed().unwrap_or_default() {
            self.unwritten = Some(self.noted.borrow_and_update().clone());
        }
        let Some(data) = &self.unwritten else { return Ok(()) };
        match self.session.client().set_data(&self.path, data, None).await {
            Err(error) if is_lost(&error) => Err(error),
            // Whatever else is wrong with the znode, the next look tells; a note alone is no reason to lose the lock.
            _ => {
                self.unwritten = None;
                Ok(())
            }
        }
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
