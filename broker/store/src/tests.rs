//! The store through its public face, on temporary directories: appending and reading, recovery, truncation, and all of
//! it at random against a model.

mod appending;
mod failing;
mod model;
mod recovering;
mod torn;
mod truncating;

use super::*;
use bytes::Bytes;
use proto::message::Record;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) const FILE_SIZE: u64 = 4096;

pub(crate) fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        root: root.into(),
        commit_log: root.join("commitlog"),
        commit_log_file_size: FILE_SIZE,
        consume_queue_file_size: 20 * 8,
        flush: FlushDiskType::AsyncFlush,
        max_message_size: 2048,
        file_reserved_hours: 72,
        delay_levels: crate::DelayLevels::default(),
        replicated: false,
    }
}

pub(crate) fn replicated(root: &Path) -> StoreConfig {
    StoreConfig { replicated: true, ..config(root) }
}

pub(crate) fn message(topic: &str, queue_id: i32, body: impl AsRef<[u8]>) -> Message {
    Message {
        topic: topic.into(),
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "10.0.0.1:4000".parse().unwrap(),
        store_host: "10.0.0.2:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::copy_from_slice(body.as_ref()),
        properties: "TAGS\u{1}TagA\u{2}".into(),
    }
}

/// A store that takes appends.
pub(crate) fn master(config: StoreConfig) -> Arc<Store> {
    let store = Store::open(config).unwrap().0;
    store.seal_tail().unwrap();
    store.open_writes(1);
    store
}

/// The same without threads, over a disk that is watched.
pub(crate) fn master_by_hand(config: StoreConfig, disk: Arc<dyn DiskWatch>) -> Store {
    let store = Store::open_by_hand(config, disk).unwrap().0;
    store.seal_tail().unwrap();
    store.open_writes(1);
    store
}

/// Waits until a condition holds; fails the test after ten seconds.
pub(crate) fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn wait_dispatched(store: &Store) {
    wait("everything whole is dispatched", || {
        let d = store.shared.dispatch.lock();
        let limit = store.shared.dispatch_limit();
        let Some(file) = store.shared.log.find(d.position).filter(|_| d.position < limit) else { return true };
        file.step(d.position, (limit - d.position) as usize, scan::Verify::Layout) == scan::Step::Partial
    });
}

/// Bodies of a queue's visible messages, from its start.
pub(crate) fn bodies(store: &Store, topic: &str, queue_id: i32) -> Vec<String> {
    let Some((mut at, max)) = store.queue_bounds(topic, queue_id) else { return Vec::new() };
    let mut found = Vec::new();
    while at < max {
        let result = store.get(topic, queue_id, at, 32, 1 << 20, &|_| true);
        assert!(result.next_begin_offset > at, "no progress at {at}: {:?}", result.status);
        for slice in &result.messages {
            let record = Record::decode(slice).unwrap();
            assert_eq!((record.topic, record.queue_id), (topic, queue_id));
            found.push(String::from_utf8_lossy(record.body).into_owned());
        }
        at = result.next_begin_offset;
    }
    found
}

/// Everything of the log, file tails included.
pub(crate) fn log_bytes(store: &Store) -> Vec<u8> {
    let (mut at, mut all) = (store.min_offset().max(0), Vec::new());
    while let Some(slice) = store.slice(at, usize::MAX) {
        at += slice.len() as i64;
        all.extend_from_slice(&slice);
    }
    all
}
