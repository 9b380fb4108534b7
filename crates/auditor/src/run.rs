//! The worker: reads both topics, records, tells the queue how far it is, trims.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use change::{Fence, Outcome, Record, Topic, sha256_hex, wire};
use queue::{Batch, Lost, Position, Queue};
use serde_json::json;
use sql::{Class, CommitError, Database, Mode, Transaction};
use tokio_util::sync::CancellationToken;

use crate::changes::{self, Counts};
use crate::facts::Stream;
use crate::row::{At, Entry, EventKind, Unreadable, event};
use crate::stats::Stats;
use crate::store::{self, StoreError};
use crate::{GROUP, outcomes, trim};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/audit");

/// The auditor's bounds. Every field has a default.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Records of each topic in one transaction. Default 256.
    pub batch_records: usize,
    /// Bytes of each topic in one transaction. Default 16 MiB.
    pub batch_bytes: u64,
    /// In how many batches outcomes may wait for the changes that they belong to. Default 64.
    pub outcomes_wait_max: u32,
    /// How long records stay on the queue after they are on record. Default 1 day.
    pub keep_queue: Duration,
    /// How often the queue is trimmed. Default 1 minute.
    pub trim_every: Duration,
    /// Records of a topic that one trim removes. Default 10,000.
    pub trim_records: usize,
    /// Where to abort the process, and how likely (0 to 1), for crash tests. Default nowhere.
    pub fail_point: Option<(FailPoint, f64)>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            batch_records: 256,
            batch_bytes: 16 << 20,
            outcomes_wait_max: 64,
            keep_queue: Duration::from_secs(24 * 60 * 60),
            trim_every: Duration::from_secs(60),
            trim_records: 10_000,
            fail_point: None,
        }
    }
}

/// The pause between two portions while there is more to trim.
const TRIM_ON: Duration = Duration::from_millis(100);

/// Where a crash test aborts the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailPoint {
    /// Everything is written, nothing committed.
    BeforeCommit,
    /// The rows and the position are committed.
    AfterCommit,
    /// The queue has not been told yet.
    BeforeAck,
    /// The queue has been told.
    AfterAck,
}

impl FromStr for FailPoint {
    type Err = UnknownFailPoint;

    fn from_str(text: &str) -> Result<FailPoint, UnknownFailPoint> {
        Ok(match text {
            "before-commit" => FailPoint::BeforeCommit,
            "after-commit" => FailPoint::AfterCommit,
            "before-ack" => FailPoint::BeforeAck,
            "after-ack" => FailPoint::AfterAck,
            _ => return Err(UnknownFailPoint(text.chars().take(40).collect())),
        })
    }
}

/// A text that names no [`FailPoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fail point of the auditor; use before-commit, after-commit, before-ack or after-ack")]
pub struct UnknownFailPoint(String);

/// Why a run ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was asked to.
    Asked,
}

/// What the supervisor does about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Build the worker anew, after a pause.
    Restart,
    /// A person must act first.
    Stop,
}

/// Why the auditor ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The audit database is of another environment.
    #[error(
        "open the audit database: it is of environment `{found}`, not `{wanted}`; give each environment a file of its own ([audit] url)"
    )]
    OtherEnvironment {
        /// There.
        found: String,
        /// Here.
        wanted: String,
    },
    /// The audit database is no SQLite file.
    #[error("open the audit database: only SQLite is supported; set [audit] url to sqlite:PATH")]
    Dialect,
    /// Its tables could not be made.
    #[error("make the audit database's tables")]
    Migrate(#[from] sql::MigrateError),
    /// An auditor with a higher fence has been here.
    #[error(
        "record under fence {fence}: an auditor with a higher fence has taken over; this one's term is over"
    )]
    Fenced {
        /// This auditor's.
        fence: Fence,
    },
    /// The database is not where this auditor left it.
    #[error(
        "record a batch: the audit database was replaced, restored or written by another auditor; reading its position again"
    )]
    Moved,
    /// A record of a version to come.
    #[error("read offset {offset} of topic `{topic}`")]
    Unknown {
        /// The topic.
        topic: String,
        /// The record.
        offset: i64,
        /// Which type.
        #[source]
        source: wire::DecodeError,
    },
    /// The audit database could not be used.
    #[error("use the audit database")]
    Store(#[from] StoreError),
    /// The commit failed, or its outcome is not known: the database is asked on the next start.
    #[error("commit to the audit database")]
    Commit(#[from] CommitError),
    /// The queue could not be used.
    #[error("use the queue")]
    Queue(#[from] queue::StoreError),
}

impl From<sql::Error> for Error {
    fn from(error: sql::Error) -> Error {
        Error::Store(error.into())
    }
}

impl Error {
    /// What the supervisor does about it.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Error::OtherEnvironment { .. } | Error::Dialect | Error::Unknown { .. } | Error::Migrate(_) => {
                Advice::Stop
            }
            Error::Store(StoreError::Odd { .. }) => Advice::Stop,
            Error::Store(StoreError::Sql(error)) if error.class() == Class::Schema => Advice::Stop,
            Error::Store(_) | Error::Fenced { .. } | Error::Moved | Error::Commit(_) | Error::Queue(_) => {
                Advice::Restart
            }
        }
    }
}

