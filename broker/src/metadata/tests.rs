//! Masters and slaves of one set, without a network between them.

use super::*;
use crate::meta::{groups, topics};
use tempfile::TempDir;

struct Replica {
    metadata: Metadata,
    folder: TempDir,
}

impl Replica {
    fn new() -> Replica {
        Self::on(tempfile::tempdir().expect("temp dir"))
    }

    fn on(folder: TempDir) -> Replica {
        let config = Config { broker_name: "b".into(), ..Config::default() };
        Replica { metadata: Metadata::open(&config, folder.path()).expect("opened"), folder }
    }

    fn has(&self, topic: &str) -> bool {
        self.metadata.settings().topics.get(topic).is_some()
    }

    /// One round of the slave's poll; `None` when there was nothing new.
    async fn sync(&self, master: &Replica, has: SyncVersion) -> Option<SyncVersion> {
        let (version, body) = master.metadata.newer_than(has)?;
        self.metadata.replace(version, body).await.expect("taken");
        Some(version)
    }
}

const NOTHING: SyncVersion = SyncVersion { master_epoch: -1, settings: 0, offsets: 0 };

fn put(name: &str) -> Vec<Change> {
    vec![Change::PutTopic(topics::derived(name.into(), 1))]
}

#[tokio::test]
async fn what_was_acknowledged_is_there_on_the_successor_and_after_its_restart() {
    let (old, new) = (Replica::new(), Replica::new());
    old.metadata.become_master(1).await.expect("running");
    new.metadata.follow(1).await.expect("running");
    let has = new.sync(&old, NOTHING).await.expect("everything");
    old.metadata.change(put("T")).await.expect("changed");
    old.metadata.change(vec![Change::PutGroup(groups::auto_created("G"))]).await.expect("changed");
    old.metadata.offsets().commit("G", "T", 0, 5);
    old.metadata.publish_offsets();
    let has = new.sync(&old, has).await.expect("both changes");
    assert_eq!(new.sync(&old, has).await, None);

    let before = old.metadata.settings().topics.version;
    new.metadata.become_master(2).await.expect("running");
    assert!(new.has("T"));
    assert_eq!(new.metadata.offsets().get("G", "T", 0), Some(5));
    assert!(
        new.metadata.settings().topics.version.compare(&before).is_gt(),
        "nameservers take the new master's topics"
    );
    new.metadata.save_offsets().await;
    let Replica { metadata, folder } = new;
    drop(metadata);
    let again = Replica::on(folder);
    assert!(again.has("T"));
    assert_eq!(again.metadata.offsets().get("G", "T", 0), Some(5));
}

#[tokio::test]
async fn an_old_masters_tables_are_refused_after_a_change_of_epoch() {
    let (old, new) = (Replica::new(), Replica::new());
    old.metadata.become_master(1).await.expect("running");
    old.metadata.change(put("Unacknowledged")).await.expect("applied there");
    let (version, body) = old.metadata.newer_than(NOTHING).expect("everything");
    new.metadata.become_master(2).await.expect("running");
    assert_eq!(new.metadata.replace(version, body).await, Err(MetadataError::NotMaster));
    assert!(!new.has("Unacknowledged"));
    // A late word that we follow the old one does not turn us back.
    new.metadata.follow(1).await.expect("running");
    new.metadata.change(put("T")).await.expect("still the master");
    // The old master comes back, follows, and loses what nobody else had.
    old.metadata.follow(2).await.expect("running");
    assert_eq!(old.metadata.change(put("X")).await, Err(MetadataError::NotMaster));
    let replaced = {
        let (version, body) = new.metadata.newer_than(NOTHING).expect("everything");
        old.metadata.replace(version, body).await.expect("taken")
    };
    assert_eq!(replaced.removed_topics, ["Unacknowledged"]);
    assert!(old.has("T") && !old.has("Unacknowledged"));
}

