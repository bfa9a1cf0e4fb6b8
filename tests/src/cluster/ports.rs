//! Ports that nobody else has, and that stay free while a killed process is away.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// A port that is free now. Below the kernel's range for outgoing connections: a killed process's port must still be
/// free when it comes back, and must refuse connections meanwhile.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        if reserve(&[port]) {
            return port;
        }
    }
}

/// A port for a broker, which also serves on the second one below it.
pub(super) fn free_broker_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        if reserve(&[port, port - 2]) {
            return port;
        }
    }
}

/// Takes all of these for this test process, or none: a port that is given to nobody yet may be somebody's second one.
fn reserve(ports: &[u16]) -> bool {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let free = ports.iter().all(|it| !taken.contains(it) && is_free(*it));
    if free {
        taken.extend(ports);
    }
    free
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
