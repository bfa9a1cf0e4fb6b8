//! Failover aliases as RocketMQ's nameserver and its admin tool see them: they know no difference between an alias and
//! a broker, so this is what an operator of theirs sees.

use crate::admin_tool::Tools;
use crate::nobody_notices::{Fault, live_through, nobody_noticed};
use baton_tests::cluster::{BROKER_SET, CLUSTER_NAME};
use baton_tests::java::Java;
use baton_tests::{Cluster, ClusterSpec, PATIENCE, one_at_a_time, queries, wait_until};
use expect_test::{Expect, expect};
use std::collections::BTreeMap;

fn prepared() -> Cluster {
    Cluster::prepare(&ClusterSpec::default().broker_key("enableFailoverAlias=true"))
}

/// The same with RocketMQ's nameserver.
fn prepared_under_javas_nameserver(java: &Java) -> Cluster {
    let mut cluster = prepared();
    java.runs(&mut cluster.nameservers[0], "org.apache.rocketmq.namesrv.NamesrvStartup");
    cluster
}

/// A topic of four queues, made by cluster name, and its aliases in the route.
fn with_a_topic(tools: &Tools) {
    let created = tools.masked(&tools.java(&format!("updateTopic -c {CLUSTER_NAME} -t orders -r 4 -w 4")));
    assert!(created.starts_with("create topic to <broker 1> success.\nTopicConfig"), "one broker only: {created}");
    wait_until("both aliases are in the route", PATIENCE, || {
        [2, 3].iter().all(|id| addresses(tools, &format!("{BROKER_SET}@{id}")).len() == 1)
    });
}

/// Addresses of a broker in the topic's route.
fn addresses(tools: &Tools, broker: &str) -> BTreeMap<i64, String> {
    queries::route(tools.cluster.nameserver(), "orders", broker).unwrap_or_default()
}

/// Lines with their blanks made one, and of each the first `words`.
#[track_caller]
fn check(tools: &Tools, printed: &str, words: usize, expect: &Expect) {
    let line = |it: &str| it.split_whitespace().take(words).collect::<Vec<_>>().join(" ") + "\n";
    let masked = tools.masked(printed).replace("<broker ", "<broker-");
    expect.assert_eq(&masked.lines().filter(|it| !it.starts_with("---")).map(line).collect::<String>());
}

