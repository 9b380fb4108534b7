//! Results: tables for people, JSON for scripts.

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
    match output {
        Output::Table => println!("{}", result.text().trim_end()),
        Output::Json => {
            let text = serde_json::to_string_pretty(result)
                .expect("our own results have string keys and no failing serialisers");
            println!("{text}");
        }
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
