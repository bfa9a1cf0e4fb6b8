//! `kill -9` of the master under load, again and again.

use baton_tests::{Cluster, ClusterSpec, Load, SECOND, one_at_a_time, queries, wait_until};
use std::collections::BTreeSet;

/// The killed one comes back as a slave between rounds, so that each round starts with a whole set.
#[test]
fn thirty_masters_killed_in_a_row_lose_nothing_acknowledged() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 4);
    let load = Load::start(cluster.nameserver(), "orders", 4);
    let mut masters = BTreeSet::new();
    for round in 1..=30 {
        let before = cluster.wait_whole();
        load.wait_progress(20);
        let master = cluster.wait_master();
        masters.insert(master);
        cluster.brokers[master].kill();
        let after = cluster.wait_master_after(before.master_epoch);
        assert_ne!(after.master_id, before.master_id, "round {round}: a dead replica was elected");
        assert_eq!(after.master_epoch, before.master_epoch + 1, "round {round}: one election, one epoch (S1)");
        load.wait_progress(5);
        cluster.brokers[master].start();
    }
    cluster.wait_whole();
    let history = load.stop();
    let account = history.check(cluster.nameserver());
    println!("30 rounds: {account:?}, longest gap between two acknowledgements {:?}", history.longest_gap());
    assert!(masters.len() > 1, "mastership must have moved");
    cluster.assert_one_log();
}

/// A single failover in detail: who is master, what the nameserver says, and where the old one ends up.
#[test]
fn a_killed_master_returns_as_a_slave_of_its_successor() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let before = cluster.wait_whole();
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(50);
    let old = cluster.wait_master();
    cluster.brokers[old].kill();
    let after = cluster.wait_master_after(before.master_epoch);
    // S7: the other live member stays in the set, so a failover does not silently leave one copy.
    assert!(after.in_sync.len() >= 2, "the successor began with {:?} in its set", after.in_sync);
    load.wait_progress(50);
    cluster.brokers[old].start();
    let whole = cluster.wait_whole();
    assert_eq!(whole.master_epoch, after.master_epoch, "a returning replica changes no master");
    assert_eq!(whole.master_id, after.master_id);
    wait_until("the nameserver shows one master and two slaves", 30 * SECOND, || {
        let route = queries::route(cluster.nameserver(), "orders", "broker-a").unwrap_or_default();
        route.len() == 3
            && route.get(&0) == Some(&after.master_address)
            && route.values().any(|it| *it == cluster.brokers[old].address)
    });
    load.stop().check(cluster.nameserver());
    cluster.assert_one_history();
}

/// Our own client follows by itself: its callers see slow sends, never failed ones.
#[test]
fn our_clients_sends_do_not_fail_while_masters_are_killed() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 3);
    let load = Load::with_our_client(cluster.nameserver(), "orders", 3);
    for _ in 0..5 {
        let before = cluster.wait_whole();
        load.wait_progress(50);
        let master = cluster.wait_master();
        cluster.brokers[master].kill();
        cluster.wait_master_after(before.master_epoch);
        load.wait_progress(50);
        cluster.brokers[master].start();
    }
    let failed = load.failed.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(failed, 0, "sends reported as failed; see the producers' output");
    let history = load.stop();
    let account = history.check(cluster.nameserver());
    println!("5 kills: {account:?}, longest gap between two acknowledgements {:?}", history.longest_gap());
}