fn check_topic(tools: &Tools) {
    let status = tools.java("topicStatus -t orders");
    expect![[r#"
        #Broker Name                      #QID  #Min Offset           #Max Offset             #Last Updated
        broker-a                          0     0                     0                       
        broker-a                          1     0                     0                       
        broker-a                          2     0                     0                       
        broker-a                          3     0                     0                       

        Topic Put TPS: 0.0
    "#]]
    .assert_eq(&status);
    assert_eq!(tools.ours("topicStatus -t orders"), status);
    let own = expect![[r#"
        #ClusterName #BrokerName #BrokerAddrs #ReadQueue #WriteQueue #Perm
        test-cluster broker-a {0=<broker-1>, 2=<broker-2>, 3=<broker-3>} 4 4 6
        Total: 1 4 4
    "#]];
    check(tools, &tools.ours("topicRoute -l -t orders"), 20, &own);
    let marked = expect![[r#"
        #ClusterName #BrokerName #BrokerAddrs #ReadQueue #WriteQueue #Perm
        test-cluster broker-a {0=<broker-1>, 2=<broker-2>, 3=<broker-3>} 4 4 6
        test-cluster@alias broker-a@2 {0=<broker-2>} 0 1 2
        test-cluster@alias broker-a@3 {0=<broker-3>} 0 1 2
        Total: 1 4 4
    "#]];
    check(tools, &tools.ours("topicRoute -l -t orders --aliases"), 20, &marked);
    let javas = expect![[r#"
        #ClusterName #BrokerName #BrokerAddrs #ReadQueue #WriteQueue #Perm
        test-cluster broker-a {0=<broker-1>, 2=<broker-2>, 3=<broker-3>} 4 4 6
        test-cluster@alias broker-a@2 {0=<broker-2>} 0 1 2
        test-cluster@alias broker-a@3 {0=<broker-3>} 0 1 2
        Total: 3 4 6
    "#]];
    check(tools, &tools.java("topicRoute -l -t orders"), 20, &javas);
    let topics = tools.java("topicList");
    assert!(!topics.contains('@'), "{topics}");
}

fn check_clusters(tools: &Tools, javas: &Expect) {
    let own = expect![[r#"
        #Cluster Name #Broker Name #BID
        test-cluster broker-a 0 <broker-1> V5_5_0
        test-cluster broker-a 2 <broker-2> V5_5_0
        test-cluster broker-a 3 <broker-3> V5_5_0
    "#]];
    check(tools, &tools.ours("clusterList"), 5, &own);
    let marked = expect![[r#"
        #Cluster Name #Broker Name #BID
        test-cluster broker-a 0 <broker-1> V5_5_0
        test-cluster broker-a 2 <broker-2> V5_5_0
        test-cluster broker-a 3 <broker-3> V5_5_0
        test-cluster@alias broker-a@2 0 <broker-2> V5_5_0
        test-cluster@alias broker-a@3 0 <broker-3> V5_5_0
    "#]];
    check(tools, &tools.ours("clusterList --aliases"), 5, &marked);
    check(tools, &tools.java("clusterList"), 5, javas);
}

#[test]
fn javas_mqadmin_sees_our_nameservers_aliases_in_routes_only() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let tools = Tools::start_all_of(prepared(), java);
    with_a_topic(&tools);
    check_topic(&tools);
    let none = expect![[r#"
        #Cluster Name #Broker Name #BID
        test-cluster broker-a 0 <broker-1> V5_5_0
        test-cluster broker-a 2 <broker-2> V5_5_0
        test-cluster broker-a 3 <broker-3> V5_5_0
    "#]];
    check_clusters(&tools, &none);
}

#[test]
fn javas_nameserver_shows_aliases_as_brokers_of_a_cluster_of_their_own() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let mut tools = Tools::start_all_of(prepared_under_javas_nameserver(&java), java);
    with_a_topic(&tools);
    check_topic(&tools);
    let all = expect![[r#"
        #Cluster Name #Broker Name #BID
        test-cluster@alias broker-a@2 0 <broker-2> V5_5_0
        test-cluster@alias broker-a@3 0 <broker-3> V5_5_0
        test-cluster broker-a 0 <broker-1> V5_5_0
        test-cluster broker-a 2 <broker-2> V5_5_0
        test-cluster broker-a 3 <broker-3> V5_5_0
    "#]];
    check_clusters(&tools, &all);

    // A slave that dies takes both of its registrations along, although that nameserver removes one per connection.
    tools.cluster.brokers[2].kill();
    wait_until("nothing of the dead slave is left", PATIENCE, || {
        addresses(&tools, BROKER_SET).len() == 2 && addresses(&tools, "broker-a@3").is_empty()
    });
    // A topic that is deleted leaves the aliases too.
    tools.java(&format!("deleteTopic -c {CLUSTER_NAME} -t orders"));
    wait_until("the deleted topic has no route", PATIENCE, || {
        [BROKER_SET, "broker-a@2"].iter().all(|it| addresses(&tools, it).is_empty())
    });
}

#[test]
#[ignore = "half a minute more of what nobody_notices shows with our nameserver"]
fn nobody_notices_a_killed_master_under_javas_nameserver() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let mut cluster = prepared_under_javas_nameserver(&java);
    cluster.launch_all();
    cluster.wait_whole();
    let told = live_through(&java, &mut cluster, Fault::Kill);
    // Those whose queue a selector chose: nobody is at their address until the broker is back.
    nobody_noticed(&cluster, &told, u64::MAX);
}
