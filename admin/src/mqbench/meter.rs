//! Counts what producers or readers do, second by second and in total.

use super::report::{Summary, latencies, record};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Shared by all producers of a run. One short lock per message: less than a percent of what a send costs.
pub struct Meter {
    started: Instant,
    state: Mutex<State>,
}

struct State {
    total: Histogram<u64>,
    second: Histogram<u64>,
    bytes: u64,
    errors: u64,
    last_error: Option<String>,
    last_ack: Instant,
    /// Longest time without any acknowledgement, counting from the start.
    longest_gap: Duration,
    /// Who acknowledged, each time it was another address than before.
    addresses: Vec<(Instant, String)>,
}

/// The last second, for the live line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Second {
    pub acked: u64,
    pub acked_in_all: u64,
    pub errors: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub last_error: Option<String>,
}

impl Meter {
    pub fn start() -> Meter {
        let now = Instant::now();
        let state = State {
            total: latencies(),
            second: latencies(),
            bytes: 0,
            errors: 0,
            last_error: None,
            last_ack: now,
            longest_gap: Duration::ZERO,
            addresses: Vec::new(),
        };
        Meter { started: now, state: Mutex::new(state) }
    }

    /// A message of `bytes` was acknowledged by (or read from) `address`.
    pub fn acknowledged(&self, latency: Duration, bytes: usize, address: &str) {
        let mut state = self.state.lock();
        let now = Instant::now(); // under the lock, so that instants do not run backwards between producers
        record(&mut state.second, latency);
        state.bytes += bytes as u64;
        state.longest_gap = state.longest_gap.max(now - state.last_ack);
        state.last_ack = now;
        if state.addresses.last().is_none_or(|it| it.1 != address) {
            state.addresses.push((now, address.to_owned()));
        }
    }

    pub fn failed(&self, error: String) {
        let mut state = self.state.lock();
        state.errors += 1;
        state.last_error = Some(error);
    }

    /// The time since the last call; call it once a second.
    pub fn second(&self) -> Second {
        let mut state = self.state.lock();
        let state = &mut *state;
        let (p50_us, p99_us) = (state.second.value_at_quantile(0.5), state.second.value_at_quantile(0.99));
        let acked = state.second.len();
        state.fold();
        Second {
            acked,
            acked_in_all: state.total.len(),
            errors: state.errors,
            p50_us,
            p99_us,
            last_error: state.last_error.take(),
        }
    }

    pub fn summary(&self, took: Duration) -> Summary {
        let mut state = self.state.lock();
        state.fold();
        Summary::new(&state.total, state.bytes, state.errors, state.longest_gap, took)
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The first acknowledgement after `since` that does not come from `address`.
    pub fn first_from_another(&self, since: Instant, address: &str) -> Option<(Instant, String)> {
        let state = self.state.lock();
        state.addresses.iter().find(|(at, from)| *at > since && from != address).cloned()
    }
}

impl State {
    fn fold(&mut self) {
        // Both have the same bounds, so this cannot fail; if it ever did, the figures would be short and nothing else.
        if self.total.add(&self.second).is_ok() {
            self.second.reset();
        }
    }
}

impl Second {
    /// One line: `  3 s  12,345/s  total 37,010  errors 0  p50 640 µs  p99 2100 µs`.
    pub fn line(&self, verb: &str, at: Duration) -> String {
        let mut line = format!(
            "{:>4} s  {verb} {:>9}/s  total {:>11}  errors {}  p50 {} µs  p99 {} µs",
            at.as_secs_f64().round(),
            grouped(self.acked),
            grouped(self.acked_in_all),
            grouped(self.errors),
            self.p50_us,
            self.p99_us
        );
        if let Some(error) = &self.last_error {
            line += &format!("  last error: {error}");
        }
        line
    }
}

/// `12345678` as `12,345,678`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn seconds_add_up() {
        let meter = Meter::start();
        meter.acknowledged(Duration::from_micros(100), 10, "a");
        assert_eq!(meter.second().acked, 1);
        meter.acknowledged(Duration::from_micros(200), 10, "a");
        meter.failed("refused".into());
        let second = meter.second();
        assert_eq!((second.acked, second.acked_in_all, second.errors), (1, 2, 1));
        expect!["   2 s  acked         1/s  total           2  errors 1  p50 200 µs  p99 200 µs  last error: refused"]
            .assert_eq(&second.line("acked", Duration::from_secs(2)));
        let summary = meter.summary(Duration::from_secs(1));
        assert_eq!((summary.acked, summary.errors), (2, 1));
    }

    #[test]
    fn the_successors_first_acknowledgement_is_found() {
        let meter = Meter::start();
        meter.acknowledged(Duration::from_micros(1), 1, "old");
        let killed = Instant::now();
        meter.acknowledged(Duration::from_micros(1), 1, "old");
        assert_eq!(meter.first_from_another(killed, "old"), None);
        meter.acknowledged(Duration::from_micros(1), 1, "new");
        let (at, address) = meter.first_from_another(killed, "old").unwrap();
        assert!(at > killed && address == "new");
    }

    #[test]
    fn thousands() {
        let texts = [0, 999, 1000, 1234567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
