//! What is wrong with a document, said so that its author can mend it.

use std::fmt;

/// At most this many faults of one document are told; the rest are counted.
const FAULTS_MAX: usize = 100;

/// The longest key that a path shows, in characters.
const KEY_SHOWN_MAX: usize = 64;

/// One thing that is wrong with a document or a bundle.
///
/// `Display` gives one line: where, what, how to mend. A fault never repeats a value of the document, because
/// the value may be a secret; it repeats keys, visualisation types and names of files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The file within a bundle; `None` for the bytes of one document.
    pub file: Option<String>,
    /// Where in the document, like `columns[3].type`; empty for the whole document.
    pub path: String,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// The column in characters, counted from 1, where it is known.
    pub column: Option<usize>,
    /// What sort of fault it is.
    pub kind: FaultKind,
    /// What is wrong and how to mend it; lowercase, without a full stop.
    pub message: String,
}

/// The sorts of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The bytes begin as gzip and cannot be decompressed.
    Gzip,
    /// Something is larger than its bound: the document, the bundle, the depth of nesting.
    TooLarge,
    /// The bytes are not UTF-8.
    Utf8,
    /// The text is not JSON or YAML.
    Syntax,
    /// A key stands twice in one object.
    DuplicateKey,
    /// A number does not fit: an integer beyond 64 bits, or a float beyond the largest.
    Number,
    /// A string holds NUL, which PostgreSQL cannot store.
    Nul,
    /// A key that the kind does not have.
    UnknownKey,
    /// A required key is missing.
    MissingKey,
    /// A value has another type than the key wants.
    WrongType,
    /// A value has the right type and no meaning.
    BadValue,
    /// A clear secret, or what may be one.
    ClearSecret,
    /// Something that Superset knows and setkeeper does not.
    Unsupported,
    /// A scalar, tag, key or alias of YAML that has no place in a document.
    Yaml,
    /// A file or folder that cannot be read, or a bundle of another shape.
    Bundle,
    /// Two files of a bundle hold one uuid.
    DuplicateUuid,
    /// More faults than are told.
    More,
}

impl Fault {
    pub(crate) fn new(path: impl Into<String>, kind: FaultKind, message: impl Into<String>) -> Fault {
        Fault { file: None, path: path.into(), line: None, column: None, kind, message: message.into() }
    }

    pub(crate) fn at(mut self, (line, column): (usize, usize)) -> Fault {
        self.line = Some(line);
        self.column = Some(column);
        self
    }

    pub(crate) fn in_file(mut self, file: &str) -> Fault {
        self.file = Some(file.to_owned());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.escape_debug())?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}")?;
            if let Some(column) = self.column {
                write!(f, " column {column}")?;
            }
            write!(f, ": ")?;
        }
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Collects the faults of one document, bounded.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    told: Vec<Fault>,
    more: usize,
}

impl Faults {
    pub(crate) fn push(&mut self, fault: Fault) {
        if self.has_room() {
            self.told.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// Says whether the next fault is told. To count one that is not, [`Faults::count`] is cheaper.
    pub(crate) fn has_room(&self) -> bool {
        self.told.len() < FAULTS_MAX
    }

    pub(crate) fn count(&mut self) {
        self.more += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<Fault> {
        let mut faults = self.told;
        if self.more > 0 {
            faults.push(Fault::new("", FaultKind::More, format!("{} more faults", self.more)));
        }
        faults
    }
}

/// Returns the path of `key` in the object at `path`, like `params.metrics` or `extra["a b"]`.
pub(crate) fn key_path(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.len() <= KEY_SHOWN_MAX && key.chars().all(plain_in_key);
    if !plain {
        let shown: String = key.chars().take(KEY_SHOWN_MAX).collect();
        let dots = if shown.len() < key.len() { "…" } else { "" };
        return format!("{path}[\"{}{dots}\"]", shown.escape_debug());
    }
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn plain_in_key(each: char) -> bool {
    each.is_alphanumeric() || each == '_' || each == '-'
}

/// Returns the path of the element `index` in the list at `path`.
pub(crate) fn index_path(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
