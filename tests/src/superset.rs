//! What Superset itself makes of it: a real Superset 6.1 on the metadata database that the real program writes,
//! with a real ZooKeeper before it and a real PostgreSQL as the data that is charted.

mod bundle;
mod data;
mod examples;
mod export;
mod hard;
mod living;
mod oracle;
mod rich;
mod site;

pub(crate) use site::turn;
