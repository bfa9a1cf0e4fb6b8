//! What operators see of real processes: the status page in a browser, health and role checks, metrics.

mod browser;
mod metrics;
mod probes;
