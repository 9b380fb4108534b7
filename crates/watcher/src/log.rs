//! The watcher's side of the queue: the term's beginning, appends under the fence, the checkpoint.

use std::sync::Arc;
use std::time::Instant;

use change::{Fence, Generation, Millis, Record, Term, Topic, wire};
use queue::{AppendError, Appended, NewEntry, Position, Queue, ReadError, StoreError};
use tokio_util::sync::CancellationToken;

use crate::canary::Canary;
use crate::fail::{Fail, FailPoint};
use crate::known::{CHECKPOINT, Known, json};
use crate::run::{Config, Error, Halt};
use crate::stats::{Phase, State, Stats, add};

const CANARY: &str = "canary";
const STATE: &str = "state";
const FROZEN: &str = "frozen";

/// Records and bytes read from the log at once.
const READ: (usize, u64) = (1_000, 16 << 20);

/// The topics `changes` and `tree`, under one fence.
pub(crate) struct Log {
    queue: Queue,
    changes: String,
    tree: String,
    env: String,
    fence: Fence,
    config: Config,
    stats: Arc<Stats>,
    /// The known tree.
    pub(crate) known: Known,
    /// The canary as saved.
    pub(crate) canary: Canary,
    /// Edits appended since somebody last looked.
    pub(crate) edits: u64,
    /// When the last checkpoint was saved.
    saved_at: Instant,
}

/// What a term begins with.
pub(crate) struct Begin {
    pub(crate) queue: Queue,
    pub(crate) env: String,
    pub(crate) fence: Fence,
    pub(crate) generation: Generation,
    pub(crate) config: Config,
    pub(crate) stats: Arc<Stats>,
}

/// What came of a transaction.
enum Sent {
    /// All that was in it was appended.
    All(Appended),
    /// Nothing was.
    Full(Full),
}

/// The queue is full.
#[derive(Debug)]
pub(crate) struct Full {
    /// Records and bytes that it holds.
    held: (u64, u64),
    /// Records and bytes that were to be appended.
    wanted: (u64, u64),
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Full { held: (records, bytes), .. } = self;
        write!(
            f,
            "the queue is full ({records} records, {bytes} bytes): nothing is taken in until the auditor has recorded \
             and trimmed them"
        )
    }
}

impl Log {
    /// Begins a term: appends its [`Term`] record, so that no record of an earlier watcher counts behind it, and
    /// only then reads the checkpoint and folds the log up to there.
    pub(crate) async fn begin(begin: Begin, now: Millis, stop: &CancellationToken) -> Result<Log, Halt> {
        let Begin { queue, env, fence, generation, config, stats } = begin;
        let (changes, tree) = (Topic::Changes.name(&env), Topic::Tree.name(&env));
        let before = latest(&queue, &tree).await?;
        if let Some(known) = Known::load(&before).and_then(|known| known.generation)
            && known.id != generation.id
            && known.n >= generation.n
            && !config.takes_no_node_for_a_delete()
        {
            return Err(Halt::Freeze(format!(
                "the ensemble's generation is {generation}, the one on record is {known}"
            )));
        }
        let known = Known::nothing(Position::start(uuid::Uuid::nil()), Known::stale(&[]));
        let saved_at = Instant::now();
        let canary = Canary::default();
        let mut log =
            Log { queue, changes, tree, env, fence, config, stats, known, canary, edits: 0, saved_at };
        let term = [Record::Term(Term { generation, seen: now })];
        let end = loop {
            match log.send(&term).await? {
                Sent::All(appended) => break appended.end,
                Sent::Full(full) => log.make_room(&full, now, stop).await?,
            }
        };
        log.phase(Phase::Starting, "reading the log", now).await?;
        log.load(&end).await?;
        Ok(log)
    }

    /// Saves what the log says, so that it may be trimmed: whoever filled it may have died before it did. Then waits.
    async fn make_room(&mut self, full: &Full, now: Millis, stop: &CancellationToken) -> Result<(), Halt> {
        self.phase(Phase::Full, &full.to_string(), now).await?;
        let end = self.queue.end(&self.changes).await;
        self.load(&end.map_err(|source| Error::Store { doing: "look for the log's end", source })?).await?;
        self.save_for_room().await?;
        self.room(full, stop).await
    }

    async fn load(&mut self, end: &Position) -> Result<(), Halt> {
        let rows = latest(&self.queue, &self.tree).await?;
        if let Some((_, bytes)) = rows.iter().find(|(key, _)| key == CANARY) {
            let canary: Canary =
                serde_json::from_slice(bytes).map_err(|source| Error::Saved { key: CANARY, source })?;
            self.canary = canary;
        }
        self.canary = std::mem::take(&mut self.canary).within(self.fence.generation);
        let stale = Known::stale(&rows);
        if let Some(known) = Known::load(&rows) {
            self.known = known;
            if self.fold_to(end).await? {
                return Ok(());
            }
        }
        let first = self.queue.first(&self.changes).await;
        let first = first.map_err(|source| Error::Store { doing: "look for the log's beginning", source })?;
        self.known = Known::nothing(first, stale);
        if self.fold_to(end).await? { Ok(()) } else { Err(Error::LogChanged.into()) }
    }

