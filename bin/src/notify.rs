//! Telling whoever started this process that it serves: systemd's `NOTIFY_SOCKET` protocol, which our own supervisor
//! speaks too.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

pub const SOCKET: &str = "NOTIFY_SOCKET";
pub const READY: &[u8] = b"READY=1";

/// Says that this process serves from now on, if somebody wants to know.
pub fn ready() {
    let Some(name) = std::env::var(SOCKET).ok().filter(|it| !it.is_empty()) else { return };
    if let Err(error) = say(&name, READY) {
        tracing::warn!(%error, name, "cannot tell NOTIFY_SOCKET that this process serves");
    }
}

fn say(name: &str, what: &[u8]) -> io::Result<()> {
    let to = address(name)?;
    UnixDatagram::unbound()?.send_to_addr(what, &to).map(drop)
}

/// A path, or with `@` in front a name in the kernel's own name space.
pub fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_reaches_paths_and_abstract_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify").display().to_string();
        for name in [path, format!("@baton-test-{}", std::process::id())] {
            let socket = UnixDatagram::bind_addr(&address(&name).unwrap()).unwrap();
            say(&name, READY).unwrap();
            let mut said = [0; 64];
            let len = socket.recv(&mut said).unwrap();
            assert_eq!(&said[..len], READY);
        }
    }
}
