//! What a slave of Java's master has copied, and what a loss of power makes of its last record.

use super::*;
use crate::scan::SECTOR;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

/// Appends to a log as Java's master would: what ours refuses, too.
fn java_appends(log: &mut Vec<u8>, queue_offset: i64, body_len: usize, properties: &str) {
    let body = format!("{queue_offset:0>body_len$}");
    let message = Message { properties: properties.into(), ..message("T", 0, body) };
    let at = log.len() as i64;
    message.encode_into(log, queue_offset, at, 1).unwrap();
}

fn queue(store: &Store) -> Option<(i64, i64)> {
    store.set_confirm_offset(i64::MAX);
    wait_dispatched(store);
    store.queue_bounds("T", 0)
}

/// The process dies, with no checkpoint to vouch for anything.
fn dies(store: Arc<Store>, root: &Path) {
    drop(store);
    fs::write(root.join("abort"), "1").unwrap();
    fs::remove_file(root.join("checkpoint")).unwrap();
}

fn zero(root: &Path, range: std::ops::Range<usize>) {
    let file = OpenOptions::new().write(true).open(root.join("commitlog").join(mapped_file::file_name(0))).unwrap();
    file.write_all_at(&vec![0; range.len()], range.start as u64).unwrap();
}

#[test]
fn a_record_of_javas_with_a_nul_in_a_property_survives_and_a_torn_one_does_not() {
    let mut log = Vec::new();
    for queue_offset in 0..4 {
        java_appends(&mut log, queue_offset, 100, &format!("KEYS\u{1}k\0\0{}\u{2}", "k".repeat(500)));
    }
    let end = log.len();
    let last = end / 4 * 3;
    let torn_at = (last + 250).next_multiple_of(SECTOR);
    assert!(torn_at < end, "a sector ends in the last record's properties");
    for torn in [None, Some(torn_at - 30..torn_at), Some(torn_at..end), Some(end - 1..end)] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(replicated(dir.path())).unwrap().0;
        store.append_replicated(0, &log).unwrap();
        dies(store, dir.path());
        if let Some(range) = torn.clone() {
            zero(dir.path(), range);
        }
        let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
        let whole = if torn.is_some() { 3 } else { 4 };
        assert_eq!(recovery.max_offset, if torn.is_some() { last as i64 } else { end as i64 }, "{torn:?}");
        assert_eq!(recovery.cut.len(), 4 - whole, "{torn:?}: {:?}", recovery.cut);
        assert_eq!(queue(&store), Some((0, whole as i64)), "{torn:?}");
    }
}

/// A log of three records and of a fourth, for the same queue, whose queue offset ends four bytes before a sector does.
fn up_to_a_sector(queue_offsets: [i64; 4]) -> (Vec<u8>, usize) {
    let mut log = Vec::new();
    for queue_offset in &queue_offsets[..3] {
        java_appends(&mut log, *queue_offset, 100, "A\u{1}B\u{2}");
    }
    let padding = (2 * SECTOR - 32) - log.len() - message("U", 0, "").encoded_size();
    let at = log.len() as i64;
    message("U", 0, vec![b'p'; padding]).encode_into(&mut log, 0, at, 1).unwrap();
    let fourth = log.len();
    java_appends(&mut log, queue_offsets[3], 100, "A\u{1}B\u{2}");
    assert_eq!(fourth % SECTOR, SECTOR - 32);
    (log, fourth)
}

/// Copies and dispatches what is below `known`, then copies the rest, and dies.
fn copies_and_dies(root: &Path, log: &[u8], known: usize) {
    let store = Store::open_by_hand(replicated(root), Arc::new(Unwatched)).unwrap().0;
    store.append_replicated(0, &log[..known]).unwrap();
    store.set_confirm_offset(known as i64);
    for duty in [Duty::Flush, Duty::Dispatch, Duty::Checkpoint] {
        store.perform(duty);
    }
    store.append_replicated(known as i64, &log[known..]).unwrap();
}

/// Nothing but the queue itself tells: a record with queue offset 0 in a queue that has entries begins it anew.
#[test]
fn a_record_that_lacks_its_queue_offset_does_not_empty_its_queue() {
    let (mut log, fourth) = up_to_a_sector([0, 1, 2, 3]);
    for known in [0, fourth] {
        let dir = tempfile::tempdir().unwrap();
        copies_and_dies(dir.path(), &log, known);
        zero(dir.path(), fourth + 16..fourth + 32);
        let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
        assert_eq!(recovery.max_offset, fourth as i64, "{:?}", recovery.cut);
        assert!(recovery.cut[0].contains("queue offset 0"), "{:?}", recovery.cut);
        assert_eq!(queue(&store), Some((0, 3)), "{known} bytes in the queues before");
        // The master sends it again.
        store.append_replicated(fourth as i64, &log[fourth..]).unwrap();
        assert_eq!(queue(&store), Some((0, 4)));
    }
    log.truncate(fourth);
    java_appends(&mut log, 3, 100, "A\u{1}B\u{2}");
    let dir = tempfile::tempdir().unwrap();
    copies_and_dies(dir.path(), &log, fourth);
    let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
    assert_eq!((recovery.max_offset, queue(&store)), (log.len() as i64, Some((0, 4))), "not torn");
}

/// Its queue was in order; what the checkpoint says of another one no longer holds, or nothing was saved yet.
#[test]
fn nor_where_the_queues_are_built_from_the_whole_log() {
    let (log, fourth) = up_to_a_sector([0, 1, 2, 3]);
    let check = |root: &Path, what: &str| {
        zero(root, fourth + 16..fourth + 32);
        let (store, recovery) = Store::open(replicated(root)).unwrap();
        assert_eq!(recovery.max_offset, fourth as i64, "{what}: {:?}", recovery.cut);
        assert_eq!(queue(&store), Some((0, 3)), "{what}");
        assert_eq!(store.queue_bounds("U", 0), Some((0, 1)), "{what}");
    };
    let dir = tempfile::tempdir().unwrap();
    copies_and_dies(dir.path(), &log, fourth);
    fs::remove_dir_all(dir.path().join("consumequeue/U")).unwrap();
    check(dir.path(), "a queue is lost");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_by_hand(replicated(dir.path()), Arc::new(Unwatched)).unwrap().0;
    store.append_replicated(0, &log).unwrap();
    drop(store);
    check(dir.path(), "no checkpoint was saved yet");
}

/// Its header is damaged, which no checksum tells; those behind it are not.
#[test]
fn a_record_of_an_impossible_place_makes_no_other_one_look_torn() {
    let (log, _) = up_to_a_sector([254, 255, i64::MAX, 256]);
    let dir = tempfile::tempdir().unwrap();
    copies_and_dies(dir.path(), &log, 0);
    let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
    assert_eq!((recovery.max_offset, queue(&store)), (log.len() as i64, Some((254, 257))), "{:?}", recovery.cut);
}

/// Of a topic that was deleted on the master, and not here yet.
#[test]
fn a_queue_that_begins_anew_is_not_taken_for_torn() {
    let (mut log, fourth) = up_to_a_sector([0, 1, 2, 3]);
    log.truncate(fourth);
    // Beside the place where it could be.
    let at = log.len() as i64;
    message("U", 0, "x".repeat(8)).encode_into(&mut log, 1, at, 1).unwrap();
    java_appends(&mut log, 0, 100, "A\u{1}B\u{2}");
    let dir = tempfile::tempdir().unwrap();
    copies_and_dies(dir.path(), &log, fourth);
    let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
    assert_eq!((recovery.max_offset, queue(&store)), (log.len() as i64, Some((0, 1))));
}
