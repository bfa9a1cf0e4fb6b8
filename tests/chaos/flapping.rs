//! A set whose master changes too often has to wait, and says so wherever somebody may look.

use baton_tests::{Cluster, ClusterSpec, PATIENCE, http, one_at_a_time, wait_for, wait_until};
use serde_json::Value;

#[test]
fn a_set_that_has_to_wait_says_so_in_status_metrics_history_and_explain() {
    let _turn = one_at_a_time();
    let mut spec = ClusterSpec::default();
    // The first automatic change is one too many.
    spec.controller_keys.push("maxAutomaticMasterChanges=1".to_owned());
    let mut cluster = Cluster::start(spec);
    let before = cluster.wait_whole();
    let leader = cluster.controllers[cluster.wait_leader()].address.clone();
    let set = || {
        let status = serde_json::from_str::<Value>(&http::get(&leader, "/status.json")?.1).ok()?;
        status["brokerSets"].as_array()?.iter().find(|it| it["brokerName"] == "broker-a").cloned()
    };
    assert_eq!(set().expect("the set")["electionsWaitMs"], Value::Null);

    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    cluster.wait_master_after(before.master_epoch);
    let waits = wait_for("the set waits", PATIENCE, || set()?["electionsWaitMs"].as_u64());
    assert!((1..=10_000).contains(&waits), "{waits} ms");
    let metrics = http::get(&leader, "/metrics").expect("metrics").1;
    let flapping = metrics.lines().find(|it| it.starts_with("baton_broker_sets_flapping{")).expect("the gauge");
    assert!(flapping.ends_with(" 1.0") || flapping.ends_with(" 1"), "{flapping}");

    wait_until("the history says so", PATIENCE, || {
        // One of many looks may fail.
        let told = cluster.mqadmin(&["history", "-b", "broker-a"]).stdout;
        let refused = "election refused: the master changed 1 times: elections that nobody chose wait";
        String::from_utf8_lossy(&told).contains(refused)
    });
    let told = cluster.mqadmin_says(&["explain", "-b", "broker-a"]);
    assert!(told.contains("The master changed too often: automatic elections wait for"), "{told}");
    wait_until("the wait ends", PATIENCE, || set().is_some_and(|it| it["electionsWaitMs"].is_null()));
}
