//! The registries that are followed: in our own ensemble through the worker's session, in others through one session
//! an ensemble.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use asset::Registry;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use zk::{ConnectError, Elsewhere, Follower, ReadError, Session};

use crate::check::told;
use crate::registry::{Dropped, Entry, Registered, read};

/// One registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) registry: Registry,
    /// The other ensemble.
    pub(super) connect: Option<String>,
    pub(super) path: String,
}

/// What is known of a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// What it said last.
    pub(super) registered: Registered,
    /// Whether that is how it is now. What cannot be read now is never taken for an empty registry.
    pub(super) live: bool,
    /// Why it is not live.
    pub(super) trouble: Option<String>,
}

/// What is known of a registry that nothing is known of.
pub(super) static NOTHING: View = View {
    registered: Registered { instances: Vec::new(), left_out: Vec::new(), faults: Vec::new() },
    live: false,
    trouble: None,
};

/// Bounds of following.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) instances_max: usize,
    pub(super) ensembles_max: usize,
    pub(super) retry: Duration,
}

pub(super) struct Sources {
    session: Session,
    /// How other ensembles are reached.
    elsewhere: zk::Config,
    bounds: Bounds,
    all: BTreeMap<Key, Source>,
    ensembles: BTreeMap<String, Ensemble>,
    tasks: FuturesUnordered<Pin<Box<dyn Future<Output = Event> + Send>>>,
}

struct Source {
    view: View,
    state: State,
}

enum State {
    /// Followed; the task ends with this value.
    Followed(#[expect(dead_code, reason = "its drop ends the task")] DropGuard),
    /// To be followed from then on.
    Idle(Instant),
}

enum Ensemble {
    Connecting(#[expect(dead_code, reason = "its drop ends the task")] DropGuard),
    Up(Arc<Elsewhere>),
    /// Not reached; tried again then.
    Down(Instant),
}

enum Event {
    Connected(String, Result<Elsewhere, ConnectError>),
    Told(Key, Box<Follower>),
    Failed(Key, ReadError),
    /// Nobody wants to know any more.
    Unwanted,
}

impl Sources {
    pub(super) fn new(session: Session, elsewhere: zk::Config, bounds: Bounds) -> Sources {
        let (all, ensembles, tasks) = (BTreeMap::new(), BTreeMap::new(), FuturesUnordered::new());
        Sources { session, elsewhere, bounds, all, ensembles, tasks }
    }

    /// Follows these from now on, and none else.
    pub(super) fn set(&mut self, wanted: &BTreeSet<Key>) {
        self.all.retain(|key, _| wanted.contains(key));
        for key in wanted {
            let new = || Source { view: View::default(), state: State::Idle(Instant::now()) };
            self.all.entry(key.clone()).or_insert_with(new);
        }
        let used: BTreeSet<&String> = self.all.keys().filter_map(|key| key.connect.as_ref()).collect();
        self.ensembles.retain(|hosts, _| used.contains(hosts));
    }

    /// What is known of a registry; nothing of one that is not followed.
    pub(super) fn view(&self, key: &Key) -> &View {
        self.all.get(key).map_or(&NOTHING, |source| &source.view)
    }

    /// How many registries are followed, and how many of them are not live.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.all.len(), self.all.values().filter(|source| !source.view.live).count())
    }

