//! Results: tables for people, JSON for scripts.

use std::io::{ErrorKind, Write as _};
use std::sync::mpsc;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::cli::Output;

/// What can be printed either way.
pub(crate) trait Printed: Serialize {
    /// For people.
    fn text(&self) -> String;
}

/// Prints a result to standard output.
pub(crate) fn print(output: Output, result: &impl Printed) {
    let text = match output {
        Output::Table => result.text().trim_end().to_owned(),
        Output::Json => serde_json::to_string_pretty(result)
            .expect("our own results have string keys and no failing serialisers"),
    };
    raw(format!("{text}\n").as_bytes());
}

/// Writes bytes to standard output. Whoever has stopped reading (`setkeeper ls | head`) wants no more: that is no error.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush())
        && error.kind() != ErrorKind::BrokenPipe
    {
        eprintln!("setkeeper: write to standard output: {error}");
    }
}

/// How long a standard error that nobody reads may hold the program up.
const SAY_WITHIN: Duration = Duration::from_millis(200);

/// Tells something on standard error, if anybody listens: one that is closed is no error, and one that is full holds
/// nothing up for longer than [`SAY_WITHIN`]. For whoever has more important things to do.
pub(crate) fn say(text: &str) {
    let text = format!("{text}\n");
    let (done, written) = mpsc::sync_channel(1);
    let write = move || {
        let _ = std::io::stderr().write_all(text.as_bytes());
        let _ = done.send(());
    };
    if std::thread::Builder::new().name("say".to_owned()).spawn(write).is_ok() {
        let _ = written.recv_timeout(SAY_WITHIN);
    }
}

/// A table with these column names and rows, as wide as the terminal.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}
