//! Syncs that fail. Linux reports a page that it could not write once, and takes it for written from then on: no later
//! sync may be believed about it (S11).

use super::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Refuses syncs below a folder while told to, and remembers what was written.
struct Refusing {
    folder: &'static str,
    on: AtomicBool,
    wrote: Mutex<Vec<(PathBuf, Range<u64>)>>,
}

impl Refusing {
    fn new(folder: &'static str) -> Arc<Refusing> {
        Arc::new(Refusing { folder, on: AtomicBool::new(false), wrote: Mutex::default() })
    }
}

impl DiskWatch for Refusing {
    fn before(&self, access: Access, path: &Path) -> std::io::Result<()> {
        let refuses = self.on.load(Ordering::SeqCst) && access == Access::Sync;
        match refuses && path.components().any(|it| it.as_os_str() == self.folder) {
            true => Err(rustix::io::Errno::IO.into()),
            false => Ok(()),
        }
    }

    fn wrote(&self, path: &Path, range: Range<u64>) {
        self.wrote.lock().push((path.to_owned(), range));
    }
}

#[tokio::test]
async fn a_flush_that_failed_is_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Refusing::new("commitlog");
    let store = master_by_hand(config(dir.path()), disk.clone());
    let end = store.append(&[message("T", 0, "body")]).unwrap().end;
    disk.on.store(true, Ordering::SeqCst);
    store.perform(Duty::Flush);
    disk.on.store(false, Ordering::SeqCst);
    for duty in [Duty::Dispatch, Duty::Checkpoint, Duty::Flush] {
        store.perform(duty);
        assert_eq!(store.flushed_offset(), 0, "{duty:?}");
    }
    assert!(store.shutdown().is_err());
    assert_eq!(store.flushed_offset(), 0, "at the end");
    assert!(store.wait_flushed(end).await.is_err());
    assert_eq!(bodies(&store, "T", 0), ["body"], "reads go on");
}

#[test]
fn a_queue_whose_sync_failed_is_not_vouched_for() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Refusing::new("consumequeue");
    let store = master_by_hand(config(dir.path()), disk.clone());
    store.append(&[message("T", 0, "body")]).unwrap();
    store.perform(Duty::Dispatch);
    disk.on.store(true, Ordering::SeqCst);
    store.perform(Duty::Checkpoint);
    disk.on.store(false, Ordering::SeqCst);
    store.perform(Duty::Checkpoint);
    assert_eq!(store.shared.checkpoint.saved().verified.map(|it| it.dispatched), Some(0), "the empty log");
    assert!(store.append(&[message("T", 0, "more")]).is_err(), "another replica has a disk that works");
    assert_eq!(store.disk_probe_age_ms(), u64::MAX);
}

#[derive(Debug, PartialEq, Eq)]
enum Did {
    Begin(Access),
    Wrote,
    Synced,
}

/// Remembers what was done, in order.
#[derive(Default)]
struct Order(Mutex<Vec<(Did, PathBuf)>>);

impl Order {
    /// Of the first time.
    fn position(&self, did: Did, name: &str) -> Option<usize> {
        self.0.lock().iter().position(|it| it.0 == did && it.1.ends_with(name))
    }
}

impl DiskWatch for Order {
    fn before(&self, access: Access, path: &Path) -> std::io::Result<()> {
        self.0.lock().push((Did::Begin(access), path.to_owned()));
        Ok(())
    }

    fn wrote(&self, path: &Path, _: Range<u64>) {
        self.0.lock().push((Did::Wrote, path.to_owned()));
    }

    fn synced(&self, path: &Path, _: Range<u64>) {
        self.0.lock().push((Did::Synced, path.to_owned()));
    }
}

/// A checkpoint that reads as if it were lowered, and is not so on disk, would make a loss of what is cut (S7).
#[test]
fn a_start_that_cuts_has_its_checkpoint_on_disk_before() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Refusing::new("checkpoint");
    let store = Store::open_by_hand(replicated(dir.path()), disk.clone()).unwrap().0;
    let mut record = Vec::new();
    let half = message("T", 0, "body").encode_into(&mut record, 0, 0, 1).unwrap() - 1;
    store.append_replicated(0, &record[..half]).unwrap();
    store.perform(Duty::Flush);
    store.set_confirm_offset(half as i64);
    store.perform(Duty::Checkpoint);
    assert_eq!(store.shared.checkpoint.saved().master_flushed_offset, half as i64);
    disk.on.store(true, Ordering::SeqCst);
    assert!(store.seal_tail().is_err());
    drop(store);
    let order = Arc::new(Order::default());
    let recovery = Store::open_by_hand(replicated(dir.path()), order.clone()).unwrap().1;
    assert_eq!((recovery.max_offset, recovery.cut.len()), (0, 1));
    let synced = order.position(Did::Synced, "checkpoint").expect("a sync of the checkpoint");
    let cut = order.position(Did::Begin(Access::Remove), "commitlog/00000000000000000000").expect("a cut");
    assert!(synced < cut, "{order:?}", order = order.0.lock());
}

