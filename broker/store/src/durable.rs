//! The way to the disk: every sync that the store believes, and every change that a crash may undo, is told to
//! [`Disk`]. Most of them it makes itself, those of mapped files `MappedFile` does. Small files are replaced as a
//! whole: temp file, fsync, rename, fsync of the directory.
//!
//! A [`DiskWatch`] hears of all of it, and may refuse what does not go through a map, so that a simulation knows what a
//! crash leaves behind. New folders and files without content it can see for itself.

use crate::StoreError;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// What the store is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Make a commit log file and reserve its blocks.
    Allocate,
    /// Change a file's bytes or its length. The commit log's bytes are written through the map: nothing refuses those.
    Write,
    /// Make a file's bytes, or a directory's entries, durable.
    Sync,
    Rename,
    Remove,
}

/// Stands between a store and its files. Who watches nothing implements nothing.
pub trait DiskWatch: Send + Sync {
    /// An error is what the store gets instead.
    fn before(&self, _access: Access, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// These bytes of the file were written, as far as the page cache.
    fn wrote(&self, _path: &Path, _range: Range<u64>) {}

    /// These bytes of the file, or all entries of the directory, are on disk: so says the kernel.
    fn synced(&self, _path: &Path, _range: Range<u64>) {}
}

/// Nobody watches.
pub(crate) struct Unwatched;

impl DiskWatch for Unwatched {}

#[derive(Clone)]
pub(crate) struct Disk(pub Arc<dyn DiskWatch>);

impl Disk {
    pub fn before(&self, access: Access, path: &Path) -> io::Result<()> {
        self.0.before(access, path)
    }

    pub fn write_at(&self, file: &File, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
        self.before(Access::Write, path)?;
        file.write_all_at(bytes, at)?;
        self.0.wrote(path, at..at + bytes.len() as u64);
        Ok(())
    }

    /// Writes a file anew, where nobody minds what a crash leaves of its content.
    pub fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.before(Access::Write, path)?;
        std::fs::write(path, content)?;
        self.0.wrote(path, 0..content.len() as u64);
        Ok(())
    }

    /// What stands beyond `len` is gone; a longer file reads as zeroes there.
    pub fn set_len(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.before(Access::Write, path)?;
        file.set_len(len)
    }

    pub fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.before(Access::Sync, path)?;
        file.sync_all()?;
        self.0.synced(path, 0..u64::MAX);
        Ok(())
    }

    /// The same, but for what only people read of a file: when it was changed.
    pub fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        self.before(Access::Sync, path)?;
        file.sync_data()?;
        self.0.synced(path, 0..u64::MAX);
        Ok(())
    }

    pub fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sync(&File::open(dir)?, dir)
    }

    /// The directory has to be synced when it has to stay gone.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.before(Access::Remove, path)?;
        std::fs::remove_file(path)
    }

    /// Removes a directory and what is in it. Its parent has to be synced when it has to stay gone.
    pub fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.before(Access::Remove, path)?;
        std::fs::remove_dir_all(path)
    }

    /// Removes a file, durably; a missing one is fine.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        match self.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync_dir(parent(path)),
        }
    }

    /// Replaces `path` by `content`; after a crash either the old or the new content is there, whole.
    pub fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut temp = tempfile::NamedTempFile::new_in(parent(path))?;
        self.before(Access::Write, path)?;
        temp.write_all(content)?;
        self.put(temp, path)
    }

    /// Makes a temp file the file at `path`, durably.
    pub fn put(&self, temp: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
        self.sync(temp.as_file(), temp.path())?;
        self.before(Access::Rename, path)?;
        temp.persist(path).map_err(|error| error.error)?;
        self.sync_dir(parent(path))
    }
}

pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
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
