//! Who speaks, from the first bytes of a connection. Pure.
//!
//! ```text
//! 00 xx xx xx                              remoting: the length of a frame is below 16 MiB
//! "PROXY " … \r\n                          PROXY v1, at most 107 bytes
//! 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A …    PROXY v2: version|command u8, family u8, length u16, addresses
//! 16                                       TLS: a handshake record
//! "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"         HTTP/2: waited for whole, so that nobody has to be waited for later
//! 'A'…'Z'                                  HTTP/1: a method
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    NeedMore,
    Remoting,
    Http,
    Tls,
    /// A header of `used` bytes; without a peer the connection is the proxy's own (a health check).
    Proxy {
        used: usize,
        peer: Option<SocketAddr>,
    },
    BadProxy(&'static str),
}

const V1: &[u8] = b"PROXY ";
const V1_MAX: usize = 107;
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const TLS_HANDSHAKE: u8 = 0x16;
/// Addresses and extensions of a v2 header; larger ones are nobody's.
const V2_MAX: usize = 4096;

pub(super) fn sniff(bytes: &[u8]) -> Sniffed {
    if bytes.is_empty() {
        return Sniffed::NeedMore;
    }
    for (signature, parse) in [(V1, proxy_v1 as fn(&[u8]) -> Sniffed), (V2, proxy_v2)] {
        let seen = bytes.len().min(signature.len());
        if bytes[..seen] == signature[..seen] {
            return if seen < signature.len() { Sniffed::NeedMore } else { parse(bytes) };
        }
    }
    let preface = bytes.len().min(HTTP2.len());
    match bytes[0] {
        TLS_HANDSHAKE => Sniffed::Tls,
        b'P' if preface < HTTP2.len() && bytes[..preface] == HTTP2[..preface] => Sniffed::NeedMore,
        b'A'..=b'Z' => Sniffed::Http,
        _ => Sniffed::Remoting,
    }
}

/// `PROXY TCP4 10.0.0.1 10.0.0.2 40000 10911\r\n`
fn proxy_v1(bytes: &[u8]) -> Sniffed {
    let Some(end) = bytes.iter().take(V1_MAX).position(|it| *it == b'\n') else {
        let wait = bytes.len() < V1_MAX;
        return if wait { Sniffed::NeedMore } else { Sniffed::BadProxy("PROXY v1 header of more than 107 bytes") };
    };
    let Ok(line) = std::str::from_utf8(&bytes[..end]) else { return Sniffed::BadProxy("PROXY v1 header is no text") };
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let peer = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4" | "TCP6", from, _, port, _] => match (from.parse::<IpAddr>(), port.parse()) {
            (Ok(address), Ok(port)) => Some(SocketAddr::new(address, port)),
            _ => return Sniffed::BadProxy("PROXY v1 header with a bad address"),
        },
        _ => return Sniffed::BadProxy("PROXY v1 header of unknown form"),
    };
    Sniffed::Proxy { used: end + 1, peer }
}

fn proxy_v2(bytes: &[u8]) -> Sniffed {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED>() else { return Sniffed::NeedMore };
    let length = u16::from_be_bytes([fixed[14], fixed[15]]) as usize;
    if length > V2_MAX {
        return Sniffed::BadProxy("PROXY v2 header of more than 4096 bytes");
    }
    let used = V2_FIXED + length;
    let Some(addresses) = bytes.get(V2_FIXED..used) else { return Sniffed::NeedMore };
    match (fixed[12], fixed[13]) {
        (0x20, _) => Sniffed::Proxy { used, peer: None },
        (0x21, 0x11) => v2_peer(used, addresses, |it: [u8; 4]| Ipv4Addr::from(it).into()),
        (0x21, 0x21) => v2_peer(used, addresses, |it: [u8; 16]| Ipv6Addr::from(it).into()),
        (0x21, _) => Sniffed::Proxy { used, peer: None },
        _ => Sniffed::BadProxy("PROXY v2 header of unknown version or command"),
    }
}

/// Source address, destination address, source port, destination port.
fn v2_peer<const N: usize>(used: usize, addresses: &[u8], address: fn([u8; N]) -> IpAddr) -> Sniffed {
    let source = addresses.first_chunk::<N>();
    let port = addresses.get(2 * N..).and_then(|it| it.first_chunk::<2>());
    match (source, port) {
        (Some(source), Some(port)) => {
            Sniffed::Proxy { used, peer: Some(SocketAddr::new(address(*source), u16::from_be_bytes(*port))) }
        }
        _ => Sniffed::BadProxy("PROXY v2 header too short for its addresses"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn protocols_are_told_apart_by_their_first_bytes() {
        assert_eq!(sniff(b""), Sniffed::NeedMore);
        assert_eq!(sniff(&[0]), Sniffed::Remoting);
        assert_eq!(sniff(b"\x16\x03"), Sniffed::Tls);
        assert_eq!(sniff(b"G"), Sniffed::Http);
        assert_eq!(sniff(b"PRI * HTTP/2.0"), Sniffed::NeedMore);
        assert_eq!(sniff(HTTP2), Sniffed::Http);
        assert_eq!(sniff(b"POST /"), Sniffed::Http);
        assert_eq!(sniff(b"PRO"), Sniffed::NeedMore);
        assert_eq!(sniff(b"\r\n"), Sniffed::NeedMore);
        assert_eq!(sniff(b"\r\nx"), Sniffed::Remoting);
    }

    #[test]
    fn a_proxy_header_names_the_real_peer() {
        let v1 = b"PROXY TCP4 10.0.0.9 10.0.0.1 40000 10911\r\n\0\0";
        let peer = Some("10.0.0.9:40000".parse().unwrap());
        assert_eq!(sniff(v1), Sniffed::Proxy { used: 42, peer });
        assert_eq!(sniff(&v1[..41]), Sniffed::NeedMore);
        assert_eq!(sniff(b"PROXY UNKNOWN\r\n"), Sniffed::Proxy { used: 15, peer: None });
        let v2 = [V2, &[0x21, 0x11, 0, 12, 10, 0, 0, 9, 10, 0, 0, 1, 0x9C, 0x40, 0x2A, 0x9F], &[0, 0]].concat();
        assert_eq!(sniff(&v2), Sniffed::Proxy { used: 28, peer });
        assert_eq!(sniff(&v2[..27]), Sniffed::NeedMore);
        let local = [V2, &[0x20, 0, 0, 0]].concat();
        assert_eq!(sniff(&local), Sniffed::Proxy { used: 16, peer: None });
    }

    #[test]
    fn a_bad_proxy_header_is_refused() {
        for bad in [
            b"PROXY TCP4 here there 1 2\r\n".to_vec(),
            b"PROXY SCTP 1.1.1.1 1.1.1.1 1 2\r\n".to_vec(),
            [b"PROXY ", &[b'x'; 110][..]].concat(),
            [V2, &[0x21, 0x11, 0, 4, 1, 1, 1, 1]].concat(),
            [V2, &[0x31, 0x11, 0, 0]].concat(),
            [V2, &[0x21, 0x11, 0xFF, 0xFF]].concat(),
        ] {
            assert!(matches!(sniff(&bad), Sniffed::BadProxy(_)), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            prefix in prop::sample::select(vec![&b""[..], V1, V2, HTTP2]),
            bytes in prop::collection::vec(any::<u8>(), 0..150),
        ) {
            sniff(&[prefix, &bytes].concat());
        }
    }
}
