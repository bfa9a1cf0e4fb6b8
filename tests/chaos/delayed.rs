//! Delayed messages and messages that were sent back, through the death of the master that has them.

use baton_tests::wire::call;
use baton_tests::{Cluster, ClusterSpec, PATIENCE, one_at_a_time, queries, wait_for, wait_until};
use proto::Command;
use std::collections::BTreeSet;
use std::time::Duration;

const PROMPT: Duration = Duration::from_secs(5);

fn cluster(levels: &str) -> Cluster {
    let cluster = Cluster::start(ClusterSpec::default().broker_key(&format!("messageDelayLevel={levels}")));
    cluster.create_topic("orders", 1);
    cluster
}

/// Sends to the master until it is acknowledged.
fn send(cluster: &Cluster, body: &str, level: i32) {
    wait_until("a delayed message is acknowledged", PATIENCE, || {
        let Some(master) = cluster.master() else { return false };
        let request = queries::send_request("orders", 0, body.to_owned());
        let request = request.with_ext("i", format!("DELAY\u{1}{level}\u{2}UNIQ_KEY\u{1}{body}\u{2}"));
        call(&cluster.brokers[master].address, request, PROMPT).is_ok_and(|it| it.code == queries::OK)
    });
}

/// Every body in queue 0 of the topic, in its order. `None` while nobody can be asked.
fn bodies(cluster: &Cluster, topic: &str) -> Option<Vec<String>> {
    let all = queries::read_queue(&cluster.brokers[cluster.master()?].address, topic, 0)?;
    Some(all.into_iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect())
}

/// Waits until all of these are there; returns everything that is.
#[track_caller]
fn wait_delivered(cluster: &Cluster, topic: &str, wanted: &BTreeSet<String>) -> Vec<String> {
    wait_for("every acknowledged message is delivered", PATIENCE, || {
        bodies(cluster, topic).filter(|all| wanted.iter().all(|it| all.contains(it)))
    })
}

/// How far `broker` knows level 1 to be delivered.
fn delivered(broker: &str) -> Option<i64> {
    let answer = call(broker, Command::request(45), PROMPT).ok()?;
    let table: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    Some(table["offsetTable"]["1"].as_i64().unwrap_or(0))
}

#[test]
fn what_waits_when_the_master_dies_is_delivered_by_its_successor() {
    let _turn = one_at_a_time();
    let mut cluster = cluster("1s 5s 5s");
    let before = cluster.wait_whole();
    let master = cluster.wait_master();
    let address = cluster.brokers[master].address.clone();
    let original = call(&address, queries::send_request("orders", 0, "failed"), PROMPT).expect("the master answers");
    cluster.create_group("billing");
    let mut wanted: BTreeSet<String> = (0..100).map(|i| format!("message {i}")).collect();
    wanted.iter().for_each(|it| send(&cluster, it, 2));

    // The consumer of the first one has failed: in 5 s it is to come again. It says so to a slave.
    let slave = &cluster.brokers[(master + 1) % cluster.brokers.len()].address;
    let id = original.ext.get("msgId").expect("an id");
    let offset = i64::from_str_radix(&id[16..], 16).expect("an id ends with the physical offset");
    let back = Command::request(36).with_ext("offset", offset).with_ext("group", "billing").with_ext("delayLevel", 3);
    let answer = call(slave, back, PROMPT).expect("the slave answers");
    assert_eq!(answer.code, queries::OK, "{:?}", answer.remark);

    cluster.brokers[master].kill();
    cluster.wait_master_after(before.master_epoch);
    wanted.insert("failed".to_owned());
    wait_delivered(&cluster, "orders", &wanted);
    wait_delivered(&cluster, "%RETRY%billing", &BTreeSet::from(["failed".to_owned()]));
}

/// What the slaves have heard of is not delivered again, and what nobody delivered is not forgotten.
#[test]
fn a_failover_among_deliveries_goes_on_where_the_old_master_was() {
    let _turn = one_at_a_time();
    let mut cluster = cluster("1s");
    let before = cluster.wait_whole();
    let master = cluster.wait_master();
    let mut wanted = BTreeSet::new();
    let mut send_some = |cluster: &Cluster, from: usize, count: usize| {
        for body in (from..from + count).map(|i| format!("message {i}")) {
            send(cluster, &body, 1);
            wanted.insert(body);
        }
        wanted.clone()
    };
    let first = send_some(&cluster, 0, 200);
    wait_delivered(&cluster, "orders", &first);
    wait_until("every replica knows how far the level is delivered", PATIENCE, || {
        cluster.brokers.iter().all(|it| delivered(&it.address).is_some_and(|it| it >= 200))
    });
    // These may or may not be delivered when the master dies.
    let all = send_some(&cluster, 200, 200);
    cluster.brokers[master].kill();
    cluster.wait_master_after(before.master_epoch);
    let found = wait_delivered(&cluster, "orders", &all);
    let twice = |body: &String| found.iter().filter(|it| *it == body).count() > 1;
    let repeated: Vec<_> = first.iter().filter(|it| twice(it)).collect();
    assert!(repeated.is_empty(), "delivered again: {repeated:?}");
    cluster.brokers[master].start();
    cluster.wait_whole();
    assert_eq!(bodies(&cluster, "orders").map(|it| it.len()), Some(found.len()), "the old master delivers nothing");
}
