//! The worker: performs what the feed asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use change::{Fence, Generation, Millis, Record, Tree, wire};
use queue::{AppendError, Queue, StoreError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fail::{Fail, FailPoint};
use crate::feed::{Bounds, Feed, Input, Now, Output, Why};
use crate::log::{Begin, Log};
use crate::stats::{Phase, State, Stats, add};
use crate::zookeeper::{Ensemble, Told};

mod rebuild;

/// How long and how much.
#[derive(Debug, Clone)]
pub struct Config {
    /// How often the canary is written.
    pub canary_every: Duration,
    /// How long after the canary's confirmation its event may take.
    pub canary_within: Duration,
    /// How often the whole tree is compared with the record although nothing seems wrong.
    pub reconcile_every: Duration,
    /// How long the connection may be gone before the term ends.
    pub broken_max: Duration,
    /// Reads sent ahead of their replies.
    pub reads_in_flight: usize,
    /// Events that are judged together at most while deletes and puts come in one after the other; no transaction is cut
    /// for it, and one that may begin with deletes is looked for as far as `coupled_changes`.
    pub batch_max: usize,
    /// Events that may wait for their reads; of more, all are dropped and the whole tree is compared instead.
    pub events_max: usize,
    /// Records appended before the known tree's checkpoint is saved.
    pub checkpoint_records: usize,
    /// Time before it is.
    pub checkpoint_every: Duration,
    /// Records appended in one transaction of the queue.
    pub append_records: usize,
    /// Bytes appended in one transaction of the queue, unless one record has more.
    pub append_bytes: u64,
    /// Changes in the one record that couples the deletes found by a reconciliation with the lives that began.
    pub coupled_changes: usize,
    /// Bytes in that record.
    pub coupled_bytes: usize,
    /// Edit records kept in ZooKeeper once they are on record.
    pub edits_kept: usize,
    /// Edits appended before old edit records are removed again.
    pub prune_every: u64,
    /// For kill tests.
    pub fail: Option<Fail>,
    /// For showing that a history checker finds a wrong watcher.
    #[cfg(feature = "broken")]
    pub broken: Option<crate::fail::Broken>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            canary_every: Duration::from_secs(5),
            canary_within: Duration::from_secs(2),
            reconcile_every: Duration::from_secs(600),
            broken_max: Duration::from_secs(60),
            reads_in_flight: 64,
            batch_max: 512,
            events_max: 200_000,
            checkpoint_records: 1_000,
            checkpoint_every: Duration::from_secs(5),
            append_records: 500,
            append_bytes: 4 << 20,
            coupled_changes: 2_000,
            coupled_bytes: 4 << 20,
            edits_kept: 10_000,
            prune_every: 100,
            fail: None,
            #[cfg(feature = "broken")]
            broken: None,
        }
    }
}

impl Config {
    #[cfg(not(feature = "broken"))]
    pub(crate) fn takes_no_node_for_a_delete(&self) -> bool {
        false
    }

    #[cfg(feature = "broken")]
    pub(crate) fn takes_no_node_for_a_delete(&self) -> bool {
        self.broken == Some(crate::fail::Broken::NoNodeIsDelete)
    }
}

/// One term of the watcher.
pub struct Watcher {
    config: Config,
    session: zk::Session,
    queue: Queue,
    fence: Fence,
    generation: Generation,
    env: String,
    stats: Arc<Stats>,
}

/// Why a term ended in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was asked to.
    Asked,
}

/// What the supervisor does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// A new session, a new election, a new term, after a pause.
    Restart,
    /// A person has to act first.
    Stop,
}

