//! The same failover, whatever form the controllers are deployed in.

use baton_tests::{Cluster, ClusterSpec, ControllerForm, Load, one_at_a_time};

#[test]
fn controllers_in_nameservers_replace_a_killed_master() {
    fail_over(ControllerForm::InNameservers);
}

#[test]
fn controllers_with_jraft_files_replace_a_killed_master() {
    fail_over(ControllerForm::JRaftFiles);
}

/// Master killed, then the controllers' leader (in the first form with the nameserver around it), then both are back.
fn fail_over(form: ControllerForm) {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::of(form));
    assert!(
        cluster.controllers.iter().all(|it| !it.output().contains("unknown key")),
        "a key of the file was not known"
    );
    cluster.create_topic("orders", 2);
    let before = cluster.wait_whole();
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(20);
    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    let after = cluster.wait_master_after(before.master_epoch);
    assert_ne!(after.master_id, before.master_id);
    load.wait_progress(20);
    cluster.brokers[master].start();
    cluster.wait_whole();

    let leader = cluster.wait_leader();
    cluster.controllers[leader].kill();
    load.wait_progress(20);
    assert_ne!(cluster.wait_leader(), leader);
    cluster.controllers[leader].start();
    let whole = cluster.wait_whole();
    assert_eq!((whole.master_id, whole.master_epoch), (after.master_id, after.master_epoch));
    load.stop().check(cluster.nameserver());
}
