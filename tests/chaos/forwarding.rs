//! Writes of clients that talk to a replica which is not the master (S10): passed on, once, and answered.

use baton_tests::queries::{self, OK};
use baton_tests::wire::Connection;
use baton_tests::{Cluster, ClusterSpec, Load, PATIENCE, one_at_a_time};
use std::sync::atomic::Ordering::Relaxed;

fn a_slave(cluster: &Cluster) -> usize {
    let master = cluster.wait_master();
    (0..cluster.brokers.len()).find(|it| *it != master).expect("a slave")
}

/// Every record of a queue, as the master serves it.
fn read_all(cluster: &Cluster, topic: &str, queue: i32) -> Vec<baton_tests::record::Record> {
    let master = &cluster.brokers[cluster.wait_master()].address;
    let mut connection = Connection::open(master, PATIENCE).expect("the master listens");
    let (mut all, mut next) = (Vec::new(), 0);
    loop {
        let (records, after) = queries::pull(&mut connection, topic, queue, next).expect("a pull");
        if records.is_empty() {
            return all;
        }
        all.extend(records);
        next = after;
    }
}

#[test]
fn a_send_to_a_slave_is_stored_once_as_the_clients() {
    let _turn = one_at_a_time();
    let cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let slave = &cluster.brokers[a_slave(&cluster)].address;
    let mut connection = Connection::open(slave, PATIENCE).expect("the slave listens");
    let answer = connection.call(queries::send_request("orders", 1, "hello"), PATIENCE).expect("an answer");
    assert_eq!((answer.code, answer.ext.get("queueOffset").map(String::as_str)), (OK, Some("0")), "{answer:?}");
    assert!(!answer.ext.keys().any(|it| it.starts_with("baton")), "what replicas tell each other: {answer:?}");
    let stored = read_all(&cluster, "orders", 1);
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].body, b"hello");
    assert_eq!(stored[0].born_host, connection.local().expect("an address"));
}

/// Everything goes through a slave while the masters change, as a Java client does between two looks at its route.
#[test]
fn a_client_that_stays_with_one_replica_sees_no_failed_send_in_switchovers() {
    let _turn = one_at_a_time();
    let cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 3);
    let address = cluster.brokers[cluster.wait_master()].address.clone();
    let load = Load::faithful(&address, "orders", 3);
    for _ in 0..6 {
        let before = cluster.wait_whole();
        load.wait_progress(20);
        let target = *before.in_sync.iter().find(|it| **it != before.master_id).expect("a slave");
        let target = cluster.broker_at(&before.addresses[&target]).expect("one of ours");
        cluster.switch_to(target);
        load.wait_progress(20);
    }
    assert_eq!(load.failed.load(Relaxed), 0, "sends that were not acknowledged");
    let history = load.stop();
    let account = history.check(cluster.nameserver());
    println!("switchovers: {account:?}, longest gap {:?}", history.longest_gap());
    assert_eq!(account.duplicated, 0, "stored twice");
}
