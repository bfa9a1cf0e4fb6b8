//! What many commands leave on disk.

use super::*;
use crate::replicas::{AlterSyncStateSet, Cause, Elect, ElectMode, UncleanElection};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeSet;
use std::path::Path;

const COMMANDS: usize = 50_000;
const SETS: usize = 200;
const SNAPSHOT_ENTRIES: u64 = 5_000;
/// What the last snapshot need not hold, what is kept behind it for followers, and a little more.
const MOST_ENTRIES: usize = 7_000;
/// Rocksdb's write-ahead log and the files that wait to be merged take most of it, however short the log is.
const MOST_BYTES: u64 = 32 * 1024 * 1024;

/// A million is measured by `mqbench controller --only commands`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_commands_leave_a_small_directory_and_a_short_log() {
    let dir = tempfile::tempdir().expect("temp dir");
    let identity = Identity::new("g", "n0", &["n0".to_owned()]);
    let network = Network::default();
    let (snapshot, snapshots) = watch::channel(0);
    let disk = Telling { disk: open(dir.path(), &identity), snapshot };
    network.join_founders(1, disk, SNAPSHOT_ENTRIES, &["n0"]);
    let raft = network.leader().await.1;
    let sets = (0..SETS as u64).map(|seed| tokio::spawn(toggle(raft.clone(), seed)));
    let mut epochs = Vec::new();
    for set in sets.collect::<Vec<_>>() {
        epochs.push(set.await.expect("no set panics"));
    }
    // The last one is taken on a thread of its own and may have begun late: the next command begins another.
    let late = async {
        while *snapshots.borrow() <= COMMANDS as u64 - SNAPSHOT_ENTRIES {
            apply_id(&raft, "one more", 1).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), late).await.expect("a late snapshot");
    network.leave(1).await;
    let mut disk = open(dir.path(), &identity);
    let size = folder_size(dir.path());
    assert!(size < MOST_BYTES, "{COMMANDS} commands left {size} bytes");
    let entries = disk.load().expect("reads").entries.len();
    assert!(entries < MOST_ENTRIES, "{entries} entries are still there");
    drop(disk);
    // Snapshot and entries together are everything that was committed.
    let network = Network::default();
    network.join_founders(1, open(dir.path(), &identity), SNAPSHOT_ENTRIES, &["n0"]);
    let raft = network.leader().await.1;
    for (seed, epoch) in epochs.into_iter().enumerate() {
        let found = raft.read(move |it| it.get(&name(seed as u64)).map(|it| it.sync_state_set_epoch)).await;
        assert_eq!(found, Ok(Some(epoch)), "{}", name(seed as u64));
    }
    network.leave(1).await;
}

/// Says up to where the newest snapshot on it reaches.
struct Telling {
    disk: RocksDisk,
    snapshot: watch::Sender<u64>,
}

impl Disk for Telling {
    fn load(&mut self) -> anyhow::Result<Stored> {
        self.disk.load()
    }

    fn write(&mut self, it: &Batch<'_>) -> anyhow::Result<()> {
        self.disk.write(it)?;
        if let Some(snapshot) = it.snapshot {
            self.snapshot.send_replace(snapshot.get_metadata().index);
        }
        Ok(())
    }
}

async fn apply_id(raft: &Raft, broker_set: &str, id: i64) {
    let (cluster, check_code) = ("c".to_owned(), format!("h{id};1"));
    let it = ApplyBrokerId { cluster, broker_set: broker_set.to_owned(), id, check_code, at_ms: 0 };
    raft.propose(Command::ApplyBrokerId(it)).await.expect("committed");
}

fn name(seed: u64) -> String {
    format!("set-{seed}")
}

/// A set whose master takes slaves in and out; returns the version of its SyncStateSet.
async fn toggle(raft: Raft, seed: u64) -> i32 {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let broker_set = name(seed);
    for id in 1..=3 {
        apply_id(&raft, &broker_set, id).await;
    }
    let elect = Elect {
        broker_set: broker_set.clone(),
        requester: Some(1),
        mode: ElectMode::Best,
        alive: Vec::new(),
        unclean: UncleanElection::Forbidden,
        expect: None,
        cause: Cause::NoMaster,
        detected_ms: 0,
        at_ms: 0,
    };
    raft.propose(Command::Elect(elect)).await.expect("committed");
    let (mut members, mut epoch) = (BTreeSet::from([1]), 1);
    for at_ms in 0..(COMMANDS / SETS) as i64 {
        let slave = 2 + (random.next_u64() % 2) as i64;
        if !members.remove(&slave) {
            members.insert(slave);
        }
        let alter = AlterSyncStateSet {
            broker_set: broker_set.clone(),
            master: 1,
            master_epoch: 1,
            sync_state_set: members.clone(),
            sync_state_set_epoch: epoch,
            alive: BTreeSet::from([1, 2, 3]),
            min_in_sync: Some(1),
            at_ms,
        };
        let outcome = raft.propose(Command::AlterSyncStateSet(alter)).await.expect("committed");
        assert!(matches!(outcome, Outcome::Altered(..)), "{outcome:?}");
        epoch += 1;
    }
    epoch
}

fn folder_size(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).expect("a directory of files").map(|it| it.and_then(|it| it.metadata()));
    files.map(|it| it.expect("a file").len()).sum()
}
