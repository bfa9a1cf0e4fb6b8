//! One port, three protocols: a connection's first bytes tell remoting, HTTP/2 (gRPC) and HTTP/1 apart.
//!
//! `PRI ` opens HTTP/2, an upper-case letter HTTP/1, a PROXY v1/v2 signature replaces the peer's address; everything
//! else is remoting.

mod http;
mod sniff;

use crate::remoting::{Connection, Handler, server};
use bytes::BytesMut;
use sniff::{Sniffed, sniff};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

/// Connections that the kernel has accepted and we have not (`serverSocketBacklog`, fixed in Java too).
const BACKLOG: u32 = 1024;
/// How long connections may take to notice that the process stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// After a failed accept (usually: no file descriptor left) others may close theirs first.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Limits that keep one peer from taking what others need.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; more are closed on arrival.
    pub connections: usize,
    /// A connection without traffic in either direction is closed after this long (`serverChannelMaxIdleTimeSeconds`).
    pub idle: Duration,
    /// Answers under way per connection; reading stops above it.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { connections: 65_536, idle: Duration::from_secs(120), in_flight: 16_384 }
    }
}

/// A bound listener. Bind first, so that a port in use is a start-up error that names address and cure.
pub struct Listener {
    pub local: SocketAddr,
    socket: TcpListener,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {why}")]
pub struct BindError {
    pub address: String,
    pub why: String,
}

impl Listener {
    /// SO_REUSEADDR on, backlog 1024, TCP_NODELAY on accepted connections. Port 0 lets the OS choose.
    pub async fn bind(address: &str) -> Result<Listener, BindError> {
        let failed = |e: io::Error| BindError { address: address.to_owned(), why: cure(&e) };
        let at = resolve(address).await.map_err(failed)?;
        let socket = bind(at).map_err(failed)?;
        Ok(Listener { local: socket.local_addr().map_err(failed)?, socket })
    }

    /// Serves until cancelled. HTTP requests (both versions) go to `http`; without one they are refused.
    pub async fn serve(
        self,
        handler: Arc<dyn Handler>,
        http: Option<axum::Router>,
        limits: Limits,
        stop: CancellationToken,
    ) {
        let connections = TaskTracker::new();
        let serving = Serving { handler, http, limits, local: self.local, stop: stop.clone() };
        stop.run_until_cancelled(accept(&self.socket, serving, &connections)).await;
        drop(self.socket);
        connections.close();
        if tokio::time::timeout(STOP_WITHIN, connections.wait()).await.is_err() {
            warn!(local = %self.local, open = connections.len(), "connections are still open at the end");
        }
    }
}

/// What was wrong, and what to do about it where that is known.
fn cure(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use: stop the process that listens there, or configure another port".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => format!("{error}: configure an address of this host, or 0.0.0.0"),
        io::ErrorKind::PermissionDenied => format!("{error}: ports below 1024 need privileges; configure a higher one"),
        _ => error.to_string(),
    }
}

async fn resolve(address: &str) -> io::Result<SocketAddr> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    lookup_host(address).await?.next().ok_or_else(unknown)
}

fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// What every connection of a listener needs.
#[derive(Clone)]
struct Serving {
    handler: Arc<dyn Handler>,
    http: Option<axum::Router>,
    limits: Limits,
    local: SocketAddr,
    stop: CancellationToken,
}

async fn accept(socket: &TcpListener, serving: Serving, connections: &TaskTracker) {
    let places = Arc::new(Semaphore::new(serving.limits.connections));
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                warn!(local = %serving.local, error = %e, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            warn!(%peer, limit = serving.limits.connections, "connection refused: too many are open");
            continue;
        };
        let serving = serving.clone();
        connections.spawn(async move {
            serving.connection(stream, peer).await;
            drop(place);
        });
    }
}

impl Serving {
    async fn connection(self, mut stream: TcpStream, peer: SocketAddr) {
        if let Err(e) = stream.set_nodelay(true) {
            return debug!(%peer, error = %e, "connection lost");
        }
        let first = tokio::time::timeout(self.limits.idle, first_bytes(&mut stream));
        let opening = match self.stop.run_until_cancelled(first).await {
            Some(Ok(Ok(opening))) => opening,
            Some(Ok(Err(e))) => return debug!(%peer, why = %e, "connection closed before its first request"),
            Some(Err(_)) => return debug!(%peer, "connection closed: it never said anything"),
            None => return,
        };
        match (opening.protocol, self.http) {
            (Protocol::Remoting, _) => {
                let peer = opening.peer.unwrap_or(peer);
                let (connection, outbound) = Connection::new(peer, self.local, self.stop.child_token());
                server::serve(stream, opening.input, connection, outbound, self.handler, self.limits).await;
            }
            (Protocol::Http, Some(router)) => {
                self.stop.run_until_cancelled(http::serve(stream, opening.input, router, self.limits.idle)).await;
            }
            (Protocol::Http, None) => info!(%peer, "connection closed: HTTP is not served on this port"),
        }
    }
}

enum Protocol {
    Remoting,
    Http,
}

struct Opening {
    protocol: Protocol,
    /// What a PROXY header says.
    peer: Option<SocketAddr>,
    /// Read already, to be looked at again by the protocol.
    input: BytesMut,
}

/// Reads until it is clear who speaks, usually one read.
async fn first_bytes(stream: &mut TcpStream) -> io::Result<Opening> {
    let mut opening = Opening { protocol: Protocol::Remoting, peer: None, input: BytesMut::new() };
    let mut proxied = false;
    loop {
        match sniff(&opening.input) {
            Sniffed::NeedMore => {
                if stream.read_buf(&mut opening.input).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            // Only once: what a client wraps in a header of its own is not ours to believe.
            Sniffed::Proxy { used, peer } if !proxied => {
                proxied = true;
                opening.peer = peer;
                let _ = opening.input.split_to(used);
            }
            Sniffed::Proxy { .. } => return Err(io::Error::other("a second PROXY header")),
            Sniffed::BadProxy(why) => return Err(io::Error::other(why)),
            Sniffed::Http => {
                opening.protocol = Protocol::Http;
                return Ok(opening);
            }
            Sniffed::Remoting => return Ok(opening),
        }
    }
}
