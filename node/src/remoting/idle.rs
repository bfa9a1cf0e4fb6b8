//! Notices that a connection has had no traffic for a while.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// The timer is moved only when it fires, not with each frame.
pub(super) struct Idle {
    limit: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Idle {
    pub(super) fn new(limit: Duration) -> Idle {
        Idle { limit, last: Instant::now(), timer: Box::pin(sleep(limit)) }
    }

    pub(super) fn touch(&mut self) {
        self.last = Instant::now();
    }

    /// Ready when there has been no [`Idle::touch`] for the limit.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let end = self.last + self.limit;
            if end <= Instant::now() {
                self.touch();
                self.timer.as_mut().reset(self.last + self.limit);
                return Poll::Ready(self.limit);
            }
            self.timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}
