//! Listening sockets that whoever started this process has opened for it: systemd's `LISTEN_FDS` protocol, which our
//! own supervisor speaks too.
//!
//! Such a socket outlives the process: while it is being restarted, connections wait in the socket's queue instead of
//! being refused. `LISTEN_FDS=n` says that descriptors 3 to 2 + n are such sockets; `LISTEN_PID` says for which
//! process, and may be absent. A socket is claimed by the first listener with its port.

use parking_lot::Mutex;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::sync::OnceLock;

/// The first descriptor that is handed over.
pub const FIRST: RawFd = 3;
/// A server has two or three ports; a larger number is a mistake.
const MOST: usize = 16;
const ADVICE: &str = "start this process by a systemd socket unit or by `--supervised`, or unset LISTEN_FDS";

/// What came with the process and nobody has claimed yet. They are the process's own from the first look on.
static HANDED: OnceLock<Result<Mutex<Vec<TcpListener>>, String>> = OnceLock::new();

/// The socket for this address, if one was handed over: the one with its port, for port 0 any.
pub fn claim(at: SocketAddr) -> Result<Option<TcpListener>, String> {
    let mut left = handed()?.lock();
    let fits = |it: &TcpListener| it.local_addr().is_ok_and(|it| at.port() == 0 || it.port() == at.port());
    let found = left.iter().position(fits);
    Ok(found.map(|it| left.swap_remove(it)))
}

/// Sockets that no listener wanted: connections to them are never answered.
pub fn unclaimed() -> Vec<SocketAddr> {
    let left = handed().map(|it| it.lock().iter().filter_map(|it| it.local_addr().ok()).collect());
    left.unwrap_or_default()
}

fn handed() -> Result<&'static Mutex<Vec<TcpListener>>, String> {
    let handed = HANDED.get_or_init(|| {
        let variable = |name| std::env::var(name).ok();
        let count = count(variable("LISTEN_FDS").as_deref(), variable("LISTEN_PID").as_deref(), std::process::id())?;
        let sockets: Result<Vec<_>, _> = (FIRST..).take(count).map(take).collect();
        sockets.map(Mutex::new)
    });
    handed.as_ref().map_err(String::clone)
}

/// How many sockets are meant for process `me`.
fn count(fds: Option<&str>, pid: Option<&str>, me: u32) -> Result<usize, String> {
    let Some(fds) = fds else { return Ok(0) };
    if let Some(pid) = pid.filter(|it| !it.is_empty()) {
        match pid.parse::<u32>() {
            Ok(pid) if pid == me => {}
            // The environment of another process, inherited: its descriptors are not ours.
            Ok(_) => return Ok(0),
            Err(_) => return Err(format!("LISTEN_PID={pid}: want a process id; {ADVICE}")),
        }
    }
    match fds.parse() {
        Ok(count) if count <= MOST => Ok(count),
        _ => Err(format!("LISTEN_FDS={fds}: want a number of sockets from 0 to {MOST}; {ADVICE}")),
    }
}

/// Makes sure that it is what was promised before it is taken for ours.
fn take(fd: RawFd) -> Result<TcpListener, String> {
    let wrong = |why: &str| format!("descriptor {fd}, named by LISTEN_FDS, {why}; {ADVICE}");
    // SAFETY: only asked about; the kernel answers EBADF for a descriptor that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let accepts = socket_acceptconn(borrowed).map_err(|e| wrong(&format!("cannot be used: {e}")))?;
    let tcp = socket_domain(borrowed).is_ok_and(|it| [AddressFamily::INET, AddressFamily::INET6].contains(&it));
    if !accepts || !tcp {
        return Err(wrong("is no listening TCP socket"));
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(|e| wrong(&e.to_string()))?;
    // SAFETY: it was handed over to this process, by the protocol's rule nobody else in it uses it, and [`HANDED`] is
    // filled once.
    let socket = unsafe { TcpListener::from_raw_fd(fd) };
    socket.set_nonblocking(true).map_err(|e| wrong(&e.to_string()))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_taken_by_the_process_they_are_meant_for() {
        assert_eq!(count(None, None, 7), Ok(0));
        assert_eq!(count(Some("2"), Some("7"), 7), Ok(2));
        assert_eq!(count(Some("2"), None, 7), Ok(2));
        assert_eq!(count(Some("2"), Some(""), 7), Ok(2));
        assert_eq!(count(Some("2"), Some("8"), 7), Ok(0), "inherited from another process");
    }

    #[test]
    fn what_is_no_count_is_refused_with_advice() {
        for (fds, pid) in [("x", None), ("-1", None), ("17", None), ("", None), ("99999999999999999999", Some("7"))] {
            let why = count(Some(fds), pid, 7).unwrap_err();
            assert!(why.starts_with(&format!("LISTEN_FDS={fds}: ")) && why.ends_with(ADVICE), "{why}");
        }
        assert!(count(Some("1"), Some("me"), 7).unwrap_err().starts_with("LISTEN_PID=me: "));
    }

    #[test]
    fn a_descriptor_that_is_no_listening_socket_is_refused() {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(take(file.as_raw_fd()).unwrap_err().contains("named by LISTEN_FDS"));
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(take(unix.as_raw_fd()).unwrap_err().contains("is no listening TCP socket"));
    }
}
