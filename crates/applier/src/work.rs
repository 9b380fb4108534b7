//! What there is to do, read and checked as far as no row is needed for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use asset::{Chosen, Document, Group, Kind, SecretRef, Strength};
use change::{Change, ChangeId, Fence, Lifetime, Op, Place, Record, Waiting, ZnodePath, sha256_hex};
use uuid::Uuid;

use crate::book::{Edge, Entry, Ledger, Pending, State, Until, Want};

/// What a target is asked to do in one transaction.
#[derive(Debug, Clone)]
pub enum Work {
    /// The next records of the log.
    Records {
        /// In log order.
        records: Vec<Read>,
        /// Where to read next, once they are applied.
        next: queue::Position,
    },
    /// No record: look again at what is pending, or may have changed outside the log.
    Reconcile(Selection),
}

/// One record as read from the log.
#[derive(Debug, Clone)]
pub struct Read {
    /// Its offset.
    pub offset: i64,
    /// The watcher's fence that it was appended under.
    pub fence: Fence,
    /// The record.
    pub record: Record,
}

/// Which part of the ledger to look at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Everything that is pending, whatever for: the configuration may have changed.
    Pending,
    /// What waits for secrets, and the databases that have some: a secret may have been rotated.
    Secrets,
}

/// What the operator allows. It is configuration, not state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What to do with deletes. Default [`Deletes::Apply`].
    pub deletes: Deletes,
    /// The kinds that each project may hold. A project that is not listed may hold all.
    pub projects: BTreeMap<String, BTreeSet<Kind>>,
    /// Bytes that a znode of ours may hold. Default 1 MiB.
    pub document_max: usize,
    /// Changes that may be pending before the target stops. Default 10,000.
    pub pending_max: usize,
    /// So many deletes of a kind always pass within the window. Default 5.
    pub guard_count: u64,
    /// So many hundredths of a kind always pass within the window. Default 10.
    pub guard_percent: u64,
    /// The guard's window of effective time, in milliseconds. Default 10 minutes.
    pub guard_window: i64,
}

/// What to do with deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    /// Remove the rows, behind the guard.
    Apply,
    /// Hold every delete until it is approved.
    Hold,
    /// Leave the rows and stop managing them.
    Ignore,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            deletes: Deletes::Apply,
            projects: BTreeMap::new(),
            document_max: 1 << 20,
            pending_max: 10_000,
            guard_count: 5,
            guard_percent: 10,
            guard_window: 600_000,
        }
    }
}

/// Why a change is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) until: Until,
    pub(crate) reason: String,
    pub(crate) place: Option<String>,
}

impl Rejection {
    pub(crate) fn new(reason: impl Into<String>) -> Rejection {
        Rejection { until: Until::Mended, reason: bounded(reason.into()), place: None }
    }

    /// In the database's words, which name no values.
    pub(crate) fn by_database(words: &str) -> Rejection {
        let reason = format!("the database refuses it: {words}");
        Rejection { until: Until::DatabaseTakesIt, ..Rejection::new(reason) }
    }

    pub(crate) fn state(self) -> State {
        State::Rejected { until: self.until, reason: self.reason, place: self.place }
    }
}

/// What the bytes of a put are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Parsed {
    Document(Box<Document>),
    /// A setting, an endpoint or an approval: SHA-256 of the bytes, and what of them is used later.
    Other {
        sha256: String,
        kept: Kept,
    },
    Rejected(Rejection),
}

/// What the ledger keeps of something that is no asset.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kept {
    /// Of a setting, that it is there: whom it concerns reads it in ZooKeeper.
    Nothing,
    /// Of an inner znode of the tree that was emptied, not even that: no feed tells of it as long as it is empty.
    Emptied,
    Approval(Approval),
    Chosen(Chosen),
}

impl Kept {
    /// The text in the ledger.
    pub(crate) fn document(&self) -> Option<Arc<str>> {
        match self {
            Kept::Nothing | Kept::Emptied => None,
            Kept::Approval(approval) => serde_json::to_string(approval).ok().map(Arc::from),
            Kept::Chosen(chosen) => serde_json::to_string(&chosen.to_json()).ok().map(Arc::from),
        }
    }
}

