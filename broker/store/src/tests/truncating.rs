//! Truncation, and the crashes in it (S9).

use super::*;
use crate::truncate::Stop;
use std::ops::Range;

fn body(i: i64, generation: char) -> String {
    format!("{i:0>100}{generation}")
}

fn fill(store: &Store, range: std::ops::Range<i64>, generation: char) -> Vec<Appended> {
    range.map(|i| store.append(&[message("T", 0, body(i, generation))]).unwrap()).collect()
}

#[test]
fn a_crash_at_any_step_never_brings_the_tail_back() {
    let stops =
        [Stop::AfterCopy, Stop::AfterIntent, Stop::AfterLog, Stop::AfterQueues, Stop::AfterCheckpoint, Stop::Never];
    for keep in [0, 3, 20, 39] {
        for stop in stops {
            let case = format!("{keep} kept, {stop:?}");
            let dir = tempfile::tempdir().unwrap();
            let store = master(replicated(dir.path()));
            let old = fill(&store, 0..40, 'a');
            store.set_confirm_offset(i64::MAX);
            wait_dispatched(&store);
            store.shared.save_checkpoint().unwrap();
            let before = log_bytes(&store);
            let to = old[keep].offsets[0];
            store.close_writes("deposed");
            let done = store.shared.truncate(to, 7, stop);
            assert_eq!(done.is_ok(), stop == Stop::Never, "{case}");
            if stop != Stop::Never && stop != Stop::AfterCopy {
                assert!(
                    store.append_replicated(store.max_offset(), b"x").is_err(),
                    "a store that stopped half way takes nothing"
                );
            }
            drop(store);
            let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
            let undone = stop == Stop::AfterCopy;
            assert_eq!(recovery.max_offset, if undone { old[39].end } else { to }, "{case}");
            assert!(recovery.cut.is_empty(), "{case}: {:?}", recovery.cut);
            let [tail] = &store.truncated_tails()[..] else { panic!("{case}: one tail") };
            assert_eq!((tail.epoch, tail.from, tail.to), (7, to, old[39].end), "{case}");
            assert_eq!(std::fs::read(&tail.path).unwrap(), before[to as usize..], "{case}");
            if undone {
                store.truncate(to, 7).unwrap();
            }
            // The next generation is as long to the byte, and each crash would meet the old one's records where its own
            // end.
            store.open_writes(8);
            let new = fill(&store, keep as i64..keep as i64 + 5, 'b');
            assert_eq!((new[0].offsets[0], new[0].queue_offset), (to, keep as i64), "{case}");
            drop(store);
            let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
            assert_eq!(recovery.max_offset, new[4].end, "{case}");
            store.set_confirm_offset(i64::MAX);
            let expected: Vec<_> = (0..keep as i64)
                .map(|i| body(i, 'a'))
                .chain((keep as i64..keep as i64 + 5).map(|i| body(i, 'b')))
                .collect();
            wait(&case, || bodies(&store, "T", 0) == expected);
        }
    }
}

#[test]
fn a_cut_inside_a_record_is_exact_and_the_rest_may_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let old = fill(&store, 0..40, 'a');
    wait_dispatched(&store);
    let bytes = log_bytes(&store);
    store.close_writes("deposed");
    for to in [old[30].offsets[0] + 50, old[12].end - 1, old[12].offsets[0] + 4, FILE_SIZE as i64 - 3, FILE_SIZE as i64]
    {
        let tail = store.truncate(to, 1).unwrap().unwrap();
        assert_eq!((tail.from, tail.to, store.max_offset()), (to, bytes.len() as i64, to));
        let whole = old.iter().filter(|a| a.end <= to).count();
        wait_dispatched(&store);
        assert_eq!(bodies(&store, "T", 0).len(), whole);
        assert!(store.flushed_offset() <= to && store.confirm_offset() <= to);
        assert_eq!(store.truncate(to, 1).unwrap(), None, "nothing left to cut");
        store.append_replicated(to, &bytes[to as usize..]).unwrap();
        wait_dispatched(&store);
        assert_eq!(bodies(&store, "T", 0), (0..40).map(|i| body(i, 'a')).collect::<Vec<_>>());
    }
    assert_eq!(store.truncated_tails().len(), 5);
}

#[test]
fn a_cut_below_the_log_empties_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path())).unwrap().0;
    store.start_at(2 * FILE_SIZE as i64).unwrap();
    store.open_writes(1);
    fill(&store, 0..30, 'a');
    store.close_writes("deposed");
    store.truncate(100, 1).unwrap();
    assert_eq!((store.max_offset(), store.min_offset()), (100, -1));
    assert_eq!(bodies(&store, "T", 0), Vec::<String>::new());
    store.start_at(3 * FILE_SIZE as i64).unwrap();
    drop(store);
    let (store, recovery) = Store::open(config(dir.path())).unwrap();
    assert_eq!((recovery.max_offset, store.min_offset()), (3 * FILE_SIZE as i64, -1));
}

