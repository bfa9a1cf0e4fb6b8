//! The controllers' leader is killed, alone or together with the master.

use baton_tests::{Cluster, ClusterSpec, Load, one_at_a_time};

/// Brokers need no controller to go on acknowledging (S8).
#[test]
fn a_killed_controller_leader_changes_no_master() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let before = cluster.wait_whole();
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(20);
    let leader = cluster.wait_leader();
    cluster.controllers[leader].kill();
    load.wait_progress(20);
    let successor = cluster.wait_leader();
    assert_ne!(successor, leader);
    let after = cluster.wait_whole();
    assert_eq!((after.master_id, after.master_epoch), (before.master_id, before.master_epoch));
    cluster.controllers[leader].start();
    load.wait_progress(20);
    load.stop().check(cluster.nameserver());
}

#[test]
fn without_any_controller_the_set_goes_on_acknowledging() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let before = cluster.wait_whole();
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(20);
    cluster.controllers.iter_mut().for_each(|it| it.kill());
    load.wait_progress(200);
    cluster.controllers.iter_mut().for_each(|it| it.launch());
    cluster.controllers.iter_mut().for_each(|it| it.wait_booted());
    let after = cluster.wait_whole();
    assert_eq!((after.master_id, after.master_epoch), (before.master_id, before.master_epoch));
    load.wait_progress(20);
    load.stop().check(cluster.nameserver());
}

#[test]
fn controller_leader_and_master_killed_together_lose_nothing_acknowledged() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let load = Load::start(cluster.nameserver(), "orders", 2);
    for _ in 0..3 {
        let before = cluster.wait_whole();
        load.wait_progress(20);
        let (leader, master) = (cluster.wait_leader(), cluster.wait_master());
        cluster.controllers[leader].kill();
        cluster.brokers[master].kill();
        let after = cluster.wait_master_after(before.master_epoch);
        assert_ne!(after.master_id, before.master_id);
        load.wait_progress(20);
        cluster.controllers[leader].start();
        cluster.brokers[master].start();
    }
    cluster.wait_whole();
    load.stop().check(cluster.nameserver());
}
