//! Records of the topic `changes` to rows of the history. Pure: what is on record comes in as [`ChangeFacts`].
//!
//! Batch boundaries do not show in the result: records are folded one at a time over a working copy.

use std::collections::BTreeSet;

use change::{
    Change, ChangeId, Edit, Fence, Millis, Op, Record, ResyncBegin, ResyncEnd, Term, Txn, sha256_hex,
};
use serde_json::json;

use crate::describe::{Described, DocumentState, clean, describe, kind_at};
use crate::facts::{ChangeFacts, Known, Life, Node, Stream};
use crate::row::{
    At, Entry, EventKind, Field, Row, Table, event, flag, lifetime_name, opt_int, opt_text, text,
};

/// What has to be observed before a batch can be folded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) ids: BTreeSet<String>,
    pub(crate) paths: BTreeSet<String>,
    /// Each put: its life and version.
    pub(crate) puts: BTreeSet<(Life, i32)>,
    /// A resync begins or ends: every live path is needed.
    pub(crate) whole_tree: bool,
}

/// How many records became what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) changes: u64,
    pub(crate) outcomes: u64,
    pub(crate) events: u64,
    pub(crate) duplicates: u64,
    pub(crate) dropped: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, more: Counts) {
        self.changes += more.changes;
        self.outcomes += more.outcomes;
        self.events += more.events;
        self.duplicates += more.duplicates;
        self.dropped += more.dropped;
    }
}

/// Says what has to be known to fold `entries`.
pub(crate) fn ask(entries: &[Entry<(Fence, Record)>]) -> Ask {
    let mut ask = Ask::default();
    for (fence, record) in entries.iter().filter_map(|entry| entry.content.as_ref().ok()) {
        match record {
            Record::Term(_) => {}
            Record::ResyncBegin(_) | Record::ResyncEnd(_) => ask.whole_tree = true,
            Record::Txn(txn) => {
                for change in &txn.changes {
                    let id = change.id(fence.generation);
                    ask.ids.insert(id.to_string());
                    ask.paths.insert(id.path.to_string());
                    ask.puts.extend(id.version.map(|version| (life(&id), version)));
                    // The end of a resync may have to know whether the delete of this very life is on record.
                    ask.ids.insert(ChangeId { version: None, ..id }.to_string());
                }
            }
        }
    }
    ask
}

fn life(id: &ChangeId) -> Life {
    Life { generation: id.generation, path: id.path.to_string(), czxid: id.czxid }
}

/// Takes in records, one after the other.
pub(crate) struct Fold<'a> {
    pub(crate) stream: &'a mut Stream,
    pub(crate) facts: &'a mut ChangeFacts,
    pub(crate) rows: Vec<Row>,
    pub(crate) counts: Counts,
}

/// What all changes of one record have in common.
struct Context<'a> {
    fence: Fence,
    at: At,
    source: Source,
    /// The resync that the record is part of, or that ended with it.
    resync: Option<uuid::Uuid>,
    zxid: Option<i64>,
    committed: Millis,
    seen: Millis,
    edit: Option<&'a Edit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Stream,
    Resync,
    Absence,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Source::Stream => "stream",
            Source::Resync => "resync",
            Source::Absence => "absence",
        }
    }
}

