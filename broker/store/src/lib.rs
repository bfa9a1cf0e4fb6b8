//! RocketMQ's message store: commit log, consume queues, checkpoint, dispatch, flush and recovery, byte for byte on
//! disk.
//!
//! One writer at a time (the append lock), any number of readers on the maps. Everything below [`Store::max_offset`] is
//! readable by replication; consumers see only what is dispatched, and nothing is dispatched beyond
//! [`Store::confirm_offset`] (S3).

mod allocator;
mod append;
mod blank;
mod checkpoint;
mod commit_log;
mod consume_queue;
mod delay_levels;
mod dispatch;
mod durable;
mod flush;
mod host_boot;
mod lock_file;
mod log_end;
mod mapped_file;
mod queue_table;
mod read;
mod recovery;
mod retention;
mod scan;
mod shared;
mod truncate;
mod wake;

pub use delay_levels::DelayLevels;
pub use durable::{Access, DiskWatch};

use durable::{Disk, Unwatched};
use mapped_file::MappedFile;
use parking_lot::Mutex;
use proto::message::Message;
use proto::queue_entry::QueueEntry;
use proto::{Epoch, Offset};
use shared::Shared;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushDiskType {
    AsyncFlush,
    SyncFlush,
}

/// What the store needs to know; the broker's configuration maps onto it.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `storePathRootDir`
    pub root: PathBuf,
    /// `storePathCommitLog`
    pub commit_log: PathBuf,
    /// `mappedFileSizeCommitLog`, bytes (default 1 GiB)
    pub commit_log_file_size: u64,
    /// `mappedFileSizeConsumeQueue`, bytes, rounded up to a multiple of 20 (default 6,000,000)
    pub consume_queue_file_size: u64,
    pub flush: FlushDiskType,
    /// `maxMessageSize` of a body (default 4 MiB)
    pub max_message_size: usize,
    /// `fileReservedTime`, hours (default 72)
    pub file_reserved_hours: u64,
    /// `messageDelayLevel`: from it follows what the delay topic's queue entries say.
    pub delay_levels: DelayLevels,
    /// True in controller mode: dispatch and recovery are limited by the confirm offset that replication sets. False:
    /// confirm = max.
    pub replicated: bool,
}

/// What recovery found, for the log and for the controller (S7, S12).
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The process before this one did not shut down cleanly (abort file was there).
    pub unclean: bool,
    /// After an unclean end the host has started anew: what was not flushed is gone. (A process that dies alone leaves
    /// it in the page cache.)
    pub host_restarted: bool,
    /// The log ends before something that was on disk or confirmed: a disk that loses or changes what it holds.
    pub lost_flushed: bool,
    /// Bytes cut from the end because they were no whole, valid records.
    pub cut: Vec<String>,
    pub max_offset: Offset,
}

impl Recovery {
    /// S7: something may be gone that this replica has acknowledged. With synchronous flush it acknowledges what is on
    /// disk, which outlives the host, not the disk.
    pub fn lost_acknowledged(&self, flush: FlushDiskType) -> bool {
        self.lost_flushed || self.host_restarted && flush == FlushDiskType::AsyncFlush
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{path}: {what}: {source}")]
    Io { path: String, what: &'static str, source: std::io::Error },
    /// A file that is not what it should be. Says what to do.
    #[error("{0}")]
    Unusable(String),
    #[error("replicated bytes at {got}, log ends at {want}")]
    NotContiguous { got: Offset, want: Offset },
}

/// Why a message was not appended. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Not the master, not at that epoch, or shutting down: another replica may take it.
    #[error("store is not writable: {0}")]
    Closed(String),
    /// The disk does not do what it should.
    #[error("store is not writable: {0}")]
    NotWritable(String),
    /// No room for the next file; appending resumes by itself once there is.
    #[error("disk full: {0}")]
    DiskFull(String),
    #[error("message illegal: {0}")]
    Illegal(String),
}

/// Where a message (or the first of a batch) went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The epoch under which it was appended.
    pub epoch: Epoch,
    /// Physical offset of each record, in order.
    pub offsets: Vec<Offset>,
    /// Log end after the last record: what has to be confirmed before it may be acknowledged.
    pub end: Offset,
    /// Queue offset of the first record.
    pub queue_offset: i64,
    pub store_timestamp: i64,
}

