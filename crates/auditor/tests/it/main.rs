//! The auditor on the embedded queue and a SQLite file, in the notation of its domain.

mod crash;
mod proof;
mod recording;
mod secrets;
mod views;
mod world;
