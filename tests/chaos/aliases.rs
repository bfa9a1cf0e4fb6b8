//! Failover aliases: who is announced under which name while replicas come, lead and die, and where sends through them
//! go.

use baton_tests::queries::{OK, Replicas, send_request};
use baton_tests::{Cluster, ClusterSpec, PATIENCE, http, one_at_a_time, wait_for, wait_until, wire};
use proto::Command;
use serde_json::Value;
use std::collections::BTreeMap;

const TOPIC: &str = "orders";
const QUEUES: i32 = 8;

fn cluster() -> Cluster {
    let cluster = Cluster::start(ClusterSpec::default().broker_key("enableFailoverAlias=true"));
    cluster.create_topic(TOPIC, QUEUES);
    cluster
}

fn json(address: &str, request: Command) -> Option<Value> {
    let answer = wire::call(address, request, PATIENCE).ok().filter(|it| it.code == OK)?;
    serde_json::from_slice(&answer.body).ok()
}

fn route(cluster: &Cluster, topic: &str) -> Option<Value> {
    json(cluster.nameserver(), Command::request(105).with_ext("topic", topic).with_ext("acceptStandardJsonOnly", true))
}

/// Aliases in the topic's route with what stands behind them.
fn aliases(cluster: &Cluster, topic: &str) -> BTreeMap<String, String> {
    let route = route(cluster, topic).unwrap_or_default();
    let sets = route["brokerDatas"].as_array().into_iter().flatten();
    let named = sets.filter_map(|it| Some((it["brokerName"].as_str()?, it["brokerAddrs"]["0"].as_str()?)));
    named.filter(|(name, _)| name.contains('@')).map(|(name, address)| (name.to_owned(), address.to_owned())).collect()
}

/// Those of all running slaves.
fn expected(cluster: &Cluster, replicas: &Replicas) -> BTreeMap<String, String> {
    let runs = |address: &str| cluster.brokers.iter().any(|it| it.runs() && it.address == address);
    let slaves = replicas.addresses.iter().filter(|(id, address)| **id != replicas.master_id && runs(address));
    slaves.map(|(id, address)| (format!("broker-a@{id}"), address.clone())).collect()
}

#[track_caller]
fn wait_aliases(cluster: &Cluster, topic: &str) -> BTreeMap<String, String> {
    wait_for("an alias of each running slave, and no other", PATIENCE, || {
        let expected = expected(cluster, &cluster.replicas()?);
        (aliases(cluster, topic) == expected).then_some(expected)
    })
}

#[test]
fn each_slave_has_an_alias_for_as_long_as_it_is_one() {
    let _turn = one_at_a_time();
    let mut cluster = cluster();
    assert_eq!(wait_aliases(&cluster, TOPIC).len(), 2);

    let before = cluster.wait_whole();
    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    let after = cluster.wait_master_after(before.master_epoch);
    assert_eq!(wait_aliases(&cluster, TOPIC).len(), 1, "the new master has none");

    cluster.brokers[master].start();
    assert!(wait_aliases(&cluster, TOPIC).contains_key(&format!("broker-a@{}", before.master_id)));

    let slave = cluster.brokers.iter().position(|it| it.runs() && it.address != after.master_address);
    let slave = slave.expect("a slave");
    cluster.brokers[slave].kill();
    assert_eq!(wait_aliases(&cluster, TOPIC).len(), 1);
    cluster.brokers[slave].start();
    wait_aliases(&cluster, TOPIC);
    assert!(cluster.brokers[slave].stop().success());
    let known = aliases(&cluster, TOPIC);
    assert_eq!(known, expected(&cluster, &after), "a slave that ends takes its alias away first");
}

#[test]
fn the_alias_of_a_hung_slave_runs_out_and_comes_back_with_it() {
    let _turn = one_at_a_time();
    let mut cluster = cluster();
    let all = wait_aliases(&cluster, TOPIC);
    let (name, address) = all.iter().next().expect("an alias");
    let hung = cluster.broker_at(address).expect("a broker");
    cluster.brokers[hung].pause();
    wait_until("its alias runs out", PATIENCE, || {
        let known = aliases(&cluster, TOPIC);
        known.len() == all.len() - 1 && !known.contains_key(name)
    });
    cluster.brokers[hung].resume();
    wait_until("it is announced again", PATIENCE, || aliases(&cluster, TOPIC) == all);
}

