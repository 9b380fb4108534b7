//! A subtree kept fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;
use zookeeper_client::{
    AddWatchMode, Client, Error as ZkError, EventType, PersistentWatcher, SessionState, WatchedEvent,
};

use crate::config::{Config, FollowConfig};
use crate::read::{Found, ReadError};
use crate::session::{ConnectError, Session, connect_elsewhere, is_lost, is_over};
use view::{Answer, View, Want};

mod view;

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A subtree as it stands, kept fresh by whoever awaits [`Follower::changed`].
///
/// # Guarantees
/// - Once `changed` pends on an idle, connected follower, `nodes` is what stands on the server that we are connected
///   to, as far as it may be read.
/// - What cannot be read is never taken for gone: it stays as it was, and its path stands in `unreadable`.
/// - After a lost connection everything is read again before `is_connected` is true: neither this client nor any server
///   tells afterwards what happened meanwhile.
///
/// # Assumptions
/// - The session sets no one-shot watch on the followed root itself: ZooKeeper before 3.9 then drops the recursive one
///   (ZOOKEEPER-4466). On paths below it does no harm.
pub struct Follower {
    source: Arc<Source>,
    view: View,
    connected: bool,
    /// The connection was lost, or never there, since the watch was last set.
    stale: bool,
    /// `connected`, as the caller last heard of it.
    told_connected: bool,
    watcher: Option<PersistentWatcher>,
    arming: Option<Pending<Result<PersistentWatcher, ZkError>>>,
    reads: FuturesUnordered<Pending<(String, Result<Answer, ZkError>)>>,
    /// When the oldest change was seen that the caller has not been told of.
    news: Option<Instant>,
    next_crawl: Instant,
    over: Option<ZkError>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("root", &self.source.root)
            .field("nodes", &self.view.nodes.len())
            .field("unreadable", &self.view.unreadable)
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

/// Where the subtree is read.
struct Source {
    client: Client,
    /// Absolute in the client's chroot, without a trailing slash; empty for everything.
    root: String,
    /// What must stand for an absence to count; the environment's generation.
    stands: Option<&'static str>,
    bounds: FollowConfig,
    in_flight: usize,
}

/// A session with another ensemble, to follow what stands there; it carries no credentials.
pub struct Elsewhere {
    client: Client,
    bounds: FollowConfig,
    in_flight: usize,
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Elsewhere({:?} at {})", self.client.session_id(), self.client.path())
    }
}

impl Session {
    /// Follows what stands below `path`, which is below the environment's root (`services`). It need not exist.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::NotInitialised`] if there is no environment, and later if it is gone.
    pub async fn follow(&self, path: &str) -> Result<Follower, ReadError> {
        let path: change::ZnodePath = path.parse()?;
        self.must_stand().await?;
        Follower::begin(Source {
            client: self.client().clone(),
            root: format!("/{}", path.as_str()),
            stands: Some("/generation"),
            bounds: self.config().follow,
            in_flight: self.config().reads_in_flight,
        })
        .await
    }

    /// Follows what stands below `path`, counted from the end of the connect string's chroot (`/hiveserver2`). It need
    /// not exist; a root that goes is an empty map.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn follow_outside(&self, path: &str) -> Result<Follower, ReadError> {
        Follower::begin(Source {
            client: self.above(),
            root: outside(path)?,
            stands: None,
            bounds: self.config().follow,
            in_flight: self.config().reads_in_flight,
        })
        .await
    }
}

impl Elsewhere {
    /// Connects to `hosts` with the timeouts and bounds of `config`, and with its certificate authority for
    /// `tcp+tls://`, but without anything that it logs in by.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(hosts: &str, config: &Config) -> Result<Elsewhere, ConnectError> {
        let client = connect_elsewhere(hosts, config).await?;
        Ok(Elsewhere { client, bounds: config.follow, in_flight: config.reads_in_flight })
    }

    /// As [`Session::follow_outside`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn follow(&self, path: &str) -> Result<Follower, ReadError> {
        Follower::begin(Source {
            client: self.client.clone(),
            root: outside(path)?,
            stands: None,
            bounds: self.bounds,
            in_flight: self.in_flight,
        })
        .await
    }
}

/// An absolute path of a foreign tree, without a trailing slash.
fn outside(path: &str) -> Result<String, ReadError> {
    if path == "/" {
        return Ok(String::new());
    }
    let inner: change::ZnodePath = path.strip_prefix('/').unwrap_or(path).parse()?;
    Ok(format!("/{}", inner.as_str()))
}

