//! Appending and reading.

use super::*;
use proto::message::{BLANK_SIZE, RecordCheck, check, sys_flag};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn what_is_appended_is_read_in_queue_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    for i in 0..20 {
        let appended = store.append(&[message("T", i % 2, format!("m{i}"))]).unwrap();
        assert_eq!((appended.epoch, appended.queue_offset), (1, i64::from(i / 2)));
    }
    wait_dispatched(&store);
    assert_eq!(bodies(&store, "T", 1), (0..10).map(|i| format!("m{}", 2 * i + 1)).collect::<Vec<_>>());
    assert_eq!(store.queue_bounds("T", 0), Some((0, 10)));
    assert_eq!(store.queue_bounds("T", 7), None);
    assert_eq!(store.dispatch_behind(), 0);
    let record = store.record_at(0).unwrap();
    assert_eq!(check(&record), RecordCheck::Valid { size: record.len() });
    assert!(store.record_at(1).is_none());
}

#[test]
fn wait_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let properties = "WAIT\u{1}true\u{2}KEYS\u{1}k\u{2}".into();
    store.append(&[Message { properties, ..message("T", 0, "x") }]).unwrap();
    assert_eq!(Record::decode(&store.record_at(0).unwrap()).unwrap().properties, "KEYS\u{1}k\u{2}");
}

#[test]
fn a_batch_that_does_not_fit_goes_to_the_next_file_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let first = store.append(&[message("T", 0, [b'a'; 1000]), message("T", 0, "")]).unwrap();
    let batch: Vec<_> = (0..3).map(|i| message("T", 0, [b'a' + i; 600])).collect();
    let appended = store.append(&batch).unwrap();
    let third = store.append(&batch[..1]).unwrap();
    assert_eq!((appended.offsets[0], third.queue_offset), (first.end, 5));
    let next = store.append(&batch).unwrap();
    assert_eq!(next.offsets[0], FILE_SIZE as i64, "all three in the second file");
    let blank = store.slice(third.end, usize::MAX).unwrap();
    assert_eq!(check(&blank), RecordCheck::Blank { size: blank.len() });
    wait_dispatched(&store);
    assert_eq!(store.queue_bounds("T", 0), Some((0, 9)));
}

#[test]
fn each_file_keeps_room_for_a_blank() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let mut last = 0;
    for i in 0..200usize {
        let appended = store.append(&[message("T", 0, vec![7; i * 7 % 1500])]).unwrap();
        let file_end = (appended.offsets[0] / FILE_SIZE as i64 + 1) * FILE_SIZE as i64;
        assert!(appended.end + BLANK_SIZE as i64 <= file_end);
        last = appended.end;
    }
    wait_dispatched(&store);
    assert_eq!(store.queue_bounds("T", 0), Some((0, 200)));
    assert_eq!((store.max_offset(), store.min_offset()), (last, 0));
}

#[test]
fn reading_answers_with_the_status_java_has_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    for i in 0..20 {
        store.append(&[message("T", 0, format!("m{i}"))]).unwrap();
    }
    wait_dispatched(&store);
    let get = |topic: &str, offset, wanted: &dyn Fn(i64) -> bool| {
        let result = store.get(topic, 0, offset, 5, 1 << 20, wanted);
        (result.status, result.next_begin_offset, result.messages.len())
    };
    assert_eq!(get("T", 0, &|_| true), (GetStatus::Found, 5, 5));
    assert_eq!(get("T", 18, &|_| true), (GetStatus::Found, 20, 2));
    assert_eq!(get("T", 20, &|_| true), (GetStatus::OffsetOverflowOne, 20, 0));
    assert_eq!(get("T", 30, &|_| true), (GetStatus::OffsetOverflowBadly, 20, 0));
    assert_eq!(get("T", -1, &|_| true), (GetStatus::OffsetTooSmall, 0, 0));
    assert_eq!(get("T", 3, &|code| code == 1), (GetStatus::NoMatchedMessage, 20, 0));
    let tag_a = proto::properties::tags_code(Some("TagA"));
    assert_eq!(get("T", 3, &|code| code == tag_a), (GetStatus::Found, 8, 5));
    assert_eq!(get("nobody", 3, &|_| true), (GetStatus::NoMatchedLogicQueue, 0, 0));
    let one = store.get("T", 0, 0, 32, 1, &|_| true);
    assert_eq!((one.messages.len(), one.next_begin_offset), (1, 1), "at least one, however small the limit");
    let two = store.get("T", 0, 0, 32, one.messages[0].len() * 2, &|_| true);
    assert_eq!((two.messages.len(), two.next_begin_offset), (2, 2));
}

