//! Tests of the whole crate on a small database in memory that checks keys after every single operation.

mod columns;
mod deletes;
mod documents;
mod golden;
mod histories;
mod names;
mod world;
