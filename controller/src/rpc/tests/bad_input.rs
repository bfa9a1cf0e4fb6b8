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

/// All that the controllers know, except that a refusal was remembered.
async fn state(rig: &Rig) -> Vec<String> {
    let sets = rig.running.raft.read(|it| it.iter().map(|set| format!("{set:?}")).collect::<Vec<_>>());
    let mut state = sets.await.expect("it leads");
    state.push(format!("{:?}", rig.running.raft.members()));
    state.push(rig.told(1010, &[], "").await);
    state
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
        31005 => &[("brokerId", "2"), ("drain", "true")],
        31006 => &[("forMills", "60000")],
        31020 => &[("action", "add"), ("controllerId", "n9"), ("controllerAddress", "10.0.0.9:9878")],
        _ => &[],
    };
    super::of(own)
}

/// These, but with this value of one of them (`-`: missing).
fn with<'a>(code: i32, field: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
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
    (
        904,
        "brokerId",
        "x",
        "",
        "2005 | Heart beat with empty brokerId: BrokerHeartbeatRequest: field `brokerId` is `x`",
    ),
    (1001, "x", "y", r#"{"syncStateSet":[1,1,2],"syncStateSetEpoch":-1}"#, "2001 | Rejecting"),
    (1001, "x", "y", r#"{"syncStateSet":[-1],"syncStateSetEpoch":1}"#, "2003 | Rejecting"),
    (1001, "x", "y", r#"{"syncStateSet":[1,9223372036854775808],"syncStateSetEpoch":1}"#, "1 | body of request 1001"),
    (1001, "x", "y", r#"[1,2]"#, "1 | body of request 1001"),
    (1001, "fence", "true", r#"{"syncStateSet":[1],"syncStateSetEpoch":0}"#, "2001 | Rejecting"),
    (1002, "designateElect", "true", "", "2011 | The old master 1 is still alive"),
    (1003, "haAddress", "\0", "", "2005 | field `haAddress` has an unprintable character"),
    (1009, "x", "y", "electionTimeoutMills=1\n", "1 | `electionTimeoutMills=1`: want 50 to 60000"),
    (1009, "x", "y", "witnessWaitMills=18446744073709551615\n", "1 | `witnessWaitMills=18446744073709551615`: want"),
    (1009, "x", "y", "controllerDLegerSelfId=n7\n", "1 | `controllerDLegerSelfId=n7` is not among"),
    (1009, "x", "y", "unknownKey=1\nno line at all\n", "0"),
    (1011, "brokerControllerIdsToClean", HUGE, "", "2009 | Please set the option <brokerControllerIdsToClean>"),
    (31004, "brokerName", "b", "", "2008 | no broker set b is registered"),
    (31004, "brokerId", "9", "", "2004 | a has no replica 9"),
    (31004, "brokerId", "1", "", "2012 | replica 1 of a is its master already"),
    (31004, "masterBrokerId", "2", "", "2012 | replica 2 of a is not its master, 1 is"),
    (31004, "dryRun", "yes", "", "2005 | field `dryRun` is `yes`: want true or false"),
    (31005, "drain", "maybe", "", "2005 | field `drain` is `maybe`: want true or false"),
    (31005, "brokerName", "-", "", "2005 | drain: want a host, or a broker set and the id of one of its replicas"),
    (31005, "brokerName", "b", "", "2008 | no broker set b is registered"),
    (31005, "brokerId", "-", "", "2005 | drain: want a host, or a broker set"),
    (31005, "brokerId", "-2", "", "2004 | a has no replica -2"),
    (31005, "brokerId", "1", "", "1 | replica 1 of a cannot be drained"),
    (31005, "host", "10.0.0.2", "", "2005 | drain: want a host, or a broker set"),
    (31006, "brokerName", "b", "", "2008 | no broker set b is registered"),
    (31006, "forMills", "-1", "", "2005 | pause: forMills is -1: want 0 to 2592000000"),
    (31006, "forMills", "2592000001", "", "2005 | pause: forMills is 2592000001: want"),
    (31020, "action", "explode", "", "2005 | action `explode`: want add, remove, transfer or list"),
    (31020, "action", "remove", "", "2005 | "),
    (31020, "action", "transfer", "", "2005 | "),
    (31020, "controllerId", "-", "", "2005 | add: controllerId is missing"),
    (31020, "controllerId", "", "", "2005 | "),
    (31020, "controllerId", "n0", "", "2005 | "),
    (31020, "controllerAddress", "-", "", "2005 | add: controllerAddress is missing"),
    (31020, "controllerAddress", "nowhere", "", "2005 | "),
    (31020, "controllerAddress", "10.0.0.9:0", "", "2005 | "),
];

/// What each request's fields are: `!` it has to be there, `i32` and `i64` numbers, `text`.
const FIELDS: &[(i32, &[(&str, &str)])] = &[
    (1001, &[("brokerName", "!text"), ("masterBrokerId", "!i64"), ("masterEpoch", "!i32"), ("invokeTime", "i64")]),
    (1002, &[("brokerName", "!text"), ("clusterName", "text"), ("brokerId", "i64"), ("invokeTime", "i64")]),
    (1003, &[("clusterName", "!text"), ("brokerName", "!text"), ("brokerId", "!i64"), ("brokerAddress", "!text")]),
    (1003, &[("haAddress", "text"), ("bootId", "text"), ("invokeTime", "i64")]),
    (1004, &[("brokerName", "!text")]),
    (1005, &[("anything", "text")]),
    (1006, &[("anything", "text")]),
    (1009, &[("anything", "text")]),
    (1010, &[("anything", "text")]),
    (1011, &[("brokerName", "!text"), ("clusterName", "text"), ("brokerControllerIdsToClean", "text")]),
    (1012, &[("clusterName", "!text"), ("brokerName", "!text")]),
    (1013, &[("clusterName", "!text"), ("brokerName", "!text"), ("appliedBrokerId", "!i64")]),
    (1013, &[("registerCheckCode", "!text")]),
    (904, &[("clusterName", "!text"), ("brokerAddr", "!text"), ("brokerName", "!text"), ("brokerId", "!i64")]),
    (904, &[("epoch", "i32"), ("maxOffset", "i64"), ("confirmOffset", "i64"), ("heartbeatTimeoutMills", "i64")]),
    (904, &[("electionPriority", "i32"), ("minInSyncReplicas", "i32"), ("diskProbeAgeMills", "i64")]),
    (904, &[("bootId", "text"), ("brokerZone", "text")]),
    (31004, &[("brokerName", "!text"), ("brokerId", "i64"), ("masterBrokerId", "i64"), ("dryRun", "text")]),
    (31005, &[("host", "text"), ("brokerName", "text"), ("brokerId", "i64"), ("drain", "!text")]),
    (31006, &[("brokerName", "text"), ("forMills", "!i64")]),
    (31010, &[("brokerName", "!text"), ("most", "i64")]),
    (31011, &[("brokerName", "!text"), ("atMills", "i64")]),
    (31012, &[("brokerName", "!text"), ("brokerId", "!i64")]),
    (31020, &[("action", "!text"), ("controllerId", "text"), ("controllerAddress", "text")]),
];

/// What can be wrong with a field of this kind, whatever it means.
fn wrong_values(kind: &str) -> Vec<String> {
    let mut values = vec!["x".repeat(5_000)];
    values.extend(kind.starts_with('!').then(|| "-".to_owned()));
    match kind.trim_start_matches('!') {
        "i32" => values.extend(["x", "", " 1", "1.5", "2147483648", HUGE].map(str::to_owned)),
        "i64" => values.extend(["x", "", " 1", "1.5", HUGE].map(str::to_owned)),
        _ => {}
    }
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_every_request_is_refused_by_name_when_it_cannot_be_read() {
    let rig = rig().await;
    let before = state(&rig).await;
    for (code, fields) in FIELDS {
        for (field, kind) in *fields {
            for value in wrong_values(kind) {
                let told = rig.told(*code, &with(*code, field, &value), if *code == 1001 { SET } else { "" }).await;
                let shown = &value[..value.len().min(30)];
                let named = told.contains(&format!("field `{field}`")) && told.len() < 400;
                let refused = told.starts_with("1 | ") || told.starts_with("2005 | ");
                // RocketMQ's own word for this one.
                let empty_id = told == "2005 | Heart beat with empty brokerId";
                assert!((named && refused) || empty_id, "{code} {field}={shown}: {told}");
                assert_eq!(state(&rig).await, before, "{code} {field}={shown} changed something");
            }
        }
    }
    let crowd = (0..2_000).map(|it| it.to_string()).collect::<Vec<_>>().join(",");
    let crowd = format!(r#"{{"syncStateSet":[{crowd}],"syncStateSetEpoch":1}}"#);
    let told = rig.told(1001, &good(1001), &crowd).await;
    assert!(told.starts_with("2003 | ") && told.contains("it names 2000 replicas: want at most 1024"), "{told}");
    assert_eq!(state(&rig).await, before);
    rig.stop().await;
}

type Fields = &'static [(&'static str, &'static str)];

/// Steps of RocketMQ's protocol before those that have to come first: code, fields, body, the answer's beginning.
const OUT_OF_ORDER: &[(i32, Fields, &str, &str)] = &[
    (1001, &[("masterBrokerId", "1"), ("masterEpoch", "1")], SET, "2013 | Broker metadata is not existed"),
    (1002, &[("brokerId", "1")], "", "2010 | Broker hasn't been registered"),
    (1002, &[("brokerId", "1"), ("designateElect", "true")], "", "2010 | Broker hasn't been registered"),
    (1003, &[("brokerId", "1"), ("brokerAddress", "10.0.0.1:1")], "", "2010 | Broker-set: a hasn't been registered"),
    (904, &[("brokerId", "1"), ("brokerAddr", "10.0.0.1:1")], "", "0 | Heart beat success"),
    (1013, &[("appliedBrokerId", "2"), ("registerCheckCode", "10.0.0.2:1;1")], "", "2014 | Broker-set: a hasn't"),
    (1011, &[("isCleanLivingBroker", "true")], "", "2009 | Broker a is not existed,clean broker data failure."),
    (1004, &[], "", "2008 | Broker metadata is not existed"),
    (31004, &[], "", "2008 | no broker set a is registered"),
    (31005, &[("brokerId", "1"), ("drain", "true")], "", "2008 | no broker set a is registered"),
    (31006, &[("forMills", "60000")], "", "2008 | no broker set a is registered"),
    (31010, &[], "", "2008 | broker set a is not registered"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_out_of_order_are_refused_and_change_nothing() {
    let rig = Rig::start().await;
    let nothing = state(&rig).await;
    for (code, fields, body, want) in OUT_OF_ORDER {
        let told = rig.told(*code, &super::of(fields), body).await;
        assert!(told.starts_with(want), "{code} {fields:?}: {told}, want {want}");
        assert_eq!(state(&rig).await, nothing, "{code} {fields:?} changed something");
    }
    // The id alone makes no master: nobody alters the set, switches over or designates another before an election.
    rig.told(1013, &super::of(&[("appliedBrokerId", "1"), ("registerCheckCode", "10.0.0.1:1;1")]), "").await;
    let named = state(&rig).await;
    for (code, fields, body, want) in [
        (
            1001,
            &[("masterBrokerId", "1"), ("masterEpoch", "0")][..],
            r#"{"syncStateSet":[1],"syncStateSetEpoch":0}"#,
            "2002",
        ),
        (1002, &[("brokerId", "7")], "", "2012 | Failed to elect a new master"),
        (1002, &[], "", "2004 | Old master has down and failed to elect a new broker master"),
        (31004, &[], "", "2004 | a has no master to take over from"),
    ] {
        let told = rig.told(code, &super::of(fields), body).await;
        assert!(told.starts_with(want), "{code} {fields:?}: {told}, want {want}");
        assert_eq!(state(&rig).await, named, "{code} {fields:?} changed something");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_with_bad_input_says_what_is_wrong_and_changes_nothing() {
    let rig = rig().await;
    let before = state(&rig).await;
    assert!(before[0].contains("master: Some(1)"), "{before:?}");
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