/// Why a term ended out of order. Whatever it was, the next term begins with the same steps as the first one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A later watcher has begun its term: this one's records would not count.
    #[error("append to the log under fence {fence}: a later watcher has taken over")]
    Fenced {
        /// This term's.
        fence: Fence,
        /// What the queue said.
        #[source]
        source: AppendError,
    },
    /// The queue did not take records.
    #[error("append to the log")]
    Append {
        /// What the queue said.
        #[source]
        source: AppendError,
    },
    /// The queue could not be read.
    #[error("{doing}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// What the queue said.
        #[source]
        source: StoreError,
    },
    /// A record of the log is not understood.
    #[error(
        "understand the record at offset {offset} of the log; if a newer setkeeper wrote it, upgrade this one"
    )]
    Decode {
        /// Where.
        offset: i64,
        /// What is wrong with it.
        #[source]
        source: wire::DecodeError,
    },
    /// What the watcher saved for itself is not understood.
    #[error(
        "understand what is saved under `{key}` beside the log; if a newer setkeeper wrote it, upgrade this one"
    )]
    Saved {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The log has records that are not ours although no later watcher is there, or was replaced under us.
    #[error("continue the log: it is not the one that this term began with")]
    LogChanged,
    /// A new generation was approved: this term is over.
    #[error("work in generation {ours}: the ensemble is in generation {theirs} now")]
    Generation {
        /// This term's.
        ours: Generation,
        /// The approved one.
        theirs: Generation,
    },
    /// The session ended, or its connection did not come back.
    #[error("follow ZooKeeper: {reason}")]
    Session {
        /// How that was seen.
        reason: String,
    },
}

impl Error {
    /// What the supervisor does about it.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Error::Decode { .. }
            | Error::Saved { .. }
            | Error::Append { source: AppendError::TooLarge { .. } } => Advice::Stop,
            Error::Fenced { .. }
            | Error::Append { .. }
            | Error::Store { .. }
            | Error::LogChanged
            | Error::Generation { .. }
            | Error::Session { .. } => Advice::Restart,
        }
    }
}

/// Why the term cannot go on.
#[derive(Debug)]
pub(crate) enum Halt {
    Stop,
    Freeze(String),
    Error(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Halt::Error(error)
    }
}

/// The two clocks, read at the edge.
fn clocks() -> Now {
    let unix = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    Now { monotonic: Instant::now(), wall: Millis(i64::try_from(unix).unwrap_or(i64::MAX)) }
}

impl Watcher {
    /// A watcher for one term: the session is its own, `fence` is the election's, `generation` is what the supervisor
    /// read when it was elected.
    #[must_use]
    pub fn new(
        config: Config,
        session: zk::Session,
        queue: Queue,
        fence: Fence,
        generation: Generation,
        env: impl Into<String>,
    ) -> Watcher {
        Watcher { config, session, queue, fence, generation, env: env.into(), stats: Arc::default() }
    }

    /// Counts into `stats` instead of into its own.
    #[must_use]
    pub fn reporting(mut self, stats: Arc<Stats>) -> Watcher {
        self.stats = stats;
        self
    }

    /// What the watcher shows of itself.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Works until it is asked to stop or cannot go on. A frozen watcher appends nothing and waits for the approval of
    /// a new generation, which ends its term.
    ///
    /// # Errors
    /// [`Error`], never tried again in here; [`Error::advice`] says what to do.
    pub async fn run(self, stop: CancellationToken) -> Result<Stopped, Error> {
        let ended = self.term(&stop).await;
        let reason = match ended {
            Halt::Stop => return Ok(Stopped::Asked),
            Halt::Error(error) => return Err(error),
            Halt::Freeze(reason) => reason,
        };
        tracing::error!(
            %reason,
            "the watcher is frozen; look at the ensemble and at the queue, put back the right one, or `setkeeper approve \
             generation` if they are as they should be"
        );
        self.frozen(&reason, &stop).await
    }

    async fn term(&self, stop: &CancellationToken) -> Halt {
        let begin = Begin {
            queue: self.queue.clone(),
            env: self.env.clone(),
            fence: self.fence,
            generation: self.generation,
            config: self.config.clone(),
            stats: self.stats(),
        };
        let log = match Log::begin(begin, clocks().wall, stop).await {
            Ok(log) => log,
            Err(Halt::Error(error)) => return self.refused(error).await,
            Err(halt) => return halt,
        };
        let bounds = Bounds {
            canary_every: self.config.canary_every,
            canary_within: self.config.canary_within,
            reconcile_every: self.config.reconcile_every,
            broken_max: self.config.broken_max,
            reads_in_flight: self.config.reads_in_flight,
            batch_max: self.config.batch_max,
            deletes_max: self.config.coupled_changes,
            events_max: self.config.events_max,
        };
        let mut term = Term {
            config: self.config.clone(),
            generation: self.generation,
            ensemble: Ensemble::new(self.session.clone()),
            feed: Feed::new(bounds, clocks()),
            tree: log.known.tree.clone(),
            log,
            stats: self.stats(),
            stop: stop.clone(),
            trouble: None,
        };
        let Err(halt) = term.work().await;
        // A term that ends in order leaves the next one nothing to fold.
        if matches!(halt, Halt::Stop)
            && term.log.save_at().is_some()
            && let Err(error) = term.log.save().await
        {
            return Halt::Error(error);
        }
        halt
    }

