//! The watcher's side of ZooKeeper: events and replies as the feed's inputs, and the reads of a rebuild.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;

use change::{Lifetime, Millis, Node, ZnodePath, Zxid};
use futures_util::future::FutureExt as _;
use uuid::Uuid;
use zookeeper_client::{
    AddWatchMode, Client, CreateMode, Error as ZkError, EventType, PersistentWatcher, SessionState, Stat,
    WatchedEvent,
};

use crate::feed::{CANARY, Connection, Input, Kind};
use crate::reconcile::Live;
use crate::seen::{Reply, Seen, SeenEdit};
use crate::stream::{Answer, Read};

/// The watched roots, without a leading slash.
pub(crate) const ROOTS: [&str; 4] = ["assets", "settings", "endpoints", "control/approvals"];

/// What is taken in at once before it is worked on.
const TAKE: usize = 512;

/// Something failed that says nothing about what stands in ZooKeeper: nearly always the connection.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub(crate) struct Trouble {
    /// What was being done.
    pub(crate) doing: &'static str,
    #[source]
    pub(crate) source: Box<dyn std::error::Error + Send + Sync>,
}

impl Trouble {
    pub(crate) fn new(
        doing: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Trouble {
        Trouble { doing, source: source.into() }
    }
}

impl Trouble {
    /// Whether the server has answered, so that no reconnect will mend it.
    pub(crate) fn is_answer(&self) -> bool {
        if let Some(error) = self.source.downcast_ref::<zk::ReadError>() {
            return error.advice() == zk::Advice::Stop;
        }
        self.source.is::<TooMany>()
            || matches!(
                self.source.downcast_ref(),
                Some(ZkError::BadVersion | ZkError::NodeExists | ZkError::NoAuth | ZkError::NoNode)
            )
    }

    /// The same as a text, with its cause.
    pub(crate) fn text(&self) -> String {
        format!("{self}: {}", self.source)
    }
}

/// More events came while the tree was read than may wait.
#[derive(Debug, thiserror::Error)]
#[error("more than {most} events came meanwhile; raise `watcher.events_max` if the ensemble is that busy")]
struct TooMany {
    most: usize,
}

/// Where the watcher's election has its lock znodes.
const ELECTION: &str = "/workers/watcher";

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One session and what is outstanding on it.
///
/// The session has no one-shot watches: on ZooKeeper 3.8 one at the same path would end the recursive one
/// (ZOOKEEPER-4466).
pub(crate) struct Ensemble {
    session: zk::Session,
    watcher: Option<PersistentWatcher>,
    reads: VecDeque<Pending<Answer>>,
    beat: Option<(Uuid, Pending<Result<Stat, ZkError>>)>,
    /// Inputs that came during a rebuild, for the stream after it.
    held: Vec<Input>,
    /// The version that the canary stands at.
    canary_version: i32,
    /// Edit records that are on record, or were none.
    edits: BTreeSet<String>,
    /// The same, once the rebuild that has read them is done.
    edits_next: BTreeSet<String>,
    pruner: zk::Pruner,
    /// Requests for a resync that were served and could not be removed.
    served: BTreeSet<String>,
}

/// What happened next.
pub(crate) enum Told {
    /// Inputs of the feed, in order.
    Inputs(Vec<Input>),
    /// The canary's write came back.
    Beaten(Uuid, Result<Zxid, ZkError>),
}

impl Ensemble {
    pub(crate) fn new(session: zk::Session) -> Ensemble {
        Ensemble {
            session,
            watcher: None,
            reads: VecDeque::new(),
            beat: None,
            held: Vec::new(),
            canary_version: -1,
            edits: BTreeSet::new(),
            edits_next: BTreeSet::new(),
            pruner: zk::Pruner::default(),
            served: BTreeSet::new(),
        }
    }

    pub(crate) fn session(&self) -> &zk::Session {
        &self.session
    }

    fn client(&self) -> &Client {
        self.session.client()
    }

    /// Sets the recursive watch anew and forgets every outstanding read.
    ///
    /// zookeeper-client 0.11.2 does not set recursive watches again after a reconnect, and no server sends what
    /// happened in between (ZOOKEEPER-4698). The old watcher goes only when the new one stands, so that the session's
    /// own events are never missed.
    pub(crate) async fn watch(&mut self) -> Result<(), Trouble> {
        self.reads.clear();
        self.beat = None;
        let watcher = self.client().watch("/", AddWatchMode::PersistentRecursive).await;
        let watcher = watcher.map_err(|source| Trouble::new("set the recursive watch", source))?;
        self.watcher = Some(watcher);
        self.held.clear();
        Ok(())
    }

    /// Whether there is a watch that the session's own events come by: before the first one stands, nobody would tell that
    /// the connection is back.
    pub(crate) fn hears(&self) -> bool {
        self.watcher.is_some()
    }

