//! What the active worker of a role tells of itself, for whoever asks.

use change::ZnodePath;
use zookeeper_client::{CreateMode, Error as ZkError};

use crate::control::ControlError;
use crate::read::{Found, ReadError};
use crate::session::Session;

impl Session {
    /// Tells what stands at `workers/<role>/report` from now on. It goes with the session, so that nobody takes the
    /// word of a worker that is gone for the present; one that an earlier session left behind is replaced.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn report(&self, role: &str, bytes: &[u8]) -> Result<(), ControlError> {
        let path = format!("/{}", place(role)?.as_str());
        match self.put_report(&path, bytes).await {
            Ok(()) => Ok(()),
            Err(source) => Err(self.control_error(&path, source).await),
        }
    }

    async fn put_report(&self, path: &str, bytes: &[u8]) -> Result<(), ZkError> {
        let client = self.client();
        let options = CreateMode::Ephemeral.with_acls(self.acls());
        let mut attempts = self.config().attempts;
        loop {
            let standing = self.again(|| client.check_stat(path)).await?;
            let done = match standing {
                Some(stat) if stat.ephemeral_owner == client.session_id().0 => {
                    self.again(|| client.set_data(path, bytes, None)).await.map(|_| ())
                }
                Some(stat) => match self.again(|| client.delete(path, Some(stat.version))).await {
                    Ok(()) | Err(ZkError::NoNode | ZkError::BadVersion) => Err(ZkError::NodeExists),
                    Err(error) => Err(error),
                },
                None => self.again(|| client.create(path, bytes, &options)).await.map(|_| ()),
            };
            if done == Err(ZkError::NoNode) {
                let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
                let persistent = CreateMode::Persistent.with_acls(self.acls());
                self.again(|| client.mkdir(folder, &persistent)).await?;
            }
            match done {
                // Another session's, or ours of a create whose answer was lost: look again.
                Err(ZkError::NodeExists | ZkError::NoNode) if attempts > 1 => attempts -= 1,
                done => return done,
            }
        }
    }

    /// What the active worker of a role tells; `None` if there is none, or it has not told anything yet.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn reported(&self, role: &str) -> Result<Option<Found>, ReadError> {
        self.read(&place(role)?).await
    }
}

fn place(role: &str) -> Result<ZnodePath, ReadError> {
    Ok(format!("workers/{role}/report").parse()?)
}
