//! Locks and registrations through the real program, beside the clients of other languages that contend for them.

mod foreign;
mod interop;
mod monitor;
mod pause;
mod run;
mod sql;
mod world;
