//! What the store's threads and callers share: the parts, the locks and the positions.
//!
//! Locks are taken in this order: checkpoint, dispatch, writer (the append lock), flush. Positions: `dispatched ≤ max`,
//! `flushed ≤ max`, `confirm ≤ max`; all three are lowered under the locks when the log is cut.

use crate::allocator::Allocator;
use crate::append::{Gate, QueueOffsets, Writer};
use crate::checkpoint::CheckpointFile;
use crate::commit_log::CommitLog;
use crate::dispatch::Dispatcher;
use crate::dispatch::Next;
use crate::durable::{At, Disk};
use crate::host_boot::{self, Last};
use crate::lock_file::LockFile;
use crate::queue_table::QueueTable;
use crate::wake::Wake;
use crate::{Duty, Grown, LogSlice, Recovery, StoreConfig, StoreError};
use parking_lot::Mutex;
use proto::Offset;
use proto::message::{BLANK_MAGIC, MIN_SIZE};
use proto::queue_entry;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

pub(crate) struct Shared {
    pub config: StoreConfig,
    pub disk: Disk,
    pub log: CommitLog,
    pub queues: QueueTable,
    pub checkpoint: CheckpointFile,
    pub checkpoint_lock: Mutex<()>,
    pub dispatch: Mutex<Dispatcher>,
    pub writer: Mutex<Writer>,
    /// Consumers see nothing behind it (S3); followed only when replicated.
    pub confirm: AtomicI64,
    /// Copy of the dispatcher's position that is read without its lock.
    pub dispatched: AtomicI64,
    pub grown: Mutex<BTreeMap<(Arc<str>, i32), i64>>,
    pub grown_notify: Notify,
    /// Somebody waits for a flush up to here.
    pub flush_wanted: AtomicI64,
    /// Why the store takes nothing more until a restart.
    pub failed: OnceLock<String>,
    /// Last success of the disk probe, by the monotonic clock; at first, when the store was opened.
    pub probed_ms: AtomicU64,
    pub probe_fails: AtomicBool,
    pub dispatch_wake: Wake,
    pub flush_wake: Wake,
    pub checkpoint_wake: Wake,
    pub probe_wake: Wake,
    stopped: AtomicBool,
    lock: Mutex<Option<LockFile>>,
}

impl Shared {
    /// Loads and recovers; no thread runs yet.
    pub fn open(mut config: StoreConfig, disk: Disk) -> Result<(Shared, Recovery), StoreError> {
        let entry = queue_entry::SIZE as u64;
        config.consume_queue_file_size = config.consume_queue_file_size.div_ceil(entry).max(1) * entry;
        if config.commit_log_file_size <= MIN_SIZE as u64 + 8 || config.commit_log_file_size > i32::MAX as u64 {
            return Err(StoreError::Unusable(format!(
                "mappedFileSizeCommitLog={}: want more than {} and at most {}",
                config.commit_log_file_size,
                MIN_SIZE + 8,
                i32::MAX
            )));
        }
        let root = config.root.clone();
        std::fs::create_dir_all(&root).at(&root, "create store directory")?;
        let lock = LockFile::acquire(&root)?;
        let abort = root.join("abort");
        let unclean = abort.exists();
        let last = host_boot::last(&root);
        let host_restarted = match last {
            Last::LostTail | Last::LostFlushed => true,
            Last::ThisBoot => false,
            Last::Unknown | Last::OtherBoot => unclean,
        };
        let own = std::process::id().to_string();
        // That it is there is what counts. After a process that had come up it is, on disk, and a restart under load
        // waits long for a sync.
        let written = if unclean && last == Last::ThisBoot {
            disk.write(&abort, own.as_bytes())
        } else {
            disk.replace(&abort, own.as_bytes())
        };
        written.at(&abort, "write")?;
        let shared = Shared {
            log: CommitLog::load(config.commit_log.clone(), config.commit_log_file_size, disk.clone())?,
            queues: QueueTable::load(root.join("consumequeue"), config.consume_queue_file_size, disk.clone())?,
            checkpoint: CheckpointFile::open(&root.join("checkpoint"), disk.clone())?,
            checkpoint_lock: Mutex::default(),
            dispatch: Mutex::new(Dispatcher::at(0)),
            writer: Mutex::new(Writer {
                gate: Gate::Closed("starting".into()),
                next: QueueOffsets::default(),
                stale: true,
            }),
            confirm: AtomicI64::new(0),
            dispatched: AtomicI64::new(0),
            grown: Mutex::default(),
            grown_notify: Notify::new(),
            flush_wanted: AtomicI64::new(0),
            failed: OnceLock::new(),
            probed_ms: AtomicU64::new(node::clock::monotonic_ms()),
            probe_fails: AtomicBool::new(false),
            dispatch_wake: Wake::default(),
            flush_wake: Wake::default(),
            checkpoint_wake: Wake::default(),
            probe_wake: Wake::default(),
            stopped: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
            config,
            disk,
        };
        let mut recovery = shared.recover(unclean, host_restarted)?;
        recovery.host_restarted = host_restarted;
        recovery.lost_flushed |= last == Last::LostFlushed;
        if !recovery.host_restarted && !recovery.lost_flushed {
            shared.losses_reported()?;
        }
        Ok((shared, recovery))
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Ends every thread's loop, and every wait for a flush.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let Allocator { wake, .. } = &self.log.allocator;
        for wake in [wake, &self.dispatch_wake, &self.flush_wake, &self.checkpoint_wake, &self.probe_wake] {
            wake.wake();
        }
        self.log.flushed_watch.send_modify(|_| {});
    }

