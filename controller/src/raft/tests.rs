//! Groups in one process over a message table, and real data directories.

mod size;

use super::thread::Outbox;
use super::*;
use crate::replicas::ApplyBrokerId;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;
use tokio::sync::mpsc;

/// Controllers 1..=3 in one process; messages travel through a table from which a node can be taken.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<BTreeMap<u64, Raft>>>);

impl Network {
    fn outbox(&self) -> Outbox {
        let network = self.clone();
        Box::new(move |message: Message| {
            let to = network.0.lock().expect("no test panics while holding it").get(&message.to).cloned();
            to.is_some_and(|it| it.deliver(message).is_ok())
        })
    }

    fn join(&self, id: u64, disk: impl Disk, snapshot_entries: u64) -> Raft {
        self.join_founders(id, disk, snapshot_entries, &["n0", "n1", "n2"])
    }

    fn join_founders(&self, id: u64, disk: impl Disk, snapshot_entries: u64, founders: &[&str]) -> Raft {
        let (events, mut listening) = mpsc::channel(1024);
        tokio::spawn(async move { while listening.recv().await.is_some() {} });
        self.join_telling(id, disk, snapshot_entries, founders, events)
    }

    fn join_telling(
        &self,
        id: u64,
        disk: impl Disk,
        snapshot_entries: u64,
        founders: &[&str],
        events: mpsc::Sender<Event>,
    ) -> Raft {
        let founders = Members::founders(founders.iter().map(|it| ((*it).to_owned(), format!("{it}:1"))));
        let (members, _) = watch::channel(founders.clone());
        let options = Options {
            id,
            election_timeout: 150,
            snapshot_entries,
            snapshot_bytes: 1 << 20,
            founders,
            address: String::new(),
        };
        let raft = start(options, disk, self.outbox(), events, members).expect("starts");
        self.0.lock().expect("as above").insert(id, raft.clone());
        raft
    }

    async fn leave(&self, id: u64) {
        let left = self.0.lock().expect("as above").remove(&id);
        if let Some(raft) = left {
            raft.stop().await;
        }
    }

    async fn leave_all(&self) {
        for id in 1..=3 {
            self.leave(id).await;
        }
    }

    async fn leader(&self) -> (u64, Raft) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let nodes = self.0.lock().expect("as above").clone();
            if let Some(it) = nodes.into_iter().find(|it| it.1.is_leading()) {
                return it;
            }
            assert!(Instant::now() < deadline, "no leader within 10 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks whoever leads for a change, until the leader knows this of the controller that joins.
    async fn until_newcomer(&self, name: &str, ask: Option<Ask>, known: Result<u64, MemberRefusal>) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let (_, leader) = self.leader().await;
            if let Some(ask) = &ask {
                // Whether it was done shows below.
                let _ = leader.ask(ask.clone()).await;
            }
            let answer = leader.newcomer(name).await;
            if answer.as_ref() == Ok(&known) {
                return;
            }
            assert!(Instant::now() < deadline, "{answer:?}, not {known:?}");
        }
    }

    /// Asks whoever leads until one carries it out: what a broker does.
    async fn apply(&self, id: i64) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.leader().await.1.propose(take_id(id)).await {
                Ok(outcome) => return outcome,
                Err(why) => assert!(Instant::now() < deadline, "{why}"),
            }
        }
    }
}

fn take_id(id: i64) -> Command {
    let check_code = format!("h{id};1");
    Command::ApplyBrokerId(ApplyBrokerId { cluster: "c".into(), broker_set: "a".into(), id, check_code, at_ms: 0 })
}