    /// Folds the log up to `end`; false if it does not continue the position that we have.
    async fn fold_to(&mut self, end: &Position) -> Result<bool, Halt> {
        while self.known.position.offset < end.offset {
            let batch = match self.queue.read(&self.changes, &self.known.position, READ.0, READ.1).await {
                Ok(batch) => batch,
                Err(ReadError::Lost { reason, .. }) => {
                    tracing::warn!(%reason, "the checkpoint's place in the log is lost; a resync follows");
                    return Ok(false);
                }
                Err(ReadError::Store(source)) => {
                    return Err(Error::Store { doing: "read the log", source }.into());
                }
            };
            if batch.entries.is_empty() {
                return Ok(false);
            }
            for entry in &batch.entries {
                let record = wire::decode(&entry.headers, &entry.body)
                    .map_err(|source| Error::Decode { offset: entry.offset, source })?;
                let fence = entry.fence.map(|fence| Fence { generation: fence.0, czxid: fence.1 });
                self.known.fold(fence, &record, batch.next);
            }
        }
        Ok(self.known.position == *end)
    }

    /// The state that the last watcher left, if it froze for good in this generation.
    pub(crate) async fn frozen(&self, generation: Generation) -> Result<Option<String>, Halt> {
        let bytes = self.queue.latest_one(&self.tree, FROZEN).await;
        let bytes = bytes.map_err(|source| Error::Store { doing: "read the last state", source })?;
        let state: Option<State> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(state.filter(|state| state.generation == generation.n).map(|state| state.reason))
    }

    /// Appends records, in as many transactions as the bounds ask for, and folds each into the known tree. Returns
    /// how many, and if that is not all, why.
    pub(crate) async fn append(&mut self, records: &[Record]) -> Result<(usize, Option<Full>), Error> {
        let mut done = 0;
        while let Some(rest) = records.get(done..).filter(|rest| !rest.is_empty()) {
            Fail::strike(self.config.fail, FailPoint::BeforeAppend);
            let appended = match self.send(rest).await? {
                Sent::All(appended) => appended,
                Sent::Full(full) => return Ok((done, Some(full))),
            };
            Fail::strike(self.config.fail, FailPoint::AfterAppend);
            let Position { log, offset, .. } = self.known.position;
            if appended.first != offset || appended.end.log != log {
                return Err(Error::LogChanged);
            }
            let count = usize::try_from(appended.end.offset - appended.first).unwrap_or_default();
            for record in rest.iter().take(count) {
                self.known.appended(record, appended.end);
                if let Record::Txn(txn) = record {
                    add(&self.stats.changes, txn.changes.len() as u64);
                    self.edits += u64::from(txn.edit.is_some());
                }
            }
            add(&self.stats.appended, count as u64);
            done += count;
        }
        Ok((done, None))
    }

    /// Appends the first of these records, as many as the bounds of one transaction allow.
    async fn send(&self, records: &[Record]) -> Result<Sent, Error> {
        let mut most = self.config.append_records.max(1);
        loop {
            let mut bytes = 0;
            let mut entries = Vec::new();
            for record in records.iter().take(most) {
                let entry = self.entry(record);
                bytes += entry.size();
                if bytes > self.config.append_bytes && !entries.is_empty() {
                    bytes -= entry.size();
                    break;
                }
                entries.push(entry);
            }
            let count = entries.len();
            match self.queue.append(&self.changes, Some(self.queue_fence()), &entries).await {
                Ok(appended) => return Ok(Sent::All(appended)),
                // More than the queue may hold at once is sent by parts.
                Err(AppendError::TooLarge { .. }) if count > 1 => most = count / 2,
                Err(AppendError::Full { records, bytes: held, .. }) => {
                    return Ok(Sent::Full(Full { held: (records, held), wanted: (count as u64, bytes) }));
                }
                Err(source) => return Err(self.append_error(source)),
            }
        }
    }