#[test]
fn aliases_are_writeable_brokers_in_routes_and_nothing_elsewhere() {
    let _turn = one_at_a_time();
    let cluster = cluster();
    let names = wait_aliases(&cluster, TOPIC);
    let route = route(&cluster, TOPIC).expect("a route");
    for set in route["brokerDatas"].as_array().expect("a list") {
        let alias = names.contains_key(set["brokerName"].as_str().expect("a name"));
        assert_eq!(set["cluster"], if alias { "test-cluster@alias" } else { "test-cluster" });
    }
    for queues in route["queueDatas"].as_array().expect("a list") {
        if names.contains_key(queues["brokerName"].as_str().expect("a name")) {
            let numbers = ["perm", "readQueueNums", "writeQueueNums"].map(|key| queues[key].as_i64());
            assert_eq!(numbers, [Some(2), Some(0), Some(1)]);
        }
    }
    let info = json(cluster.nameserver(), Command::request(106)).expect("cluster info");
    assert_eq!(info["clusterAddrTable"], serde_json::json!({ "test-cluster": ["broker-a"] }));
    let all = json(cluster.nameserver(), Command::request(106).with_ext("batonAliases", true)).expect("cluster info");
    assert_eq!(all["clusterAddrTable"]["test-cluster@alias"].as_array().map(Vec::len), Some(2));

    // A lone topic more comes at once; one that is deleted goes.
    cluster.create_topic("bills", 4);
    wait_aliases(&cluster, "bills");
    let master = &cluster.brokers[cluster.wait_master()].address;
    let delete = Command::request(215).with_ext("topic", "bills");
    assert_eq!(wire::call(master, delete, PATIENCE).expect("an answer").code, OK);
    wait_until("no alias has the deleted topic", PATIENCE, || aliases(&cluster, "bills").is_empty());
    wait_aliases(&cluster, TOPIC);
}

/// A message for an alias, and the queue that it ended in.
fn sent(address: &str, alias: &str) -> Result<i32, (i32, String)> {
    let request = send_request(TOPIC, 0, format!("through {alias}")).with_ext("n", alias);
    let answer = wire::call(address, request, PATIENCE).expect("an answer");
    match answer.code {
        OK => Ok(answer.ext["queueId"].parse().expect("a number")),
        code => Err((code, answer.remark.unwrap_or_default())),
    }
}

fn metric(address: &str, name: &str) -> f64 {
    let (_, page) = http::get(address, "/metrics").expect("metrics");
    let sample = page.lines().find(|it| it.starts_with(name)).and_then(|it| it.rsplit(' ').next()?.parse().ok());
    sample.unwrap_or(0.0)
}

#[test]
fn all_sends_of_an_alias_go_to_one_queue_of_the_set_whoever_gets_them() {
    let _turn = one_at_a_time();
    let cluster = cluster();
    let names = wait_aliases(&cluster, TOPIC);
    let master = cluster.brokers[cluster.wait_master()].address.clone();
    let others = ["broker-a@1", "broker-a@2", "broker-a@3", "broker-a@12"].map(|it| (it, &master));
    let own = names.iter().map(|(name, address)| (name.as_str(), address));
    for (alias, address) in own.chain(others) {
        let id: i32 = alias.rsplit('@').next().and_then(|it| it.parse().ok()).expect("an id");
        for _ in 0..2 {
            assert_eq!(sent(address, alias), Ok((id - 1) % QUEUES), "{alias} at {address}");
        }
    }
    assert_eq!(metric(&master, "baton_alias_sends_total"), 12.0, "each is counted once, where it is stored");
    let (code, why) = sent(&master, "broker-b@2").expect_err("the alias of another set");
    assert_eq!(
        (code, why.as_str()),
        (14, "`broker-b@2` is an alias of another broker set; this is a replica of `broker-a`")
    );
}
