//! UNIQ_KEY for messages whose producer set none, in the layout of RocketMQ's clients, because tools read the time
//! out of it.
//!
//! ```text
//! ip (4 or 16) · process id u16 · loader hash i32 · ms since the month began i32 · counter u16; in upper-case hex
//! ```

use node::clock::wall_ms;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

const DAY_MS: i64 = 86_400_000;

pub fn next(ip: IpAddr) -> String {
    static COUNTER: AtomicU16 = AtomicU16::new(0);
    // Java uses its class loader's hash to tell apart clients within a process; any number of this process does.
    static LOADER: OnceLock<u32> = OnceLock::new();
    let loader = *LOADER.get_or_init(rand::random);
    key(ip, std::process::id() as u16, loader, wall_ms(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

fn key(ip: IpAddr, process: u16, loader: u32, now_ms: i64, counter: u16) -> String {
    let mut bytes = match ip {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    };
    bytes.extend_from_slice(&process.to_be_bytes());
    bytes.extend_from_slice(&loader.to_be_bytes());
    bytes.extend_from_slice(&((now_ms - month_start_ms(now_ms)) as u32).to_be_bytes());
    bytes.extend_from_slice(&counter.to_be_bytes());
    bytes.iter().map(|it| format!("{it:02X}")).collect()
}

/// First millisecond of the (UTC) month that `now_ms` is in.
fn month_start_ms(now_ms: i64) -> i64 {
    let days = now_ms.div_euclid(DAY_MS);
    // Days since 0000-03-01, where years begin in March and leap days come last (Hinnant's civil calendar).
    let of_era = (days + 719_468).rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month + 2) / 5;
    (days - day_of_month) * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn months_begin_where_the_calendar_says() {
        // 2024-02-29T12:00:00Z, 2024-03-01T00:00:00Z and 2023-12-31T23:59:59.999Z
        assert_eq!(month_start_ms(1_709_208_000_000), 1_706_745_600_000);
        assert_eq!(month_start_ms(1_709_251_200_000), 1_709_251_200_000);
        assert_eq!(month_start_ms(1_704_067_199_999), 1_701_388_800_000);
    }

    #[test]
    fn a_key_has_the_layout_of_javas() {
        let text = key(Ipv4Addr::new(10, 0, 0, 1).into(), 0x1234, 0xABCD_EF01, 1_709_251_200_005, 7);
        assert_eq!(text, "0A0000011234ABCDEF01000000050007");
        assert_ne!(next(Ipv4Addr::LOCALHOST.into()), next(Ipv4Addr::LOCALHOST.into()));
    }
}
