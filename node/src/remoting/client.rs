//! The asking side: one connection per address, requests pipelined, answers matched by opaque.

mod connection;
mod task;

pub use connection::ClientConnection;

use crate::tls::ClientTls;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use proto::Command;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Debug)]
pub struct ClientOptions {
    pub connect_timeout: Duration,
    /// Access key and secret; every request is signed when present.
    pub credentials: Option<(String, String)>,
    /// `None`: plain text.
    pub tls: Option<ClientTls>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions { connect_timeout: Duration::from_secs(3), credentials: None, tls: None }
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

/// What to do with requests that a server sends to us.
pub type PeerHandler = Arc<dyn Fn(&str, Command) -> Option<Command> + Send + Sync>;

type Attempt = Shared<BoxFuture<'static, Result<Arc<ClientConnection>, CallError>>>;

/// Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Client {
    pool: Arc<Pool>,
}

struct Pool {
    options: ClientOptions,
    handler: Option<PeerHandler>,
    slots: Mutex<HashMap<String, Slot>>,
    next_attempt: AtomicU64,
}

enum Slot {
    /// The id tells this attempt from a later one for the same address.
    Connecting {
        id: u64,
        attempt: Attempt,
    },
    Open(Arc<ClientConnection>),
}

impl Client {
    pub fn new(options: ClientOptions) -> Client {
        Client { pool: Arc::new(Pool::new(options, None)) }
    }

    /// With the same options and connections of its own: what is sent over these waits behind nothing else.
    pub fn separate(&self) -> Client {
        Client { pool: Arc::new(Pool::new(self.pool.options.clone(), self.pool.handler.clone())) }
    }

    /// Requests that a server sends *to us* over our connections go to this handler (client role: 39, 40, 220, …).
    pub fn with_handler(self, handler: PeerHandler) -> Client {
        Client { pool: Arc::new(Pool::new(self.pool.options.clone(), Some(handler))) }
    }

    /// The same options, and connections of its own.
    pub fn apart(&self) -> Client {
        Client { pool: Arc::new(Pool::new(self.pool.options.clone(), self.pool.handler.clone())) }
    }

    /// Sends and waits; connects first if need be.
    pub async fn call(&self, address: &str, request: Command, timeout: Duration) -> Result<Command, CallError> {
        let code = request.code;
        let deadline = Instant::now() + timeout;
        let timed_out =
            |_| CallError::Timeout { address: address.to_owned(), code, timeout_ms: timeout.as_millis() as u64 };
        let connection = match self.pool.open(address) {
            Some(connection) => connection,
            None => tokio::time::timeout_at(deadline, self.connection(address)).await.map_err(timed_out)??,
        };
        let answer = connection.start(request, timeout);
        tokio::time::timeout_at(deadline, answer).await.map_err(timed_out)?
    }

    /// Sends one-way.
    pub async fn notify(&self, address: &str, request: Command) -> Result<(), CallError> {
        self.connection(address).await?.notify(request)
    }

    /// The shared connection to `address`, opened if need be. Concurrent callers share one attempt.
    pub async fn connection(&self, address: &str) -> Result<Arc<ClientConnection>, CallError> {
        let attempt = match self.pool.open(address) {
            Some(connection) => return Ok(connection),
            None => Pool::attempt(&self.pool, address),
        };
        attempt.await
    }

    /// Forgets and closes the connection to `address`; what waits on it ends with [`CallError::Closed`].
    pub fn close(&self, address: &str) {
        let slot = self.pool.slots.lock().remove(address);
        if let Some(Slot::Open(connection)) = slot {
            connection.close();
        }
    }
}

impl Pool {
    fn new(options: ClientOptions, handler: Option<PeerHandler>) -> Pool {
        Pool { options, handler, slots: Mutex::default(), next_attempt: AtomicU64::new(0) }
    }

    fn open(&self, address: &str) -> Option<Arc<ClientConnection>> {
        match self.slots.lock().get(address) {
            Some(Slot::Open(connection)) if !connection.is_closed() => Some(Arc::clone(connection)),
            _ => None,
        }
    }

    /// The attempt that is under way, or a new one. It runs as a task: callers may come and go, and it ends in either
    /// case.
    fn attempt(pool: &Arc<Pool>, address: &str) -> Attempt {
        let mut slots = pool.slots.lock();
        match slots.get(address) {
            Some(Slot::Connecting { attempt, .. }) => return attempt.clone(),
            Some(Slot::Open(open)) if !open.is_closed() => {
                let open = Arc::clone(open);
                return std::future::ready(Ok(open)).boxed().shared();
            }
            _ => {}
        }
        let id = pool.next_attempt.fetch_add(1, Ordering::Relaxed);
        let task = tokio::spawn(Pool::connect(Arc::clone(pool), address.to_owned(), id));
        let owned = address.to_owned();
        let ended = move |joined: Result<_, tokio::task::JoinError>| {
            joined.unwrap_or_else(|e| Err(CallError::Connect { address: owned, why: e.to_string() }))
        };
        let attempt = task.map(ended).boxed().shared();
        slots.insert(address.to_owned(), Slot::Connecting { id, attempt: attempt.clone() });
        attempt
    }

    async fn connect(pool: Arc<Pool>, address: String, id: u64) -> Result<Arc<ClientConnection>, CallError> {
        let opened = connection::connect(&address, &pool.options, pool.handler.clone()).await.map(Arc::new);
        let mut slots = pool.slots.lock();
        let ours = matches!(slots.get(&address), Some(Slot::Connecting { id: current, .. }) if *current == id);
        match &opened {
            Ok(connection) if ours => {
                slots.insert(address, Slot::Open(Arc::clone(connection)));
            }
            Ok(connection) => connection.close(), // closed while it was being opened
            Err(_) if ours => {
                slots.remove(&address);
            }
            Err(_) => {}
        }
        opened
    }
}
