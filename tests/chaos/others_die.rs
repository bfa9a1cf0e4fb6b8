//! A slave, the nameserver, or everything at once.

use baton_tests::{Cluster, ClusterSpec, Load, one_at_a_time};

/// The death of a follower never changes the master (S14).
#[test]
fn a_killed_slave_leaves_the_set_and_comes_back() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let before = cluster.wait_whole();
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(20);
    let slave = (cluster.wait_master() + 1) % 3;
    cluster.brokers[slave].kill();
    load.wait_progress(20);
    let without = cluster.wait_whole();
    assert_eq!(without.in_sync.len(), 2);
    assert!(
        without.sync_state_set_epoch > before.sync_state_set_epoch,
        "the set changed through the controller only (S3)"
    );
    assert_eq!((without.master_id, without.master_epoch), (before.master_id, before.master_epoch));
    cluster.brokers[slave].start();
    let whole = cluster.wait_whole();
    assert_eq!((whole.master_id, whole.master_epoch), (before.master_id, before.master_epoch));
    load.stop().check(cluster.nameserver());
    cluster.assert_one_log();
}

/// S2: a restarted master is elected again at a new epoch, even where nobody else was.
#[test]
fn everything_killed_and_restarted_keeps_every_acknowledged_message() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let before = cluster.wait_whole();
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(100);
    for node in cluster.brokers.iter_mut().chain(&mut cluster.controllers).chain(&mut cluster.nameservers) {
        node.kill();
    }
    cluster.launch_all();
    // The controllers remember the set as it was; what counts is what becomes of it. No mastership is resumed (S2).
    cluster.wait_master_after(before.master_epoch);
    cluster.wait_whole();
    load.wait_progress(20);
    load.stop().check(cluster.nameserver());
    cluster.assert_one_log();
}

#[test]
fn everything_stopped_in_order_ends_cleanly_and_comes_back() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(50);
    let history = load.stop();
    for node in cluster.brokers.iter_mut().chain(&mut cluster.controllers).chain(&mut cluster.nameservers) {
        let name = node.name.clone();
        let status = node.stop();
        assert_eq!(status.code(), Some(0), "{name} after SIGTERM: {status}");
    }
    for broker in &cluster.brokers {
        assert!(!broker.store().join("abort").exists(), "{} was stopped in order but left its abort file", broker.name);
    }
    cluster.launch_all();
    cluster.wait_whole();
    history.check(cluster.nameserver());
}

/// Nameservers hold no state: brokers tell a fresh one everything.
#[test]
fn a_killed_nameserver_learns_its_routes_again() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(20);
    cluster.nameservers[0].kill();
    cluster.nameservers[0].start();
    load.wait_progress(20);
    let master = cluster.wait_master();
    baton_tests::wait_until("the route is complete again", 5 * baton_tests::SECOND, || {
        let route = baton_tests::queries::route(cluster.nameserver(), "orders", "broker-a").unwrap_or_default();
        route.len() == 3 && route.get(&0) == Some(&cluster.brokers[master].address)
    });
    load.stop().check(cluster.nameserver());
}
