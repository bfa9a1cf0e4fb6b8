//! UNIQ_KEY, the message id that users see: 32 upper-case hex digits.
//!
//! ```text
//! ip 4 | pid 2 | random 4 | ms since the month began 4 | counter 2
//! ```
//! Java's layout, because tools derive the time from it (Java counts from local midnight, ours from UTC's).

use node::clock::wall_ms;
use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

const MS_PER_DAY: i64 = 86_400_000;

/// A key that no other message has.
pub(crate) fn next() -> String {
    static PREFIX: OnceLock<[u8; 10]> = OnceLock::new();
    // 65,536 keys per millisecond, shared by all producers of the process.
    static COUNTER: AtomicU16 = AtomicU16::new(0);
    let prefix = PREFIX.get_or_init(|| {
        let pid = (std::process::id() as u16).to_be_bytes();
        let random: [u8; 4] = rand::random();
        let ip = local_ip().octets();
        [ip[0], ip[1], ip[2], ip[3], pid[0], pid[1], random[0], random[1], random[2], random[3]]
    });
    layout(prefix, ms_since_month_began(wall_ms()), COUNTER.fetch_add(1, Ordering::Relaxed))
}

fn layout(prefix: &[u8; 10], ms: u32, counter: u16) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut key = String::with_capacity(32);
    for byte in prefix.iter().chain(&ms.to_be_bytes()).chain(&counter.to_be_bytes()) {
        key.push(HEX[(byte >> 4) as usize] as char);
        key.push(HEX[(byte & 15) as usize] as char);
    }
    key
}

/// At most 31 days, which fit 32 bits.
fn ms_since_month_began(wall_ms: i64) -> u32 {
    let (days, ms_of_day) = (wall_ms.div_euclid(MS_PER_DAY), wall_ms.rem_euclid(MS_PER_DAY));
    ((day_of_month(days) - 1) * MS_PER_DAY + ms_of_day) as u32
}

/// Day of the month, from 1, of a day counted from 1970-01-01 (Gregorian).
fn day_of_month(days: i64) -> i64 {
    // Years are counted from 1 March, so that the odd day comes last; eras are 400 years.
    let day_of_era = (days + 719_468).rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month + 2) / 5 + 1
}

/// The address the system would use to reach others. Nothing is sent: connecting a UDP socket only asks the routing
/// table.
fn local_ip() -> Ipv4Addr {
    let ask = || {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    };
    match ask() {
        Ok(std::net::SocketAddr::V4(address)) => *address.ip(),
        _ => Ipv4Addr::LOCALHOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_are_unique_and_well_formed() {
        let keys: BTreeSet<_> = (0..10_000).map(|_| next()).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(
            keys.iter()
                .all(|it| it.len() == 32 && it.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_lowercase()))
        );
    }

    #[test]
    fn the_layout_is_javas() {
        let key = layout(&[10, 0, 0, 1, 0x12, 0x34, 1, 2, 3, 4], 0x0102_0304, 0xABCD);
        assert_eq!(key, "0A000001123401020304".to_owned() + "01020304ABCD");
    }

    #[test]
    fn days_of_the_month_follow_the_calendar() {
        // 1970-01-01, 1970-02-01, 2000-02-29, 2000-03-01, 2023-11-14 (1700000000 s), 2100-03-01 after a February of 28
        // days.
        let cases = [(0, 1), (31, 1), (11_016, 29), (11_017, 1), (19_675, 14), (47_541, 1)];
        for (days, want) in cases {
            assert_eq!(day_of_month(days), want, "{days}");
        }
        assert_eq!(ms_since_month_began(1_700_000_000_000), 13 * 86_400_000 + 80_000_000);
    }
}
