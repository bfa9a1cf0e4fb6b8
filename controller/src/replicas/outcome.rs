//! What became of a command: everything an answer needs. Texts of refusals are RocketMQ's.

use super::set::BrokerSet;
use proto::{BrokerId, Epoch};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    BrokerIdApplied,
    Registered(SetSummary),
    /// A new master at a new epoch, and the set's members with their addresses.
    Elected(SetSummary, BTreeMap<BrokerId, String>),
    MasterStillAlive(SetSummary),
    Altered(SetSummary),
    /// The controller's own command changed the set.
    Changed,
    /// The controller's own command came too late: what it expected is no longer so.
    Unchanged,
    Cleaned,
    Refused(Refusal),
}

/// What brokers are told about their set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetSummary {
    pub broker_set: String,
    pub cluster: String,
    pub master: Option<BrokerId>,
    pub master_address: Option<String>,
    pub master_ha_address: Option<String>,
    pub master_epoch: Epoch,
    pub sync_state_set: BTreeSet<BrokerId>,
    pub sync_state_set_epoch: i32,
}

impl From<&BrokerSet> for SetSummary {
    fn from(set: &BrokerSet) -> SetSummary {
        let master = set.master.and_then(|id| set.replicas.get(&id));
        SetSummary {
            broker_set: set.name.clone(),
            cluster: set.cluster.clone(),
            master: set.master,
            master_address: master.map(|it| it.address.clone()),
            master_ha_address: master.and_then(|it| it.ha_address.clone()),
            master_epoch: set.master_epoch,
            sync_state_set: set.sync_state_set.clone(),
            sync_state_set_epoch: set.sync_state_set_epoch,
        }
    }
}

fn null(id: &Option<BrokerId>) -> String {
    id.map_or("null".to_owned(), |it| it.to_string())
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Broker-set: {broker_set} hasn't been registered in controller, but broker try to apply brokerId: {id}")]
    FirstIdIsOne { broker_set: String, id: BrokerId },
    #[error("Fail to apply brokerId: {id} in broker-set: {broker_set}")]
    IdTaken { broker_set: String, id: BrokerId },
    #[error(
        "BrokerId: {id} of broker-set: {broker_set} is in use by the live broker at {address}; give this broker a \
         store directory of its own (its identity file is a copy)"
    )]
    IdInUse { broker_set: String, id: BrokerId, address: String },
    #[error("Broker-set: {0} hasn't been registered in controller")]
    SetNotRegistered(String),
    #[error("BrokerId: {id} hasn't been registered in broker-set: {broker_set}")]
    IdNotRegistered { broker_set: String, id: BrokerId },
    #[error("Broker hasn't been registered")]
    ElectUnknownSet,
    #[error("Old master has down and failed to elect a new broker master")]
    NobodyElectable,
    #[error("Failed to elect a new master")]
    ElectFailed,
    #[error("elections of {broker_set} are paused until {until_ms} (milliseconds of Unix time); see `mqadmin resume`")]
    ElectionsPaused { broker_set: String, until_ms: i64 },
    #[error(
        "replica {id} of {broker_set} cannot be drained: {left} of its SyncStateSet would be left, minInSyncReplicas \
         is \
         {min_in_sync}; bring another replica into the set first"
    )]
    DrainBelowMinimum { broker_set: String, id: BrokerId, left: usize, min_in_sync: i32 },
    #[error("Broker metadata is not existed")]
    AlterUnknownSet,
    #[error("The newSyncStateSet is equal with oldSyncStateSet, no needed to update syncStateSet")]
    AlterEqual,
    #[error(
        "Rejecting alter syncStateSet request because the current leader is:{{{}}}, not {{{asked}}}",
        null(.current)
    )]
    AlterOtherMaster { current: Option<BrokerId>, asked: BrokerId },
    #[error("Rejecting alter syncStateSet request because the current master epoch is:{{{current}}}, not {{{asked}}}")]
    AlterOtherEpoch { current: Epoch, asked: Epoch },
    #[error(
        "Rejecting alter syncStateSet request because the current syncStateSet epoch is:{{{current}}}, not {{{asked}}}"
    )]
    AlterOtherSetEpoch { current: i32, asked: i32 },
    #[error("Rejecting alter syncStateSet request because the replicas {{{0}}} don't exist")]
    AlterUnknownReplica(BrokerId),
    #[error("Rejecting alter syncStateSet request because the replicas {{{0}}} don't alive")]
    AlterDeadReplica(BrokerId),
    #[error("Rejecting alter syncStateSet request because the newSyncStateSet don't contains origin leader {{{0}}}")]
    AlterWithoutMaster(BrokerId),
    #[error("Broker {0} is still alive, clean up failure")]
    CleanHasMaster(String),
    #[error("Broker [{broker_set},  {id}] is still alive, clean up failure")]
    CleanLiveReplica { broker_set: String, id: BrokerId },
    #[error("Broker {0} is not existed,clean broker data failure.")]
    CleanUnknownSet(String),
}
