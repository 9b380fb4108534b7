//! From a connection to a stream: watch, prove that the ensemble is the known one, take a snapshot, reconcile.

use change::{Record, Zxid};
use uuid::Uuid;

use super::{Error, Halt, Term, clocks};
use crate::feed::{Input, Why};
use crate::reconcile::{self, Closed, Cut, Gap, Limits, Live, Moment};
use crate::seen::SeenEdit;
use crate::stats::{Phase, add};
use crate::stream::Owed;
use crate::zookeeper::Trouble;

/// Why a rebuild did not come to its end.
enum Failed {
    /// It says nothing about the ensemble; the session's next events decide.
    Trouble(Trouble),
    Halt(Halt),
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        Failed::Trouble(trouble)
    }
}

impl From<Halt> for Failed {
    fn from(halt: Halt) -> Self {
        Failed::Halt(halt)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Halt(error.into())
    }
}

impl Term {
    /// Rebuilds the stream. If the connection breaks meanwhile, the feed stays broken until it is back. Returns why it
    /// has to be done again at once.
    pub(super) async fn rebuild(&mut self, why: Why) -> Result<Option<Why>, Halt> {
        match why {
            Why::Reconnect => add(&self.stats.reconnects, 1),
            Why::SilentCanary => {
                add(&self.stats.silent_canaries, 1);
                tracing::warn!("the watch is dead: the canary's event did not come; watching again");
            }
            Why::Overflow => tracing::warn!("more events wait than may; comparing the whole tree instead"),
            Why::Start | Why::Periodic | Why::Requested | Why::Full => {}
        }
        self.phase(Phase::Reconciling, reason(why)).await?;
        let stop = self.stop.clone();
        let rebuilt = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Halt::Stop),
            found = self.look() => found,
        };
        let rebuilt = match rebuilt {
            Ok(found) => self.record(found, why).await,
            Err(failed) => Err(failed),
        };
        match rebuilt {
            Ok(Recorded::At(high, owed)) => {
                self.feed.step(Input::Rebuilt(high, owed), &mut self.tree, clocks());
                self.phase(Phase::Streaming, reason(why)).await?;
                Ok(None)
            }
            Ok(Recorded::Late(why)) => Ok(Some(why)),
            Err(Failed::Halt(halt)) => Err(halt),
            Err(Failed::Trouble(trouble)) if trouble.is_answer() || !self.ensemble.hears() => {
                Err(Error::Session { reason: trouble.text() }.into())
            }
            Err(Failed::Trouble(trouble)) => {
                let text = trouble.text();
                tracing::warn!(trouble = %text, "ZooKeeper cannot be read; waiting for the connection");
                self.phase(Phase::Disconnected, &text).await?;
                self.trouble = Some(text);
                Ok(None)
            }
        }
    }
}

/// What came of recording what was found.
enum Recorded {
    /// The stream goes on from here, and these deletes belong to what it brings.
    At(Zxid, Vec<Owed>),
    /// The events behind it were given up meanwhile.
    Late(Why),
}

/// What a look at the ensemble has found.
struct Found {
    live: Live,
    gap: Gap,
    /// Edits that are not on record, ascending.
    edits: Vec<SeenEdit>,
    /// Requests for a resync.
    requests: Vec<String>,
    /// Everything found was committed before this transaction.
    at: Zxid,
}

impl Term {
    /// Watches, proves, reads and compares. Appends nothing.
    ///
    /// The canary that proves the ensemble cuts time in two: what was committed before it is found here, and what is
    /// committed after it comes through the stream, with its edit and nothing twice.
    async fn look(&mut self) -> Result<Found, Failed> {
        self.ensemble.watch().await?;
        self.ensemble.sync().await?;
        self.check_generation().await?;
        let at = self.prove().await?;
        self.ensemble.begin_at_canary()?;
        let requests = self.ensemble.resync_requests().await?;
        let mut live = self.ensemble.snapshot(self.config.events_max).await?;
        self.bend(&mut live);
        let edits = self.ensemble.new_edits(self.log.known.edits, at).await?;
        let cut = Cut { at, deleted_later: self.ensemble.deleted_later() };
        let mut gap = match self.compare(&live, &cut) {
            Ok(gap) => gap,
            Err(behind) => return Err(self.freeze_for_good(behind.to_string()).await?.into()),
        };
        let missing = gap.missing(&live);
        if !missing.is_empty() && !self.is_broken() {
            let absent = self.ensemble.absent(&missing).await?;
            gap.ended.retain(|path, _| live.nodes.contains_key(path) || absent.contains(path));
        }
        Ok(Found { live, gap, edits, requests, at })
    }

    /// Ends the term, or freezes, unless the ensemble is in this term's generation.
    async fn check_generation(&mut self) -> Result<(), Failed> {
        let ours = self.generation;
        let theirs = self.ensemble.session().generation().await;
        match theirs.map_err(|source| Trouble::new("read the generation", source))? {
            Some(theirs) if theirs == ours => Ok(()),
            Some(theirs) if theirs.n > ours.n => Err(Error::Generation { ours, theirs }.into()),
            _ if self.is_broken() => Ok(()),
            Some(theirs) => Err(Halt::Freeze(format!(
                "the ensemble's generation is {theirs}, the one on record is {ours}"
            ))
            .into()),
            None => Err(Halt::Freeze(format!(
                "the ensemble has no generation any more, the one on record is {ours}"
            ))
            .into()),
        }
    }

