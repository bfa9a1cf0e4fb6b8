//! What a run measured: as the JSON object that `--json` prints last, and as text for people.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Longest latency that is told apart: an hour.
const HIGHEST_US: u64 = 3_600_000_000;

/// A histogram of microseconds with three significant digits.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("constant bounds are valid")
}

/// Records a latency; what is longer than an hour counts as an hour.
pub fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record((latency.as_micros() as u64).max(1));
}

/// Figures every kind of load has.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Messages per second, acknowledged or consumed.
    pub tps: f64,
    /// MiB of bodies per second.
    pub mb_per_s: f64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
    pub acked: u64,
    pub errors: u64,
    /// Longest time in which no producer had an acknowledgement.
    pub longest_ack_gap_ms: f64,
    pub seconds: f64,
}

impl Summary {
    pub fn new(histogram: &Histogram<u64>, bytes: u64, errors: u64, longest_gap: Duration, took: Duration) -> Summary {
        let seconds = took.as_secs_f64().max(f64::MIN_POSITIVE);
        Summary {
            tps: round(histogram.len() as f64 / seconds, 1),
            mb_per_s: round(bytes as f64 / (1024.0 * 1024.0) / seconds, 2),
            p50_us: histogram.value_at_quantile(0.50),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
            acked: histogram.len(),
            errors,
            longest_ack_gap_ms: millis(longest_gap),
            seconds: round(took.as_secs_f64(), 3),
        }
    }

    /// Two lines for people.
    pub fn text(&self, verb: &str) -> String {
        format!(
            "{} {verb} in {:.1} s: {:.0}/s, {:.1} MiB/s, errors {}\nlatency p50 {}, p99 {}, p99.9 {}, max {}; longest \
             gap {:.1} ms\n",
            self.acked,
            self.seconds,
            self.tps,
            self.mb_per_s,
            self.errors,
            micros(self.p50_us),
            micros(self.p99_us),
            micros(self.p999_us),
            micros(self.max_us),
            self.longest_ack_gap_ms,
        )
    }
}

/// Milliseconds with one decimal: what all reports are in.
pub fn millis(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1000.0, 1)
}

fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

fn micros(us: u64) -> String {
    if us < 10_000 { format!("{us} µs") } else { format!("{:.1} ms", us as f64 / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn sample() -> Summary {
        let mut histogram = latencies();
        for us in 1..=1000 {
            record(&mut histogram, Duration::from_micros(us * 20));
        }
        Summary::new(&histogram, 1024 * 1000, 2, Duration::from_millis(87), Duration::from_secs(2))
    }

    #[test]
    fn json_has_the_promised_keys() {
        expect![[
            r#"{"tps":500.0,"mb_per_s":0.49,"p50_us":10007,"p99_us":19807,"p999_us":19983,"max_us":20015,"acked":1000,"errors":2,"longest_ack_gap_ms":87.0,"seconds":2.0}"#
        ]]
        .assert_eq(&serde_json::to_string(&sample()).unwrap());
    }

    #[test]
    fn text_is_for_people() {
        expect![[r"
            1000 acknowledged in 2.0 s: 500/s, 0.5 MiB/s, errors 2
            latency p50 10.0 ms, p99 19.8 ms, p99.9 20.0 ms, max 20.0 ms; longest gap 87.0 ms
        "]]
        .assert_eq(&sample().text("acknowledged"));
    }

    #[test]
    fn nothing_sent_is_no_division_by_zero() {
        let empty = Summary::new(&latencies(), 0, 0, Duration::ZERO, Duration::ZERO);
        assert_eq!((empty.tps, empty.p50_us, empty.max_us), (0.0, 0, 0));
    }
}
