//! A Java push consumer whose queues are spread over the replicas (`slaveReadSpread`).

use baton_tests::java::Java;
use baton_tests::{Cluster, ClusterSpec, PATIENCE, http, one_at_a_time, queries, wait_until, wire};
use std::ops::Range;
use std::time::Duration;

/// A Java client polls its route each 30 s, which is how long it may look for a dead slave.
const JAVA_PATIENCE: Duration = Duration::from_secs(120);
const QUEUES: i32 = 8;

/// Messages that a broker has handed to consumers.
fn served(cluster: &Cluster, broker: usize) -> u64 {
    let (_, text) = http::get(&cluster.brokers[broker].address, "/status.json").unwrap_or_default();
    let status: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    status["gotMessages"].as_u64().unwrap_or(0)
}

/// One message after the other to the master, each until it is acknowledged.
fn send(cluster: &Cluster, numbers: Range<i32>) {
    for number in numbers {
        wait_until("a message is acknowledged", JAVA_PATIENCE, || {
            let Some(master) = cluster.master() else { return false };
            let request = queries::send_request("orders", number % QUEUES, format!("message {number}"));
            wire::call(&cluster.brokers[master].address, request, PATIENCE).is_ok_and(|it| it.code == queries::OK)
        });
    }
}

#[test]
fn a_java_push_consumer_reads_from_every_replica_and_outlives_a_slave() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let spec = ClusterSpec::default().broker_key("slaveReadEnable=true").broker_key("slaveReadSpread=true");
    let mut cluster = Cluster::start(spec);
    cluster.create_topic("orders", QUEUES);
    cluster.wait_whole();
    let mut application = java.start("PushConsumer.java", &[&cluster.nameserver_list(), "orders", "400"]);
    application.wait_for_output("LISTENING", JAVA_PATIENCE);
    send(&cluster, 0..100);
    application.wait_for_output("GOT 100", JAVA_PATIENCE);
    // Each queue's first answer says where its next one is.
    send(&cluster, 100..200);
    application.wait_for_output("GOT 200", JAVA_PATIENCE);
    let master = cluster.wait_master();
    wait_until("every replica has served some of it", PATIENCE, || (0..3).all(|it| served(&cluster, it) > 0));
    let slave = (master + 1) % 3;
    cluster.brokers[slave].kill();
    send(&cluster, 200..300);
    cluster.brokers[slave].start();
    send(&cluster, 300..400);
    let status = application.wait_for_end(JAVA_PATIENCE);
    assert!(status.success(), "{status}:\n{}", application.output());
}
