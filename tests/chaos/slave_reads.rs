//! Reading from slaves: by a consumer whose route is old, and by one that is sent there.

use baton_tests::wire::{Connection, call};
use baton_tests::{Cluster, ClusterSpec, PATIENCE, one_at_a_time, queries, wait_for, wait_until};
use proto::Command;
use std::collections::BTreeMap;
use std::time::Duration;

const PROMPT: Duration = Duration::from_secs(5);
const NOT_FOUND: i32 = 19;
const QUEUES: i32 = 8;

fn send(cluster: &Cluster, queue_id: i32, body: &str) {
    wait_until("a message is acknowledged", PATIENCE, || {
        let Some(master) = cluster.master() else { return false };
        let request = queries::send_request("orders", queue_id, body.to_owned());
        call(&cluster.brokers[master].address, request, PROMPT).is_ok_and(|it| it.code == queries::OK)
    });
}

fn pull(queue_id: i32, offset: i64, hold: Duration) -> Command {
    queries::pull_request("readers", "orders", queue_id, offset, hold)
}

fn number(answer: &Command, field: &str) -> i64 {
    answer.ext.get(field).and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("no {field}: {answer:?}"))
}

/// A Java consumer asks for its route each 30 s: until then it pulls where the master was.
#[test]
fn a_restarted_old_master_serves_what_it_has_and_moves_nobody() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 1);
    cluster.create_group("readers");
    for i in 0..50 {
        send(&cluster, 0, &format!("message {i}"));
    }
    let before = cluster.wait_whole();
    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    cluster.wait_master_after(before.master_epoch);
    cluster.brokers[master].start();
    cluster.wait_whole();
    let address = cluster.brokers[master].address.clone();
    let mut connection = Connection::open(&address, PROMPT).expect("the old master listens");
    wait_until("the old master serves everything again", PATIENCE, || {
        let answer = connection.call(pull(0, 18, Duration::ZERO), PROMPT).expect("an answer");
        answer.code == queries::OK && number(&answer, "nextBeginOffset") == 50
    });

    // The consumer has been further than this replica is: nothing says where to go instead, in either direction.
    let ahead = connection.call(pull(0, 57, Duration::ZERO), PROMPT).expect("an answer");
    assert_eq!((ahead.code, number(&ahead, "nextBeginOffset")), (NOT_FOUND, 57), "{:?}", ahead.remark);
    // And one that waits there gets what comes.
    connection.send(pull(0, 50, PATIENCE)).expect("sent");
    send(&cluster, 0, "new");
    let held = connection.receive(PATIENCE).expect("the held pull is answered");
    assert_eq!((held.code, number(&held, "nextBeginOffset")), (queries::OK, 51), "{:?}", held.remark);
}

/// A broker that has come back knows few of a group's consumers; each that asks it must hear of all.
#[test]
fn a_slave_lets_the_master_say_who_is_in_a_group() {
    let _turn = one_at_a_time();
    let cluster = Cluster::start(ClusterSpec::default());
    cluster.create_topic("orders", 1);
    let master = cluster.wait_master();
    let subscriptions = [serde_json::json!({ "topic": "orders", "subString": "*" })];
    let consumer = serde_json::json!({
        "clientID": "first",
        "consumerDataSet": [{ "groupName": "readers", "subscriptionDataSet": subscriptions }],
    });
    let body = serde_json::to_vec(&consumer).expect("a map is JSON");
    let mut connection = Connection::open(&cluster.brokers[master].address, PROMPT).expect("the master listens");
    let known = connection.call(Command::request(34).with_body(body), PROMPT).expect("an answer");
    assert_eq!(known.code, queries::OK, "{:?}", known.remark);
    for slave in (0..cluster.brokers.len()).filter(|it| *it != master) {
        let ask = Command::request(38).with_ext("consumerGroup", "readers");
        let list = call(&cluster.brokers[slave].address, ask, PROMPT).expect("an answer");
        assert!(String::from_utf8_lossy(&list.body).contains("\"first\""), "{list:?}");
    }
}

/// Each queue has one replica; it is read there as completely as from the master, and a dead one's queues move on.
#[test]
fn readers_are_spread_over_the_replicas_that_keep_up() {
    let _turn = one_at_a_time();
    let spec = ClusterSpec::default().broker_key("slaveReadEnable=true").broker_key("slaveReadSpread=true");
    let mut cluster = Cluster::start(spec);
    cluster.create_topic("orders", QUEUES);
    cluster.create_group("readers");
    for queue in 0..QUEUES {
        send(&cluster, queue, &format!("first of {queue}"));
    }
    let replicas = cluster.wait_whole();
    let suggested = |cluster: &Cluster| -> Option<BTreeMap<i32, i64>> {
        let mut connection = Connection::open(&cluster.brokers[cluster.master()?].address, PROMPT).ok()?;
        let mut suggested = |queue| {
            let answer = connection.call(pull(queue, 0, Duration::ZERO), PROMPT).ok()?;
            (answer.code == queries::OK).then(|| (queue, number(&answer, "suggestWhichBrokerId")))
        };
        (0..QUEUES).map(&mut suggested).collect()
    };
    let slaves: Vec<i64> = replicas.in_sync.iter().copied().filter(|it| *it != replicas.master_id).collect();
    let hints = wait_for("both slaves have readers", PATIENCE, || {
        suggested(&cluster).filter(|hints| slaves.iter().all(|slave| hints.values().any(|it| it == slave)))
    });
    for (queue, slave) in hints.iter().filter(|(_, it)| **it != 0) {
        let address = &replicas.addresses[slave];
        let mut connection = Connection::open(address, PROMPT).expect("the slave listens");
        let first = connection.call(pull(*queue, 0, PATIENCE), PATIENCE).expect("an answer");
        assert_eq!((first.code, number(&first, "nextBeginOffset")), (queries::OK, 1), "{:?}", first.remark);
        // It hears a moment later than the master who is in the set.
        wait_until("the slave agrees", PATIENCE, || {
            let again = connection.call(pull(*queue, 0, PATIENCE), PATIENCE).expect("an answer");
            number(&again, "suggestWhichBrokerId") == *slave
        });
        connection.send(pull(*queue, 1, PATIENCE)).expect("sent");
        send(&cluster, *queue, "second");
        let second = connection.receive(PATIENCE).expect("the held pull is answered");
        assert_eq!((second.code, number(&second, "nextBeginOffset")), (queries::OK, 2), "{:?}", second.remark);
    }

    let dead = slaves[0];
    let broker = cluster.broker_at(&replicas.addresses[&dead]).expect("a broker of the cluster");
    cluster.brokers[broker].kill();
    let after = wait_for("nobody is sent to the dead slave", PATIENCE, || {
        suggested(&cluster).filter(|hints| hints.values().all(|it| *it != dead))
    });
    let stayed = hints.iter().filter(|(_, it)| **it != dead).all(|(queue, it)| after[queue] == *it);
    assert!(stayed, "the others' readers stay: {hints:?}, then {after:?}");
}
