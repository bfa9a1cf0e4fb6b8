//! A plain blocking connection that sends and receives frames, for tests that must see each answer themselves.

use bytes::BytesMut;
use proto::Command;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub struct Connection {
    stream: TcpStream,
    buf: BytesMut,
    next_opaque: i32,
}

impl Connection {
    pub fn open(address: &str, timeout: Duration) -> Result<Connection> {
        let address: SocketAddr =
            address.parse().map_err(|_| Error::new(ErrorKind::InvalidInput, address.to_owned()))?;
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buf: BytesMut::new(), next_opaque: 1 })
    }

    /// As the other side sees us.
    pub fn local(&self) -> Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Sends without waiting; returns the opaque that the answer will carry.
    pub fn send(&mut self, mut request: Command) -> Result<i32> {
        request.opaque = self.next_opaque;
        self.next_opaque += 1;
        let mut frame = BytesMut::new();
        request.encode(&mut frame);
        self.stream.write_all(&frame)?;
        Ok(request.opaque)
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next answer, requests of the server to us skipped. `TimedOut` when none comes, `UnexpectedEof` when the peer
    /// has closed.
    pub fn receive(&mut self, timeout: Duration) -> Result<Command> {
        let deadline = Instant::now() + timeout;
        loop {
            match Command::decode(&mut self.buf).map_err(|error| Error::new(ErrorKind::InvalidData, error))? {
                Some(command) if command.is_response() => return Ok(command),
                Some(_) => continue,
                None => self.fill(deadline)?,
            }
        }
    }

    pub fn call(&mut self, request: Command, timeout: Duration) -> Result<Command> {
        let deadline = Instant::now() + timeout;
        self.stream.set_write_timeout(Some(timeout))?;
        let opaque = self.send(request)?;
        loop {
            let answer = self.receive(deadline.saturating_duration_since(Instant::now()))?;
            if answer.opaque == opaque {
                return Ok(answer);
            }
        }
    }

    fn fill(&mut self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.buf.extend_from_slice(&chunk[..n]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// One request on a connection of its own.
pub fn call(address: &str, request: Command, timeout: Duration) -> Result<Command> {
    Connection::open(address, timeout)?.call(request, timeout)
}
