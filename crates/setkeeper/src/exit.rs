//! How a command ends.

use std::process::ExitCode;

/// The exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; nothing found.
    Done,
    /// Failed.
    Failed,
    /// Differences or findings.
    Found,
    /// The command line is wrong.
    Usage,
    /// A server cannot be reached.
    Unreachable,
    /// A lock could not be acquired in time; what was to run under it has not run.
    NotAcquired,
    /// A lock was lost; what ran under it was ended.
    Lost,
    /// The configuration is wrong.
    Configuration,
    /// What a command of the caller's ended with, as a shell tells it.
    Command(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Found => 2,
            Exit::Usage => 64,
            Exit::Unreachable => 69,
            Exit::NotAcquired => 75,
            Exit::Lost => 76,
            Exit::Configuration => 78,
            Exit::Command(code) => code,
        })
    }
}

/// Why a command failed: the exit code and the chain of causes, printed once, at the edge.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    lines: Vec<String>,
    hint: Option<&'static str>,
}

impl Failure {
    /// A failure that says `message`.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, lines: vec![message.into()], hint: None }
    }

    /// A failure with an error and its sources.
    pub(crate) fn of(exit: Exit, error: &dyn std::error::Error) -> Failure {
        Failure { exit, lines: chain(error), hint: None }
    }

    /// Says how to mend it, where the error itself cannot know.
    pub(crate) fn hint(mut self, hint: &'static str) -> Failure {
        self.hint = Some(hint);
        self
    }

    /// Prints it to standard error and gives the code to end with.
    pub(crate) fn report(&self) -> Exit {
        let told = self.lines.iter().enumerate().map(|(depth, line)| {
            let lead = if depth == 0 { "setkeeper: " } else { "  because: " };
            format!("{lead}{line}")
        });
        let hint = self.hint.map(|hint| format!("  to mend it: {hint}"));
        crate::output::say(&told.chain(hint).collect::<Vec<_>>().join("\n"));
        self.exit
    }
}

/// An error and its sources, outermost first.
pub(crate) fn chain(error: &dyn std::error::Error) -> Vec<String> {
    let mut lines = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        lines.push(cause.to_string());
        source = cause.source();
    }
    lines
}
