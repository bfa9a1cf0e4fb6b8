//! Small files that survive a crash at any moment: the old content or the new, never a mixture.

use crate::HaError;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// What a file says. "Never written" and "lost" need opposite reactions: the first is a new replica, the second stops
/// the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loaded<T> {
    Empty,
    Present(T),
    Unreadable { why: String },
}

impl<T> Loaded<T> {
    /// The content, `None` if it was never written; `advice` goes into the error of a file that cannot be trusted.
    pub(crate) fn or_stop(self, path: &Path, advice: &str) -> Result<Option<T>, HaError> {
        match self {
            Loaded::Empty => Ok(None),
            Loaded::Present(it) => Ok(Some(it)),
            Loaded::Unreadable { why } => {
                Err(HaError::File { path: path.display().to_string(), why: format!("{why}; {advice}") })
            }
        }
    }
}

/// Reads a text file; a missing one and one of length 0 are both "never written" (our own writes cannot leave the
/// latter behind).
pub(crate) fn read_text(path: &Path) -> Loaded<String> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.is_empty() => Loaded::Empty,
        Ok(text) => Loaded::Present(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Loaded::Empty,
        Err(e) => Loaded::Unreadable { why: e.to_string() },
    }
}

/// Replaces the file: temp file, fsync, rename, fsync of the folder.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), HaError> {
    let mut temp = path.as_os_str().to_owned();
    temp.push(".new");
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&temp)?;
        file.write_all(content)?;
        file.sync_data()?;
        std::fs::rename(&temp, path)?;
        sync_folder(path)
    };
    write().map_err(|e| failed(path, &e))
}

pub(crate) fn remove(path: &Path) -> Result<(), HaError> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_folder(path).map_err(|e| failed(path, &e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed(path, &e)),
    }
}

pub(crate) fn failed(path: &Path, why: &dyn std::fmt::Display) -> HaError {
    HaError::File { path: path.display().to_string(), why: why.to_string() }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
