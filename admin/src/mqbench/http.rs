//! A GET over HTTP/1.0, enough for the status pages on our own ports.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A status page that takes longer is no use.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Larger answers are not status pages.
const LIMIT: u64 = 16 << 20;

/// The body of a 200 answer; `None` for anything else, such as a Java peer that speaks no HTTP.
pub async fn get(address: &str, path: &str) -> Option<Vec<u8>> {
    tokio::time::timeout(TIMEOUT, fetch(address, path)).await.ok()?.ok()?
}

async fn fetch(address: &str, path: &str) -> std::io::Result<Option<Vec<u8>>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LIMIT).read_to_end(&mut answer).await?;
    Ok(body(&answer).map(<[u8]>::to_vec))
}

fn body(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let status = answer.split(|it| *it == b' ').nth(1)?;
    (status == b"200").then(|| &answer[end + 4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_has_a_body() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nx: y\r\n\r\n{}"), Some(&b"{}"[..]));
        assert_eq!(body(b"HTTP/1.1 503 Service Unavailable\r\n\r\nstopping"), None);
        assert_eq!(body(b"\x00\x00\x00\x05hello"), None);
    }
}
