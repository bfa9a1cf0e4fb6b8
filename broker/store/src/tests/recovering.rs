//! What a store makes of the files it finds.

use super::*;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

/// Messages of 100 bytes of body: 8 or so per file; every record has the same size, so that stale bytes align.
fn body(i: i64) -> String {
    format!("{i:0>100}")
}

fn fill(store: &Store, range: std::ops::Range<i64>) -> Vec<Appended> {
    range.map(|i| store.append(&[message("T", (i % 2) as i32, body(i))]).unwrap()).collect()
}

fn seen(store: &Store) -> (Vec<String>, Vec<String>) {
    wait_dispatched(store);
    (bodies(store, "T", 0), bodies(store, "T", 1))
}

fn halves(range: std::ops::Range<i64>) -> (Vec<String>, Vec<String>) {
    let (even, odd): (Vec<i64>, Vec<i64>) = range.partition(|i| i % 2 == 0);
    (even.into_iter().map(body).collect(), odd.into_iter().map(body).collect())
}

fn overwrite(root: &Path, offset: i64, bytes: &[u8]) {
    let start = offset - offset % FILE_SIZE as i64;
    let path = root.join("commitlog").join(mapped_file::file_name(start));
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, (offset - start) as u64).unwrap();
}

/// Makes the checkpoint one that Java wrote: its five positions, nothing of ours.
fn as_java_left_it(root: &Path) {
    let file = OpenOptions::new().write(true).open(root.join("checkpoint")).unwrap();
    file.write_all_at(&[0; 4096 - 40], 40).unwrap();
}

fn no_checkpoint(root: &Path) {
    fs::remove_file(root.join("checkpoint")).unwrap();
}

type Damage = fn(&Path, &[Appended]);

/// What is done to a store of 45 messages, how many of them are there afterwards, and what recovery says.
const CASES: &[(&str, Damage, i64, &str)] = &[
    ("nothing", |_, _| {}, 45, ""),
    ("Java ran since", |root, _| as_java_left_it(root), 45, ""),
    ("checkpoint lost", |root, _| no_checkpoint(root), 45, ""),
    (
        "torn tail",
        |root, a| {
            as_java_left_it(root);
            overwrite(root, a[44].end - 60, &[0; 40])
        },
        44,
        "crc",
    ),
    (
        "torn head",
        |root, a| {
            as_java_left_it(root);
            overwrite(root, a[44].offsets[0], &[0; 20])
        },
        44,
        "not written",
    ),
    (
        "garbage behind the end",
        |root, a| {
            as_java_left_it(root);
            overwrite(root, a[44].end, b"garbage!garbage!")
        },
        45,
        "magic",
    ),
    (
        "stale record of an earlier generation behind the end",
        |root, a| {
            as_java_left_it(root);
            let first = fs::read(root.join("commitlog/00000000000000000000")).unwrap();
            overwrite(root, a[44].end, &first[..a[0].end as usize]);
        },
        45,
        "earlier generation",
    ),
    (
        "corrupt middle",
        |root, a| {
            no_checkpoint(root);
            overwrite(root, a[41].end - 40, b"?")
        },
        41,
        "kept in",
    ),
    (
        "next file made ahead",
        |root, a| {
            let next = a[44].end - a[44].end % FILE_SIZE as i64 + FILE_SIZE as i64;
            fs::write(root.join("commitlog").join(mapped_file::file_name(next)), vec![0; FILE_SIZE as usize]).unwrap();
        },
        45,
        "",
    ),
    (
        "next file, not all of it allocated",
        |root, a| {
            let next = a[44].end - a[44].end % FILE_SIZE as i64 + FILE_SIZE as i64;
            fs::write(root.join("commitlog").join(mapped_file::file_name(next)), vec![0; 1000]).unwrap();
        },
        45,
        "",
    ),
    ("empty next file", |root, _| fs::write(root.join("commitlog/00000000000000409600"), "").unwrap(), 45, ""),
    ("consume queue missing", |root, _| fs::remove_dir_all(root.join("consumequeue/T/1")).unwrap(), 45, ""),
    (
        "consume queue missing, after Java",
        |root, _| {
            as_java_left_it(root);
            fs::remove_dir_all(root.join("consumequeue/T/1")).unwrap();
        },
        45,
        "",
    ),
    ("all consume queues missing", |root, _| fs::remove_dir_all(root.join("consumequeue")).unwrap(), 45, ""),
    (
        "consume queue file missing",
        |root, _| fs::remove_file(root.join("consumequeue/T/0").join(mapped_file::file_name(160))).unwrap(),
        45,
        "",
    ),
    (
        "consume queue too long",
        |root, a| {
            let path = root.join("consumequeue/T/0").join(mapped_file::file_name(320));
            let entry = proto::queue_entry::QueueEntry { offset: a[44].end, size: 200, tags_code: 0 };
            OpenOptions::new().write(true).open(path).unwrap().write_all_at(&entry.encode(), 7 * 20).unwrap();
        },
        45,
        "",
    ),
    (
        "consume queue too long, after Java",
        |root, a| {
            as_java_left_it(root);
            let path = root.join("consumequeue/T/0").join(mapped_file::file_name(320));
            let entry = proto::queue_entry::QueueEntry { offset: a[44].end, size: 200, tags_code: 0 };
            OpenOptions::new().write(true).open(path).unwrap().write_all_at(&entry.encode(), 7 * 20).unwrap();
        },
        45,
        "",
    ),
    (
        "consume queue behind a hole",
        |root, _| {
            as_java_left_it(root);
            let path = root.join("consumequeue/T/0").join(mapped_file::file_name(320));
            OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0; 20], 20).unwrap();
        },
        45,
        "",
    ),
];

