//! Removing old edit records.

use futures_util::stream::{self, StreamExt as _};
use zookeeper_client::Error as ZkError;

use super::PruneError;
use crate::session::Session;

impl Session {
    /// Removes the oldest edit records beyond the newest `keep`, at most `prune_max` of them; returns how many. Only
    /// for records that are on the queue already: the watcher calls it.
    ///
    /// # Errors
    /// [`PruneError`].
    pub async fn prune_edits(&self, keep: usize) -> Result<usize, PruneError> {
        let mut ids = match self.again(|| self.client().list_children("/edits")).await {
            Ok(ids) => ids,
            Err(ZkError::NoNode) => return Ok(self.must_stand().await.map(|()| 0)?),
            Err(source) => return Err(self.read_error("/edits", source).into()),
        };
        // ULIDs sort by age.
        ids.sort_unstable();
        ids.truncate(ids.len().saturating_sub(keep).min(self.config().prune_max));
        let removed = ids.len();
        let mut removing = stream::iter(ids)
            .map(|id| async move {
                let path = format!("/edits/{id}");
                match self.again(|| self.client().delete(&path, None)).await {
                    Ok(()) | Err(ZkError::NoNode) => Ok(()),
                    Err(source) => Err(PruneError::Zookeeper { path: self.absolute(&path), source }),
                }
            })
            .buffer_unordered(self.config().reads_in_flight.max(1));
        while let Some(done) = removing.next().await {
            done?;
        }
        Ok(removed)
    }
}
