//! Small durable files: temp file, fsync, rename, fsync of the directory.

use crate::StoreError;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Replaces `path` by `content`; after a crash either the old or the new content is there, whole.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut temp = tempfile::NamedTempFile::new_in(dir)?;
    temp.write_all(content)?;
    temp.as_file().sync_all()?;
    temp.persist(path).map_err(|error| error.error)?;
    sync_dir(dir)
}

/// Removes a file, durably; a missing one is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_dir(path.parent().unwrap_or(Path::new("."))),
    }
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Adds the path and what was attempted to an I/O error.
pub(crate) trait At<T> {
    fn at(self, path: &Path, what: &'static str) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { path: path.display().to_string(), what, source })
    }
}
