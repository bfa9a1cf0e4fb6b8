//! Every request with a field that is missing, ill-typed, negative, too large or unknown, about sets and ids that do
//! not exist, at stale epochs, with a body that is none: RocketMQ's code, a remark, and nothing changed.

use super::Rig;

/// A set `a` with a live master 1 and a live member 2.
async fn rig() -> Rig {
    let rig = Rig::start().await;
    for id in ["1", "2"] {
        let code = format!("10.0.0.{id}:1;1");
        rig.told(1013, &super::of(&[("appliedBrokerId", id), ("registerCheckCode", &code)]), "").await;
        rig.heartbeat(id, "1").await;
    }
    rig.told(1002, &super::of(&[("brokerId", "1")]), "").await;
    rig
}

/// All that the controllers know of the sets.
async fn state(rig: &Rig) -> Vec<String> {
    let set = super::of(&[]);
    vec![
        rig.told(1006, &[], r#"["a","b"]"#).await,
        rig.told(1012, &set, "").await,
        rig.told(1012, &[("clusterName", "c"), ("brokerName", "b")], "").await,
        rig.told(1010, &[], "").await,
    ]
}

/// Fields with which a request to set `a` is in order.
fn good(code: i32) -> Vec<(&'static str, &'static str)> {
    let own: &[(&str, &str)] = match code {
        1001 => &[("masterBrokerId", "1"), ("masterEpoch", "1")],
        1003 => &[("brokerId", "2"), ("brokerAddress", "10.0.0.2:1")],
        1013 => &[("appliedBrokerId", "3"), ("registerCheckCode", "10.0.0.3:1;1")],
        1011 => &[("brokerControllerIdsToClean", "2"), ("isCleanLivingBroker", "false")],
        1002 | 904 => &[("brokerId", "1"), ("brokerAddr", "x")],
        31012 => &[("brokerId", "1")],
        _ => &[],
    };
    super::of(own)
}

fn with(code: i32, field: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let others = good(code).into_iter().filter(|it| it.0 != field);
    others.chain((value != "-").then_some((field, value))).collect()
}

const SET: &str = r#"{"syncStateSet":[1,2],"syncStateSetEpoch":1}"#;
/// One more than fits into 64 bits.
const HUGE: &str = "9223372036854775808";

/// Code, field, its value (`-`: missing), body, the answer's beginning.
const TABLE: &[(i32, &str, &str, &str, &str)] = &[
    (1001, "brokerName", "-", SET, "1 | AlterSyncStateSetRequest: field `brokerName` is missing"),
    (1001, "brokerName", "b", SET, "2013 | Broker metadata is not existed"),
    (1001, "masterBrokerId", "one", SET, "1 | AlterSyncStateSetRequest: field `masterBrokerId` is `one`: want"),
    (
        1001,
        "masterBrokerId",
        HUGE,
        SET,
        "1 | AlterSyncStateSetRequest: field `masterBrokerId` is `9223372036854775808`",
    ),
    (
        1001,
        "masterBrokerId",
        "-7",
        SET,
        "2002 | Rejecting alter syncStateSet request because the current leader is:{1}",
    ),
    (1001, "masterBrokerId", "2", SET, "2002 | Rejecting alter syncStateSet request because the current leader is:{1}"),
    (
        1001,
        "masterEpoch",
        "0",
        SET,
        "2000 | Rejecting alter syncStateSet request because the current master epoch is:{1}",
    ),
    (1001, "masterEpoch", "-1", SET, "2000 | Rejecting"),
    (1001, "x", "y", "no json", "1 | body of request 1001: want a SyncStateSet"),
    (1001, "x", "y", "", "1 | body of request 1001: want a SyncStateSet"),
    (1001, "x", "y", r#"{"syncStateSet":[1,2],"syncStateSetEpoch":9}"#, "2001 | Rejecting"),
    (1001, "x", "y", r#"{"syncStateSet":[1,7],"syncStateSetEpoch":1}"#, "2003 | Rejecting"),
    (1001, "x", "y", r#"{"syncStateSet":[2],"syncStateSetEpoch":1}"#, "2013 | Rejecting"),
    (1001, "x", "y", r#"{"syncStateSet":["a"],"syncStateSetEpoch":1}"#, "1 | body of request 1001: want"),
    (1002, "brokerName", "-", "", "1 | ElectMasterRequest: field `brokerName` is missing"),
    (1002, "brokerName", "b", "", "2010 | Broker hasn't been registered"),
    (1002, "brokerId", "x", "", "1 | ElectMasterRequest: field `brokerId` is `x`: want an integer"),
    (1002, "brokerId", HUGE, "", "1 | ElectMasterRequest: field `brokerId`"),
    (1002, "brokerId", "-5", "", "2011 | The old master 1 is still alive"),
    (1002, "brokerId", "77", "", "2011 | The old master 1 is still alive"),
    (1003, "clusterName", "-", "", "1 | RegisterBrokerToControllerRequest: field `clusterName` is missing"),
    (1003, "brokerName", "b", "", "2010 | Broker-set: b hasn't been registered in controller"),
    (1003, "brokerId", "-", "", "1 | RegisterBrokerToControllerRequest: field `brokerId` is missing"),
    (1003, "brokerId", "-2", "", "2010 | BrokerId: -2 hasn't been registered in broker-set: a"),
    (1003, "brokerId", "two", "", "1 | RegisterBrokerToControllerRequest: field `brokerId` is `two`"),
    (1003, "brokerAddress", "-", "", "1 | RegisterBrokerToControllerRequest: field `brokerAddress` is missing"),
    (1004, "brokerName", "-", "", "1 | GetReplicaInfoRequest: field `brokerName` is missing"),
    (1004, "brokerName", "b", "", "2008 | Broker metadata is not existed"),
    (1006, "x", "y", r#"{"a":1}"#, "1 | not set any response code"),
    (1006, "x", "y", "[7]", "1 | not set any response code"),
    // As in RocketMQ, a value that cannot be read is left as it was.
    (1009, "x", "y", "electionTimeoutMills=soon\n", "0"),
    (1009, "x", "y", "rocketmqHome=/tmp\n", "16 | Can not update config in black list."),
    (1011, "brokerName", "-", "", "1 | CleanBrokerDataRequest: field `brokerName` is missing"),
    (1011, "brokerName", "b", "", "2009 | Broker b is not existed,clean broker data failure."),
    (1011, "brokerControllerIdsToClean", "two", "", "2009 | Please set the option <brokerControllerIdsToClean>"),
    (1011, "brokerControllerIdsToClean", "2", "", "2009 | Broker [a,  2] is still alive, clean up failure"),
    (1011, "brokerControllerIdsToClean", "-", "", "2009 | Broker a is still alive, clean up failure"),
    (1012, "brokerName", "-", "", "1 | GetNextBrokerIdRequest: field `brokerName` is missing"),
    (1013, "appliedBrokerId", "-", "", "1 | ApplyBrokerIdRequest: field `appliedBrokerId` is missing"),
    (1013, "appliedBrokerId", "-3", "", "2014 | Fail to apply brokerId: -3 in broker-set: a"),
    (1013, "appliedBrokerId", "0", "", "2014 | Fail to apply brokerId: 0 in broker-set: a"),
    (1013, "appliedBrokerId", HUGE, "", "1 | ApplyBrokerIdRequest: field `appliedBrokerId`"),
    (1013, "appliedBrokerId", "1", "", "2014 | Fail to apply brokerId: 1 in broker-set: a"),
    (1013, "brokerName", "b", "", "2014 | Broker-set: b hasn't been registered in controller"),
    (1013, "registerCheckCode", "-", "", "1 | ApplyBrokerIdRequest: field `registerCheckCode` is missing"),
    (904, "brokerId", "-", "", "2005 | Heart beat with empty brokerId"),
    (904, "brokerName", "-", "", "1 | BrokerHeartbeatRequest: field `brokerName` is missing"),
    (904, "brokerId", "99", "", "0 | Heart beat success"),
    (904, "maxOffset", "much", "", "1 | BrokerHeartbeatRequest: field `maxOffset` is `much`"),
    (1007, "x", "y", "", "3 |  request type 1007 not supported"),
    (31010, "brokerName", "-", "", "1 | BatonHistoryRequest: field `brokerName` is missing"),
    (31010, "brokerName", "b", "", "2008 | broker set b is not registered"),
    (31010, "most", "few", "", "1 | BatonHistoryRequest: field `most` is `few`: want an integer of 64 bits"),
    (31011, "brokerName", "b", "", "2008 | broker set b is not registered"),
    (31011, "atMills", "noon", "", "1 | BatonExplainRequest: field `atMills` is `noon`"),
    (31012, "brokerId", "-", "", "1 | BatonWitnessRequest: field `brokerId` is missing"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_with_bad_input_says_what_is_wrong_and_changes_nothing() {
    let rig = rig().await;
    let before = state(&rig).await;
    assert!(before[0].contains(r#""masterBrokerId":1"#), "{before:?}");
    let mut wrong = Vec::new();
    for (code, field, value, body, want) in TABLE {
        let told = rig.told(*code, &with(*code, field, value), body).await;
        if !told.starts_with(want) {
            wrong.push(format!("{code} {field}={value} {body}: {told}, want {want}"));
        }
        let after = state(&rig).await;
        assert_eq!(after, before, "{code} {field}={value} {body} changed something");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_and_explain_tell_what_happened_and_what_was_refused() {
    let rig = rig().await;
    rig.told(1013, &with(1013, "appliedBrokerId", "1"), "").await;
    rig.told(1013, &with(1013, "appliedBrokerId", "1"), "").await;
    let history = rig.told(31010, &super::of(&[("most", "2")]), "").await;
    let lines: Vec<proto::body::HistoryLine> = serde_json::from_str(&history["0 | ".len()..]).expect("lines");
    let texts = lines.iter().map(|it| it.text.as_str()).collect::<Vec<_>>();
    assert!(texts[0].starts_with("master none -> 1, epoch 1, SyncStateSet {1}: the set had none before."), "{texts:?}");
    let refused = "broker id of replica 1 refused: Fail to apply brokerId: 1 in broker-set: a (2 times";
    assert!(texts[1].starts_with(refused) && texts.len() == 2, "{texts:?}");
    assert!(lines[0].index < lines[1].index && lines[0].event.get("role").is_some(), "{lines:?}");
    let told = rig.told(31011, &super::of(&[]), "").await;
    for part in ["0 | a has broker 1 (10.0.0.1:1) as master at epoch 1", "Now: broker 1 is alive, in the SyncStateSet"]
    {
        assert!(told.contains(part), "{told}");
    }
    let long_ago = rig.told(31011, &super::of(&[("atMills", "1")]), "").await;
    assert!(long_ago.contains("a had no master yet.") && long_ago.contains("The next change came at"), "{long_ago}");
    let heard = rig.told(31012, &super::of(&[("brokerId", "2")]), "").await;
    assert!(heard.starts_with("0 | heardMillsAgo="), "{heard}");
    assert_eq!(rig.told(31012, &super::of(&[("brokerId", "9")]), "").await, "0");
    rig.stop().await;
}
