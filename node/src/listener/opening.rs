//! The first bytes of a connection: who speaks.

use super::sniff::{Sniffed, sniff};
use bytes::BytesMut;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt};

#[derive(Clone, Copy)]
pub(super) enum Protocol {
    Remoting,
    Http,
    Tls,
}

pub(super) struct Opening {
    pub protocol: Protocol,
    /// What a PROXY header says.
    pub peer: Option<SocketAddr>,
    /// Read already, to be looked at again by the protocol.
    pub input: BytesMut,
}

/// Reads until it is clear who speaks, usually one read.
pub(super) async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Opening> {
    let mut opening = Opening { protocol: Protocol::Remoting, peer: None, input: BytesMut::new() };
    let mut proxied = false;
    loop {
        opening.protocol = match sniff(&opening.input) {
            Sniffed::NeedMore => {
                if stream.read_buf(&mut opening.input).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            // Only once: what a client wraps in a header of its own is not ours to believe.
            Sniffed::Proxy { used, peer } if !proxied => {
                proxied = true;
                opening.peer = peer;
                let _ = opening.input.split_to(used);
                continue;
            }
            Sniffed::Proxy { .. } => return Err(io::Error::other("a second PROXY header")),
            Sniffed::BadProxy(why) => return Err(io::Error::other(why)),
            Sniffed::Http => Protocol::Http,
            Sniffed::Remoting => Protocol::Remoting,
            Sniffed::Tls => Protocol::Tls,
        };
        return Ok(opening);
    }
}
