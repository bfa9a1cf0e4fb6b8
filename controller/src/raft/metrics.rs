//! What the raft thread and its callers count. Written with relaxed stores: readers want numbers, not order.

use super::RaftError;
use crate::replicas::Outcome;
use node::metrics::{Counters, Labels, Latencies, Registry, as_micros, micros, seconds};
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug)]
pub struct RaftMetrics {
    pub last_index: AtomicU64,
    pub committed_index: AtomicU64,
    pub applied_index: AtomicU64,
    /// Entries that each other controller lacks and whether it was heard lately; known to the leader only.
    pub followers: Mutex<Vec<Follower>>,
    disk_write: Histogram,
    /// RocketMQ's names, though there is no DLedger here.
    appends: Counters,
    append_latency: Latencies,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    pub id: u64,
    pub lag_entries: u64,
    /// Looks in a row that found nothing heard. raft-rs forgets once per election timeout what it heard, so one alone
    /// says nothing.
    pub silent_looks: u32,
}

impl Follower {
    pub fn is_heard(&self) -> bool {
        self.silent_looks < 3
    }
}

impl Default for RaftMetrics {
    fn default() -> Self {
        RaftMetrics {
            last_index: AtomicU64::new(0),
            committed_index: AtomicU64::new(0),
            applied_index: AtomicU64::new(0),
            followers: Mutex::default(),
            disk_write: seconds(),
            appends: Counters::default(),
            append_latency: Latencies::new_with_constructor(micros),
        }
    }
}

impl RaftMetrics {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Synced writes of the Raft log, the fsync included";
        registry.register("baton_raft_fsync_seconds", help, self.disk_write.clone());
        registry.register("dledger_op", "Commands proposed to the Raft log", self.appends.clone());
        let help = "From proposing a command to its being applied";
        registry.register("dledger_op_latency_microseconds", help, self.append_latency.clone());
    }

    pub(super) fn synced(&self, took: Duration) {
        self.disk_write.observe(took.as_secs_f64());
    }

    pub(super) fn proposed(&self, took: Duration, outcome: &Result<Outcome, RaftError>) {
        let status = match outcome {
            Ok(_) => "success",
            Err(RaftError::Timeout) => "timeout",
            Err(_) => "failed",
        };
        let operation = ("dledger_operation", "append".to_owned());
        let labels: Labels = vec![operation.clone(), ("dLedger_operation_status", status.to_owned())];
        self.appends.get_or_create(&labels).inc();
        self.append_latency.get_or_create(&vec![operation]).observe(as_micros(took));
    }

    pub(super) fn at(&self, last: u64, committed: u64, applied: u64) {
        self.last_index.store(last, Ordering::Relaxed);
        self.committed_index.store(committed, Ordering::Relaxed);
        self.applied_index.store(applied, Ordering::Relaxed);
    }
}
