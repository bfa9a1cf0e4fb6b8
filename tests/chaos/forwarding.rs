//! Writes of clients that talk to a replica which is not the master (S10): passed on, once, in order, and answered.

use baton_tests::cluster::Node;
use baton_tests::queries::{self, OK};
use baton_tests::record::Record;
use baton_tests::wire::Connection;
use baton_tests::{Cluster, ClusterSpec, Load, PATIENCE, SECOND, loudly, one_at_a_time, wait_until, wire};
use proto::Command;
use proto::batch::{self, BatchMessage};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

const SERVICE_NOT_AVAILABLE: i32 = 14;

fn a_slave(cluster: &Cluster) -> usize {
    let master = cluster.wait_master();
    (0..cluster.brokers.len()).find(|it| *it != master).expect("a slave")
}

fn open(node: &Node) -> Connection {
    Connection::open(&node.address, PATIENCE).expect("it listens")
}

/// A send as a Java client makes it: with a key by which the message is known again.
fn keyed(topic: &str, queue: i32, key: &str) -> Command {
    queries::send_request(topic, queue, key.to_owned()).with_ext("i", format!("UNIQ_KEY\u{1}{key}\u{2}"))
}

/// Every record of a queue, as the master serves it.
fn read_all(cluster: &Cluster, topic: &str, queue: i32) -> Vec<Record> {
    let master = &cluster.brokers[cluster.wait_master()].address;
    queries::read_queue(master, topic, queue).expect("the master serves the queue")
}

#[test]
fn a_send_to_a_slave_is_stored_once_as_the_clients() {
    let _turn = one_at_a_time();
    let cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 2);
    let mut connection = open(&cluster.brokers[a_slave(&cluster)]);
    let answer = connection.call(queries::send_request("orders", 1, "hello"), PATIENCE).expect("an answer");
    assert_eq!((answer.code, answer.ext.get("queueOffset").map(String::as_str)), (OK, Some("0")), "{answer:?}");
    assert!(!answer.ext.keys().any(|it| it.starts_with("baton")), "what replicas tell each other: {answer:?}");
    let stored = read_all(&cluster, "orders", 1);
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].body, b"hello");
    assert_eq!(stored[0].born_host, connection.local().expect("an address"));
}

/// Everything goes through one replica while the masters change, as with a Java client between two looks at its route.
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

/// Sends without waiting for the answers, and never the same message again: what is stored twice, or out of order, was
/// so by the servers' hand.
struct Pipeline {
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<u64, Command>>,
}

const WINDOW: u64 = 64;

impl Pipeline {
    fn start(node: &Node, topic: &str, queue: i32) -> Pipeline {
        let (answered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, ending, topic) = (answered.clone(), stop.clone(), topic.to_owned());
        let mut connection = open(node);
        let thread = std::thread::spawn(move || {
            let (mut answers, mut waiting, mut next) = (BTreeMap::new(), BTreeMap::new(), 1);
            while !ending.load(Relaxed) || !waiting.is_empty() {
                while !ending.load(Relaxed) && (waiting.len() as u64) < WINDOW {
                    let request = keyed(&topic, queue, &format!("{queue}-{next}"));
                    waiting.insert(connection.send(request).expect("a replica that lives"), next);
                    next += 1;
                }
                let answer = connection.receive(PATIENCE).expect("every request is answered");
                let number = waiting.remove(&answer.opaque).expect("a request of ours");
                answers.insert(number, answer);
                counter.fetch_add(1, Relaxed);
            }
            answers
        });
        Pipeline { answered, stop, thread }
    }

    #[track_caller]
    fn wait_progress(&self, count: u64) {
        let before = self.answered.load(Relaxed);
        wait_until("requests are answered", PATIENCE, || self.answered.load(Relaxed) >= before + count);
    }

    fn stop(self) -> BTreeMap<u64, Command> {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the producer has not failed")
    }
}

