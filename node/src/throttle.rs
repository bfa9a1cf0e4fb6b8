//! Keeps a log line that strangers can cause from filling the disk.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// One line per period; the others are counted.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Throttle {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Option<Instant>,
    unsaid: u64,
}

impl Throttle {
    pub const fn new() -> Throttle {
        Throttle { state: Mutex::new(State { last: None, unsaid: 0 }) }
    }

    /// Calls `say` with how many lines were kept back since the last one, or keeps this one back too.
    pub fn say(&self, say: impl FnOnce(u64)) {
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.last.is_some_and(|it| now < it + PERIOD) {
            state.unsaid += 1;
            return;
        }
        state.last = Some(now);
        let unsaid = std::mem::take(&mut state.unsaid);
        drop(state);
        say(unsaid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_within_the_period_is_counted() {
        let throttle = Throttle::new();
        let mut said = Vec::new();
        (0..5).for_each(|_| throttle.say(|unsaid| said.push(unsaid)));
        assert_eq!(said, [0]);
        throttle.state.lock().last = None;
        throttle.say(|unsaid| said.push(unsaid));
        assert_eq!(said, [0, 4]);
    }
}
