//! One port, three protocols: a connection's first bytes tell remoting, HTTP/2 (gRPC) and HTTP/1 apart.
//!
//! `PRI ` opens HTTP/2, an upper-case letter HTTP/1, a PROXY v1/v2 signature replaces the peer's address; everything
//! else is remoting. All of it may come inside TLS, which a first byte of 16 (hexadecimal) opens.

pub mod handed;
mod http;
mod opening;
mod places;
mod sniff;

use crate::remoting::{Connection, Handler, server};
use crate::socket::{Rewound, Socket};
use crate::throttle::Throttle;
use crate::tls::ServerTls;
use opening::{Opening, Protocol, first_bytes};
use places::{Full, Places};
use proto::command::MAX_FRAME;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

/// Connections that the kernel has accepted and we have not (`serverSocketBacklog`, fixed in Java too).
const BACKLOG: u32 = 1024;
/// How long connections may take to notice that the process stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// After a goodbye: how long a connection that has not said yet what it wants may still do so, and an HTTP exchange may
/// take.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// After a failed accept (usually: no file descriptor left) others may close theirs first.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Limits that keep one peer from taking what others need.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; more are closed on arrival. Lowered to what the operating system allows this process.
    pub connections: usize,
    /// Of these, the share of one address, in percent: one host alone cannot keep all others out.
    pub per_address: usize,
    /// From the first byte to who speaks what, a TLS handshake and an HTTP header included; and how long a frame that
    /// was begun may take (and a second more for each 64 KiB of it).
    pub opening: Duration,
    /// Bytes of one request.
    pub frame: usize,
    /// A connection without traffic in either direction is closed after this long (`serverChannelMaxIdleTimeSeconds`).
    pub idle: Duration,
    /// Answers under way per connection; reading stops above it.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 65_536,
            per_address: 75,
            opening: Duration::from_secs(15),
            frame: MAX_FRAME,
            idle: Duration::from_secs(120),
            in_flight: 16_384,
        }
    }
}

/// A bound listener. Bind first, so that a port in use is a start-up error that names address and cure.
pub struct Listener {
    pub local: SocketAddr,
    socket: TcpListener,
    tls: Option<Arc<ServerTls>>,
    goodbye: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {why}")]
pub struct BindError {
    pub address: String,
    pub why: String,
}

impl Listener {
    /// The socket that was handed over for this port, or a new one: SO_REUSEADDR on, backlog 1024. TCP_NODELAY on
    /// accepted connections. Port 0 lets the OS choose.
    pub async fn bind(address: &str) -> Result<Listener, BindError> {
        let socket = Listener::socket(address).await?;
        let failed = |e: io::Error| BindError { address: address.to_owned(), why: cure(&e) };
        let socket = TcpListener::from_std(socket).map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        Ok(Listener { local, socket, tls: None, goodbye: CancellationToken::new() })
    }

    /// What [`Listener::bind`] listens on, for whoever only keeps it open for another process.
    pub async fn socket(address: &str) -> Result<std::net::TcpListener, BindError> {
        let failed = |e: io::Error| BindError { address: address.to_owned(), why: cure(&e) };
        let at = resolve(address).await.map_err(failed)?;
        match handed::claim(at) {
            Ok(Some(socket)) => Ok(socket),
            Ok(None) => bind(at).and_then(TcpListener::into_std).map_err(failed),
            Err(why) => Err(BindError { address: address.to_owned(), why }),
        }
    }

    /// Also TLS on this port, or nothing else, as its settings say.
    pub fn with_tls(self, tls: Option<Arc<ServerTls>>) -> Listener {
        Listener { tls, ..self }
    }

