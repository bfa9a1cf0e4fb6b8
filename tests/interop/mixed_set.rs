//! One broker set, some replicas ours and some Java's: what a set is while it is being replaced one by one.

use crate::java_brokers::spec;
use baton_tests::java::Java;
use baton_tests::{Cluster, Load, one_at_a_time};

/// Which of the three brokers is Java's.
const JAVA: usize = 1;

#[test]
fn masters_of_both_kinds_replicate_to_slaves_of_both_kinds() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    switched_both_ways(&java, 1 << 20);
}

/// The same with a log of more than 256 MiB.
#[test]
#[ignore = "takes minutes: make interop-long"]
fn masters_of_both_kinds_replicate_much_to_slaves_of_both_kinds() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    switched_both_ways(&java, 28 << 20);
}

/// Under load wherever Java's master survives that: one that is told to step down acknowledges what it was still
/// waiting for, without its slaves having it (`CommitLog#needHandleHA` looks at the role, which is SLAVE by then).
/// Killed, it acknowledges nothing.
fn switched_both_ways(java: &Java, bytes: i64) {
    let mut cluster = Cluster::prepare(&spec(3));
    java.takes_over(&mut cluster.brokers[JAVA]);
    cluster.nameservers.iter_mut().for_each(|it| it.start());
    cluster.controllers.iter_mut().for_each(|it| it.start());
    // Ours is there first, and so the first master.
    cluster.brokers[0].start();
    assert_eq!(cluster.wait_master(), 0);
    cluster.brokers[JAVA].launch();
    cluster.brokers[2].start();
    cluster.brokers[JAVA].wait_booted();
    let first = cluster.wait_whole();
    assert_eq!(first.master_address, cluster.brokers[0].address);
    let topics = ["orders-0", "orders-1", "orders-2"];
    topics.iter().for_each(|it| cluster.create_topic_everywhere(it, 3));
    let mut histories = Vec::new();

    for (topic, next) in [("orders-0", 2), ("orders-1", 0)] {
        let load = Load::start(cluster.nameserver(), topic, 3);
        write(&load, bytes);
        cluster.switch_to(JAVA);
        write(&load, bytes);
        histories.push(load.stop());
        cluster.wait_equal_logs();
        cluster.switch_to(next);
    }

    let load = Load::start(cluster.nameserver(), "orders-2", 3);
    // The Java replica leaves without a word, misses bytes, and copies them from our master.
    cluster.brokers[JAVA].kill();
    assert_eq!(cluster.wait_whole().in_sync.len(), 2);
    write(&load, bytes);
    cluster.brokers[JAVA].start();
    cluster.switch_to(JAVA);
    // One of ours misses bytes and copies them from a Java master.
    cluster.brokers[2].kill();
    write(&load, bytes);
    cluster.brokers[2].start();
    let before = cluster.wait_whole();
    write(&load, bytes);
    // The Java master dies under load; one of ours takes over.
    cluster.brokers[JAVA].kill();
    cluster.wait_master_after(before.master_epoch);
    write(&load, bytes);
    cluster.brokers[JAVA].start();
    assert_eq!(cluster.wait_whole().addresses, first.addresses);
    histories.push(load.stop());

    histories.iter().for_each(|it| _ = it.check(cluster.nameserver()));
    let end = cluster.assert_one_log()[0].max_offset;
    println!("{end} bytes, identical on all three");
}

/// Until this much more is acknowledged. A message of the load is about 1 KiB.
#[track_caller]
fn write(load: &Load, bytes: i64) {
    load.history.wait_progress(bytes as u64 / 1024 / load.history.producers() as u64, baton_tests::java::JAVA_PATIENCE);
}
