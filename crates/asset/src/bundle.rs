//! Bundles: Superset's v1 export, as a zip file or as a folder.
//!
//! ```text
//! metadata.yaml            version: 1.0.0
//! databases/<name>.yaml    datasets/<database>/<name>.yaml    charts/<name>.yaml    dashboards/<name>.yaml
//! ```
//! All of it may stand below one root folder, and documents may stand deeper below their folder. Files are YAML
//! as PyYAML reads it, or JSON.

mod files;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

pub use self::names::znode_names;
use crate::document::dataset;
use crate::fault::{Fault, FaultKind, Faults};
use crate::parse::from_value;
use crate::{Document, Kind, Object, VERSION, json, yaml};

/// The documents of a bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// Sorted by file.
    pub documents: Vec<BundleFile>,
    /// What was left out of the bundle.
    pub warnings: Vec<Warning>,
}

/// One document of a bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct BundleFile {
    /// The path within the bundle, without the root folder: `charts/sales.yaml`.
    pub file: String,
    /// What the file holds.
    pub document: Document,
}

/// Something of the bundle that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The file or folder.
    pub file: String,
    /// What is not used, and why.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.escape_debug(), self.message)
    }
}

/// Reads a bundle from a zip file or a folder.
///
/// # Errors
/// Returns every fault of every file, each naming its file; or that the bundle itself cannot be read.
pub fn read(path: &Path) -> Result<Bundle, Vec<Fault>> {
    let files = if path.is_dir() { files::of_folder(path) } else { files::of_zip(path) };
    of_files(files.map_err(|fault| vec![fault])?)
}

/// Makes a bundle of files that were read: their paths, with `/` between the parts, and their bytes.
///
/// # Errors
/// Returns every fault of every file, each naming its file; or that these files are no bundle.
pub fn of_files(files: BTreeMap<String, Vec<u8>>) -> Result<Bundle, Vec<Fault>> {
    let (root, metadata) = metadata_of(&files).map_err(|fault| vec![fault])?;
    let mut faults = Faults::default();
    if let Err(fault) = check_metadata(&metadata, &files[&metadata]) {
        faults.push(fault);
    }
    let mut bundle = Bundle { documents: Vec::new(), warnings: Vec::new() };
    let mut unused = BTreeSet::new();
    for (path, bytes) in &files {
        let Some(file) =
            path.strip_prefix(root.as_str()).filter(|_| *path != metadata && is_document_file(path))
        else {
            continue;
        };
        let folder = file.split_once('/').map(|(folder, _)| folder);
        match folder.and_then(Kind::from_folder) {
            Some(kind) => match read_file(kind, file, bytes, &mut bundle.warnings) {
                Ok(document) => bundle.documents.push(BundleFile { file: file.to_owned(), document }),
                Err(found) => found.into_iter().for_each(|fault| faults.push(fault.in_file(file))),
            },
            None => {
                unused.insert(folder.map_or_else(|| file.to_owned(), |folder| format!("{folder}/")));
            }
        }
    }
    let message = "not used: setkeeper knows databases, datasets, charts and dashboards";
    bundle.warnings.extend(unused.into_iter().map(|file| Warning { file, message: message.to_owned() }));
    check_uuids(&bundle.documents, &mut faults);
    if faults.is_empty() { Ok(bundle) } else { Err(faults.into_vec()) }
}

/// Superset's importer skips the same files. JSON is ours.
fn is_document_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let is_document = matches!(extension.as_deref(), Some("yaml" | "yml" | "json"));
    is_document && !name.starts_with(['.', '_'])
}

/// Returns the root folder (empty, or with `/` at its end) and the path of the metadata.
fn metadata_of(files: &BTreeMap<String, Vec<u8>>) -> Result<(String, String), Fault> {
    let roots: BTreeSet<_> =
        files.keys().filter(|path| is_document_file(path)).map(|path| first_part(path)).collect();
    let single = roots.iter().next().filter(|_| roots.len() == 1).copied().unwrap_or_default();
    for root in ["", single] {
        for name in ["metadata.yaml", "metadata.yml", "metadata.json"] {
            let path = format!("{root}{name}");
            if files.contains_key(&path) {
                return Ok((root.to_owned(), path));
            }
        }
    }
    let message =
        "no `metadata.yaml` at the top or in the one root folder; a bundle is what Superset exports";
    Err(Fault::new("", FaultKind::Bundle, message))
}

