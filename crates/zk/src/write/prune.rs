//! Removing old edit records.

use std::collections::{BTreeMap, BTreeSet};

use change::Zxid;
use futures_util::stream::{self, StreamExt as _};
use zookeeper_client::Error as ZkError;

use super::PruneError;
use crate::session::Session;

/// Removes old edit records. It remembers when each of those that stand was made, so that only new ones are asked for:
/// their names follow the clocks of their writers.
#[derive(Debug, Default)]
pub struct Pruner {
    made: BTreeMap<String, Zxid>,
}

impl Pruner {
    /// Removes the oldest edit records beyond the newest `keep`, at most `prune_max` of them, and none that was made
    /// after `recorded`; returns how many. Only for records that are on the queue already: the watcher calls it, and
    /// `recorded` is the newest edit there. Cancel-safe.
    ///
    /// # Errors
    /// [`PruneError`].
    pub async fn prune(
        &mut self,
        session: &Session,
        keep: usize,
        recorded: Zxid,
    ) -> Result<usize, PruneError> {
        self.look(session).await?;
        let mut oldest: Vec<(Zxid, String)> =
            self.made.iter().map(|(name, zxid)| (*zxid, name.clone())).collect();
        oldest.sort_unstable();
        oldest.truncate(oldest.len().saturating_sub(keep).min(session.config().prune_max));
        oldest.retain(|(zxid, _)| *zxid <= recorded);
        let removed = oldest.len();
        let mut removing = stream::iter(oldest)
            .map(|(_, name)| async move {
                let path = format!("/edits/{name}");
                match session.again(|| session.client().delete(&path, None)).await {
                    Ok(()) | Err(ZkError::NoNode) => Ok(()),
                    Err(source) => Err(PruneError::Zookeeper { path: session.absolute(&path), source }),
                }
            })
            .buffer_unordered(session.config().reads_in_flight.max(1));
        while let Some(done) = removing.next().await {
            done?;
        }
        Ok(removed)
    }

    /// Learns of the edit records that stand.
    async fn look(&mut self, session: &Session) -> Result<(), PruneError> {
        let names = match session.again(|| session.client().list_children("/edits")).await {
            Ok(names) => BTreeSet::from_iter(names),
            Err(ZkError::NoNode) => {
                session.must_stand().await?;
                BTreeSet::new()
            }
            Err(source) => return Err(session.read_error("/edits", source).into()),
        };
        self.made.retain(|name, _| names.contains(name));
        let new: Vec<String> = names.into_iter().filter(|name| !self.made.contains_key(name)).collect();
        let mut asking = stream::iter(new)
            .map(|name| async move {
                let path = format!("/edits/{name}");
                let stat = session.again(|| session.client().check_stat(&path)).await;
                (name, stat.map_err(|source| session.read_error(&path, source)))
            })
            .buffer_unordered(session.config().reads_in_flight.max(1));
        while let Some((name, stat)) = asking.next().await {
            if let Some(stat) = stat? {
                self.made.insert(name, Zxid(stat.czxid));
            }
        }
        Ok(())
    }
}
