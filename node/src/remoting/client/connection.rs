//! One open connection of a [`super::Client`].

use super::task::{self, Outgoing};
use super::{CallError, ClientOptions, PeerHandler};
use crate::remoting::pending::Pending;
use crate::socket::Socket;
use crate::tls::ClientTls;
use proto::Command;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// The network has lost the peer if it does not confirm what was written for so long. (The kernel of a hung process
/// still confirms.)
const LOST_AFTER: Duration = Duration::from_secs(20);

/// One open connection.
pub struct ClientConnection {
    pub address: String,
    shared: Arc<Shared>,
    credentials: Option<(String, String)>,
}

/// What the connection's task shares with those who use it.
pub(super) struct Shared {
    pub(super) address: String,
    pub(super) pending: Pending,
    pub(super) outgoing: Outgoing,
    pub(super) stop: CancellationToken,
    pub(super) ended: CancellationToken,
}

pub(super) async fn connect(
    address: &str,
    options: &ClientOptions,
    handler: Option<PeerHandler>,
) -> Result<ClientConnection, CallError> {
    let failed = |why: String| CallError::Connect { address: address.to_owned(), why };
    let stream = match tokio::time::timeout(options.connect_timeout, open(address, options.tls.as_ref())).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(CallError::Refused { address: address.to_owned() });
        }
        Ok(Err(e)) => return Err(failed(e.to_string())),
        Err(_) => return Err(failed(format!("no answer within {} ms", options.connect_timeout.as_millis()))),
    };
    let shared = Arc::new(Shared {
        address: address.to_owned(),
        pending: Pending::new(address.to_owned()),
        outgoing: Outgoing::default(),
        stop: CancellationToken::new(),
        ended: CancellationToken::new(),
    });
    tokio::spawn(task::run(stream, Arc::clone(&shared), handler));
    Ok(ClientConnection { address: address.to_owned(), shared, credentials: options.credentials.clone() })
}

/// An address of digits needs no resolver, and so no other thread.
async fn open(address: &str, tls: Option<&ClientTls>) -> io::Result<Socket> {
    let stream = match address.parse::<SocketAddr>() {
        Ok(address) => TcpStream::connect(address).await?,
        Err(_) => TcpStream::connect(address).await?,
    };
    configure(&stream)?;
    match tls {
        None => Ok(stream.into()),
        Some(tls) => tls.connect(stream, address).await.map_err(|e| io::Error::other(format!("TLS: {e}"))),
    }
}

fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(LOST_AFTER))
}

impl ClientConnection {
    /// Queues the request now, in call order, and returns a future of its answer.
    pub fn start(
        &self,
        mut request: Command,
        timeout: Duration,
    ) -> impl Future<Output = Result<Command, CallError>> + Send + 'static + use<> {
        let queued = self.shared.pending.expect(&mut request, timeout).and_then(|waiting| {
            self.queue(request)?;
            Ok(waiting)
        });
        async move { queued?.await }
    }

    /// Queues a one-way request.
    pub(super) fn notify(&self, request: Command) -> Result<(), CallError> {
        self.queue(request.one_way())
    }

    fn queue(&self, mut request: Command) -> Result<(), CallError> {
        if let Some((access_key, secret)) = &self.credentials {
            proto::acl::sign(&mut request, access_key, secret);
        }
        if self.is_closed() {
            return Err(self.shared.pending.closed_error(request.code));
        }
        self.shared.outgoing.push(&request).map_err(|full| CallError::Connect {
            address: self.address.clone(),
            why: format!("{} bytes wait to be written: the peer does not read", full.waiting),
        })
    }

    pub fn is_closed(&self) -> bool {
        self.shared.stop.is_cancelled() || self.shared.ended.is_cancelled()
    }

    /// Ends when the connection has closed.
    pub async fn closed(&self) {
        self.shared.ended.cancelled().await;
    }

    /// What waits for an answer ends with [`CallError::Closed`] at once.
    pub(super) fn close(&self) {
        self.shared.stop.cancel();
        self.shared.pending.close();
    }
}

/// The last user is gone: nobody could read an answer any more.
impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for ClientConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientConnection").field("address", &self.address).finish_non_exhaustive()
    }
}
