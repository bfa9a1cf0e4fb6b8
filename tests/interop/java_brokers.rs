//! RocketMQ's own brokers under our controllers and our nameserver: what an operator has who replaced the controllers
//! only.

use baton_tests::java::{JAVA_KEYS, JAVA_PATIENCE, Java};
use baton_tests::{Cluster, ClusterSpec, Load, SECOND, one_at_a_time};
use std::collections::BTreeMap;

/// A spec whose brokers may be Java's.
pub fn spec(brokers: usize) -> ClusterSpec {
    let spec = ClusterSpec { brokers, ..ClusterSpec::default() };
    JAVA_KEYS.iter().fold(spec, |spec, key| spec.broker_key(key))
}

fn java_set(java: &Java) -> Cluster {
    let mut cluster = Cluster::prepare(&spec(3));
    cluster.brokers.iter_mut().for_each(|it| java.takes_over(it));
    cluster.launch_all();
    cluster.wait_whole();
    cluster
}

fn ids(cluster: &Cluster) -> BTreeMap<i64, String> {
    cluster.wait_whole().addresses
}

#[test]
fn a_java_set_grows_shrinks_and_outlives_its_master_and_our_leader() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let mut cluster = java_set(&java);
    let ids_at_first = ids(&cluster);
    cluster.create_topic_everywhere("orders", 3);
    let load = Load::start(cluster.nameserver(), "orders", 3);
    load.wait_progress(50);

    let slave = (cluster.wait_master() + 1) % 3;
    cluster.brokers[slave].kill();
    assert_eq!(cluster.wait_whole().in_sync.len(), 2);
    load.wait_progress(50);
    cluster.brokers[slave].start();
    assert_eq!(ids(&cluster), ids_at_first, "a restarted Java broker keeps its id");
    load.wait_progress(50);

    let leader = cluster.wait_leader();
    cluster.controllers[leader].kill();
    let master = cluster.wait_master();
    let before = cluster.replicas().expect("the new leader knows the set");
    load.wait_progress(50);
    cluster.brokers[master].kill();
    let after = cluster.wait_master_after(before.master_epoch);
    assert!(before.in_sync.contains(&after.master_id), "{after:?} was not in sync: {before:?}");
    cluster.controllers[leader].start();
    load.wait_progress(50);
    cluster.brokers[master].start();
    assert_eq!(ids(&cluster), ids_at_first, "the old master keeps its id");
    load.wait_progress(50);

    let account = load.stop().check(cluster.nameserver());
    assert!(account.acknowledged > 0, "{account:?}");
    cluster.assert_one_log();
}

#[test]
fn a_java_set_lives_through_a_rolling_restart_of_our_controllers() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let mut cluster = java_set(&java);
    let before = cluster.wait_whole();
    cluster.create_topic_everywhere("orders", 2);
    let load = Load::start(cluster.nameserver(), "orders", 2);
    for controller in 0..3 {
        cluster.controllers[controller].stop();
        cluster.wait_leader();
        load.wait_progress(50);
        cluster.controllers[controller].start();
        cluster.wait_leader();
    }
    // Long enough for brokers' polls and heartbeats to reach each new leader.
    for _ in 0..3 {
        load.wait_progress(50);
        std::thread::sleep(SECOND);
    }
    let after = cluster.wait_whole();
    assert_eq!(
        (after.master_id, after.master_epoch),
        (before.master_id, before.master_epoch),
        "nobody had to be elected"
    );
    assert_eq!(after.addresses, before.addresses);
    let history = load.stop();

    // All brokers at once, without a word: the same ids, a master again, every message.
    cluster.brokers.iter_mut().for_each(|it| it.kill());
    cluster.brokers.iter_mut().for_each(|it| it.launch());
    cluster.brokers.iter_mut().for_each(|it| it.process().wait_for_output("The broker[", JAVA_PATIENCE));
    assert_eq!(ids(&cluster), before.addresses);
    history.check(cluster.nameserver());
}
