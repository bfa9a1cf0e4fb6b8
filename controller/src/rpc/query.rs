//! Questions: who leads (1005), who is master (1004), who is in sync (1006).

use super::{Failure, Service, json, sync_state_set};
use crate::config::Flavour;
use crate::replicas::{BrokerSet, SetSummary};
use proto::body::{BrokerReplicasInfo, ReplicaIdentity, ReplicasInfo};
use proto::code::response;
use proto::header::{GetMetadataInfoResponse, GetReplicaInfoRequest, GetReplicaInfoResponse};
use proto::{BrokerId, Command};
use std::collections::{BTreeMap, BTreeSet};

impl Service {
    /// Answered by every controller: this is how brokers find the leader.
    pub(super) fn metadata(&self) -> Command {
        let leadership = *self.raft.leadership().borrow();
        let members = self.raft.members();
        let leader = leadership.leader.and_then(|id| members.get(id));
        Command::response(response::SUCCESS).with_header(&GetMetadataInfoResponse {
            group: Some(self.config.load().group().to_owned()),
            controller_leader_id: leader.map(|it| it.name.clone()),
            controller_leader_address: leader.map(|it| it.address.clone()),
            is_leader: leadership.leading,
            peers: Some(members.members.values().map(|it| self.peer(&it.name, &it.address)).collect()),
        })
    }

    /// As RocketMQ's controller of the file's flavour writes it.
    fn peer(&self, name: &str, address: &str) -> String {
        match self.config.load().flavour() {
            Ok(Flavour::JRaft) => format!("{address};"),
            _ => format!("{name}:{address};"),
        }
    }

    pub(super) async fn replica_info(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let GetReplicaInfoRequest { broker_name } = it.header()?;
        let Some(it) = self.raft.read(move |it| it.get(&broker_name).map(SetSummary::from)).await? else {
            let (code, text) = (response::CONTROLLER_BROKER_METADATA_NOT_EXIST, "Broker metadata is not existed");
            return Ok(Command::error(code, text));
        };
        let header = GetReplicaInfoResponse {
            master_broker_id: it.master,
            master_address: it.master_address.clone(),
            master_epoch: Some(it.master_epoch),
            master_ha_address: it.master_ha_address.clone(),
        };
        Ok(Command::response(response::SUCCESS).with_header(&header).with_body(json(&sync_state_set(&it))))
    }

    pub(super) async fn sync_state_data(&self, it: &Command) -> Result<Command, Failure> {
        let names = serde_json::from_slice::<BTreeSet<String>>(&it.body).unwrap_or_default();
        if names.is_empty() {
            return Err(Failure::Text(response::SYSTEM_ERROR, "not set any response code".into()));
        }
        self.lead()?;
        let sets =
            self.raft.read(move |it| names.iter().filter_map(|name| it.get(name).cloned()).collect::<Vec<_>>()).await?;
        let table = self.watch.look(move |now, table| {
            let info = |set: &BrokerSet| (set.name.clone(), replicas_info(set, &table.liveness.heard(now, &set.name)));
            sets.iter().map(info).collect::<BTreeMap<_, _>>()
        });
        let body = BrokerReplicasInfo { replicas_info_table: table.await.unwrap_or_default() };
        Ok(Command::response(response::SUCCESS).with_body(json(&body)))
    }
}

fn replicas_info(set: &BrokerSet, alive: &BTreeSet<BrokerId>) -> ReplicasInfo {
    let identities = set.replicas.iter().map(|(id, it)| ReplicaIdentity {
        alive: alive.contains(id),
        broker_address: it.address.clone(),
        broker_id: *id,
        broker_name: set.name.clone(),
    });
    let (in_sync_replicas, not_in_sync_replicas) =
        identities.partition(|it| set.sync_state_set.contains(&it.broker_id));
    ReplicasInfo {
        in_sync_replicas,
        not_in_sync_replicas,
        master_address: set.master.and_then(|it| set.replicas.get(&it)).map(|it| it.address.clone()),
        master_broker_id: set.master,
        master_epoch: set.master_epoch,
        sync_state_set_epoch: set.sync_state_set_epoch,
    }
}
