//! Scenarios in a small notation, on rows in memory and on real databases.

mod bounds;
mod deletes;
mod endpoints;
mod gone;
mod hazards;
mod jumps;
mod notation;
mod property;
mod pure;
mod refusals;
mod road;
mod world;