/// Its process may have died before it had synced the folder, and a loss of power would take the file (S11).
#[test]
fn a_log_file_that_was_found_has_its_name_on_disk_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_by_hand(config(dir.path()), Refusing::new("")).unwrap().0;
    store.start_at(100).unwrap();
    drop(store);
    std::fs::write(dir.path().join("commitlog/00000000000000000000"), [0; FILE_SIZE as usize]).unwrap();
    let order = Arc::new(Order::default());
    let store = Store::open_by_hand(config(dir.path()), order.clone()).unwrap().0;
    assert_eq!((store.min_offset(), store.max_offset()), (100, 100));
    order.0.lock().clear();
    store.append_replicated(100, b"bytes").unwrap();
    let named = order.position(Did::Synced, "commitlog").expect("a sync of the folder");
    let written = order.position(Did::Wrote, "commitlog/00000000000000000000").expect("a write");
    assert!(named < written, "{order:?}", order = order.0.lock());
}

/// Refuses writes of consume queues while told to.
#[derive(Default)]
struct QueuesAreFull(AtomicBool);

impl DiskWatch for QueuesAreFull {
    fn before(&self, access: Access, path: &Path) -> std::io::Result<()> {
        let of_a_queue = access == Access::Write && path.components().any(|it| it.as_os_str() == "consumequeue");
        match of_a_queue && self.0.load(Ordering::SeqCst) {
            true => Err(rustix::io::Errno::NOSPC.into()),
            false => Ok(()),
        }
    }
}

/// What is staged and not written is not in the queues, whatever the checkpoint would have recovery believe.
#[test]
fn messages_that_no_queue_had_room_for_are_there_after_a_restart() {
    for clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(QueuesAreFull::default());
        let store = master_by_hand(config(dir.path()), disk.clone());
        disk.0.store(true, Ordering::SeqCst);
        store.append(&[message("T", 0, "body")]).unwrap();
        store.perform(Duty::Dispatch);
        assert_eq!(bodies(&store, "T", 0), Vec::<String>::new());
        store.perform(Duty::Checkpoint);
        if clean {
            store.shutdown().unwrap();
        }
        drop(store);
        let store = Store::open(config(dir.path())).unwrap().0;
        assert_eq!(bodies(&store, "T", 0), ["body"], "clean stop: {clean}");
    }
}

#[test]
fn what_no_queue_had_room_for_and_was_cut_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(QueuesAreFull::default());
    let store = master_by_hand(config(dir.path()), disk.clone());
    store.append(&[message("T", 0, "kept")]).unwrap();
    store.perform(Duty::Dispatch);
    disk.0.store(true, Ordering::SeqCst);
    let cut = store.append(&[message("T", 0, "a longer one that is cut")]).unwrap();
    store.perform(Duty::Dispatch);
    disk.0.store(false, Ordering::SeqCst);
    store.close_writes("deposed");
    store.truncate(cut.offsets[0], 1).unwrap();
    store.seal_tail().unwrap();
    store.open_writes(2);
    store.append(&[message("T", 0, "new")]).unwrap();
    store.perform(Duty::Dispatch);
    assert_eq!(bodies(&store, "T", 0), ["kept", "new"]);
}

/// The pages of a flush that failed outlive the process, and the next one cannot tell them from written ones.
#[test]
fn the_next_process_writes_again_what_was_not_known_to_be_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = master_by_hand(replicated(dir.path()), Refusing::new(""));
    let append = |i: i64| store.append(&[message("T", 0, format!("{i:0>100}"))]).unwrap().end;
    let known = (0..30).map(append).last().unwrap();
    store.perform(Duty::Flush);
    store.perform(Duty::Checkpoint);
    let end = (30..60).map(append).last().unwrap();
    drop(store);
    let disk = Refusing::new("");
    let (store, recovery) = Store::open_by_hand(replicated(dir.path()), disk.clone()).unwrap();
    assert_eq!((store.flushed_offset(), recovery.max_offset), (0, end));
    let wrote = disk.wrote.lock();
    let covers = |at: Offset| {
        let name = mapped_file::file_name(at - at % FILE_SIZE as Offset);
        let at = (at % FILE_SIZE as Offset) as u64;
        wrote.iter().any(|(path, range)| path.ends_with(&name) && range.contains(&at))
    };
    assert!((known..end).all(covers));
}
