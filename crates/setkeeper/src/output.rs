//! Results: tables for people, JSON for scripts.

use std::io::{ErrorKind, Write as _};
use std::sync::mpsc;
use std::time::Duration;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
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
    table.set_header(header).add_rows(rows);
    keep_words(&mut table);
    table.to_string()
}

/// What one of the other columns needs at least.
const NARROW: usize = 16;

/// Keeps columns of single words (paths, uuids, times) as wide as they are, if that leaves the others room: what is
/// broken into lines cannot be copied.
fn keep_words(table: &mut Table) {
    let Some(width) = table.width() else { return };
    let contents = table.column_max_content_widths();
    let is_word = |column: usize| {
        let mut cells = table.row_iter().filter_map(|row| row.cell_iter().nth(column));
        cells.all(|cell| !cell.content().contains(' '))
    };
    let words: Vec<usize> = (0..contents.len()).filter(|column| is_word(*column)).collect();
    // Each column has a space at either side, and a border.
    let needed = |column: usize| {
        let content = usize::from(contents[column]);
        3 + if words.contains(&column) { content } else { content.min(NARROW) }
    };
    if (0..contents.len()).map(needed).sum::<usize>() < usize::from(width) {
        for column in words {
            if let Some(column) = table.column_mut(column) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_copies_is_broken_only_where_there_is_no_room() {
        const UUID: &str = "5d0c6f0e-2f60-4d5e-8d0b-1c2d3e4f5a6b";
        let drawn = |width| {
            let mut table = Table::new();
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            table.set_header(["path and uuid", "why"]);
            table.add_row([
                "assets/main/charts/sales",
                "a reason of many words that fills what is left of a line",
            ]);
            table.add_row([UUID, "another one that is long enough to be broken into several lines"]);
            keep_words(&mut table);
            table.to_string()
        };
        assert!(drawn(66).contains(UUID), "{}", drawn(66));
        assert!(drawn(66).lines().all(|line| line.chars().count() <= 66), "{}", drawn(66));
        let narrow = drawn(40);
        assert!(
            narrow.lines().all(|line| line.chars().count() <= 40) && narrow.contains("reason"),
            "{narrow}"
        );
    }
}