#[test]
fn consumers_see_nothing_beyond_the_confirm_offset() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(replicated(dir.path()));
    let ends: Vec<_> = (0..10).map(|i| store.append(&[message("T", 0, format!("m{i}"))]).unwrap().end).collect();
    store.set_confirm_offset(ends[4] + 3);
    wait("five are visible", || store.queue_bounds("T", 0) == Some((0, 5)));
    wait_dispatched(&store);
    assert_eq!(store.queue_bounds("T", 0), Some((0, 5)), "the sixth is not whole below the confirm offset");
    assert_eq!(store.dispatch_behind(), 3);
    store.set_confirm_offset(i64::MAX);
    assert_eq!(store.confirm_offset(), ends[9], "never beyond the end");
    wait("all are visible", || store.queue_bounds("T", 0) == Some((0, 10)));
}

#[test]
fn a_closed_store_refuses_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path())).unwrap().0;
    assert!(matches!(store.append(&[message("T", 0, "x")]), Err(PutError::Closed(why)) if why == "starting"));
    store.open_writes(3);
    assert_eq!(store.append(&[message("T", 0, "x")]).unwrap().epoch, 3);
    assert!(store.append_replicated(store.max_offset(), b"x").is_err());
    assert!(store.truncate(0, 1).is_err());
    store.close_writes("deposed");
    assert!(matches!(store.append(&[message("T", 0, "x")]), Err(PutError::Closed(why)) if why == "deposed"));
}

#[test]
fn what_has_no_place_in_a_record_is_illegal_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let with = |properties: String| Message { properties, ..message("T", 0, "") };
    for (what, batch) in [
        ("no message", vec![]),
        ("maxMessageSize", vec![message("T", 0, [0; 2049])]),
        ("maxMessageSize", vec![message("T", 0, [0; 1025]), message("T", 0, [0; 1025])]),
        ("topic", vec![message(&"t".repeat(256), 0, "")]),
        ("topic", vec![message("", 0, "")]),
        ("properties", vec![with("p".repeat(32768))]),
        ("NUL", vec![with("A\u{1}b\0".into())]),
        ("NUL", vec![message("T\0", 0, "")]),
        ("one commit log file", vec![with("p".repeat(4000))]),
        ("one queue", vec![message("T", 0, ""), message("T", 1, "")]),
    ] {
        assert!(matches!(store.append(&batch), Err(PutError::Illegal(why)) if why.contains(what)), "{what}");
    }
    assert_eq!(store.max_offset(), 0);
}

#[derive(Default)]
struct FullWhenTold(AtomicBool);

impl DiskWatch for FullWhenTold {
    fn before(&self, access: Access, _: &Path) -> std::io::Result<()> {
        match access == Access::Allocate && self.0.load(Ordering::SeqCst) {
            true => Err(rustix::io::Errno::NOSPC.into()),
            false => Ok(()),
        }
    }
}

