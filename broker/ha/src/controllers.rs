//! The broker's link to the controllers: finds the leader, asks it, and sends heartbeats to all of them.
//!
//! The leader is whoever says so. It is looked for again at once when it answers "not leader" (2007), closes or is
//! silent. Every answer becomes a [`View`] or an [`Outcome`]; nothing is decided here.

use crate::identity::{Identity, IdentityFile};
use crate::in_sync::Outcome;
use crate::role::{Answer, View};
use crate::{HaConfig, HaError, Master};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use node::remoting::{CallError, Client};
use parking_lot::Mutex;
use proto::body::{ElectMasterResponseBody, SyncStateSet};
use proto::code::{request, response};
use proto::header::*;
use proto::{BrokerId, Command, Epoch};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::{error, info, warn};

/// Java's timeout for controller requests; ours never waits longer for a single answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// A proposal in doubt holds acknowledgements up; a Raft commit takes milliseconds, an election of a new leader under a
/// second.
const ALTER_TIMEOUT: Duration = Duration::from_millis(1500);
/// A controller that is alive names the leader from memory.
const FIND_TIMEOUT: Duration = Duration::from_millis(500);

pub(crate) struct Controllers {
    config: HaConfig,
    client: Client,
    boot_id: String,
    leader: Mutex<Option<String>>,
    /// The controllers have said that this replica's id is another broker's, and the log has too.
    id_refused: AtomicBool,
}

/// What this replica says about itself in a heartbeat.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    pub id: BrokerId,
    pub epoch: Epoch,
    pub max_offset: i64,
    pub confirm_offset: i64,
    pub disk_probe_age_ms: u64,
}

/// What a proposal of a SyncStateSet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Change,
    /// The set stays; its new version ends all doubt about earlier proposals. Java's controllers refuse that.
    Fence,
}

/// Why a request has no usable answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("no controller of {0:?} knows a leader")]
    NoLeader(Vec<String>),
    #[error("controller answered {code}: {remark}")]
    Code { code: i32, remark: String },
    #[error("controller's answer: {0}")]
    Answer(String),
}

impl AskError {
    fn code(answer: &Command) -> AskError {
        AskError::Code { code: answer.code, remark: answer.remark.clone().unwrap_or_default() }
    }
}

impl From<HeaderError> for AskError {
    fn from(e: HeaderError) -> AskError {
        AskError::Answer(e.to_string())
    }
}

impl Controllers {
    pub(crate) fn new(config: HaConfig, client: Client) -> Controllers {
        let boot_id = format!("{:016x}", rand::random::<u64>());
        Controllers { config, client, boot_id, leader: Mutex::new(None), id_refused: AtomicBool::new(false) }
    }

    pub(crate) fn addresses(&self) -> &[String] {
        &self.config.controllers
    }

    pub(crate) fn disconnect(&self) {
        self.config.controllers.iter().for_each(|it| self.client.close(it));
    }