    /// Gives up the recursive watch and every outstanding read. The session's own events still come: the canary has a
    /// watch of its own until the next [`Ensemble::watch`].
    pub(crate) async fn rest(&mut self) -> Result<(), Trouble> {
        self.reads.clear();
        self.beat = None;
        self.held.clear();
        let watcher = self.client().watch(CANARY, AddWatchMode::Persistent).await;
        self.watcher = watcher.map(Some).map_err(|source| Trouble::new("watch the canary alone", source))?;
        Ok(())
    }

    /// Makes the canary that was just written the beginning of the stream: events before it are dropped, events after
    /// it are held. Its own event comes before its confirmation.
    pub(crate) fn begin_at_canary(&mut self) -> Result<(), Trouble> {
        self.hold();
        let is_canary = |input: &Input| matches!(input, Input::Event { path, .. } if path == CANARY);
        let is_lost = |input: &Input| matches!(input, Input::Connection(_));
        let Some(at) = self.held.iter().rposition(is_canary) else {
            return Err(Trouble::new(
                "see the canary's event",
                "the server confirmed the write and sent none",
            ));
        };
        let later = self.held.split_off(at + 1);
        self.held.retain(is_lost);
        self.held.extend(later);
        Ok(())
    }

    /// The paths of whose delete the stream has an event by now.
    pub(crate) fn deleted_later(&mut self) -> BTreeSet<ZnodePath> {
        self.hold();
        let mut deleted = BTreeSet::new();
        for input in &self.held {
            if let Input::Event { path, kind: Kind::Deleted, .. } = input {
                deleted.extend(path.strip_prefix('/').and_then(|path| path.parse::<ZnodePath>().ok()));
            }
        }
        deleted
    }

    fn hold(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        self.take_events(usize::MAX, &mut held);
        self.held = held;
    }

    /// Holds what comes, until it is more than may wait. Cancel-safe.
    async fn hoard(watcher: &mut Option<PersistentWatcher>, held: &mut Vec<Input>, most: usize) -> TooMany {
        while held.len() <= most {
            let event = event(watcher).await;
            held.extend(input(watcher, event));
        }
        TooMany { most }
    }

    /// Waits for what comes next, and takes all that is there already. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Told {
        if !self.held.is_empty() {
            return Told::Inputs(std::mem::take(&mut self.held));
        }
        let first = {
            let Ensemble { watcher, reads, beat, .. } = self;
            tokio::select! {
                biased;
                event = event(watcher) => First::Event(event),
                answer = head(reads) => First::Answer(answer),
                stat = confirmed(beat) => First::Beat(stat),
            }
        };
        let mut inputs = Vec::new();
        match first {
            First::Event(event) => inputs.extend(input(&mut self.watcher, event)),
            First::Answer(answer) => self.take_answer(answer, &mut inputs),
            First::Beat(stat) => {
                let nonce = self.beat.take().map(|(nonce, _)| nonce).unwrap_or_default();
                if let Ok(stat) = &stat {
                    self.canary_version = stat.version;
                }
                return Told::Beaten(nonce, stat.map(|stat| Zxid(stat.mzxid)));
            }
        }
        self.take_events(TAKE, &mut inputs);
        while inputs.len() < TAKE
            && let Some(answer) = head(&mut self.reads).now_or_never()
        {
            self.take_answer(answer, &mut inputs);
        }
        Told::Inputs(inputs)
    }

    /// Every event that the server sent before this reply is here: it goes first.
    fn take_answer(&mut self, answer: Answer, inputs: &mut Vec<Input>) {
        self.reads.pop_front();
        self.take_events(usize::MAX, inputs);
        inputs.push(Input::Answer(answer));
    }

    fn take_events(&mut self, most: usize, inputs: &mut Vec<Input>) {
        while inputs.len() < most
            && let Some(event) = event(&mut self.watcher).now_or_never()
        {
            inputs.extend(input(&mut self.watcher, event));
        }
    }

    /// Sends a read. Requests leave when they are called for, so the order of the calls is the order of the replies.
    pub(crate) fn send(&mut self, read: &Read) {
        let node = self.client().get_data(&read.path);
        let parent = read.parent.as_ref().map(|parent| self.client().check_stat(parent));
        self.reads.push_back(Box::pin(async move {
            let reply = reply(node.await);
            let parent = match parent {
                Some(parent) => parent.await.ok().flatten(),
                None => None,
            };
            Answer { reply, upper: parent.map(|stat| Zxid(stat.pzxid)) }
        }));
    }

    /// Sends the canary's next nonce.
    pub(crate) fn beat(&mut self, nonce: Uuid) {
        let text = nonce.to_string();
        let stat = self.client().set_data(CANARY, text.as_bytes(), Some(self.canary_version));
        self.beat = Some((nonce, Box::pin(stat)));
    }

