//! Who is master and who counts: elections (1002) and the SyncStateSet (1001).

use super::{Failure, Service, json, refused, sync_state_set, unexpected};
use crate::replicas::{AlterSyncStateSet, Cause, Command as Change, Elect, ElectMode, Fence, Outcome, SetSummary};
use crate::watch::unclean;
use node::clock::wall_ms;
use proto::Command;
use proto::body::{BrokerMemberGroup, ElectMasterResponseBody, SyncStateSet};
use proto::code::response;
use proto::header::{AlterSyncStateSetRequest, AlterSyncStateSetResponse, ElectMasterRequest, ElectMasterResponse};

/// A list that is longer names replicas that do not exist; it need not pass through the log to be refused.
const MOST_REPLICAS: usize = 1_024;

impl Service {
    pub(super) async fn elect_master(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let it: ElectMasterRequest = it.header()?;
        let requester = it.broker_id.filter(|id| *id >= 0);
        let (mode, cause) = match (it.designate_elect.unwrap_or(false), requester) {
            (true, Some(id)) => (ElectMode::Designated, Cause::Designated { id }),
            (_, Some(by)) => (ElectMode::Best, Cause::Requested { by }),
            (_, None) => (ElectMode::Best, Cause::NoMaster),
        };
        let broker_set = it.broker_name.clone();
        let seen = self
            .watch
            .look(move |now, it| (it.liveness.candidates(now, &broker_set), it.liveness.restrained(now, &broker_set)));
        let (alive, restrained) = seen.await.unwrap_or_default();
        // What an operator asks for does not wait.
        if let Some(why) = restrained.filter(|_| mode == ElectMode::Best) {
            return Err(Failure::Text(response::CONTROLLER_ELECT_MASTER_FAILED, why));
        }
        let (at_ms, unclean) = (wall_ms(), unclean(&self.config.load()));
        let broker_set = it.broker_name;
        let change =
            Elect { broker_set, requester, mode, alive, unclean, expect: None, cause, detected_ms: at_ms, at_ms };
        match self.propose(Change::Elect(change)).await? {
            Outcome::Elected(it, broker_addrs) => {
                let group =
                    BrokerMemberGroup { broker_addrs, broker_name: it.broker_set.clone(), cluster: it.cluster.clone() };
                Ok(elected(Command::response(response::SUCCESS), &it, Some(group)))
            }
            Outcome::MasterStillAlive(it) => {
                let text = format!(
                    "The old master {} is still alive, not need to elect new master for broker {}",
                    it.master.unwrap_or_default(),
                    it.broker_set
                );
                Ok(elected(Command::error(response::CONTROLLER_MASTER_STILL_EXIST, text), &it, None))
            }
            Outcome::Refused(why) => Ok(refused(&why, &ElectMasterResponse::default())),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn alter_sync_state_set(&self, it: &Command) -> Result<Command, Failure> {
        self.lead()?;
        let header: AlterSyncStateSetRequest = it.header()?;
        let body: SyncStateSet = serde_json::from_slice(&it.body).map_err(|e| {
            Failure::Text(response::SYSTEM_ERROR, format!("body of request 1001: want a SyncStateSet: {e}"))
        })?;
        if body.sync_state_set.len() > MOST_REPLICAS {
            let text = format!(
                "Rejecting alter syncStateSet request because it names {} replicas: want at most {MOST_REPLICAS}",
                body.sync_state_set.len()
            );
            return Err(Failure::Text(response::CONTROLLER_INVALID_REPLICAS, text));
        }
        let change = match header.fence.unwrap_or(false) {
            true => Change::Fence(Fence {
                broker_set: header.broker_name,
                master: header.master_broker_id,
                master_epoch: header.master_epoch,
                sync_state_set_epoch: body.sync_state_set_epoch,
                at_ms: wall_ms(),
            }),
            false => self.alteration(header, body).await,
        };
        match self.propose(change).await? {
            Outcome::Altered(it) => {
                let header = AlterSyncStateSetResponse { new_sync_state_set_epoch: it.sync_state_set_epoch };
                Ok(Command::response(response::SUCCESS).with_header(&header).with_body(json(&sync_state_set(&it))))
            }
            Outcome::Refused(why) => Ok(refused(&why, &AlterSyncStateSetResponse::default())),
            other => Err(unexpected(&other)),
        }
    }

    async fn alteration(&self, header: AlterSyncStateSetRequest, body: SyncStateSet) -> Change {
        let (name, master) = (header.broker_name.clone(), header.master_broker_id);
        let seen = self.watch.look(move |now, it| {
            let mut alive = it.liveness.heard(now, &name);
            // The sender speaks, even if this leader has not had a heartbeat of it yet.
            alive.extend(it.liveness.is_alive(now, &name, master).then_some(master));
            (alive, it.liveness.min_in_sync(&name, master))
        });
        let (alive, min_in_sync) = seen.await.unwrap_or_default();
        Change::AlterSyncStateSet(AlterSyncStateSet {
            broker_set: header.broker_name,
            master,
            master_epoch: header.master_epoch,
            sync_state_set: body.sync_state_set,
            sync_state_set_epoch: body.sync_state_set_epoch,
            alive,
            min_in_sync,
            at_ms: wall_ms(),
        })
    }
}

/// Brokers need header and body complete on 0 and on 2011.
fn elected(answer: Command, it: &SetSummary, broker_member_group: Option<BrokerMemberGroup>) -> Command {
    let header = ElectMasterResponse {
        master_broker_id: it.master,
        master_address: it.master_address.clone(),
        master_epoch: Some(it.master_epoch),
        sync_state_set_epoch: Some(it.sync_state_set_epoch),
        master_ha_address: it.master_ha_address.clone(),
    };
    let body = ElectMasterResponseBody { broker_member_group, sync_state_set: it.sync_state_set.clone() };
    answer.with_header(&header).with_body(json(&body))
}
