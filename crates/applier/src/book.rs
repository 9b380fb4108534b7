//! The ledger as values: what each path's newest change came to, and an overlay to decide over.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use asset::{Chosen, Kind, Strength};
use change::{ChangeId, Fence, Millis, Place, Waiting, ZnodePath};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where the target stands in the log, and what it needs to remember between transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The target's name, as configured.
    pub name: String,
    /// The target's id: random, made by `init-db`.
    pub id: Uuid,
    /// Where to read next; `None` before the first record.
    pub position: Option<queue::Position>,
    /// Effective time of the last record.
    pub effective: Millis,
    /// The highest watcher fence that was read: records below it are dropped.
    pub watcher: Option<Fence>,
    /// The sequence of the next outcome.
    pub sequence: u64,
    /// The resync that is open.
    pub resync: Option<Uuid>,
}

/// What a document needs from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// Another asset.
    Asset {
        /// Whether it must be there first.
        strength: Strength,
        /// Its kind.
        kind: Kind,
        /// Its uuid.
        uuid: Uuid,
    },
    /// A secret, by its reference.
    Secret(String),
    /// An endpoint, by its name.
    Endpoint(String),
}

/// One path of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What stands in the rows.
    pub applied: Option<Applied>,
    /// The newest change, if it could not be applied.
    pub pending: Option<Pending>,
    /// The newest resync that saw the path.
    pub seen: Option<Uuid>,
    /// The newest delete that was applied.
    pub tombstone: Option<Tombstone>,
}

/// A change whose effect stands in the rows (or, of settings, is stored).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The change. Its path is another one where rows were taken over from another znode.
    pub id: ChangeId,
    /// The asset, unless the path holds a setting, an endpoint or an approval.
    pub asset: Option<(Kind, Uuid)>,
    /// The canonical document, also of an endpoint and an approval; `None` where it was not read from the ledger.
    pub document: Option<Arc<str>>,
    /// Digest of the rows written (of settings: of the bytes).
    pub digest: String,
    /// What the document refers to.
    pub edges: Vec<Edge>,
}

/// A change that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The change.
    pub id: ChangeId,
    /// Its effective time.
    pub at: Millis,
    /// Offset of its record in the log.
    pub offset: i64,
    /// What it wants.
    pub want: Want,
    /// Why it is not applied.
    pub state: State,
}

/// What a pending change wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// The znode holds this document.
    Put {
        /// The asset.
        asset: (Kind, Uuid),
        /// Canonical.
        document: Arc<str>,
        /// What it refers to.
        edges: Vec<Edge>,
    },
    /// The znode holds something that is no document of ours.
    Nonsense,
    /// The znode is gone.
    Delete,
}

/// Why a change is pending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Not tried yet. Never stored.
    New,
    /// Waits.
    Held {
        /// What for.
        waiting: Vec<Waiting>,
    },
    /// Rejected.
    Rejected {
        /// What could make it pass after all.
        until: Until,
        /// What is wrong.
        reason: String,
        /// Where in the document.
        place: Option<String>,
    },
}

/// What a rejected change could still be saved by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// A later change of the path, or another configuration.
    Mended,
    /// The owner of its uuid goes.
    OwnerGoes,
    /// The one that has its name or slug lets go of it.
    NameIsFree,
    /// The database, which has refused it, is altered: it is tried again from time to time.
    DatabaseTakesIt,
}

impl Until {
    /// Whether another change can save it.
    pub(crate) fn may_pass_by_itself(self) -> bool {
        match self {
            Until::OwnerGoes | Until::NameIsFree => true,
            Until::Mended | Until::DatabaseTakesIt => false,
        }
    }
}

/// A delete that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The delete.
    pub id: ChangeId,
    /// Its effective time.
    pub at: Millis,
    /// Offset of its record in the log.
    pub offset: i64,
    /// What was deleted, if rows were.
    pub kind: Option<Kind>,
}

/// Orders the changes of one path: by generation, then by life, then by version; a delete ends its life.
pub(crate) type Stamp = (u64, i64, i64);

pub(crate) fn stamp(id: &ChangeId) -> Stamp {
    (id.generation, id.czxid, id.version.map_or(i64::MAX, i64::from))
}

impl Entry {
    /// The newest change of `path` that the ledger knows of.
    pub(crate) fn newest(&self, path: &ZnodePath) -> Option<&ChangeId> {
        let applied = self.applied.as_ref().map(|applied| &applied.id).filter(|id| id.path == *path);
        let pending = self.pending.as_ref().map(|pending| &pending.id);
        let tombstone = self.tombstone.as_ref().map(|tombstone| &tombstone.id);
        [applied, pending, tombstone].into_iter().flatten().max_by_key(|id| stamp(id))
    }