    /// The id of this replica; asks for one the first time. Ends only when there is one or the files cannot be used.
    pub(crate) async fn identify(&self) -> Result<BrokerId, HaError> {
        let file =
            IdentityFile::new(self.config.identity_file.clone(), &self.config.cluster_name, &self.config.broker_name);
        let mut identity = file.load()?;
        let mut pause = Duration::from_millis(50);
        loop {
            let next = match &identity {
                Identity::Known(id) => return Ok(*id),
                Identity::Unknown => match self.next_id().await {
                    Ok(id) => Ok(file.apply_for(id, &self.check_code())?),
                    Err(e) => Err(e),
                },
                Identity::Applying { id, check_code } => match self.apply(*id, check_code).await {
                    Ok(()) => Ok(file.granted(*id)?),
                    Err(AskError::Code { code: response::CONTROLLER_BROKER_ID_INVALID, remark }) => {
                        info!(id, %remark, "replica id is taken, asking for another");
                        Ok(file.taken()?)
                    }
                    Err(e) => Err(e),
                },
            };
            match next {
                Ok(next) => identity = next,
                Err(e) => {
                    info!(%e, "no replica id yet, trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(250));
                }
            }
        }
    }

    fn check_code(&self) -> String {
        format!("{};{}", self.config.broker_address, node::clock::wall_ms())
    }

    async fn next_id(&self) -> Result<BrokerId, AskError> {
        let header = GetNextBrokerIdRequest {
            cluster_name: self.config.cluster_name.clone(),
            broker_name: self.config.broker_name.clone(),
        };
        let answer = self.ask(Command::request(request::CONTROLLER_GET_NEXT_BROKER_ID).with_header(&header)).await?;
        let header: GetNextBrokerIdResponse = ok(&answer)?.header()?;
        header.next_broker_id.ok_or_else(|| AskError::Answer("no nextBrokerId".to_owned()))
    }

    async fn apply(&self, id: BrokerId, check_code: &str) -> Result<(), AskError> {
        let header = ApplyBrokerIdRequest {
            cluster_name: self.config.cluster_name.clone(),
            broker_name: self.config.broker_name.clone(),
            applied_broker_id: id,
            register_check_code: check_code.to_owned(),
        };
        let answer = self.ask(Command::request(request::CONTROLLER_APPLY_BROKER_ID).with_header(&header)).await?;
        ok(&answer).map(drop)
    }

    /// 1003. A replica that the controller has forgotten (an operator cleaned the set) applies for its own id again.
    pub(crate) async fn register(&self, id: BrokerId) -> Answer {
        let mut answer = self.ask(self.register_request(id)).await;
        if answer.as_ref().is_ok_and(|it| it.code == response::CONTROLLER_BROKER_NEED_TO_BE_REGISTERED) {
            warn!(id, "the controllers do not know this replica, applying for its id again");
            if let Err(e) = self.apply(id, &self.check_code()).await {
                warn!(id, %e, "the controllers refuse this replica's id");
                return Answer::Unregistered;
            }
            answer = self.ask(self.register_request(id)).await;
        }
        let taken = answer.as_ref().is_ok_and(|it| it.code == response::CONTROLLER_BROKER_ID_INVALID);
        if let Some(it) = answer.as_ref().ok().filter(|_| taken) {
            self.say_refused_once(id, it.remark.as_deref().unwrap_or_default());
            return Answer::Failed;
        }
        self.id_refused.store(false, Ordering::Relaxed);
        settle("register", answer.and_then(|it| registered(&it)))
    }

    /// It is asked for again each second, in case the other broker was the mistake; a person has to look only once.
    fn say_refused_once(&self, id: BrokerId, why: &str) {
        if !self.id_refused.swap(true, Ordering::Relaxed) {
            let identity_file = self.config.identity_file.display();
            error!(
                id,
                why,
                %identity_file,
                "another broker has this replica's id: if its store was copied, delete the identity file in the copy"
            );
        }
    }

    fn register_request(&self, id: BrokerId) -> Command {
        Command::request(request::CONTROLLER_REGISTER_BROKER).with_header(&RegisterBrokerToControllerRequest {
            cluster_name: self.config.cluster_name.clone(),
            broker_name: self.config.broker_name.clone(),
            broker_id: id,
            broker_address: self.config.broker_address.clone(),
            invoke_time: Some(node::clock::wall_ms()),
            ha_address: Some(self.config.ha_address.clone()),
            boot_id: Some(self.boot_id.clone()),
            unclean_shutdown: Some(self.config.unclean_shutdown),
        })
    }

    /// 1002. A heartbeat goes first, so that the leader knows us to be alive when it decides.
    pub(crate) async fn elect(&self, pulse: Pulse) -> Answer {
        if let Err(e) = self.ask(self.heartbeat_request(&pulse)).await {
            return settle("elect", Err(e));
        }
        let header = ElectMasterRequest {
            cluster_name: Some(self.config.cluster_name.clone()),
            broker_name: self.config.broker_name.clone(),
            broker_id: Some(pulse.id),
            designate_elect: Some(false),
            invoke_time: Some(node::clock::wall_ms()),
        };
        let answer = self.ask(Command::request(request::CONTROLLER_ELECT_MASTER).with_header(&header)).await;
        settle("elect", answer.and_then(|it| elected(&it)))
    }

    /// 1004.
    pub(crate) async fn poll(&self) -> Answer {
        let header = GetReplicaInfoRequest { broker_name: self.config.broker_name.clone() };
        let answer = self.ask(Command::request(request::CONTROLLER_GET_REPLICA_INFO).with_header(&header)).await;
        settle("replica info", answer.and_then(|it| replica_info(&it)))
    }

    /// 31004, sent once: makes the best other member master in place of this replica (S10).
    pub(crate) async fn switch_away(&self, me: BrokerId) -> Result<(), String> {
        let header = SwitchoverRequest {
            broker_name: self.config.broker_name.clone(),
            broker_id: None,
            master_broker_id: Some(me),
            dry_run: None,
        };
        let leader = self.leader().await.map_err(|e| e.to_string())?;
        let request = Command::request(request::BATON_SWITCHOVER).with_header(&header);
        let answer = self.client.call(&leader, request, CALL_TIMEOUT).await.map_err(|e| e.to_string())?;
        match answer.code {
            response::SUCCESS => Ok(()),
            code => Err(format!("code {code}: {}", answer.remark.unwrap_or_default())),
        }
    }

    /// 1001, sent once: whether a repetition of it was executed could not be told apart.
    pub(crate) async fn alter(
        &self,
        me: BrokerId,
        epoch: Epoch,
        set: BTreeSet<BrokerId>,
        set_epoch: i32,
        purpose: Purpose,
    ) -> Outcome {
        let header = AlterSyncStateSetRequest {
            broker_name: self.config.broker_name.clone(),
            master_broker_id: me,
            master_epoch: epoch,
            invoke_time: Some(node::clock::wall_ms()),
            fence: (purpose == Purpose::Fence).then_some(true),
        };
        let body = SyncStateSet { sync_state_set: set.clone(), sync_state_set_epoch: set_epoch };
        let request = Command::request(request::CONTROLLER_ALTER_SYNC_STATE_SET)
            .with_header(&header)
            .with_body(proto::json::to_vec(&body));
        let Ok(leader) = self.leader().await else { return Outcome::Refused };
        match self.client.call(&leader, request, ALTER_TIMEOUT).await {
            Ok(answer) => altered(&answer),
            // Connecting failed: it was never sent.
            Err(CallError::Refused { .. } | CallError::Connect { .. }) => {
                self.forget(&leader);
                Outcome::Refused
            }
            Err(e) => {
                info!(%e, ?set, "SyncStateSet proposal without an answer");
                self.forget(&leader);
                Outcome::Unknown
            }
        }
    }

    /// 904 to one controller. Ours answers with the lease and what it knows of the set, if it leads.
    pub(crate) async fn heartbeat(&self, address: &str, pulse: &Pulse) -> Option<BrokerHeartbeatResponse> {
        let timeout = Duration::from_millis(self.config.heartbeat_timeout_ms);
        let answer = self.client.call(address, self.heartbeat_request(pulse), timeout).await.ok()?;
        let header: BrokerHeartbeatResponse = answer.header().ok()?;
        if header.lease_mills.is_some() {
            *self.leader.lock() = Some(address.to_owned());
        }
        Some(header)
    }

    fn heartbeat_request(&self, pulse: &Pulse) -> Command {
        Command::request(request::BROKER_HEARTBEAT).with_header(&BrokerHeartbeatRequest {
            cluster_name: self.config.cluster_name.clone(),
            broker_addr: self.config.broker_address.clone(),
            broker_name: self.config.broker_name.clone(),
            broker_id: Some(pulse.id),
            epoch: Some(pulse.epoch),
            max_offset: Some(pulse.max_offset),
            confirm_offset: Some(pulse.confirm_offset),
            heartbeat_timeout_mills: Some(self.config.heartbeat_timeout_ms as i64),
            election_priority: Some(self.config.election_priority),
            boot_id: Some(self.boot_id.clone()),
            min_in_sync_replicas: Some(self.config.min_in_sync_replicas as i32),
            disk_probe_age_mills: Some(on_the_wire(pulse.disk_probe_age_ms)),
            broker_zone: self.config.zone.clone(),
        })
    }

    /// The HA address of a master that the controller knows no such address of (a Java broker): 906, asked of the
    /// broker itself.
    pub(crate) async fn ha_address(&self, master: &Master) -> Option<String> {
        let answer =
            self.client.call(&master.address, Command::request(request::EXCHANGE_BROKER_HA_INFO), FIND_TIMEOUT).await;
        answer.ok()?.ext.remove("masterHaAddress").filter(|it| !it.is_empty())
    }

    /// Asks the leader; looks for another once if that one is none any more.
    async fn ask(&self, request: Command) -> Result<Command, AskError> {
        let leader = self.leader().await?;
        match self.client.call(&leader, request.clone(), CALL_TIMEOUT).await {
            Ok(answer) if answer.code != response::CONTROLLER_NOT_LEADER => return Ok(answer),
            Ok(_) => self.forget(&leader),
            Err(e) => {
                info!(%e, "looking for another controller leader");
                self.forget(&leader);
            }
        }
        let leader = self.leader().await?;
        let answer = self.client.call(&leader, request, CALL_TIMEOUT).await;
        if !answer.as_ref().is_ok_and(|it| it.code != response::CONTROLLER_NOT_LEADER) {
            self.forget(&leader);
        }
        Ok(answer?)
    }

    fn forget(&self, address: &str) {
        self.leader.lock().take_if(|it| it == address);
    }

    async fn leader(&self) -> Result<String, AskError> {
        if let Some(known) = self.leader.lock().clone() {
            return Ok(known);
        }
        let found = self.find_leader().await.ok_or_else(|| AskError::NoLeader(self.config.controllers.clone()))?;
        info!(leader = %found, "found the controller leader");
        *self.leader.lock() = Some(found.clone());
        Ok(found)
    }

    /// Asks all controllers at once. Who calls itself leader is believed first; a hint of another is the second choice.
    async fn find_leader(&self) -> Option<String> {
        let mut answers: FuturesUnordered<_> = self.config.controllers.iter().map(|it| self.who_leads(it)).collect();
        let mut hint = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Some((leader, true)) => return Some(leader),
                Some((leader, false)) => hint = Some(leader),
                None => {}
            }
        }
        hint
    }

    async fn who_leads(&self, address: &str) -> Option<(String, bool)> {
        let request = Command::request(request::CONTROLLER_GET_METADATA_INFO);
        let answer = self.client.call(address, request, FIND_TIMEOUT).await.ok()?;
        let header: GetMetadataInfoResponse = answer.header().ok()?;
        // It is reached at the address we know, whatever it calls itself.
        let leader = if header.is_leader { Some(address.to_owned()) } else { header.controller_leader_address };
        leader.filter(|it| !it.is_empty()).map(|it| (it, header.is_leader))
    }
}