    /// Lets the server that we are connected to catch up with the leader.
    pub(crate) async fn sync(&mut self) -> Result<(), Trouble> {
        self.client().sync("/").await.map_err(|source| Trouble::new("sync", source))
    }

    /// Whether the lock znode that this transaction made still stands: then nobody was elected after it.
    pub(crate) async fn holds_lock(&mut self, czxid: i64) -> Result<bool, Trouble> {
        let failed = |source| Trouble::new("look for the own lock znode", source);
        self.sync().await?;
        for name in self.client().list_children(ELECTION).await.map_err(failed)? {
            let stat = self.client().check_stat(&format!("{ELECTION}/{name}")).await.map_err(failed)?;
            if stat.is_some_and(|stat| stat.czxid == czxid && stat.ephemeral_owner != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the canary; `None` if none stands.
    pub(crate) async fn canary(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        match self.client().get_data(CANARY).await {
            Ok((bytes, stat)) => {
                self.canary_version = stat.version;
                Ok(Some(bytes))
            }
            Err(ZkError::NoNode) => {
                self.canary_version = -1;
                Ok(None)
            }
            Err(source) => Err(Trouble::new("read the canary", source)),
        }
    }

    /// Writes the canary and waits for it; [`Ensemble::canary`] comes before.
    pub(crate) async fn write_canary(&mut self, nonce: Uuid) -> Result<Zxid, Trouble> {
        let failed = |source| Trouble::new("write the canary", source);
        let text = nonce.to_string();
        let stat = if self.canary_version >= 0 {
            let set = self.client().set_data(CANARY, text.as_bytes(), Some(self.canary_version));
            set.await.map_err(failed)?
        } else {
            let options = CreateMode::Persistent.with_acls(self.session.acls());
            let parent = CANARY.rsplit_once('/').map_or("/", |(parent, _)| parent);
            self.client().mkdir(parent, &options).await.map_err(failed)?;
            self.client().create(CANARY, text.as_bytes(), &options).await.map_err(failed)?.0
        };
        self.canary_version = stat.version;
        Ok(Zxid(stat.mzxid))
    }

    /// The names below `control/resync` that were not served.
    pub(crate) async fn resync_requests(&mut self) -> Result<Vec<String>, Trouble> {
        match self.client().list_children("/control/resync").await {
            Ok(names) => Ok(names.into_iter().filter(|name| !self.served.contains(name)).collect()),
            Err(ZkError::NoNode) => Ok(Vec::new()),
            Err(source) => Err(Trouble::new("list the requests for a resync", source)),
        }
    }

    /// Removes the requests that were served. One that stays behind is not served again, and is removed the next time.
    pub(crate) async fn remove_served(&mut self, served: Vec<String>) -> Result<(), Trouble> {
        self.served.extend(served);
        for name in self.served.clone() {
            match self.client().delete(&format!("/control/resync/{name}"), None).await {
                Ok(()) | Err(ZkError::NoNode) => {
                    self.served.remove(&name);
                }
                Err(source) => {
                    return Err(Trouble::new("remove a request for a resync that was served", source));
                }
            }
        }
        Ok(())
    }

    /// Reads every live path. A watched root that is missing counts as unreadable: that it is gone says that something
    /// is wrong with the ensemble, not that everything was deleted.
    /// Meanwhile no more than `most` events are held.
    pub(crate) async fn snapshot(&mut self, most: usize) -> Result<Live, Trouble> {
        let snapshot = tokio::select! {
            biased;
            snapshot = self.session.read_tree(&ROOTS) => snapshot,
            many = Self::hoard(&mut self.watcher, &mut self.held, most) => {
                return Err(Trouble::new("read the tree", many));
            }
        };
        let snapshot = snapshot.map_err(|source| Trouble::new("read the tree", source))?;
        let mut live = Live {
            nodes: snapshot.nodes.into_iter().map(convert).collect(),
            unreadable: snapshot.unreadable,
        };
        for root in ROOTS {
            let stat = self.client().check_stat(&format!("/{root}")).await;
            if stat.map_err(|source| Trouble::new("look for a watched root", source))?.is_none() {
                live.unreadable.extend(root.parse());
            }
        }
        Ok(live)
    }

    /// Of these paths, those at which nothing stands.
    pub(crate) async fn absent(&mut self, paths: &[ZnodePath]) -> Result<BTreeSet<ZnodePath>, Trouble> {
        let mut absent = BTreeSet::new();
        let client = self.client();
        for chunk in paths.chunks(TAKE) {
            let ask = |path: &ZnodePath| client.check_stat(&format!("/{}", path.as_str()));
            let asked: Vec<_> = chunk.iter().map(|path| (path, ask(path))).collect();
            for (path, stat) in asked {
                match stat.await {
                    Ok(None) => drop(absent.insert(path.clone())),
                    Ok(Some(_)) | Err(ZkError::NoAuth) => {}
                    Err(source) => return Err(Trouble::new("confirm a delete", source)),
                }
            }
        }
        Ok(absent)
    }

    /// Reads the edit records that were not read before, newer than `after` and not newer than `until`, ascending.
    pub(crate) async fn new_edits(
        &mut self,
        after: Option<Zxid>,
        until: Zxid,
    ) -> Result<Vec<SeenEdit>, Trouble> {
        let names = match self.client().list_children("/edits").await {
            Ok(names) => BTreeSet::from_iter(names),
            Err(ZkError::NoNode) => BTreeSet::new(),
            Err(source) => return Err(Trouble::new("list the edits", source)),
        };
        let new: Vec<&String> = names.difference(&self.edits).collect();
        let mut edits: Vec<SeenEdit> = Vec::new();
        let client = self.client();
        for chunk in new.chunks(TAKE) {
            let ask = |name: &&String| client.get_data(&format!("/edits/{name}"));
            let asked: Vec<_> = chunk.iter().map(|name| (*name, ask(name))).collect();
            for (name, node) in asked {
                match reply(node.await) {
                    Reply::Found(seen) => edits.extend(SeenEdit::parse(name, &seen)),
                    Reply::Gone | Reply::Forbidden => {}
                    Reply::Lost => return Err(Trouble::new("read the edits", "the connection broke")),
                }
            }
        }
        self.edits_next = names;
        for later in edits.extract_if(.., |edit| edit.zxid > until) {
            self.edits_next.remove(&later.edit.id);
        }
        edits.retain(|edit| Some(edit.zxid) > after);
        edits.sort_by_key(|edit| edit.zxid);
        Ok(edits)
    }

    /// Removes the oldest edit records that are on record, up to `recorded`, beyond the newest `keep`.
    pub(crate) async fn prune(&mut self, keep: usize, recorded: Zxid) -> Result<usize, zk::PruneError> {
        self.pruner.prune(&self.session, keep, recorded).await
    }

    /// What [`Ensemble::new_edits`] has read is on record.
    pub(crate) fn edits_recorded(&mut self) {
        self.edits = std::mem::take(&mut self.edits_next);
    }
}

enum First {
    Event(WatchedEvent),
    Answer(Answer),
    Beat(Result<Stat, ZkError>),
}

fn input(watcher: &mut Option<PersistentWatcher>, event: WatchedEvent) -> Option<Input> {
    let kind = match event.event_type {
        EventType::Session => {
            return Some(Input::Connection(match event.session_state {
                SessionState::Disconnected => Connection::Lost,
                SessionState::SyncConnected | SessionState::ConnectedReadOnly => Connection::Back,
                SessionState::AuthFailed | SessionState::Expired | SessionState::Closed => {
                    // Nothing may be asked of it any more.
                    *watcher = None;
                    Connection::Over
                }
            }));
        }
        EventType::NodeCreated => Kind::Created,
        EventType::NodeDataChanged => Kind::Set,
        EventType::NodeDeleted => Kind::Deleted,
        EventType::NodeChildrenChanged => return None,
    };
    let zxid = (event.zxid > 0).then_some(Zxid(event.zxid));
    Some(Input::Event { path: event.path, kind, zxid })
}

async fn event(watcher: &mut Option<PersistentWatcher>) -> WatchedEvent {
    match watcher {
        Some(watcher) => watcher.changed().await,
        None => std::future::pending().await,
    }
}

async fn head(reads: &mut VecDeque<Pending<Answer>>) -> Answer {
    match reads.front_mut() {
        Some(read) => read.await,
        None => std::future::pending().await,
    }
}

async fn confirmed(beat: &mut Option<(Uuid, Pending<Result<Stat, ZkError>>)>) -> Result<Stat, ZkError> {
    match beat {
        Some((_, stat)) => stat.await,
        None => std::future::pending().await,
    }
}

fn reply(node: Result<(Vec<u8>, Stat), ZkError>) -> Reply {
    match node {
        Ok((bytes, stat)) => Reply::Found(Seen {
            node: Node { czxid: stat.czxid, mzxid: Zxid(stat.mzxid), version: stat.version },
            at: Millis(stat.mtime),
            lifetime: Lifetime::of_owner(stat.ephemeral_owner),
            bytes,
        }),
        Err(ZkError::NoNode) => Reply::Gone,
        Err(ZkError::NoAuth) => Reply::Forbidden,
        Err(_) => Reply::Lost,
    }
}

fn convert((path, found): (ZnodePath, zk::Found)) -> (ZnodePath, Seen) {
    let node = Node { czxid: found.czxid, mzxid: found.mzxid, version: found.version };
    (path, Seen { node, at: found.mtime, lifetime: found.lifetime, bytes: found.bytes })
}