fn first_part(path: &str) -> &str {
    path.find('/').map_or("", |slash| &path[..=slash])
}

fn check_metadata(file: &str, bytes: &[u8]) -> Result<(), Fault> {
    let (metadata, _) = read_value(file, bytes).map_err(|fault| fault.in_file(file))?;
    if metadata.get("version").and_then(Value::as_str) == Some(VERSION) {
        return Ok(());
    }
    let message = format!("not the version of this format; setkeeper reads bundles of version \"{VERSION}\"");
    Err(Fault::new("version", FaultKind::BadValue, message).in_file(file))
}

fn read_value(file: &str, bytes: &[u8]) -> Result<(Value, Faults), Fault> {
    let text = crate::parse::text_of(bytes)?;
    let is_json = file.to_ascii_lowercase().ends_with(".json");
    if is_json { json::read(text) } else { yaml::read(text) }
}

fn read_file(
    kind: Kind,
    file: &str,
    bytes: &[u8],
    warnings: &mut Vec<Warning>,
) -> Result<Document, Vec<Fault>> {
    let (mut value, faults) = read_value(file, bytes).map_err(|fault| vec![fault])?;
    if let (Kind::Dataset, Value::Object(object)) = (kind, &mut value) {
        let messages = strip(object);
        warnings.extend(messages.into_iter().map(|message| Warning { file: file.to_owned(), message }));
    }
    let document = from_value(kind, value, faults)?;
    let has_tags = match &document {
        Document::Chart(chart) => !chart.tags.is_empty(),
        Document::Dashboard(dashboard) => !dashboard.tags.is_empty(),
        Document::Database(_) | Document::Dataset(_) => false,
    };
    if has_tags {
        let message = "`tags` stay in the document: setkeeper does not write them into Superset".to_owned();
        warnings.push(Warning { file: file.to_owned(), message });
    }
    Ok(document)
}

/// Takes out of a dataset what Superset's examples have and a document must not, and says what it was.
fn strip(dataset: &mut Object) -> Vec<String> {
    let mut messages = Vec::new();
    for key in dataset::NOT_OURS {
        if dataset.shift_remove(key).is_some_and(|value| !value.is_null()) {
            messages.push(format!("`{key}` is stripped: setkeeper does not load or translate example data"));
        }
    }
    for (key, name) in [("columns", "column_name"), ("metrics", "metric_name")] {
        if let Some(Value::Array(list)) = dataset.get_mut(key) {
            let names = merge_equal_names(list, name);
            let message =
                |name| format!("`{key}` has `{name}` more than once: the last one counts, as in Superset");
            messages.extend(names.into_iter().map(message));
        }
    }
    messages
}

/// Superset's importer finds the second of two columns of one name to be there already, and sets its keys on it.
/// Its own examples have such a dataset. Returns the names.
fn merge_equal_names(list: &mut Vec<Value>, name_key: &str) -> Vec<String> {
    let mut merged: Vec<Value> = Vec::with_capacity(list.len());
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut names = Vec::new();
    for value in list.drain(..) {
        let name = value.get(name_key).and_then(Value::as_str).map(str::to_owned);
        let place = name.as_ref().and_then(|name| places.get(name)).copied();
        match (place.and_then(|place| merged.get_mut(place)), value) {
            (Some(Value::Object(earlier)), Value::Object(later)) => {
                earlier.extend(later);
                names.extend(name);
            }
            (_, value) => {
                places.extend(name.map(|name| (name, merged.len())));
                merged.push(value);
            }
        }
    }
    *list = merged;
    names
}

fn check_uuids(documents: &[BundleFile], faults: &mut Faults) {
    let mut seen: BTreeMap<Uuid, &str> = BTreeMap::new();
    for BundleFile { file, document } in documents {
        if let Some(earlier) = seen.insert(document.uuid(), file) {
            let message =
                format!("`{}` has the same uuid; remove one of the two files", earlier.escape_debug());
            faults.push(Fault::new("uuid", FaultKind::DuplicateUuid, message).in_file(file));
        }
    }
}

#[cfg(test)]
mod tests;
