//! The sockets that a supervisor keeps, and how a child gets them: as descriptors 3 and up, by the `LISTEN_FDS`
//! protocol.

use anyhow::Context;
use node::listener::{Listener, handed};
use rustix::io::{dup2, fcntl_dupfd_cloexec};
use std::mem::ManuallyDrop;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Copies are kept above the numbers they will have in the child, so that putting one into its place never overwrites
/// another.
const COPIES_FROM: RawFd = 64;

/// Open listening sockets. While they are, nobody is refused.
pub struct Sockets {
    /// Also keep the low numbers taken: the pipe by which the standard library learns whether a program could be
    /// started is opened later, so it never has the number of a socket in the child.
    _held: Vec<TcpListener>,
    copies: Vec<OwnedFd>,
}

impl Sockets {
    pub async fn open(config: &broker::Config) -> anyhow::Result<Sockets> {
        let at = |port: u16| format!("{}:{port}", config.bind_address);
        let main = Listener::socket(&at(config.listen_port)).await.context(broker::PORT_TAKEN)?;
        let mut held = vec![main];
        if let Some(port) = config.vip_port() {
            // A second port that is taken is the child's to complain about: it serves without.
            held.extend(Listener::socket(&at(port)).await.ok());
        }
        let copies = held.iter().map(|it| fcntl_dupfd_cloexec(it, COPIES_FROM)).collect::<Result<_, _>>();
        Ok(Sockets { _held: held, copies: copies.context("cannot copy a socket's descriptor")? })
    }

    pub fn count(&self) -> usize {
        self.copies.len()
    }

    /// What a child does between fork and exec: only system calls that are allowed there, nothing is allocated.
    pub fn place(&self) -> impl Fn() -> std::io::Result<()> + Send + Sync + 'static + use<> {
        use std::os::fd::{AsRawFd, BorrowedFd};
        let copies: Vec<RawFd> = self.copies.iter().map(AsRawFd::as_raw_fd).collect();
        move || {
            for (place, copy) in (handed::FIRST..).zip(&copies) {
                // SAFETY: the child has all descriptors of the supervisor, which keeps the copies open for its life.
                let copy = unsafe { BorrowedFd::borrow_raw(*copy) };
                // SAFETY: whatever has this number in the child is not used any more before exec; not closed on drop.
                let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(place) });
                dup2(copy, &mut place)?;
            }
            Ok(())
        }
    }
}