#[test]
fn a_full_disk_fails_appends_but_not_reads_and_passes_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FullWhenTold::default());
    let full = &disk.0;
    let (store, _) = Store::open_by_hand(config(dir.path()), disk.clone()).unwrap();
    store.start_threads().unwrap();
    store.open_writes(1);
    store.append(&[message("T", 0, "before")]).unwrap();
    full.store(true, Ordering::SeqCst);
    let mut appended = 1;
    let error = loop {
        match store.append(&[message("T", 0, [b'x'; 900])]) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        assert!(appended < 10);
    };
    assert!(matches!(&error, PutError::DiskFull(why) if why.contains("commitlog")), "{error}");
    wait_dispatched(&store);
    assert_eq!(bodies(&store, "T", 0).len(), appended);
    full.store(false, Ordering::SeqCst);
    assert_eq!(store.append(&[message("T", 0, [b'x'; 900])]).unwrap().queue_offset, appended as i64);
    wait_dispatched(&store);
    assert_eq!(bodies(&store, "T", 0).len(), appended + 1);
}

#[tokio::test]
async fn a_flush_is_waited_for() {
    for flush in [FlushDiskType::SyncFlush, FlushDiskType::AsyncFlush] {
        let dir = tempfile::tempdir().unwrap();
        let store = master(StoreConfig { flush, ..config(dir.path()) });
        let mut end = 0;
        for _ in 0..20 {
            end = store.append(&[message("T", 0, [b'x'; 900])]).unwrap().end;
            store.wait_flushed(end).await.unwrap();
            assert!(store.flushed_offset() >= end);
        }
        assert!(store.wait_flushed(end + 1).await.is_err(), "nothing there to flush");
        assert_eq!(*store.watch_flushed().borrow(), end);
    }
}

/// The kernel drops pages that it could not write and calls the next sync a success: the disk may work again, what was
/// not written is gone (S11).
#[tokio::test]
async fn a_flush_that_failed_once_is_never_believed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let before = store.append(&[message("T", 0, "on disk")]).unwrap().end;
    store.wait_flushed(before).await.unwrap();
    *store.shared.log.flush_lock.lock() = crate::commit_log::Flushes::Failed;
    let end = store.append(&[message("T", 0, "lost, maybe")]).unwrap().end;
    let why = store.wait_flushed(end).await.unwrap_err().to_string();
    assert!(why.contains("restart the broker once the disk works"), "{why}");
    // The checkpoint's thread, an orderly end and whoever else flushes.
    store.shared.flush();
    let _failed = store.shared.save_checkpoint();
    assert_eq!(store.flushed_offset(), before);
    assert!(store.wait_flushed(end).await.is_err());
    assert!(store.append(&[message("T", 0, "more")]).is_err());
    assert_eq!(store.disk_probe_age_ms(), u64::MAX);
}

#[tokio::test]
async fn grown_queues_are_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    store.append(&[message("T", 3, "x")]).unwrap();
    assert_eq!(store.dispatched().await, [Grown { topic: "T".into(), queue_id: 3, max_offset: 1 }]);
    assert!(tokio::time::timeout(Duration::from_millis(20), store.dispatched()).await.is_err());
    store.append(&[message("T", 3, "y")]).unwrap();
    assert_eq!(store.dispatched().await, [Grown { topic: "T".into(), queue_id: 3, max_offset: 2 }]);
}

#[test]
fn a_second_store_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let error = Store::open(config(dir.path())).err().unwrap().to_string();
    assert!(error.contains(&*dir.path().to_string_lossy()) && error.contains("storePathRootDir"), "{error}");
    store.shutdown().unwrap();
    Store::open(config(dir.path())).unwrap();
}

#[test]
fn half_transaction_records_take_no_queue_offset() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let with = |flag| Message { sys_flag: flag, ..message("T", 0, "x") };
    assert_eq!(store.append(&[message("T", 0, "x")]).unwrap().queue_offset, 0);
    assert_eq!(store.append(&[with(sys_flag::TRANSACTION_PREPARED)]).unwrap().queue_offset, 0);
    assert_eq!(store.append(&[with(sys_flag::TRANSACTION_COMMIT)]).unwrap().queue_offset, 1);
    wait_dispatched(&store);
    assert_eq!(store.queue_bounds("T", 0), Some((0, 2)));
}

