//! The programs under test: built once, then run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::Program;

/// For one command that is not a worker.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);

/// A command of `program` with that configuration, which ends with the thread that starts it at the latest: a test
/// that is killed leaves nothing behind.
pub(crate) fn command(program: Program, configuration: &Path) -> tokio::process::Command {
    let name = match program {
        Program::Setkeeper => "setkeeper",
        Program::Faults => "setkeeper-faults",
    };
    let mut command = tokio::process::Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(folder().join(name)).arg("--config").arg(configuration);
    command.stdin(Stdio::null()).kill_on_drop(true);
    for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("SETKEEPER_")) {
        command.env_remove(variable);
    }
    command
}

impl super::Pipeline {
    /// The program with a configuration of the caller's, to be given arguments and environment.
    pub(crate) fn program(&self, configuration: &Path) -> tokio::process::Command {
        command(Program::Setkeeper, configuration)
    }
}

/// Runs it to its end.
pub(crate) async fn run(mut command: tokio::process::Command, arguments: &[&str], input: &[u8]) -> Output {
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let talk = async {
        // A command that does not read what it is given may be gone before all of it was written.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        child.wait_with_output().await
    };
    let ended = tokio::time::timeout(COMMAND_WITHIN, talk).await;
    ended.unwrap_or_else(|_| panic!("setkeeper {arguments:?} did not end")).expect("the program ran")
}

/// Builds the programs, without holding up what else this test has going.
pub(crate) async fn build() {
    tokio::task::spawn_blocking(folder).await.expect("the programs are built");
}

/// The program as released, once it is built.
pub(crate) fn path() -> PathBuf {
    folder().join("setkeeper")
}

/// Where the programs are: the folder `SETKEEPER_PROGRAMS`, so that a long run keeps those that it began with; else
/// they are built the first time, as `cargo test` does not hold its lock while tests run.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("SETKEEPER_PROGRAMS") {
            return PathBuf::from(folder);
        }
        let test = std::env::current_exe().expect("this program has a path");
        let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
        let target = profile.parent().expect("target/<profile>");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--locked", "--quiet", "-p", "setkeeper", "--features", "faults"]);
        build.args(["--bin", "setkeeper", "--bin", "setkeeper-faults", "--target-dir"]).arg(target);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let output = build.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
        assert!(output.status.success(), "build setkeeper:\n{}", String::from_utf8_lossy(&output.stderr));
        profile.to_owned()
    })
}