    /// Whether, as far as the log says, the znode is there.
    pub(crate) fn is_live(&self) -> bool {
        match &self.pending {
            Some(pending) => pending.want != Want::Delete,
            None => self.applied.is_some(),
        }
    }

    /// Whether the znode's delete is on record and not applied yet.
    pub(crate) fn is_going(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.want == Want::Delete)
    }

    pub(crate) fn applied_asset(&self) -> Option<(Kind, Uuid)> {
        self.applied.as_ref()?.asset
    }

    pub(crate) fn wanted_asset(&self) -> Option<(Kind, Uuid)> {
        match self.pending.as_ref()?.want {
            Want::Put { asset, .. } => Some(asset),
            Want::Nonsense | Want::Delete => None,
        }
    }

    fn uuids(&self) -> impl Iterator<Item = Uuid> {
        [self.applied_asset(), self.wanted_asset()].into_iter().flatten().map(|(_, uuid)| uuid)
    }

    fn refers_to(&self) -> impl Iterator<Item = Uuid> {
        let edges = self.applied.iter().flat_map(|applied| &applied.edges);
        edges.filter_map(|edge| match edge {
            Edge::Asset { uuid, .. } => Some(*uuid),
            Edge::Secret(_) | Edge::Endpoint(_) => None,
        })
    }

    /// The endpoints that the applied document names.
    fn connects_to(&self) -> impl Iterator<Item = &String> {
        let edges = self.applied.iter().flat_map(|applied| &applied.edges);
        edges.filter_map(|edge| match edge {
            Edge::Endpoint(name) => Some(name),
            Edge::Asset { .. } | Edge::Secret(_) => None,
        })
    }
}

/// The whole ledger in memory, without the applied documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Where the target stands.
    pub stream: Stream,
    entries: BTreeMap<ZnodePath, Entry>,
    by_uuid: Index,
    referrers: Index,
    followers: Index<String>,
    pending: BTreeSet<ZnodePath>,
}

type Index<K = Uuid> = BTreeMap<K, BTreeSet<ZnodePath>>;

impl Ledger {
    /// A ledger without entries.
    #[must_use]
    pub fn new(stream: Stream) -> Ledger {
        Ledger {
            stream,
            entries: BTreeMap::new(),
            by_uuid: Index::new(),
            referrers: Index::new(),
            followers: Index::new(),
            pending: BTreeSet::new(),
        }
    }

