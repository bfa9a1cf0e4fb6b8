//! Java's mqadmin operates our controllers: configuration, and what is forgotten about a replica. Ours prints the same.

use crate::admin_tool::{Tools, sorted};
use baton_tests::cluster::{BROKER_SET, CLUSTER_NAME};
use baton_tests::java::Java;
use baton_tests::{PATIENCE, one_at_a_time, wait_until};
use expect_test::expect;

#[test]
fn javas_mqadmin_operates_our_controllers() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let mut tools = Tools::start(java);
    let leader = tools.cluster.controllers[tools.cluster.wait_leader()].address.clone();

    let config = tools.java(&format!("getControllerConfig -a {leader}"));
    expect![[r#"
        ============<leader>============
        controllerDLegerGroup                             =  test-group
        controllerType                                    =  DLedger
        enableElectUncleanMaster                          =  false
        notifyBrokerRoleChanged                           =  true
        scanNotActiveBrokerInterval                       =  5000
    "#]]
    .assert_eq(&some_lines(&config.replace(&leader, "<leader>")));
    let ours = tools.ours(&format!("getControllerConfig -a {leader}"));
    assert_eq!(ours.lines().next(), config.lines().next(), "the title comes first");
    assert_eq!(sorted(&ours), sorted(&config));

    let updated = tools.java(&format!("updateControllerConfig -a {leader} -k scanNotActiveBrokerInterval -v 4000"));
    expect![[r#"
        update controller config success![<leader>]
        scanNotActiveBrokerInterval : 4000
    "#]]
    .assert_eq(&updated.replace(&leader, "<leader>"));
    let ours = tools.ours(&format!("updateControllerConfig -a {leader} -k scanNotActiveBrokerInterval -v 4000"));
    assert_eq!(ours, updated);
    let config = tools.java(&format!("getControllerConfig -a {leader}"));
    assert!(config.contains("scanNotActiveBrokerInterval") && config.contains("4000"), "{config}");
    let refused = tools.java_says(&format!("updateControllerConfig -a {leader} -k configStorePath -v /tmp/x"));
    expect![[r#"
        org.apache.rocketmq.tools.command.SubCommandException: UpdateControllerConfigSubCommand command failed
        Caused by: org.apache.rocketmq.client.exception.MQClientException: CODE: 16  DESC: Can not update config in black list.
        For more information, please visit the url, https://rocketmq.apache.org/docs/bestPractice/06FAQ
        	... 2 more
    "#]].assert_eq(&tools.masked(&refused));
    let ours = tools.ours_refuses(&format!("updateControllerConfig -a {leader} -k configStorePath -v /tmp/x"));
    assert!(ours.ends_with("code 16: Can not update config in black list.\n"), "{ours}");

    let clean = format!("cleanBrokerMetadata -a {leader} -c {CLUSTER_NAME} -bn {BROKER_SET}");
    let alive = tools.java_says(&format!("{clean} -b 3"));
    expect![[r#"
        org.apache.rocketmq.tools.command.SubCommandException: CleanControllerBrokerMetaSubCommand command failed
        Caused by: org.apache.rocketmq.client.exception.MQBrokerException: CODE: 2009  DESC: Broker [broker-a,  3] is still alive, clean up failure
        For more information, please visit the url, https://rocketmq.apache.org/docs/bestPractice/06FAQ
        	... 2 more
    "#]].assert_eq(&tools.masked(&alive));
    let ours = tools.ours_refuses(&format!("{clean} -b 3"));
    assert!(ours.ends_with("code 2009: Broker [broker-a,  3] is still alive, clean up failure\n"), "{ours}");
    let ours = tools.ours_refuses(&format!("cleanBrokerMetadata -a {leader} -bn {BROKER_SET} -b 3"));
    assert!(ours.contains("cleanLivingBroker option is false, clusterName option can not be empty"), "{ours}");
    tools.cluster.brokers[2].kill();
    assert_eq!(tools.cluster.wait_whole().in_sync.len(), 2);
    let forgotten = |tools: &Tools| !tools.cluster.replicas().is_some_and(|it| it.addresses.contains_key(&3));
    let mut said = String::new();
    wait_until("the dead replica may be forgotten", PATIENCE, || {
        said = tools.java_says(&format!("{clean} -b 3"));
        forgotten(&tools)
    });
    assert_eq!(said, "clear broker broker-a metadata from controller success! \n");
    assert_eq!(tools.ours(&format!("{clean} -b 3")), said, "what is forgotten already may be forgotten again");
    let unknown = tools.java_says(&format!("cleanBrokerMetadata -a {leader} -c {CLUSTER_NAME} -bn nobody -b 1"));
    expect![[r#"
        org.apache.rocketmq.tools.command.SubCommandException: CleanControllerBrokerMetaSubCommand command failed
        Caused by: org.apache.rocketmq.client.exception.MQBrokerException: CODE: 2009  DESC: Broker nobody is not existed,clean broker data failure.
        For more information, please visit the url, https://rocketmq.apache.org/docs/bestPractice/06FAQ
        	... 2 more
    "#]].assert_eq(&tools.masked(&unknown));
    let taken = tools.java_says(&format!("electMaster -a {leader} -b 1 -bn {BROKER_SET} -c {CLUSTER_NAME}"));
    expect![[r#"
        org.apache.rocketmq.tools.command.SubCommandException: ReElectMasterSubCommand command failed
        Caused by: org.apache.rocketmq.client.exception.MQBrokerException: CODE: 2011  DESC: The old master 1 is still alive, not need to elect new master for broker broker-a
        For more information, please visit the url, https://rocketmq.apache.org/docs/bestPractice/06FAQ
        	... 2 more
    "#]].assert_eq(&tools.masked(&taken));
    let dead = tools.java_says(&format!("electMaster -a {leader} -b 3 -bn {BROKER_SET} -c {CLUSTER_NAME}"));
    expect![[r#"
        org.apache.rocketmq.tools.command.SubCommandException: ReElectMasterSubCommand command failed
        Caused by: org.apache.rocketmq.client.exception.MQBrokerException: CODE: 2012  DESC: Failed to elect a new master
        For more information, please visit the url, https://rocketmq.apache.org/docs/bestPractice/06FAQ
        	... 2 more
    "#]].assert_eq(&tools.masked(&dead));
}

/// The title, then some of the keys that Java's controller has too, by name: their order is Java's hash order.
fn some_lines(printed: &str) -> String {
    let keys = [
        "controllerDLegerGroup",
        "controllerType",
        "enableElectUncleanMaster",
        "notifyBrokerRoleChanged",
        "scanNotActiveBrokerInterval",
    ];
    let known = |it: &&str| it.split_whitespace().next().is_some_and(|key| keys.contains(&key));
    let mut lines: Vec<_> = printed.lines().skip(1).filter(known).collect();
    lines.sort_unstable();
    printed.lines().take(1).chain(lines).map(|it| format!("{it}\n")).collect()
}