/// The recorder of one environment's history, for one term.
#[derive(Debug)]
pub struct Auditor {
    config: Config,
    database: Database,
    queue: Queue,
    fence: Fence,
    env: String,
    /// As last committed.
    stream: Stream,
    stats: Arc<Stats>,
    /// Batches in which outcomes have waited for changes.
    waited: u32,
}

/// What one round reads: the records, or that a position is not in the log any more.
struct Round {
    changes: Read,
    outcomes: Read,
}

/// The topics that are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Changes,
    Outcomes,
}

impl Side {
    const BOTH: [Side; 2] = [Side::Changes, Side::Outcomes];

    fn topic(self, env: &str) -> String {
        match self {
            Side::Changes => Topic::Changes.name(env),
            Side::Outcomes => Topic::Outcomes.name(env),
        }
    }

    fn position(self, stream: &mut Stream) -> &mut Option<Position> {
        match self {
            Side::Changes => &mut stream.changes,
            Side::Outcomes => &mut stream.outcomes,
        }
    }
}

enum Read {
    Nothing,
    Batch(Batch),
    Lost(Lost),
}

impl Auditor {
    /// Makes the tables if need be, raises the fence and finds where to go on.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(
        config: Config,
        database: Database,
        queue: Queue,
        fence: Fence,
        env: &str,
        stats: Arc<Stats>,
    ) -> Result<Auditor, Error> {
        if database.dialect() != sql::Dialect::Sqlite {
            return Err(Error::Dialect);
        }
        database.migrate(&MIGRATIONS).await?;
        let mut tx = database.begin(Mode::Write).await?;
        store::begin_stream(&mut tx, env).await?;
        let mut stream = fenced(&mut tx, fence).await?;
        if stream.env != env {
            return Err(Error::OtherEnvironment { found: stream.env, wanted: env.to_owned() });
        }
        for side in Side::BOTH {
            if side.position(&mut stream).is_none() {
                let first = queue.first(&side.topic(env)).await?;
                if first.offset > 1 {
                    let reason = format!("the log starts at offset {}", first.offset);
                    jump(&mut tx, &mut stream, side, first, &reason).await?;
                }
                *side.position(&mut stream) = Some(first);
            }
        }
        store::save_stream(&mut tx, &stream).await?;
        tx.commit().await?;
        stats.stands(&stream);
        Ok(Auditor { config, database, queue, fence, env: env.to_owned(), stream, stats, waited: 0 })
    }

    /// Records until it is asked to stop. A batch once begun is finished.
    ///
    /// # Errors
    /// See [`Error`]; nothing that was recorded is lost by any of them.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Stopped, Error> {
        let mut trims = tokio::time::interval(self.config.trim_every);
        trims.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Stopped::Asked),
                _ = trims.tick() => {
                    if self.trim().await? >= self.config.trim_records {
                        trims.reset_after(TRIM_ON);
                    }
                }
                ready = self.ready() => {
                    ready?;
                    self.round().await?;
                }
            }
        }
    }

    /// Records everything that is on the queue now, and tells the queue. Returns how many records that were.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn catch_up(&mut self) -> Result<u64, Error> {
        let mut all = 0;
        loop {
            match self.round().await? {
                0 => return Ok(all),
                some => all += some,
            }
        }
    }

    /// Waits until either topic has something to say. Cancel-safe.
    async fn ready(&self) -> Result<(), Error> {
        tokio::select! {
            ready = self.waits(Side::Changes, self.stream.changes) => ready,
            ready = self.waits(Side::Outcomes, self.stream.outcomes) => ready,
        }
    }

    async fn waits(&self, side: Side, from: Option<Position>) -> Result<(), Error> {
        let Some(from) = from else { return Ok(()) };
        match self.queue.next_batch(&side.topic(&self.env), &from, 1, 1).await {
            Ok(_) | Err(queue::ReadError::Lost { .. }) => Ok(()),
            Err(queue::ReadError::Store(source)) => Err(source.into()),
        }
    }

    /// One batch of each topic; how many records that were.
    async fn round(&mut self) -> Result<u64, Error> {
        let round = self.read().await?;
        let read = self.record(round).await?;
        if read > 0 {
            self.acknowledge().await?;
        }
        Ok(read)
    }

    /// Reads the outcomes first: the changes that they belong to are then among those read after them, unless
    /// there are more than fit in a batch. Then the outcomes wait, bounded, so that an outcome finds its change
    /// on record.
    async fn read(&mut self) -> Result<Round, Error> {
        let mut outcomes = self.read_side(Side::Outcomes, self.stream.outcomes).await?;
        let changes = self.read_side(Side::Changes, self.stream.changes).await?;
        let has_more = match (&changes, &outcomes) {
            (Read::Batch(changes), Read::Batch(_)) => {
                self.queue.end(&Topic::Changes.name(&self.env)).await?.offset > changes.next.offset
            }
            _ => false,
        };
        if has_more && self.waited < self.config.outcomes_wait_max {
            self.waited += 1;
            outcomes = Read::Nothing;
        } else {
            self.waited = 0;
        }
        Ok(Round { changes, outcomes })
    }

    async fn read_side(&self, side: Side, from: Option<Position>) -> Result<Read, Error> {
        let Some(from) = from else { return Ok(Read::Nothing) };
        let (records, bytes) = (self.config.batch_records, self.config.batch_bytes);
        match self.queue.read(&side.topic(&self.env), &from, records, bytes).await {
            Ok(batch) if batch.entries.is_empty() => Ok(Read::Nothing),
            Ok(batch) => Ok(Read::Batch(batch)),
            Err(queue::ReadError::Lost { reason, .. }) => Ok(Read::Lost(reason)),
            Err(queue::ReadError::Store(source)) => Err(source.into()),
        }
    }

    /// Records one batch of each topic in one transaction, changes first.
    async fn record(&mut self, round: Round) -> Result<u64, Error> {
        let changes = self.decode_changes(&round.changes)?;
        let outcomes = self.decode_outcomes(&round.outcomes)?;
        let lost = matches!(round.changes, Read::Lost(_)) || matches!(round.outcomes, Read::Lost(_));
        if changes.is_empty() && outcomes.is_empty() && !lost {
            return Ok(0);
        }
        let mut tx = self.database.begin(Mode::Write).await?;
        let mut stream = fenced(&mut tx, self.fence).await?;
        if (stream.changes, stream.outcomes) != (self.stream.changes, self.stream.outcomes) {
            return Err(Error::Moved);
        }
        let mut counts = self.move_on(&mut tx, &mut stream, &round).await?;
        counts.add(record_changes(&mut tx, &mut stream, &changes).await?);
        counts.add(record_outcomes(&mut tx, &mut stream, &outcomes).await?);
        store::save_stream(&mut tx, &stream).await?;
        self.fail(FailPoint::BeforeCommit);
        tx.commit().await?;
        self.fail(FailPoint::AfterCommit);
        self.stats.committed(counts, &stream);
        self.stream = stream;
        Ok((changes.len() + outcomes.len()) as u64 + u64::from(lost))
    }

    /// Sets the positions behind the batches, or, where the log does not continue one, to its start.
    async fn move_on(
        &self,
        tx: &mut Transaction,
        stream: &mut Stream,
        round: &Round,
    ) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        for (side, read) in [(Side::Changes, &round.changes), (Side::Outcomes, &round.outcomes)] {
            match read {
                Read::Nothing => {}
                Read::Batch(batch) => *side.position(stream) = Some(batch.next),
                Read::Lost(reason) => {
                    let first = self.queue.first(&side.topic(&self.env)).await?;
                    jump(tx, stream, side, first, &reason.to_string()).await?;
                    counts.events += 1;
                }
            }
        }
        Ok(counts)
    }

    fn decode_changes(&self, read: &Read) -> Result<Vec<Entry<(Fence, Record)>>, Error> {
        self.decode(Side::Changes, read, |entry| {
            let record = wire::decode(&entry.headers, &entry.body)?;
            Ok(entry.fence.map(|queue::Fence(generation, czxid)| (Fence { generation, czxid }, record)))
        })
    }

    fn decode_outcomes(&self, read: &Read) -> Result<Vec<Entry<Outcome>>, Error> {
        self.decode(Side::Outcomes, read, |entry| wire::decode_outcome(&entry.headers, &entry.body).map(Some))
    }

    /// Bytes that will never be a record are noted and passed over; a record of a version to come is waited for.
    /// What serde says of bad bytes is not kept: it quotes values.
    fn decode<T>(
        &self,
        side: Side,
        read: &Read,
        one: impl Fn(&queue::Entry) -> Result<Option<T>, wire::DecodeError>,
    ) -> Result<Vec<Entry<T>>, Error> {
        let Read::Batch(batch) = read else { return Ok(Vec::new()) };
        let mut entries = Vec::with_capacity(batch.entries.len());
        for entry in &batch.entries {
            let unreadable =
                |part: &str| Err(Unreadable { sha256: sha256_hex(&entry.body), part: part.to_owned() });
            let content = match one(entry) {
                Ok(Some(content)) => Ok(content),
                Ok(None) => unreadable("fence"),
                Err(wire::DecodeError::Json { part, .. }) => unreadable(part),
                Err(wire::DecodeError::Base64 { .. }) => unreadable("bytes"),
                Err(source @ wire::DecodeError::Type(_)) => {
                    return Err(Error::Unknown {
                        topic: side.topic(&self.env),
                        offset: entry.offset,
                        source,
                    });
                }
            };
            entries.push(Entry { at: At { log: batch.next.log, offset: entry.offset }, content });
        }
        Ok(entries)
    }

    /// Tells the queue how far it is: a hint for lag and for trimming.
    async fn acknowledge(&self) -> Result<(), Error> {
        self.fail(FailPoint::BeforeAck);
        for (side, position) in [(Side::Changes, self.stream.changes), (Side::Outcomes, self.stream.outcomes)]
        {
            if let Some(position) = position {
                self.queue.commit(GROUP, &side.topic(&self.env), &position).await?;
            }
        }
        self.fail(FailPoint::AfterAck);
        Ok(())
    }

    /// Returns how many records went.
    async fn trim(&self) -> Result<usize, Error> {
        let (changes, outcomes) = (self.stream.changes.as_ref(), self.stream.outcomes.as_ref());
        let trimmed = trim::trim(&self.queue, &self.env, &self.config, changes, outcomes).await?;
        self.stats.trimmed(trimmed);
        Ok(trimmed)
    }

    fn fail(&self, here: FailPoint) {
        let Some((point, likely)) = self.config.fail_point else { return };
        let thrown = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
        if point == here && thrown < likely {
            std::process::abort();
        }
    }
}