/// What was acknowledged is there once, what was refused for certain is not, and the order is that of the sends.
fn judge(cluster: &Cluster, topic: &str, queue: i32, answers: &BTreeMap<u64, Command>) {
    let number = |it: &Record| -> u64 {
        String::from_utf8_lossy(&it.body).split_once('-').expect("a body").1.parse().expect("a number")
    };
    let records = read_all(cluster, topic, queue);
    let stored: Vec<u64> = records.iter().map(number).collect();
    if let Some(at) = stored.windows(2).position(|it| it[0] >= it[1]) {
        let epochs = queries::epochs(&cluster.brokers[cluster.wait_master()].address);
        let twice: Vec<_> = records.iter().filter(|it| number(it) == stored[at + 1]).collect();
        panic!(
            "queue {queue}: {} follows {}: stored twice, or out of order; {twice:?}, {:?}, {epochs:?}",
            stored[at + 1],
            stored[at],
            answers.get(&stored[at + 1])
        );
    }
    for (number, answer) in answers {
        let there = stored.binary_search(number).is_ok();
        let remark = answer.remark.as_deref().unwrap_or_default();
        match answer.code {
            OK => assert!(there, "queue {queue}: {number} was acknowledged and is lost"),
            _ if remark.contains("may have been stored") => {}
            code => assert!(!there, "queue {queue}: {number} was refused ({code}, {remark}) and is stored"),
        }
    }
}

/// Clients of one replica, while others are broken. A hold that no loaded machine exceeds: every message has to be
/// acknowledged.
struct Passing {
    cluster: Cluster,
    /// Lives, whatever happens.
    through: usize,
    load: Vec<Pipeline>,
}

impl Passing {
    fn start() -> Passing {
        let cluster = Cluster::start(ClusterSpec::default().broker_key("forwardHoldMillis=60000"));
        cluster.create_topic("orders", 3);
        let through = a_slave(&cluster);
        let load = (0..3).map(|it| Pipeline::start(&cluster.brokers[through], "orders", it)).collect();
        Passing { cluster, through, load }
    }

    fn wait_progress(&self) {
        self.load.iter().for_each(|it| it.wait_progress(200));
    }

    /// A master that is another replica, of a whole set; and its epoch.
    fn another_master(&self) -> (usize, i32) {
        let before = self.cluster.wait_whole();
        self.wait_progress();
        let master = self.cluster.wait_master();
        if master != self.through {
            return (master, before.master_epoch);
        }
        let other = *before.in_sync.iter().find(|it| **it != before.master_id).expect("a slave");
        let after = self.cluster.switch_to(self.cluster.broker_at(&before.addresses[&other]).expect("one of ours"));
        self.wait_progress();
        (self.cluster.wait_master(), after.master_epoch)
    }

    fn judge(self) {
        let answers: Vec<_> = self.load.into_iter().map(Pipeline::stop).collect();
        for (queue, answers) in answers.iter().enumerate() {
            judge(&self.cluster, "orders", queue as i32, answers);
            let refused: Vec<_> = answers.iter().filter(|it| it.1.code != OK).collect();
            assert!(refused.is_empty(), "{} of {} refused: {:?}", refused.len(), answers.len(), refused.first());
        }
    }
}

#[test]
fn sends_in_flight_through_a_slave_survive_their_master_exactly_once() {
    let _turn = one_at_a_time();
    let mut passing = Passing::start();
    for _ in 0..8 {
        let (master, epoch) = passing.another_master();
        passing.cluster.brokers[master].kill();
        passing.cluster.wait_master_after(epoch);
        passing.wait_progress();
        passing.cluster.brokers[master].start();
    }
    passing.judge();
}

/// What it was asked before it hung it finds in its sockets when it goes on, as the master that it takes itself for.
#[test]
fn a_master_that_hangs_with_sends_in_flight_stores_none_of_them_a_second_time() {
    let _turn = one_at_a_time();
    let mut passing = Passing::start();
    for _ in 0..3 {
        let (master, epoch) = passing.another_master();
        passing.cluster.brokers[master].pause();
        passing.cluster.wait_master_after(epoch);
        passing.wait_progress();
        passing.cluster.brokers[master].resume();
    }
    passing.cluster.wait_whole();
    passing.wait_progress();
    passing.judge();
}