impl Parsed {
    fn approved(&self) -> Option<&ZnodePath> {
        match self {
            Parsed::Other { kept: Kept::Approval(approval), .. } => Some(&approval.path),
            Parsed::Other { .. } | Parsed::Document(_) | Parsed::Rejected(_) => None,
        }
    }

    pub(crate) fn document(&self) -> Option<&Document> {
        match self {
            Parsed::Document(document) => Some(document),
            Parsed::Other { .. } | Parsed::Rejected(_) => None,
        }
    }
}

/// An approval of one held delete.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    pub(crate) v: u32,
    pub(crate) path: ZnodePath,
    pub(crate) czxid: i64,
}

/// Everything about a piece of work that no row is needed for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Brief {
    /// What the puts hold, and the documents of the ledger that may have to be written.
    pub(crate) parsed: BTreeMap<ChangeId, Parsed>,
    /// Paths whose applied documents are not in memory and may be needed.
    pub(crate) load: BTreeSet<ZnodePath>,
    /// Assets that may be deleted.
    pub(crate) deletes: BTreeSet<(Kind, Uuid)>,
    /// Pending changes to try again, whatever they wait for.
    pub(crate) retry: BTreeSet<ZnodePath>,
    /// Endpoints that may change.
    pub(crate) endpoints: BTreeSet<String>,
}

impl Brief {
    pub(crate) fn documents(&self) -> Vec<&Document> {
        self.parsed.values().filter_map(Parsed::document).collect()
    }

    pub(crate) fn secrets(&self) -> BTreeSet<SecretRef> {
        self.documents().into_iter().flat_map(Document::secrets).collect()
    }
}

/// Reads a piece of work and finds what of the ledger it may concern.
///
/// May find more than is needed, never less: a pending change that is tried again in vain stays as it is.
pub(crate) fn brief(work: &Work, ledger: &Ledger, policy: &Policy) -> Brief {
    let mut brief = Brief::default();
    let mut touched = BTreeSet::new();
    match work {
        Work::Records { records, .. } => {
            let mut put = BTreeMap::new();
            for read in records {
                take_record(read, ledger, policy, &mut brief, &mut touched);
                add_short_lived(read, &mut put, &mut brief);
            }
        }
        Work::Reconcile(selection) => select(*selection, ledger, &mut brief, &mut touched),
    }
    add_pending(ledger, &mut brief, &mut touched);
    add_dependants(ledger, &mut brief, &touched);
    brief
}

fn take_record(
    read: &Read,
    ledger: &Ledger,
    policy: &Policy,
    brief: &mut Brief,
    touched: &mut BTreeSet<Uuid>,
) {
    match &read.record {
        Record::Term(_) | Record::ResyncBegin(_) => {}
        Record::Txn(txn) => {
            for change in &txn.changes {
                if let Some(entry) = ledger.entries().get(&change.path) {
                    may_go(entry, brief, touched);
                }
                if let Ok(Place::Endpoint { name }) = change.path.place() {
                    brief.endpoints.insert(name.to_owned());
                }
                if let Op::Put { .. } = change.op {
                    let parsed = parse(change, policy);
                    if let Parsed::Document(document) = &parsed {
                        touched.insert(document.uuid());
                    }
                    brief.parsed.entry(change.id(read.fence.generation)).or_insert(parsed);
                }
            }
        }
        Record::ResyncEnd(end) => {
            for entry in ledger.entries().values().filter(|entry| entry.seen != Some(end.id)) {
                may_go(entry, brief, touched);
            }
        }
    }
}

