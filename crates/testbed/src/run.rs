//! Programs that do one thing and end.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::Error;

/// How much of a program's output an error quotes, in bytes.
const QUOTED: usize = 4096;

/// Runs a program with `input` on its standard input, and returns what it printed on its standard output. `name` is
/// what an error calls it. It is killed when `within` has passed.
pub(crate) async fn run(
    name: &str,
    mut command: Command,
    input: &[u8],
    within: Duration,
) -> Result<String, Error> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let process = |source| Error::Process { doing: "start", name: name.to_owned(), source };
    let mut child = command.spawn().map_err(process)?;
    let mut stdin = child.stdin.take();
    let feed = async move {
        // A program that ends without reading all of its input says why in its exit code.
        if let Some(stdin) = &mut stdin {
            let _ = stdin.write_all(input).await;
        }
        drop(stdin);
    };
    let failed =
        |how: String, output: &str| Error::Command { name: name.to_owned(), how, output: output.to_owned() };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output =
        timeout(within, both).await.map_err(|_| failed(format!("not done within {within:?}"), ""))?;
    let output = output.map_err(process)?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let said = format!("{}{printed}", String::from_utf8_lossy(&output.stderr));
    Err(failed(output.status.to_string(), tail(&said)))
}

/// A command of a program and its arguments.
pub(crate) fn command<S: AsRef<OsStr>>(argv: impl IntoIterator<Item = S>) -> Command {
    let mut argv = argv.into_iter();
    let program = argv.next().expect("a command names its program");
    let mut command = Command::new(program);
    command.args(argv);
    command
}

/// The end of a text, at most [`QUOTED`] bytes of it.
pub(crate) fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(QUOTED);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].trim_end()
}
