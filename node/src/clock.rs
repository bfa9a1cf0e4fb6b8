//! Time as the drivers hand it to the pure cores.

use proto::Millis;
use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Both clocks at a moment of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Virtual {
    pub monotonic_ms: Millis,
    pub wall_ms: i64,
}

thread_local! {
    static VIRTUAL: Cell<Option<Virtual>> = const { Cell::new(None) };
}

/// What the clocks show on this thread from now on: a simulation runs many processes, each with clocks of its own, on
/// one thread.
pub fn simulate(it: Virtual) {
    VIRTUAL.set(Some(it));
}

/// Wall clock in milliseconds since 1970: for time stamps that people or other processes read, never for deadlines.
pub fn wall_ms() -> i64 {
    if let Some(it) = VIRTUAL.get() {
        return it.wall_ms;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis() as i64)
}

/// Monotonic milliseconds since the process started: for every deadline, lease and timeout.
pub fn monotonic_ms() -> Millis {
    if let Some(it) = VIRTUAL.get() {
        return it.monotonic_ms;
    }
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as Millis
}
