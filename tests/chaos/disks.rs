//! Disks that are full, fail or are slow, and clocks that are set, of one process each, under load.

use baton_tests::cluster::Node;
use baton_tests::interposed::Disk;
use baton_tests::queries::Replicas;
use baton_tests::{Cluster, ClusterSpec, Load, PATIENCE, one_at_a_time, wait_until};

/// Three replicas and two producers, every process's clock and disk ready to be bent.
fn loaded() -> (Cluster, Load, Replicas) {
    let mut cluster = Cluster::prepare(&ClusterSpec::default());
    cluster.nodes_mut().for_each(Node::interpose);
    cluster.launch_all();
    let before = cluster.wait_whole();
    cluster.create_topic("orders", 2);
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(50);
    (cluster, load, before)
}

/// Everything acknowledged is there, and the same everywhere.
#[track_caller]
fn judge(cluster: &Cluster, load: Load) {
    cluster.wait_whole();
    load.wait_progress(50);
    load.stop().check(cluster.nameserver());
    cluster.assert_one_log();
}

#[track_caller]
fn wait_said(node: &Node, text: &str) {
    wait_until(text, PATIENCE, || node.output().contains(text));
}

/// The kernel may have dropped what it could not write: only a new process may count what is on the disk (S11, S14).
#[test]
fn a_master_whose_disk_fails_is_replaced_and_is_not_believed_before_it_starts_anew() {
    let _turn = one_at_a_time();
    let (mut cluster, load, before) = loaded();
    let old = cluster.wait_master();
    cluster.brokers[old].interposed().set_disk(Disk::Fails);
    let after = cluster.wait_master_after(before.master_epoch);
    assert_ne!(after.master_address, cluster.brokers[old].address);
    load.wait_progress(50);
    wait_said(&cluster.brokers[old], "store failed; no appends until a restart");

    cluster.brokers[old].interposed().set_disk(Disk::Works);
    load.wait_progress(500);
    let still = cluster.replicas().expect("a set");
    assert!(!still.in_sync.contains(&before.master_id), "its disk works, its log does not: {still:?}");
    cluster.brokers[old].kill();
    cluster.brokers[old].start();
    judge(&cluster, load);
}

#[test]
fn a_slave_whose_disk_fails_leaves_the_set_and_returns_when_it_starts_anew() {
    let _turn = one_at_a_time();
    let (mut cluster, load, before) = loaded();
    let slave = (cluster.wait_master() + 1) % 3;
    cluster.brokers[slave].interposed().set_disk(Disk::Fails);
    wait_until("the set goes on without it", PATIENCE, || cluster.replicas().is_some_and(|it| it.in_sync.len() == 2));
    load.wait_progress(50);
    cluster.brokers[slave].kill();
    cluster.brokers[slave].interposed().set_disk(Disk::Works);
    cluster.brokers[slave].start();
    assert_eq!(cluster.wait_whole().master_epoch, before.master_epoch, "a slave's disk changes no master");
    judge(&cluster, load);
}

/// By itself, as soon as there is room.
#[test]
fn a_full_disk_of_master_or_slave_loses_nothing_and_heals() {
    let _turn = one_at_a_time();
    let (cluster, load, _) = loaded();
    let master = cluster.wait_master();
    for broker in [(master + 1) % 3, master] {
        cluster.brokers[broker].interposed().set_disk(Disk::Full);
        let struck = cluster.brokers[broker].interposed().struck();
        wait_until("it wants room", PATIENCE, || cluster.brokers[broker].interposed().struck() > struck + 5);
        cluster.brokers[broker].interposed().set_disk(Disk::Works);
        cluster.wait_whole();
        load.wait_progress(50);
    }
    judge(&cluster, load);
}

#[test]
fn a_controller_leader_whose_disk_fails_is_replaced_and_changes_no_master() {
    let _turn = one_at_a_time();
    for disk in [Disk::Fails, Disk::Full] {
        let (mut cluster, load, before) = loaded();
        let leader = cluster.wait_leader();
        cluster.controllers[leader].interposed().set_disk(disk);
        // Something to write: a slave goes and comes.
        let slave = (cluster.wait_master() + 1) % 3;
        cluster.brokers[slave].kill();
        wait_until("another leads and has the set shrink", PATIENCE, || {
            cluster.leader().is_some_and(|it| it != leader)
                && cluster.replicas().is_some_and(|it| it.in_sync.len() == 2)
        });
        load.wait_progress(50);
        cluster.brokers[slave].start();
        cluster.controllers[leader].kill();
        cluster.controllers[leader].interposed().set_disk(Disk::Works);
        cluster.controllers[leader].start();
        assert_eq!(cluster.wait_whole().master_epoch, before.master_epoch);
        judge(&cluster, load);
    }
}

/// Deadlines, leases and timeouts go by the monotonic clock.
#[test]
fn a_wall_clock_that_is_set_changes_nothing() {
    let _turn = one_at_a_time();
    let (mut cluster, load, before) = loaded();
    let hour = 3_600_000;
    let (master, leader) = (cluster.wait_master(), cluster.wait_leader());
    let names = [
        cluster.brokers[master].name.clone(),
        cluster.controllers[leader].name.clone(),
        cluster.brokers[(master + 1) % 3].name.clone(),
    ];
    for (name, by) in names.iter().flat_map(|name| [(name, 3 * hour), (name, -3 * hour), (name, 0)]) {
        let node = cluster.nodes_mut().find(|it| it.name == *name).expect("a node of the cluster");
        node.interposed().set_clock(by);
        load.wait_progress(300);
    }
    let after = cluster.wait_whole();
    assert_eq!((after.master_epoch, cluster.leader()), (before.master_epoch, Some(leader)), "nobody was replaced");
    judge(&cluster, load);
}
