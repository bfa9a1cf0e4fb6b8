//! The controllers' leader is killed, alone or together with the master.

use baton_tests::commands::{Commands, wait_same};
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

/// One of three is killed over and over while commands flow, and snapshots are taken and installed all the time.
#[test]
fn a_controller_killed_again_and_again_loses_no_acknowledged_command() {
    let _turn = one_at_a_time();
    let keys = vec!["snapshotEntries=40".to_owned()];
    let spec = ClusterSpec { brokers: 0, nameservers: 0, controller_keys: keys, ..ClusterSpec::default() };
    let mut cluster = Cluster::prepare(&spec);
    cluster.launch_all();
    cluster.wait_leader();
    let addresses = cluster.controllers.iter().map(|it| it.address.clone()).collect::<Vec<_>>();
    let commands = Commands::start(addresses.clone());
    let victim = 1;
    for round in 0..12 {
        commands.wait_progress(30);
        if round % 3 == 2 {
            // Whoever leads now: usually not the one that was just started.
            let (leader, name) = (cluster.wait_leader(), &cluster.controllers[victim].name);
            if leader != victim {
                cluster.mqadmin_says(&["transferLeadership", "-i", name.trim_start_matches("controller-")]);
            }
        }
        cluster.controllers[victim].kill();
        commands.wait_progress(60);
        cluster.controllers[victim].start();
    }
    commands.wait_progress(30);
    let acknowledged = commands.stop();
    let all = addresses.iter().map(String::as_str).collect::<Vec<_>>();
    wait_same(&all, &acknowledged);
    // All of it was on disk.
    cluster.controllers.iter_mut().for_each(|it| it.kill());
    cluster.controllers.iter_mut().for_each(|it| it.start());
    wait_same(&all, &acknowledged);
    let output = std::fs::read_to_string(cluster.controllers[0].folder.join("output.log")).expect("it wrote");
    let taken = output.matches("snapshot taken").count();
    assert!(taken >= 3, "only {taken} snapshots");
    println!("{} acknowledged commands, {taken} snapshots by one controller", acknowledged.len());
}
