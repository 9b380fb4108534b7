//! One contender's znode: made, found again, waited with, taken back.

use zookeeper_client::{CreateMode, Error as ZkError, OneshotWatcher};

use crate::lock::LockError;
use crate::lock::queue::{self, Mode, Turn};
use crate::session::{Session, is_lost, is_over};

/// A place in a lock's queue. It is given back when this is dropped, in the background, by a task that ends at the latest
/// with the session; [`Contender::withdraw`] does so before it returns.
#[derive(Debug)]
pub(crate) struct Contender {
    session: Session,
    folder: String,
    /// The znode's name without its sequence; no other znode's begins so.
    prefix: String,
    /// The znode's whole name, once it is known.
    name: Option<String>,
    /// Whether anything may stand in ZooKeeper.
    stands: bool,
}

impl Contender {
    /// Joins the queue in `folder`, which is made if it is not there, as a container: it goes once it has been empty.
    ///
    /// Cancel-safe: what a dropped call may have created is taken back.
    pub(crate) async fn join(
        session: &Session,
        folder: &str,
        prefix: String,
        data: &[u8],
    ) -> Result<Contender, LockError> {
        let mut contender = Contender {
            session: session.clone(),
            folder: folder.to_owned(),
            prefix,
            name: None,
            stands: false,
        };
        let at = format!("{folder}/{}", contender.prefix);
        let options = CreateMode::EphemeralSequential.with_acls(session.acls());
        for _ in 0..session.config().attempts.max(1) {
            contender.stands = true;
            match session.client().create(&at, data, &options).await {
                Ok((_, sequence)) => {
                    contender.name = Some(format!("{}{sequence}", contender.prefix));
                    return Ok(contender);
                }
                Err(error) if is_lost(&error) => {
                    contender.name = contender.find().await?;
                    if contender.name.is_some() {
                        return Ok(contender);
                    }
                }
                Err(error) => {
                    contender.stands = false;
                    if error != ZkError::NoNode {
                        return Err(session.lock_error(folder, error));
                    }
                    contender.make_folder().await?;
                }
            }
        }
        Err(session.lock_error(folder, ZkError::ConnectionLoss))
    }

    async fn make_folder(&self) -> Result<(), LockError> {
        let options = CreateMode::Container.with_acls(self.session.acls());
        match self.session.again(|| self.session.client().mkdir(&self.folder, &options)).await {
            Ok(()) | Err(ZkError::NodeExists) => Ok(()),
            Err(error) => Err(self.session.lock_error(&self.folder, error)),
        }
    }

    /// The znode that a create of unknown outcome has made. After a `sync` on a later connection nothing of an earlier
    /// one can still come: the server that we left is refused for a session that has moved on.
    async fn find(&self) -> Result<Option<String>, LockError> {
        self.session.sync().await?;
        let children = self.children().await?;
        Ok(children.into_iter().find(|name| name.starts_with(&self.prefix)))
    }

    async fn children(&self) -> Result<Vec<String>, LockError> {
        match self.session.again(|| self.session.client().list_children(&self.folder)).await {
            Ok(children) => Ok(children),
            Err(ZkError::NoNode) => Ok(Vec::new()),
            Err(error) => Err(self.session.lock_error(&self.folder, error)),
        }
    }

    /// The znode, below the environment's root.
    pub(crate) fn path(&self) -> String {
        let name = self.name.as_ref().expect("a contender is handed out once it knows its name");
        format!("{}/{name}", self.folder)
    }

    /// Whether it is our turn now.
    pub(crate) async fn is_first(&self, mode: Mode) -> Result<bool, LockError> {
        Ok(self.turn(self.children().await?, mode)? == Turn::Mine)
    }

    fn turn(&self, children: Vec<String>, mode: Mode) -> Result<Turn, LockError> {
        let queue = queue::order(children);
        let at = queue.iter().position(|name| Some(name) == self.name.as_ref());
        let at = at.ok_or_else(|| LockError::Removed { path: self.session.absolute(&self.path()) })?;
        Ok(queue::turn(&queue, at, mode))
    }