    /// When `goodbye` is cancelled nobody is let in any more, and every connection ends as soon as what was asked is
    /// answered; peers are told to connect anew. Then [`Listener::serve`] ends by itself.
    pub fn with_goodbye(self, goodbye: CancellationToken) -> Listener {
        Listener { goodbye, ..self }
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
        let (tls, goodbye) = (self.tls, self.goodbye);
        let serving = Serving {
            handler,
            http,
            limits,
            tls: tls.clone(),
            local: self.local,
            stop: stop.clone(),
            goodbye: goodbye.clone(),
        };
        let accepting = async {
            tokio::select! {
                () = accept(&self.socket, serving, &connections) => {}
                () = follow_files(tls.as_deref()) => {}
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stop.cancelled() => {}
            () = goodbye.cancelled() => {}
        }
        drop(self.socket);
        connections.close();
        stop.run_until_cancelled(connections.wait()).await;
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

async fn follow_files(tls: Option<&ServerTls>) {
    match tls {
        Some(tls) => tls.follow_files().await,
        None => std::future::pending().await,
    }
}

/// What every connection of a listener needs.
#[derive(Clone)]
struct Serving {
    handler: Arc<dyn Handler>,
    http: Option<axum::Router>,
    limits: Limits,
    tls: Option<Arc<ServerTls>>,
    local: SocketAddr,
    stop: CancellationToken,
    goodbye: CancellationToken,
}

async fn accept(socket: &TcpListener, serving: Serving, connections: &TaskTracker) {
    let all = serving.limits.connections.min(places::allowed_by_system());
    let places = Places::new(all, (all * serving.limits.per_address / 100).max(1));
    let refused = Throttle::new();
    loop {
        let (stream, peer) = match socket.accept().await {
            // A handed-over socket may be one for both families: an IPv4 peer is to look like one.
            Ok((stream, peer)) => (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())),
            Err(e) => {
                warn!(local = %serving.local, error = %e, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let place = match places.take(peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                refused.say(|unsaid| match full {
                    Full::All(limit) => warn!(%peer, limit, unsaid, "connection refused: too many are open"),
                    Full::Address(limit) => {
                        warn!(%peer, limit, unsaid, "connection refused: this address has too many")
                    }
                });
                continue;
            }
        };
        let serving = serving.clone();
        connections.spawn(async move {
            serving.connection(stream, peer).await;
            drop(place);
        });
    }
}

/// Anybody can open a connection and say something wrong, as often as they like.
static STRANGERS: Throttle = Throttle::new();

impl Serving {
    async fn connection(self, stream: TcpStream, peer: SocketAddr) {
        if let Err(e) = stream.set_nodelay(true) {
            return debug!(%peer, error = %e, "connection lost");
        }
        let first = tokio::time::timeout(self.limits.opening.min(self.limits.idle), self.open(stream));
        let (socket, opening) = match self.until_silent(first).await {
            Some(Ok(Ok(opened))) => opened,
            Some(Ok(Err(e))) => {
                STRANGERS.say(|unsaid| debug!(%peer, why = %e, unsaid, "connection closed before its first request"));
                return;
            }
            Some(Err(_)) => return debug!(%peer, "connection closed: it never said enough"),
            None => return,
        };
        match (opening.protocol, &self.http) {
            (Protocol::Http, Some(router)) => {
                let header = self.limits.opening.min(self.limits.idle);
                self.until_silent(http::serve(socket, opening.input, router.clone(), header)).await;
            }
            (Protocol::Http, None) => {
                STRANGERS.say(|unsaid| info!(%peer, unsaid, "connection closed: HTTP is not served on this port"));
            }
            _ => {
                let peer = opening.peer.unwrap_or(peer);
                let (connection, outbound) =
                    Connection::new(peer, self.local, self.stop.child_token(), self.goodbye.clone());
                server::serve(socket, opening.input, connection, outbound, self.handler, self.limits).await;
            }
        }
    }

    /// `None` when the server stops, or has said goodbye and nothing came of it for a moment.
    async fn until_silent<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let silent = async {
            self.goodbye.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            done = work => Some(done),
            () = self.stop.cancelled() => None,
            () = silent => None,
        }
    }

    /// Who speaks, and through what. The caller sets the deadline.
    async fn open(&self, mut stream: TcpStream) -> io::Result<(Socket, Opening)> {
        let opening = first_bytes(&mut stream).await?;
        match (opening.protocol, &self.tls) {
            (Protocol::Tls, Some(tls)) => {
                let mut stream = tls.accept(Rewound { input: opening.input, stream }).await?;
                let inside = first_bytes(&mut stream).await?;
                if matches!(inside.protocol, Protocol::Tls) || inside.peer.is_some() {
                    return Err(io::Error::other("TLS or a PROXY header inside TLS"));
                }
                Ok((Socket::Tls(Box::new(stream)), Opening { peer: opening.peer, ..inside }))
            }
            (Protocol::Tls, None) => Err(io::Error::other("TLS, but `tls.server.mode=disabled`")),
            (_, Some(tls)) if !tls.admits_plain() => {
                Err(io::Error::other("plain text, but `tls.server.mode=enforcing`"))
            }
            _ => Ok((stream.into(), opening)),
        }
    }
}