    /// The same while streaming, when the generation was touched.
    pub(super) async fn check_generation_now(&mut self) -> Result<(), Halt> {
        match self.check_generation().await {
            Ok(()) => Ok(()),
            Err(Failed::Halt(halt)) => Err(halt),
            Err(Failed::Trouble(trouble)) if trouble.is_answer() => {
                Err(Error::Session { reason: trouble.text() }.into())
            }
            // The rebuild after the reconnect looks again.
            Err(Failed::Trouble(trouble)) => {
                self.trouble = Some(trouble.text());
                Ok(())
            }
        }
    }

    /// Freezes unless the canary is the one that we wrote last and new transactions come after the known ones. Returns
    /// the transaction that it wrote the next one in.
    async fn prove(&mut self) -> Result<Zxid, Failed> {
        let live = self.ensemble.canary().await?;
        if let Err(stranger) = self.log.canary.check(live.as_deref())
            && !self.is_broken()
        {
            let reason = format!(
                "the ensemble and the queue do not belong together: {stranger}. Either the ensemble is not the one on \
                 record (restored, wiped or replaced), or the queue's file is an older copy"
            );
            return Err(Halt::Freeze(reason).into());
        }
        let last = self.log.canary.acknowledged.map(|last| last.mzxid).max(self.tree.last_zxid());
        let written = self.write_canary().await?;
        match last {
            Some(last) if written <= last && !self.is_broken() => {
                let reason =
                    format!("a new transaction has zxid {written}, which is behind {last} on record");
                Err(self.freeze_for_good(reason).await?.into())
            }
            _ => Ok(written),
        }
    }

    async fn write_canary(&mut self) -> Result<Zxid, Failed> {
        let nonce = Uuid::new_v4();
        self.sending(nonce).await?;
        let zxid = self.ensemble.write_canary(nonce).await?;
        crate::fail::Fail::strike(self.config.fail, crate::fail::FailPoint::AfterCanary);
        self.log.save_canary(self.log.canary.confirmed(nonce, zxid)).await?;
        Ok(zxid)
    }

    /// Appends what was found.
    async fn record(&mut self, found: Found, why: Why) -> Result<Recorded, Failed> {
        let Found { live, gap, mut edits, requests, at } = found;
        self.count(&live, &gap);
        let whole = self.log.known.is_whole(&live.unreadable) && requests.is_empty();
        let moment = Moment { now: clocks().wall, upper: at, resync: None };
        let limits = Limits { changes: self.config.coupled_changes, bytes: self.config.coupled_bytes };
        let mut later = Vec::new();
        let records: Vec<Record> = if whole {
            let Closed { txns, owed } = reconcile::close(&live, &gap, &edits, moment, limits);
            later = owed;
            txns.into_iter().map(Record::Txn).collect()
        } else {
            self.phase(Phase::Resyncing, reason(why)).await?;
            if !self.log.known.whole && self.log.known.edits.is_none() {
                // Nothing of this generation was ever on record: of the edits, those that explain what stands now.
                let written: std::collections::BTreeSet<Zxid> =
                    live.nodes.values().map(|seen| seen.node.mzxid).collect();
                edits.retain(|edit| written.contains(&edit.zxid));
            }
            reconcile::resync(&live, &gap, &edits, Uuid::new_v4(), moment, limits)
        };
        records.iter().for_each(|record| self.tree.fold(record));
        let late = self.append(&records).await?;
        self.ensemble.edits_recorded();
        if !whole {
            self.log.save().await?;
            add(&self.stats.resyncs, 1);
        }
        if let Err(trouble) = self.ensemble.remove_served(requests).await {
            let trouble = trouble.text();
            tracing::warn!(%trouble, "a request for a resync stays behind; the next term will serve it again");
            self.trouble = Some(trouble);
        }
        Ok(late.map_or(Recorded::At(at, later), Recorded::Late))
    }

    fn count(&self, live: &Live, gap: &Gap) {
        add(&self.stats.unreadable, live.unreadable.len() as u64);
        if self.log.known.whole {
            add(&self.stats.missed_versions, gap.missed_versions);
            let silent = self.feed.mark().map_or(0, |mark| gap.older_than(live, mark));
            add(&self.stats.silent_misses, silent);
        }
    }

    #[cfg(not(feature = "broken"))]
    fn compare(&self, live: &Live, cut: &Cut) -> Result<Gap, crate::seen::Behind> {
        reconcile::compare(&self.tree, live, cut)
    }

    #[cfg(not(feature = "broken"))]
    fn bend(&self, _live: &mut Live) {}

    #[cfg(feature = "broken")]
    fn compare(&self, live: &Live, cut: &Cut) -> Result<Gap, crate::seen::Behind> {
        let mut known = self.tree.clone();
        loop {
            match reconcile::compare(&known, live, cut) {
                Err(behind) if self.is_broken() => {
                    let mut nodes = known.nodes().clone();
                    nodes.remove(&behind.path);
                    known = change::Tree::new(nodes);
                }
                result => return result,
            }
        }
    }

    #[cfg(feature = "broken")]
    fn bend(&self, live: &mut Live) {
        if self.is_broken() {
            live.unreadable.clear();
        }
    }

    fn is_broken(&self) -> bool {
        self.config.takes_no_node_for_a_delete()
    }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Start => "the term begins",
        Why::Reconnect => "the connection is back",
        Why::SilentCanary => "the watch was dead",
        Why::Periodic => "a regular comparison",
        Why::Requested => "a resync was requested",
        Why::Overflow => "too many events were waiting",
        Why::Full => "the queue was full",
    }
}