#[test]
fn the_delay_topic_s_entries_say_when_a_message_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let properties = "DELAY\u{1}3\u{2}".into();
    let stored = store.append(&[Message { properties, ..message("SCHEDULE_TOPIC_XXXX", 2, "x") }]).unwrap();
    wait_dispatched(&store);
    let due = std::cell::Cell::new(0);
    store.get("SCHEDULE_TOPIC_XXXX", 2, 0, 1, 1, &|code| due.replace(code) == 0);
    assert_eq!(due.get(), stored.store_timestamp + 10_000);
}

#[test]
fn offsets_are_found_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let mut times = Vec::new();
    for i in 0..5 {
        times.push(store.append(&[message("T", 0, format!("{i}"))]).unwrap().store_timestamp);
        wait("the clock moves", || node::clock::wall_ms() > times[i]);
    }
    wait_dispatched(&store);
    for (i, time) in times.iter().enumerate() {
        assert_eq!(store.store_time("T", 0, i as i64), Some(*time));
        assert_eq!(store.offset_by_time("T", 0, *time), i as i64);
        assert_eq!(store.offset_by_time("T", 0, time + 1), i as i64 + 1);
    }
    assert_eq!((store.offset_by_time("T", 0, 0), store.store_time("T", 0, 5)), (0, None));
}

#[test]
fn a_deleted_topic_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    for i in 0..12 {
        store.append(&[message("T", 0, format!("old{i}"))]).unwrap();
    }
    store.append(&[message("U", 0, "other")]).unwrap();
    wait_dispatched(&store);
    store.delete_topic("T").unwrap();
    assert_eq!(store.queue_bounds("T", 0), None);
    assert!(!dir.path().join("consumequeue/T").exists());
    assert_eq!(store.append(&[message("T", 0, "new")]).unwrap().queue_offset, 0);
    wait_dispatched(&store);
    assert_eq!(bodies(&store, "T", 0), ["new"]);
    assert_eq!(store.queues().len(), 2);
}

#[test]
fn expired_files_go_and_queues_begin_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    for i in 0..60 {
        store.append(&[message("T", 0, format!("{i:0300}"))]).unwrap();
    }
    wait_dispatched(&store);
    store.shared.flush();
    assert_eq!(store.clean_expired(node::clock::wall_ms()).unwrap(), 0, "nothing is old enough");
    let later = node::clock::wall_ms() + 73 * 3_600_000;
    assert!(store.clean_expired(later).unwrap() > 0);
    while store.clean_expired(later).unwrap() > 0 {}
    let min = store.min_offset();
    assert_eq!(min, store.max_offset() - store.max_offset() % FILE_SIZE as i64, "the last file stays");
    let (first, end) = store.queue_bounds("T", 0).unwrap();
    assert!(first > 0 && end == 60);
    assert_eq!(bodies(&store, "T", 0), (first..60).map(|i| format!("{i:0300}")).collect::<Vec<_>>());
    assert_eq!(store.get("T", 0, 0, 1, 1, &|_| true).next_begin_offset, first);
    drop(store);
    let (store, recovery) = Store::open(config(dir.path())).unwrap();
    assert_eq!(recovery.cut, Vec::<String>::new());
    assert_eq!((store.min_offset(), store.queue_bounds("T", 0)), (min, Some((first, 60))));
}

#[test]
fn the_disk_probe_is_young() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    wait("a probe", || dir.path().join("probe").exists() && store.shared.probed_ms.load(Ordering::SeqCst) > 0);
    assert!(store.disk_probe_age_ms() < 5000);
    store.shared.fail("disk gone".into());
    assert_eq!(store.disk_probe_age_ms(), u64::MAX);
    assert!(matches!(store.append(&[message("T", 0, "x")]), Err(PutError::NotWritable(why)) if why == "disk gone"));
}