#[test]
fn recovery_keeps_every_intact_message_and_says_what_it_cut() {
    for unclean in [true, false] {
        for (what, damage, kept, said) in CASES {
            let dir = tempfile::tempdir().unwrap();
            let store = master(config(dir.path()));
            let appended = fill(&store, 0..45);
            wait_dispatched(&store);
            store.shutdown().unwrap();
            drop(store);
            if unclean {
                fs::write(dir.path().join("abort"), "1").unwrap();
            }
            damage(dir.path(), &appended);
            let case = format!("{what}, unclean: {unclean}");
            let (store, recovery) = Store::open(config(dir.path())).unwrap();
            assert_eq!(recovery.unclean, unclean, "{case}");
            assert_eq!(recovery.max_offset, appended[*kept as usize - 1].end, "{case}");
            assert_eq!(recovery.cut.len(), usize::from(!said.is_empty()), "{case}: {:?}", recovery.cut);
            assert!(recovery.cut.iter().all(|cut| cut.contains(said)), "{case}: {:?}", recovery.cut);
            assert_eq!(seen(&store), halves(0..*kept), "{case}");
            // It goes on as if nothing had been, and once more after a crash without a clean end.
            store.open_writes(2);
            fill(&store, *kept..55);
            assert_eq!(seen(&store), halves(0..55), "{case}, then appended");
            drop(store);
            let (store, recovery) = Store::open(config(dir.path())).unwrap();
            assert!(recovery.unclean && recovery.cut.is_empty(), "{case}: {:?}", recovery.cut);
            assert_eq!(seen(&store), halves(0..55), "{case}, reopened");
        }
    }
}

#[test]
fn a_corrupt_middle_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    let appended = fill(&store, 0..40);
    wait_dispatched(&store);
    let before = log_bytes(&store);
    store.shutdown().unwrap();
    drop(store);
    no_checkpoint(dir.path());
    overwrite(dir.path(), appended[20].end - 40, b"?");
    let (store, _) = Store::open(config(dir.path())).unwrap();
    let [tail] = &store.truncated_tails()[..] else { panic!("one tail") };
    assert_eq!((tail.epoch, tail.from), (0, appended[20].offsets[0]));
    let kept = fs::read(&tail.path).unwrap();
    let intact = (appended[21].offsets[0] - tail.from) as usize;
    assert_eq!(kept[intact..before.len() - tail.from as usize], before[appended[21].offsets[0] as usize..]);
}

