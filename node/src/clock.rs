//! Time as the drivers hand it to the pure cores.

use proto::Millis;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall clock in milliseconds since 1970: for time stamps that people or other processes read, never for deadlines.
pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis() as i64)
}

/// Monotonic milliseconds since the process started: for every deadline, lease and timeout.
pub fn monotonic_ms() -> Millis {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as Millis
}
