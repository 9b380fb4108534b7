//! Registrations: what a living process says of itself, at `services/<service>/<instance>`.

use std::future::Future;
use std::pin::Pin;

use change::Lifetime;
use zookeeper_client::{CreateMode, Error as ZkError, MultiWriteError, Stat};

use crate::config::is_name;
use crate::read::ReadError;
use crate::session::{Advice, Session, SessionEnd, is_lost, is_over};

/// Why an instance is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Not one path part.
    #[error("register `{0}`: it is not a name; use 1 to 200 of A-Z a-z 0-9 . _ -")]
    Name(String),
    /// A znode that outlives its session stands there: somebody's, on purpose.
    #[error(
        "register at `{path}`: a permanent znode stands there, which is not ours to replace; remove it \
         (`delete {path}`) or register under another name"
    )]
    Permanent {
        /// The znode, absolute.
        path: String,
    },
    /// Others registered and vanished there all the time.
    #[error(
        "register at `{path}`: another process registers there too; give every instance a name of its own"
    )]
    Contended {
        /// The znode, absolute.
        path: String,
    },
    /// The znode is no longer this registration's.
    #[error("change the registration at `{path}`: it is gone, and must be made anew")]
    Gone {
        /// The znode, absolute.
        path: String,
    },
    /// The environment is not there, or could not be read.
    #[error("look at the environment")]
    Read(#[from] ReadError),
    /// `NoAuth`.
    #[error("write `{path}`: zookeeper refuses; check zookeeper.auth and the ACL of `services`")]
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

impl RegisterError {
    /// Whether trying again can help.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            RegisterError::Read(error) => error.advice(),
            RegisterError::Contended { .. }
            | RegisterError::Gone { .. }
            | RegisterError::Zookeeper { .. } => Advice::Restart,
            RegisterError::Name(_) | RegisterError::Permanent { .. } | RegisterError::Forbidden { .. } => {
                Advice::Stop
            }
        }
    }
}

/// Why a registration stands no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    /// Somebody deleted or replaced its znode.
    #[error("the registration's znode was deleted")]
    Deleted,
    /// Its session ended.
    #[error("the registration ended with its session")]
    Session(#[source] SessionEnd),
}

/// An ephemeral znode of ours. It goes with the session, with [`Registration::withdraw`], or when this is dropped, in the
/// background.
#[derive(Debug)]
pub struct Registration {
    session: Session,
    path: String,
    czxid: i64,
    version: i32,
    withdrawn: bool,
}

type Armed = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Session {
    /// Registers `instance` of `service`, whose znode holds `json`. There is one znode an instance, so it can never
    /// stand there twice: what an earlier session of the same instance left behind is replaced, in one multi with a
    /// version check, and the earlier registration, if it still lives, learns it by [`Registration::gone`].
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn register(
        &self,
        service: &str,
        instance: &str,
        json: &[u8],
    ) -> Result<Registration, RegisterError> {
        if let Some(bad) = [service, instance].into_iter().find(|name| !is_name(name)) {
            return Err(RegisterError::Name(bad.escape_default().to_string()));
        }
        self.must_stand().await?;
        let folder = format!("/services/{service}");
        let path = format!("{folder}/{instance}");
        let mut attempt = Attempt { session: self, path: &path, sent: false };
        for _ in 0..self.config().attempts.max(1) {
            let stands = self.standing(&path).await?;
            attempt.sent = true;
            let (made, replaced) = match stands {
                None => (self.create_registration(&path, json).await, false),
                Some(stat) if Lifetime::of_owner(stat.ephemeral_owner) != Lifetime::Ephemeral => {
                    attempt.sent = false;
                    return Err(RegisterError::Permanent { path: self.absolute(&path) });
                }
                Some(stat) => (self.replace_registration(&path, json, &stat).await, true),
            };
            match made {
                Ok(()) => {}
                // Lost: the look below tells. Otherwise somebody was faster, and the next round sees what stands.
                Err(error) if is_lost(&error) => {}
                Err(error) => {
                    attempt.sent = false;
                    match error {
                        ZkError::NodeExists | ZkError::BadVersion => {}
                        ZkError::NoNode if replaced => {}
                        // Curator makes its folders as containers, which vanish while they are empty.
                        ZkError::NoNode => self.make_service(&folder).await?,
                        source => return Err(self.register_error(&path, source)),
                    }
                    continue;
                }
            }
            let Some((bytes, stat)) = self.registered(&path).await? else { continue };
            attempt.sent = false;
            if stat.ephemeral_owner == self.client().session_id().0 && bytes == json {
                return Ok(Registration {
                    session: self.clone(),
                    path: path.clone(),
                    czxid: stat.czxid,
                    version: stat.version,
                    withdrawn: false,
                });
            }
        }
        Err(RegisterError::Contended { path: self.absolute(&path) })
    }

    async fn create_registration(&self, path: &str, json: &[u8]) -> Result<(), ZkError> {
        self.client().create(path, json, &CreateMode::Ephemeral.with_acls(self.acls())).await.map(drop)
    }

    async fn replace_registration(&self, path: &str, json: &[u8], old: &Stat) -> Result<(), ZkError> {
        let mut multi = self.client().new_multi_writer();
        multi.add_delete(path, Some(old.version))?;
        multi.add_create(path, json, &CreateMode::Ephemeral.with_acls(self.acls()))?;
        match multi.commit().await {
            Ok(_) => Ok(()),
            Err(MultiWriteError::RequestFailed { source }) => Err(source),
            Err(MultiWriteError::OperationFailed { source, .. }) => Err(source),
        }
    }

    async fn make_service(&self, folder: &str) -> Result<(), RegisterError> {
        let options = CreateMode::Persistent.with_acls(self.acls());
        match self.again(|| self.client().mkdir(folder, &options)).await {
            Ok(()) | Err(ZkError::NodeExists) => Ok(()),
            Err(source) => Err(self.register_error(folder, source)),
        }
    }

    async fn standing(&self, path: &str) -> Result<Option<Stat>, RegisterError> {
        let stat = self.again(|| self.client().check_stat(path)).await;
        stat.map_err(|source| self.register_error(path, source))
    }

    /// What stands there, after all that this session has asked for before.
    async fn registered(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>, RegisterError> {
        self.sync().await?;
        match self.again(|| self.client().get_data(path)).await {
            Ok(found) => Ok(Some(found)),
            Err(ZkError::NoNode) => Ok(None),
            Err(source) => Err(self.register_error(path, source)),
        }
    }

    fn register_error(&self, path: &str, source: ZkError) -> RegisterError {
        let at = self.absolute(path);
        match source {
            ZkError::NoAuth | ZkError::InvalidAcl => RegisterError::Forbidden { path: at },
            source if is_over(&source) => self.read_error(path, source).into(),
            source => RegisterError::Zookeeper { path: at, source },
        }
    }
}

/// A registration under way. Given up, it takes back what it may have created: the request leaves as soon as it is made,
/// behind the one that created. (Should another process have registered the same instance in that very moment, it takes
/// that one's back, which learns it by [`Registration::gone`].)
struct Attempt<'a> {
    session: &'a Session,
    path: &'a str,
    sent: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.sent {
            drop(self.session.client().delete(self.path, Some(0)));
        }
    }
}

