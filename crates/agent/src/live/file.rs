//! The file beside Superset, and the notes that Superset's processes leave for us.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::process;

/// Readable by Superset's group, and by nobody else.
const FILE_MODE: u32 = 0o640;
/// Superset's processes leave their notes here.
const FOLDER_MODE: u32 = 0o770;

/// Why the file could not be kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "{doing} `{}`; the agent must own the folder, and share a group with Superset, or its user", path.display()
)]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The file that `setkeeper_live.py` reads.
#[derive(Debug, Clone)]
pub struct LiveFile {
    path: PathBuf,
    /// The longest note that is read.
    note_bytes_max: u64,
    /// The most notes that are read.
    notes_max: usize,
}

/// What one process of Superset has told of itself when it began.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Note {
    /// The process.
    pub pid: u32,
    /// When the kernel started it, in ticks since boot, as `/proc/<pid>/stat` has it.
    pub started: String,
    /// The version of Superset, if it was known.
    #[serde(default)]
    pub version: Option<String>,
    /// The settings that it began with: path below `settings` → digest.
    pub had: BTreeMap<String, String>,
}

impl LiveFile {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> LiveFile {
        LiveFile { path, note_bytes_max: 4 << 20, notes_max: 4096 }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds; `None` if it is not there.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.error("read", &self.path, source)),
        }
    }

    /// Puts `bytes` in its place, by rename: a reader has the old or the new, whole. Makes the folder of the notes.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, bytes: &[u8]) -> Result<(), FileError> {
        let notes = self.notes_folder();
        if !notes.is_dir() {
            fs::create_dir_all(&notes).map_err(|source| self.error("make", &notes, source))?;
            let mode = fs::Permissions::from_mode(FOLDER_MODE);
            fs::set_permissions(&notes, mode)
                .map_err(|source| self.error("set the rights of", &notes, source))?;
        }
        let part = self.beside(".part");
        self.write_part(&part, bytes).map_err(|source| self.error("write", &part, source))?;
        fs::rename(&part, &self.path).map_err(|source| self.error("replace", &self.path, source))
    }

    fn write_part(&self, part: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(part)?;
        // The umask may have taken the group's right away.
        file.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// The notes of the processes that run, by pid. Those that others have left behind are removed.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        let Ok(entries) = fs::read_dir(self.notes_folder()) else { return Vec::new() };
        let mut notes = Vec::new();
        for entry in entries.flatten().take(self.notes_max) {
            let path = entry.path();
            // A process that writes its note writes `.<pid>` first.
            let name = entry.file_name().to_string_lossy().trim_start_matches('.').to_owned();
            let Ok(pid) = name.parse::<u32>() else { continue };
            let running = process::started(pid);
            match self.note(&path) {
                Some(note) if note.pid == pid && running.as_ref() == Some(&note.started) => notes.push(note),
                // It may be half-written by a process that runs.
                None if running.is_some() => {}
                _ => {
                    // Whoever cannot remove it asks again at the next look.
                    let _ = fs::remove_file(&path);
                }
            }
        }
        notes.sort_by_key(|note| note.pid);
        notes.dedup_by_key(|note| note.pid);
        notes
    }

    fn note(&self, path: &Path) -> Option<Note> {
        let mut text = Vec::new();
        fs::File::open(path).ok()?.take(self.note_bytes_max).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn notes_folder(&self) -> PathBuf {
        self.beside(".d")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    fn error(&self, doing: &'static str, path: &Path, source: io::Error) -> FileError {
        FileError { doing, path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_whole_and_shown_to_the_group_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = LiveFile::new(folder.path().join("deep/live.json"));
        assert_eq!(file.read().expect("an answer"), None);
        for text in ["one", "two"] {
            file.write(text.as_bytes()).expect("writable");
            assert_eq!(file.read().expect("readable").as_deref(), Some(text.as_bytes()));
        }
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(file.path()), mode(&file.notes_folder())), (0o640, 0o770));
        assert!(!file.beside(".part").exists());
    }

    #[test]
    fn notes_of_processes_that_ended_are_removed_and_a_reused_pid_is_another_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = LiveFile::new(folder.path().join("live.json"));
        file.write(b"{}").expect("writable");
        let (own, notes) = (std::process::id(), file.notes_folder());
        let text = |pid: u32, started: &str| {
            serde_json::json!({"v": 1, "pid": pid, "started": started, "had": {}}).to_string()
        };
        let began = process::started(own).expect("this process runs");
        fs::write(notes.join(own.to_string()), text(own, &began)).expect("writable");
        // No process has a pid beyond 2^22.
        fs::write(notes.join("4194999"), text(4_194_999, "1")).expect("writable");
        fs::write(notes.join("1"), text(1, "another start")).expect("writable");
        fs::write(notes.join("readme"), "not a note").expect("writable");
        let found = file.notes();
        assert_eq!(found.iter().map(|note| note.pid).collect::<Vec<_>>(), [own]);
        let mut left: Vec<_> =
            fs::read_dir(&notes).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
        left.sort();
        assert_eq!(left, [own.to_string(), "readme".to_owned()].map(Into::<std::ffi::OsString>::into));
    }

    #[test]
    fn a_half_written_note_of_a_running_process_is_left_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = LiveFile::new(folder.path().join("live.json"));
        file.write(b"{}").expect("writable");
        let note = file.notes_folder().join(format!(".{}", std::process::id()));
        fs::write(&note, "{\"v\": 1").expect("writable");
        assert_eq!(file.notes(), []);
        assert!(note.exists());
    }
}