fn ok(answer: &Command) -> Result<&Command, AskError> {
    if answer.code == response::SUCCESS { Ok(answer) } else { Err(AskError::code(answer)) }
}

fn settle(what: &str, view: Result<Option<View>, AskError>) -> Answer {
    match view {
        Ok(Some(view)) => Answer::View(view),
        Ok(None) => Answer::Unregistered,
        Err(e) => {
            info!(%e, "controller request `{what}` failed, trying again");
            Answer::Failed
        }
    }
}

/// `None`: this replica is unknown there.
fn registered(answer: &Command) -> Result<Option<View>, AskError> {
    if answer.code == response::CONTROLLER_BROKER_NEED_TO_BE_REGISTERED {
        return Ok(None);
    }
    let header: RegisterBrokerToControllerResponse = ok(answer)?.header()?;
    let set: SyncStateSet = body(answer)?;
    let master = master(header.master_broker_id, header.master_address, header.master_ha_address);
    Ok(Some(view(header.master_epoch, master, set)))
}

fn elected(answer: &Command) -> Result<Option<View>, AskError> {
    if answer.code == response::CONTROLLER_BROKER_NEED_TO_BE_REGISTERED {
        return Ok(None);
    }
    if answer.code != response::CONTROLLER_MASTER_STILL_EXIST {
        ok(answer)?;
    }
    let header: ElectMasterResponse = answer.header()?;
    let members: ElectMasterResponseBody = body(answer)?;
    let master = master(header.master_broker_id, header.master_address, header.master_ha_address);
    if master.is_none() {
        return Err(AskError::Answer("an election without a master".to_owned()));
    }
    let sync_state_set_epoch = header.sync_state_set_epoch.unwrap_or(0);
    Ok(Some(view(
        header.master_epoch,
        master,
        SyncStateSet { sync_state_set: members.sync_state_set, sync_state_set_epoch },
    )))
}

