//! What process-level tests share: real processes on free ports, a plain client of its own, and a checker of what
//! clients saw.
//!
//! Everything here speaks to the processes over sockets only, with nothing but `proto`'s frame codec: the project's own
//! client must not be what judges the project's own servers. The record decoder is an independent one for the same
//! reason.

pub mod application;
pub mod cluster;
pub mod commands;
pub mod history;
pub mod http;
pub mod interposed;
pub mod java;
pub mod load;
pub mod logs;
pub mod mqadmin;
pub mod netns;
pub mod process;
pub mod queries;
pub mod readers;
pub mod record;
pub mod supervised;
pub mod wire;

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub use cluster::{Cluster, ClusterSpec, ControllerForm};
pub use history::History;
pub use load::Load;

/// Process-level cases take turns: two clusters at once on two cores measure each other.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A failed case poisons the lock; the next one is not affected by it.
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Asks until there is an answer; `None` when `within` has passed.
pub fn ask_within<T>(within: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() >= deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same; panics with `what` when `within` has passed.
#[track_caller]
pub fn wait_for<T>(what: &str, within: Duration, ask: impl FnMut() -> Option<T>) -> T {
    let Some(answer) = ask_within(within, ask) else { panic!("waited {within:?} in vain: {what}") };
    answer
}

/// Whether a condition comes to hold within that time.
pub fn holds_within(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    ask_within(within, || condition().then_some(())).is_some()
}

/// [`wait_for`] a condition.
#[track_caller]
pub fn wait_until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, within, || condition().then_some(()));
}

pub const SECOND: Duration = Duration::from_secs(1);
/// For what takes milliseconds on an idle machine: a loaded one may take its time, a broken system never answers.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says something that the test runner's output capture must not swallow, such as a case that could not run.
pub fn loudly(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "\n*** {text}");
}