impl<'a> Fold<'a> {
    pub(crate) fn new(stream: &'a mut Stream, facts: &'a mut ChangeFacts) -> Fold<'a> {
        Fold { stream, facts, rows: Vec::new(), counts: Counts::default() }
    }

    pub(crate) fn entry(&mut self, entry: &Entry<(Fence, Record)>) {
        let (fence, record) = match &entry.content {
            Ok((fence, record)) => (*fence, record),
            Err(unreadable) => {
                let detail = unreadable.detail("changes");
                self.event(EventKind::Unreadable, &detail, None, entry.at);
                return;
            }
        };
        if self.stream.watcher.is_some_and(|highest| fence < highest) {
            self.counts.dropped += 1;
            return;
        }
        self.stream.watcher = Some(fence);
        self.stream.effective = record.effective(self.stream.effective);
        match record {
            Record::Term(term) => self.term(fence, entry.at, *term),
            Record::Txn(txn) => self.txn(fence, entry.at, txn),
            Record::ResyncBegin(begin) => self.begin(fence, entry.at, *begin),
            Record::ResyncEnd(end) => self.end(fence, entry.at, end),
        }
    }

    fn event(&mut self, kind: EventKind, detail: &serde_json::Value, fence: Option<Fence>, at: At) {
        self.rows.push(event(kind, self.stream.effective, detail, fence, Some(at)));
        self.counts.events += 1;
    }

    fn term(&mut self, fence: Fence, at: At, term: Term) {
        let detail = json!({"generation": term.generation.n, "id": term.generation.id, "seen": term.seen});
        self.event(EventKind::Term, &detail, Some(fence), at);
    }

    fn begin(&mut self, fence: Fence, at: At, begin: ResyncBegin) {
        let detail = json!({"id": begin.id, "seen": begin.seen, "voids": self.stream.resync});
        self.stream.resync = Some(begin.id);
        // A log that is read again from its start brings the same resync again: it must put each path anew.
        let marked = self.facts.tree.values_mut().filter(|node| node.resync == Some(begin.id));
        marked.for_each(|node| node.resync = None);
        self.event(EventKind::ResyncBegin, &detail, Some(fence), at);
    }

    /// Closes the tree: what the resync did not put, and could have read, is gone.
    fn end(&mut self, fence: Fence, at: At, end: &ResyncEnd) {
        let closes = self.stream.resync == Some(end.id);
        let mut deletes = 0_u64;
        if closes {
            self.stream.resync = None;
            self.stream.resync_needed = None;
            let context = Context {
                fence,
                at,
                source: Source::Absence,
                resync: Some(end.id),
                zxid: None,
                committed: end.seen,
                seen: end.seen,
                edit: None,
            };
            for (path, node) in self.absent(end) {
                self.facts.tree.remove(&path);
                // The id of the life that is over, whichever generation noticed.
                let id = format!("{}:{path}@{}.-", node.generation, node.czxid);
                if !self.is_recorded_again(&id) {
                    let life = Life { generation: node.generation, path, czxid: node.czxid };
                    self.delete(&context, id, &life, Some(&node));
                    deletes += 1;
                }
            }
        }
        let unreadable: Vec<String> = end.unreadable.iter().map(ToString::to_string).collect();
        let detail = json!({
            "id": end.id, "seen": end.seen, "count": end.count, "closes": closes,
            "deletes": deletes, "unreadable": unreadable,
        });
        self.event(EventKind::ResyncEnd, &detail, Some(fence), at);
    }

    fn absent(&self, end: &ResyncEnd) -> Vec<(String, Node)> {
        let unreadable: Vec<String> = end.unreadable.iter().map(ToString::to_string).collect();
        let unread = |path: &str| unreadable.iter().any(|subtree| is_within(path, subtree));
        let tree = self.facts.tree.iter();
        tree.filter(|(path, node)| node.resync != Some(end.id) && !unread(path))
            .map(|(path, node)| (path.clone(), node.clone()))
            .collect()
    }

    fn txn(&mut self, fence: Fence, at: At, txn: &Txn) {
        let source = if txn.resync.is_some() { Source::Resync } else { Source::Stream };
        for change in &txn.changes {
            let by_edit = match change.op {
                Op::Put { by_edit, .. } | Op::Delete { by_edit } => by_edit,
            };
            let context = Context {
                fence,
                at,
                source,
                resync: txn.resync,
                zxid: Some(txn.zxid.0),
                committed: txn.committed,
                seen: txn.seen,
                edit: txn.edit.as_ref().filter(|_| by_edit),
            };
            let id = change.id(fence.generation);
            match &change.op {
                Op::Put { bytes, .. } => self.put(&context, &id, change, bytes),
                Op::Delete { .. } => self.gone(&context, &id),
            }
        }
    }

    fn put(&mut self, context: &Context<'_>, id: &ChangeId, change: &Change, bytes: &[u8]) {
        let Op::Put { version, mzxid, lifetime, .. } = &change.op else { return };
        let (key, path) = (id.to_string(), id.path.to_string());
        let node = Node {
            generation: id.generation,
            czxid: id.czxid,
            version: *version,
            change_id: key.clone(),
            resync: self.stream.resync,
        };
        let before = self.facts.tree.insert(path, node);
        let sha256 = sha256_hex(bytes);
        if let Some(known) = self.facts.known.get(&key) {
            if known.sha256.as_ref() == Some(&sha256) {
                self.counts.duplicates += 1;
            } else {
                let detail = json!({"change": key, "on_record": known.sha256, "came": sha256});
                self.event(EventKind::Conflict, &detail, Some(context.fence), context.at);
            }
            return;
        }
        let described = self.describe(id, bytes, before.as_ref());
        let (missed, missed_more) = self.missed(life(id), *version, before.as_ref());
        let mut fields = head_fields(&key, &life(id), Some(*version), context, Some(mzxid.0));
        fields.extend([
            text("put"),
            text(context.source.name()),
            opt_text(context.resync),
            opt_text(described.kind),
            opt_text(described.uuid),
            opt_text(described.name.as_deref()),
            text(lifetime_name(*lifetime)),
        ]);
        fields.extend(edit_fields(context.edit));
        fields.extend(self.time_fields(context));
        fields.extend([
            opt_int(i64::try_from(bytes.len()).ok()),
            text(&sha256),
            opt_text(described.document),
            text(described.state.name()),
            opt_text(described.document_hash),
            Field::Int(missed),
            flag(missed_more),
            opt_text(before.map(|node| node.change_id)),
        ]);
        fields.extend(place_fields(context));
        self.push(fields, key, Known { sha256: Some(sha256), uuid: described.uuid, name: described.name });
    }

    /// A document that cannot be used goes by the uuid and the name that its path had before.
    fn describe(&self, id: &ChangeId, bytes: &[u8], before: Option<&Node>) -> Described {
        let mut described = describe(&id.path, bytes);
        let last = before.and_then(|node| self.facts.known.get(&node.change_id));
        if let Some(last) = last.filter(|_| described.state == DocumentState::Redacted) {
            described.uuid = described.uuid.or(last.uuid);
            described.name = described.name.or_else(|| last.name.clone());
        }
        described
    }

    /// Versions of this life right before `version` that are not on record. More than counted may be missing
    /// where an earlier life of the path ended unseen.
    fn missed(&mut self, life: Life, version: i32, before: Option<&Node>) -> (i64, bool) {
        let other_life =
            before.is_some_and(|node| (node.generation, node.czxid) != (life.generation, life.czxid));
        let versions = self.facts.versions.entry(life).or_default();
        let floor = versions.range(..version).next_back().copied();
        versions.insert(version);
        match floor {
            Some(floor) => (i64::from(version) - i64::from(floor) - 1, false),
            None => (i64::from(version).max(0), other_life),
        }
    }

    /// A delete that was seen.
    fn gone(&mut self, context: &Context<'_>, id: &ChangeId) {
        let (key, path) = (id.to_string(), id.path.to_string());
        let before =
            self.facts.tree.get(&path).filter(|node| node.is_up_to(id.generation, id.czxid)).cloned();
        if before.is_some() {
            self.facts.tree.remove(&path);
        }
        if !self.is_recorded_again(&key) {
            self.delete(context, key, &life(id), before.as_ref());
        }
    }

    fn is_recorded_again(&mut self, id: &str) -> bool {
        let again = self.facts.known.contains_key(id);
        self.counts.duplicates += u64::from(again);
        again
    }

    fn delete(&mut self, context: &Context<'_>, id: String, life: &Life, before: Option<&Node>) {
        let last = before.and_then(|node| self.facts.known.get(&node.change_id)).cloned();
        let (uuid, name) = last.map_or((None, None), |last| (last.uuid, last.name));
        let kind = life.path.parse().ok().and_then(|path| kind_at(&path));
        let mut fields = head_fields(&id, life, None, context, None);
        fields.extend([
            text("delete"),
            text(context.source.name()),
            opt_text(context.resync),
            opt_text(kind),
            opt_text(uuid),
            opt_text(name.as_deref()),
            Field::Null,
        ]);
        fields.extend(edit_fields(context.edit));
        fields.extend(self.time_fields(context));
        fields.extend([Field::Null, Field::Null, Field::Null, Field::Null, Field::Null]);
        // What was written between the last version on record and the delete cannot be known.
        fields.extend([Field::Int(0), flag(true), opt_text(before.map(|node| &node.change_id))]);
        fields.extend(place_fields(context));
        self.push(fields, id, Known { sha256: None, uuid, name });
    }

    fn push(&mut self, fields: Vec<Field>, id: String, known: Known) {
        debug_assert_eq!(fields.len(), Table::Change.columns().len(), "a row has its table's columns");
        self.facts.known.insert(id, known);
        self.rows.push(Row::new(Table::Change, fields));
        self.counts.changes += 1;
    }

    fn time_fields(&self, context: &Context<'_>) -> [Field; 3] {
        [Field::Int(context.committed.0), Field::Int(context.seen.0), Field::Int(self.stream.effective.0)]
    }
}

