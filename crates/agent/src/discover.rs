//! Who is registered, for whoever asks: the files of [`crate::template`], Prometheus over HTTP, the command line.
//!
//! # What survives a crash
//! The files. What the last session knew stays on the [`Board`] while the next one reads, for as long as the process
//! lives.

mod board;
#[cfg(test)]
pub(crate) mod fixtures;
mod formats;
mod server;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zk::{ReadError, Session};

pub use board::Board;
pub use formats::{prometheus, rendered};
pub use server::{Server, WEIGHT_MAX};
pub use world::{Instances, Root, Unknown, World};

pub(crate) use world::{Branch, Held};

use crate::template::{self, Template};

/// Where each process tells how its templates stand: an ephemeral znode a process.
pub const REPORTS: &str = "workers/discovery";

/// What the worker keeps.
#[derive(Debug, Clone)]
pub struct Config {
    /// The files.
    pub templates: Vec<Template>,
    /// The name of this process's report below [`REPORTS`].
    pub name: String,
    /// Host and pid, for whoever reads the report.
    pub holder: String,
    /// The least time between two reports.
    pub report_every: Duration,
}

/// Follows the registrations and what the templates look into, and keeps the files.
#[derive(Debug)]
pub struct Discovery {
    config: Config,
    session: Session,
    board: Board,
}

/// Why the worker ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was asked to.
    Asked,
}

/// Why the worker ended badly.
#[derive(Debug, thiserror::Error)]
#[error("follow what stands in zookeeper")]
pub struct Error(#[from] ReadError);

impl Error {
    /// Whether trying again can help.
    #[must_use]
    pub fn advice(&self) -> zk::Advice {
        self.0.advice()
    }
}

impl Discovery {
    /// A worker that shows on `board` what it knows.
    #[must_use]
    pub fn new(config: Config, session: Session, board: Board) -> Discovery {
        Discovery { config, session, board }
    }

    /// Works until `stop`. A file that is being written is then left as it was, whole, and a reload that is owed is
    /// noted beside it.
    ///
    /// # Errors
    /// The session is over, or ZooKeeper cannot be read. A fault of a template is none: it stands on the board.
    pub async fn run(self, stop: CancellationToken) -> Result<Stopped, Error> {
        let ended = self.work(&stop).await;
        self.board.lost();
        ended
    }

    async fn work(&self, stop: &CancellationToken) -> Result<Stopped, Error> {
        let needs = watch::Sender::new(BTreeSet::from([Root::Services]));
        let need = |roots: &BTreeSet<Root>| {
            needs.send_if_modified(|needed| {
                let before = needed.len();
                needed.extend(roots);
                needed.len() > before
            });
        };
        let tell = |state: &template::State| self.board.tell(state);
        let mut keeping: FuturesUnordered<_> = self
            .config
            .templates
            .iter()
            .map(|template| template::keep(template, self.board.worlds(), tell, need))
            .collect();
        let reporting = self.report();
        tokio::pin!(reporting);
        let mut asked = needs.subscribe();
        let mut followed = BTreeSet::new();
        let mut following: FuturesUnordered<BoxFuture<'_, Result<Infallible, ReadError>>> =
            FuturesUnordered::new();
        loop {
            for root in asked.borrow_and_update().iter() {
                if followed.insert(*root) {
                    following.push(Box::pin(self.follow(*root)));
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Stopped::Asked),
                Some(ended) = following.next() => match ended {
                    Err(error) => return Err(error.into()),
                },
                Some(()) = keeping.next() => {}
                _ = asked.changed() => {}
                _ = &mut reporting => {}
            }
        }
    }

    /// Keeps the board's view of one part of the environment.
    async fn follow(&self, root: Root) -> Result<Infallible, ReadError> {
        let mut follower = self.session.follow(root.folder()).await?;
        let mut first = true;
        loop {
            let connected = follower.is_connected();
            self.board.know(root, connected, |world| {
                if first {
                    world.fresh(root, follower.nodes(), follower.unreadable());
                } else {
                    world.set(root, follower.nodes(), follower.unreadable());
                }
            });
            first = false;
            follower.changed().await?;
        }
    }

    /// Tells how the files stand where `setkeeper status` finds it. What cannot be told is logged, and tried again: the
    /// files matter more.
    async fn report(&self) -> Infallible {
        if self.config.templates.is_empty() {
            std::future::pending::<()>().await;
        }
        let mut states = self.board.states();
        let mut told = None;
        loop {
            let text = self.report_text(&states.borrow_and_update());
            if told.as_ref() != Some(&text) {
                told = match self.put_report(text.as_bytes()).await {
                    Ok(()) => Some(text),
                    Err(error) => {
                        tracing::warn!(%error, "`setkeeper status` is not told how the templates stand");
                        None
                    }
                };
            }
            tokio::time::sleep(self.config.report_every).await;
            if told.is_some() && states.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn report_text(&self, states: &BTreeMap<String, template::State>) -> String {
        let files: Vec<_> = states.values().collect();
        serde_json::json!({"v": 1, "holder": self.config.holder, "templates": files}).to_string()
    }

    async fn put_report(&self, bytes: &[u8]) -> Result<(), zookeeper_client::Error> {
        let client = self.session.client();
        // With the session in it: what the one before has left goes with that one.
        let path = format!("/{REPORTS}/{}-{}", self.config.name, client.session_id());
        match client.set_data(&path, bytes, None).await {
            Err(zookeeper_client::Error::NoNode) => {}
            done => return done.map(drop),
        }
        let folder = zookeeper_client::CreateMode::Persistent.with_acls(self.session.acls());
        client.mkdir(&format!("/{REPORTS}"), &folder).await?;
        let mode = zookeeper_client::CreateMode::Ephemeral.with_acls(self.session.acls());
        client.create(&path, bytes, &mode).await.map(drop)
    }
}