/// Adds the assets that one record of the batch puts and a later one deletes, or replaces by another asset. `put` is what
/// the records so far have put.
fn add_short_lived(read: &Read, put: &mut BTreeMap<ZnodePath, BTreeSet<(Kind, Uuid)>>, brief: &mut Brief) {
    let Record::Txn(txn) = &read.record else {
        if let Record::ResyncEnd(_) = &read.record {
            brief.deletes.extend(put.values().flatten());
        }
        return;
    };
    for change in &txn.changes {
        let parsed = brief.parsed.get(&change.id(read.fence.generation));
        let asset = parsed.and_then(Parsed::document).map(|document| (document.kind(), document.uuid()));
        let earlier = put.get(&change.path).into_iter().flatten();
        match change.op {
            Op::Delete { .. } => brief.deletes.extend(earlier),
            Op::Put { .. } => {
                brief.deletes.extend(earlier.filter(|its| asset.is_some_and(|new| **its != new)))
            }
        }
        if let Some(asset) = asset {
            put.entry(change.path.clone()).or_default().insert(asset);
        }
    }
}

fn may_go(entry: &Entry, brief: &mut Brief, touched: &mut BTreeSet<Uuid>) {
    brief.deletes.extend(entry.applied_asset().iter().chain(&entry.wanted_asset()));
    touched.extend(entry.applied_asset().iter().chain(&entry.wanted_asset()).map(|(_, uuid)| *uuid));
}

fn select(selection: Selection, ledger: &Ledger, brief: &mut Brief, touched: &mut BTreeSet<Uuid>) {
    let waits_for_secret = |state: &State| match state {
        State::Held { waiting } => waiting.iter().any(|each| matches!(each, Waiting::Secret { .. })),
        State::New | State::Rejected { .. } => false,
    };
    for (path, entry) in ledger.entries() {
        let chosen = entry.pending.as_ref().is_some_and(|pending| match selection {
            Selection::Pending => true,
            Selection::Secrets => waits_for_secret(&pending.state),
        });
        if chosen {
            brief.retry.insert(path.clone());
            may_go(entry, brief, touched);
        }
        let edges = entry.applied.iter().flat_map(|applied| &applied.edges);
        if entry.pending.is_none() && edges.into_iter().any(|edge| matches!(edge, Edge::Secret(_))) {
            brief.load.insert(path.clone());
        }
    }
}

/// Adds the pending changes that what is touched may set free, and what they touch in turn.
fn add_pending(ledger: &Ledger, brief: &mut Brief, touched: &mut BTreeSet<Uuid>) {
    let pending = ledger.pending().iter().filter_map(|path| {
        let entry = ledger.entries().get(path)?;
        Some((path, entry, entry.pending.as_ref()?))
    });
    let mut open: Vec<(&ZnodePath, &Entry, &Pending)> = pending.collect();
    let approved: BTreeSet<ZnodePath> = brief.parsed.values().filter_map(Parsed::approved).cloned().collect();
    loop {
        let before = open.len();
        open.retain(|(path, entry, pending)| {
            let has_touched = entry.applied_asset().is_some_and(|(_, uuid)| touched.contains(&uuid));
            let is_named = brief.retry.contains(*path) || approved.contains(*path) || has_touched;
            let concerned = is_named || is_concerned(pending, touched, &brief.endpoints);
            if concerned {
                may_go(entry, brief, touched);
                add_document(pending, brief);
                brief.retry.insert((*path).clone());
            }
            !concerned
        });
        if open.len() == before {
            return;
        }
    }
}

fn is_concerned(pending: &Pending, touched: &BTreeSet<Uuid>, endpoints: &BTreeSet<String>) -> bool {
    match &pending.want {
        Want::Put { asset, .. } if touched.contains(&asset.1) => return true,
        Want::Put { .. } | Want::Delete => {}
        Want::Nonsense => return false,
    }
    match &pending.state {
        State::New => true,
        State::Held { waiting } => waiting.iter().any(|each| match each {
            Waiting::Reference { uuid, .. } => touched.contains(uuid),
            Waiting::Endpoint { name } => endpoints.contains(name),
            Waiting::StillUsed { .. } => true,
            Waiting::Secret { .. } | Waiting::DeleteGuard { .. } | Waiting::Policy => false,
        }),
        State::Rejected { until, .. } => *until == Until::NameIsFree,
    }
}

