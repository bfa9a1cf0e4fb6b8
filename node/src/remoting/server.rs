//! The serving side of one connection: frames in, [`Handler`] decides, frames out.
//!
//! A connection is one task. It decodes every frame that has arrived and calls [`Handler::handle`] for each *in order of arrival*: what a
//! handler does before it returns (say, append to a log) keeps the sender's order; what it leaves to [`Reply::Later`] runs
//! concurrently and is answered whenever it is ready, as Java's pools do.

use futures_util::future::BoxFuture;
use proto::Command;
use std::net::SocketAddr;
use std::sync::Arc;

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
}

impl Connection {
    /// Queues a one-way request to the peer. False when the connection is closed or its queue (bounded) is full.
    pub fn push(&self, _request: Command) -> bool {
        todo!()
    }

    /// Sends a request to the peer and waits for its answer.
    pub async fn call(&self, _request: Command, _timeout: std::time::Duration) -> Result<Command, super::CallError> {
        todo!()
    }

    /// Ends when the connection has closed.
    pub async fn closed(&self) {
        todo!()
    }

    /// Asks the connection's task to end.
    pub fn close(&self) {
        todo!()
    }
}
