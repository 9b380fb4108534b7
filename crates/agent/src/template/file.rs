//! The file: written beside and renamed, and whose it is.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Fault;

/// What the hidden file beside the target holds while a reload is owed.
const OWED: &[u8] = b"reload owed\n";

/// A file of ours. While this value lives, no other setkeeper writes it.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    new: PathBuf,
    mode: u32,
    /// Locked, and says whether a reload is owed.
    mark: File,
    marked: PathBuf,
}

impl Target {
    /// Takes the file for ours. A link is followed: what it points to is what is replaced.
    pub(super) fn open(path: &Path, mode: u32) -> Result<Target, Fault> {
        let path = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(told("resolve", path, &error)),
        };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(told("write", &path, &std::io::Error::other("it is no file's name")));
        };
        let beside = |ending: &str| folder.join(format!(".{}.{ending}", name.to_string_lossy()));
        let (new, marked) = (beside("new"), beside("setkeeper"));
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&marked);
        let mark = opened.map_err(|error| told("make", &marked, &error))?;
        mark.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                let why = std::io::Error::other("another setkeeper on this machine writes that file");
                told("lock", &marked, &why)
            }
            TryLockError::Error(error) => told("lock", &marked, &error),
        })?;
        if let Ok(found) = path.metadata()
            && found.permissions().mode() & 0o7777 != mode
        {
            set_mode(&path, mode)?;
        }
        Ok(Target { path, new, mode, mark, marked })
    }

    /// What stands there now; `None` if there is no file.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, Fault> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(told("read", &self.path, &error)),
        }
    }

    /// Writes the new file beside the old one, on the disk, and returns its path.
    pub(super) fn write_new(&self, bytes: &[u8]) -> Result<&Path, Fault> {
        let write = || {
            match std::fs::remove_file(&self.new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // Anew: whatever somebody else may have put there, a link for example, is not written through.
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.new)?;
            file.write_all(bytes)?;
            file.set_permissions(Permissions::from_mode(self.mode))?;
            file.sync_all()
        };
        write().map_err(|error| told("write", &self.new, &error))?;
        Ok(&self.new)
    }

    /// Puts the new file in the place of the old one.
    pub(super) fn replace(&self) -> Result<(), Fault> {
        std::fs::rename(&self.new, &self.path).map_err(|error| told("replace", &self.path, &error))
    }

    /// Removes a new file that is not used.
    pub(super) fn discard(&self) {
        // The next one replaces it in any case.
        let _ = std::fs::remove_file(&self.new);
    }

    /// Whether whoever reads the file is still to be told of a change.
    pub(super) fn is_owed(&mut self) -> Result<bool, Fault> {
        let read = |mark: &mut File| {
            let mut held = Vec::new();
            mark.rewind()?;
            mark.take(64).read_to_end(&mut held)?;
            std::io::Result::Ok(held == OWED)
        };
        read(&mut self.mark).map_err(|error| told("read", &self.marked, &error))
    }

    /// Notes that, where a crash does not lose it.
    pub(super) fn set_owed(&mut self, owed: bool) -> Result<(), Fault> {
        let write = |mark: &mut File| {
            mark.set_len(0)?;
            mark.rewind()?;
            if owed {
                mark.write_all(OWED)?;
            }
            mark.sync_data()
        };
        write(&mut self.mark).map_err(|error| told("write", &self.marked, &error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Fault> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|error| told("set the mode of", path, &error))
}

fn told(doing: &'static str, path: &Path, error: &std::io::Error) -> Fault {
    Fault::File { doing, path: path.display().to_string(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("there").permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("upstream.conf");
        let target = Target::open(&path, 0o640).expect("ours");
        assert_eq!(target.read().expect("read"), None);
        target.write_new(b"one").expect("written");
        assert_eq!(target.read().expect("read"), None);
        target.replace().expect("renamed");
        assert_eq!((target.read().expect("read"), mode(&path)), (Some(b"one".to_vec()), 0o640));
    }

    #[test]
    fn a_file_has_one_writer_on_a_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let first = Target::open(&path, 0o644).expect("ours");
        let told = Target::open(&path, 0o644).expect_err("taken").to_string();
        assert!(told.contains("another setkeeper on this machine"), "{told}");
        drop(first);
        Target::open(&path, 0o644).expect("free again");
    }

    #[test]
    fn a_link_is_followed_and_one_in_the_new_files_place_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("real"), "old").expect("written");
        std::fs::write(at("other"), "mine").expect("written");
        std::os::unix::fs::symlink(at("real"), at("link")).expect("a link");
        std::os::unix::fs::symlink(at("other"), at(".real.new")).expect("a link");
        let target = Target::open(&at("link"), 0o644).expect("ours");
        target.write_new(b"new").expect("written");
        target.replace().expect("renamed");
        assert!(at("link").symlink_metadata().expect("there").is_symlink());
        assert_eq!(std::fs::read_to_string(at("real")).expect("read"), "new");
        assert_eq!(std::fs::read_to_string(at("other")).expect("read"), "mine");
    }

    #[test]
    fn a_reload_that_is_owed_outlives_its_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let mut target = Target::open(&path, 0o644).expect("ours");
        assert!(!target.is_owed().expect("read"));
        target.set_owed(true).expect("written");
        drop(target);
        let mut target = Target::open(&path, 0o644).expect("ours");
        assert!(target.is_owed().expect("read"));
        target.set_owed(false).expect("written");
        assert!(!target.is_owed().expect("read"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let told = Target::open(Path::new("/nowhere/x"), 0o644).expect_err("no folder").to_string();
        assert!(told.contains("`/nowhere/.x.setkeeper`"), "{told}");
    }
}
