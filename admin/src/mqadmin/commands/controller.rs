//! Texts of the commands that ask controllers: `getSyncStateSet`, `getControllerMetaData`, `electMaster`.

use proto::body::{BrokerMemberGroup, ReplicaIdentity, ReplicasInfo};
use proto::header::{ElectMasterResponse, GetMetadataInfoResponse};

/// Java prints an absent value so.
const NULL: &str = "null";

fn or_null<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| NULL.to_owned(), T::to_string)
}

/// A broker set's part of `getSyncStateSet`.
pub fn sync_state_set(broker_set: &str, info: &ReplicasInfo) -> String {
    let mut out = format!(
        "\n#brokerName\t{broker_set}\n#MasterBrokerId\t{}\n#MasterAddr\t{}\n#MasterEpoch\t{}\n#SyncStateSetEpoch\t{}\n\
         #SyncStateSetNums\t{}\n",
        or_null(&info.master_broker_id),
        or_null(&info.master_address),
        info.master_epoch,
        info.sync_state_set_epoch,
        info.in_sync_replicas.len()
    );
    for member in &info.in_sync_replicas {
        out += &format!("\nInSyncReplica:\t{}\n", replica(member));
    }
    for other in &info.not_in_sync_replicas {
        out += &format!("\nNotInSyncReplica:\t{}\n", replica(other));
    }
    out
}

fn replica(it: &ReplicaIdentity) -> String {
    format!(
        "ReplicaIdentity{{brokerName='{}', brokerId={}, brokerAddress='{}', alive={}}}",
        it.broker_name, it.broker_id, it.broker_address, it.alive
    )
}

/// All of `getControllerMetaData`.
pub fn metadata(answer: &GetMetadataInfoResponse) -> String {
    let mut out = format!(
        "\n#ControllerGroup\t{}\n#ControllerLeaderId\t{}\n#ControllerLeaderAddress\t{}",
        or_null(&answer.group),
        or_null(&answer.controller_leader_id),
        or_null(&answer.controller_leader_address)
    );
    for peer in answer.peers.iter().flat_map(|it| it.split(';')).filter(|it| !it.is_empty()) {
        out += &format!("\n#Peer:\t{peer}");
    }
    out + "\n"
}

/// All of `electMaster`.
pub fn elected(
    cluster: &str,
    broker_set: &str,
    answer: &ElectMasterResponse,
    group: Option<&BrokerMemberGroup>,
) -> String {
    let mut out = format!(
        "\n#ClusterName\t{cluster}\n#BrokerName\t{broker_set}\n#BrokerMasterAddr\t{}\n#MasterEpoch\t{}\n\
         #SyncStateSetEpoch\t{}\n",
        or_null(&answer.master_address),
        or_null(&answer.master_epoch),
        or_null(&answer.sync_state_set_epoch)
    );
    for (id, address) in group.iter().flat_map(|it| &it.broker_addrs) {
        out += &format!("\t#Broker\t{id}\t{address}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::collections::BTreeMap;

    fn identity(broker_id: i64, alive: bool) -> ReplicaIdentity {
        ReplicaIdentity {
            alive,
            broker_address: format!("127.0.0.1:1091{broker_id}"),
            broker_id,
            broker_name: "broker-a".into(),
        }
    }

    #[test]
    fn the_sync_state_set() {
        let info = ReplicasInfo {
            in_sync_replicas: vec![identity(1, true), identity(2, true)],
            master_address: Some("127.0.0.1:10911".into()),
            master_broker_id: Some(1),
            master_epoch: 3,
            not_in_sync_replicas: vec![identity(3, false)],
            sync_state_set_epoch: 7,
        };
        expect![[r"

            #brokerName	broker-a
            #MasterBrokerId	1
            #MasterAddr	127.0.0.1:10911
            #MasterEpoch	3
            #SyncStateSetEpoch	7
            #SyncStateSetNums	2

            InSyncReplica:	ReplicaIdentity{brokerName='broker-a', brokerId=1, brokerAddress='127.0.0.1:10911', alive=true}

            InSyncReplica:	ReplicaIdentity{brokerName='broker-a', brokerId=2, brokerAddress='127.0.0.1:10912', alive=true}

            NotInSyncReplica:	ReplicaIdentity{brokerName='broker-a', brokerId=3, brokerAddress='127.0.0.1:10913', alive=false}
        "]]
        .assert_eq(&sync_state_set("broker-a", &info));
    }

    #[test]
    fn a_set_without_master_says_null() {
        let text = sync_state_set("broker-a", &ReplicasInfo::default());
        assert!(text.contains("#MasterBrokerId\tnull\n#MasterAddr\tnull\n"), "{text}");
    }

    #[test]
    fn the_controllers() {
        let answer = GetMetadataInfoResponse {
            group: Some("quick-start".into()),
            controller_leader_id: Some("n1".into()),
            controller_leader_address: Some("127.0.0.1:9868".into()),
            is_leader: true,
            peers: Some("n0:127.0.0.1:9878;n1:127.0.0.1:9868".into()),
        };
        expect![[r"

            #ControllerGroup	quick-start
            #ControllerLeaderId	n1
            #ControllerLeaderAddress	127.0.0.1:9868
            #Peer:	n0:127.0.0.1:9878
            #Peer:	n1:127.0.0.1:9868
        "]]
        .assert_eq(&metadata(&answer));
    }

    #[test]
    fn an_election() {
        let answer = ElectMasterResponse {
            master_broker_id: Some(2),
            master_address: Some("127.0.0.1:10921".into()),
            master_epoch: Some(4),
            sync_state_set_epoch: Some(9),
            ..ElectMasterResponse::default()
        };
        let group = BrokerMemberGroup {
            broker_addrs: BTreeMap::from([(1, "127.0.0.1:10911".into()), (2, "127.0.0.1:10921".into())]),
            ..BrokerMemberGroup::default()
        };
        expect![[r"

            #ClusterName	c
            #BrokerName	broker-a
            #BrokerMasterAddr	127.0.0.1:10921
            #MasterEpoch	4
            #SyncStateSetEpoch	9
            	#Broker	1	127.0.0.1:10911
            	#Broker	2	127.0.0.1:10921
        "]]
        .assert_eq(&elected("c", "broker-a", &answer, Some(&group)));
    }
}
