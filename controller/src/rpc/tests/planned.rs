//! Planned changes (31004–31006) asked wrongly, or of a set that cannot change: a reason each, and nothing changes.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_change_that_cannot_be_says_why() {
    let rig = Rig::start().await;
    rig.told(1013, &of(&[("appliedBrokerId", "1"), ("registerCheckCode", "10.0.0.1:1;1")]), "").await;
    let set = [("brokerName", "a")];
    let mut told = vec![rig.told(31004, &[], "").await];
    told.push(rig.told(31004, &[("brokerName", "unknown")], "").await);
    told.push(rig.told(31004, &[("brokerName", "a"), ("brokerId", "x")], "").await);
    told.push(rig.told(31004, &set, "").await);
    rig.heartbeat("1", "-1").await;
    rig.told(1002, &of(&[("brokerId", "1")]), "").await;
    told.push(rig.told(31004, &set, "").await);
    told.push(rig.told(31004, &[("brokerName", "a"), ("masterBrokerId", "7")], "").await);
    told.push(rig.told(31005, &[("drain", "true")], "").await);
    told.push(rig.told(31005, &[("drain", "true"), ("host", "10.0.0.9")], "").await);
    told.push(rig.told(31005, &[("drain", "true"), ("host", "10.0.0.1")], "").await);
    told.push(rig.told(31005, &[("drain", "true"), ("brokerName", "a"), ("brokerId", "9")], "").await);
    told.push(rig.told(31005, &[("drain", "false"), ("host", "10.0.0.1:1")], "").await);
    told.push(rig.told(31006, &set, "").await);
    told.push(rig.told(31006, &[("brokerName", "a"), ("forMills", "-1")], "").await);
    told.push(rig.told(31006, &[("brokerName", "a"), ("forMills", "9223372036854775807")], "").await);
    told.push(rig.told(31006, &[("brokerName", "a"), ("forMills", "60000")], "").await);
    told.push(rig.told(31006, &[("forMills", "0")], "").await);
    told.push(rig.told(1004, &set, "").await);
    expect_test::expect![[r#"
        1 | SwitchoverRequest: field `brokerName` is missing
        2008 | no broker set unknown is registered in this controller group
        1 | SwitchoverRequest: field `brokerId` is `x`: want an integer of 64 bits
        2004 | a has no master to take over from; `mqadmin electMaster` chooses one
        2012 | no replica of a can take over: it has no other replica
        2012 | replica 7 of a is not its master, 1 is
        2005 | drain: want a host, or a broker set and the id of one of its replicas
        2005 | no replica is registered at 10.0.0.9
        1 | replica 1 of a cannot be drained: 0 of its SyncStateSet would be left, minInSyncReplicas is 1; bring another replica into the set first
        2004 | a has no replica 9; see `mqadmin getSyncStateSet`
        0 | replica 1 of a: not drained already

        1 | PauseRequest: field `forMills` is missing
        2005 | pause: forMills is -1: want 0 to 2592000000 (30 days)
        2005 | pause: forMills is 9223372036854775807: want 0 to 2592000000 (30 days)
        0 | a: no automatic election for 60 s

        0 | a: elections go on

        0 | masterAddress=10.0.0.1:1 masterBrokerId=1 masterEpoch=1 | {"syncStateSet":[1],"syncStateSetEpoch":1}"#]].assert_eq(&told.join("\n"));
    rig.stop().await;
}
