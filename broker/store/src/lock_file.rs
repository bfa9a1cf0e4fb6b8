//! One process per store directory.

use crate::StoreError;
use crate::durable::At;
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Held as long as the store is open.
pub(crate) struct LockFile {
    _file: File,
}

impl LockFile {
    /// Locks `<root>/lock` twice: as Java does (a POSIX record lock, so that the two refuse each other), and as a whole
    /// (so that a second store of this very process is refused too).
    pub fn acquire(root: &Path) -> Result<LockFile, StoreError> {
        let path = root.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .at(&path, "open lock file")?;
        let taken = |error: rustix::io::Errno| match error {
            rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS => StoreError::Unusable(format!(
                "{}: another broker uses this store directory (it holds {}); stop it, or give this one another \
                 storePathRootDir",
                root.display(),
                path.display()
            )),
            error => StoreError::Io { path: path.display().to_string(), what: "lock", source: error.into() },
        };
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(taken)?;
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(taken)?;
        if file.metadata().at(&path, "stat")?.len() == 0 {
            file.write_all(b"lock").at(&path, "write")?;
        }
        Ok(LockFile { _file: file })
    }
}
