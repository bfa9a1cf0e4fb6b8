//! The task that owns the socket of one client connection.

use super::PeerHandler;
use super::connection::Shared;
use crate::remoting::frames::{Ended, Frames};
use crate::remoting::idle::Idle;
use crate::socket::Socket;
use bytes::BytesMut;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use proto::Command;
use proto::command::MAX_FRAME;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tracing::{debug, info};

/// Bytes of requests that may wait to be written. A peer that has not read so much is not served: further requests fail
/// at once.
const OUTGOING_CAPACITY: usize = 64 * 1024 * 1024;
/// Below the 120 s after which a server closes an idle connection, so that no request is on its way to a socket just
/// being closed.
const IDLE: Duration = Duration::from_secs(100);
/// Reads per turn, so that one busy connection does not keep a worker from the others.
const READS_PER_TURN: usize = 8;

/// Encoded requests on their way to the task. Callers encode; the task takes all there is in one piece.
#[derive(Default)]
pub(super) struct Outgoing {
    bytes: Mutex<BytesMut>,
    task: AtomicWaker,
}

pub(super) struct Full {
    pub(super) waiting: usize,
}

impl Outgoing {
    pub(super) fn push(&self, request: &Command) -> Result<(), Full> {
        let mut bytes = self.bytes.lock();
        if bytes.len() >= OUTGOING_CAPACITY {
            return Err(Full { waiting: bytes.len() });
        }
        let was_empty = bytes.is_empty();
        request.encode(&mut bytes);
        drop(bytes);
        if was_empty {
            self.task.wake();
        }
        Ok(())
    }

    /// Moves everything into `output` if that is empty.
    fn take(&self, output: &mut BytesMut) {
        if output.is_empty() {
            std::mem::swap(output, &mut self.bytes.lock());
        }
    }
}

/// Runs until either side closes.
pub(super) async fn run(stream: Socket, shared: Arc<Shared>, handler: Option<PeerHandler>) {
    let _closing = Closing(Arc::clone(&shared));
    let mut task = Task {
        frames: Frames::new(stream, BytesMut::new(), MAX_FRAME),
        stop: Box::pin(shared.stop.clone().cancelled_owned()),
        idle: Idle::new(IDLE),
        shared,
        handler,
    };
    let ended = poll_fn(|cx| task.poll(cx)).await;
    let address = &task.shared.address;
    match ended {
        Ended::Frame(why) => info!(%address, %why, "connection closed: not a remoting frame"),
        why => debug!(%address, %why, "connection closed"),
    }
}

/// Ends everything that waits, also when a handler panics.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.pending.close();
        self.0.ended.cancel();
    }
}

struct Task {
    frames: Frames,
    shared: Arc<Shared>,
    handler: Option<PeerHandler>,
    idle: Idle,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Task {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        match self.turn(cx) {
            Ok(()) => Poll::Pending,
            Err(ended) => Poll::Ready(ended),
        }
    }

    /// Reads before it writes: an answer that arrived before the connection broke still counts.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        if self.stop.as_mut().poll(cx).is_ready() {
            return Err(Ended::Closed);
        }
        self.receive(cx)?;
        self.send(cx)?;
        while let Poll::Ready(limit) = self.idle.poll(cx) {
            if self.shared.pending.is_empty() {
                return Err(Ended::Idle(limit));
            }
        }
        Ok(())
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        self.shared.outgoing.task.register(cx.waker());
        loop {
            self.shared.outgoing.take(&mut self.frames.output);
            if self.frames.output.is_empty() {
                self.frames.poll_write(cx)?; // what TLS may still keep
                return Ok(());
            }
            self.idle.touch();
            if !self.frames.poll_write(cx)? {
                return Ok(());
            }
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        for _ in 0..READS_PER_TURN {
            match self.frames.poll_read(cx) {
                Poll::Ready(read) => read?,
                Poll::Pending => return Ok(()),
            }
            self.idle.touch();
            while let Some(command) = self.frames.next()? {
                self.arrived(command);
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn arrived(&mut self, command: Command) {
        if command.is_response() {
            return self.shared.pending.answer(command);
        }
        let (opaque, one_way) = (command.opaque, command.is_one_way());
        let answer = self.handler.as_ref().and_then(|handler| handler(&self.shared.address, command));
        if let (Some(answer), false) = (answer, one_way) {
            answer.answering(opaque).encode(&mut self.frames.output);
        }
    }
}