    /// A log that knows a later leader of this generation than the one whose lock stands is of another history: the lock
    /// znodes of an ensemble that was restored from a backup begin again where it ended.
    async fn refused(&self, error: Error) -> Halt {
        let highest = match &error {
            Error::Fenced { source: AppendError::Fenced { highest, .. }, .. } => *highest,
            _ => return Halt::Error(error),
        };
        if highest.0 != self.fence.generation {
            return Halt::Error(error);
        }
        match Ensemble::new(self.session.clone()).holds_lock(self.fence.czxid).await {
            Ok(true) => Halt::Freeze(format!(
                "the log has records of a leader that was elected after this one ({highest} after {}), and its lock does \
                 not stand: the ensemble was restored from a backup, or replaced",
                self.fence
            )),
            Ok(false) => Halt::Error(error),
            Err(trouble) => Halt::Error(Error::Session { reason: trouble.text() }),
        }
    }

    async fn frozen(self, reason: &str, stop: &CancellationToken) -> Result<Stopped, Error> {
        let now = clocks().wall;
        let saved = Log::show_frozen(&self.queue, &self.env, self.fence, reason, now).await;
        if let Err(error) = saved {
            tracing::warn!(%error, "the frozen state could not be saved; `setkeeper status` will not show it");
        }
        self.stats.state.send_replace(State {
            state: Phase::Frozen,
            reason: reason.to_owned(),
            since: now,
            generation: self.fence.generation,
        });
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Stopped::Asked),
                () = tokio::time::sleep(self.config.canary_every) => {}
            }
            match self.session.generation().await {
                Ok(Some(theirs)) if theirs.n > self.generation.n => {
                    return Err(Error::Generation { ours: self.generation, theirs });
                }
                Ok(_) => {}
                Err(error) => {
                    return Err(Error::Session {
                        reason: format!("look for an approved generation: {error}"),
                    });
                }
            }
        }
    }
}

/// A term at work.
pub(crate) struct Term {
    pub(crate) config: Config,
    pub(crate) generation: Generation,
    pub(crate) ensemble: Ensemble,
    pub(crate) feed: Feed,
    /// The known tree with all in it that is on its way to the log.
    pub(crate) tree: Tree,
    pub(crate) log: Log,
    pub(crate) stats: Arc<Stats>,
    pub(crate) stop: CancellationToken,
    /// What went wrong last with the connection.
    pub(crate) trouble: Option<String>,
}

/// A term ends by halting only.
enum Never {}