impl Follower {
    async fn begin(source: Source) -> Result<Follower, ReadError> {
        let bounds = source.bounds;
        let mut follower = Follower {
            source: Arc::new(source),
            view: View::new(bounds),
            connected: false,
            stale: true,
            told_connected: false,
            watcher: None,
            arming: None,
            reads: FuturesUnordered::new(),
            news: None,
            next_crawl: Instant::now() + bounds.crawl_every,
            over: None,
        };
        follower.arm();
        while !follower.connected {
            follower.step().await?;
        }
        follower.told();
        Ok(follower)
    }

    /// The subtree by path relative to its root; the root itself is the empty path.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<String, Found> {
        &self.view.nodes
    }

    /// Paths that may not be read, as in [`Follower::nodes`].
    #[must_use]
    pub fn unreadable(&self) -> &BTreeSet<String> {
        &self.view.unreadable
    }

    /// Whether the view is known to be fresh: false from a lost connection until everything was read again.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The followed root, as the messages name it.
    #[must_use]
    pub fn root(&self) -> String {
        self.source.absolute("")
    }

    /// Waits until `nodes`, `unreadable` or `is_connected` are others than before. A burst of changes is told of once.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError`]; the follower is of no more use then.
    pub async fn changed(&mut self) -> Result<(), ReadError> {
        loop {
            let gathered = self.news.is_some_and(|since| since.elapsed() >= self.source.bounds.gather);
            if self.news.is_some() && (gathered || self.view.is_settled()) {
                self.told();
                return Ok(());
            }
            self.step().await?;
        }
    }

    fn told(&mut self) {
        self.view.take_changed();
        self.told_connected = self.connected;
        self.news = None;
    }

    /// One thing that happens, and all that has happened with it.
    async fn step(&mut self) -> Result<(), ReadError> {
        if let Some(over) = &self.over {
            return Err(self.source.error("", over.clone()));
        }
        self.send_reads();
        let until = self.wake_at();
        tokio::select! {
            biased;
            event = event(&mut self.watcher) => self.hear(event),
            armed = pending(&mut self.arming) => self.armed(armed)?,
            Some((path, answer)) = self.reads.next() => self.take(&path, answer)?,
            () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
        }
        while let Some(event) = event(&mut self.watcher).now_or_never() {
            self.hear(event);
        }
        while let Some(Some((path, answer))) = self.reads.next().now_or_never() {
            self.take(&path, answer)?;
        }
        if self.next_crawl <= Instant::now() && self.arming.is_none() {
            self.crawl();
        }
        self.connected = !self.stale && (self.connected || self.view.is_settled());
        if self.news.is_none() && (self.view.has_changed() || self.connected != self.told_connected) {
            self.news = Some(Instant::now());
        }
        Ok(())
    }

    /// When to look up though nothing happens. Once the watch stands everything is crawled anyway, and a moment that
    /// has passed would be no wait at all.
    fn wake_at(&self) -> Option<Instant> {
        let crawl = self.arming.is_none().then_some(self.next_crawl);
        let gathered = self.news.map(|since| since + self.source.bounds.gather);
        let gathered = gathered.filter(|gathered| *gathered > Instant::now());
        crawl.into_iter().chain(gathered).min()
    }

    /// Sets the recursive watch, again after a lost connection: zookeeper-client 0.11.2 does not. The old watcher stays
    /// until the new one stands, so that the session's own events are never missed.
    fn arm(&mut self) {
        let source = Arc::clone(&self.source);
        self.arming = Some(Box::pin(async move {
            source.client.watch(&source.path(""), AddWatchMode::PersistentRecursive).await
        }));
    }

    fn armed(&mut self, armed: Result<PersistentWatcher, ZkError>) -> Result<(), ReadError> {
        self.arming = None;
        match armed {
            Ok(watcher) => {
                self.stale = false;
                // What only the old one was told.
                while let Some(event) = event(&mut self.watcher).now_or_never() {
                    self.hear(event);
                }
                if self.over.is_none() {
                    self.watcher = Some(watcher);
                }
                self.crawl();
                Ok(())
            }
            // The client holds the next request back until there is a connection.
            Err(error) if is_lost(&error) => {
                self.arm();
                Ok(())
            }
            Err(error) => Err(self.source.error("", error)),
        }
    }

    fn crawl(&mut self) {
        self.next_crawl = Instant::now() + self.source.bounds.crawl_every;
        self.view.crawl();
    }

    fn hear(&mut self, event: WatchedEvent) {
        match event.event_type {
            EventType::Session => match event.session_state {
                SessionState::Disconnected | SessionState::ConnectedReadOnly => self.disconnected(),
                SessionState::SyncConnected => {
                    self.disconnected();
                    self.arm();
                }
                SessionState::AuthFailed => self.end(ZkError::AuthFailed),
                SessionState::Expired => self.end(ZkError::SessionExpired),
                SessionState::Closed => self.end(ZkError::ClientClosed),
            },
            EventType::NodeCreated | EventType::NodeDeleted | EventType::NodeDataChanged => {
                if let Some(path) = self.source.relative(&event.path) {
                    self.view.want(path);
                }
            }
            EventType::NodeChildrenChanged => {}
        }
    }

    fn disconnected(&mut self) {
        self.stale = true;
        self.connected = false;
    }

    fn end(&mut self, how: ZkError) {
        // A watcher that told of the end must not be asked again.
        self.watcher = None;
        self.disconnected();
        self.over = Some(how);
    }

    fn send_reads(&mut self) {
        while let Some(Want { path, list }) = self.view.next(self.source.in_flight.max(1)) {
            let source = Arc::clone(&self.source);
            self.reads.push(Box::pin(async move {
                let answer = source.read(&path, list).await;
                (path, answer)
            }));
        }
    }

    fn take(&mut self, path: &str, answer: Result<Answer, ZkError>) -> Result<(), ReadError> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if is_lost(&error) => Answer::Lost,
            Err(error) => return Err(self.source.error(path, error)),
        };
        self.view.answer(path, answer).map_err(|_| ReadError::TooMuch {
            path: self.source.absolute(""),
            nodes: self.source.bounds.nodes_max,
            bytes: self.source.bounds.bytes_max,
        })
    }
}

