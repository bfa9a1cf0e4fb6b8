//! What the controllers can tell afterwards.

use baton_tests::{Cluster, ClusterSpec, SECOND, one_at_a_time, wait_until};

#[test]
fn mqadmin_explains_why_the_master_changed() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    let before = cluster.wait_whole();
    let old = cluster.wait_master();
    cluster.brokers[old].kill();
    let after = cluster.wait_master_after(before.master_epoch);
    let mqadmin = |command: &str| cluster.mqadmin_says(&[command, "-b", "broker-a"]);
    let (lost, won, epoch) = (before.master_id, after.master_id, after.master_epoch);
    // The last phase is known when the new master has sent a heartbeat.
    wait_until("the new master's first heartbeat is in the history", 30 * SECOND, || {
        mqadmin("explain").contains("acting +")
    });
    let told = mqadmin("explain");
    for part in [
        format!("has broker {won} ({}) as master at epoch {epoch}", after.master_address),
        format!("because the process of broker {lost} was gone"),
        format!("Broker {lost}: the old master."),
        format!("broker {lost} is gone (its address refuses connections)"),
    ] {
        assert!(told.contains(&part), "{part}: {told}");
    }
    let history = mqadmin("history");
    assert!(history.contains(&format!("master {lost} -> {won}, epoch {epoch}")), "{history}");
    println!("{told}{history}");
}
