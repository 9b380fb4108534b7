//! What can go wrong with a server.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Why a server could not be started or handled. `Debug` prints what `Display` prints, with the sources below it:
/// that is what a failed `unwrap` in a test shows.
#[derive(thiserror::Error)]
pub enum Error {
    /// A program or file that `deploy/setup.sh` installs is not there.
    #[error("find {what} at `{}`; run `deploy/setup.sh --with-superset`", path.display())]
    Missing {
        /// What is missing.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file or folder could not be made, read, copied or removed.
    #[error("{doing} `{}`", path.display())]
    File {
        /// The attempt, as a verb phrase.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A program could not be started at all, or not be signalled.
    #[error("{doing} {name}")]
    Process {
        /// The attempt, as a verb phrase.
        doing: &'static str,
        /// The server or program.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A program that should have done its work failed, or was not done within its time.
    #[error("run {name}: {how}\n{output}")]
    Command {
        /// The program and what it was asked for.
        name: String,
        /// Its exit code, or the time it had.
        how: String,
        /// The end of what it printed.
        output: String,
    },
    /// The server ended while it was waited for.
    #[error("start {name}: it ended with {status}; the end of its log:\n{log}")]
    Ended {
        /// The server.
        name: &'static str,
        /// Its exit status.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// The server did not answer, or did not end, within its time.
    #[error("wait for {name} to {what} within {within:?}; the end of its log:\n{log}")]
    Late {
        /// The server.
        name: &'static str,
        /// What was waited for.
        what: &'static str,
        /// The time it had.
        within: Duration,
        /// The end of its log.
        log: String,
    },
    /// Another program listens on the port that was asked for.
    #[error("start {name}: port {port} of 127.0.0.1 is in use")]
    PortTaken {
        /// The server.
        name: &'static str,
        /// The port.
        port: u16,
    },
    /// No free port was found.
    #[error("find a free port of 127.0.0.1 in {0} attempts")]
    NoPort(u32),
    /// The call needs a running server, or one that does not run.
    #[error("{doing}: {name} {state}")]
    State {
        /// The attempt, as a verb phrase.
        doing: &'static str,
        /// The server.
        name: &'static str,
        /// What it is instead.
        state: &'static str,
    },
    /// A question to the server failed.
    #[error("ask {name} for `{question}`")]
    Ask {
        /// The server.
        name: &'static str,
        /// What was asked.
        question: String,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server answered with a refusal.
    #[error("ask {name} for `{question}`: it answered {status}: {body}")]
    Refused {
        /// The server.
        name: &'static str,
        /// What was asked.
        question: String,
        /// The HTTP status.
        status: u16,
        /// The answer's body.
        body: String,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")?;
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            write!(out, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