#[test]
fn a_log_damaged_at_its_start_stops_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    fill(&store, 0..40);
    store.shutdown().unwrap();
    drop(store);
    no_checkpoint(dir.path());
    fs::remove_dir_all(dir.path().join("consumequeue")).unwrap();
    overwrite(dir.path(), 4, b"????");
    let error = Store::open(config(dir.path())).err().unwrap().to_string();
    assert!(error.contains("damaged at its very start"), "{error}");
}

#[test]
fn wrong_file_sizes_and_missing_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    fill(&store, 0..60);
    store.shutdown().unwrap();
    drop(store);
    let other = StoreConfig { commit_log_file_size: 8192, ..config(dir.path()) };
    let error = Store::open(other).err().unwrap().to_string();
    assert!(error.contains("mappedFileSizeCommitLog") && error.contains("4096"), "{error}");
    let next = dir.path().join("commitlog").join(mapped_file::file_name(100 * 4096));
    fs::write(&next, b"short, and not empty").unwrap();
    let error = Store::open(config(dir.path())).err().unwrap().to_string();
    assert!(error.contains("20 bytes") && next.exists(), "{error}");
    fs::remove_file(next).unwrap();
    fs::remove_file(dir.path().join("commitlog").join(mapped_file::file_name(4096))).unwrap();
    let error = Store::open(config(dir.path())).err().unwrap().to_string();
    assert!(error.contains("missing before it"), "{error}");
}

#[test]
fn queue_offsets_count_messages_that_were_not_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(replicated(dir.path()));
    let appended = fill(&store, 0..10);
    store.set_confirm_offset(appended[3].end);
    wait("four are visible", || seen(&store) == halves(0..4));
    drop(store);
    let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
    assert_eq!((recovery.max_offset, store.confirm_offset()), (appended[9].end, appended[3].end));
    assert_eq!(seen(&store), halves(0..4), "visibility ends at the confirm offset");
    store.seal_tail().unwrap();
    store.open_writes(2);
    let next = fill(&store, 10..12);
    assert_eq!(next.iter().map(|a| a.queue_offset).collect::<Vec<_>>(), [5, 5], "queue offsets do not");
    store.set_confirm_offset(next[1].end);
    wait("all are visible", || seen(&store) == halves(0..12));
}

#[test]
fn a_confirm_offset_inside_a_cut_record_does_not_confirm_what_comes_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(replicated(dir.path()));
    let appended = fill(&store, 0..4);
    store.set_confirm_offset(appended[3].end);
    wait("four are visible", || seen(&store) == halves(0..4));
    store.close_writes("deposed");
    store.truncate(appended[3].end - 1, 1).unwrap();
    store.shutdown().unwrap();
    drop(store);
    let store = master(replicated(dir.path()));
    assert_eq!(store.confirm_offset(), appended[2].end);
    // Shorter than the record that was cut, so that it would lie below the old confirm offset.
    store.append(&[message("T", 0, "short")]).unwrap();
    drop(store);
    let store = Store::open(replicated(dir.path())).unwrap().0;
    assert_eq!(store.confirm_offset(), appended[2].end);
    assert_eq!(seen(&store), halves(0..3));
}

#[test]
fn a_slave_s_half_record_is_cut_before_it_becomes_master() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let master = master(config(dir.path()));
    let appended = fill(&master, 0..10);
    let bytes = log_bytes(&master);
    for reopen in [false, true] {
        let dir = tempfile::tempdir_in(other.path()).unwrap();
        let mut slave = Store::open(replicated(dir.path())).unwrap().0;
        let half = appended[7].offsets[0] as usize + 50;
        for (i, part) in bytes[..half].chunks(77).enumerate() {
            slave.append_replicated(i as i64 * 77, part).unwrap();
        }
        slave.set_confirm_offset(half as i64 - 10);
        wait("seven are visible", || seen(&slave) == halves(0..7));
        if reopen {
            drop(slave);
            slave = Store::open(replicated(dir.path())).unwrap().0;
            assert_eq!(slave.max_offset(), appended[7].offsets[0]);
        }
        assert_eq!(slave.seal_tail().unwrap(), appended[7].offsets[0]);
        slave.open_writes(2);
        assert_eq!(fill(&slave, 7..9).last().unwrap().end, appended[8].end);
        slave.set_confirm_offset(appended[8].end);
        wait("nine are visible", || seen(&slave) == halves(0..9));
    }
}

