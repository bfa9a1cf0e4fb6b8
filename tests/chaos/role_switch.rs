//! RocketMQ's scenarios of whole brokers under controllers that live in nameservers, C1 to C6, by their names
//! (docs/SCENARIOS.md). There they are switched off; here they run with every other test.

use baton_tests::cluster::{Cluster, ClusterSpec, ControllerForm, Node};
use baton_tests::{Load, PATIENCE, SECOND, logs, one_at_a_time, queries, wait_for, wait_until};
use std::path::Path;

fn spec(brokers: usize) -> ClusterSpec {
    ClusterSpec { brokers, ..ClusterSpec::of(ControllerForm::InNameservers) }
}

#[track_caller]
fn send(cluster: &Cluster, topic: &str, count: u64) {
    let load = Load::start(cluster.nameserver(), topic, 1);
    load.wait_progress(count);
    load.stop().check(cluster.nameserver());
}

/// A whole cluster, and brokers that were prepared with the others and are not started yet.
fn holding_back(spec: &ClusterSpec, late: usize) -> (Cluster, Vec<Node>) {
    let mut cluster = Cluster::prepare(spec);
    let held = cluster.brokers.split_off(cluster.brokers.len() - late);
    cluster.launch_all();
    cluster.wait_whole();
    (cluster, held)
}

#[test]
fn c1_two_brokers_are_in_the_set_and_a_stopped_slave_leaves_it() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(spec(2));
    assert_eq!(cluster.wait_whole().in_sync.len(), 2);
    let slave = 1 - cluster.wait_master();
    cluster.brokers[slave].stop();
    assert_eq!(cluster.wait_whole().in_sync.len(), 1);
}

#[test]
fn c2_a_slave_follows_a_killed_master_which_returns_as_its_slave() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(spec(2));
    cluster.create_topic("before", 1);
    send(&cluster, "before", 10);
    let before = cluster.wait_whole();
    let old = cluster.wait_master();
    cluster.brokers[old].kill();
    let after = cluster.wait_master_after(before.master_epoch);
    assert_ne!(after.master_id, before.master_id);
    assert_eq!(after.master_epoch, before.master_epoch + 1);
    cluster.create_topic("after", 1);
    send(&cluster, "after", 10);
    cluster.brokers[old].start();
    let whole = cluster.wait_whole();
    assert_eq!(whole.master_id, after.master_id);
    cluster.assert_one_history();
    wait_until("the nameserver shows the old master as a slave", PATIENCE, || {
        let route = queries::route(cluster.nameserver(), "after", "broker-a").unwrap_or_default();
        route.get(&0) == Some(&after.master_address) && route.get(&before.master_id) == Some(&before.master_address)
    });
}

#[test]
fn c3_a_broker_that_comes_back_at_another_address_has_the_same_id() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(spec(1));
    cluster.create_topic("orders", 1);
    send(&cluster, "orders", 10);
    let before = cluster.wait_whole();
    cluster.brokers[0].stop();
    let config = cluster.brokers[0].config();
    let text = std::fs::read_to_string(&config).expect("its configuration");
    let (port, ha_port) = (baton_tests::cluster::free_port(), baton_tests::cluster::free_port());
    let moved = changed(&changed(&text, "listenPort", port), "haListenPort", ha_port);
    std::fs::write(&config, moved).expect("its configuration");
    cluster.brokers[0].address = format!("127.0.0.1:{port}");
    cluster.brokers[0].start();
    let after = cluster.wait_whole();
    assert_eq!((after.master_id, &after.master_address), (before.master_id, &cluster.brokers[0].address));
    assert!(after.master_epoch > before.master_epoch, "a new process is a new master (S2)");
    assert_eq!(after.addresses.len(), 1, "{after:?}");
    send_more(&cluster);
}

fn changed(config: &str, key: &str, value: u16) -> String {
    let line = |it: &str| match it.split_once('=') {
        Some((found, _)) if found == key => format!("{key}={value}\n"),
        _ => format!("{it}\n"),
    };
    config.lines().map(line).collect()
}