#[test]
fn two_elections_in_a_row_lose_and_repeat_nothing_that_waits() {
    let _turn = one_at_a_time();
    let mut passing = Passing::start();
    for _ in 0..3 {
        let (first, epoch) = passing.another_master();
        passing.cluster.brokers[first].kill();
        let after = passing.cluster.wait_master_after(epoch);
        let second = passing.cluster.wait_master();
        if second != passing.through {
            passing.cluster.brokers[second].kill();
            passing.cluster.wait_master_after(after.master_epoch);
        }
        passing.wait_progress();
        let dead = passing.cluster.brokers.iter_mut().filter(|it| !it.runs());
        dead.for_each(Node::start);
    }
    passing.judge();
}

/// Whatever form a client gives its messages in.
#[test]
fn batches_old_names_and_one_way_sends_are_passed_on_as_they_are() {
    let _turn = one_at_a_time();
    let cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 3);
    let mut connection = open(&cluster.brokers[a_slave(&cluster)]);
    let inner = |key: &str| BatchMessage {
        body: key.to_owned().into(),
        properties: format!("UNIQ_KEY\u{1}{key}\u{2}"),
        ..BatchMessage::default()
    };
    let body = batch::encode(&[inner("b1"), inner("b2"), inner("b3")]).expect("a batch");
    let batched = Command { code: 320, ..queries::send_request("orders", 0, body) }.with_ext("m", true);
    let answer = connection.call(batched, PATIENCE).expect("an answer");
    assert_eq!((answer.code, answer.ext["msgId"].split(',').count()), (OK, 3), "{answer:?}");
    assert_eq!(bodies(&cluster, 0), ["b1", "b2", "b3"]);
    // 10, with long names, and no key.
    let (long, short) = (
        [
            "producerGroup",
            "topic",
            "defaultTopic",
            "defaultTopicQueueNums",
            "queueId",
            "sysFlag",
            "bornTimestamp",
            "flag",
        ],
        ["a", "b", "c", "d", "e", "f", "g", "h"],
    );
    let new = queries::send_request("orders", 1, "old names");
    let ext = long.iter().zip(short).map(|(long, short)| ((*long).to_owned(), new.ext[short].clone())).collect();
    let answer = connection.call(Command { code: 10, ext, ..new }, PATIENCE).expect("an answer");
    assert_eq!(answer.code, OK, "{answer:?}");
    assert_eq!(bodies(&cluster, 1), ["old names"]);
    // One-way, and something after it by which to know that it is done: a connection's order is kept.
    connection.send(keyed("orders", 2, "one way").one_way()).expect("the slave listens");
    let answer = connection.call(keyed("orders", 2, "after it"), PATIENCE).expect("an answer");
    assert_eq!(answer.code, OK, "{answer:?}");
    assert_eq!(bodies(&cluster, 2), ["one way", "after it"]);
}

fn bodies(cluster: &Cluster, queue: i32) -> Vec<String> {
    let all = read_all(cluster, "orders", queue);
    all.into_iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect()
}

/// 14, with what is expected to be said.
#[track_caller]
fn is_refused(answer: &Command, why: &str) {
    let remark = answer.remark.as_deref().unwrap_or_default();
    assert!(answer.code == SERVICE_NOT_AVAILABLE && remark.contains(why), "{answer:?}");
}

/// Elections are paused by killing two of three controllers: nobody can be elected.
fn without_master(cluster: &mut Cluster) -> usize {
    let (master, slave) = (cluster.wait_master(), a_slave(cluster));
    let leader = cluster.wait_leader();
    let others: Vec<_> = (0..cluster.controllers.len()).filter(|it| *it != leader).collect();
    others.iter().for_each(|it| cluster.controllers[*it].kill());
    cluster.brokers[master].kill();
    slave
}