impl Source {
    async fn read(&self, path: &str, list: bool) -> Result<Answer, ZkError> {
        let at = self.path(path);
        if list && path.is_empty() {
            // A run begins: what the leader has by now must not be missing from it.
            self.client.sync(&at).await?;
        }
        let (bytes, stat) = match self.client.get_data(&at).await {
            Ok(answer) => answer,
            Err(ZkError::NoNode) => return self.gone().await,
            Err(ZkError::NoAuth) => return Ok(Answer::Forbidden),
            Err(error) => return Err(error),
        };
        let children = match list {
            false => None,
            true if stat.num_children == 0 => Some(Vec::new()),
            true => match self.client.list_children(&at).await {
                Ok(children) => Some(children),
                Err(ZkError::NoNode) => return self.gone().await,
                Err(ZkError::NoAuth) => return Ok(Answer::Forbidden),
                Err(error) => return Err(error),
            },
        };
        Ok(Answer::Here { found: Found::new(bytes, &stat), children })
    }

    /// An absence counts only in an environment that stands.
    async fn gone(&self) -> Result<Answer, ZkError> {
        match self.stands {
            Some(witness) if self.client.check_stat(witness).await?.is_none() => Err(ZkError::NoNode),
            _ => Ok(Answer::Gone),
        }
    }

    fn path(&self, relative: &str) -> String {
        match (self.root.as_str(), relative) {
            ("", "") => "/".to_owned(),
            (root, "") => root.to_owned(),
            (root, relative) => format!("{root}/{relative}"),
        }
    }

    fn relative<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.root.as_str())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }

    /// For messages.
    fn absolute(&self, relative: &str) -> String {
        let base = self.client.path().trim_end_matches('/');
        format!("{base}{}", self.path(relative).escape_default())
    }

    fn error(&self, relative: &str, source: ZkError) -> ReadError {
        let path = self.absolute(relative);
        match source {
            ZkError::NoNode => ReadError::NotInitialised { root: self.client.path().to_owned() },
            ZkError::NoAuth => ReadError::Forbidden { path },
            source if is_over(&source) => ReadError::SessionOver { path, source },
            source => ReadError::Zookeeper { path, source },
        }
    }
}

async fn event(watcher: &mut Option<PersistentWatcher>) -> WatchedEvent {
    match watcher {
        Some(watcher) => watcher.changed().await,
        None => std::future::pending().await,
    }
}

async fn pending<T>(future: &mut Option<Pending<T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