/// A damaged header, which dispatch does not index: the next message has the place that this one cannot have.
#[test]
fn a_record_of_an_impossible_place_leaves_its_queue_as_it_is() {
    for impossible in [i64::MAX, 1 << 56, -1, -7, i64::MIN, 1] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(replicated(dir.path())).unwrap().0;
        let mut log = Vec::new();
        for (queue_offset, body) in [(0, "a"), (1, "b"), (2, "c"), (impossible, "damaged")] {
            let at = log.len() as i64;
            message("T", 0, body).encode_into(&mut log, queue_offset, at, 1).unwrap();
        }
        store.append_replicated(0, &log).unwrap();
        store.seal_tail().unwrap();
        store.open_writes(2);
        assert_eq!(store.append(&[message("T", 0, "d")]).unwrap().queue_offset, 3, "behind {impossible}");
        store.set_confirm_offset(i64::MAX);
        wait_dispatched(&store);
        assert_eq!(bodies(&store, "T", 0), ["a", "b", "c", "d"], "with {impossible}");
    }
}

#[test]
fn a_slave_s_log_is_the_master_s_byte_for_byte_and_must_be_contiguous() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let master = master(config(a.path()));
    fill(&master, 0..40);
    let bytes = log_bytes(&master);
    let slave = Store::open(config(b.path())).unwrap().0;
    slave.append_replicated(0, &bytes[..5000]).unwrap();
    let error = slave.append_replicated(4999, &bytes[4999..]).unwrap_err();
    assert!(matches!(error, StoreError::NotContiguous { got: 4999, want: 5000 }));
    assert_eq!(slave.append_replicated(5000, &bytes[5000..]).unwrap(), master.max_offset());
    assert_eq!(log_bytes(&slave), bytes);
    assert_eq!(seen(&slave), halves(0..40));
}

#[test]
fn a_log_may_start_anywhere() {
    for at in [3 * FILE_SIZE as i64, 5000] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(config(dir.path())).unwrap().0;
        store.start_at(at).unwrap();
        assert_eq!((store.max_offset(), store.min_offset()), (at, -1));
        store.seal_tail().unwrap();
        store.open_writes(1);
        fill(&store, 0..40);
        assert_eq!(store.min_offset(), at);
        for _ in 0..2 {
            assert_eq!(seen(&store), halves(0..40));
            store.close_writes("over");
            assert!(store.start_at(at).is_err(), "not empty");
            drop(store);
            store = Store::open(config(dir.path())).unwrap().0;
            assert_eq!(store.min_offset(), at);
        }
    }
}

/// A new replica's host lost power while the first file was made.
#[test]
fn a_log_whose_first_file_is_not_all_there_begins_where_it_was_to() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(config(dir.path())).unwrap().0.start_at(5000).unwrap();
    let path = dir.path().join("commitlog").join(mapped_file::file_name(4096));
    fs::write(&path, [0; 1000]).unwrap();
    let store = Store::open(config(dir.path())).unwrap().0;
    assert_eq!((store.max_offset(), store.min_offset(), path.exists()), (5000, -1, false));
}

/// Its one message is far behind what the other queues vouch for.
#[test]
fn a_queue_that_was_lost_with_the_checkpoint_is_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = master(config(dir.path()));
    store.append(&[message("U", 0, "alone")]).unwrap();
    fill(&store, 0..45);
    wait_dispatched(&store);
    store.shutdown().unwrap();
    drop(store);
    no_checkpoint(dir.path());
    fs::remove_dir_all(dir.path().join("consumequeue/U")).unwrap();
    let store = Store::open(config(dir.path())).unwrap().0;
    assert_eq!((bodies(&store, "U", 0), seen(&store)), (vec!["alone".to_owned()], halves(0..45)));
}

