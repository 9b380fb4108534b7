//! A database of the configuration: how to reach it, without ever printing its password.

use std::fmt;

use sql::{ConnectError, Database};

/// How to reach a database.
#[derive(Clone)]
pub(crate) struct Source {
    url: String,
    config: sql::Config,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Source {
    /// The database at `url`, which may hold a password.
    pub(super) fn new(url: String, config: sql::Config) -> Source {
        Source { url, config }
    }

    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`], without the password.
    pub(crate) async fn connect(&self) -> Result<Database, ConnectError> {
        Database::connect(&self.url, self.config.clone()).await
    }

    /// Connects for reading only what is there: a missing file is an error.
    ///
    /// # Errors
    /// [`ConnectError`], without the password.
    pub(crate) async fn connect_existing(&self) -> Result<Database, ConnectError> {
        Database::connect(&self.url, sql::Config { create: false, ..self.config.clone() }).await
    }
}
