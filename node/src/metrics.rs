//! `/metrics`: OpenMetrics text, put together from counters that live as long as the process and gauges that are
//! looked up when somebody asks.
//!
//! No globals: who counts is handed what it counts with. Names carry their unit.

use axum::http::header::{CONTENT_TYPE, HeaderName};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
pub use prometheus_client::registry::Registry;
use std::borrow::Cow;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// One sample's labels, in the order in which they are printed.
pub type Labels = Vec<(&'static str, String)>;
pub type Counters = Family<Labels, Counter>;
pub type Latencies = Family<Labels, Histogram, fn() -> Histogram>;

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const MICROSECONDS: f64 = 1e6;
/// RocketMQ's buckets, 1 µs to 10 s, and one decade more.
const BUCKETS_MICROS: [f64; 25] = [
    1.0, 3.0, 5.0, 10.0, 30.0, 50.0, 100.0, 300.0, 500.0, 1e3, 3e3, 5e3, 1e4, 3e4, 5e4, 1e5, 3e5, 5e5, 1e6, 3e6, 5e6,
    1e7, 3e7, 5e7, 1e8,
];

/// A histogram of microseconds with RocketMQ's buckets.
pub fn micros() -> Histogram {
    Histogram::new(BUCKETS_MICROS.into_iter().filter(|it| *it <= 1e7))
}

/// A histogram of seconds, 10 µs to 100 s.
pub fn seconds() -> Histogram {
    Histogram::new(BUCKETS_MICROS.into_iter().filter(|it| *it >= 10.0).map(|it| it / MICROSECONDS))
}

pub fn as_micros(it: Duration) -> f64 {
    it.as_secs_f64() * MICROSECONDS
}

/// Values of one moment.
#[derive(Debug)]
pub struct Gauges(Registry);

impl Gauges {
    /// These labels are on every sample.
    pub fn new(constant: &[(&'static str, String)]) -> Gauges {
        Gauges(Registry::with_labels(constant.iter().map(|(k, v)| (Cow::from(*k), Cow::from(v.clone())))))
    }

    /// A value without labels of its own.
    pub fn one(&mut self, name: &str, help: &str, value: f64) {
        self.many(name, help, [(Labels::new(), value)]);
    }

    pub fn many(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).set(value);
        }
        self.0.register(name, help.trim_end_matches('.'), family);
    }

    /// What every process tells of itself, under the names that Prometheus' own clients use.
    pub fn process(&mut self) {
        if let Some(bytes) = resident_bytes() {
            self.one("process_resident_memory_bytes", "Memory in use by this process", bytes);
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            self.one("process_open_fds", "File descriptors in use by this process", open.count() as f64);
        }
    }
}

/// `VmRSS:     1234 kB`
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0)
}

/// The answer to `GET /metrics`.
pub fn page(counters: &[&Registry], gauges: &Gauges) -> ([(HeaderName, &'static str); 1], String) {
    let mut text = String::new();
    for registry in counters.iter().copied().chain([&gauges.0]) {
        // Writing to a string does not fail.
        let _ = encode_registry(&mut text, registry);
    }
    let _ = encode_eof(&mut text);
    ([(CONTENT_TYPE, TEXT)], text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn counters_and_gauges_are_one_page() {
        let mut registry = Registry::default();
        let counters = Counters::default();
        registry.register("request", "Requests", counters.clone());
        counters.get_or_create(&vec![("request_type", "A".to_owned())]).inc();
        let mut gauges = Gauges::new(&[("peer_id", "n0".to_owned())]);
        gauges.many("lag_bytes", "Bytes behind", [(vec![("broker_id", "2".to_owned())], 12.0)]);
        let (_, text) = page(&[&registry], &gauges);
        expect![[r#"
            # HELP request Requests.
            # TYPE request counter
            request_total{request_type="A"} 1
            # HELP lag_bytes Bytes behind.
            # TYPE lag_bytes gauge
            lag_bytes{peer_id="n0",broker_id="2"} 12.0
            # EOF
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn a_process_knows_its_memory() {
        let mut gauges = Gauges::new(&[]);
        gauges.process();
        let (_, text) = page(&[], &gauges);
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        assert!(text.contains("process_open_fds "), "{text}");
    }
}