impl Registration {
    /// The znode, below the environment's root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The transaction that created the znode.
    #[must_use]
    pub fn czxid(&self) -> i64 {
        self.czxid
    }

    /// Writes new data. Should the znode be replaced in the very moment between our look and our write, the new one gets
    /// this data too: a version tells nothing of a znode's lives, and no write can be tied to one.
    ///
    /// # Errors
    /// [`RegisterError::Gone`] if the znode is no longer ours.
    pub async fn update(&mut self, json: &[u8]) -> Result<(), RegisterError> {
        for _ in 0..self.session.config().attempts.max(1) {
            match self.session.registered(&self.path).await? {
                Some((bytes, stat)) if stat.czxid == self.czxid => {
                    self.version = stat.version;
                    if bytes == json {
                        return Ok(());
                    }
                }
                _ => return Err(self.is_gone()),
            }
            match self.session.client().set_data(&self.path, json, Some(self.version)).await {
                Ok(stat) if stat.czxid == self.czxid => {
                    self.version = stat.version;
                    return Ok(());
                }
                Ok(_) | Err(ZkError::NoNode) => return Err(self.is_gone()),
                // Somebody wrote there, or our own write was counted and its answer lost.
                Err(error) if error == ZkError::BadVersion || is_lost(&error) => {}
                Err(source) => return Err(self.session.register_error(&self.path, source)),
            }
        }
        Err(RegisterError::Contended { path: self.session.absolute(&self.path) })
    }

    /// Removes the znode; one that is gone already is fine.
    ///
    /// # Errors
    /// [`RegisterError`]; it goes with the session then.
    pub async fn withdraw(mut self) -> Result<(), RegisterError> {
        remove(&self.session, &self.path, self.czxid).await?;
        self.withdrawn = true;
        Ok(())
    }

    /// Resolves when the znode is no longer this registration's. A lost connection is not an end. Cancel-safe.
    pub async fn gone(&self) -> Gone {
        let ended = self.session.closed();
        tokio::pin!(ended);
        loop {
            let looked = tokio::select! {
                end = &mut ended => return Gone::Session(end),
                looked = self.look() => looked,
            };
            let Some(changed) = looked else { return Gone::Deleted };
            tokio::select! {
                end = &mut ended => return Gone::Session(end),
                () = changed => {}
            }
        }
    }

    /// A future that resolves at the znode's next change, or `None` if it is not ours any more.
    async fn look(&self) -> Option<Armed> {
        let client = self.session.client();
        loop {
            match client.check_and_watch_stat(&self.path).await {
                Ok((Some(stat), watcher)) if stat.czxid == self.czxid => {
                    return Some(Box::pin(async move {
                        watcher.changed().await;
                    }));
                }
                Ok(_) => return None,
                // The end of the session is told by its state.
                Err(error) if is_over(&error) => return Some(Box::pin(std::future::pending())),
                Err(_) => tokio::time::sleep(self.session.timeout() / 60).await,
            }
        }
    }

    fn is_gone(&self) -> RegisterError {
        RegisterError::Gone { path: self.session.absolute(&self.path) }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.withdrawn {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (session, path, czxid) = (self.session.clone(), std::mem::take(&mut self.path), self.czxid);
            runtime.spawn(async move {
                // If it does not work, the znode goes with the session.
                let _ = remove(&session, &path, czxid).await;
            });
        }
    }
}

/// Removes a znode if it is still in the life that `czxid` began: what others have put in its place stays.
async fn remove(session: &Session, path: &str, czxid: i64) -> Result<(), RegisterError> {
    for _ in 0..session.config().attempts.max(1) {
        let version = match session.registered(path).await? {
            Some((_, stat)) if stat.czxid == czxid => stat.version,
            _ => return Ok(()),
        };
        match session.client().delete(path, Some(version)).await {
            Ok(()) | Err(ZkError::NoNode) => return Ok(()),
            Err(error) if error == ZkError::BadVersion || is_lost(&error) => {}
            Err(source) => return Err(session.register_error(path, source)),
        }
    }
    Err(RegisterError::Contended { path: session.absolute(path) })
}
