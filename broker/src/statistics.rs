//! Counters of one broker process, and the rates that `clusterList` shows.

use parking_lot::Mutex;
use proto::Millis;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// RocketMQ shows rates over 10 s, 1 min and 10 min, sampled once a second.
const WINDOWS: [usize; 3] = [10, 60, 600];

#[derive(Debug)]
pub struct Statistics {
    pub started_ms: Millis,
    pub boot_timestamp: i64,
    pub put_messages: AtomicU64,
    pub put_bytes: AtomicU64,
    pub put_failed: AtomicU64,
    pub got_messages: AtomicU64,
    /// Pulls that found something, and that did not.
    pub pull_found: AtomicU64,
    pub pull_missed: AtomicU64,
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Millis,
    put: u64,
    got: u64,
    found: u64,
    missed: u64,
}

/// Per second, over the three windows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub put: [f64; 3],
    pub got: [f64; 3],
    pub found: [f64; 3],
    pub missed: [f64; 3],
}

impl Statistics {
    pub fn new(now: Millis, wall_ms: i64) -> Statistics {
        Statistics {
            started_ms: now,
            boot_timestamp: wall_ms,
            put_messages: AtomicU64::new(0),
            put_bytes: AtomicU64::new(0),
            put_failed: AtomicU64::new(0),
            got_messages: AtomicU64::new(0),
            pull_found: AtomicU64::new(0),
            pull_missed: AtomicU64::new(0),
            samples: Mutex::default(),
        }
    }

    pub fn put(&self, messages: usize, bytes: usize) {
        self.put_messages.fetch_add(messages as u64, Ordering::Relaxed);
        self.put_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn pulled(&self, messages: usize) {
        self.got_messages.fetch_add(messages as u64, Ordering::Relaxed);
        let counter = if messages > 0 { &self.pull_found } else { &self.pull_missed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self, at: Millis) -> Sample {
        let read = |it: &AtomicU64| it.load(Ordering::Relaxed);
        Sample {
            at,
            put: read(&self.put_messages),
            got: read(&self.got_messages),
            found: read(&self.pull_found),
            missed: read(&self.pull_missed),
        }
    }

    /// Called once a second.
    pub fn sample(&self, now: Millis) {
        let mut samples = self.samples.lock();
        samples.push_back(self.now(now));
        if samples.len() > WINDOWS[2] {
            samples.pop_front();
        }
    }

    pub fn rates(&self, now: Millis) -> Rates {
        let samples = self.samples.lock();
        let newest = self.now(now);
        let mut rates = Rates::default();
        for (i, window) in WINDOWS.iter().enumerate() {
            let Some(oldest) = samples.get(samples.len().saturating_sub(*window)) else { continue };
            let seconds = (newest.at.saturating_sub(oldest.at)) as f64 / 1000.0;
            if seconds <= 0.0 {
                continue;
            }
            rates.put[i] = (newest.put - oldest.put) as f64 / seconds;
            rates.got[i] = (newest.got - oldest.got) as f64 / seconds;
            rates.found[i] = (newest.found - oldest.found) as f64 / seconds;
            rates.missed[i] = (newest.missed - oldest.missed) as f64 / seconds;
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second_over_their_windows() {
        let statistics = Statistics::new(0, 0);
        for second in 0..20 {
            statistics.sample(second * 1000);
            statistics.put(if second < 10 { 0 } else { 100 }, 1);
        }
        let rates = statistics.rates(20_000);
        assert_eq!(rates.put[0], 100.0);
        assert_eq!(rates.put[1], 50.0);
        assert_eq!(rates.missed[0], 0.0);
    }
}