/// Raises the fence and reads the stream's row as it stands under it.
async fn fenced(tx: &mut Transaction, fence: Fence) -> Result<Stream, Error> {
    if !store::raise_fence(tx, fence).await? {
        return Err(Error::Fenced { fence });
    }
    store::stream(tx).await?.ok_or(Error::Moved)
}

/// Goes on at `first` and puts on record that something may be missing before it.
async fn jump(
    tx: &mut Transaction,
    stream: &mut Stream,
    side: Side,
    first: Position,
    reason: &str,
) -> Result<(), Error> {
    let name = match side {
        Side::Changes => "changes",
        Side::Outcomes => "outcomes",
    };
    let from = side.position(stream).replace(first).map(|position| position.to_string());
    let detail = json!({"topic": name, "reason": reason, "from": from, "to": first.to_string()});
    let row = event(EventKind::Gap, stream.effective, &detail, None, None);
    store::append(tx, &mut stream.head, &[row]).await?;
    if side == Side::Changes {
        stream.resync = None;
        stream.resync_needed = Some(reason.to_owned());
    }
    Ok(())
}

async fn record_changes(
    tx: &mut Transaction,
    stream: &mut Stream,
    entries: &[Entry<(Fence, Record)>],
) -> Result<Counts, Error> {
    let mut facts = store::change_facts(tx, &changes::ask(entries)).await?;
    let before = facts.tree.clone();
    let mut fold = changes::Fold::new(stream, &mut facts);
    entries.iter().for_each(|entry| fold.entry(entry));
    let (rows, counts) = (fold.rows, fold.counts);
    store::append(tx, &mut stream.head, &rows).await?;
    store::save_tree(tx, &before, &facts.tree).await?;
    Ok(counts)
}

async fn record_outcomes(
    tx: &mut Transaction,
    stream: &mut Stream,
    entries: &[Entry<Outcome>],
) -> Result<Counts, Error> {
    let wanted: Vec<_> = entries.iter().filter_map(|entry| entry.content.as_ref().ok()).collect();
    let mut facts = store::outcome_facts(tx, &wanted).await?;
    let before = facts.applied.clone();
    let mut fold = outcomes::Fold::new(stream.effective, &mut facts);
    entries.iter().for_each(|entry| fold.entry(entry));
    let (rows, counts) = (fold.rows, fold.counts);
    store::append(tx, &mut stream.head, &rows).await?;
    store::save_applied(tx, &before, &facts.applied).await?;
    Ok(counts)
}
