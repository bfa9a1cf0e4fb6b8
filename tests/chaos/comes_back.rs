//! Supervised brokers: a killed or restarted one is back at its address before anybody is refused, and what a
//! supervisor does about a broker that cannot come back.

mod stay;

use baton_tests::cluster::{Node, broker_config, free_port};
use baton_tests::process::{Process, binary};
use baton_tests::queries::{self, OK, TEST_GROUP};
use baton_tests::supervised::tell;
use baton_tests::wire::{self, Connection};
use baton_tests::{Cluster, ClusterSpec, PATIENCE, SECOND, one_at_a_time, wait_until};
use rustix::process::{Pid, Signal, test_kill_process};
use stay::Stay;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// A supervised broker without controllers and nameserver.
fn alone(folder: &Path, keys: &[String]) -> Node {
    let port = free_port();
    let keys = [&["brokerRole=ASYNC_MASTER".to_owned()], keys].concat();
    let config = broker_config(folder, "broker", "broker-a", port, &[], &keys);
    let mut node = Node::new(folder, "broker", "mqbroker", &format!("127.0.0.1:{port}"), &config);
    node.supervise();
    node
}

/// Prepared only. What is held for a new master waits as long as a loaded machine needs.
fn supervised_cluster() -> Cluster {
    let mut cluster = Cluster::prepare(&ClusterSpec::default().broker_key("forwardHoldMillis=20000"));
    cluster.brokers.iter_mut().for_each(Node::supervise);
    cluster
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("baton-test-").tempdir().expect("temporary folder")
}

fn is_gone(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).expect("a process id")).is_err()
}

#[track_caller]
fn create_topic(address: &str, topic: &str, queues: i32) {
    let answer = queries::create_topic(address, topic, queues).expect("the broker answers");
    assert_eq!(answer.code, OK, "{:?}", answer.remark);
    let answer = queries::create_group(address, TEST_GROUP).expect("the broker answers");
    assert_eq!(answer.code, OK, "{:?}", answer.remark);
}

/// Five times under load: complaints, and connections that were lost. Its log, too.
fn five_times(strike: fn(&mut Node)) -> (Vec<String>, Vec<String>, String) {
    let folder = folder();
    let mut broker = alone(folder.path(), &[]);
    broker.start();
    create_topic(&broker.address, "orders", 1);
    let stay = Stay::start("orders", &[broker.address.clone()]);
    for _ in 0..5 {
        stay.wait_progress(10);
        strike(&mut broker);
    }
    stay.wait_progress(10);
    let (history, complaints, lost) = stay.stop();
    println!("five times: {} messages, longest gap {:?}", history.acknowledged_total(), history.longest_gap());
    let output = broker.output();
    assert_eq!(broker.stop().code(), Some(0));
    (complaints, lost, output)
}

#[test]
fn a_killed_broker_refuses_nobody_and_answers_who_asked_meanwhile() {
    let _turn = one_at_a_time();
    let (complaints, lost, output) = five_times(Node::kill_supervised);
    assert!(complaints.is_empty(), "{complaints:?}");
    // What a killed process had read it cannot answer: one send and one pull each time, at the most.
    assert!(lost.len() <= 10, "{lost:?}");
    assert!(output.contains("died and is started again"), "{output}");
}

#[test]
fn a_restart_loses_no_request_at_all() {
    let _turn = one_at_a_time();
    let (complaints, lost, _) = five_times(Node::restart_supervised);
    assert!(complaints.is_empty() && lost.is_empty(), "{complaints:?} {lost:?}");
}

/// Every broker in turn, as an upgrade does it. Each client talks to one replica only, whatever that is at the moment.
#[test]
fn a_rolling_restart_of_supervised_brokers_fails_no_send_and_no_pull() {
    let _turn = one_at_a_time();
    let mut cluster = supervised_cluster();
    cluster.launch_all();
    cluster.wait_whole();
    cluster.create_topic_everywhere("orders", 3);
    cluster.create_group(TEST_GROUP);
    let addresses: Vec<_> = cluster.brokers.iter().map(|it| it.address.clone()).collect();
    let stay = Stay::start("orders", &addresses);
    for broker in 0..3 {
        cluster.wait_whole();
        stay.wait_progress(10);
        cluster.brokers[broker].restart_supervised();
        stay.wait_progress(10);
    }
    cluster.wait_whole();
    let (history, complaints, lost) = stay.stop();
    assert!(complaints.is_empty() && lost.is_empty(), "{complaints:#?} {lost:#?}");
    let account = history.check(cluster.nameserver());
    println!("rolling restart: {account:?}, longest gap {:?}", history.longest_gap());
}

/// The controllers learn of the death by the HA port, which no supervisor holds, or by the process that registers anew;
/// the former master comes back as a slave and passes on what it is sent.
#[test]
fn a_killed_master_serves_at_its_address_again_as_a_slave() {
    let _turn = one_at_a_time();
    let mut cluster = supervised_cluster();
    cluster.launch_all();
    cluster.create_topic("orders", 1);
    let first = cluster.wait_whole();
    cluster.create_group(TEST_GROUP);
    let stay = Stay::start("orders", std::slice::from_ref(&first.master_address));
    stay.wait_progress(10);
    let master = cluster.wait_master();
    cluster.brokers[master].kill_supervised();
    // S2: whoever is master now is it at a later epoch.
    cluster.wait_master_after(first.master_epoch);
    stay.wait_progress(10);
    cluster.wait_whole();
    stay.wait_progress(10);
    let (history, complaints, lost) = stay.stop();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(lost.len() <= 2, "{lost:?}");
    let account = history.check(cluster.nameserver());
    println!("kill -9 of a supervised master: {account:?}, longest gap {:?}", history.longest_gap());
}