#[test]
fn a_request_that_finds_no_master_waits_and_is_refused_and_memory_is_bounded() {
    let _turn = one_at_a_time();
    let spec = ClusterSpec::default().broker_key("forwardHoldMillis=1500").broker_key("forwardHoldCount=10");
    let mut cluster = Cluster::start(spec);
    cluster.create_topic("orders", 1);
    let slave = without_master(&mut cluster);
    let mut connection = open(&cluster.brokers[slave]);
    for number in 0..12 {
        connection.send(keyed("orders", 0, &format!("0-{number}"))).expect("the slave listens");
    }
    let answers: Vec<_> = (0..12).map(|_| connection.receive(PATIENCE).expect("an answer")).collect();
    // The two that are too many are told at once, before those that wait.
    answers[..2].iter().for_each(|it| is_refused(it, "too many requests wait"));
    // Which of the two depends on when the slave heard of its master's death.
    let late = |it: &str| it.contains("no master was found in time") || it.contains("may have been stored");
    assert!(answers[2..].iter().all(|it| it.remark.as_deref().is_some_and(late)), "{answers:?}");
    answers[2..].iter().for_each(|it| is_refused(it, "service not available now"));
    let (status, page) = baton_tests::http::get(&cluster.brokers[slave].address, "/metrics").expect("a page");
    assert_eq!(status, 200);
    assert!(page.contains("baton_forward_refused_total{") && page.contains("reason=\"full\"} 2"), "{page}");
}

/// Its clients still reach it, it reaches nobody, and nobody says so.
#[test]
fn a_slave_that_is_cut_off_says_that_it_does_not_know() {
    let _turn = one_at_a_time();
    let Some(spec) = ClusterSpec::default().on_a_network() else {
        return loudly("no network namespaces here: a slave that is cut off is not tried");
    };
    let network = spec.network.clone().expect("a network");
    let cluster = Cluster::start(spec);
    cluster.create_topic("orders", 1);
    let slave = &cluster.brokers[a_slave(&cluster)];
    let mut connection = open(slave);
    assert_eq!(connection.call(keyed("orders", 0, "0-1"), PATIENCE).expect("an answer").code, OK);
    network.isolate(&[&slave.name]);
    let sent: Vec<_> = (2..12).map(|it| connection.send(keyed("orders", 0, &format!("0-{it}")))).collect();
    assert!(sent.iter().all(Result::is_ok));
    let cut_off: Vec<_> = (0..10).map(|_| connection.receive(PATIENCE).expect("an answer")).collect();
    cut_off.iter().for_each(|it| is_refused(it, "may have been stored"));
    network.heal();
    cluster.wait_whole();
    let mut answers = BTreeMap::new();
    wait_until("the slave passes on again", PATIENCE, || {
        let number = 12 + answers.len() as u64;
        let answer = connection.call(keyed("orders", 0, &format!("0-{number}")), PATIENCE).expect("an answer");
        let passed_on = answer.code == OK;
        answers.insert(number, answer);
        passed_on
    });
    judge(&cluster, "orders", 0, &answers);
}

#[test]
fn what_a_client_asked_before_it_went_away_is_not_appended_when_a_master_comes() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default().broker_key("forwardHoldMillis=60000"));
    cluster.create_topic("orders", 1);
    let slave = without_master(&mut cluster);
    let waiting = |count: &str| {
        let line = format!(
            "baton_forward_waiting{{cluster=\"test-cluster\",node_type=\"broker\",node_id=\"broker-a\"}} {count}"
        );
        baton_tests::http::get(&cluster.brokers[slave].address, "/metrics").is_some_and(|it| it.1.contains(&line))
    };
    let mut leaves = open(&cluster.brokers[slave]);
    leaves.send(keyed("orders", 0, "0-1")).expect("the slave listens");
    wait_until("the request waits", PATIENCE, || waiting("1.0"));
    drop(leaves);
    wait_until("it is forgotten", PATIENCE, || waiting("0.0"));
    let mut stays = open(&cluster.brokers[slave]);
    stays.send(keyed("orders", 0, "0-2")).expect("the slave listens");
    wait_until("the request waits", PATIENCE, || waiting("1.0"));
    cluster.controllers.iter_mut().filter(|it| !it.runs()).for_each(Node::start);
    let answer = stays.receive(PATIENCE).expect("an answer");
    assert_eq!(answer.code, OK, "{answer:?}");
    let stored: Vec<_> = read_all(&cluster, "orders", 0).into_iter().map(|it| it.body).collect();
    assert_eq!(stored, [b"0-2"]);
}

