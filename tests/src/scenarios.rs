//! What the pipeline does with every kind of change, on real ZooKeeper, once with a SQLite and once with a PostgreSQL
//! metadata database of Superset, through the real program.
//!
//! Scenarios that only come and go share one running pipeline a database, each in a project with names of its own
//! ([`world::World`]); those that pause, kill, wipe or restore have one for themselves.

mod bad_input;
mod command_line;
mod endpoints;
mod following;
mod guard;
mod lives;
mod long;
mod losses;
mod pauses;
mod references;
mod restores;
mod resyncs;
mod secrets;
mod together;
mod world;

/// Scenarios in the shared pipeline: a test for each of them on each database.
macro_rules! shared {
    ($($scenario:ident),* $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $scenario() {
                crate::scenarios::world::shared(crate::pipeline::Metadata::Sqlite, super::$scenario);
            })*
        }
        mod postgresql {
            $(#[test]
            fn $scenario() {
                crate::scenarios::world::shared(crate::pipeline::Metadata::Postgres, super::$scenario);
            })*
        }
    };
}

/// Scenarios that start what they need themselves: a test for each of them on each database.
macro_rules! alone {
    ($($scenario:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(crate::pipeline::Metadata::Sqlite).await;
            })*
        }
        mod postgresql {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(crate::pipeline::Metadata::Postgres).await;
            })*
        }
    };
}

use {alone, shared};