#[track_caller]
fn send_more(cluster: &Cluster) {
    cluster.create_topic("more", 1);
    send(cluster, "more", 10);
}

#[test]
fn c4_sends_and_replication_go_on_without_controllers() {
    let _turn = one_at_a_time();
    // Nameservers of their own: those that have controllers in them go down with them.
    let mut cluster = Cluster::start(ClusterSpec { controllers: 1, brokers: 2, ..ClusterSpec::default() });
    cluster.create_topic("orders", 1);
    let before = cluster.wait_whole();
    cluster.controllers[0].kill();
    send(&cluster, "orders", 50);
    cluster.assert_one_history();
    cluster.controllers[0].start();
    let after = cluster.wait_whole();
    assert_eq!((after.master_id, after.master_epoch), (before.master_id, before.master_epoch));
    send_more(&cluster);
}

#[test]
fn c5_a_third_broker_joins_and_gets_what_was_and_what_comes() {
    let _turn = one_at_a_time();
    let (mut cluster, held) = holding_back(&spec(3), 1);
    cluster.create_topic("orders", 1);
    let load = Load::start(cluster.nameserver(), "orders", 1);
    load.wait_progress(50);
    cluster.brokers.extend(held);
    cluster.brokers[2].start();
    assert_eq!(cluster.wait_whole().in_sync.len(), 3);
    load.wait_progress(50);
    load.stop().check(cluster.nameserver());
    cluster.assert_one_history();
}

/// The log's first file and the beginning of the history are gone; a new replica gets the rest and counts.
#[test]
fn c6_a_new_replica_copies_a_log_whose_beginning_is_gone() {
    let _turn = one_at_a_time();
    const FILE: i64 = 128 * 1024;
    let spec = spec(3).broker_key(&format!("mappedFileSizeCommitLog={FILE}")).broker_key("maxMessageSize=65536");
    let (mut cluster, held) = holding_back(&spec, 1);
    cluster.create_topic("orders", 1);
    let load = Load::start(cluster.nameserver(), "orders", 1);
    load.wait_progress(150);
    let before = cluster.wait_whole();
    let old = cluster.wait_master();
    cluster.brokers[old].kill();
    cluster.wait_master_after(before.master_epoch);
    load.wait_progress(150);
    cluster.brokers[old].start();
    cluster.wait_whole();
    load.stop();
    let epochs = cluster.wait_equal_logs();
    assert!(epochs[0].entries.len() > 1 && epochs[0].max_offset > 3 * FILE, "{epochs:?}");
    cluster.brokers.iter_mut().for_each(|it| assert!(it.stop().success()));
    // What retention would do: the first file goes. (Retention itself waits for hours.)
    cluster.brokers.iter().for_each(|it| remove_first_file(&it.commit_log()));
    cluster.brokers.iter_mut().for_each(Node::launch);
    cluster.brokers.iter_mut().for_each(Node::wait_booted);
    cluster.wait_whole();
    cluster.brokers.extend(held);
    cluster.brokers[2].start();
    assert_eq!(cluster.wait_whole().in_sync.len(), 3);
    send_more(&cluster);
    let end = cluster.wait_equal_logs()[0].max_offset;
    let [first, new] = [0, 2].map(|it| logs::read(&cluster.brokers[it].commit_log(), FILE, end));
    assert!(first == new, "the new replica's log is the others' from {FILE} to {end}");
    let names = std::fs::read_dir(cluster.brokers[2].commit_log()).expect("its log").flatten();
    assert!(names.into_iter().all(|it| it.file_name() != format!("{:020}", 0).as_str()), "it begins where theirs does");
    let master = cluster.wait_master();
    wait_for("the queue begins at its first message that is left", PATIENCE, || {
        let mut master = baton_tests::wire::Connection::open(&cluster.brokers[master].address, SECOND).ok()?;
        let (records, next) = queries::pull(&mut master, "orders", 0, 0).ok()?;
        (records.is_empty() && next > 0).then_some(())
    });
}

#[track_caller]
fn remove_first_file(commit_log: &Path) {
    std::fs::remove_file(commit_log.join(format!("{:020}", 0))).expect("the log's first file");
}
