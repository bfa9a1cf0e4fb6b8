//! Whether a message is likely still in this machine's page cache, as RocketMQ guesses it: by its distance from
//! the log's end.

use std::sync::OnceLock;

/// Share of memory that the newest part of the log is expected to occupy (`accessMessageInMemoryMaxRatio`), percent.
const IN_MEMORY_PERCENT: u64 = 40;

/// Byte of a record where its own physical offset is (`proto::message`).
const AT_PHYSICAL_OFFSET: usize = 28;

pub fn is_cold(distance_from_end: i64) -> bool {
    distance_from_end > (total() / 100 * IN_MEMORY_PERCENT) as i64
}

pub fn physical_offset(record: &[u8]) -> Option<i64> {
    record.get(AT_PHYSICAL_OFFSET..)?.first_chunk().map(|it| i64::from_be_bytes(*it))
}

/// Bytes of this machine's memory; without an answer nothing counts as cold.
fn total() -> u64 {
    static TOTAL: OnceLock<u64> = OnceLock::new();
    *TOTAL.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = text.lines().find_map(|it| it.strip_prefix("MemTotal:"));
        let kilobytes = line.and_then(|it| it.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kilobytes.map_or(i64::MAX as u64, |it| it * 1024)
    })
}
