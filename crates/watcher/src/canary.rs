//! The canary: a znode that only the watcher writes, with a nonce that is also saved outside the ensemble. Pure.
//!
//! A restored, wiped or replaced ensemble holds another nonce than the last one saved, so it is told from the known
//! one before anything in it is believed.

use change::Zxid;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What is saved about the canary before and after every write, in `tree` under the key `canary`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Canary {
    /// Format, 1.
    pub(crate) v: u32,
    /// `n` of the generation that it was written in.
    pub(crate) generation: u64,
    /// The last write that ZooKeeper confirmed.
    pub(crate) acknowledged: Option<Acknowledged>,
    /// Writes whose outcome is not known. Each carries the version that it expects, so the next write that is
    /// confirmed voids them all.
    pub(crate) in_flight: Vec<Uuid>,
}

/// A confirmed write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acknowledged {
    /// What was written.
    pub(crate) nonce: Uuid,
    /// Its transaction.
    pub(crate) mzxid: Zxid,
}

/// Of more writes of unknown outcome than this, the oldest are forgotten: so many reconnects later none is on its way.
const IN_FLIGHT_MAX: usize = 64;

/// The ensemble is not the one that the saved canary stands in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stranger {
    /// Nothing stands there.
    #[error("its canary is gone")]
    Gone,
    /// An older or a foreign one stands there.
    #[error("its canary is not the one that this watcher wrote last")]
    Other,
}

impl Canary {
    /// What of it counts in the generation `n`: whoever approved a later one vouches for the ensemble as it stands.
    #[must_use]
    pub(crate) fn within(self, n: u64) -> Canary {
        if self.generation < n { Canary { generation: n, ..Canary::default() } } else { self }
    }

    /// Compares what stands in the ensemble (`None`: nothing) with what is saved.
    pub(crate) fn check(&self, live: Option<&[u8]>) -> Result<(), Stranger> {
        let Some(live) = live else {
            return if self.acknowledged.is_none() { Ok(()) } else { Err(Stranger::Gone) };
        };
        let nonce = std::str::from_utf8(live).ok().and_then(|text| text.parse::<Uuid>().ok());
        let is_ours = |nonce: &Uuid| {
            self.in_flight.contains(nonce) || self.acknowledged.is_some_and(|last| last.nonce == *nonce)
        };
        let never_written = self.acknowledged.is_none() && self.in_flight.is_empty();
        if never_written || nonce.as_ref().is_some_and(is_ours) { Ok(()) } else { Err(Stranger::Other) }
    }

    /// A write is about to be sent.
    #[must_use]
    pub(crate) fn sending(&self, nonce: Uuid) -> Canary {
        let old = self.in_flight.len().saturating_sub(IN_FLIGHT_MAX - 1);
        let in_flight = self.in_flight.iter().copied().skip(old).chain([nonce]).collect();
        Canary { v: 1, generation: self.generation, acknowledged: self.acknowledged, in_flight }
    }

    /// A write was confirmed, which voids every other one.
    #[must_use]
    pub(crate) fn confirmed(&self, nonce: Uuid, mzxid: Zxid) -> Canary {
        let acknowledged = Some(Acknowledged { nonce, mzxid });
        Canary { v: 1, generation: self.generation, acknowledged, in_flight: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn check(saved: &Canary, live: Option<u128>) -> Result<(), Stranger> {
        saved.check(live.map(|n| nonce(n).to_string()).as_deref().map(str::as_bytes))
    }

    #[test]
    fn a_canary_that_was_never_written_accepts_any_ensemble() {
        assert_eq!(check(&Canary::default(), None), Ok(()));
        assert_eq!(check(&Canary::default(), Some(9)), Ok(()));
    }

    #[test]
    fn a_write_of_unknown_outcome_may_or_may_not_have_happened() {
        let saved = Canary::default().confirmed(nonce(1), Zxid(5)).sending(nonce(2)).sending(nonce(3));
        for live in [1, 2, 3] {
            assert_eq!(check(&saved, Some(live)), Ok(()), "{live}");
        }
        assert_eq!(check(&saved, Some(4)), Err(Stranger::Other));
    }

    #[test]
    fn a_wiped_ensemble_and_an_older_backup_are_strangers() {
        let saved = Canary::default().confirmed(nonce(2), Zxid(5));
        assert_eq!(check(&saved, None), Err(Stranger::Gone));
        assert_eq!(check(&saved, Some(1)), Err(Stranger::Other));
        assert_eq!(saved.check(Some(b"\xff")), Err(Stranger::Other));
    }

    #[test]
    fn a_later_generation_vouches_for_whatever_stands() {
        let saved = Canary::default().within(1).confirmed(nonce(2), Zxid(5));
        assert_eq!(check(&saved.clone().within(1), Some(1)), Err(Stranger::Other));
        assert_eq!(check(&saved.within(2), Some(1)), Ok(()));
    }

    #[test]
    fn a_first_write_that_was_lost_leaves_nothing_to_find() {
        assert_eq!(check(&Canary::default().sending(nonce(1)), None), Ok(()));
        assert_eq!(check(&Canary::default().sending(nonce(1)), Some(9)), Err(Stranger::Other));
    }
}
