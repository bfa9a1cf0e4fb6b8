//! How long a peer may take for a frame that it has begun.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The slowest line that is served: large frames get this much longer.
const BYTES_PER_SECOND: usize = 64 * 1024;

/// The timer exists only while a frame is incomplete, and is moved only when it fires.
pub(super) struct Patience {
    limit: Duration,
    until: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Patience {
        Patience { limit, until: None, timer: None }
    }

    /// Nothing is owed: the last frame is complete, or it is we who do not read.
    pub(super) fn rest(&mut self) {
        self.until = None;
    }

    /// A frame of `size` bytes has begun; its clock starts now unless it runs already.
    pub(super) fn begun(&mut self, size: usize) {
        let limit = self.limit + Duration::from_secs((size / BYTES_PER_SECOND) as u64);
        let until = *self.until.get_or_insert_with(|| Instant::now() + limit);
        self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
    }

    /// Ready when the peer has taken too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(timer) = &mut self.timer {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match self.until {
                Some(until) if until <= Instant::now() => return Poll::Ready(()),
                Some(until) => timer.as_mut().reset(until),
                None => self.timer = None,
            }
        }
        Poll::Pending
    }
}