async fn next_id(raft: &Raft) -> Result<i64, RaftError> {
    raft.read(|it| it.next_broker_id("a")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_survives_the_leader() {
    let network = Network::default();
    for id in 1..=3 {
        network.join(id, MemoryDisk::new(&[1, 2, 3]), 1_000);
    }
    assert_eq!(network.apply(1).await, Outcome::BrokerIdApplied);
    let (old, _) = network.leader().await;
    network.leave(old).await;
    assert_eq!(network.apply(2).await, Outcome::BrokerIdApplied);
    let (new, leader) = network.leader().await;
    assert_ne!(new, old);
    assert_eq!(next_id(&leader).await, Ok(3));
    network.leave_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_majority_answers_neither_writes_nor_reads() {
    let network = Network::default();
    for id in 1..=3 {
        network.join(id, MemoryDisk::new(&[1, 2, 3]), 1_000);
    }
    network.apply(1).await;
    let (id, leader) = network.leader().await;
    for other in (1..=3).filter(|it| *it != id) {
        network.leave(other).await;
    }
    // Once its lease has run out it cannot know whether it still leads; it then steps down by itself.
    assert_eq!(leader.propose(take_id(2)).await, Err(RaftError::NotLeader));
    assert_eq!(next_id(&leader).await, Err(RaftError::NotLeader));
    assert!(!leader.lease_holds());
    network.leave(id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_missed_everything_gets_a_snapshot() {
    let network = Network::default();
    for id in 1..=2 {
        network.join(id, MemoryDisk::new(&[1, 2, 3]), 10);
    }
    for id in 1..=50 {
        network.apply(id).await;
    }
    network.join(3, MemoryDisk::new(&[1, 2, 3]), 10);
    // With 3 and one other only: what 3 knows decides.
    let (leader, _) = network.leader().await;
    network.leave(leader).await;
    network.apply(51).await;
    assert_eq!(next_id(&network.leader().await.1).await, Ok(52));
    network.leave_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_controller_restarts_from_rocksdb_with_everything() {
    let dir = tempfile::tempdir().expect("temp dir");
    let peers = ["n0".to_owned()];
    let identity = Identity::new("g", "n0", &peers);
    for (first, last) in [(1, 30), (31, 60), (61, 75)] {
        let network = Network::default();
        let raft = network.join_founders(1, open(dir.path(), &identity), 20, &["n0"]);
        for id in first..=last {
            assert_eq!(network.apply(id).await, Outcome::BrokerIdApplied);
        }
        assert_eq!(next_id(&raft).await, Ok(last + 1));
        network.leave(1).await;
    }
}

fn open(path: &std::path::Path, identity: &Identity) -> RocksDisk {
    RocksDisk::open(path, identity).unwrap_or_else(|why| panic!("{why:#}"))
}

#[test]
fn a_directory_of_another_controller_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("temp dir");
    let peers = ["n0".to_owned(), "n1".to_owned(), "n2".to_owned()];
    drop(RocksDisk::open(dir.path(), &Identity::new("g", "n0", &peers)).expect("opens"));
    let why = |identity: Identity| match RocksDisk::open(dir.path(), &identity) {
        Ok(_) => "opened".to_owned(),
        Err(why) => format!("{why:#}").replace(&dir.path().display().to_string(), "DIR"),
    };
    let told = [
        why(Identity::new("g", "n1", &peers)),
        why(Identity::new("other", "n0", &peers)),
        why(Identity::new("g", "n0", &peers[..1])),
        why(Identity::new("g", "n0", &peers)),
    ];
    expect_test::expect![[r#"
        DIR belongs to controller n0 of group g, not to n1 of group g: set controllerStorePath to this controller's own directory, or correct controllerDLegerSelfId and controllerDLegerGroup
        DIR belongs to controller n0 of group g, not to n0 of group other: set controllerStorePath to this controller's own directory, or correct controllerDLegerSelfId and controllerDLegerGroup
        DIR was written by a group of controllers n0, n1, n2, but controllerDLegerPeers names n0: restore the ids (addresses may change), or start this group with an empty controllerStorePath on every controller
        opened
    "#]]
    .assert_eq(&(told.join("\n") + "\n"));
}

/// Whoever dies in between and joins has to ask again who it is.
#[test]
fn a_directory_has_an_identity_once_that_is_written() {
    let dir = tempfile::tempdir().expect("temp dir");
    let has_identity = || RocksDisk::has_identity(dir.path()).expect("reads");
    assert!(!has_identity());
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    drop(rocksdb::DB::open(&options, dir.path()).expect("opens"));
    assert!(!has_identity());
    drop(open(dir.path(), &Identity::new("g", "n0", &["n0".to_owned()])));
    assert!(has_identity());
}

#[test]
fn a_damaged_directory_and_one_in_use_are_refused_with_advice() {
    let dir = tempfile::tempdir().expect("temp dir");
    let identity = Identity::new("g", "n0", &["n0".to_owned()]);
    let disk = RocksDisk::open(dir.path(), &identity).expect("opens");
    let in_use = RocksDisk::open(dir.path(), &identity).err().map(|it| it.to_string()).unwrap_or_default();
    assert!(in_use.contains("is in use by another process"), "{in_use}");
    drop(disk);
    std::fs::write(dir.path().join("CURRENT"), "MANIFEST-999999\n").expect("writes");
    let damaged = RocksDisk::open(dir.path(), &identity).err().map(|it| it.to_string()).unwrap_or_default();
    assert!(damaged.contains("move this directory away"), "{damaged}");
}

/// A follower may not have heard yet that an id was taken away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leader_says_who_a_newcomer_is() {
    let network = Network::default();
    for id in 1..=3 {
        network.join(id, MemoryDisk::new(&[1, 2, 3]), 1_000);
    }
    network.apply(1).await;
    let (leading, _) = network.leader().await;
    let (one, other) = (leading % 3 + 1, (leading + 1) % 3 + 1);
    let (name, address) = (format!("n{}", one - 1), format!("n{}:1", one - 1));
    let follower = network.0.lock().expect("as above")[&other].clone();
    let answer = follower.newcomer(&name).await;
    assert!(answer == Err(RaftError::NotLeader) || follower.is_leading(), "{answer:?}");
    network.until_newcomer(&name, None, Ok(one)).await;

    // It has a disk; whoever asks now has another one.
    let hello = Hello { from: one, directory: 7, name: name.clone(), address: address.clone() };
    let others = network.0.lock().expect("as above").clone().into_iter().filter(|it| it.0 != one);
    let others = others.map(|it| it.1).collect::<Vec<_>>();
    for it in &others {
        assert_eq!(it.hello(hello.clone()).await, Ok(Ok(())));
    }
    let lost = MemberRefusal::DiskLost { name: name.clone(), address: address.clone() };
    network.until_newcomer(&name, None, Err(lost)).await;
    let remove = Ask::Remove { name: name.clone() };
    network.until_newcomer(&name, Some(remove), Err(MemberRefusal::NotYet(name.clone()))).await;
    network.until_newcomer(&name, Some(Ask::Add { name: name.clone(), address }), Ok(4)).await;
    network.leave_all().await;
}

/// The others know what it had; it must end by itself, before they have refused it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_whose_log_is_gone_ends_with_advice() {
    let network = Network::default();
    for id in 1..=3 {
        network.join(id, MemoryDisk::new(&[1, 2, 3]), 1_000);
    }
    for id in 1..=20 {
        network.apply(id).await;
    }
    let lost = network.leader().await.0 % 3 + 1;
    network.leave(lost).await;
    let (events, mut listening) = mpsc::channel(1024);
    let raft = network.join_telling(lost, MemoryDisk::new(&[1, 2, 3]), 1_000, &["n0", "n1", "n2"], events);
    let why = loop {
        match tokio::time::timeout(Duration::from_secs(10), listening.recv()).await.expect("ends within 10 s") {
            Some(Event::Stopped(why)) => break why.unwrap_or_default(),
            Some(_) => {}
            None => panic!("ended without a word"),
        }
    };
    assert!(why.contains("its disk was lost or exchanged"), "{why}");
    assert_eq!(raft.propose(take_id(21)).await, Err(RaftError::Stopped));
    network.leave_all().await;
}
