//! A socket that carries remoting frames: reads and writes in steps of many frames, never blocks.

use bytes::{Buf, BytesMut};
use proto::{Command, FrameError};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

/// What one read asks for; a few dozen requests of usual size.
const READ: usize = 64 * 1024;
/// A buffer that has grown beyond this is given back when it is empty, so that one large answer does not stay.
const KEEP: usize = 256 * 1024;

pub(super) struct Frames {
    stream: TcpStream,
    input: BytesMut,
    /// Encoded frames on their way out.
    pub(super) output: BytesMut,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the peer closed it")]
    Eof,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("no traffic for {0:?}")]
    Idle(std::time::Duration),
    #[error("closed here")]
    Closed,
}

impl Frames {
    /// `input`: what was read from the stream already.
    pub(super) fn new(stream: TcpStream, input: BytesMut) -> Frames {
        Frames { stream, input, output: BytesMut::new() }
    }

    /// The next frame that has arrived whole.
    pub(super) fn next(&mut self) -> Result<Option<Command>, FrameError> {
        Command::decode(&mut self.input)
    }

    /// Reads once.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if self.input.capacity() - self.input.len() < READ / 8 {
            self.input.reserve(READ);
        }
        match ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input))? {
            0 => Poll::Ready(Err(Ended::Eof)),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Writes until nothing is left (then true) or the socket takes no more (false).
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output)? {
                Poll::Ready(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Poll::Ready(written) => self.output.advance(written),
                Poll::Pending => return Ok(false),
            }
        }
        if self.output.capacity() > KEEP {
            self.output = BytesMut::new();
        }
        Ok(true)
    }
}
