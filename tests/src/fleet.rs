//! The agents of a fleet, by the real program on a real ZooKeeper: with a stand-in for Superset where Superset itself
//! adds nothing, and with real ones.

mod drained;
mod live;
mod node;
mod real;
mod registered;
mod rolling;
mod scaled;
mod world;