    /// Flushes and writes the checkpoint. Appends are closed.
    pub fn close(&self) -> Result<(), StoreError> {
        self.flush();
        self.save_checkpoint()
    }

    /// After the threads have ended: says that all is on disk, and lets others in.
    pub fn release(&self) -> Result<(), StoreError> {
        let dir = &self.log.dir;
        self.log.allocator.discard().at(dir, "remove the file made ahead")?;
        if let Some(why) = self.failed.get() {
            return Err(StoreError::Unusable(why.clone()));
        }
        host_boot::on_clean_stop(&self.config.root, &self.disk)?;
        let abort = self.config.root.join("abort");
        self.disk.remove(&abort).at(&abort, "remove")?;
        self.lock.lock().take();
        Ok(())
    }

    pub fn losses_reported(&self) -> Result<(), StoreError> {
        host_boot::reported(&self.config.root, &self.disk)
    }

    pub fn run_allocator(&self) {
        self.log.allocator.run(&|| self.is_stopped());
    }

    /// What one of the threads would do now.
    pub fn perform(&self, duty: Duty) {
        match duty {
            Duty::Dispatch => while self.has_to_dispatch() && self.dispatch_once() == Next::GoOn {},
            Duty::Flush if self.log.flushed() < self.log.max() && self.failed.get().is_none() => self.flush(),
            Duty::Flush => {}
            Duty::Checkpoint => self.checkpoint_once(),
            Duty::Allocate => self.log.allocator.make_ahead(),
            Duty::Probe => self.probe_once(),
        }
    }

    pub fn confirm_offset(&self) -> Offset {
        let max = self.log.max();
        if self.config.replicated { self.confirm.load(Ordering::Acquire).min(max) } else { max }
    }

    pub fn set_confirm_offset(&self, offset: Offset) {
        let offset = offset.min(self.log.max());
        if self.confirm.swap(offset, Ordering::AcqRel) < offset {
            self.dispatch_wake.wake();
        }
    }

    pub fn dispatched_offset(&self) -> Offset {
        self.dispatched.load(Ordering::Acquire)
    }

    pub async fn take_grown(&self) -> Vec<Grown> {
        loop {
            let grown = std::mem::take(&mut *self.grown.lock());
            if !grown.is_empty() {
                let to_grown = |((topic, queue_id), max_offset)| Grown { topic, queue_id, max_offset };
                return grown.into_iter().map(to_grown).collect();
            }
            self.grown_notify.notified().await;
        }
    }

    pub fn record_at(&self, offset: Offset) -> Option<LogSlice> {
        let head = self.log.slice(offset, 8)?;
        let (size, magic) = (head.first_chunk()?, head.get(4..8)?.first_chunk()?);
        if i32::from_be_bytes(*magic) == BLANK_MAGIC {
            return None;
        }
        let size = usize::try_from(i32::from_be_bytes(*size)).ok().filter(|size| *size >= MIN_SIZE)?;
        let record = self.log.record(offset, size)?;
        proto::message::Record::decode(&record).is_ok_and(|found| found.physical_offset == offset).then_some(record)
    }

    pub fn delete_topic(&self, topic: &str) -> Result<(), StoreError> {
        // Nothing of the topic may be staged while its queues go.
        let d = self.dispatch.lock();
        self.queues.remove_topic(topic)?;
        self.writer.lock().next.remove_topic(topic);
        drop(d);
        self.grown.lock().retain(|(name, _), _| **name != *topic);
        self.save_checkpoint()
    }
}