fn add_document(pending: &Pending, brief: &mut Brief) {
    if let Want::Put { asset, document, .. } = &pending.want {
        let parsed = read_document(asset.0, document.as_bytes());
        brief.parsed.entry(pending.id.clone()).or_insert(parsed);
    }
}

/// Reads a document, of a znode or of the ledger. That one was valid when it was stored; a newer setkeeper may think
/// otherwise.
fn read_document(kind: Kind, document: &[u8]) -> Parsed {
    match asset::parse(kind, document) {
        Ok(document) => Parsed::Document(Box::new(document)),
        Err(faults) => Parsed::Rejected(of_faults(&faults)),
    }
}

/// Adds the applied documents that may have to be rendered again, or to change their znode.
fn add_dependants(ledger: &Ledger, brief: &mut Brief, touched: &BTreeSet<Uuid>) {
    for uuid in touched {
        let claimants = ledger.by_uuid(*uuid).chain(ledger.referrers(*uuid));
        let applied =
            claimants.filter(|path| ledger.entries().get(*path).is_some_and(|entry| entry.applied.is_some()));
        brief.load.extend(applied.cloned());
    }
    for name in &brief.endpoints {
        brief.load.extend(ledger.followers(name).cloned());
    }
}

/// Adds the applied documents that were read from the ledger.
pub(crate) fn add_loaded(brief: &mut Brief, ledger: &Ledger) {
    for path in &brief.load {
        let Some(applied) = ledger.entries().get(path).and_then(|entry| entry.applied.as_ref()) else {
            continue;
        };
        // Come once more, the same change may be rejected by now, as by a lower bound: what stands was good.
        let is_read = brief.parsed.get(&applied.id).is_some_and(|parsed| parsed.document().is_some());
        if let (Some((kind, _)), Some(document), false) = (applied.asset, &applied.document, is_read) {
            brief.parsed.insert(applied.id.clone(), read_document(kind, document.as_bytes()));
        }
    }
}

/// Reads and checks what a put holds.
fn parse(change: &Change, policy: &Policy) -> Parsed {
    let Op::Put { lifetime, bytes, .. } = &change.op else {
        return Parsed::Rejected(Rejection::new("the znode is gone"));
    };
    match check_place(&change.path, *lifetime, bytes.len(), policy) {
        Err(rejection) => Parsed::Rejected(rejection),
        Ok(Stands::Document(kind)) => read_document(kind, bytes),
        Ok(Stands::Other(place)) => other(place, bytes),
    }
}

/// What belongs at a path.
enum Stands<'p> {
    Document(Kind),
    Other(Place<'p>),
}

fn check_place<'p>(
    path: &'p ZnodePath,
    lifetime: Lifetime,
    length: usize,
    policy: &Policy,
) -> Result<Stands<'p>, Rejection> {
    let place = path.place().map_err(|bad| Rejection::new(bad.to_string()))?;
    let lives = match lifetime {
        Lifetime::Persistent => None,
        Lifetime::Ephemeral => Some("ephemeral"),
        Lifetime::Container => Some("a container"),
        Lifetime::Ttl => Some("one with a time to live"),
    };
    if let Some(lives) = lives {
        return Err(Rejection::new(format!(
            "the znode is {lives} and would vanish by itself; create it as a persistent znode"
        )));
    }
    if length > policy.document_max {
        let max = policy.document_max;
        return Err(Rejection::new(format!(
            "the znode holds {length} bytes, more than {max}; store the document as gzip, or split it"
        )));
    }
    match place {
        Place::Asset { folder, .. } => Kind::from_folder(folder)
            .map(Stands::Document)
            .ok_or_else(|| Rejection::new(unknown_folder(folder))),
        Place::Setting { .. } | Place::Endpoint { .. } | Place::Approval { .. } => Ok(Stands::Other(place)),
        Place::Folder if length == 0 => Ok(Stands::Other(place)),
        Place::Folder => Err(Rejection::new(
            "an inner znode of the tree holds data; empty it: documents stand at assets/<project>/<folder>/<name>",
        )),
    }
}

