//! Locks and registrations through the real program, beside the clients of other languages that contend for them.

mod run;
mod world;