impl Term {
    async fn work(&mut self) -> Result<Never, Halt> {
        if let Some(reason) = self.log.frozen(self.generation).await? {
            return Err(Halt::Freeze(reason));
        }
        self.perform(vec![Output::Rebuild(Why::Start)]).await?;
        loop {
            let wake_at = self.feed.wake_at();
            let wake_at = self.log.save_at().map_or(wake_at, |save_at| wake_at.min(save_at));
            let stop = self.stop.clone();
            let told = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Halt::Stop),
                told = self.ensemble.next() => told,
                () = tokio::time::sleep_until(wake_at.into()) => Told::Inputs(Vec::new()),
            };
            let inputs = match told {
                Told::Inputs(inputs) => inputs,
                Told::Beaten(nonce, Ok(zxid)) => {
                    Fail::strike(self.config.fail, FailPoint::AfterCanary);
                    self.log.save_canary(self.log.canary.confirmed(nonce, zxid)).await?;
                    vec![Input::Beaten(zxid)]
                }
                Told::Beaten(_, Err(error)) => self.beat_failed(&error)?,
            };
            let outputs = self.step(inputs);
            self.perform(outputs).await?;
            self.log.save_if_due().await?;
            self.prune().await?;
        }
    }

    fn step(&mut self, inputs: Vec<Input>) -> Vec<Output> {
        let now = clocks();
        let mut outputs = Vec::new();
        // Time goes by in every round: events without a pause must not hold the canary back.
        for input in inputs.into_iter().chain([Input::Time]) {
            outputs.extend(self.feed.step(input, &mut self.tree, now));
        }
        for read in self.feed.reads() {
            self.ensemble.send(&read);
        }
        let counts = self.feed.take_counts();
        add(&self.stats.missed_versions, counts.missed_versions);
        add(&self.stats.unreadable, counts.forbidden);
        add(&self.stats.bad_edits, counts.bad_edits);
        outputs
    }

    /// Only a broken connection leaves the outcome open; the rebuild after it settles that.
    fn beat_failed(&mut self, error: &zookeeper_client::Error) -> Result<Vec<Input>, Halt> {
        use zookeeper_client::Error as ZkError;
        match error {
            ZkError::BadVersion | ZkError::NoNode | ZkError::NoAuth => Err(Halt::Error(Error::Session {
                reason: format!("the canary was touched by somebody else: {error}"),
            })),
            error => {
                self.trouble = Some(format!("write the canary: {error}"));
                Ok(Vec::new())
            }
        }
    }

    async fn perform(&mut self, outputs: Vec<Output>) -> Result<(), Halt> {
        let mut rebuild = None;
        for output in outputs {
            match output {
                Output::Append(records) => rebuild = self.append(&records).await?.or(rebuild),
                Output::Beat => self.beat().await?,
                Output::Lost => self.phase(Phase::Disconnected, "the connection is lost").await?,
                Output::Rebuild(why) => rebuild = Some(why),
                Output::CheckGeneration => self.check_generation_now().await?,
                Output::Freeze(reason) => return Err(self.freeze_for_good(reason).await?),
                Output::Restart(reason) => {
                    let trouble = self.trouble.take().map(|last| format!(" ({last})")).unwrap_or_default();
                    return Err(Error::Session { reason: format!("{reason}{trouble}") }.into());
                }
            }
        }
        while let Some(why) = rebuild {
            rebuild = self.rebuild(why).await?;
        }
        Ok(())
    }

    /// Appends records that the tree has in it already. While the queue is full nothing is taken in: the watch is given
    /// up, so that no events pile up anywhere, and the whole tree has to be compared afterwards.
    pub(crate) async fn append(&mut self, records: &[Record]) -> Result<Option<Why>, Halt> {
        let (mut done, mut full) = self.log.append(records).await?;
        if full.is_none() {
            return Ok(None);
        }
        if let Err(trouble) = self.ensemble.rest().await {
            // The rebuild meets it again.
            self.trouble = Some(trouble.text());
        }
        while let Some(reason) = full.take() {
            tracing::warn!(%reason, "waiting for room");
            self.phase(Phase::Full, &reason.to_string()).await?;
            self.log.save_for_room().await?;
            self.log.room(&reason, &self.stop).await?;
            let (more, still) = self.log.append(records.get(done..).unwrap_or_default()).await?;
            (done, full) = (done + more, still);
        }
        Ok(Some(Why::Full))
    }

    /// Removes old edit records now and then. One that stays behind is removed the next time.
    async fn prune(&mut self) -> Result<(), Halt> {
        if self.log.edits < self.config.prune_every {
            return Ok(());
        }
        self.log.edits = 0;
        let Some(recorded) = self.log.known.edits else { return Ok(()) };
        let stop = self.stop.clone();
        let pruned = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Halt::Stop),
            pruned = self.ensemble.prune(self.config.edits_kept, recorded) => pruned,
        };
        if let Err(error) = pruned {
            self.trouble = Some(format!("remove old edit records: {error}"));
        }
        Ok(())
    }

    async fn beat(&mut self) -> Result<(), Halt> {
        let nonce = Uuid::new_v4();
        self.sending(nonce).await?;
        self.ensemble.beat(nonce);
        Ok(())
    }

    /// Saves that a write of the canary is about to leave.
    async fn sending(&mut self, nonce: Uuid) -> Result<(), Halt> {
        self.log.save_canary(self.log.canary.sending(nonce)).await?;
        Fail::strike(self.config.fail, FailPoint::BeforeCanary);
        Ok(())
    }

    /// The evidence may be gone when the next term looks (somebody writes on), so the verdict is saved.
    async fn freeze_for_good(&mut self, reason: String) -> Result<Halt, Halt> {
        self.log.save_frozen(&reason, clocks().wall).await?;
        Ok(Halt::Freeze(reason))
    }

    pub(crate) async fn phase(&mut self, phase: Phase, reason: &str) -> Result<(), Halt> {
        Ok(self.log.phase(phase, reason, clocks().wall).await?)
    }
}