    /// Waits for our turn. Cancel-safe, but the place in the queue is kept.
    pub(crate) async fn wait(&self, mode: Mode) -> Result<(), LockError> {
        loop {
            let (children, any) = self.watch_children(mode).await?;
            let ahead = match self.turn(children, mode)? {
                Turn::Mine => return Ok(()),
                Turn::AfterAny => any,
                Turn::After(name) => self.watch(&format!("{}/{name}", self.folder)).await?,
            };
            let own = self.watch(&self.path()).await?;
            let (Some(ahead), Some(own)) = (ahead, own) else { continue };
            tokio::select! {
                _ = ahead.changed() => {}
                _ = own.changed() => {}
            }
        }
    }

    async fn watch_children(&self, mode: Mode) -> Result<(Vec<String>, Option<OneshotWatcher>), LockError> {
        if !matches!(mode, Mode::Counted(_)) {
            return Ok((self.children().await?, None));
        }
        let client = self.session.client();
        match self.session.again(|| client.list_and_watch_children(&self.folder)).await {
            Ok((children, watcher)) => Ok((children, Some(watcher))),
            Err(ZkError::NoNode) => Ok((Vec::new(), None)),
            Err(error) => Err(self.session.lock_error(&self.folder, error)),
        }
    }

    /// A watch on a znode, or `None` if it is gone. By its data: a watch for existence would stay behind on a znode that
    /// never comes back. One that may not be read is watched for existence all the same.
    async fn watch(&self, path: &str) -> Result<Option<OneshotWatcher>, LockError> {
        let client = self.session.client();
        match self.session.again(|| client.get_and_watch_data(path)).await {
            Ok((_, _, watcher)) => return Ok(Some(watcher)),
            Err(ZkError::NoNode) => return Ok(None),
            Err(ZkError::NoAuth) => {}
            Err(error) => return Err(self.session.lock_error(path, error)),
        }
        match self.session.again(|| client.check_and_watch_stat(path)).await {
            Ok((stat, watcher)) => Ok(stat.map(|_| watcher)),
            Err(error) => Err(self.session.lock_error(path, error)),
        }
    }

    /// Leaves the queue. Even on an error the place is given up, at the latest with the session.
    pub(crate) async fn withdraw(mut self) -> Result<(), LockError> {
        let left = leave(&self.session, &self.folder, &self.prefix, self.name.as_deref()).await;
        left.map_err(|error| self.session.lock_error(&self.folder, error))?;
        self.stands = false;
        Ok(())
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if !self.stands {
            return;
        }
        if let Some(name) = &self.name {
            // The request leaves as soon as it is made, also where no task can be started any more.
            drop(self.session.client().delete(&format!("{}/{name}", self.folder), None));
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (session, folder) = (self.session.clone(), std::mem::take(&mut self.folder));
            let (prefix, name) = (std::mem::take(&mut self.prefix), self.name.take());
            runtime.spawn(async move {
                // Not for ever: without a connection the session ends, and the znode with it.
                while let Err(error) = leave(&session, &folder, &prefix, name.as_deref()).await
                    && !is_over(&error)
                {
                    tokio::time::sleep(session.timeout() / 60).await;
                }
            });
        }
    }
}

/// Deletes a contender's znode. A name that is not known is looked for: its create may have happened.
async fn leave(session: &Session, folder: &str, prefix: &str, name: Option<&str>) -> Result<(), ZkError> {
    let client = session.client();
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => {
            session.again(|| client.sync("/")).await?;
            match session.again(|| client.list_children(folder)).await {
                Err(ZkError::NoNode) => Vec::new(),
                children => children?,
            }
        }
    };
    for name in names.iter().filter(|name| name.starts_with(prefix)) {
        match session.again(|| client.delete(&format!("{folder}/{name}"), None)).await {
            Ok(()) | Err(ZkError::NoNode) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