    /// Waits until the queue has room for what it did not take.
    pub(crate) async fn room(&self, full: &Full, stop: &CancellationToken) -> Result<(), Halt> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Halt::Stop),
            room = self.queue.room(&self.changes, full.wanted.0, full.wanted.1) => {
                Ok(room.map_err(|source| Error::Store { doing: "wait for room in the queue", source })?)
            }
        }
    }

    /// Saves a checkpoint wherever the log is, so that everything before it may be trimmed.
    pub(crate) async fn save_for_room(&mut self) -> Result<(), Error> {
        if self.known.is_behind() { self.save().await } else { Ok(()) }
    }

    /// Saves the checkpoint if it is due.
    pub(crate) async fn save_if_due(&mut self) -> Result<(), Error> {
        let full = self.known.unsaved() >= self.config.checkpoint_records;
        match self.save_at() {
            Some(at) if full || Instant::now() >= at => self.save().await,
            Some(_) | None => Ok(()),
        }
    }

    /// When a checkpoint is due; `None` if it would save nothing.
    pub(crate) fn save_at(&self) -> Option<Instant> {
        (self.known.unsaved() > 0).then(|| self.saved_at + self.config.checkpoint_every)
    }

    /// Saves the checkpoint.
    pub(crate) async fn save(&mut self) -> Result<(), Error> {
        Fail::strike(self.config.fail, FailPoint::BeforeTreeSaved);
        self.put(&self.known.checkpoint()).await?;
        Fail::strike(self.config.fail, FailPoint::AfterTreeSaved);
        self.known.saved();
        self.saved_at = Instant::now();
        Ok(())
    }

    /// Saves the canary.
    pub(crate) async fn save_canary(&mut self, canary: Canary) -> Result<(), Error> {
        self.put(&[(CANARY.to_owned(), Some(json(&canary)))]).await?;
        self.canary = canary;
        Ok(())
    }

    /// Shows what the watcher is at.
    pub(crate) async fn phase(&self, phase: Phase, reason: &str, now: Millis) -> Result<(), Error> {
        let state = self.state(phase, reason, now);
        self.put(&[(STATE.to_owned(), Some(json(&state)))]).await?;
        self.stats.state.send_replace(state);
        Ok(())
    }

    /// Saves that the watcher froze, so that a new term does not thaw by itself.
    pub(crate) async fn save_frozen(&self, reason: &str, now: Millis) -> Result<(), Error> {
        self.put(&[(FROZEN.to_owned(), Some(json(&self.state(Phase::Frozen, reason, now))))]).await
    }

    fn state(&self, state: Phase, reason: &str, since: Millis) -> State {
        State { state, reason: reason.to_owned(), since, generation: self.fence.generation }
    }

    /// Shows that the watcher is frozen, even in a term that could not begin: then only if no later term has begun.
    pub(crate) async fn show_frozen(
        queue: &Queue,
        env: &str,
        fence: Fence,
        reason: &str,
        now: Millis,
    ) -> Result<(), AppendError> {
        let state = State {
            state: Phase::Frozen,
            reason: reason.to_owned(),
            since: now,
            generation: fence.generation,
        };
        let values = [(STATE.to_owned(), Some(json(&state)))];
        let fence = queue::Fence(fence.generation, fence.czxid);
        queue.put_latest(&Topic::Tree.name(env), fence, &values).await
    }

    async fn put(&self, values: &[(String, Option<Vec<u8>>)]) -> Result<(), Error> {
        let put = self.queue.put_latest(&self.tree, self.queue_fence(), values).await;
        put.map_err(|source| self.append_error(source))
    }

    fn queue_fence(&self) -> queue::Fence {
        queue::Fence(self.fence.generation, self.fence.czxid)
    }

    fn entry(&self, record: &Record) -> NewEntry {
        let wire::Encoded { key, headers, body } = wire::encode(&self.env, self.fence, record);
        NewEntry { key, headers, body }
    }

    fn append_error(&self, source: AppendError) -> Error {
        match source {
            AppendError::Fenced { .. } => Error::Fenced { fence: self.fence, source },
            source => Error::Append { source },
        }
    }
}

/// What the watcher of an environment has saved beside the log, for `setkeeper status`, for trimming and for choosing
/// the next generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// What it is at.
    pub state: Option<State>,
    /// Why it froze for good, until a watcher has begun its term in an approved generation.
    pub frozen: Option<State>,
    /// The log before this position is in the checkpoint and may be trimmed.
    pub checkpoint: Option<Position>,
    /// The generation of the known tree.
    pub generation: Option<Generation>,
}

/// Reads what the watcher has saved. What cannot be understood counts as absent.
///
/// # Errors
/// The queue cannot be read.
pub async fn saved(queue: &Queue, env: &str) -> Result<Saved, StoreError> {
    let tree = Topic::Tree.name(env);
    let read = |bytes: Option<Vec<u8>>| -> Option<State> { serde_json::from_slice(&bytes?).ok() };
    let (state, frozen) =
        (read(queue.latest_one(&tree, STATE).await?), read(queue.latest_one(&tree, FROZEN).await?));
    // The verdict stays saved; what was approved since outdates it.
    let holds = |frozen: &State| state.as_ref().is_none_or(|state| state.generation <= frozen.generation);
    let head = queue.latest_one(&tree, CHECKPOINT).await?.map(|head| (CHECKPOINT.to_owned(), head));
    let known = Known::load(head.as_slice());
    Ok(Saved {
        frozen: frozen.filter(holds),
        state,
        checkpoint: known.as_ref().map(|known| known.position),
        generation: known.and_then(|known| known.generation),
    })
}

async fn latest(queue: &Queue, tree: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
    queue.latest(tree).await.map_err(|source| Error::Store { doing: "read the checkpoint", source })
}
