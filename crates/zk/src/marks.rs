//! Znodes that are written and removed without an edit: what operators ask of agents, and what agents tell of themselves
//! (`control/drain`, `control/restart`, `workers/<role>/report`).

use change::ZnodePath;
use zookeeper_client::{CreateMode, Error as ZkError};

use crate::control::ControlError;
use crate::read::ReadError;
use crate::session::{Session, is_lost};

impl Session {
    /// Creates or sets the znode at `path` (`control/drain/superset/n1`), and what is missing above it. Doing it twice
    /// is doing it once.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn put_mark(&self, path: &str, bytes: &[u8]) -> Result<(), ControlError> {
        let at = mark(path)?;
        let options = CreateMode::Persistent.with_acls(self.acls());
        let mut created = self.again(|| self.client().create(&at, bytes, &options)).await;
        if matches!(created, Err(ZkError::NoNode)) {
            self.must_stand().await?;
            let folder = at.rsplit_once('/').map_or("/", |(folder, _)| folder);
            let made = self.again(|| self.client().mkdir(folder, &options)).await;
            if let Err(source) = made {
                return Err(self.control_error(&at, source).await);
            }
            created = self.again(|| self.client().create(&at, bytes, &options)).await;
        }
        let done = match created {
            Err(ZkError::NodeExists) => {
                self.again(|| self.client().set_data(&at, bytes, None)).await.map(|_| ())
            }
            other => other.map(|_| ()),
        };
        match done {
            Ok(()) => Ok(()),
            Err(source) => Err(self.control_error(&at, source).await),
        }
    }

    /// Sets the znode at `path` if it still has this data version. `false` says that it is another one by now, or gone.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn replace_mark(&self, path: &str, bytes: &[u8], version: i32) -> Result<bool, ControlError> {
        let at = mark(path)?;
        for _ in 0..self.config().attempts.max(1) {
            match self.client().set_data(&at, bytes, Some(version)).await {
                Ok(_) => return Ok(true),
                Err(ZkError::BadVersion | ZkError::NoNode) => {
                    self.must_stand().await?;
                    return Ok(false);
                }
                // It may have happened: then the next look finds our own bytes at the next version.
                Err(error) if is_lost(&error) => match self.look(&at).await? {
                    Some(found) if found.version == version => {}
                    Some(found) => return Ok(found.bytes == bytes && found.version == version + 1),
                    None => return Ok(false),
                },
                Err(source) => return Err(self.control_error(&at, source).await),
            }
        }
        Err(self.control_error(&at, ZkError::ConnectionLoss).await)
    }

    /// Removes the znode at `path` if it still has this life and data version. `false` says that it is another one by
    /// now.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn remove_mark_at(
        &self,
        path: &str,
        (czxid, version): (i64, i32),
    ) -> Result<bool, ControlError> {
        let at = mark(path)?;
        for _ in 0..self.config().attempts.max(1) {
            // A version counts from 0 in every life.
            match self.look(&at).await? {
                Some(found) if (found.czxid, found.version) == (czxid, version) => {}
                Some(_) => return Ok(false),
                None => {
                    self.must_stand().await?;
                    return Ok(true);
                }
            }
            match self.client().delete(&at, Some(version)).await {
                Ok(()) => return Ok(true),
                Err(ZkError::BadVersion) => return Ok(false),
                Err(ZkError::NoNode) => return Ok(true),
                Err(error) if is_lost(&error) => {}
                Err(source) => return Err(self.control_error(&at, source).await),
            }
        }
        Err(self.control_error(&at, ZkError::ConnectionLoss).await)
    }

    /// Removes the znode at `path` with all that is below it. One that is gone already is fine.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn remove_mark(&self, path: &str) -> Result<(), ControlError> {
        let at = mark(path)?;
        let mut paths: Vec<String> =
            self.read_tree(&[path]).await?.nodes.into_keys().map(|path| format!("/{path}")).collect();
        paths.push(at);
        // The deepest first.
        paths.sort_unstable_by(|a, b| b.cmp(a));
        paths.dedup();
        for at in paths {
            match self.again(|| self.client().delete(&at, None)).await {
                Ok(()) | Err(ZkError::NoNode) => {}
                Err(source) => return Err(self.control_error(&at, source).await),
            }
        }
        Ok(())
    }
}

fn mark(path: &str) -> Result<String, ReadError> {
    let path: ZnodePath = path.parse()?;
    Ok(format!("/{}", path.as_str()))
}
