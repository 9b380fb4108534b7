//! Scenarios in a small notation, on rows in memory and on real databases.

mod deletes;
mod endpoints;
mod hazards;
mod jumps;
mod notation;
mod property;
mod pure;
mod road;
mod world;