fn head_fields(
    id: &str,
    life: &Life,
    version: Option<i32>,
    context: &Context<'_>,
    mzxid: Option<i64>,
) -> Vec<Field> {
    vec![
        text(id),
        Field::Int(i64::try_from(life.generation).unwrap_or(i64::MAX)),
        text(&life.path),
        Field::Int(life.czxid),
        opt_int(version),
        opt_int(context.zxid),
        opt_int(mzxid),
    ]
}

fn edit_fields(edit: Option<&Edit>) -> [Field; 8] {
    [
        opt_text(edit.map(|edit| &edit.author)),
        opt_text(edit.map(|edit| clean(&edit.message))),
        opt_text(edit.map(|edit| &edit.id)),
        opt_text(edit.map(|edit| &edit.of)),
        opt_int(edit.map(|edit| edit.part)),
        opt_int(edit.map(|edit| edit.parts)),
        opt_text(edit.and_then(|edit| edit.rollback_of.as_ref())),
        opt_text(edit.and_then(|edit| edit.traceparent.as_ref())),
    ]
}

fn place_fields(context: &Context<'_>) -> [Field; 3] {
    [text(context.fence), text(context.at.log), Field::Int(context.at.offset)]
}

/// As `ZnodePath::is_within`, on the text that is stored.
fn is_within(path: &str, subtree: &str) -> bool {
    path.strip_prefix(subtree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