/// S7: only a host that started anew loses what a dead process had not flushed; and it is reported until the
/// controllers know it.
#[test]
fn a_host_that_started_anew_is_told_from_a_process_that_died() {
    let dir = tempfile::tempdir().unwrap();
    drop(master(config(dir.path())));
    let killed = || std::fs::write(dir.path().join("abort"), "1").unwrap();
    let reopened = || {
        let (store, recovery) = Store::open(config(dir.path())).unwrap();
        (recovery.host_restarted, store)
    };
    killed();
    assert!(!reopened().0, "same boot of the host");
    killed();
    std::fs::write(dir.path().join("hostBootId"), "an earlier boot").unwrap();
    assert!(reopened().0);
    killed();
    let (restarted, store) = reopened();
    assert!(restarted, "not reported yet");
    store.shutdown().unwrap();
    drop(store);
    let (restarted, store) = reopened();
    assert!(restarted, "nor by the one that was stopped before it had registered");
    store.losses_reported().unwrap();
    drop(store);
    killed();
    assert!(!reopened().0);
    reopened().1.shutdown().unwrap();
    assert!(!reopened().0, "a clean stop, then the host starts anew");
}

/// S7: a disk that has lost what it had is worse than a host that lost its memory: it is said in every profile.
#[test]
fn what_was_on_disk_and_is_gone_is_said_until_it_is_reported() {
    let damaged = |damage: fn(&Path, &[Appended])| {
        let dir = tempfile::tempdir().unwrap();
        let store = master(replicated(dir.path()));
        let appended = fill(&store, 0..20);
        store.set_confirm_offset(appended[9].end);
        wait("ten are visible", || seen(&store) == halves(0..10));
        store.shutdown().unwrap();
        drop(store);
        damage(dir.path(), &appended);
        dir
    };
    let lost = |dir: &tempfile::TempDir| {
        let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
        (recovery.lost_flushed, recovery.lost_acknowledged(FlushDiskType::SyncFlush), store)
    };
    let dir = damaged(|root, a| overwrite(root, a[15].end - 40, b"?"));
    assert!(lost(&dir).0, "a damaged record");
    let (again, counts, store) = lost(&dir);
    assert!(again && counts, "not reported yet");
    store.shutdown().unwrap();
    drop(store);
    let (again, _, store) = lost(&dir);
    assert!(again, "nor after a clean stop");
    store.losses_reported().unwrap();
    drop(store);
    assert!(!lost(&dir).0);
    let gone = damaged(|root, _| fs::remove_dir_all(root.join("commitlog")).unwrap());
    assert!(lost(&gone).0, "the whole log");
    assert!(!lost(&damaged(|_, _| {})).0);
}

/// What a slave has of a record whose rest has not come may be flushed and confirmed: cutting it loses no message.
#[test]
fn a_half_record_is_no_loss() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let master = master(config(other.path()));
    let appended = fill(&master, 0..3);
    let half = appended[2].offsets[0] as usize + 150;
    let slave = Store::open(replicated(dir.path())).unwrap().0;
    slave.append_replicated(0, &log_bytes(&master)[..half]).unwrap();
    slave.set_confirm_offset(half as i64);
    wait("two are visible", || seen(&slave) == halves(0..2));
    slave.shutdown().unwrap();
    drop(slave);
    let (store, recovery) = Store::open(replicated(dir.path())).unwrap();
    assert_eq!((recovery.max_offset, recovery.lost_flushed), (appended[2].offsets[0], false));
    drop(store);
}

#[test]
fn asynchronous_flush_may_lose_what_it_acknowledged_with_its_host() {
    let lost = |host_restarted, lost_flushed| {
        let recovery = Recovery { host_restarted, lost_flushed, ..Recovery::default() };
        (recovery.lost_acknowledged(FlushDiskType::AsyncFlush), recovery.lost_acknowledged(FlushDiskType::SyncFlush))
    };
    assert_eq!(lost(false, false), (false, false));
    assert_eq!(lost(true, false), (true, false));
    assert_eq!(lost(false, true), (true, true));
}
