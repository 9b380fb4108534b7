//! The folder that a server lives in.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Error;

/// A temporary folder, which ends with the server, or one that the caller gave, which stays.
pub(crate) enum Folder {
    Temporary(TempDir),
    Given(PathBuf),
}

impl Folder {
    /// Makes the folder `given`, or else a temporary one whose name starts with `prefix`.
    pub(crate) fn new(given: Option<&Path>, prefix: &str) -> Result<Folder, Error> {
        match given {
            None => Folder::temporary(&std::env::temp_dir(), prefix),
            Some(path) => {
                std::fs::create_dir_all(path).map_err(file("make the folder", path))?;
                let path = path.canonicalize().map_err(file("resolve the folder", path))?;
                Ok(Folder::Given(path))
            }
        }
    }

    pub(crate) fn temporary(parent: &Path, prefix: &str) -> Result<Folder, Error> {
        let made = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
        Ok(Folder::Temporary(made.map_err(file("make a temporary folder in", parent))?))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Folder::Temporary(folder) => folder.path(),
            Folder::Given(path) => path,
        }
    }

    /// The folder, if somebody must remove it.
    pub(crate) fn to_remove(&self) -> Option<&Path> {
        match self {
            Folder::Temporary(folder) => Some(folder.path()),
            Folder::Given(_) => None,
        }
    }

    /// Lets the folder stay.
    pub(crate) fn keep(self) -> PathBuf {
        match self {
            Folder::Temporary(folder) => folder.keep(),
            Folder::Given(path) => path,
        }
    }
}

/// Names the attempt and the file of an I/O error.
pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { doing, path, source }
}

/// Copies a folder with all that is in it; `to` must not exist.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(file("make the folder", to))?;
    for entry in std::fs::read_dir(from).map_err(file("list the folder", from))? {
        let entry = entry.map_err(file("list the folder", from))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(file("look at", &from))?.is_dir() {
            copy(&from, &to)?;
        } else {
            std::fs::copy(&from, &to).map_err(file("copy", &from))?;
        }
    }
    Ok(())
}

/// Removes a folder, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(file("remove the folder", path)(source))
        }
        _ => Ok(()),
    }
}