#[test]
fn an_emptied_log_goes_on_where_it_was_cut_whatever_was_its_start_before() {
    let file_size = FILE_SIZE as i64;
    for to in [file_size, file_size + 50] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(replicated(dir.path())).unwrap().0;
        store.start_at(file_size + 100).unwrap();
        store.open_writes(1);
        fill(&store, 0..3, 'a');
        store.close_writes("deposed");
        store.truncate(to, 1).unwrap();
        drop(store);
        let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
        assert_eq!((recovery.max_offset, store.min_offset()), (to, -1));
        store.open_writes(2);
        fill(&store, 0..3, 'b');
        assert_eq!(store.min_offset(), to);
    }
}

/// The log's only file loses its only record at a start: it was cut in its middle before.
#[test]
fn a_log_that_recovery_empties_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(replicated(dir.path()));
    let old = fill(&store, 0..60, 'a');
    store.set_confirm_offset(i64::MAX);
    wait_dispatched(&store);
    store.close_writes("deposed");
    store.shared.save_checkpoint().unwrap();
    while store.clean_expired(i64::MAX / 2).unwrap() > 0 {}
    let begin = store.min_offset();
    let first = old.iter().find(|it| it.offsets[0] == begin).unwrap();
    assert!(begin > 0 && first.queue_offset > 0);
    store.truncate(first.end - 3, 1).unwrap();
    drop(store);
    for start in 0..3 {
        let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
        assert_eq!((recovery.max_offset, store.min_offset()), (begin, -1), "start {start}");
        let places = (first.queue_offset, first.queue_offset);
        assert_eq!(store.queue_bounds("T", 0), Some(places), "the next message's place, start {start}");
    }
}

#[tokio::test]
async fn whoever_waits_for_a_cut_byte_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let end = fill(&store, 0..3, 'a')[2].end;
    store.close_writes("deposed");
    store.truncate(10, 1).unwrap();
    assert!(store.wait_flushed(end).await.is_err());
}

#[test]
fn an_unreadable_intent_stops_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    drop(master(config(dir.path())));
    std::fs::write(dir.path().join("truncate-intent"), "12x").unwrap();
    let error = Store::open(config(dir.path())).err().unwrap().to_string();
    assert!(error.contains("truncate-intent") && error.contains("12x"), "{error}");
}

/// What was written and not synced since.
#[derive(Default)]
struct Unsynced(Mutex<Vec<(PathBuf, Range<u64>)>>);

impl DiskWatch for Unsynced {
    fn wrote(&self, path: &Path, range: Range<u64>) {
        self.0.lock().push((path.to_owned(), range));
    }

    fn synced(&self, path: &Path, range: Range<u64>) {
        self.0.lock().retain(|it| it.0 != path || it.1.start < range.start || range.end < it.1.end);
    }
}

/// What is on disk of the queue that is built again may add up to what the checkpoint has counted, with a hole in it.
#[test]
fn the_checkpoint_vouches_for_no_queue_that_was_built_again_and_is_not_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = master_by_hand(replicated(dir.path()), Arc::new(Unsynced::default()));
    fill(&store, 0..60, 'a');
    store.set_confirm_offset(i64::MAX);
    for duty in [Duty::Flush, Duty::Dispatch, Duty::Checkpoint] {
        store.perform(duty);
    }
    let counted = store.shared.checkpoint.saved().verified.map(|it| it.entries);
    assert_eq!(counted, Some(60));
    drop(store);
    std::fs::remove_dir_all(dir.path().join("consumequeue/T/0")).unwrap();
    let disk = Arc::new(Unsynced::default());
    let store = Store::open_by_hand(replicated(dir.path()), disk.clone()).unwrap().0;
    let of_queues = || disk.0.lock().iter().filter(|it| it.0.starts_with(dir.path().join("consumequeue"))).count();
    assert!(of_queues() > 0 && store.shared.checkpoint.saved().verified.map(|it| it.entries) != counted);
    store.perform(Duty::Checkpoint);
    assert_eq!((of_queues(), store.shared.checkpoint.saved().verified.map(|it| it.entries)), (0, counted));
}

/// The next start takes for written what the checkpoint vouches for, and verifies none of it (S11, S12).
#[test]
fn the_checkpoint_of_a_cut_vouches_for_nothing_that_is_not_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Unsynced::default());
    let store = master_by_hand(replicated(dir.path()), disk.clone());
    let old = fill(&store, 0..60, 'a');
    store.set_confirm_offset(i64::MAX);
    store.perform(Duty::Dispatch);
    store.close_writes("deposed");
    assert!(disk.0.lock().iter().any(|it| it.0.ends_with("commitlog/00000000000000000000")), "nothing was flushed");
    let to = old[50].end;
    store.truncate(to, 1).unwrap();
    assert_eq!(store.shared.checkpoint.saved().verified.map(|it| it.dispatched), Some(to));
    let of_store = |path: &Path| path.exists() && !path.ends_with("checkpoint");
    let unsynced: Vec<_> = disk.0.lock().iter().filter(|it| of_store(&it.0)).cloned().collect();
    assert_eq!(unsynced, []);
    assert_eq!(store.flushed_offset(), to);
}
