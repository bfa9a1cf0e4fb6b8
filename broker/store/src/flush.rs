//! To the disk: the flush thread (group commit, S11), the checkpoint thread, the disk probe (S14).

use crate::checkpoint::Verified;
use crate::consume_queue::ConsumeQueue;
use crate::durable::At;
use crate::{FlushDiskType, Shared, StoreError};
use node::clock::{monotonic_ms, wall_ms};
use proto::Offset;
use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tracing::{error, warn};

/// `flushIntervalCommitLog`'s default.
const ASYNC_FLUSH_INTERVAL: Duration = Duration::from_millis(500);
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// Longer than any append or fsync of a healthy disk, short against a heartbeat timeout.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

impl Shared {
    /// One flush serves everything appended before it began.
    pub fn run_flush(&self) {
        self.flush_wake.enlist();
        let mut last = Instant::now();
        while !self.is_stopped() {
            let (flushed, max) = (self.log.flushed(), self.log.max());
            let due = match self.config.flush {
                FlushDiskType::SyncFlush => true,
                FlushDiskType::AsyncFlush => {
                    self.flush_wanted.load(Ordering::Acquire) > flushed || last.elapsed() >= ASYNC_FLUSH_INTERVAL
                }
            };
            if flushed < max && due && self.failed.get().is_none() {
                self.flush();
                last = Instant::now();
            } else if flushed < max && self.failed.get().is_none() {
                std::thread::park_timeout(ASYNC_FLUSH_INTERVAL.saturating_sub(last.elapsed()));
            } else {
                // Nothing to flush. An asynchronous store is not woken by appends: look again soon.
                last = Instant::now();
                std::thread::park_timeout(ASYNC_FLUSH_INTERVAL);
            }
        }
    }

    /// Flushes the log. A failure is final: the kernel may have dropped the pages it could not write, so that a second
    /// try would lie.
    pub fn flush(&self) {
        if let Err(error) = self.log.flush() {
            self.fail(format!(
                "{}: flush failed: {error}; restart the broker once the disk works",
                self.log.dir.display()
            ));
        }
    }

    /// Takes the store out of service for good. Said once: whoever flushes later finds the same.
    pub fn fail(&self, why: String) {
        if self.failed.set(why.clone()).is_ok() {
            error!(%why, "store failed; no appends until a restart");
        }
        // Wakes those who wait for a flush that will never come.
        self.log.flushed_watch.send_modify(|_| {});
    }

    pub async fn wait_flushed(&self, end: Offset) -> Result<(), StoreError> {
        let mut flushed = self.log.flushed_watch.subscribe();
        loop {
            if *flushed.borrow_and_update() >= end {
                return Ok(());
            }
            if let Some(why) = self.failed.get() {
                return Err(StoreError::Unusable(why.clone()));
            }
            if self.is_stopped() {
                return Err(StoreError::Unusable("store is shut down".into()));
            }
            if end > self.log.max() {
                return Err(StoreError::Unusable(format!(
                    "nothing at {end} to flush: the log ends at {}",
                    self.log.max()
                )));
            }
            self.flush_wanted.fetch_max(end, Ordering::AcqRel);
            self.flush_wake.wake();
            if flushed.changed().await.is_err() {
                return Err(StoreError::Unusable("store is shut down".into()));
            }
        }
    }

    pub fn run_checkpoint(&self) {
        self.checkpoint_wake.enlist();
        let mut pause = CHECKPOINT_INTERVAL;
        while !self.is_stopped() {
            std::thread::park_timeout(pause);
            if self.is_stopped() {
                return;
            }
            let begin = Instant::now();
            self.checkpoint_once();
            // Syncing thousands of queues takes its time: at most a sixth of this thread's.
            pause = CHECKPOINT_INTERVAL.max(begin.elapsed() * 5);
        }
    }

    pub fn checkpoint_once(&self) {
        if let Err(error) = self.save_checkpoint() {
            warn!(%error, "checkpoint not written; recovery would begin at the one before");
        }
    }

    /// Makes log and queues durable up to where dispatch is, then says so. Recovery begins there (S12).
    pub fn save_checkpoint(&self) -> Result<(), StoreError> {
        let _guard = self.checkpoint_lock.lock();
        let (dispatched, timestamp, queues, entries) = {
            let d = self.dispatch.lock();
            let queues = self.queues.all();
            let entries = queues.iter().map(|queue| queue.max()).sum();
            (d.position, d.last_store_timestamp, queues, entries)
        };
        let saved = self.checkpoint.saved();
        let verified = Verified { dispatched, entries };
        let is_saved = saved.verified == Some(verified)
            && saved.confirm_offset == self.confirm_offset()
            && self.log.flushed() >= dispatched;
        if self.failed.get().is_some() || is_saved {
            return Ok(());
        }
        self.vouch(verified, &queues, timestamp)
    }

    /// Has on disk what the checkpoint is to vouch for, log and queues, then writes it: the next start verifies nothing
    /// of that (S11, S12). Under the checkpoint lock.
    pub fn vouch(&self, it: Verified, queues: &[Arc<ConsumeQueue>], timestamp: i64) -> Result<(), StoreError> {
        // As for the log, so for a queue: recovery would trust what a second try says.
        self.sync_below(it.dispatched, queues)
            .inspect_err(|error| self.fail(format!("{error}; restart the broker once the disk works")))?;
        let flushed = self.log.flushed();
        self.checkpoint.save(|checkpoint| {
            if timestamp > 0 {
                checkpoint.physic_timestamp = timestamp;
                checkpoint.logics_timestamp = timestamp;
            }
            checkpoint.master_flushed_offset = flushed;
            // Read here, so that a seal that lowers it has its value saved last.
            checkpoint.confirm_offset = self.confirm_offset();
            checkpoint.verified = Some(it);
        })
    }

    fn sync_below(&self, dispatched: Offset, queues: &[Arc<ConsumeQueue>]) -> Result<(), StoreError> {
        if self.log.flushed() < dispatched {
            self.log.flush().at(&self.log.dir, "flush")?;
        }
        queues.iter().filter(|queue| queue.is_dirty()).try_for_each(|queue| queue.sync())
    }

    /// Appends and syncs a few bytes on the store's disk again and again: a disk that hangs or fails shows as a growing
    /// age.
    pub fn run_probe(&self) {
        self.probe_wake.enlist();
        while !self.is_stopped() {
            self.probe_once();
            std::thread::park_timeout(PROBE_INTERVAL);
        }
    }

    pub fn probe_once(&self) {
        let probed = self.probe();
        if probed.is_ok() {
            self.probed_ms.store(monotonic_ms(), Ordering::Release);
        }
        let failed_before = self.probe_fails.swap(probed.is_err(), Ordering::AcqRel);
        if let Some(error) = probed.err().filter(|_| !failed_before) {
            error!(%error, "disk probe failed");
        }
    }

    fn probe(&self) -> Result<(), StoreError> {
        let path = self.config.root.join("probe");
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&path).at(&path, "open disk probe")?;
        let now = wall_ms().to_be_bytes();
        self.disk.write_at(&file, &path, &now, 0).at(&path, "write disk probe")?;
        self.disk.sync_data(&file, &path).at(&path, "sync disk probe")
    }

    pub fn probe_age_ms(&self) -> u64 {
        if self.failed.get().is_some() {
            return u64::MAX;
        }
        monotonic_ms().saturating_sub(self.probed_ms.load(Ordering::Acquire))
    }
}