/// Bytes of the log, straight from the map; keeps the file alive.
#[derive(Clone)]
pub struct LogSlice {
    file: Arc<MappedFile>,
    at: usize,
    len: usize,
}

impl std::ops::Deref for LogSlice {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.file.bytes(self.at..self.at + self.len)
    }
}

/// `GetMessageStatus` of the original, same names in the pull answer's remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetStatus {
    Found,
    NoMatchedMessage,
    MessageWasRemoving,
    OffsetFoundNull,
    OffsetOverflowBadly,
    OffsetOverflowOne,
    OffsetTooSmall,
    NoMatchedLogicQueue,
    NoMessageInQueue,
}

/// Result of reading a queue.
pub struct GetResult {
    pub status: GetStatus,
    pub next_begin_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    /// One slice per message, in queue order.
    pub messages: Vec<LogSlice>,
    /// Store time of the last message read, ms.
    pub last_store_timestamp: i64,
}

/// A queue that has grown since the last [`Store::dispatched`] call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    pub topic: Arc<str>,
    pub queue_id: i32,
    pub max_offset: i64,
}

/// A tail that truncation cut and kept (`truncated/<epoch>-<from>-<to>`, S9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruncatedTail {
    pub path: PathBuf,
    pub epoch: Epoch,
    pub from: Offset,
    pub to: Offset,
}

/// What one of the store's threads does until the store is stopped.
type ThreadLoop = fn(&Shared);

/// What the threads do, for whoever runs a store without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// All that is confirmed goes into the consume queues.
    Dispatch,
    Flush,
    Checkpoint,
    /// The next commit log file, if one was asked for.
    Allocate,
    Probe,
}

