//! The end of a connection whose server restarts: nothing that was asked stays without an answer.
//!
//! From the moment the server says goodbye new requests are answered GO_AWAY, which clients take as "connect anew and
//! ask again"; what was asked before is answered as ever. The connection closes when nothing is left to answer and
//! nothing has been asked for a moment. Peers that do not know the code are served until then.

use super::idle::Idle;
use proto::Command;
use proto::code::response;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A client that was told to go away has had the time to do so.
const QUIET: Duration = Duration::from_millis(50);
/// `MQVersion.V5_3_1`: newer peers know GO_AWAY.
const LAST_WITHOUT: i32 = 475;

pub(super) struct Farewell {
    said: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Runs since the goodbye.
    quiet: Option<Idle>,
}

impl Farewell {
    pub(super) fn new(goodbye: CancellationToken) -> Farewell {
        Farewell { said: Box::pin(goodbye.cancelled_owned()), quiet: None }
    }

    /// The answer to a request that comes after the goodbye, if it is not to be served any more. A one-way request is:
    /// nobody would ask again.
    pub(super) fn answer(&mut self, request: &Command) -> Option<Command> {
        let quiet = self.quiet.as_mut()?;
        quiet.touch();
        let told = request.version > LAST_WITHOUT && !request.is_one_way();
        told.then(|| Command::error(response::GO_AWAY, "please go away"))
    }

    /// Looks whether the goodbye was said; wakes the task when it is.
    pub(super) fn listen(&mut self, cx: &mut Context<'_>) {
        if self.quiet.is_none() && self.said.as_mut().poll(cx).is_ready() {
            self.quiet = Some(Idle::new(QUIET));
        }
    }

    /// Ready each time the connection has been quiet for a while since the goodbye.
    pub(super) fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.quiet.as_mut().map_or(Poll::Pending, |it| it.poll(cx).map(drop))
    }
}
