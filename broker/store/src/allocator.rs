//! Makes the next commit log file before it is needed, so that no append waits for the file system.

use crate::durable::Disk;
use crate::mapped_file::MappedFile;
use crate::wake::Wake;
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tracing::warn;

pub(crate) struct Allocator {
    pub dir: PathBuf,
    pub file_size: u64,
    pub disk: Disk,
    /// The file that was made ahead. Locked while one is being made, so that an append that needs it waits instead of
    /// making it twice.
    ready: Mutex<Option<Arc<MappedFile>>>,
    /// Start of the file that was asked for last; -1 when none.
    wanted: AtomicI64,
    pub wake: Wake,
}

impl Allocator {
    pub fn new(dir: PathBuf, file_size: u64, disk: Disk) -> Allocator {
        let (ready, wanted) = (Mutex::new(None), AtomicI64::new(-1));
        Allocator { dir, file_size, disk, ready, wanted, wake: Wake::default() }
    }

    /// Asks for the file at `start` in the background. Cheap when it was asked for already.
    pub fn request(&self, start: i64) {
        if self.wanted.swap(start, Ordering::AcqRel) != start {
            self.wake.wake();
        }
    }

    /// The file at `start`: the one made ahead, or made now.
    pub fn take(&self, start: i64) -> io::Result<Arc<MappedFile>> {
        let mut ready = self.ready.lock();
        if let Some(file) = ready.take() {
            if file.start == start {
                return Ok(file);
            }
            self.disk.remove_file(&file.path)?;
        }
        MappedFile::create(&self.dir, start, self.file_size, &self.disk).map(Arc::new)
    }

    /// Removes a file made ahead that nobody took.
    pub fn discard(&self) -> io::Result<()> {
        let mut ready = self.ready.lock();
        self.wanted.store(-1, Ordering::Release);
        ready.take().map_or(Ok(()), |file| self.disk.remove_file(&file.path))
    }

    /// The thread's loop.
    pub fn run(&self, stopped: &dyn Fn() -> bool) {
        self.wake.enlist();
        let mut done = -1;
        while !stopped() {
            let start = self.wanted.load(Ordering::Acquire);
            if start < 0 || start == done {
                std::thread::park();
                continue;
            }
            self.make_ahead();
            done = start;
        }
    }

    /// Makes the file that was asked for last, if it is not there.
    pub fn make_ahead(&self) {
        let mut ready = self.ready.lock();
        // Asked under the lock: a truncation makes a request void.
        let start = self.wanted.load(Ordering::Acquire);
        if start < 0 || ready.is_some() || self.dir.join(crate::mapped_file::file_name(start)).exists() {
            return;
        }
        match MappedFile::create(&self.dir, start, self.file_size, &self.disk) {
            Ok(file) => *ready = Some(Arc::new(file)),
            Err(error) => {
                warn!(start, %error, "next commit log file not made ahead; the append that needs it tries again")
            }
        }
    }
}