/// How far delayed messages are delivered travels with the offsets, and lands in Java's file.
#[tokio::test]
async fn a_successor_knows_how_far_the_delay_levels_are_delivered() {
    let (old, new) = (Replica::new(), Replica::new());
    old.metadata.become_master(1).await.expect("running");
    new.metadata.follow(1).await.expect("running");
    old.metadata.offsets().delivered(3, 7);
    let has = new.sync(&old, NOTHING).await.expect("everything");
    old.metadata.offsets().commit("G", "T", 0, 5);
    old.metadata.publish_offsets();
    let (version, body) = old.metadata.newer_than(has).expect("one commit");
    assert_eq!(body.delays, None, "nothing was delivered meanwhile");
    new.metadata.replace(version, body).await.expect("taken");
    old.metadata.offsets().delivered(3, 8);
    old.metadata.offsets().delivered(3, 6);
    old.metadata.publish_offsets();
    new.sync(&old, version).await.expect("one delivery");
    assert_eq!(new.metadata.offsets().delays().get(3), 8, "what is late does not count");

    new.metadata.save_delays().await;
    let Replica { metadata, folder } = new;
    drop(metadata);
    let file = std::fs::read_to_string(folder.path().join("config/delayOffset.json")).expect("written");
    let want = r#"{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":0},"offsetTable":{"3":8}}"#;
    assert_eq!(file, want);
    let java = r#"{"dataVersion":{"counter":3,"stateVersion":1,"timestamp":9},"offsetTable":{1:35,3:12}}"#;
    std::fs::write(folder.path().join("config/delayOffset.json"), java).expect("as Java writes it");
    let again = Replica::on(folder);
    let table = again.metadata.offsets().delays().to_file();
    assert_eq!((table.data_version.counter, table.offset_table), (3, [(1, 35), (3, 12)].into()));
}

#[tokio::test]
async fn a_new_topic_counts_as_unsettled_until_the_slaves_have_it() {
    let master = Replica::new();
    master.metadata.become_master(1).await.expect("running");
    let applied = master.metadata.change(put("T")).await.expect("changed");
    let created = |it: &Replica| it.metadata.settings().topics.get("T").map(|it| it.created);
    assert_eq!(created(&master), Some(applied.version.settings));
    assert!(!master.metadata.is_settled(applied.version.settings));
    master.metadata.set_settled(applied.version.settings);
    assert!(master.metadata.is_settled(applied.version.settings));
    let unchanged = master.metadata.change(put("T")).await.expect("nothing to do");
    assert_eq!((unchanged.touched.any(), unchanged.version), (false, applied.version));
}

#[tokio::test]
async fn a_topic_that_nobody_confirmed_is_not_settled_when_its_maker_is_elected_again() {
    let (replica, other) = (Replica::new(), Replica::new());
    let is_settled = |topic: &str| {
        let created = replica.metadata.settings().topics.get(topic).map(|it| it.created);
        created.is_some_and(|it| replica.metadata.is_settled(it))
    };
    replica.metadata.become_master(1).await.expect("running");
    let confirmed = replica.metadata.change(put("Confirmed")).await.expect("changed");
    replica.metadata.set_settled(confirmed.version.settings);
    replica.metadata.change(put("T")).await.expect("applied here, and maybe here alone");
    replica.metadata.become_master(2).await.expect("running");
    assert_eq!([is_settled("Confirmed"), is_settled("T")], [true, false], "nobody else is known to have T");
    let waits_for = replica.metadata.change(Vec::new()).await.expect("what a send asks for").version;
    assert_eq!(waits_for.master_epoch, 2, "who has that has T");
    replica.metadata.set_settled(waits_for.settings);
    assert!(is_settled("T"));

    replica.metadata.change(put("U")).await.expect("applied here, and maybe here alone");
    assert!(!is_settled("U"));
    replica.metadata.follow(3).await.expect("running");
    other.metadata.become_master(3).await.expect("running");
    other.metadata.change(put("U")).await.expect("changed");
    replica.sync(&other, NOTHING).await.expect("everything");
    replica.metadata.become_master(4).await.expect("running");
    assert!(is_settled("U"), "it is another master's now");
}

#[tokio::test]
async fn a_change_that_a_new_master_finds_made_is_not_taken_for_settled() {
    let (old, new) = (Replica::new(), Replica::new());
    old.metadata.become_master(1).await.expect("running");
    new.metadata.follow(1).await.expect("running");
    old.metadata.change(put("T")).await.expect("applied there, and here alone");
    new.sync(&old, NOTHING).await.expect("everything");
    new.metadata.become_master(2).await.expect("running");
    let again = new.metadata.change(put("T")).await.expect("nothing to do");
    assert!(!again.touched.any() && !new.metadata.is_settled(again.version.settings), "others may lack it");
    let created = new.metadata.settings().topics.get("T").map(|it| it.created);
    assert!(created.is_some_and(|it| new.metadata.is_settled(it)), "sends do not wait for what was there before");
}
