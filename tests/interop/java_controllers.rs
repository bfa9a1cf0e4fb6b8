//! Our brokers under RocketMQ's own controllers: what an operator has who replaced the brokers first.

use baton_tests::cluster::{BROKER_SET, CLUSTER_NAME};
use baton_tests::java::JAVA_PATIENCE;
use baton_tests::java::{Java, text};
use baton_tests::{Cluster, ClusterSpec, Load, one_at_a_time, wait_for};

#[test]
fn our_brokers_fail_over_under_java_controllers() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let mut cluster = Cluster::prepare(&ClusterSpec::default());
    cluster.controllers.iter_mut().for_each(|it| java.runs(it, "org.apache.rocketmq.controller.ControllerStartup"));
    cluster.nameservers[0].start();
    cluster.controllers.iter_mut().for_each(|it| it.launch());
    cluster.controllers.iter_mut().for_each(|it| it.wait_booted());
    wait_for("Java's controllers have a leader", JAVA_PATIENCE, || cluster.leader());
    cluster.brokers.iter_mut().for_each(|it| it.start());
    let before = cluster.wait_whole();
    cluster.create_topic("orders", 3);
    let load = Load::start(cluster.nameserver(), "orders", 3);
    load.wait_progress(50);

    let slave = (cluster.wait_master() + 1) % 3;
    cluster.brokers[slave].kill();
    assert_eq!(cluster.wait_whole().in_sync.len(), 2);
    load.wait_progress(50);
    cluster.brokers[slave].start();
    cluster.wait_whole();

    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    cluster.wait_master_after(before.master_epoch);
    load.wait_progress(50);
    cluster.brokers[master].start();
    assert_eq!(cluster.wait_whole().addresses, before.addresses);
    load.wait_progress(50);

    load.stop().check(cluster.nameserver());
    our_mqadmin_operates_java_controllers(&cluster);
    cluster.assert_one_log();
}

fn our_mqadmin_operates_java_controllers(cluster: &Cluster) {
    let run = |arguments: &str| {
        let run = cluster.mqadmin(&arguments.split(' ').collect::<Vec<_>>());
        (run.status.success(), text(&run))
    };
    let (read, config) = run("getControllerConfig");
    let titles = config.lines().filter(|it| it.starts_with("============")).count();
    assert!(read && titles == 3, "{config}");
    assert!(config.lines().any(|it| it == format!("{:<50}=  5000", "scanNotActiveBrokerInterval")), "{config}");
    let (changed, said) = run("updateControllerConfig -k scanNotActiveBrokerInterval -v 4000");
    assert!(changed && said.ends_with("scanNotActiveBrokerInterval : 4000\n"), "{said}");
    assert_eq!(run("getControllerConfig").1.matches("=  4000\n").count(), 3);
    let (forgotten, said) = run(&format!("cleanBrokerMetadata -c {CLUSTER_NAME} -bn {BROKER_SET} -b 3"));
    assert!(!forgotten && said.contains("code 2009"), "it is alive: {said}");
    let (read, set) = run(&format!("getSyncStateSet -b {BROKER_SET}"));
    assert!(read && set.contains("#SyncStateSetNums\t3\n"), "{set}");
}
