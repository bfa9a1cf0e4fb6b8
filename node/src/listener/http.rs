//! HTTP/1 and HTTP/2 on a connection whose first bytes were read already.

use axum::Router;
use bytes::BytesMut;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::io::Cursor;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tracing::debug;

/// How soon an HTTP/2 peer (another controller) that vanished without a word is noticed.
const PING_EVERY: Duration = Duration::from_secs(10);

pub(super) async fn serve(stream: TcpStream, input: BytesMut, router: Router, idle: Duration) {
    let (read, write) = stream.into_split();
    let io = tokio::io::join(Cursor::new(input.freeze()).chain(read), write);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(idle);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .adaptive_window(true);
    if let Err(e) = builder.serve_connection_with_upgrades(TokioIo::new(io), TowerToHyperService::new(router)).await {
        debug!(error = %e, "HTTP connection ended");
    }
}
