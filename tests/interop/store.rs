//! A store directory that changes hands: Java's broker opens what ours has written, and the reverse.

use baton_tests::cluster::{BROKER_SET, Node};
use baton_tests::java::JAVA_KEYS;
use baton_tests::java::Java;
use baton_tests::process::binary;
use baton_tests::{Cluster, ClusterSpec, Load, PATIENCE, one_at_a_time, queries, wait_until};
use std::process::Command;

/// How one broker leaves the store to the next.
enum Leave {
    Stopped,
    Killed,
}

#[test]
fn each_broker_reads_everything_that_the_other_has_stored() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let spec = ClusterSpec { controllers: 0, brokers: 1, ..ClusterSpec::default() };
    let mut cluster = Cluster::prepare(&JAVA_KEYS.iter().fold(spec, |spec, key| spec.broker_key(key)));
    cluster.nameservers[0].start();
    cluster.brokers[0].start();
    let mut histories = Vec::new();
    let hands = [Leave::Stopped, Leave::Stopped, Leave::Killed, Leave::Killed];
    for (turn, leave) in hands.iter().enumerate() {
        let topic = format!("orders-{turn}");
        create_topic(&cluster, &topic);
        let load = Load::start(cluster.nameserver(), &topic, 3);
        load.wait_progress(1000);
        histories.push(load.stop());

        let broker = &mut cluster.brokers[0];
        match leave {
            Leave::Stopped => _ = broker.stop(),
            Leave::Killed => broker.kill(),
        }
        if turn % 2 == 0 {
            java.takes_over(broker)
        } else {
            ours_takes_over(broker)
        }
        broker.start();
        // Everything from the first message on, whoever wrote it.
        histories.iter().for_each(|it| _ = it.check(cluster.nameserver()));
    }
}

fn ours_takes_over(broker: &mut Node) {
    broker.run_with(|| Command::new(binary("mqbroker")));
}

fn create_topic(cluster: &Cluster, topic: &str) {
    wait_until("the broker creates a topic", PATIENCE, || {
        queries::create_topic(&cluster.brokers[0].address, topic, 3).is_ok_and(|it| it.code == queries::OK)
    });
    wait_until("the nameserver routes it", PATIENCE, || {
        queries::master_address(cluster.nameserver(), topic, BROKER_SET).is_some()
    });
}
