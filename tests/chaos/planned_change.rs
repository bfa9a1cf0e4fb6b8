//! Planned changes of master under load (S10): nothing is lost and no send of our client fails.

use baton_tests::{Cluster, ClusterSpec, Load, PATIENCE, SECOND, one_at_a_time, queries, wait_until, wire};
use std::sync::atomic::Ordering::Relaxed;

#[track_caller]
fn is_refused(cluster: &Cluster, args: &[&str], why: &str) {
    let output = cluster.mqadmin(args);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && failed.contains(why), "mqadmin {args:?}: {failed}");
}

fn twenty_switchovers(spec: ClusterSpec) {
    let _turn = one_at_a_time();
    let cluster = Cluster::start(spec);
    cluster.create_topic("orders", 3);
    let load = Load::with_our_client(cluster.nameserver(), "orders", 3);
    for round in 1..=20 {
        let before = cluster.wait_whole();
        load.wait_progress(10);
        let said = cluster.mqadmin_says(&["switchover", "-b", "broker-a"]);
        let after = cluster.wait_master_after(before.master_epoch);
        assert_eq!(after.master_epoch, before.master_epoch + 1, "round {round}: one change, one epoch: {said}");
        assert_ne!(after.master_id, before.master_id, "round {round}: {said}");
        load.wait_progress(10);
    }
    assert_eq!(load.failed.load(Relaxed), 0, "sends reported as failed; see the producers' output");
    let history = load.stop();
    let account = history.check(cluster.nameserver());
    println!("20 switchovers: {account:?}, longest gap between two acknowledgements {:?}", history.longest_gap());
}

#[test]
fn twenty_switchovers_lose_nothing_and_fail_no_send() {
    twenty_switchovers(ClusterSpec::default());
}

/// The relaxed profile: one copy of three is enough for an acknowledgement, so only the drain keeps messages.
#[test]
fn twenty_switchovers_lose_nothing_that_a_single_copy_acknowledged() {
    twenty_switchovers(ClusterSpec::default().broker_key("allAckInSyncStateSet=false").broker_key("inSyncReplicas=1"));
}

/// Controlled shutdown: each broker in turn is told to end, and started again.
#[test]
fn a_rolling_restart_loses_nothing_and_fails_no_send() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 3);
    let load = Load::with_our_client(cluster.nameserver(), "orders", 3);
    for broker in 0..cluster.brokers.len() {
        let before = cluster.wait_whole();
        load.wait_progress(10);
        let was_master = cluster.wait_master() == broker;
        assert!(cluster.brokers[broker].stop().success());
        let after = cluster.replicas().expect("the controllers answer");
        let changes = i32::from(was_master);
        assert_eq!(after.master_epoch, before.master_epoch + changes, "a planned change is one epoch");
        load.wait_progress(10);
        cluster.brokers[broker].start();
    }
    cluster.wait_whole();
    assert_eq!(load.failed.load(Relaxed), 0, "sends reported as failed; see the producers' output");
    let history = load.stop();
    let account = history.check(cluster.nameserver());
    println!("rolling restart: {account:?}, longest gap between two acknowledgements {:?}", history.longest_gap());
}

#[test]
fn a_drained_replica_is_kept_away_from_mastership_and_a_pause_from_elections() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default().broker_key("minInSyncReplicas=2"));
    cluster.create_topic("orders", 1);
    let first = cluster.wait_whole();
    let id = first.master_id.to_string();

    let plan = cluster.mqadmin_says(&["switchover", "-b", "broker-a", "--dry-run"]);
    assert!(plan.contains("dry run: nothing was changed"), "{plan}");
    assert_eq!(cluster.wait_whole().master_epoch, first.master_epoch);
    is_refused(&cluster, &["switchover", "-b", "broker-a", "-i", &id], "is its master already");
    is_refused(&cluster, &["switchover", "-b", "no-such-set"], "no broker set no-such-set");

    // The master of three is drained: another takes over; the next drain would leave one member of two.
    let said = cluster.mqadmin_says(&["drain", "--host", &first.master_address]);
    assert!(said.contains("drained;"), "{said}");
    let second = cluster.wait_whole();
    assert_ne!(second.master_id, first.master_id);
    let other = second.master_id.to_string();
    is_refused(&cluster, &["drain", "-b", "broker-a", "--broker", &other], "minInSyncReplicas is 2");
    is_refused(&cluster, &["switchover", "-b", "broker-a", "-i", &id], "is drained");
    cluster.mqadmin_says(&["undrain", "-b", "broker-a", "--broker", &id]);

    cluster.mqadmin_says(&["pause", "-b", "broker-a", "--for", "10m"]);
    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    // Long enough for any election that the pause did not stop; its absence is what is tested.
    std::thread::sleep(2 * SECOND);
    let paused = cluster.replicas().expect("the controllers answer");
    assert_eq!((paused.master_id, paused.master_epoch), (second.master_id, second.master_epoch));
    cluster.mqadmin_says(&["resume", "-b", "broker-a"]);
    wait_until("elected as soon as elections go on", PATIENCE, || {
        cluster.replicas().is_some_and(|it| it.master_epoch > second.master_epoch)
    });
    let history = cluster.mqadmin_says(&["history", "-b", "broker-a", "-m", "100"]);
    for ordered in [
        format!("replica {id} drained: an operator keeps mastership away from it"),
        format!("switchover refused: replica {id} of broker-a is drained"),
        format!("replica {id} not drained any more"),
        "an operator paused automatic elections until".to_owned(),
        "an operator ended the pause of automatic elections".to_owned(),
    ] {
        assert!(history.contains(&ordered), "{ordered}: {history}");
    }
}

/// The controller leader dies between drain and election: the master goes on by its own clock.
#[test]
fn a_drain_without_an_election_ends_by_itself() {
    let _turn = one_at_a_time();
    let cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let load = Load::with_our_client(cluster.nameserver(), "orders", 2);
    load.wait_progress(10);
    let before = cluster.wait_whole();
    let target = before.in_sync.iter().find(|it| **it != before.master_id).expect("a slave in the set");
    let hold = |epoch: i32, target: i64| {
        let request = proto::Command::request(31002)
            .with_ext("brokerName", "broker-a")
            .with_ext("masterEpoch", epoch)
            .with_ext("targetBrokerId", target)
            .with_ext("drainMills", 1_000)
            .with_ext("holdMills", 500);
        wire::call(&before.master_address, request, 5 * SECOND).expect("the master answers")
    };
    assert_ne!(hold(before.master_epoch - 1, *target).code, queries::OK, "of another epoch");
    assert_ne!(hold(before.master_epoch, 77).code, queries::OK, "for a replica that is not in the set");
    let held = hold(before.master_epoch, *target);
    assert_eq!(held.code, queries::OK, "{:?}", held.remark);
    let end = held.ext.get("endOffset").and_then(|it| it.parse::<i64>().ok()).expect("the log's end");
    let again = hold(before.master_epoch, *target);
    assert!(again.remark.is_some_and(|it| it.contains("another planned change is under way")));
    assert_eq!(queries::epochs(&before.master_address).map(|it| it.max_offset), Some(end), "nothing is appended");
    load.wait_progress(10);
    assert_eq!(cluster.wait_whole().master_epoch, before.master_epoch, "nobody was elected");
    assert_eq!(load.failed.load(Relaxed), 0, "sends reported as failed; see the producers' output");
    load.stop().check(cluster.nameserver());
}
