//! The master is stopped (SIGSTOP): its sockets stay open, nothing answers. Later it goes on as if nothing had
//! happened.

use baton_tests::wire::Connection;
use baton_tests::{Cluster, ClusterSpec, Load, PATIENCE, SECOND, one_at_a_time, queries};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

const REQUESTS: usize = 50;

/// After the successor's first acknowledgement the old master acknowledges nothing by itself that reached it since it
/// stopped (S2, S3): it passes it on, and what the successor stores is acknowledged, once and in order (S10).
#[test]
fn a_resumed_master_acknowledges_only_what_its_successor_stores() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default().broker_key("forwardHoldMillis=60000"));
    cluster.create_topic("orders", 3);
    let before = cluster.wait_whole();
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(20);
    let old = cluster.wait_master();
    // A producer that stays with the old master whatever the route says. Queue 2 is its own.
    let mut faithful = Connection::open(&cluster.brokers[old].address, SECOND).expect("the master accepts connections");
    let greeting = faithful.call(queries::send_request("orders", 2, "before"), 5 * SECOND).expect("the master answers");
    assert_eq!(greeting.code, queries::OK, "{greeting:?}");

    cluster.brokers[old].pause();
    for i in 0..REQUESTS {
        faithful.send(queries::send_request("orders", 2, format!("late {i}"))).expect("the kernel takes it");
    }
    let after = cluster.wait_master_after(before.master_epoch);
    assert_ne!(after.master_id, before.master_id);
    load.wait_progress(5);

    cluster.brokers[old].resume();
    let mut late = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while late.len() < REQUESTS && Instant::now() < deadline {
        match faithful.receive(Duration::from_millis(200)) {
            Ok(answer) => late.push(answer),
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Err(_) => break,
        }
    }
    late.sort_by_key(|it| it.opaque);
    let acknowledged: Vec<_> = late.iter().filter(|it| it.code == queries::OK).collect();
    // The greeting was the connection's first request.
    let body = |it: &&proto::Command| format!("late {}", it.opaque - 2).into_bytes();
    let expected: Vec<_> = std::iter::once(b"before".to_vec()).chain(acknowledged.iter().map(body)).collect();
    let whole = cluster.wait_whole();
    assert_eq!((whole.master_id, whole.master_epoch), (after.master_id, after.master_epoch), "it rejoins as a slave");
    load.wait_progress(5);
    load.stop().check(cluster.nameserver());
    cluster.assert_one_log();
    assert_eq!(bodies_of_queue_2(&cluster), expected, "what was acknowledged, and nothing else, of {late:?}");
}

/// What consumers find in the faithful producer's queue, in order.
fn bodies_of_queue_2(cluster: &Cluster) -> Vec<Vec<u8>> {
    let master = &cluster.brokers[cluster.wait_master()].address;
    let all = queries::read_queue(master, "orders", 2).expect("the master serves the queue");
    all.into_iter().map(|it| it.body).collect()
}

/// A stopped slave holds a strict set up only until the controllers have taken it out.
#[test]
fn a_stopped_slave_leaves_the_set_and_returns_when_it_goes_on() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let before = cluster.wait_whole();
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(20);
    let slave = (cluster.wait_master() + 1) % 3;
    cluster.brokers[slave].pause();
    load.wait_progress(20);
    let without = cluster.replicas().expect("the controllers answer");
    assert_eq!(without.in_sync.len(), 2, "acknowledged while a stopped member counts: {without:?} (S3)");
    assert_eq!((without.master_id, without.master_epoch), (before.master_id, before.master_epoch));
    cluster.brokers[slave].resume();
    cluster.wait_whole();
    load.stop().check(cluster.nameserver());
    cluster.assert_one_log();
}
