//! `GET` over a plain socket: status and body.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PROMPT: Duration = Duration::from_secs(5);

/// None when there is no answer.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let at: SocketAddr = address.parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&at, PROMPT).ok()?;
    stream.set_read_timeout(Some(PROMPT)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The status alone; 0 without an answer.
pub fn status(address: &str, path: &str) -> u16 {
    get(address, path).map_or(0, |it| it.0)
}
