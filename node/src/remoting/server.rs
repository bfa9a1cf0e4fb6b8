//! The serving side of one connection: frames in, [`Handler`] decides, frames out.
//!
//! A connection is one task. It decodes every frame that has arrived and calls [`Handler::handle`] for each *in order
//! of arrival*: what a handler does before it returns (say, append to a log) keeps the sender's order; what it leaves
//! to [`Reply::Later`] runs concurrently and is answered whenever it is ready, as Java's pools do.

mod task;

pub(crate) use task::serve;

use super::{CallError, pending::Pending};
use futures_util::future::BoxFuture;
use proto::Command;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Requests to a peer that wait to be written. A peer that does not read so many small notices is not worth more
/// memory: further ones are refused, and whoever pushes them repeats or drops them.
const PUSH_CAPACITY: usize = 1024;

/// What a handler makes of a request.
pub enum Reply {
    /// The answer. Its opaque and response flag are set by the server; nothing is written for a one-way request.
    Now(Command),
    /// The answer comes when this future ends. Dropped if the connection closes first.
    Later(BoxFuture<'static, Command>),
    /// No answer at all.
    None,
}

pub trait Handler: Send + Sync + 'static {
    /// Must not block: long work belongs into [`Reply::Later`].
    fn handle(&self, connection: &Arc<Connection>, request: Command) -> Reply;
    /// Called once, after the connection's last request.
    fn closed(&self, connection: &Arc<Connection>);
}

/// A peer that connected to us. Handlers may keep it and push requests to it.
pub struct Connection {
    /// Unique within the process.
    pub id: u64,
    /// The peer; a PROXY protocol header replaces it.
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// For the handler alone: how many of its requests have had their effect and wait to hear whether it lasts.
    pub unsettled: AtomicUsize,
    outbound: mpsc::Sender<Command>,
    /// Calls of ours that the peer has not answered.
    pending: Pending,
    /// Asks the task to end.
    stop: CancellationToken,
    /// Asks the task to end when everything is answered.
    goodbye: CancellationToken,
    /// The task has ended.
    ended: CancellationToken,
}

impl Connection {
    /// The connection and the queue that its task writes from.
    pub(crate) fn new(
        peer: SocketAddr,
        local: SocketAddr,
        stop: CancellationToken,
        goodbye: CancellationToken,
    ) -> (Arc<Connection>, mpsc::Receiver<Command>) {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let (outbound, queue) = mpsc::channel(PUSH_CAPACITY);
        let connection = Connection {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            peer,
            local,
            unsettled: AtomicUsize::new(0),
            outbound,
            pending: Pending::new(peer.to_string()),
            stop,
            goodbye,
            ended: CancellationToken::new(),
        };
        (Arc::new(connection), queue)
    }

    /// A connection without a socket, for trying handlers by hand, and what is pushed to it.
    pub fn detached(peer: SocketAddr) -> (Arc<Connection>, mpsc::Receiver<Command>) {
        let never = CancellationToken::new;
        Connection::new(peer, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), never(), never())
    }

    /// Queues a one-way request to the peer. False when the connection is closed or its queue (bounded) is full.
    pub fn push(&self, request: Command) -> bool {
        self.outbound.try_send(request.one_way()).is_ok()
    }

    /// Sends a request to the peer and waits for its answer.
    pub async fn call(&self, mut request: Command, timeout: Duration) -> Result<Command, CallError> {
        let code = request.code;
        let waiting = self.pending.expect(&mut request, timeout)?;
        if self.outbound.try_send(request).is_err() {
            return Err(CallError::Closed { address: self.peer.to_string(), code });
        }
        waiting.await
    }

    /// Ends when the connection has closed.
    pub async fn closed(&self) {
        self.ended.cancelled().await;
    }

    /// Asks the connection's task to end.
    pub fn close(&self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("peer", &self.peer).finish_non_exhaustive()
    }
}
