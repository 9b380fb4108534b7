//! A command of the configuration: a program and its arguments, never a shell.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Child;
use tokio::time::{Instant, timeout};

use crate::group::Group;

/// How much of a command's output is told, in bytes: the end of it.
const TOLD: usize = 2048;

/// How long what a command has printed may take to arrive once it has ended. A daemon that it leaves behind may hold
/// the pipe for good.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What stands for the file's path in an argument.
const FILE: &str = "{file}";

/// A program and its arguments, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    argv: Vec<String>,
    within: Duration,
}

/// Why a command did not do what it was for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandFault {
    /// It did not start.
    #[error("start `{program}`: {why}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        why: String,
    },
    /// It ended badly.
    #[error("`{program}` ended with {status}: {said}")]
    Ended {
        /// The program.
        program: String,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        said: String,
    },
    /// It took too long, and was ended with all that it had started.
    #[error("`{program}` did not end within {within:?}: {said}")]
    Late {
        /// The program.
        program: String,
        /// The time that it had.
        within: Duration,
        /// The end of what it printed.
        said: String,
    },
}

impl Command {
    /// A command of a program and its arguments; `None` if there is no program.
    #[must_use]
    pub fn new(argv: Vec<String>, within: Duration) -> Option<Command> {
        argv.first().is_some_and(|program| !program.is_empty()).then_some(Command { argv, within })
    }

    /// Splits a text as a shell would, and does nothing else of what a shell does; `None` if that cannot be done.
    #[must_use]
    pub fn parse(text: &str, within: Duration) -> Option<Command> {
        Command::new(shell_words::split(text).ok()?, within)
    }

    /// Runs it to its end, with `file` in the place of `{file}`.
    pub(super) async fn run(&self, file: &Path) -> Result<(), CommandFault> {
        let program = self.argv[0].clone();
        let file = file.display().to_string();
        let argv: Vec<String> = self.argv.iter().map(|part| part.replace(FILE, &file)).collect();
        let mut command = tokio::process::Command::new(&argv[0]);
        command.args(&argv[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what it starts ends with it when it takes too long.
        command.process_group(0).kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|error| CommandFault::Start { program: program.clone(), why: error.to_string() })?;
        let group = Group::new(&child);
        let mut said = Vec::new();
        let status = self.wait(&mut child, &mut said).await;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let Some(status) = status else {
            group.end(&mut child).await;
            return Err(CommandFault::Late { program, within: self.within, said });
        };
        // It has ended by itself: what it left running is meant to run.
        group.release();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(CommandFault::Ended { program, status: status.to_string(), said }),
            Err(error) => Err(CommandFault::Start { program, why: error.to_string() }),
        }
    }

    /// Waits for its end, keeping the end of what it prints; `None` if it takes too long.
    async fn wait(
        &self,
        child: &mut Child,
        said: &mut Vec<u8>,
    ) -> Option<std::io::Result<std::process::ExitStatus>> {
        let deadline = Instant::now() + self.within;
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let ended = loop {
            tokio::select! {
                status = child.wait() => break Some(status),
                more = next(&mut out) => keep(said, &more),
                more = next(&mut err) => keep(said, &more),
                () = tokio::time::sleep_until(deadline) => break None,
            }
        };
        let last_words = async {
            while out.is_some() || err.is_some() {
                tokio::select! {
                    more = next(&mut out) => keep(said, &more),
                    more = next(&mut err) => keep(said, &more),
                }
            }
        };
        if ended.is_some() {
            let _ = timeout(LAST_WORDS, last_words).await;
        }
        ended
    }
}

/// The next bytes of a pipe, which is taken away at its end; waits for ever without one. Cancel-safe.
async fn next(pipe: &mut Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let Some(open) = pipe else { return std::future::pending().await };
    let mut bytes = vec![0; 1024];
    let read = open.read(&mut bytes).await.unwrap_or(0);
    if read == 0 {
        *pipe = None;
    }
    bytes.truncate(read);
    bytes
}

fn keep(said: &mut Vec<u8>, more: &[u8]) {
    said.extend_from_slice(more);
    let too_many = said.len().saturating_sub(TOLD);
    said.drain(..too_many);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(text: &str) -> String {
        let command = Command::parse(text, Duration::from_secs(5)).expect("a command");
        match command.run(Path::new("/tmp/a file")).await {
            Ok(()) => "done".to_owned(),
            Err(fault) => fault.to_string(),
        }
    }

    #[tokio::test]
    async fn a_command_is_split_as_a_shell_does_and_run_without_one() {
        assert_eq!(run("test -n '$HOME;  a'").await, "done");
        assert_eq!(run("test '$(echo x)' = x").await, "`test` ended with exit status: 1: ");
        assert!(Command::parse("nginx 'unfinished", Duration::from_secs(1)).is_none());
        assert!(Command::parse("  ", Duration::from_secs(1)).is_none());
    }

    #[tokio::test]
    async fn the_files_path_is_one_argument_whatever_is_in_it() {
        assert_eq!(run("sh -c 'test \"$1\" = \"/tmp/a file\"' sh {file}").await, "done");
    }

    #[tokio::test]
    async fn a_command_that_fails_says_the_end_of_what_it_printed() {
        let told = run("sh -c 'yes | head -c 100000; echo the end; exit 3'").await;
        assert!(told.starts_with("`sh` ended with exit status: 3: "), "{told}");
        assert!(told.contains("the end") && told.len() < 3000, "{told}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let told = run("/nowhere/nginx -t").await;
        assert!(told.starts_with("start `/nowhere/nginx`: "), "{told}");
    }

    #[tokio::test]
    async fn what_a_command_leaves_running_does_not_hold_it_up() {
        let begun = Instant::now();
        assert_eq!(run("sh -c 'sleep 4 & echo started'").await, "done");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_ended_with_its_children() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid = folder.path().join("pid");
        let text = format!("sh -c 'sleep 1000 & echo $! > {}; wait'", pid.display());
        let command = Command::parse(&text, Duration::from_millis(500)).expect("a command");
        let told = command.run(Path::new("x")).await.expect_err("too late").to_string();
        assert!(told.contains("did not end within 500ms"), "{told}");
        let child = std::fs::read_to_string(&pid).expect("it began");
        let child = child.trim().parse().expect("a pid");
        let gone = async {
            while crate::process::started(child).is_some() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), gone).await.expect("the child has ended");
    }
}
