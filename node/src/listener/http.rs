//! HTTP/1 and HTTP/2 on a connection whose first bytes were read already.

use crate::socket::{Rewound, Socket};
use axum::Router;
use bytes::BytesMut;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tracing::debug;

/// How soon an HTTP/2 peer (another controller) that vanished without a word is noticed.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Streams that an HTTP/2 peer may have open at once; controllers need one.
const STREAMS: u32 = 64;
/// Bytes of a request's header fields.
const HEADERS: u32 = 16 * 1024;

/// `header`: how long a request's header may take, and how long a connection may wait for its next one.
pub(super) async fn serve(stream: Socket, input: BytesMut, router: Router, header: Duration) {
    let io = Rewound { input, stream };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .adaptive_window(true)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS);
    if let Err(e) = builder.serve_connection_with_upgrades(TokioIo::new(io), TowerToHyperService::new(router)).await {
        debug!(error = %e, "HTTP connection ended");
    }
}