/// Why a project may not hold a document, if it may not. The document is kept, since the configuration may change.
pub(crate) fn out_of_place(path: &ZnodePath, kind: Kind, policy: &Policy) -> Option<Rejection> {
    let project = crate::book::project(path)?;
    let kinds = policy.projects.get(project)?;
    let reason = format!(
        "project `{project}` may not hold {}; allow it in the configuration, or use another project",
        kind.folder()
    );
    (!kinds.contains(&kind)).then(|| Rejection::new(reason))
}

fn unknown_folder(folder: &str) -> String {
    let known: Vec<&str> = Kind::ALL.into_iter().map(Kind::folder).collect();
    format!("`{folder}` is no kind that this setkeeper applies; it knows {}", known.join(", "))
}

/// Reads what is no asset's document.
fn other(place: Place<'_>, bytes: &[u8]) -> Parsed {
    let of_faults = |faults: Vec<asset::Fault>| of_faults(&faults);
    let kept = match place {
        Place::Approval { .. } => approval(bytes).map(Kept::Approval),
        Place::Endpoint { name } => asset::parse_chosen(name, bytes).map(Kept::Chosen).map_err(of_faults),
        Place::Setting { group, name } => match Group::from_folder(group) {
            Some(group) => asset::parse_setting(group, name, bytes).map(|_| Kept::Nothing).map_err(of_faults),
            None => Err(Rejection::new(unknown_group(group))),
        },
        Place::Folder => Ok(Kept::Emptied),
        Place::Asset { .. } => Err(Rejection::new("nothing of setkeeper's stands there")),
    };
    match kept {
        Ok(kept) => Parsed::Other { sha256: sha256_hex(bytes), kept },
        Err(rejection) => Parsed::Rejected(rejection),
    }
}

fn unknown_group(group: &str) -> String {
    let known: Vec<&str> = Group::ALL.into_iter().map(Group::folder).collect();
    format!("`{group}` is no group of settings that this setkeeper knows; it knows {}", known.join(", "))
}

fn approval(bytes: &[u8]) -> Result<Approval, Rejection> {
    let example = r#"{"v":1,"path":"assets/main/charts/sales","czxid":77}"#;
    match serde_json::from_slice::<Approval>(bytes) {
        Ok(approval) if approval.v == 1 => Ok(approval),
        Ok(_) => {
            Err(Rejection::new("an approval of a version that this setkeeper does not know; upgrade it"))
        }
        Err(_) => Err(Rejection::new(format!("not an approval; one looks like {example}"))),
    }
}

/// The most characters of a reason.
const REASON_MAX: usize = 2_000;

fn bounded(text: String) -> String {
    match text.char_indices().nth(REASON_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn of_faults(faults: &[asset::Fault]) -> Rejection {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let place = faults.first().map(|fault| fault.path.clone()).filter(|path| !path.is_empty());
    Rejection { place, ..Rejection::new(lines.join("; ")) }
}

/// What a document refers to, as edges of the ledger.
pub(crate) fn edges(document: &Document) -> Vec<Edge> {
    let assets = document.references().into_iter().map(|reference| Edge::Asset {
        strength: reference.strength,
        kind: reference.to,
        uuid: reference.uuid,
    });
    let secrets = document.secrets().into_iter().map(|secret| Edge::Secret(secret.to_string()));
    let endpoint = document.endpoint().map(|name| Edge::Endpoint(name.to_owned()));
    assets.chain(secrets).chain(endpoint).collect()
}

/// A document as the ledger wants it.
pub(crate) fn want(document: &Document) -> Want {
    Want::Put {
        asset: (document.kind(), document.uuid()),
        document: Arc::from(document.canonical()),
        edges: edges(document),
    }
}

/// The assets that a document cannot be applied without.
pub(crate) fn needs(document: &Document) -> Vec<(Kind, Uuid)> {
    let references = document.references().into_iter();
    references
        .filter(|reference| reference.strength == Strength::Hard)
        .map(|its| (its.to, its.uuid))
        .collect()
}
