//! Java consumers that fail: what they get again, after which delay level, and what becomes a dead letter.

use crate::java_brokers;
use baton_tests::java::{JAVA_KEYS, Java};
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

/// With a Java client that looks each second, not each 20, which queues are its own: its group's retry topic is new.
fn find_java() -> Option<Java> {
    let mut java = Java::find()?;
    java.set("rocketmq.client.rebalance.waitInterval=1000");
    Some(java)
}

/// The program judges what it gets.
fn consume(java: &Java, cluster: &mut Cluster, kind: &str, fault: impl FnOnce(&mut Cluster)) {
    let mut application = java.start("Redelivery.java", &[&cluster.nameserver_list(), "orders", kind, COUNT]);
    application.wait_for_output("FAILED 40", JAVA_PATIENCE);
    fault(cluster);
    application.wait_for_output("CONSUMED 60", JAVA_PATIENCE);
    application.wait_for_output("DEAD 20", JAVA_PATIENCE);
    let status = application.wait_for_end(JAVA_PATIENCE);
    assert!(status.success(), "{status}:\n{}", application.output());
}

#[test]
fn a_java_consumer_gets_again_what_it_failed_and_then_it_is_a_dead_letter() {
    let _turn = one_at_a_time();
    let Some(java) = find_java() else { return };
    consume(&java, &mut cluster(), "concurrent", |_| {});
}

/// An ordered consumer fails a message in place; its client then sends it to the retry topic, and the broker, because
/// the group holds queue locks, to the dead letters.
#[test]
fn an_orderly_java_consumer_gives_up_into_the_dead_letters() {
    let _turn = one_at_a_time();
    let Some(java) = find_java() else { return };
    consume(&java, &mut cluster(), "orderly", |_| {});
}

/// What waits for its next attempt when the master dies comes from the next one.
#[test]
fn a_failed_message_of_a_java_consumer_outlives_the_master() {
    let _turn = one_at_a_time();
    let Some(java) = find_java() else { return };
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
        delay(&cluster, 0, &slow, 2);
        delay(&cluster, 0, &quick, 1);
        wanted.push(quick);
        wait_delivered(&cluster, 0, &wanted);
        cluster.brokers[0].stop();
        match round {
            "ours" => java.takes_over(&mut cluster.brokers[0]),
            _ => cluster.brokers[0].run_with(|| Command::new(binary("mqbroker"))),
        }
        cluster.brokers[0].start();
        wanted.push(slow);
        wait_delivered(&cluster, 0, &wanted);
    }
}

fn delay(cluster: &Cluster, broker: usize, body: &str, level: i32) {
    wait_until("a delayed message is acknowledged", JAVA_PATIENCE, || {
        let request = queries::send_request("orders", 0, body.to_owned());
        let request = request.with_ext("i", format!("DELAY\u{1}{level}\u{2}UNIQ_KEY\u{1}{body}\u{2}"));
        wire::call(&cluster.brokers[broker].address, request, PATIENCE).is_ok_and(|it| it.code == queries::OK)
    });
}

/// Each once, in this order. On a slow machine the next one may be there already.
#[track_caller]
fn wait_delivered(cluster: &Cluster, broker: usize, wanted: &[String]) {
    let found = wait_for("the delayed messages are delivered", JAVA_PATIENCE, || {
        let mut connection = wire::Connection::open(&cluster.brokers[broker].address, PATIENCE).ok()?;
        let (found, _) = queries::pull(&mut connection, "orders", 0, 0).ok()?;
        (found.len() >= wanted.len()).then_some(found)
    });
    let found: Vec<_> = found.into_iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
    assert_eq!(found[..wanted.len()], *wanted);
    assert!(found.iter().all(|it| found.iter().filter(|other| *other == it).count() == 1), "repeated: {found:?}");
}

/// The same between the members of a live set: each kind of slave learns how far its master of the other kind is.
#[test]
#[ignore = "takes a minute: make interop-long"]
fn masters_of_both_kinds_deliver_what_the_other_has_not() {
    const JAVA: usize = 1;
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let mut cluster = Cluster::prepare(&java_brokers::spec(2).broker_key("messageDelayLevel=1s 20s"));
    java.takes_over(&mut cluster.brokers[JAVA]);
    cluster.nameservers.iter_mut().for_each(|it| it.start());
    cluster.controllers.iter_mut().for_each(|it| it.start());
    cluster.brokers[0].start();
    assert_eq!(cluster.wait_master(), 0, "ours is there first");
    cluster.brokers[JAVA].start();
    cluster.wait_whole();
    cluster.create_topic_everywhere("orders", 1);
    let mut wanted = Vec::new();
    for (master, slave) in [(0, JAVA), (JAVA, 0)] {
        let (quick, slow) = (format!("{master}, quick"), format!("{master}, slow"));
        delay(&cluster, master, &slow, 2);
        delay(&cluster, master, &quick, 1);
        wanted.push(quick);
        wait_delivered(&cluster, master, &wanted);
        wait_until("the slave knows what is delivered", JAVA_PATIENCE, || {
            let quick = wanted.iter().filter(|it| it.ends_with("quick")).count();
            delivered(&cluster, slave) == Some(quick as i64)
        });
        let before = cluster.wait_whole();
        cluster.brokers[master].kill();
        cluster.wait_master_after(before.master_epoch);
        wanted.push(slow);
        wait_delivered(&cluster, slave, &wanted);
        cluster.brokers[master].start();
        cluster.wait_whole();
    }
}

/// How far a broker knows level 1 to be delivered.
fn delivered(cluster: &Cluster, broker: usize) -> Option<i64> {
    let answer = wire::call(&cluster.brokers[broker].address, proto::Command::request(45), PATIENCE).ok()?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    // Java writes the level without quotes.
    let (_, table) = text.split_once("offsetTable")?;
    let (_, level) = table.replace('"', "").split_once("1:").map(|(a, b)| (a.to_owned(), b.to_owned()))?;
    level.split([',', '}']).next()?.trim().parse().ok()
}
