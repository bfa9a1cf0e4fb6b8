//! Java consumers that fail: what they get again, after which delay level, and what becomes a dead letter.

use crate::java::Java;
use baton_tests::{Cluster, ClusterSpec, one_at_a_time, queries};
use std::time::Duration;

const JAVA_PATIENCE: Duration = Duration::from_secs(120);
/// Of each kind.
const COUNT: &str = "20";

/// Levels of a second: by RocketMQ's a message's third attempt alone comes after half a minute.
fn cluster() -> Cluster {
    let cluster = Cluster::start(ClusterSpec::default().broker_key("messageDelayLevel=1s 2s 1s 1s 1s 1s"));
    cluster.create_topic("orders", 2);
    cluster
}

/// Returns what the program said.
fn consume(java: &Java, cluster: &mut Cluster, kind: &str, fault: impl FnOnce(&mut Cluster)) -> String {
    let mut application = java.start("Redelivery.java", &[&cluster.nameserver_list(), "orders", kind, COUNT]);
    application.wait_for_output("FAILED 40", JAVA_PATIENCE);
    fault(cluster);
    application.wait_for_output("CONSUMED 60", JAVA_PATIENCE);
    application.wait_for_output("DEAD 20", JAVA_PATIENCE);
    let status = application.wait_for_end(JAVA_PATIENCE);
    let output = application.output();
    assert!(status.success(), "{status}:\n{output}");
    output
}

#[test]
fn a_java_consumer_gets_again_what_it_failed_and_then_it_is_a_dead_letter() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let mut cluster = cluster();
    let output = consume(&java, &mut cluster, "concurrent", |_| {});
    assert!(output.contains("at most 3 attempts"), "the first and two more:\n{output}");
}

/// An ordered consumer fails a message in place; its client then sends it to the retry topic, and the broker, because
/// the group holds queue locks, to the dead letters.
#[test]
fn an_orderly_java_consumer_gives_up_into_the_dead_letters() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    consume(&java, &mut cluster(), "orderly", |_| {});
}

/// What waits for its next attempt when the master dies comes from the next one.
#[test]
fn a_failed_message_of_a_java_consumer_outlives_the_master() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let mut cluster = cluster();
    let before = cluster.wait_whole();
    consume(&java, &mut cluster, "concurrent", |cluster| {
        let master = cluster.wait_master();
        cluster.brokers[master].kill();
        let after = cluster.wait_master_after(before.master_epoch);
        assert!(queries::knows_topic(&after.master_address, "%RETRY%redelivery-concurrent"));
        cluster.brokers[master].start();
    });
}
