//! Topics and consumer offsets on the successor (S13).

use baton_tests::{Cluster, ClusterSpec, PATIENCE, one_at_a_time, queries, wait_for, wait_until};
use std::time::Duration;

#[test]
fn a_topic_created_just_before_the_kill_is_on_the_successor() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    for round in 0..3 {
        let before = cluster.wait_whole();
        let master = cluster.wait_master();
        let topic = format!("created-in-round-{round}");
        let answer = queries::create_topic(&cluster.brokers[master].address, &topic, 3).expect("the master answers");
        cluster.brokers[master].kill();
        assert_eq!(answer.code, queries::OK, "{:?}", answer.remark);
        let after = cluster.wait_master_after(before.master_epoch);
        // Topics are not created by sending here (autoCreateTopicEnable=false): only a known one is accepted.
        let sent = wait_for("the successor accepts a send to the topic", PATIENCE, || {
            let request = queries::send_request(&topic, 2, "first");
            let answer = baton_tests::wire::call(&after.master_address, request, Duration::from_secs(5)).ok()?;
            (answer.code != 14).then_some(answer)
        });
        assert_eq!(sent.code, queries::OK, "{:?}", sent.remark);
        wait_for("the nameserver routes the topic to the successor", PATIENCE, || {
            queries::master_address(cluster.nameserver(), &topic, "broker-a").filter(|it| *it == after.master_address)
        });
        cluster.brokers[master].start();
    }
}

/// A set that may acknowledge nothing takes no topic either; one that becomes so small meanwhile says that it has it.
#[test]
fn a_set_below_its_minimum_creates_no_topic_and_says_truly_what_it_did() {
    const SYSTEM_ERROR: i32 = 1;
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default().broker_key("minInSyncReplicas=2"));
    cluster.create_topic("orders", 1);
    let master = cluster.wait_master();
    let address = cluster.brokers[master].address.clone();
    let slaves: Vec<_> = (0..3).filter(|it| *it != master).collect();
    slaves.iter().for_each(|it| cluster.brokers[*it].kill());
    let refusal = |topic: &str| {
        let answer = queries::create_topic(&address, topic, 1).expect("the master answers");
        assert_eq!(answer.code, SYSTEM_ERROR, "{answer:?}");
        answer.remark.unwrap_or_default()
    };

    // The slaves still count when this one is asked for, or count no more: both are answered as they are.
    let said = refusal("early");
    assert!(queries::knows_topic(&address, "orders"), "the master says which topics it has");
    assert_eq!(said.starts_with("applied here, but "), queries::knows_topic(&address, "early"), "{said}");
    wait_until("the master knows that its set is too small", PATIENCE, || {
        let sent = baton_tests::wire::call(&address, queries::send_request("orders", 0, "x"), Duration::from_secs(5));
        sent.is_ok_and(|it| it.remark.unwrap_or_default().contains("in-sync replicas not enough"))
    });
    assert_eq!(refusal("late"), "in-sync replicas not enough: 1 of 2");
    assert!(!queries::knows_topic(&address, "late"), "what was refused is not there");

    cluster.brokers[slaves[0]].start();
    cluster.wait_whole();
    ["early", "late"].iter().for_each(|it| cluster.create_topic_everywhere(it, 1));
}

/// Consumer offsets follow within 100 ms; what was committed earlier than that is kept.
#[test]
fn offsets_committed_shortly_before_the_kill_are_kept() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let master = cluster.wait_master();
    let address = cluster.brokers[master].address.clone();
    for i in 0..20 {
        let request = queries::send_request("orders", 1, format!("message {i}"));
        let answer = baton_tests::wire::call(&address, request, Duration::from_secs(5)).expect("the master answers");
        assert_eq!(answer.code, queries::OK, "{:?}", answer.remark);
    }
    let before = cluster.wait_whole();
    cluster.create_group("billing");
    let answer = queries::commit_offset(&address, "billing", "orders", 1, 17).expect("the master answers");
    assert_eq!(answer.code, queries::OK, "{:?}", answer.remark);
    // The promise itself is a time: 100 ms, and as much again for a loaded machine.
    std::thread::sleep(Duration::from_millis(200));
    cluster.brokers[master].kill();
    let after = cluster.wait_master_after(before.master_epoch);
    let kept = wait_for("the successor answers for offsets", PATIENCE, || {
        queries::committed_offset(&after.master_address, "billing", "orders", 1)
    });
    assert_eq!(kept, 17);
}
