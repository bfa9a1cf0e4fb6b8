//! Java consumers that fail: what they get again, after which delay level, and what becomes a dead letter.

use crate::java::Java;
use crate::java_brokers::JAVA_KEYS;
use baton_tests::process::binary;
use baton_tests::{Cluster, ClusterSpec, PATIENCE, one_at_a_time, queries, wait_for, wait_until, wire};
use std::process::Command;
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

/// Delayed messages and `delayOffset.json` change hands with the store: what is due later is delivered by the next
/// broker, what was delivered is not delivered again.
#[test]
fn delayed_messages_change_hands_with_the_store() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let spec = ClusterSpec { controllers: 0, brokers: 1, ..ClusterSpec::default() };
    let spec = JAVA_KEYS.iter().fold(spec, |spec, key| spec.broker_key(key));
    let mut cluster = Cluster::prepare(&spec.broker_key("messageDelayLevel=1s 20s"));
    cluster.nameservers[0].start();
    cluster.brokers[0].start();
    wait_until("the broker creates a topic", PATIENCE, || {
        queries::create_topic(&cluster.brokers[0].address, "orders", 1).is_ok_and(|it| it.code == queries::OK)
    });
    let mut wanted = Vec::new();
    for round in ["ours", "java's"] {
        let (quick, slow) = (format!("{round}, quick"), format!("{round}, slow"));
        delay(&cluster, &slow, 2);
        delay(&cluster, &quick, 1);
        wanted.push(quick);
        wait_delivered(&cluster, &wanted);
        cluster.brokers[0].stop();
        match round {
            "ours" => java.takes_over(&mut cluster.brokers[0]),
            _ => cluster.brokers[0].run_with(|| Command::new(binary("mqbroker"))),
        }
        cluster.brokers[0].start();
        wanted.push(slow);
        wait_delivered(&cluster, &wanted);
    }
}

fn delay(cluster: &Cluster, body: &str, level: i32) {
    wait_until("a delayed message is acknowledged", JAVA_PATIENCE, || {
        let request = queries::send_request("orders", 0, body.to_owned());
        let request = request.with_ext("i", format!("DELAY\u{1}{level}\u{2}UNIQ_KEY\u{1}{body}\u{2}"));
        wire::call(&cluster.brokers[0].address, request, PATIENCE).is_ok_and(|it| it.code == queries::OK)
    });
}

/// Each once, in this order. On a slow machine the next one may be there already.
#[track_caller]
fn wait_delivered(cluster: &Cluster, wanted: &[String]) {
    let found = wait_for("the delayed messages are delivered", JAVA_PATIENCE, || {
        let mut connection = wire::Connection::open(&cluster.brokers[0].address, PATIENCE).ok()?;
        let (found, _) = queries::pull(&mut connection, "orders", 0, 0).ok()?;
        (found.len() >= wanted.len()).then_some(found)
    });
    let found: Vec<_> = found.into_iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
    assert_eq!(found[..wanted.len()], *wanted);
    assert!(found.iter().all(|it| found.iter().filter(|other| *other == it).count() == 1), "repeated: {found:?}");
}