#[test]
fn a_supervisor_ends_with_the_error_of_a_broker_that_never_served() {
    let folder = folder();
    let refusal = |node: &mut Node| {
        node.launch();
        let status = node.process().wait_for_end(PATIENCE);
        (status.code(), node.output())
    };
    let mut wrong = alone(folder.path(), &["flushDiskType=SOMETIMES".to_owned()]);
    let (code, said) = refusal(&mut wrong);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("flushDiskType") && said.contains("SOMETIMES"), "{said}");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let (code, said) = refusal(&mut alone(folder.path(), &[format!("listenPort={port}")]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use") && said.contains(&port.to_string()) && said.contains("listenPort"), "{said}");

    // Only the child finds out.
    let (_first, mut second) = {
        let mut first = alone(folder.path(), &[]);
        first.start();
        (first, alone(folder.path(), &[]))
    };
    let (code, said) = refusal(&mut second);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another broker uses this store directory"), "{said}");
    assert_eq!(said.matches("the broker is started").count(), 1, "it is not tried again: {said}");
}

/// Broken for a while after it has served: pauses grow, clients wait, and it comes back by itself.
#[test]
fn a_broker_that_cannot_start_for_a_while_is_started_until_it_can() {
    let _turn = one_at_a_time();
    let folder = folder();
    let mut broker = alone(folder.path(), &[]);
    broker.start();
    create_topic(&broker.address, "orders", 1);
    let config = std::fs::read_to_string(broker.config()).expect("its configuration");
    std::fs::write(broker.config(), format!("{config}flushDiskType=SOMETIMES\n")).expect("its configuration");
    tell(broker.supervised(), Signal::KILL);
    let mut waiting = Connection::open(&broker.address, SECOND).expect("the supervisor holds the port");
    waiting.send(queries::send_request("orders", 0, "hello")).expect("sent");
    let output = || std::fs::read_to_string(folder.path().join("broker/output.log")).unwrap_or_default();
    wait_until("it has been tried some times", PATIENCE, || output().contains("restarts=5"));
    std::fs::write(broker.config(), config).expect("its configuration");
    assert_eq!(waiting.receive(PATIENCE).expect("an answer").code, OK);
    assert_eq!(broker.stop().code(), Some(0));
}

#[test]
fn a_broker_dies_with_its_supervisor_and_leaves_the_ports_free() {
    let folder = folder();
    let mut broker = alone(folder.path(), &[]);
    broker.start();
    let child = broker.supervised();
    // The child is in a group of its own, so that only the kernel can have told it.
    broker.kill();
    wait_until("the child is gone", PATIENCE, || is_gone(child));
    wait_until("its port is free", PATIENCE, || TcpListener::bind(&broker.address).is_ok());
    broker.start();
}

#[test]
fn a_supervisor_that_is_told_to_end_ends_the_broker_first() {
    let folder = folder();
    let mut broker = alone(folder.path(), &[]);
    broker.start();
    let child = broker.supervised();
    assert_eq!(broker.stop().code(), Some(0));
    assert!(is_gone(child));
    assert!(wire::Connection::open(&broker.address, SECOND).is_err(), "nobody holds the port any more");
}

/// systemd's way: the socket belongs to somebody else for as long as that wants.
#[test]
fn a_broker_serves_a_socket_that_is_handed_over() {
    use std::os::unix::process::CommandExt;
    let _turn = one_at_a_time();
    let folder = folder();
    let mut broker = alone(folder.path(), &["enableVipListener=false".to_owned()]);
    let socket = TcpListener::bind(&broker.address).expect("its port");
    broker.run_with(move || {
        let mut command = Command::new(binary("mqbroker"));
        let socket = socket.try_clone().expect("a copy");
        command.env("LISTEN_FDS", "1");
        // SAFETY: only one async-signal-safe system call between fork and exec.
        unsafe {
            command.pre_exec(move || {
                use std::os::fd::FromRawFd;
                let mut third = std::mem::ManuallyDrop::new(std::os::fd::OwnedFd::from_raw_fd(3));
                Ok(rustix::io::dup2(&socket, &mut third)?)
            });
        }
        command
    });
    broker.start();
    create_topic(&broker.address, "orders", 1);
    broker.kill();
    let mut waiting = Connection::open(&broker.address, SECOND).expect("the socket is open");
    waiting.send(queries::send_request("orders", 0, "hello")).expect("sent");
    broker.start();
    assert_eq!(waiting.receive(PATIENCE).expect("an answer").code, OK);
}

#[test]
fn what_is_no_socket_is_not_taken_for_one() {
    let folder = folder();
    let run = |fds: &str, wants: &str| {
        let broker = alone(folder.path(), &[]);
        let mut command = Command::new(binary("mqbroker"));
        command.arg("-c").arg(broker.config()).env("LISTEN_FDS", fds).env("HOME", folder.path());
        let mut process = Process::start("mqbroker", command, &folder.path().join("refused.log"));
        let status = process.wait_for_end(PATIENCE);
        let said = process.output();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(wants) && said.contains("LISTEN_FDS"), "{said}");
    };
    run("many", "LISTEN_FDS=many");
    run("-1", "LISTEN_FDS=-1");
    run("2", "descriptor 3");
}
