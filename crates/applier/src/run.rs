//! The worker: reads `changes` from the ledger's position, applies, relays the outcomes.

use std::time::Duration;

use change::{Fence, Millis, Outcome, Topic, Verdict, wire};
use queue::{Position, Queue};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::book::State;
use crate::fail::{self, Fail, FailPoint};
use crate::outbox::Parcel;
use crate::target::{ApplyError, OpenError, Target, TargetConfig};
use crate::work::{Read, Selection, Work};

/// How the worker reads and relays.
#[derive(Debug, Clone)]
pub struct Config {
    /// The target.
    pub target: TargetConfig,
    /// Records that one transaction may take, and outcomes that are relayed in one go after a restart. Default 500.
    pub batch_records: usize,
    /// Bytes of records that one transaction may take. Default 16 MiB.
    pub batch_bytes: u64,
    /// How often secrets, and all that is pending, are looked at again. Default 60 s.
    pub secrets_interval: Duration,
}

impl Config {
    /// The defaults, for a target.
    #[must_use]
    pub fn new(target: TargetConfig) -> Config {
        Config {
            target,
            batch_records: 500,
            batch_bytes: 16 << 20,
            secrets_interval: Duration::from_secs(60),
        }
    }
}

/// Why the worker came to an end without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was asked to.
    Asked,
}

/// What the supervisor may do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Build the worker again after a pause.
    Restart,
    /// Ask the watcher for a resync (a znode `control/resync/<ulid>`), then call [`Applier::skip`] on a new worker,
    /// then run it.
    Resync,
    /// A person must act first.
    Stop,
}

/// Why the worker came to an end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target must not be written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The work could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The log does not continue what the target has applied.
    #[error("continue target `{target}` from {position} of the log: {reason}; a resync must be asked for")]
    Lost {
        /// The target.
        target: String,
        /// Where it stands.
        position: String,
        /// How that was seen.
        reason: String,
    },
    /// The queue cannot be read.
    #[error("read the topic `{topic}`")]
    Read {
        /// The topic.
        topic: String,
        /// What it said.
        #[source]
        source: queue::StoreError,
    },
    /// The outcomes cannot be relayed. They stay in the outbox.
    #[error("append to the topic `{topic}`")]
    Relay {
        /// The topic.
        topic: String,
        /// What it said.
        #[source]
        source: queue::AppendError,
    },
    /// A record that this version does not know.
    #[error("read the record at offset {offset} of `{topic}`")]
    Decode {
        /// The topic.
        topic: String,
        /// Where.
        offset: i64,
        /// What is wrong.
        #[source]
        source: wire::DecodeError,
    },
    /// A record without a fence: not a watcher's.
    #[error(
        "read the record at offset {offset} of `{topic}`: it has no fence, so no watcher wrote it; remove the writer"
    )]
    Unfenced {
        /// The topic.
        topic: String,
        /// Where.
        offset: i64,
    },
}

impl Error {
    /// What the supervisor may do.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Error::Decode { source: wire::DecodeError::Type(_), .. } => Advice::Stop,
            Error::Lost { .. } | Error::Decode { .. } | Error::Unfenced { .. } => Advice::Resync,
            Error::Open(OpenError::Sql { .. } | OpenError::Ledger { .. }) => Advice::Restart,
            Error::Open(
                OpenError::Superset { .. } | OpenError::OtherTarget { .. } | OpenError::SecretKey { .. },
            ) => Advice::Stop,
            Error::Apply(ApplyError::Full { .. }) => Advice::Stop,
            Error::Apply(_) | Error::Read { .. } | Error::Relay { .. } => Advice::Restart,
        }
    }

    /// Whether fewer records at a time may do better.
    fn is_of_many(&self) -> bool {
        match self {
            Error::Apply(ApplyError::Split { .. }) | Error::Decode { .. } | Error::Unfenced { .. } => true,
            Error::Apply(_)
            | Error::Open(_)
            | Error::Lost { .. }
            | Error::Read { .. }
            | Error::Relay { .. } => false,
        }
    }
}