    /// All entries, by path.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<ZnodePath, Entry> {
        &self.entries
    }

    /// The paths whose newest change could not be applied.
    #[must_use]
    pub fn pending(&self) -> &BTreeSet<ZnodePath> {
        &self.pending
    }

    /// The uuids of all assets that came through ZooKeeper and stand in the rows.
    #[must_use]
    pub fn managed(&self) -> BTreeSet<Uuid> {
        self.entries.values().filter_map(Entry::applied_asset).map(|(_, uuid)| uuid).collect()
    }

    pub(crate) fn by_uuid(&self, uuid: Uuid) -> impl Iterator<Item = &ZnodePath> {
        self.by_uuid.get(&uuid).into_iter().flatten()
    }

    /// Applied documents that refer to `uuid`.
    pub(crate) fn referrers(&self, uuid: Uuid) -> impl Iterator<Item = &ZnodePath> {
        self.referrers.get(&uuid).into_iter().flatten()
    }

    /// Applied documents that name that endpoint.
    pub(crate) fn followers(&self, endpoint: &str) -> impl Iterator<Item = &ZnodePath> {
        self.followers.get(endpoint).into_iter().flatten()
    }

    /// What each endpoint that is there has chosen: of one whose newest change was rejected, the last good one.
    pub(crate) fn chosen(&self) -> BTreeMap<String, Chosen> {
        let endpoints = self.entries.iter().filter_map(|(path, entry)| {
            let name = path.as_str().strip_prefix(ENDPOINTS)?;
            let document = entry.applied.as_ref()?.document.as_deref()?;
            Some((name.to_owned(), asset::parse_chosen(name, document.as_bytes()).ok()?))
        });
        endpoints.collect()
    }

    /// Puts an entry in the place of the one at that path, or takes it out.
    pub fn set(&mut self, path: &ZnodePath, entry: Option<Entry>) {
        if let Some(old) = self.entries.remove(path) {
            for uuid in old.uuids() {
                drop_from(&mut self.by_uuid, &uuid, path);
            }
            for uuid in old.refers_to() {
                drop_from(&mut self.referrers, &uuid, path);
            }
            for name in old.connects_to() {
                drop_from(&mut self.followers, name, path);
            }
            self.pending.remove(path);
        }
        let Some(entry) = entry else { return };
        for uuid in entry.uuids() {
            self.by_uuid.entry(uuid).or_default().insert(path.clone());
        }
        for uuid in entry.refers_to() {
            self.referrers.entry(uuid).or_default().insert(path.clone());
        }
        for name in entry.connects_to() {
            self.followers.entry(name.clone()).or_default().insert(path.clone());
        }
        if entry.pending.is_some() {
            self.pending.insert(path.clone());
        }
        self.entries.insert(path.clone(), entry);
    }

    /// Takes in what a transaction has committed.
    pub fn take_in(&mut self, changes: BTreeMap<ZnodePath, Option<Entry>>, stream: Stream) {
        for path in changes.keys() {
            self.set(path, None);
        }
        for (path, entry) in changes {
            self.set(&path, entry);
        }
        self.stream = stream;
    }

    /// Takes out entries that hold nothing but an old delete, and says whether there were any.
    pub(crate) fn forget_tombstones(&mut self, log_starts: i64, before: Millis) -> bool {
        let is_old = |entry: &Entry| {
            let tombstone = entry.tombstone.as_ref();
            entry.applied.is_none()
                && entry.pending.is_none()
                && tombstone.is_some_and(|its| its.offset < log_starts && its.at < before)
        };
        let count = self.entries.len();
        self.entries.retain(|_, entry| !is_old(entry));
        self.entries.len() < count
    }

    /// Takes in an applied document that was read.
    pub(crate) fn remember_document(&mut self, path: &ZnodePath, document: Arc<str>) {
        if let Some(applied) = self.entries.get_mut(path).and_then(|entry| entry.applied.as_mut()) {
            applied.document = Some(document);
        }
    }

    /// Forgets the applied documents, so that what is held in memory does not grow with them.
    pub fn forget_documents<'p>(&mut self, paths: impl IntoIterator<Item = &'p ZnodePath>) {
        for path in paths {
            let applied = self.entries.get_mut(path).and_then(|entry| entry.applied.as_mut());
            if let Some(applied) = applied.filter(|applied| applied.asset.is_some()) {
                applied.document = None;
            }
        }
    }
}

fn drop_from<K: Ord>(index: &mut Index<K>, key: &K, path: &ZnodePath) {
    if let Some(paths) = index.get_mut(key) {
        paths.remove(path);
        if paths.is_empty() {
            index.remove(key);
        }
    }
}

/// A ledger with changes laid over it, which can be taken back.
#[derive(Debug)]
pub(crate) struct Book<'l> {
    base: &'l Ledger,
    over: BTreeMap<ZnodePath, Option<Entry>>,
    /// Grows only; who asks checks what it finds.
    by_uuid: Index,
    referrers: Index,
    followers: Index<String>,
    journal: Vec<(ZnodePath, Option<Option<Entry>>)>,
    /// The paths of the overlay and the base that are pending.
    pending: BTreeSet<ZnodePath>,
}

