//! What changed between two states of one asset, field by field.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::fault::{index_path, key_path};
use crate::{Document, Object};

/// The most characters of a value that `Display` shows.
const SHOWN_MAX: usize = 80;

/// One field that differs. `None` means that the field is not there, or at its default.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// Where, like `params.row_limit` or `columns[city].type`; empty for the whole value.
    pub path: String,
    /// The value before.
    pub before: Option<Value>,
    /// The value after.
    pub after: Option<Value>,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "(none)".to_owned(), shorten);
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} → {}", shown(&self.before), shown(&self.after))
    }
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Returns every field that differs between two states of an asset, in canonical order; `None` is an asset that
/// is not there, whose every field differs.
///
/// It goes into nested JSON, and into text that is JSON (`query_context`). Elements of lists are matched by
/// their name or id where they have one (columns, metrics, native filters), else by their place. A difference
/// only in the order of keys is none.
#[must_use]
pub fn diff(before: Option<&Document>, after: Option<&Document>) -> Vec<FieldChange> {
    let object = |document: Option<&Document>| document.map(Document::to_json).unwrap_or_default();
    let mut changes = Vec::new();
    objects("", &object(before), &object(after), &mut changes);
    changes
}

/// The same of two JSON values that are no documents, such as a setting's; `None` is one that is not there. The path
/// of a value that differs as a whole is empty.
#[must_use]
pub fn diff_values(before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    if before.is_some() || after.is_some() {
        values("", before, after, &mut changes);
    }
    changes
}

fn objects(path: &str, before: &Object, after: &Object, changes: &mut Vec<FieldChange>) {
    let added = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(added) {
        values(&key_path(path, key), before.get(key), after.get(key), changes);
    }
}

fn values(path: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<FieldChange>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => objects(path, before, after, changes),
        (Some(Value::Array(before)), Some(Value::Array(after))) => lists(path, before, after, changes),
        (Some(Value::String(before)), Some(Value::String(after))) => texts(path, before, after, changes),
        (before, after) => push(path, before, after, changes),
    }
}

fn push(path: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<FieldChange>) {
    changes.push(FieldChange { path: path.to_owned(), before: before.cloned(), after: after.cloned() });
}

/// Texts that are JSON objects or lists are compared as such, unless they only differ in how they are written.
fn texts(path: &str, before: &str, after: &str, changes: &mut Vec<FieldChange>) {
    let known = changes.len();
    if let (Some(before), Some(after)) = (json_in_text(before), json_in_text(after)) {
        values(path, Some(&before), Some(&after), changes);
    }
    if changes.len() == known {
        push(path, Some(&Value::from(before)), Some(&Value::from(after)), changes);
    }
}

fn json_in_text(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str(text).ok()
}

fn lists(path: &str, before: &[Value], after: &[Value], changes: &mut Vec<FieldChange>) {
    for key in ["column_name", "metric_name", "id"] {
        if let (Some(before), Some(after)) = (by_name(before, key), by_name(after, key)) {
            return named(path, &before, &after, changes);
        }
    }
    let common =
        |pairs: &mut dyn Iterator<Item = (&Value, &Value)>| pairs.take_while(|(b, a)| b == a).count();
    let first = common(&mut before.iter().zip(after));
    let (before_rest, after_rest) = (&before[first..], &after[first..]);
    let last = common(&mut before_rest.iter().rev().zip(after_rest.iter().rev()));
    let before_rest = &before_rest[..before_rest.len() - last];
    let after_rest = &after_rest[..after_rest.len() - last];
    for place in 0..before_rest.len().max(after_rest.len()) {
        let path = index_path(path, first + place);
        values(&path, before_rest.get(place), after_rest.get(place), changes);
    }
}

/// Returns the elements with their names, if each has one of its own.
fn by_name<'v>(list: &'v [Value], key: &str) -> Option<Vec<(&'v str, &'v Value)>> {
    let named: Option<Vec<_>> = list.iter().map(|value| Some((value.get(key)?.as_str()?, value))).collect();
    let named = named?;
    let names: BTreeSet<_> = named.iter().map(|(name, _)| *name).collect();
    (names.len() == list.len()).then_some(named)
}

fn named(path: &str, before: &[(&str, &Value)], after: &[(&str, &Value)], changes: &mut Vec<FieldChange>) {
    let known = changes.len();
    let then: BTreeMap<_, _> = before.iter().copied().collect();
    let now: BTreeMap<_, _> = after.iter().copied().collect();
    let added = after.iter().filter(|(name, _)| !then.contains_key(name));
    for (name, _) in before.iter().chain(added) {
        let path = format!("{path}[{}]", name.escape_debug());
        values(&path, then.get(name).copied(), now.get(name).copied(), changes);
    }
    if changes.len() == known {
        let names =
            |list: &[(&str, &Value)]| Value::from(list.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        push(path, Some(&names(before)), Some(&names(after)), changes);
    }
}

#[cfg(test)]
mod tests;