/// What the worker knows of itself, for metrics and `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Where it reads next.
    pub position: Option<Position>,
    /// Changes that wait.
    pub held: usize,
    /// Newest changes that were rejected.
    pub rejected: usize,
    /// Outcomes since the worker began, by [`Verdict::name`].
    pub outcomes: std::collections::BTreeMap<&'static str, u64>,
    /// From ZooKeeper's commit of the newest change of the last batch to the database's commit.
    pub latency: Option<Duration>,
    /// Records that the last batch took.
    pub batch: usize,
}

/// The worker of one target.
#[derive(Debug)]
pub struct Applier {
    config: Config,
    target: Target,
    queue: Queue,
    fence: Fence,
    changes: String,
    outcomes: String,
    stats: watch::Sender<Stats>,
    /// Ends the waiting for what may never come.
    stop: CancellationToken,
}

impl Applier {
    /// Opens the target and proves that it may be written.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        config: Config,
        database: sql::Database,
        queue: Queue,
        fence: Fence,
    ) -> Result<Applier, OpenError> {
        let target = Target::open(database, config.target.clone()).await?;
        let env = &config.target.env;
        let (changes, outcomes) = (Topic::Changes.name(env), Topic::Outcomes.name(env));
        let stats = watch::Sender::new(Stats::default());
        let stop = CancellationToken::new();
        let applier = Applier { config, target, queue, fence, changes, outcomes, stats, stop };
        applier.tell(0, None, &[]);
        Ok(applier)
    }

    /// What the worker knows of itself, as it changes.
    #[must_use]
    pub fn stats(&self) -> watch::Receiver<Stats> {
        self.stats.subscribe()
    }

    /// Gives up the ledger's position for the oldest record that the log has. Only after a resync was asked for:
    /// what was lost in between comes with it.
    ///
    /// # Errors
    /// The queue or the database said no.
    pub async fn skip_to_first(&mut self) -> Result<(), Error> {
        let next = self.first().await?;
        self.apply(Vec::new(), next).await
    }

    /// Passes over what [`Advice::Resync`] was given for: to the oldest record of a log that has lost some, or past the
    /// one record that cannot be read. Only after a resync was asked for: what was lost comes with it.
    ///
    /// # Errors
    /// The queue or the database said no.
    pub async fn skip(&mut self, error: &Error) -> Result<(), Error> {
        let (Error::Decode { offset, .. } | Error::Unfenced { offset, .. }) = error else {
            return self.skip_to_first().await;
        };
        let position = self.position().await?;
        let batch = self.queue.read(&self.changes, &position, 1, self.config.batch_bytes).await;
        let batch = batch.map_err(|error| self.lost(&position, error))?;
        match batch.entries.first() {
            Some(entry) if entry.offset == *offset => self.apply(Vec::new(), batch.next).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Runs until asked to stop. A batch once begun is finished; outcomes that the queue has no room for then stay in the
    /// outbox, for the next worker.
    ///
    /// # Errors
    /// See [`Error`]; the worker does not try again, its supervisor builds it anew.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Stopped, Error> {
        self.stop = stop;
        match self.run_until_asked().await {
            Err(Error::Relay { source: queue::AppendError::Full { .. }, .. }) if self.stop.is_cancelled() => {
                Ok(Stopped::Asked)
            }
            ended => ended,
        }
    }

    async fn run_until_asked(&mut self) -> Result<Stopped, Error> {
        self.relay_left_over().await?;
        self.reconcile(Selection::Pending).await?;
        let mut position = self.position().await?;
        let mut ticks = tokio::time::interval(self.config.secrets_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            let (records, bytes) = (self.config.batch_records, self.config.batch_bytes);
            let batch = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(Stopped::Asked),
                _ = ticks.tick() => None,
                batch = self.queue.next_batch(&self.changes, &position, records, bytes) => Some(batch),
            };
            match batch {
                None => {
                    self.reconcile(Selection::Secrets).await?;
                    if !self.target.ledger().pending().is_empty() {
                        self.reconcile(Selection::Pending).await?;
                    }
                    let first = self.first().await?;
                    self.target.forget_deletes(first.offset, self.fence).await?;
                }
                Some(batch) => {
                    position = self.take(batch.map_err(|error| self.lost(&position, error))?).await?
                }
            }
        }
    }

    /// Applies what there is to read, once, and returns how many records that were: for tools that must not run
    /// on.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn step(&mut self) -> Result<usize, Error> {
        let position = self.position().await?;
        let (records, bytes) = (self.config.batch_records, self.config.batch_bytes);
        let batch = self.queue.read(&self.changes, &position, records, bytes).await;
        let batch = batch.map_err(|error| self.lost(&position, error))?;
        let count = batch.entries.len();
        if count > 0 {
            self.take(batch).await?;
        }
        Ok(count)
    }

    /// Looks again at what is pending, and relays what that came to.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn reconcile(&mut self, selection: Selection) -> Result<(), Error> {
        let outcomes = self.target.apply(&Work::Reconcile(selection), self.fence).await?;
        self.tell(0, None, &outcomes);
        self.relay(self.target.pack(&outcomes)).await
    }

    /// Relays what an earlier worker committed and did not relay.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn relay_left_over(&mut self) -> Result<(), Error> {
        loop {
            let parcels = self.target.unrelayed(self.config.batch_records as u64).await?;
            if parcels.is_empty() {
                return Ok(());
            }
            self.relay(parcels).await?;
        }
    }

    async fn take(&mut self, batch: queue::Batch) -> Result<Position, Error> {
        let (next, count) = (batch.next, batch.entries.len());
        match self.apply_batch(&batch).await {
            Err(error) if count > 1 && error.is_of_many() => self.in_parts(&next, count / 2).await,
            other => other.map(|()| next),
        }
    }

    async fn apply_batch(&mut self, batch: &queue::Batch) -> Result<(), Error> {
        let records = self.decode(batch)?;
        self.apply(records, batch.next).await
    }

    /// A batch that cannot be applied at once is tried in ever smaller parts, until they pass or one record alone shows
    /// what is wrong with it; then in larger ones again.
    async fn in_parts(&mut self, end: &Position, mut most: usize) -> Result<Position, Error> {
        let mut position = self.position().await?;
        while position.offset < end.offset {
            let batch = self.queue.read(&self.changes, &position, most, self.config.batch_bytes).await;
            let batch = batch.map_err(|error| self.lost(&position, error))?;
            match self.apply_batch(&batch).await {
                Ok(()) if batch.entries.is_empty() => return Ok(batch.next),
                Ok(()) => {
                    position = batch.next;
                    most = most.saturating_mul(2).min(self.config.batch_records);
                }
                Err(error) if batch.entries.len() > 1 && error.is_of_many() => most = batch.entries.len() / 2,
                Err(error) => return Err(error),
            }
        }
        Ok(position)
    }

    fn decode(&self, batch: &queue::Batch) -> Result<Vec<Read>, Error> {
        let topic = || self.changes.clone();
        let read = |entry: &queue::Entry| {
            let offset = entry.offset;
            let record = wire::decode(&entry.headers, &entry.body).map_err(|source| Error::Decode {
                topic: topic(),
                offset,
                source,
            })?;
            let fence = entry.fence.ok_or_else(|| Error::Unfenced { topic: topic(), offset })?;
            Ok(Read { offset, fence: Fence { generation: fence.0, czxid: fence.1 }, record })
        };
        batch.entries.iter().map(read).collect()
    }

    async fn apply(&mut self, records: Vec<Read>, next: Position) -> Result<(), Error> {
        let count = records.len();
        let newest = records.iter().rev().find_map(|read| match &read.record {
            change::Record::Txn(txn) => Some(txn.committed),
            _ => None,
        });
        let work = Work::Records { records, next };
        let outcomes = self.target.apply(&work, self.fence).await?;
        self.tell(count, newest, &outcomes);
        self.relay(self.target.pack(&outcomes)).await?;
        let group = format!("applier/{}", self.target.name());
        let committed = self.queue.commit(&group, &self.changes, &next).await;
        committed.map_err(|source| Error::Read { topic: self.changes.clone(), source })
    }

    /// Appends outcomes in order, and forgets them once the queue has them.
    async fn relay(&self, parcels: Vec<Parcel>) -> Result<(), Error> {
        let Some(last) = parcels.last().map(|parcel| parcel.sequence) else { return Ok(()) };
        let topic = || self.outcomes.clone();
        let entries: Vec<queue::NewEntry> = parcels.into_iter().map(|parcel| parcel.entry).collect();
        let bytes = entries.iter().map(queue::NewEntry::size).sum();
        fail::pass(self.fail(), FailPoint::BeforeAck);
        tokio::select! {
            biased;
            room = self.queue.room(&self.outcomes, entries.len() as u64, bytes) => {
                room.map_err(|source| Error::Read { topic: topic(), source })?;
            }
            // Asked to stop, it waits no longer: the append says whether there is room.
            () = self.stop.cancelled() => {}
        }
        let appended = self.queue.append(&self.outcomes, None, &entries).await;
        appended.map_err(|source| Error::Relay { topic: topic(), source })?;
        fail::pass(self.fail(), FailPoint::AfterAck);
        Ok(self.target.forget_outcomes(last.unsigned_abs(), self.fence).await?)
    }

    fn fail(&self) -> Option<Fail> {
        self.config.target.fail
    }

    /// The ledger's position; a target without one begins with the log, if the log still has its beginning.
    async fn position(&self) -> Result<Position, Error> {
        if let Some(position) = self.target.ledger().stream.position {
            return Ok(position);
        }
        let first = self.first().await?;
        if first.offset == 1 {
            return Ok(first);
        }
        Err(Error::Lost {
            target: self.target.name().to_owned(),
            position: "the beginning".to_owned(),
            reason: format!("the log starts at offset {}", first.offset),
        })
    }

    async fn first(&self) -> Result<Position, Error> {
        let first = self.queue.first(&self.changes).await;
        first.map_err(|source| Error::Read { topic: self.changes.clone(), source })
    }

    fn lost(&self, position: &Position, error: queue::ReadError) -> Error {
        match error {
            queue::ReadError::Lost { reason, .. } => Error::Lost {
                target: self.target.name().to_owned(),
                position: format!("offset {}", position.offset),
                reason: reason.to_string(),
            },
            queue::ReadError::Store(source) => Error::Read { topic: self.changes.clone(), source },
        }
    }

    fn tell(&self, batch: usize, newest: Option<Millis>, outcomes: &[Outcome]) {
        let ledger = self.target.ledger();
        let states =
            || ledger.pending().iter().filter_map(|path| ledger.entries().get(path)?.pending.as_ref());
        let held = states().filter(|pending| matches!(pending.state, State::Held { .. })).count();
        let committed = outcomes.last().map(|outcome| outcome.committed);
        let latency = newest.zip(committed).map(|(newest, committed)| committed.0.saturating_sub(newest.0));
        self.stats.send_modify(|stats| {
            stats.position = ledger.stream.position;
            stats.held = held;
            stats.rejected = states().count() - held;
            stats.batch = batch;
            for outcome in outcomes {
                *stats.outcomes.entry(Verdict::name(&outcome.verdict)).or_default() += 1;
            }
            if let Some(latency) = latency {
                stats.latency = Some(Duration::from_millis(u64::try_from(latency).unwrap_or(0)));
            }
        });
    }
}