#[test]
fn what_was_passed_on_once_is_not_passed_on_again() {
    let _turn = one_at_a_time();
    let cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 1);
    let epoch = cluster.wait_whole().master_epoch;
    let marked = |epoch: i32| {
        keyed("orders", 0, "0-1")
            .with_ext("batonForwardedBy", 9)
            .with_ext("batonBornHost", "10.1.2.3:4567")
            .with_ext("batonMasterEpoch", epoch)
    };
    let not_appended = |answer: &Command| answer.ext.get("batonNotAppended").map(String::as_str) == Some("true");
    let mut slave = open(&cluster.brokers[a_slave(&cluster)]);
    let answer = slave.call(marked(epoch), PATIENCE).expect("an answer");
    is_refused(&answer, "not the master");
    assert!(not_appended(&answer), "{answer:?}");
    // Nor does a master take what was meant for an earlier epoch, or what says nothing of where it was born.
    let mut master = open(&cluster.brokers[cluster.wait_master()]);
    let answer = master.call(marked(epoch - 1), PATIENCE).expect("an answer");
    assert!(answer.code == SERVICE_NOT_AVAILABLE && not_appended(&answer), "{answer:?}");
    let garbled = keyed("orders", 0, "0-1").with_ext("batonForwardedBy", 9).with_ext("batonBornHost", "nowhere");
    assert_eq!(master.call(garbled, PATIENCE).expect("an answer").code, 1);
    assert!(read_all(&cluster, "orders", 0).is_empty());
    assert_eq!(master.call(marked(epoch), PATIENCE).expect("an answer").code, OK);
    let stored = read_all(&cluster, "orders", 0);
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].born_host.to_string(), "10.1.2.3:4567");
}

/// Consumers' requests, too: where a group is, who may read a queue, and where it ends.
#[test]
fn a_slave_asks_the_master_about_progress_locks_and_ends() {
    let _turn = one_at_a_time();
    let cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 1);
    let (master, slave) = (cluster.wait_master(), a_slave(&cluster));
    let (master, slave) = (&cluster.brokers[master].address, &cluster.brokers[slave].address);
    cluster.create_group("readers");
    assert_eq!(queries::commit_offset(slave, "readers", "orders", 0, 7).expect("an answer").code, OK);
    assert_eq!(queries::committed_offset(master, "readers", "orders", 0), Some(7));
    assert_eq!(queries::commit_offset(master, "readers", "orders", 0, 9).expect("an answer").code, OK);
    assert_eq!(queries::committed_offset(slave, "readers", "orders", 0), Some(9), "what the slave has may be older");
    let lock = |broker: &str, client: &str| {
        let queue = r#"{"topic":"orders","brokerName":"broker-a","queueId":0}"#;
        let body = format!(r#"{{"consumerGroup":"readers","clientId":"{client}","mqSet":[{queue}]}}"#);
        let answer = wire::call(broker, Command::request(41).with_body(body), 5 * SECOND).expect("an answer");
        assert_eq!(answer.code, OK, "{answer:?}");
        String::from_utf8_lossy(&answer.body).contains("orders")
    };
    assert!(lock(slave, "one"));
    assert!(!lock(master, "two"), "a lock that was taken through a slave holds");
    assert!(lock(master, "one"));
}
