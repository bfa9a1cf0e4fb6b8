//! Entries, look-ups by offset and time, truncation and recovery of one queue.

use super::*;

const PER_FILE: i64 = 8;

fn unwatched() -> Disk {
    Disk(Arc::new(crate::durable::Unwatched))
}

fn open(dir: &Path) -> ConsumeQueue {
    ConsumeQueue::open("T".into(), 0, dir.join("T/0"), PER_FILE as u64 * SIZE as u64, unwatched()).unwrap()
}

/// The i-th record of a log in which each has 100 bytes.
fn entry(i: i64) -> QueueEntry {
    QueueEntry { offset: i * 100, size: 100, tags_code: i }
}

fn filled(dir: &Path, entries: std::ops::Range<i64>) -> ConsumeQueue {
    let queue = open(dir);
    for i in entries {
        assert_ne!(queue.stage(i, entry(i)).unwrap(), Staged::Repeat);
    }
    queue.publish().unwrap();
    queue
}

fn tags(queue: &ConsumeQueue) -> Vec<i64> {
    (queue.min()..queue.max()).map(|i| queue.entry(i).unwrap().tags_code).collect()
}

#[test]
fn staged_entries_are_seen_once_published() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    queue.stage(0, entry(0)).unwrap();
    assert_eq!(queue.max(), 0);
    assert_eq!(queue.publish().unwrap(), Some(1));
    assert_eq!(queue.publish().unwrap(), None);
    assert_eq!(queue.stage(0, entry(0)).unwrap(), Staged::Repeat);
    assert_eq!(queue.entries(0, 100).unwrap(), [entry(0)]);
}

#[test]
fn a_queue_that_starts_late_leaves_java_s_blanks_and_hides_them() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    assert_eq!(queue.stage(19, entry(19)).unwrap(), Staged::Gap);
    queue.stage(20, entry(20)).unwrap();
    queue.publish().unwrap();
    assert_eq!((queue.min(), queue.max()), (19, 21));
    let bytes = std::fs::read(dir.path().join("T/0").join(file_name(16 * 20))).unwrap();
    assert_eq!(bytes[..20], QueueEntry::PRE_BLANK.encode());
    assert_eq!(bytes[60..80], entry(19).encode());
    for below in [false, true] {
        let queue = open(dir.path());
        if below {
            queue.recover_below(2100).unwrap()
        } else {
            queue.recover_by_walking(2100).unwrap()
        }
        queue.correct_min(0);
        assert_eq!((queue.min(), queue.max(), queue.max_physical()), (19, 21, 2100));
    }
    let queue = open(dir.path());
    queue.recover_below(1900).unwrap();
    assert_eq!(queue.max_physical(), -1, "blanks say nothing about the log");
    assert_eq!(queue.stage(19, entry(19)).unwrap(), Staged::Added);
}

#[test]
fn a_hole_is_filled_with_blanks_unless_it_is_larger_than_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let queue = filled(dir.path(), 0..3);
    assert_eq!(queue.stage(10, entry(10)).unwrap(), Staged::Gap);
    queue.publish().unwrap();
    assert_eq!((queue.min(), queue.max(), queue.entry(5)), (0, 11, Some(QueueEntry::PRE_BLANK)));
    assert_eq!(queue.stage(1000, entry(1000)).unwrap(), Staged::Gap);
    queue.publish().unwrap();
    assert_eq!((queue.min(), queue.max(), tags(&queue)), (1000, 1001, vec![1000]));
    assert_eq!(std::fs::read_dir(dir.path().join("T/0")).unwrap().count(), 1);
}

#[test]
fn a_taken_queue_offset_is_not_indexed_and_a_new_generation_replaces_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let queue = filled(dir.path(), 0..20);
    assert_eq!(queue.stage(7, entry(30)).unwrap(), Staged::Repeat);
    assert_eq!(queue.stage(0, entry(31)).unwrap(), Staged::Added);
    queue.publish().unwrap();
    assert_eq!((queue.min(), queue.max(), tags(&queue)), (0, 1, vec![31]));
}

#[test]
fn a_cut_is_as_if_the_rest_was_never_there() {
    for to in [0, 1, 99, 100, 799, 800, 801, 1500, 1999, 2000, 5000] {
        let dir = tempfile::tempdir().unwrap();
        let queue = filled(dir.path(), 0..20);
        queue.cut(to).unwrap();
        let kept = (to / 100).min(20);
        assert_eq!((queue.max(), queue.next()), (kept, kept), "{to}");
        assert_eq!(queue.max_physical(), if kept == 0 { -1 } else { kept * 100 }, "{to}");
        let again = open(dir.path());
        again.recover_by_walking(i64::MAX).unwrap();
        assert_eq!(again.max(), kept, "{to}, reopened");
        queue.stage(kept, entry(kept)).unwrap();
        queue.publish().unwrap();
        assert_eq!(tags(&queue), (0..=kept).collect::<Vec<_>>());
    }
}

#[test]
fn expired_files_go_and_the_last_stays() {
    let dir = tempfile::tempdir().unwrap();
    let queue = filled(dir.path(), 0..20);
    assert_eq!(queue.remove_expired(1000).unwrap(), 1);
    assert_eq!((queue.min(), queue.max()), (10, 20));
    assert_eq!(queue.remove_expired(9999).unwrap(), 1);
    assert_eq!((queue.min(), queue.max(), queue.next()), (20, 20, 20), "empty, and still counting from where it was");
    let again = open(dir.path());
    again.recover_by_walking(i64::MAX).unwrap();
    assert_eq!(again.max(), 20);
}

#[test]
fn files_of_another_size_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 0..20);
    let error = ConsumeQueue::open("T".into(), 0, dir.path().join("T/0"), 80, unwatched()).err().unwrap().to_string();
    assert!(error.contains("mappedFileSizeConsumeQueue"), "{error}");
}
