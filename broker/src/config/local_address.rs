//! Which address and name of this host others are told when the file names none.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// `bind` if it is one address, else the address this host uses towards others, else loopback (a host
/// without a network).
pub(super) fn advertised(bind: &str) -> IpAddr {
    match bind.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() => ip,
        _ => outward().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }
}

/// Connecting a UDP socket sends nothing; it only asks the kernel which source address it would use.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|it| it.ip()).filter(|it| !it.is_unspecified())
}

pub(super) fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|it| !it.is_empty())
}
