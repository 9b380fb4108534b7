//! Who is registered, in files and over HTTP: the real program, ZooKeeper, nginx and HAProxy.

mod asking;
mod balancers;
mod beside;
mod faults;
mod fleet;
mod storm;
