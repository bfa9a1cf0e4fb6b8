//! Makes the next commit log file before it is needed, so that no append waits for the file system.

use crate::mapped_file::{Allocate, MappedFile};
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
    pub allocate: Allocate,
    /// The file that was made ahead. Locked while one is being made, so that an append that needs it waits instead of
    /// making it twice.
    ready: Mutex<Option<Arc<MappedFile>>>,
    /// Start of the file that was asked for last; -1 when none.
    wanted: AtomicI64,
    pub wake: Wake,
}

impl Allocator {
    pub fn new(dir: PathBuf, file_size: u64, allocate: Allocate) -> Allocator {
        let (ready, wanted) = (Mutex::new(None), AtomicI64::new(-1));
        Allocator { dir, file_size, allocate, ready, wanted, wake: Wake::default() }
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
            std::fs::remove_file(&file.path)?;
        }
        MappedFile::create(&self.dir, start, self.file_size, &self.allocate).map(Arc::new)
    }

    /// Removes a file made ahead that nobody took.
    pub fn discard(&self) -> io::Result<()> {
        let mut ready = self.ready.lock();
        self.wanted.store(-1, Ordering::Release);
        ready.take().map_or(Ok(()), |file| std::fs::remove_file(&file.path))
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
            let mut ready = self.ready.lock();
            // Asked again under the lock: a truncation may have made the request void.
            if self.wanted.load(Ordering::Acquire) == start
                && ready.is_none()
                && !self.dir.join(crate::mapped_file::file_name(start)).exists()
            {
                match MappedFile::create(&self.dir, start, self.file_size, &self.allocate) {
                    Ok(file) => *ready = Some(Arc::new(file)),
                    Err(error) => {
                        warn!(start, %error, "next commit log file not made ahead; the append that needs it tries \
                            again")
                    }
                }
            }
            done = start;
        }
    }
}
