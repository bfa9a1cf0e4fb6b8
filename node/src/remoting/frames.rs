//! A socket that carries remoting frames: reads and writes in steps of many frames, never blocks.

use crate::socket::Socket;
use bytes::{Buf, BytesMut};
use proto::{Command, Decoded, FrameError};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

/// What one read asks for at first: a few requests of usual size. Thousands of connections that say little must not
/// take much memory each.
const READ_FIRST: usize = 4 * 1024;
/// And at most, on a connection whose reads were full: some hundred requests.
const READ_MOST: usize = 64 * 1024;
/// A buffer that has grown beyond this is given back when it is empty, so that one large answer does not stay.
const KEEP: usize = 256 * 1024;

pub(super) struct Frames {
    stream: Socket,
    input: BytesMut,
    /// What the next read asks for.
    read: usize,
    /// Frames of more bytes are refused.
    largest: usize,
    /// TLS keeps what the socket did not take.
    unflushed: bool,
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
    #[error("a frame was begun and not completed in time")]
    Slow,
    #[error("frame of {0} bytes: want at most {1} here")]
    Large(usize, usize),
    #[error("closed here")]
    Closed,
}

impl Frames {
    /// `input`: what was read from the stream already.
    pub(super) fn new(stream: Socket, input: BytesMut, largest: usize) -> Frames {
        Frames { stream, input, read: READ_FIRST, largest, output: BytesMut::new(), unflushed: false }
    }

    /// The next frame that has arrived whole.
    pub(super) fn next(&mut self) -> Result<Option<Command>, Ended> {
        match Command::frame_size(&self.input)? {
            Decoded::NeedMore(size) | Decoded::Complete((), size) if size > self.largest => {
                Err(Ended::Large(size, self.largest))
            }
            _ => Ok(Command::decode(&mut self.input)?),
        }
    }

    /// How large the frame is of which a part has arrived (4 while that is not known).
    pub(super) fn incomplete(&self) -> Option<usize> {
        match Command::frame_size(&self.input) {
            Ok(Decoded::NeedMore(size)) if !self.input.is_empty() => Some(size),
            _ => None,
        }
    }

    /// Reads once.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if self.input.capacity() - self.input.len() < self.read / 4 {
            self.input.reserve(self.read);
        }
        let room = self.input.capacity() - self.input.len();
        match ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input))? {
            0 => Poll::Ready(Err(Ended::Eof)),
            read => {
                if read == room && read >= self.read / 4 {
                    self.read = (self.read * 2).min(READ_MOST);
                }
                Poll::Ready(Ok(()))
            }
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
            self.unflushed = true;
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx)? {
                Poll::Ready(()) => self.unflushed = false,
                Poll::Pending => return Ok(false),
            }
        }
        if self.output.capacity() > KEEP {
            self.output = BytesMut::new();
        }
        Ok(true)
    }
}
