//! Mastership returns to the preferred replica by itself, as a planned change (S10).

use baton_tests::{Cluster, ClusterSpec, Load, PATIENCE, one_at_a_time, wait_until};
use std::sync::atomic::Ordering::Relaxed;

/// All on one host and of one priority: the smallest id is preferred.
#[test]
fn mastership_returns_to_the_preferred_replica_without_loss_or_a_failed_send() {
    let _turn = one_at_a_time();
    let mut spec = ClusterSpec::default();
    spec.controller_keys.extend(["enablePreferredMaster=true", "preferredMasterDelayMills=500"].map(str::to_owned));
    let mut cluster = Cluster::start(spec);
    cluster.create_topic("orders", 2);
    let leads = |cluster: &Cluster, id: i64| cluster.replicas().is_some_and(|it| it.master_id == id);
    let preferred = *cluster.wait_whole().addresses.keys().next().expect("replicas");
    wait_until("the first replica becomes master", PATIENCE, || leads(&cluster, preferred));
    let before = cluster.wait_whole();

    let load = Load::with_our_client(cluster.nameserver(), "orders", 2);
    load.wait_progress(20);
    let old = cluster.broker_at(&before.master_address).expect("one of ours");
    cluster.brokers[old].kill();
    let without = cluster.wait_master_after(before.master_epoch);
    assert_ne!(without.master_id, preferred);
    load.wait_progress(20);
    cluster.brokers[old].start();
    wait_until("mastership returns", PATIENCE, || leads(&cluster, preferred));
    load.wait_progress(20);
    let after = cluster.wait_whole();
    assert_eq!((after.master_id, after.master_epoch), (preferred, without.master_epoch + 1), "one move, one epoch");
    assert_eq!(load.failed.load(Relaxed), 0, "sends reported as failed; see the producers' output");
    load.stop().check(cluster.nameserver());

    let history = cluster.mqadmin_says(&["history", "-b", "broker-a"]);
    let told = format!("master {} -> {preferred}, epoch {}", without.master_id, after.master_epoch);
    let line = history.lines().find(|it| it.contains(&told)).unwrap_or_else(|| panic!("{told}: {history}"));
    assert!(line.contains("returned to the preferred replica"), "{line}");
}
