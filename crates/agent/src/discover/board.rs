//! What this process knows, for all of its parts to look at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Root, World};
use crate::template::State;

/// What this process knows of ZooKeeper, and how its files stand. Clones share it.
#[derive(Debug, Clone)]
pub struct Board(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    worlds: watch::Sender<World>,
    states: watch::Sender<BTreeMap<String, State>>,
    /// Since when what is known of a part may be out of date.
    lost: watch::Sender<BTreeMap<Root, Instant>>,
}

impl Default for Board {
    fn default() -> Board {
        Board(Arc::new(Inner {
            worlds: watch::Sender::default(),
            states: watch::Sender::default(),
            lost: watch::Sender::default(),
        }))
    }
}

impl Board {
    /// What is known now, or was when the connection was lost.
    #[must_use]
    pub fn world(&self) -> World {
        self.0.worlds.borrow().clone()
    }

    /// How old what is known may be: zero while ZooKeeper is followed, `None` if it never was.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        if !self.0.worlds.borrow().knows(Root::Services) {
            return None;
        }
        let lost = self.0.lost.borrow();
        Some(lost.values().map(Instant::elapsed).max().unwrap_or_default())
    }

    /// How the files stand, by their paths.
    #[must_use]
    pub fn files(&self) -> Vec<State> {
        self.0.states.borrow().values().cloned().collect()
    }

    pub(super) fn worlds(&self) -> watch::Receiver<World> {
        self.0.worlds.subscribe()
    }

    pub(super) fn states(&self) -> watch::Receiver<BTreeMap<String, State>> {
        self.0.states.subscribe()
    }

    pub(super) fn tell(&self, state: &State) {
        self.0.states.send_modify(|states| {
            states.insert(state.target.clone(), state.clone());
        });
    }

    pub(super) fn know(&self, root: Root, connected: bool, note: impl FnOnce(&mut World)) {
        self.0.worlds.send_modify(note);
        self.0.lost.send_modify(|lost| {
            if connected {
                lost.remove(&root);
            } else {
                lost.entry(root).or_insert_with(Instant::now);
            }
        });
    }

    /// Nobody follows any more.
    pub(super) fn lost(&self) {
        self.0.lost.send_modify(|lost| {
            for root in Root::ALL {
                if self.0.worlds.borrow().knows(root) {
                    lost.entry(root).or_insert_with(Instant::now);
                }
            }
        });
    }
}
