//! The task that owns one accepted connection.

use super::{Connection, Handler, Reply};
use crate::listener::Limits;
use crate::remoting::farewell::Farewell;
use crate::remoting::frames::{Ended, Frames};
use crate::remoting::idle::Idle;
use crate::remoting::patience::Patience;
use crate::socket::Socket;
use crate::throttle::Throttle;
use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use proto::Command;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tracing::{debug, info};

/// With so many bytes of answers unwritten no further request is read: the peer must read first.
const OUTPUT_HIGH: usize = 1024 * 1024;
/// Reads per turn, so that one busy connection does not keep a worker from the others.
const READS_PER_TURN: usize = 8;

/// Anybody can send garbage, as often as they like.
static GARBAGE: Throttle = Throttle::new();

/// Serves until either side closes. `input` has been read from the stream already.
pub(crate) async fn serve(
    stream: Socket,
    input: BytesMut,
    connection: Arc<Connection>,
    outbound: mpsc::Receiver<Command>,
    handler: Arc<dyn Handler>,
    limits: Limits,
) {
    let _closing = Closing { connection: Arc::clone(&connection), handler: Arc::clone(&handler) };
    let mut task = Task {
        frames: Frames::new(stream, input, limits.frame),
        stop: Box::pin(connection.stop.clone().cancelled_owned()),
        idle: Idle::new(limits.idle),
        patience: Patience::new(limits.opening),
        later: FuturesUnordered::new(),
        in_flight: limits.in_flight,
        farewell: Farewell::new(connection.goodbye.clone()),
        connection,
        outbound,
        handler,
    };
    let ended = poll_fn(|cx| task.poll(cx)).await;
    let peer = task.connection.peer;
    match ended {
        Ended::Frame(why) => {
            GARBAGE.say(|unsaid| info!(%peer, %why, unsaid, "connection closed: not a remoting frame"));
        }
        why @ (Ended::Slow | Ended::Large(..)) => {
            GARBAGE.say(|unsaid| info!(%peer, %why, unsaid, "connection closed"));
        }
        why => debug!(%peer, %why, "connection closed"),
    }
}

/// Tells everybody that the connection is gone, also when a handler panics.
struct Closing {
    connection: Arc<Connection>,
    handler: Arc<dyn Handler>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.connection.pending.close();
        self.handler.closed(&self.connection);
        self.connection.ended.cancel();
    }
}

struct Task {
    connection: Arc<Connection>,
    handler: Arc<dyn Handler>,
    frames: Frames,
    outbound: mpsc::Receiver<Command>,
    later: FuturesUnordered<Later>,
    in_flight: usize,
    idle: Idle,
    patience: Patience,
    farewell: Farewell,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Why reading stopped for this turn.
#[derive(PartialEq, Eq)]
enum Reading {
    /// The socket has no more, or the turn is over; in both cases the task is woken.
    Dry,
    /// There are too many unanswered requests or unwritten answers.
    Full,
}

/// An answer under way, and what the request says about it.
struct Later {
    answer: BoxFuture<'static, Command>,
    request: Asked,
}

#[derive(Clone, Copy)]
struct Asked {
    opaque: i32,
    one_way: bool,
}

impl Future for Later {
    type Output = (Command, Asked);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let request = self.request;
        self.answer.as_mut().poll(cx).map(|answer| (answer, request))
    }
}

impl Task {
    /// One turn: read and handle, collect answers, write all of them at once.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let turn = self.turn(cx);
        match turn {
            Ok(()) => Poll::Pending,
            Err(ended) => {
                // Requests before the end were answered; the peer may still be reading.
                let _ = self.frames.poll_write(cx);
                Poll::Ready(ended)
            }
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        if self.stop.as_mut().poll(cx).is_ready() {
            return Err(Ended::Closed);
        }
        // Before the requests that have arrived meanwhile: they are the first to be told.
        self.farewell.listen(cx);
        // Answers first: they make room for requests.
        self.collect(cx);
        let full = self.receive(cx)? == Reading::Full;
        match self.frames.incomplete().filter(|_| !full) {
            Some(size) => self.patience.begun(size),
            None => self.patience.rest(),
        }
        if self.patience.poll(cx).is_ready() {
            return Err(Ended::Slow);
        }
        self.collect(cx);
        let before = self.frames.output.len();
        self.frames.poll_write(cx)?;
        if self.frames.output.len() < before {
            self.idle.touch();
        }
        if full && self.has_room() {
            cx.waker().wake_by_ref(); // nothing else would make it read on
        }
        while self.farewell.poll_quiet(cx).is_ready() {
            if self.later.is_empty() && self.frames.output.is_empty() {
                return Err(Ended::Closed);
            }
        }
        while let Poll::Ready(limit) = self.idle.poll(cx) {
            if self.later.is_empty() {
                return Err(Ended::Idle(limit));
            }
        }
        Ok(())
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Result<Reading, Ended> {
        for _ in 0..READS_PER_TURN {
            self.handle_arrived()?;
            if !self.has_room() {
                return Ok(Reading::Full);
            }
            match self.frames.poll_read(cx) {
                Poll::Ready(read) => read?,
                Poll::Pending => return Ok(Reading::Dry),
            }
            self.idle.touch();
        }
        self.handle_arrived()?;
        cx.waker().wake_by_ref();
        Ok(Reading::Dry)
    }

    fn has_room(&self) -> bool {
        self.later.len() < self.in_flight && self.frames.output.len() < OUTPUT_HIGH
    }

    fn handle_arrived(&mut self) -> Result<(), Ended> {
        while self.has_room() {
            match self.frames.next()? {
                None => break,
                Some(response) if response.is_response() => self.connection.pending.answer(response),
                Some(request) => self.handle(request),
            }
            self.patience.rest();
        }
        Ok(())
    }

    fn handle(&mut self, request: Command) {
        let asked = Asked { opaque: request.opaque, one_way: request.is_one_way() };
        if let Some(answer) = self.farewell.answer(&request) {
            return self.write(answer, asked);
        }
        match self.handler.handle(&self.connection, request) {
            Reply::Now(answer) => self.write(answer, asked),
            Reply::Later(answer) => self.later.push(Later { answer, request: asked }),
            Reply::None => {}
        }
    }

    fn write(&mut self, answer: Command, asked: Asked) {
        if !asked.one_way {
            answer.answering(asked.opaque).encode(&mut self.frames.output);
        }
    }

    /// Encodes what is ready: answers of handlers and requests that are pushed.
    fn collect(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some((answer, asked))) = self.later.poll_next_unpin(cx) {
            self.write(answer, asked);
        }
        while self.frames.output.len() < OUTPUT_HIGH {
            match self.outbound.poll_recv(cx) {
                Poll::Ready(Some(request)) => request.encode(&mut self.frames.output),
                _ => break,
            }
        }
    }
}