    /// Follows until something is known that was not known before. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError`], when our own session is over.
    pub(super) async fn changed(&mut self) -> Result<(), ReadError> {
        loop {
            if self.begin(Instant::now()) {
                return Ok(());
            }
            let next = self.next_try();
            tokio::select! {
                Some(event) = self.tasks.next(), if !self.tasks.is_empty() => {
                    if self.take(event)? {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// When something that failed is tried again.
    fn next_try(&self) -> Option<Instant> {
        let sources = self.all.iter().filter_map(|(key, source)| match source.state {
            State::Followed(_) => None,
            State::Idle(at) => match key.connect.as_ref().and_then(|hosts| self.ensembles.get(hosts)) {
                Some(Ensemble::Connecting(_)) => None,
                Some(Ensemble::Down(until)) => Some(at.max(*until)),
                Some(Ensemble::Up(_)) | None => Some(at),
            },
        });
        sources.min()
    }

    /// Begins to follow what is due, and to connect where that is needed first. Returns whether that is news.
    fn begin(&mut self, now: Instant) -> bool {
        let is_due = |source: &Source| matches!(source.state, State::Idle(at) if at <= now);
        let due: Vec<Key> =
            self.all.iter().filter(|(_, source)| is_due(source)).map(|(key, _)| key.clone()).collect();
        let mut news = false;
        for key in due {
            match &key.connect {
                None => self.follow_ours(key),
                Some(hosts) => match self.ensembles.get(hosts) {
                    Some(Ensemble::Up(session)) => {
                        let session = Arc::clone(session);
                        self.follow_elsewhere(key, session);
                    }
                    Some(Ensemble::Connecting(_)) => {}
                    Some(Ensemble::Down(until)) if *until > now => {}
                    Some(Ensemble::Down(_)) => self.connect(&hosts.clone()),
                    None if self.ensembles.len() < self.bounds.ensembles_max => self.connect(&hosts.clone()),
                    None => news |= self.refuse(&key, now),
                },
            }
        }
        news
    }

    fn refuse(&mut self, key: &Key, now: Instant) -> bool {
        let trouble = format!(
            "{} other ensembles are followed already (endpoints.ensembles_max)",
            self.bounds.ensembles_max
        );
        self.fail(key, trouble, now + self.bounds.retry)
    }

    fn connect(&mut self, hosts: &str) {
        let (hosts, config) = (hosts.to_owned(), self.elsewhere.clone());
        let name = hosts.clone();
        let guard = self.begin_task(async move {
            let connected = Elsewhere::connect(&hosts, &config).await;
            Event::Connected(hosts, connected)
        });
        self.ensembles.insert(name, Ensemble::Connecting(guard));
    }

    fn follow_ours(&mut self, key: Key) {
        let (session, of) = (self.session.clone(), key.clone());
        self.follow(key, async move { session.follow_outside(&of.path).await });
    }

    fn follow_elsewhere(&mut self, key: Key, session: Arc<Elsewhere>) {
        let of = key.clone();
        self.follow(key, async move { session.follow(&of.path).await });
    }

    fn follow(
        &mut self,
        key: Key,
        begin: impl Future<Output = Result<Follower, ReadError>> + Send + 'static,
    ) {
        let of = key.clone();
        let guard = self.begin_task(async move {
            match begin.await {
                Ok(follower) => Event::Told(of, Box::new(follower)),
                Err(error) => Event::Failed(of, error),
            }
        });
        if let Some(source) = self.all.get_mut(&key) {
            source.state = State::Followed(guard);
        }
    }

    /// Polled by [`Sources::changed`] until the guard is dropped.
    fn begin_task(&mut self, work: impl Future<Output = Event> + Send + 'static) -> DropGuard {
        let wanted = CancellationToken::new();
        let guard = wanted.clone().drop_guard();
        self.tasks.push(Box::pin(async move {
            tokio::select! {
                biased;
                () = wanted.cancelled() => Event::Unwanted,
                event = work => event,
            }
        }));
        guard
    }

    /// Returns whether that is news.
    fn take(&mut self, event: Event) -> Result<bool, ReadError> {
        match event {
            Event::Unwanted => Ok(false),
            Event::Connected(hosts, Ok(session)) => {
                self.ensembles.insert(hosts, Ensemble::Up(Arc::new(session)));
                Ok(false)
            }
            Event::Connected(hosts, Err(error)) => {
                let again = Instant::now() + self.bounds.retry;
                let trouble = told(&error);
                let through = |key: &&Key| key.connect.as_ref() == Some(&hosts);
                let keys: Vec<Key> = self.all.keys().filter(through).cloned().collect();
                let mut news = false;
                for key in keys {
                    news |= self.fail(&key, trouble.clone(), again);
                }
                self.ensembles.insert(hosts, Ensemble::Down(again));
                Ok(news)
            }
            Event::Told(key, follower) => {
                let view = self.look(&key, &follower);
                self.next_of(&key, follower);
                Ok(self.set_view(&key, view))
            }
            Event::Failed(key, error) => self.failed(&key, error),
        }
    }

    fn failed(&mut self, key: &Key, error: ReadError) -> Result<bool, ReadError> {
        let is_over = matches!(error, ReadError::SessionOver { .. });
        let trouble = told(&error);
        let Some(hosts) = &key.connect else {
            if is_over {
                return Err(error);
            }
            return Ok(self.fail(key, trouble, Instant::now() + self.bounds.retry));
        };
        if !is_over {
            return Ok(self.fail(key, trouble, Instant::now() + self.bounds.retry));
        }
        // A session that ended takes a new one, at once; what cannot be reached then is tried again later.
        self.ensembles.remove(hosts);
        Ok(self.fail(key, trouble, Instant::now()))
    }

    fn fail(&mut self, key: &Key, trouble: String, again: Instant) -> bool {
        if let Some(source) = self.all.get_mut(key) {
            source.state = State::Idle(again);
        }
        let registered = self.view(key).registered.clone();
        self.set_view(key, View { registered, live: false, trouble: Some(trouble) })
    }

    fn set_view(&mut self, key: &Key, view: View) -> bool {
        let Some(source) = self.all.get_mut(key) else { return false };
        let news = source.view != view;
        source.view = view;
        news
    }

    fn next_of(&mut self, key: &Key, mut follower: Box<Follower>) {
        let of = key.clone();
        let guard = self.begin_task(async move {
            match follower.changed().await {
                Ok(()) => Event::Told(of, follower),
                Err(error) => Event::Failed(of, error),
            }
        });
        if let Some(source) = self.all.get_mut(key) {
            source.state = State::Followed(guard);
        }
    }

    fn look(&self, key: &Key, follower: &Follower) -> View {
        let trouble = if !follower.is_connected() {
            let whom = key.connect.as_deref().unwrap_or("our own ensemble");
            Some(format!("the connection to {whom} is lost"))
        } else if follower.unreadable().contains("") {
            Some(format!("`{}` may not be read; give the worker READ on it", key.path.escape_debug()))
        } else if !follower.nodes().contains_key("") {
            Some(format!(
                "`{}` is not there; nothing has registered yet, or the path is another",
                key.path.escape_debug()
            ))
        } else {
            None
        };
        let children = follower.nodes().iter().filter(|(path, _)| is_child(path));
        let entries = children.map(|(node, found)| Entry { node, czxid: found.czxid, bytes: &found.bytes });
        let mut registered = match &trouble {
            None => read(key.registry, entries, self.bounds.instances_max),
            Some(_) => self.view(key).registered.clone(),
        };
        if trouble.is_none() {
            let czxid_of = |node: &str| follower.nodes().get(node).map(|found| found.czxid);
            registered.keep(&self.view(key).registered, czxid_of);
            let unreadable = follower.unreadable().iter().filter(|path| is_child(path));
            let fault = |node: &String| Dropped {
                node: node.clone(),
                reason: "it may not be read; what it said last counts".to_owned(),
            };
            registered.faults.extend(unreadable.map(fault));
        }
        View { registered, live: trouble.is_none(), trouble }
    }
}

fn is_child(path: &str) -> bool {
    !path.is_empty() && !path.contains('/')
}