pub struct Store {
    shared: Arc<Shared>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl Store {
    /// Loads and recovers, starts the dispatch and flush threads. The store starts closed for appends.
    pub fn open(config: StoreConfig) -> Result<(Arc<Store>, Recovery), StoreError> {
        let (store, recovery) = Store::open_by_hand(config, Arc::new(Unwatched))?;
        store.start_threads()?;
        Ok((Arc::new(store), recovery))
    }

    /// The same without threads, and with somebody who watches the disk: a simulation calls [`Store::perform`] when it
    /// pleases, and everything that happens follows from that.
    pub fn open_by_hand(config: StoreConfig, watch: Arc<dyn DiskWatch>) -> Result<(Store, Recovery), StoreError> {
        let (shared, recovery) = Shared::open(config, Disk(watch))?;
        Ok((Store { shared: Arc::new(shared), threads: Mutex::default() }, recovery))
    }

    /// One round of what a thread does.
    pub fn perform(&self, duty: Duty) {
        self.shared.perform(duty);
    }

    // ---- master

    /// Cuts the log after its last whole record and rebuilds the next queue offsets from it; returns the log's end,
    /// where a new epoch starts. Only while closed for appends.
    pub fn seal_tail(&self) -> Result<Offset, StoreError> {
        self.shared.seal_tail()
    }

    /// Appends are accepted from now on, under `epoch`.
    pub fn open_writes(&self, epoch: Epoch) {
        self.shared.open_writes(epoch)
    }

    /// When this returns, no append is under way and none will succeed until [`Store::open_writes`] (S2, S10).
    pub fn close_writes(&self, why: &str) {
        self.shared.close_writes(why)
    }

    /// Appends messages of one topic and queue with consecutive queue offsets, all in one file. The caller has
    /// validated topic and queue. Short critical section; does not wait for flush or replicas.
    pub fn append(&self, messages: &[Message]) -> Result<Appended, PutError> {
        self.shared.append(messages, None)
    }

    /// The same, but under `epoch` or not at all.
    pub fn append_at(&self, epoch: Epoch, messages: &[Message]) -> Result<Appended, PutError> {
        self.shared.append(messages, Some(epoch))
    }

    // ---- slave

    /// Appends raw bytes from the master at `offset`, which must be the log's end. Records may be split anywhere.
    pub fn append_replicated(&self, offset: Offset, bytes: &[u8]) -> Result<Offset, StoreError> {
        self.shared.append_replicated(offset, bytes)
    }

    /// Starts an empty log at `offset` (a new replica whose master no longer has the beginning).
    pub fn start_at(&self, offset: Offset) -> Result<(), StoreError> {
        self.shared.start_at(offset)
    }

    /// S9: cuts the log at `to` in one crash-safe step, after copying the tail aside; `epoch` labels the copy. Consume
    /// queues, confirm, dispatch and flush positions follow. Durable when it returns.
    pub fn truncate(&self, to: Offset, epoch: Epoch) -> Result<Option<TruncatedTail>, StoreError> {
        self.shared.truncate(to, epoch, truncate::Stop::Never)
    }

    pub fn truncated_tails(&self) -> Vec<TruncatedTail> {
        self.shared.truncated_tails()
    }

    // ---- positions

    pub fn max_offset(&self) -> Offset {
        self.shared.log.max()
    }

    /// First byte still held; -1 when the log has no file.
    pub fn min_offset(&self) -> Offset {
        self.shared.log.min()
    }

    pub fn flushed_offset(&self) -> Offset {
        self.shared.log.flushed()
    }

    pub fn confirm_offset(&self) -> Offset {
        self.shared.confirm_offset()
    }

    /// Set by replication only (one owner). Clamped to the log's end; lowering it hides nothing that was already
    /// dispatched.
    pub fn set_confirm_offset(&self, offset: Offset) {
        self.shared.set_confirm_offset(offset)
    }

    /// Changes with every append: what replication waits on.
    pub fn watch_max(&self) -> watch::Receiver<Offset> {
        self.shared.log.max_watch.subscribe()
    }

    pub fn watch_flushed(&self) -> watch::Receiver<Offset> {
        self.shared.log.flushed_watch.subscribe()
    }

    /// Asks the flush thread to run now and ends when everything below `end` is on disk.
    pub async fn wait_flushed(&self, end: Offset) -> Result<(), StoreError> {
        self.shared.wait_flushed(end).await
    }

    /// Milliseconds since an append-and-fsync probe of the store's disk last succeeded (S14).
    pub fn disk_probe_age_ms(&self) -> u64 {
        self.shared.probe_age_ms()
    }

    // ---- reading

    /// Up to `max_len` bytes from `offset`, within one file; `None` at the log's end or outside it.
    pub fn slice(&self, offset: Offset, max_len: usize) -> Option<LogSlice> {
        self.shared.log.slice(offset, max_len)
    }

    /// The whole record at a physical offset.
    pub fn record_at(&self, offset: Offset) -> Option<LogSlice> {
        self.shared.record_at(offset)
    }

    /// Reads up to `max_messages` messages or `max_bytes` bytes (at least one message) whose tags code passes `wanted`.
    pub fn get(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        max_messages: usize,
        max_bytes: usize,
        wanted: &dyn Fn(i64) -> bool,
    ) -> GetResult {
        self.shared.get(topic, queue_id, offset, max_messages, max_bytes, wanted)
    }

    /// Up to `count` entries from a queue offset on, within one file; empty beyond what consumers see.
    pub fn entries(&self, topic: &str, queue_id: i32, offset: i64, count: i64) -> Result<Vec<QueueEntry>, StoreError> {
        self.shared.entries(topic, queue_id, offset, count)
    }

    /// First and next queue offset that consumers see; `None` when the queue does not exist.
    pub fn queue_bounds(&self, topic: &str, queue_id: i32) -> Option<(i64, i64)> {
        self.shared.queues.get(topic, queue_id).map(|queue| (queue.min(), queue.max()))
    }

    /// Smallest queue offset whose store time is at least `timestamp` (LOWER of the original).
    pub fn offset_by_time(&self, topic: &str, queue_id: i32, timestamp: i64) -> i64 {
        self.shared.offset_by_time(topic, queue_id, timestamp)
    }

    /// Store time of the message at a queue offset, ms.
    pub fn store_time(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        self.shared.store_time(topic, queue_id, offset)
    }

    /// Every queue that exists, as (topic, queue id).
    pub fn queues(&self) -> Vec<(Arc<str>, i32)> {
        self.shared.queues.all().iter().map(|queue| (queue.topic.clone(), queue.id)).collect()
    }

    /// Waits until at least one queue has grown, then returns all that have since the last call. One caller (the
    /// long-poll driver).
    pub async fn dispatched(&self) -> Vec<Grown> {
        self.shared.take_grown().await
    }

    /// Calls `each` for the records from `from`, where one begins, to `to`; answers how far it came, which is `to`
    /// unless what is there is no record.
    pub fn walk(&self, from: Offset, to: Offset, each: &mut dyn FnMut(&proto::message::Record<'_>)) -> Offset {
        self.shared.walk(from, to, each)
    }

    /// Up to here the log is in the consume queues: the beginning of a record, not beyond what is confirmed.
    pub fn dispatched_offset(&self) -> Offset {
        self.shared.dispatched_offset()
    }

    /// Bytes that are confirmed but not dispatched yet.
    pub fn dispatch_behind(&self) -> i64 {
        (self.shared.dispatch_limit() - self.shared.dispatched_offset()).max(0)
    }

    pub fn delete_topic(&self, topic: &str) -> Result<(), StoreError> {
        self.shared.delete_topic(topic)
    }

    /// Deletes expired files; returns how many. The broker calls it every `cleanResourceInterval`.
    pub fn clean_expired(&self, now_ms: i64) -> Result<usize, StoreError> {
        self.shared.clean_expired(now_ms)
    }

    /// The controllers know of [`Recovery::host_restarted`] and [`Recovery::lost_flushed`]; until this is called every
    /// start reports them again.
    pub fn losses_reported(&self) -> Result<(), StoreError> {
        self.shared.losses_reported()
    }

    /// Flushes everything, writes the checkpoint, removes the abort file.
    pub fn shutdown(&self) -> Result<(), StoreError> {
        self.close_writes("store is shut down");
        let closed = self.shared.close();
        self.stop_threads();
        closed.and_then(|()| self.shared.release())
    }

    fn start_threads(&self) -> Result<(), StoreError> {
        let loops: [(&str, ThreadLoop); 5] = [
            ("store-dispatch", Shared::run_dispatch),
            ("store-flush", Shared::run_flush),
            ("store-check", Shared::run_checkpoint),
            ("store-allocate", Shared::run_allocator),
            ("store-probe", Shared::run_probe),
        ];
        for (name, run) in loops {
            let shared = self.shared.clone();
            let thread =
                std::thread::Builder::new().name(name.into()).spawn(move || run(&shared)).map_err(|source| {
                    StoreError::Io {
                        path: self.shared.config.root.display().to_string(),
                        what: "start a store thread",
                        source,
                    }
                })?;
            self.threads.lock().push(thread);
        }
        Ok(())
    }

    fn stop_threads(&self) {
        self.shared.stop();
        for thread in self.threads.lock().drain(..) {
            // It has panicked: reported by the panic itself, and there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

#[cfg(test)]
mod tests;
