//! RocketMQ's own scenarios of a group of controllers, F1 to F8, by their names (docs/SCENARIOS.md), with brokers that
//! are nothing but their requests. Each runs against controllers of their own and against those in nameservers.

use crate::stub::{Stub, elect, get_id, register};
use baton_tests::cluster::{BROKER_SET, CLUSTER_NAME, Cluster, ClusterSpec, ControllerForm};
use baton_tests::queries::{self, Replicas};
use baton_tests::{PATIENCE, SECOND, one_at_a_time, wait_for, wait_until, wire};
use proto::Command;
use std::collections::BTreeSet;

/// Codes of answers (protocol: controller.md).
const OK: i32 = 0;
const NO_PERMISSION: i32 = 16;
const MASTER_STILL_EXIST: i32 = 2011;
const ELECT_MASTER_FAILED: i32 = 2012;

macro_rules! in_both_forms {
    ($($scenario:ident),* $(,)?) => {
        mod independent {
            $(#[test] fn $scenario() { super::$scenario(baton_tests::ControllerForm::Independent); })*
        }
        mod in_nameservers {
            $(#[test] fn $scenario() { super::$scenario(baton_tests::ControllerForm::InNameservers); })*
        }
    };
}

in_both_forms!(
    f1_three_controllers_have_one_leader_and_elect_through_it,
    f2_two_of_three_controllers_down_decide_nothing_and_nothing_is_remembered,
    f3_without_unclean_election_nobody_follows_until_the_member_returns,
    f4_with_unclean_election_another_is_elected_alone,
    f5_another_leader_knows_master_epoch_and_set,
    f6_a_master_whose_heartbeats_stop_is_replaced,
    f7_a_broker_without_a_second_heartbeat_is_reported_inactive,
    f8_configuration_is_changed_but_not_what_is_black_listed,
);

/// Controllers only.
fn group(form: ControllerForm, keys: &[&str]) -> Cluster {
    let spec = keys.iter().fold(ClusterSpec::of(form), |spec, key| spec.controller_key(key));
    let mut cluster = Cluster::prepare(&ClusterSpec { brokers: 0, ..spec });
    cluster.launch_all();
    cluster.wait_leader();
    cluster
}

/// Replicas 1, 2 … that have registered and send heartbeats; nobody is master.
fn replicas(cluster: &Cluster, count: i64) -> Vec<Stub> {
    (1..=count)
        .map(|id| {
            let stub = Stub::new(id, &cluster.controllers.iter().map(|it| it.address.clone()).collect::<Vec<_>>());
            assert_eq!(get_id(cluster, &stub), id);
            register(cluster, &stub);
            stub
        })
        .collect()
}

/// The first replica becomes master and takes `members` into its set.
fn first_leads(cluster: &Cluster, stubs: &[Stub], members: &[i64]) -> Replicas {
    let answer = elect(cluster, &stubs[0], false, &[OK]);
    assert_eq!(answer.ext["masterEpoch"], "1");
    if members != [1] {
        let set = serde_json::json!({ "syncStateSet": members, "syncStateSetEpoch": 1 });
        // The leader must have heard everyone who is to be a member.
        wait_for("the set is altered", PATIENCE, || {
            let request = stubs[0].request(1001).with_ext("masterBrokerId", 1).with_ext("masterEpoch", 1);
            let request = request.with_body(serde_json::to_vec(&set).expect("JSON"));
            at_leader(cluster, request).filter(|it| it.code == OK)
        });
    }
    let now = cluster.replicas().expect("the leader answers");
    assert_eq!(now.in_sync, members.iter().copied().collect::<BTreeSet<_>>());
    now
}

fn at_leader(cluster: &Cluster, request: Command) -> Option<Command> {
    wire::call(&cluster.controllers[cluster.leader()?].address, request, 2 * SECOND).ok()
}

/// E1 to E3 through a group.
fn f1_three_controllers_have_one_leader_and_elect_through_it(form: ControllerForm) {
    let _turn = one_at_a_time();
    let cluster = group(form, &[]);
    let leader = &cluster.controllers[cluster.wait_leader()].address;
    wait_until("all name the same leader", PATIENCE, || {
        cluster.controllers.iter().all(|it| queries::leader_according_to(&it.address).as_ref() == Some(leader))
    });
    let mut stubs = replicas(&cluster, 3);
    let before = first_leads(&cluster, &stubs, &[1, 2, 3]);
    assert_eq!((before.master_epoch, before.sync_state_set_epoch), (1, 2));
    let refused = elect(&cluster, &stubs[1], false, &[MASTER_STILL_EXIST]);
    assert_eq!((refused.ext["masterBrokerId"].as_str(), refused.ext["masterEpoch"].as_str()), ("1", "1"));
    assert_eq!(refused.ext["masterAddress"], stubs[0].address);
    stubs.remove(0).die();
    let after = wait_for("another master", PATIENCE, || cluster.replicas().filter(|it| it.master_epoch == 2));
    assert!(after.master_id == 2 || after.master_id == 3, "{after:?}");
}

fn f2_two_of_three_controllers_down_decide_nothing_and_nothing_is_remembered(form: ControllerForm) {
    let _turn = one_at_a_time();
    let mut cluster = group(form, &[]);
    let stubs = replicas(&cluster, 2);
    first_leads(&cluster, &stubs, &[1, 2]);
    let alone = cluster.wait_leader();
    let others = [(alone + 1) % 3, (alone + 2) % 3];
    others.iter().for_each(|it| cluster.controllers[*it].kill());
    // An operator chooses 2; no majority hears of it.
    let lost = stubs[1].request(1002).with_ext("designateElect", true);
    let answer = wire::call(&cluster.controllers[alone].address, lost, 5 * SECOND);
    assert!(answer.as_ref().map_or(true, |it| it.code != OK), "decided without a majority: {answer:?}");
    cluster.controllers[alone].kill();
    others.iter().for_each(|it| cluster.controllers[*it].launch());
    others.iter().for_each(|it| cluster.controllers[*it].wait_booted());
    let now = wait_for("the other two answer", PATIENCE, || cluster.replicas());
    assert_eq!((now.master_id, now.master_epoch), (1, 1), "what no majority had is gone");
    // The new leader finds by itself that the master is inactive.
    stubs[0].fall_silent();
    let after = wait_for("another master", PATIENCE, || cluster.replicas().filter(|it| it.master_epoch == 2));
    assert_eq!(after.master_id, 2);
}

fn f3_without_unclean_election_nobody_follows_until_the_member_returns(form: ControllerForm) {
    let _turn = one_at_a_time();
    let cluster = group(form, &[]);
    let mut stubs = replicas(&cluster, 2);
    first_leads(&cluster, &stubs, &[1]);
    stubs.remove(0).die();
    wait_until("there is no master", PATIENCE, || info(&cluster).is_some_and(|it| it["masterEpoch"] == 2));
    let now = info(&cluster).expect("the leader answers");
    assert!(now["masterBrokerId"].is_null(), "{now}");
    assert_eq!(now["inSyncReplicas"][0]["brokerId"], 1, "the set stays as it was: {now}");
    elect(&cluster, &stubs[0], false, &[ELECT_MASTER_FAILED]);
    let back = Stub::new(1, &cluster.controllers.iter().map(|it| it.address.clone()).collect::<Vec<_>>());
    register(&cluster, &back);
    // Its own try, unless the controllers were quicker: they look after a set without a master by themselves.
    let answer = elect(&cluster, &back, false, &[OK, MASTER_STILL_EXIST]);
    assert_eq!((answer.ext["masterBrokerId"].as_str(), answer.ext["masterEpoch"].as_str()), ("1", "3"));
}

fn f4_with_unclean_election_another_is_elected_alone(form: ControllerForm) {
    let _turn = one_at_a_time();
    let cluster = group(form, &["enableElectUncleanMaster=true"]);
    let mut stubs = replicas(&cluster, 2);
    first_leads(&cluster, &stubs, &[1]);
    stubs.remove(0).die();
    let after = wait_for("another master", PATIENCE, || cluster.replicas().filter(|it| it.master_id == 2));
    assert_eq!((after.master_epoch, after.in_sync), (2, BTreeSet::from([2])));
}

fn f5_another_leader_knows_master_epoch_and_set(form: ControllerForm) {
    let _turn = one_at_a_time();
    let mut cluster = group(form, &[]);
    let stubs = replicas(&cluster, 3);
    let before = first_leads(&cluster, &stubs, &[1, 2, 3]);
    let leader = cluster.wait_leader();
    cluster.controllers[leader].kill();
    let after = wait_for("another leader answers", PATIENCE, || cluster.replicas());
    assert_eq!(after, before);
}

fn f6_a_master_whose_heartbeats_stop_is_replaced(form: ControllerForm) {
    let _turn = one_at_a_time();
    let cluster = group(form, &[]);
    let stubs = replicas(&cluster, 2);
    first_leads(&cluster, &stubs, &[1, 2]);
    let answer = elect(&cluster, &stubs[1], false, &[MASTER_STILL_EXIST]);
    assert_eq!(answer.ext["masterBrokerId"], "1");
    stubs[0].fall_silent();
    let after = wait_for("another master", PATIENCE, || cluster.replicas().filter(|it| it.master_id == 2));
    assert_eq!(after.master_epoch, 2);
}

fn f7_a_broker_without_a_second_heartbeat_is_reported_inactive(form: ControllerForm) {
    let _turn = one_at_a_time();
    let mut cluster = group(form, &[]);
    let stubs = replicas(&cluster, 2);
    first_leads(&cluster, &stubs, &[1]);
    wait_until("both are alive", PATIENCE, || [1, 2].iter().all(|it| alive(&cluster, *it) == Some(true)));
    stubs[1].fall_silent();
    wait_until("the silent one is not", PATIENCE, || alive(&cluster, 2) == Some(false));
    assert_eq!(alive(&cluster, 1), Some(true));
    // Every controller keeps its own account, so the next leader says the same.
    let leader = cluster.wait_leader();
    cluster.controllers[leader].kill();
    wait_until("the next leader says the same", PATIENCE, || {
        alive(&cluster, 1) == Some(true) && alive(&cluster, 2) == Some(false)
    });
}

fn f8_configuration_is_changed_but_not_what_is_black_listed(form: ControllerForm) {
    let _turn = one_at_a_time();
    let cluster = group(form, &[]);
    let controller = &cluster.controllers[0].address;
    let update = |line: &str| {
        let request = Command::request(1009).with_body(line.as_bytes().to_vec());
        wire::call(controller, request, 5 * SECOND).expect("any controller answers")
    };
    assert_eq!(update("notifyBrokerRoleChanged=true").code, OK);
    for key in ["configStorePath", "rocketmqHome", "configBlackList"] {
        let refused = update(&format!("{key}=test"));
        assert_eq!(refused.code, NO_PERMISSION, "{key}: {refused:?}");
        assert_eq!(refused.remark.as_deref(), Some("Can not update config in black list."));
    }
}

/// The set's part of 1006, as the leader answers it.
fn info(cluster: &Cluster) -> Option<serde_json::Value> {
    let request = Command::request(1006).with_body(format!("[\"{BROKER_SET}\"]").into_bytes());
    let answer = at_leader(cluster, request).filter(|it| it.code == OK)?;
    let all: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let info = all["replicasInfoTable"][BROKER_SET].clone();
    assert!(!info.is_null(), "{CLUSTER_NAME}/{BROKER_SET} is not known: {all}");
    Some(info)
}

fn alive(cluster: &Cluster, id: i64) -> Option<bool> {
    let now = info(cluster)?;
    let all = ["inSyncReplicas", "notInSyncReplicas"].map(|it| now[it].as_array().cloned().unwrap_or_default());
    all.concat().iter().find(|it| it["brokerId"] == id)?["alive"].as_bool()
}
