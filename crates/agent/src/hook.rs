//! Running a command of the operator's: `restart_command`, `scale_command`.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::group::Group;

/// A command: a program and its arguments, without a shell. Its clones are one command: each knows what the others run.
#[derive(Debug, Clone)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
    /// How many of it run.
    running: Arc<watch::Sender<usize>>,
}

impl Command {
    /// The command of these words; `None` if there are none.
    #[must_use]
    pub fn new(words: &[String]) -> Option<Command> {
        let (program, arguments) = words.split_first().filter(|(program, _)| !program.is_empty())?;
        let running = Arc::new(watch::Sender::new(0));
        Some(Command { program: program.clone(), arguments: arguments.to_vec(), running })
    }

    /// Runs it for at most `within`; what it prints goes where the agent's own log goes. A command that takes longer is
    /// ended with all that it has started, and so is one that is called `off`. One whose caller goes away is left to its
    /// end, for no longer than that: half a restart is worse than none.
    ///
    /// # Errors
    /// Why it did not do its work, in words.
    pub async fn run(
        &self,
        env: &[(&str, String)],
        within: Duration,
        off: CancellationToken,
    ) -> Result<(), String> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments).envs(env.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).process_group(0);
        // Standard output may be a pipe of whoever started the agent; the log is standard error.
        command.stdout(std::io::stderr());
        let mut child =
            command.spawn().map_err(|error| format!("`{}` cannot be started: {error}", self.program))?;
        let counted = Counted::new(&self.running);
        let program = self.program.clone();
        // A task of its own, so that a caller who goes away takes neither the command nor its time limit along.
        let running = tokio::spawn(async move {
            let _counted = counted;
            let why = tokio::select! {
                ended = child.wait() => return match ended {
                    Ok(status) if status.success() => Ok(()),
                    Ok(status) => {
                        Err(format!("`{program}` ended with {status}; the agent's log has its words"))
                    }
                    Err(error) => Err(format!("`{program}` cannot be waited for: {error}")),
                },
                () = tokio::time::sleep(within) => format!("`{program}` did not end within {within:?}"),
                () = off.cancelled() => format!("`{program}` was called off, and ended on the way"),
            };
            Group::new(&child).end(&mut child).await;
            Err(why)
        });
        running.await.unwrap_or_else(|error| Err(format!("`{}` was not waited for: {error}", self.program)))
    }

    /// Whether it runs, for whichever caller.
    #[must_use]
    pub fn is_running(&self) -> bool {
        *self.running.borrow() > 0
    }

    /// Waits until it runs no longer.
    pub async fn ended(&self) {
        // It fails only without a sender, which is here.
        let _ = self.running.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// Counts one that runs, until it is dropped.
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(running: &Arc<watch::Sender<usize>>) -> Counted {
        running.send_modify(|count| *count += 1);
        Counted(Arc::clone(running))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn shell(script: &str) -> Command {
        let words = ["sh", "-c", script].map(str::to_owned);
        Command::new(&words).expect("words")
    }

    const LONG: Duration = Duration::from_secs(30);

    async fn run(command: &Command, env: &[(&str, String)], within: Duration) -> Result<(), String> {
        command.run(env, within, CancellationToken::new()).await
    }

    /// A command that waits for a child, and the child's pid once it has begun.
    fn parent(folder: &Path) -> Command {
        // The inner shell is what would stay behind.
        let pid = folder.join("pid");
        shell(&format!("sh -c 'echo $$ > {0}.new; mv {0}.new {0}; sleep 600' & wait", pid.display()))
    }

    async fn until(what: &str, mut look: impl FnMut() -> bool) {
        let looking = async {
            while !look() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, looking).await.expect(what);
    }

    async fn child_ends(folder: &Path) {
        let pid = std::fs::read_to_string(folder.join("pid")).expect("it had begun");
        let pid = pid.trim().parse().expect("a pid");
        // What is killed is gone a moment later.
        until("the child ends", || crate::process::started(pid).is_none()).await;
    }

    #[tokio::test]
    async fn a_command_is_told_by_its_environment_and_tells_by_its_exit_code() {
        let env = [("SETKEEPER_WANTED", "3".to_owned())];
        assert_eq!(run(&shell("test $SETKEEPER_WANTED = 3"), &env, LONG).await, Ok(()));
        let told = run(&shell("exit 7"), &env, LONG).await.expect_err("a failure");
        assert!(told.contains("exit status: 7"), "{told}");
        let words = ["/no/such/program".to_owned()];
        let told = run(&Command::new(&words).expect("words"), &[], LONG).await.expect_err("a failure");
        assert!(told.contains("/no/such/program"), "{told}");
        assert!(Command::new(&[]).is_none());
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = run(&parent(folder.path()), &[], Duration::from_millis(700)).await.expect_err("too long");
        assert!(told.contains("did not end"), "{told}");
        child_ends(folder.path()).await;
    }

    #[tokio::test]
    async fn a_command_whose_caller_goes_away_runs_on_until_it_is_called_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let (command, off) = (parent(folder.path()), CancellationToken::new());
        let caller = tokio::spawn({
            let (command, off) = (command.clone(), off.clone());
            async move { command.run(&[], LONG, off).await }
        });
        until("it begins", || folder.path().join("pid").exists()).await;
        caller.abort();
        assert!(caller.await.expect_err("nobody waits").is_cancelled());
        assert!(command.is_running());
        off.cancel();
        tokio::time::timeout(LONG, command.ended()).await.expect("it ends");
        child_ends(folder.path()).await;
    }
}
