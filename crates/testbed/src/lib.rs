//! Real servers for tests and for the demo: [`Zookeeper`], [`Postgres`], [`Mariadb`], [`Superset`] and a [`Balancer`]
//! (nginx, HAProxy) as child processes on free loopback ports, each in a folder of its own. Nothing here knows setkeeper.
//!
//! `deploy/setup.sh --with-superset` installs what is started here; an error says so where something is missing.
//!
//! # Guarantees
//! - Every wait has a deadline, which stands in the server's `Options`; an error quotes the end of the server's log.
//! - A server ends with its value, and also when the process that holds it is killed or never drops it (a `static`):
//!   a small guard process kills it then, and removes the folder if it was a temporary one. Only `detach` lets it
//!   live on.
//! - A restarted server has the same port and the same data.
//!
//! # Assumptions
//! - Linux with the Debian 12 packages. As root, PostgreSQL runs as the user `postgres`, since it refuses root;
//!   MariaDB runs as root.

pub mod balancer;
pub mod clients;
mod error;
mod folder;
pub mod mariadb;
mod port;
pub mod postgres;
mod process;
mod run;
pub mod superset;
pub mod zookeeper;

pub use balancer::Balancer;
pub use error::Error;
pub use mariadb::Mariadb;
pub use postgres::Postgres;
pub use process::Detached;
pub use superset::Superset;
pub use zookeeper::Zookeeper;
