//! One port, three protocols: a connection's first bytes tell remoting, HTTP/2 (gRPC) and HTTP/1 apart.
//!
//! `PRI ` opens HTTP/2, an upper-case letter HTTP/1, a PROXY v1/v2 signature replaces the peer's address; everything else is remoting.

use crate::remoting::Handler;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Limits that keep one peer from taking what others need.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; more are closed on arrival.
    pub connections: usize,
    /// A connection without traffic in either direction is closed after this long (`serverChannelMaxIdleTimeSeconds`).
    pub idle: std::time::Duration,
    /// Answers under way per connection; reading stops above it.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { connections: 65_536, idle: std::time::Duration::from_secs(120), in_flight: 16_384 }
    }
}

/// A bound listener. Bind first, so that a port in use is a start-up error that names address and cure.
pub struct Listener {
    pub local: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {why}")]
pub struct BindError {
    pub address: String,
    pub why: String,
}

impl Listener {
    /// SO_REUSEADDR on, backlog 1024, TCP_NODELAY on accepted connections. Port 0 lets the OS choose.
    pub async fn bind(_address: &str) -> Result<Listener, BindError> {
        todo!()
    }

    /// Serves until cancelled. HTTP requests (both versions) go to `http`; without one they are refused.
    pub async fn serve(self, _handler: Arc<dyn Handler>, _http: Option<axum::Router>, _limits: Limits, _stop: CancellationToken) {
        todo!()
    }
}
