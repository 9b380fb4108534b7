//! The one text of a document.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::document::{chart, dashboard, database, dataset};
use crate::{Document, Object};

impl Document {
    /// Returns the canonical object: keys in the order of Superset's export, fields that are at their default
    /// omitted unless they are required, inner objects as they were written.
    #[must_use]
    pub fn to_json(&self) -> Object {
        match self {
            Document::Database(database) => database::to_json(database),
            Document::Dataset(dataset) => dataset::to_json(dataset),
            Document::Chart(chart) => chart::to_json(chart),
            Document::Dashboard(dashboard) => dashboard::to_json(dashboard),
        }
    }

    /// Returns the canonical text: compact JSON of [`Document::to_json`].
    ///
    /// Two documents that mean the same have the same text, except that the order of keys inside free objects
    /// (`params`, `metadata`, …) is kept, because Superset keeps it.
    #[must_use]
    pub fn canonical(&self) -> String {
        Value::Object(self.to_json()).to_string()
    }

    /// Returns the SHA-256 of the canonical text, in lower-case hexadecimal digits.
    #[must_use]
    pub fn document_hash(&self) -> String {
        hex_sha256(self.canonical().as_bytes())
    }
}

pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing into a string cannot fail");
        text
    })
}

#[cfg(test)]
mod tests;
