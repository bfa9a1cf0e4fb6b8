//! Java applications that live through a failover.

use baton_tests::java::Java;
use baton_tests::{Cluster, ClusterSpec, one_at_a_time, queries, wait_until};
use std::time::Duration;

/// A Java client polls its route each 30 s, which is how long its default gap may be.
const JAVA_PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_java_client_creates_sends_pulls_and_lists_through_a_failover() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let mut cluster = Cluster::start(ClusterSpec::default());
    let before = cluster.wait_whole();
    let mut application = java.start("Failover.java", &[&cluster.nameserver_list(), "orders", "200", "400"]);
    application.wait_for_output("READY 200", JAVA_PATIENCE);
    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    cluster.wait_master_after(before.master_epoch);
    cluster.brokers[master].start();
    application.wait_for_output("SENT 600", JAVA_PATIENCE);
    let status = application.wait_for_end(JAVA_PATIENCE);
    let output = application.output();
    assert!(status.success(), "{status}:\n{output}");
    for line in
        ["PULLED everything: lite pull consumer", "PULLED everything: pull consumer", "LISTED 3 replicas", "DONE"]
    {
        assert!(output.contains(line), "want `{line}`:\n{output}");
    }
    println!("{output}");
}

/// Group membership, queue assignment, long polling and committed offsets, as most applications use them.
#[test]
fn a_java_push_consumer_goes_on_after_a_failover() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let spec = ClusterSpec::default().broker_key("autoCreateTopicEnable=true");
    let mut cluster = Cluster::start(spec);
    cluster.create_topic("orders", 2);
    let before = cluster.wait_whole();
    let mut application = java.start("PushConsumer.java", &[&cluster.nameserver_list(), "orders", "400"]);
    application.wait_for_output("LISTENING", JAVA_PATIENCE);
    send(&cluster, 0..200);
    application.wait_for_output("GOT 200", JAVA_PATIENCE);
    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    cluster.wait_master_after(before.master_epoch);
    send(&cluster, 200..400);
    let status = application.wait_for_end(JAVA_PATIENCE);
    assert!(status.success(), "{status}:\n{}", application.output());
}

/// One message after the other to the master, each until it is acknowledged.
fn send(cluster: &Cluster, numbers: std::ops::Range<i32>) {
    for number in numbers {
        wait_until("a message is acknowledged", JAVA_PATIENCE, || {
            let Some(master) = cluster.master() else { return false };
            let request = queries::send_request("orders", number % 2, format!("message {number}"));
            let answer = baton_tests::wire::call(&cluster.brokers[master].address, request, Duration::from_secs(5));
            answer.is_ok_and(|it| it.code == queries::OK)
        });
    }
}