fn replica_info(answer: &Command) -> Result<Option<View>, AskError> {
    if answer.code == response::CONTROLLER_BROKER_METADATA_NOT_EXIST {
        return Ok(None);
    }
    let header: GetReplicaInfoResponse = ok(answer)?.header()?;
    let master = master(header.master_broker_id, header.master_address, header.master_ha_address);
    Ok(Some(view(header.master_epoch, master, body(answer)?)))
}

/// A push is a view like any other.
pub(crate) fn notified(header: NotifyBrokerRoleChangedRequest, set: SyncStateSet) -> View {
    let SyncStateSet { sync_state_set, sync_state_set_epoch } = set;
    let sync_state_set_epoch = header.sync_state_set_epoch.unwrap_or(sync_state_set_epoch);
    let master = master(header.master_broker_id, header.master_address, header.master_ha_address);
    view(header.master_epoch, master, SyncStateSet { sync_state_set, sync_state_set_epoch })
}

/// Only a refusal that the controller evaluated proves that the proposal will never be committed.
fn altered(answer: &Command) -> Outcome {
    match answer.code {
        response::SUCCESS => match body::<SyncStateSet>(answer) {
            Ok(it) => Outcome::Accepted { set: it.sync_state_set, epoch: it.sync_state_set_epoch },
            Err(e) => {
                warn!(%e, "a SyncStateSet proposal was accepted by an unreadable answer");
                Outcome::Unknown
            }
        },
        response::CONTROLLER_FENCED_MASTER_EPOCH
        | response::CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH
        | response::CONTROLLER_INVALID_MASTER
        | response::CONTROLLER_INVALID_REPLICAS
        | response::CONTROLLER_BROKER_NOT_ALIVE
        | response::CONTROLLER_ALTER_SYNC_STATE_SET_FAILED => {
            info!(code = answer.code, remark = answer.remark.as_deref(), "SyncStateSet proposal refused");
            Outcome::Refused
        }
        _ => {
            info!(code = answer.code, remark = answer.remark.as_deref(), "SyncStateSet proposal in doubt");
            Outcome::Unknown
        }
    }
}

fn body<T: serde::de::DeserializeOwned>(answer: &Command) -> Result<T, AskError> {
    proto::json::from_slice(&answer.body).map_err(|e| AskError::Answer(e.to_string()))
}

fn master(id: Option<BrokerId>, address: Option<String>, ha_address: Option<String>) -> Option<Master> {
    let address = address.filter(|it| !it.is_empty())?;
    Some(Master { id: id.filter(|it| *it >= 1)?, address, ha_address: ha_address.filter(|it| !it.is_empty()) })
}

fn view(epoch: Option<Epoch>, master: Option<Master>, set: SyncStateSet) -> View {
    View {
        epoch: epoch.unwrap_or(0),
        master,
        sync_state_set: set.sync_state_set,
        sync_state_set_epoch: set.sync_state_set_epoch,
    }
}

/// A store that has failed for good is older than can be said (S14): wrapped around, it would look new.
fn on_the_wire(age_ms: u64) -> i64 {
    i64::try_from(age_ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_has_failed_for_good_does_not_look_like_new() {
        assert_eq!([0, 1_500, u64::MAX].map(on_the_wire), [0, 1_500, i64::MAX]);
    }
}
