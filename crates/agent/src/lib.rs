//! Beside one Superset node: registers it in ZooKeeper, keeps its live settings and templates fresh, restarts it under
//! a fleet lock. And once in an environment: the elected worker that follows other services' registries and chooses
//! the endpoints that Superset's databases use.
//!
//! What comes in is ZooKeeper's `settings`, `services` and `control`, and foreign registries; what goes out are
//! ephemeral registrations, files beside Superset, and `endpoints/<name>` in ZooKeeper, from where a chosen endpoint
//! travels as any other change. Knows nothing of SQL or of the queue.
//!
//! # What survives a crash
//! Nothing is kept but the files that were written, each by rename: everything else is read anew from ZooKeeper, and a
//! registration goes with its session.

pub mod check;
pub mod choose;
pub mod discover;
pub mod endpoints;
mod group;
pub mod health;
pub mod hook;
pub mod instance;
pub mod live;
pub mod node;
pub mod process;
pub mod registry;
pub mod rolling;
pub mod run;
pub mod scale;
pub mod template;
