//! A cluster that asks for signatures everywhere works as ever, and a stranger changes nothing (docs/SECURITY.md).

use baton_tests::{Cluster, ClusterSpec, Load, one_at_a_time, wire};
use proto::Command as Request;
use std::time::Duration;

const KEYS: [&str; 3] = ["controllerAclEnable=true", "controllerAccessKey=baton", "controllerSecretKey=12345678"];

#[test]
fn with_signatures_everything_works_and_a_stranger_changes_nothing() {
    let _turn = one_at_a_time();
    let mut spec = ClusterSpec::default();
    spec.controller_keys.extend(KEYS.map(str::to_owned));
    spec.broker_keys.extend(KEYS.map(str::to_owned));
    let mut cluster = Cluster::start(spec);
    cluster.create_topic("orders", 2);
    let load = Load::start(cluster.nameserver(), "orders", 2);
    load.wait_progress(20);
    let before = cluster.wait_whole();

    // Who could say this to a broker would take its mastership away (1008), or stop its writes (31002).
    let newer = before.master_epoch + 7;
    let other = before.addresses.keys().find(|id| **id != before.master_id).expect("a slave");
    let deposed = Request::request(1008).with_ext("brokerName", "broker-a").with_ext("masterEpoch", newer);
    let deposed = deposed.with_ext("masterBrokerId", other).with_ext("masterAddress", &before.addresses[other]);
    let deposed = deposed.with_body(&br#"{"syncStateSet":[1,2,3],"syncStateSetEpoch":999}"#[..]);
    let held = Request::request(31002).with_ext("brokerName", "broker-a").with_ext("masterEpoch", before.master_epoch);
    let held = held.with_ext("targetBrokerId", other).with_ext("drainMills", 5000).with_ext("holdMills", 5000);
    for request in [deposed, held] {
        let answer = wire::call(&before.master_address, request, Duration::from_secs(10)).expect("an answer");
        assert_eq!(answer.code, 16, "{answer:?}");
    }
    load.wait_progress(20);
    assert_eq!(cluster.wait_whole().master_epoch, before.master_epoch);

    let refused = cluster.mqadmin_at_home(cluster.folder(), &["switchover", "-b", "broker-a"]);
    assert!(!refused.status.success(), "an unsigned switchover");
    let conf = cluster.folder().join("conf");
    std::fs::create_dir(&conf).expect("folder");
    std::fs::write(conf.join("tools.yml"), "accessKey: baton\nsecretKey: \"12345678\"\n").expect("tools.yml");
    let done = cluster.mqadmin_at_home(cluster.folder(), &["switchover", "-b", "broker-a"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let moved = cluster.wait_master_after(before.master_epoch);
    load.wait_progress(20);
    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    cluster.wait_master_after(moved.master_epoch);
    load.wait_progress(20);
    load.stop().check(cluster.nameserver());
}
