//! Wakes one background thread; cheap when it is awake already.

use std::sync::OnceLock;
use std::thread::Thread;

#[derive(Default)]
pub(crate) struct Wake {
    thread: OnceLock<Thread>,
}

impl Wake {
    /// The calling thread is the one to wake from now on. It sleeps with `std::thread::park_timeout`.
    pub fn enlist(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    pub fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}