impl<'l> Book<'l> {
    pub(crate) fn new(base: &'l Ledger) -> Book<'l> {
        Book {
            base,
            over: BTreeMap::new(),
            by_uuid: Index::new(),
            referrers: Index::new(),
            followers: Index::new(),
            journal: Vec::new(),
            pending: base.pending.clone(),
        }
    }

    pub(crate) fn get(&self, path: &ZnodePath) -> Option<&Entry> {
        match self.over.get(path) {
            Some(over) => over.as_ref(),
            None => self.base.entries.get(path),
        }
    }

    /// What stands at a path that is too long is told and not kept.
    pub(crate) fn set(&mut self, path: &ZnodePath, entry: Entry) {
        for uuid in entry.uuids() {
            self.by_uuid.entry(uuid).or_default().insert(path.clone());
        }
        for uuid in entry.refers_to() {
            self.referrers.entry(uuid).or_default().insert(path.clone());
        }
        for name in entry.connects_to() {
            self.followers.entry(name.clone()).or_default().insert(path.clone());
        }
        let is_empty = entry == Entry { seen: entry.seen, ..Entry::default() };
        let is_kept = !is_empty && path.as_str().len() <= PATH_MAX;
        self.put(path, is_kept.then_some(entry));
    }

    fn put(&mut self, path: &ZnodePath, entry: Option<Entry>) {
        self.note_pending(path, entry.as_ref());
        let old = self.over.insert(path.clone(), entry);
        self.journal.push((path.clone(), old));
    }

    fn note_pending(&mut self, path: &ZnodePath, entry: Option<&Entry>) {
        if entry.is_some_and(|entry| entry.pending.is_some()) {
            self.pending.insert(path.clone());
        } else {
            self.pending.remove(path);
        }
    }

    pub(crate) fn mark(&self) -> usize {
        self.journal.len()
    }

    pub(crate) fn roll_back(&mut self, mark: usize) {
        while self.journal.len() > mark {
            let Some((path, old)) = self.journal.pop() else { return };
            match old {
                Some(entry) => self.over.insert(path.clone(), entry),
                None => self.over.remove(&path),
            };
            let entry = self.get(&path).cloned();
            self.note_pending(&path, entry.as_ref());
        }
    }

    pub(crate) fn pending(&self) -> &BTreeSet<ZnodePath> {
        &self.pending
    }

    /// The paths whose applied or wanted asset has that uuid.
    pub(crate) fn claimants(&self, uuid: Uuid) -> Vec<ZnodePath> {
        let over = self.by_uuid.get(&uuid).into_iter().flatten();
        let found: BTreeSet<&ZnodePath> = self.base.by_uuid(uuid).chain(over).collect();
        let claims =
            |path: &&ZnodePath| self.get(path).is_some_and(|entry| entry.uuids().any(|its| its == uuid));
        found.into_iter().filter(claims).cloned().collect()
    }

    /// The paths whose applied document refers to that uuid.
    pub(crate) fn referrers(&self, uuid: Uuid) -> Vec<ZnodePath> {
        let over = self.referrers.get(&uuid).into_iter().flatten();
        let found: BTreeSet<&ZnodePath> = self.base.referrers(uuid).chain(over).collect();
        let refers =
            |path: &&ZnodePath| self.get(path).is_some_and(|entry| entry.refers_to().any(|its| its == uuid));
        found.into_iter().filter(refers).cloned().collect()
    }

    /// The paths whose applied document names that endpoint.
    pub(crate) fn followers(&self, endpoint: &str) -> Vec<ZnodePath> {
        let over = self.followers.get(endpoint).into_iter().flatten();
        let found: BTreeSet<&ZnodePath> = self.base.followers(endpoint).chain(over).collect();
        let follows = |path: &&ZnodePath| {
            self.get(path).is_some_and(|entry| entry.connects_to().any(|name| name == endpoint))
        };
        found.into_iter().filter(follows).cloned().collect()
    }

    /// The approvals that are there.
    pub(crate) fn approvals(&self) -> impl Iterator<Item = &str> {
        let is_approval = |path: &&ZnodePath| path.as_str().starts_with(APPROVALS);
        let base = from_approvals(&self.base.entries).take_while(is_approval);
        let over = from_approvals(&self.over).take_while(is_approval);
        let paths: BTreeSet<&ZnodePath> = base.chain(over).collect();
        paths.into_iter().filter_map(|path| self.get(path)?.applied.as_ref()?.document.as_deref())
    }

    /// Every path with its entry, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ZnodePath, &Entry)> {
        let base = self.base.entries.iter().filter(|(path, _)| !self.over.contains_key(*path));
        let over = self.over.iter().filter_map(|(path, entry)| Some((path, entry.as_ref()?)));
        let mut all: Vec<_> = base.chain(over).collect();
        all.sort_by_key(|(path, _)| *path);
        all.into_iter()
    }

    /// What is to become of which entries: those that differ from the base.
    pub(crate) fn into_changes(self) -> BTreeMap<ZnodePath, Option<Entry>> {
        let base = self.base;
        self.over.into_iter().filter(|(path, entry)| base.entries.get(path) != entry.as_ref()).collect()
    }
}

/// The most bytes of a path in the ledger: PostgreSQL's index takes 2,704. Where names are as they may be, a path is far
/// shorter, and leaves room beside it for what its document refers to.
const PATH_MAX: usize = 2_000;

const APPROVALS: &str = "control/approvals/";

/// The paths from the approvals on, in order, without a look at the assets before them.
fn from_approvals<T>(map: &BTreeMap<ZnodePath, T>) -> impl Iterator<Item = &ZnodePath> {
    let folder: Option<ZnodePath> = APPROVALS.trim_end_matches('/').parse().ok();
    let from = folder.map_or(Bound::Unbounded, Bound::Excluded);
    let paths = map.range((from, Bound::Unbounded)).map(|(path, _)| path);
    paths.skip_while(|path| !path.as_str().starts_with(APPROVALS))
}
const ENDPOINTS: &str = "endpoints/";

/// The project of an asset's path; other paths have none.
pub(crate) fn project(path: &ZnodePath) -> Option<&str> {
    match path.place() {
        Ok(Place::Asset { project, .. }) => Some(project),
        _ => None,
    }
}
