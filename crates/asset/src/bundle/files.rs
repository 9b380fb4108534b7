//! The files of a bundle, from a folder or a zip file. Nothing is ever written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::fault::{Fault, FaultKind};

/// The most files that a bundle may have.
const FILES_MAX: usize = 10_000;

/// The most bytes that the files of a bundle may have together, unpacked.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The deepest folder that is read.
const DEPTH_MAX: usize = 16;

struct Files {
    files: BTreeMap<String, Vec<u8>>,
    bytes_left: u64,
}

impl Files {
    fn new() -> Files {
        Files { files: BTreeMap::new(), bytes_left: BYTES_MAX }
    }

    fn add(&mut self, name: String, from: impl Read) -> Result<(), Fault> {
        if self.files.len() == FILES_MAX {
            let message = format!("more than {FILES_MAX} files; split the bundle");
            return Err(Fault::new("", FaultKind::TooLarge, message));
        }
        let mut bytes = Vec::new();
        let read = from
            .take(self.bytes_left + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&name, &error))?;
        self.bytes_left =
            self.bytes_left.checked_sub(u64::try_from(read).unwrap_or(u64::MAX)).ok_or_else(|| {
                let message = format!("more than {BYTES_MAX} bytes unpacked; split the bundle");
                Fault::new("", FaultKind::TooLarge, message)
            })?;
        self.files.insert(name, bytes);
        Ok(())
    }
}

fn unreadable(file: &str, error: &dyn std::error::Error) -> Fault {
    Fault::new("", FaultKind::Bundle, format!("cannot be read: {error}")).in_file(file)
}

pub(super) fn of_folder(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let mut files = Files::new();
    walk(folder, "", 0, &mut files)?;
    Ok(files.files)
}

fn walk(folder: &Path, prefix: &str, depth: usize, files: &mut Files) -> Result<(), Fault> {
    let fail = |error: io::Error| unreadable(&folder.display().to_string(), &error);
    if depth == DEPTH_MAX {
        let message = format!("folders nested deeper than {DEPTH_MAX}");
        return Err(Fault::new("", FaultKind::TooLarge, message).in_file(prefix));
    }
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        let (path, shown) = (entry.path(), format!("{prefix}{name}"));
        if path.is_dir() {
            walk(&path, &format!("{shown}/"), depth + 1, files)?;
        } else if super::is_document_file(&shown) {
            let file = File::open(&path).map_err(|error| unreadable(&shown, &error))?;
            files.add(shown, file)?;
        }
    }
    Ok(())
}

pub(super) fn of_zip(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| unreadable(&shown, &error))?;
    let mut archive =
        zip::ZipArchive::new(io::BufReader::new(file)).map_err(|error| unreadable(&shown, &error))?;
    let mut files = Files::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| unreadable(&shown, &error))?;
        let name = entry.name().map_err(|error| unreadable(&shown, &error))?.into_owned();
        if entry.is_file() && super::is_document_file(&name) {
            files.add(name, entry)?;
        }
    }
    Ok(files.files)
}
