//! The asking side: one connection per address, requests pipelined, answers matched by opaque.

use proto::Command;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct ClientOptions {
    pub connect_timeout: Duration,
    /// Access key and secret; every request is signed when present.
    pub credentials: Option<(String, String)>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions { connect_timeout: Duration::from_secs(3), credentials: None }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing listens there: the kernel of that host answered, so the process is gone (S6).
    #[error("{address}: connection refused")]
    Refused { address: String },
    #[error("{address}: cannot connect: {why}")]
    Connect { address: String, why: String },
    /// The connection broke after the request may have been sent: whether it was executed is unknown.
    #[error("{address}: connection closed before the answer to request {code}")]
    Closed { address: String, code: i32 },
    #[error("{address}: no answer to request {code} within {timeout_ms} ms")]
    Timeout { address: String, code: i32, timeout_ms: u64 },
}

/// Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Client {
    _todo: Arc<()>,
}

impl Client {
    pub fn new(_options: ClientOptions) -> Client {
        todo!()
    }

    /// Requests that a server sends *to us* over our connections go to this handler (client role: 39, 40, 220, …).
    pub fn with_handler(self, _handler: Arc<dyn Fn(&str, Command) -> Option<Command> + Send + Sync>) -> Client {
        todo!()
    }

    /// Sends and waits; connects first if need be.
    pub async fn call(&self, _address: &str, _request: Command, _timeout: Duration) -> Result<Command, CallError> {
        todo!()
    }

    /// Sends one-way.
    pub async fn notify(&self, _address: &str, _request: Command) -> Result<(), CallError> {
        todo!()
    }

    /// The shared connection to `address`, opened if need be. Concurrent callers share one attempt.
    pub async fn connection(&self, _address: &str) -> Result<Arc<ClientConnection>, CallError> {
        todo!()
    }

    /// Forgets and closes the connection to `address`; what waits on it ends with [`CallError::Closed`].
    pub fn close(&self, _address: &str) {
        todo!()
    }
}

/// One open connection.
pub struct ClientConnection {
    pub address: String,
}

impl ClientConnection {
    /// Queues the request now, in call order, and returns a future of its answer.
    pub fn start(
        &self,
        _request: Command,
        _timeout: Duration,
    ) -> impl Future<Output = Result<Command, CallError>> + Send + 'static + use<> {
        async { todo!() }
    }

    pub fn is_closed(&self) -> bool {
        todo!()
    }

    /// Ends when the connection has closed.
    pub async fn closed(&self) {
        todo!()
    }
}
