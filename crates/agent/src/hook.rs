//! Running a command of the operator's: `restart_command`, `scale_command`.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a command that is ended for its time may take to end well.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A command: a program and its arguments, without a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
}

impl Command {
    /// The command of these words; `None` if there are none.
    #[must_use]
    pub fn new(words: &[String]) -> Option<Command> {
        let (program, arguments) = words.split_first().filter(|(program, _)| !program.is_empty())?;
        Some(Command { program: program.clone(), arguments: arguments.to_vec() })
    }

    /// Runs it for at most `within`; what it prints goes where the agent's own log goes. A command that takes longer is
    /// ended with all that it has started. One whose caller goes away is left to its end: half a restart is worse than
    /// none.
    ///
    /// # Errors
    /// Why it did not do its work, in words.
    pub async fn run(&self, env: &[(&str, String)], within: Duration) -> Result<(), String> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments).envs(env.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).process_group(0);
        // Standard output may be a pipe of whoever started the agent; the log is standard error.
        command.stdout(std::io::stderr());
        let mut child =
            command.spawn().map_err(|error| format!("`{}` cannot be started: {error}", self.program))?;
        let group = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Ok(ended) = tokio::time::timeout(within, child.wait()).await {
            return match ended {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => {
                    Err(format!("`{}` ended with {status}; the agent's log has its words", self.program))
                }
                Err(error) => Err(format!("`{}` cannot be waited for: {error}", self.program)),
            };
        }
        if let Some(group) = group {
            // Either fails only for a group that has ended.
            let _ = kill_process_group(group, Signal::TERM);
            let _ = tokio::time::timeout(LAST_WORDS, child.wait()).await;
            let _ = kill_process_group(group, Signal::KILL);
        }
        Err(format!("`{}` did not end within {within:?}", self.program))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let words = ["sh", "-c", script].map(str::to_owned);
        Command::new(&words).expect("words")
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_command_is_told_by_its_environment_and_tells_by_its_exit_code() {
        let env = [("SETKEEPER_WANTED", "3".to_owned())];
        assert_eq!(shell("test $SETKEEPER_WANTED = 3").run(&env, LONG).await, Ok(()));
        let told = shell("exit 7").run(&env, LONG).await.expect_err("a failure");
        assert!(told.contains("exit status: 7"), "{told}");
        let words = ["/no/such/program".to_owned()];
        let told = Command::new(&words).expect("words").run(&[], LONG).await.expect_err("a failure");
        assert!(told.contains("/no/such/program"), "{told}");
        assert_eq!(Command::new(&[]), None);
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid = folder.path().join("pid");
        // The inner shell is what would stay behind.
        let script = format!("sh -c 'echo $$ > {0}.new; mv {0}.new {0}; sleep 600' & wait", pid.display());
        let command = shell(&script);
        let running = command.run(&[], Duration::from_millis(700));
        let told = running.await.expect_err("too long");
        assert!(told.contains("did not end"), "{told}");
        let pid = std::fs::read_to_string(&pid).expect("it had begun");
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        let gone = state.is_empty() || state.contains(") Z ");
        assert!(gone, "{state}");
    }
}
