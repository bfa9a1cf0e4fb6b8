//! What brokers send about themselves: identity (1012, 1013), registration (1003), heartbeats (904).

use super::{Failure, Service, json, refused, sync_state_set, unexpected};
use crate::liveness::{Heartbeat, RaftLease};
use crate::replicas::{ApplyBrokerId, Command as Change, Outcome, Register};
use node::clock::wall_ms;
use node::remoting::Reply;
use proto::Command;
use proto::code::response;
use proto::header::{
    ApplyBrokerIdRequest, ApplyBrokerIdResponse, BrokerHeartbeatRequest, GetNextBrokerIdRequest,
    GetNextBrokerIdResponse, HeaderError, RegisterBrokerToControllerRequest, RegisterBrokerToControllerResponse,
};
use std::sync::Arc;

/// RocketMQ's default when a broker does not say.
const NO_PRIORITY: i32 = i32::MAX;
/// A timeout beyond a day is a unit mistaken; it is cut, so that arithmetic on it is safe.
const LONGEST_TIMEOUT: i64 = 86_400_000;

impl Service {
    pub(super) async fn next_broker_id(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let GetNextBrokerIdRequest { cluster_name, broker_name } = it.header()?;
        let broker_set = broker_name.clone();
        let next_broker_id = self.raft.read(move |it| it.next_broker_id(&broker_set)).await?;
        Ok(Command::response(response::SUCCESS).with_header(&GetNextBrokerIdResponse {
            cluster_name: Some(cluster_name),
            broker_name: Some(broker_name),
            next_broker_id: Some(next_broker_id),
        }))
    }

    pub(super) async fn apply_broker_id(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let it: ApplyBrokerIdRequest = it.header()?;
        let header = ApplyBrokerIdResponse {
            cluster_name: Some(it.cluster_name.clone()),
            broker_name: Some(it.broker_name.clone()),
        };
        let change = ApplyBrokerId {
            cluster: it.cluster_name,
            broker_set: it.broker_name,
            id: it.applied_broker_id,
            check_code: it.register_check_code,
            at_ms: wall_ms(),
        };
        match self.propose(Change::ApplyBrokerId(change)).await? {
            Outcome::BrokerIdApplied => Ok(Command::response(response::SUCCESS).with_header(&header)),
            Outcome::Refused(why) => Ok(refused(&why, &header)),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn register(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let it: RegisterBrokerToControllerRequest = it.header()?;
        let mut header = RegisterBrokerToControllerResponse {
            cluster_name: Some(it.cluster_name.clone()),
            broker_name: Some(it.broker_name.clone()),
            ..Default::default()
        };
        let (id, broker_set, address, boot_id) =
            (it.broker_id, it.broker_name.clone(), it.broker_address.clone(), it.boot_id.clone());
        let taken_by =
            self.watch.look(move |now, it| it.liveness.taken_by(now, &broker_set, id, &address, boot_id.as_deref()));
        let change = Register {
            broker_set: it.broker_name,
            id,
            address: it.broker_address,
            ha_address: it.ha_address,
            boot_id: it.boot_id,
            unclean: it.unclean_shutdown.unwrap_or(false),
            taken_by: taken_by.await.flatten(),
            at_ms: wall_ms(),
        };
        let summary = match self.propose(Change::Register(change)).await? {
            Outcome::Registered(summary) => summary,
            Outcome::Refused(why) => return Ok(refused(&why, &header)),
            other => return Err(unexpected(&other)),
        };
        let body = json(&sync_state_set(&summary));
        // A master that is not alive is not named: the broker then asks for an election.
        if let Some(master) = self.alive_master(&summary.broker_set, summary.master).await {
            header.master_broker_id = Some(master);
            header.master_address = summary.master_address;
            header.master_ha_address = summary.master_ha_address;
            header.master_epoch = Some(summary.master_epoch);
            header.sync_state_set_epoch = Some(summary.sync_state_set_epoch);
        }
        Ok(Command::response(response::SUCCESS).with_header(&header).with_body(body))
    }

    async fn alive_master(&self, broker_set: &str, master: Option<i64>) -> Option<i64> {
        let (id, broker_set) = (master?, broker_set.to_owned());
        let alive = self.watch.look(move |now, it| it.liveness.is_alive(now, &broker_set, id)).await;
        alive.unwrap_or(false).then_some(id)
    }
}

/// Taken by every controller, in order of arrival. RocketMQ's brokers send it one-way; ours wait for the answer, which
/// carries the lease.
pub(super) fn heartbeat(service: Arc<Service>, connection: u64, request: &Command) -> Reply {
    let it: BrokerHeartbeatRequest = match request.header() {
        Ok(it) => it,
        Err(why @ HeaderError::IllTyped { field: "brokerId", .. }) => {
            let text = format!("Heart beat with empty brokerId: {why}");
            return Reply::Now(Command::error(response::CONTROLLER_INVALID_REQUEST, text));
        }
        Err(why) => return Reply::Now(Failure::Header(why).answer()),
    };
    let Some(id) = it.broker_id else {
        return Reply::Now(Command::error(response::CONTROLLER_INVALID_REQUEST, "Heart beat with empty brokerId"));
    };
    let default_timeout = service.config.load().default_heartbeat_timeout_mills as i64;
    let heartbeat = Heartbeat {
        broker_set: it.broker_name,
        id,
        connection,
        address: it.broker_addr,
        timeout: it.heartbeat_timeout_mills.unwrap_or(default_timeout).clamp(1, LONGEST_TIMEOUT) as u64,
        epoch: it.epoch.unwrap_or(-1),
        max_offset: it.max_offset.unwrap_or(-1),
        confirm_offset: it.confirm_offset.unwrap_or(-1),
        priority: it.election_priority.unwrap_or(NO_PRIORITY),
        boot_id: it.boot_id,
        min_in_sync: it.min_in_sync_replicas,
        disk_probe_age: it.disk_probe_age_mills.map(|age| age.max(0) as u64),
        zone: it.broker_zone.filter(|it| !it.is_empty()),
        raft_lease: if service.raft.lease_holds() { RaftLease::Held } else { RaftLease::NotHeld },
    };
    if request.is_one_way() {
        service.watch.note_heartbeat(heartbeat);
        return Reply::None;
    }
    Reply::Later(Box::pin(async move {
        let header = service.watch.heartbeat(heartbeat).await;
        Command::error(response::SUCCESS, "Heart beat success").with_header(&header)
    }))
}
