//! The watcher: what is committed in ZooKeeper below an environment's watched roots, in; records of the topic
//! `changes`, out.
//!
//! It uses any ZooKeeper from 3.6 on through the client port alone: a persistent recursive watch, then a pipelined
//! snapshot, then the stream of events with a read at each.
//!
//! # Guarantees
//! - Whatever stands in ZooKeeper reaches the log, and so does every delete, over lost connections, over the watcher's
//!   own downtime, and over a crash at any point. Versions that are overwritten before they can be read are counted.
//! - A multi that carries an edit record is one record of the log.
//! - Nothing but a znode's proved absence becomes a delete: not a refused read, a missing root, a broken connection or
//!   an expired session. An ensemble that is not the one on record (wiped, restored, replaced) freezes the watcher.
//! - The records of a term stand behind its [`change::Term`] record, and no later term has begun before them.
//!
//! # Assumptions
//! - The session is the watcher's own, without one-shot watches on the environment's root, and may read every watched
//!   path: ZooKeeper sends no events of znodes that it may not read. What is refused is counted, never taken for gone.
//! - While the queue is full the watcher takes in nothing: it gives up its watch, and compares the whole tree once there
//!   is room.
//!
//! # What survives a crash
//! The log is the known tree: [`change::Tree`] folded over `changes`. Its checkpoint stands in the queue's
//! latest-per-key topic `tree`, under the keys `node/<path>`, `checkpoint`, `canary`, `state` and `frozen`.
//!
//! # Reading order
//! `run` (the worker) and `run/rebuild`; `feed` (one state, one step), `stream`, `reconcile`, `seen`, `known`,
//! `canary` (pure); `zookeeper` and `log` (edges).

mod canary;
mod fail;
mod feed;
mod known;
mod log;
mod reconcile;
mod run;
mod seen;
mod stats;
mod stream;
mod zookeeper;

#[cfg(feature = "broken")]
pub use fail::Broken;
pub use fail::{Fail, FailPoint, UnknownFailPoint};
pub use log::{Saved, saved};
pub use run::{Advice, Config, Error, Stopped, Watcher};
pub use stats::{Phase, State, Stats};
