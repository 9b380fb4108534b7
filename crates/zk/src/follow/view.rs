//! What is known of a followed subtree, and what has to be read next. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::config::FollowConfig;
use crate::read::Found;

/// One read that is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Want {
    /// Relative to the followed root; empty for the root itself.
    pub(super) path: String,
    /// Whether the children's names are wanted too.
    pub(super) list: bool,
}

/// What a read came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing stands there.
    Gone,
    /// Reading is not allowed.
    Forbidden,
    /// It stands.
    Here {
        found: Found,
        /// The children's names, if they were asked for.
        children: Option<Vec<String>>,
    },
    /// The connection broke.
    Lost,
}

/// A bound was reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// A run over the whole subtree, which finds what no event told of.
#[derive(Debug, Default)]
struct Crawl {
    /// Not yet visited.
    open: BTreeSet<String>,
    seen: BTreeSet<String>,
}

/// The subtree as known. At most one read of a path is under way, so an older answer never follows a newer one.
#[derive(Debug)]
pub(super) struct View {
    pub(super) nodes: BTreeMap<String, Found>,
    pub(super) unreadable: BTreeSet<String>,
    bounds: FollowConfig,
    bytes: usize,
    queue: VecDeque<String>,
    queued: BTreeSet<String>,
    /// Paths on the wire, and whether something happened to them since the read was sent.
    reading: BTreeMap<String, bool>,
    crawl: Option<Crawl>,
    changed: bool,
}

impl View {
    pub(super) fn new(bounds: FollowConfig) -> View {
        View {
            nodes: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            bounds,
            bytes: 0,
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
            reading: BTreeMap::new(),
            crawl: None,
            changed: false,
        }
    }

    /// Something happened at `path`: it is read again, once, however often this is called before the read is sent.
    pub(super) fn want(&mut self, path: &str) {
        if let Some(again) = self.reading.get_mut(path) {
            *again = true;
        } else if self.queued.insert(path.to_owned()) {
            self.queue.push_back(path.to_owned());
        }
    }

    /// Begins a run over everything; one that is under way begins anew.
    pub(super) fn crawl(&mut self) {
        self.crawl = Some(Crawl { open: BTreeSet::from([String::new()]), seen: BTreeSet::new() });
        self.want("");
    }

    /// The next read, unless `in_flight` are on the wire.
    pub(super) fn next(&mut self, in_flight: usize) -> Option<Want> {
        if self.reading.len() >= in_flight {
            return None;
        }
        let path = self.queue.pop_front()?;
        self.queued.remove(&path);
        self.reading.insert(path.clone(), false);
        let list = self.crawl.as_ref().is_some_and(|crawl| crawl.open.contains(&path));
        Some(Want { path, list })
    }

    /// Takes a read's answer in.
    pub(super) fn answer(&mut self, path: &str, answer: Answer) -> Result<(), TooMuch> {
        let again = self.reading.remove(path).unwrap_or_default();
        if again || matches!(answer, Answer::Lost) {
            self.want(path);
        }
        match answer {
            Answer::Lost => return Ok(()),
            Answer::Gone => {
                self.forget(path);
                self.changed |= self.unreadable.remove(path);
                self.visited(path, Some(Vec::new()), false);
            }
            // What was known of it stays: a refused read is no absence.
            Answer::Forbidden => {
                self.changed |= self.unreadable.insert(path.to_owned());
                self.visited(path, Some(Vec::new()), true);
            }
            Answer::Here { found, children } => {
                self.changed |= self.unreadable.remove(path);
                self.keep(path, found);
                self.visited(path, children, true);
                if self.nodes.len() > self.bounds.nodes_max || self.bytes > self.bounds.bytes_max {
                    return Err(TooMuch);
                }
            }
        }
        self.close();
        Ok(())
    }

    fn keep(&mut self, path: &str, found: Found) {
        if self.nodes.get(path) == Some(&found) {
            return;
        }
        self.forget(path);
        self.bytes += found.bytes.len();
        self.nodes.insert(path.to_owned(), found);
        self.changed = true;
    }

    fn forget(&mut self, path: &str) {
        if let Some(old) = self.nodes.remove(path) {
            self.bytes -= old.bytes.len();
            self.changed = true;
        }
    }

    /// A run's visit; one whose children were not asked for is none.
    fn visited(&mut self, path: &str, children: Option<Vec<String>>, stands: bool) {
        let (Some(crawl), Some(children)) = (&mut self.crawl, children) else { return };
        if !crawl.open.remove(path) {
            return;
        }
        if stands {
            crawl.seen.insert(path.to_owned());
        }
        let below = children.into_iter().map(|name| join(path, &name));
        let new: Vec<String> = below.filter(|child| !crawl.seen.contains(child)).collect();
        crawl.open.extend(new.iter().cloned());
        for child in new {
            self.want(&child);
        }
    }

    /// Ends a run that has seen everything: what it did not see is asked for by name.
    fn close(&mut self) {
        let Some(crawl) = self.crawl.take_if(|crawl| crawl.open.is_empty()) else { return };
        let known = self.nodes.keys().chain(&self.unreadable);
        let unseen: Vec<String> = known.filter(|path| !crawl.seen.contains(*path)).cloned().collect();
        for path in unseen {
            self.want(&path);
        }
    }

    /// Whether nothing is left to read.
    pub(super) fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.reading.is_empty() && self.crawl.is_none()
    }

    /// Whether anything changed that [`View::take_changed`] has not told yet.
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

#[cfg(test)]
mod tests;
