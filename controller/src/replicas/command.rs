//! What can happen to the replicated state. A command travels as JSON inside a Raft entry.

use super::elect::{Candidate, ElectMode, UncleanElection};
use super::memory::{Asked, Promoted};
use super::set::Cause;
use proto::{BrokerId, Epoch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    ApplyBrokerId(ApplyBrokerId),
    Register(Register),
    Elect(Elect),
    AlterSyncStateSet(AlterSyncStateSet),
    Fence(Fence),
    RemoveDead(RemoveDead),
    Clean(Clean),
    Promoted(Promoted),
    Drain(Drain),
    Pause(Pause),
    Note(Note),
}

/// 1013: takes a broker id for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyBrokerId {
    pub cluster: String,
    pub broker_set: String,
    pub id: BrokerId,
    /// `<brokerAddr>;<millis>`: repeating it is how a broker that lost the answer gets the same id again.
    pub check_code: String,
    #[serde(default)]
    pub at_ms: i64,
}

/// 1003: a process of a replica announces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    pub broker_set: String,
    pub id: BrokerId,
    pub address: String,
    pub ha_address: Option<String>,
    /// Absent from a Java broker.
    pub boot_id: Option<String>,
    /// The process before this one may have lost bytes it had acknowledged (S7).
    pub unclean: bool,
    /// Another live process holds this id, at this address: two brokers share one identity file.
    pub taken_by: Option<String>,
    pub at_ms: i64,
}

/// 1002, or the controller's own reaction to a death.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elect {
    pub broker_set: String,
    /// Who asks; none for the controller itself.
    pub requester: Option<BrokerId>,
    pub mode: ElectMode,
    /// Members the leader holds for alive, in id order. A current master that is listed stays master unless another is
    /// designated.
    pub alive: Vec<Candidate>,
    pub unclean: UncleanElection,
    /// Only if this is still the master and its epoch: makes the controller's own proposals idempotent.
    pub expect: Option<(Option<BrokerId>, Epoch)>,
    pub cause: Cause,
    /// Wall clock of the leader: when the reason was seen, and when this was proposed.
    pub detected_ms: i64,
    pub at_ms: i64,
}

/// 1001: the master's compare-and-set of the SyncStateSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterSyncStateSet {
    pub broker_set: String,
    pub master: BrokerId,
    pub master_epoch: Epoch,
    pub sync_state_set: BTreeSet<BrokerId>,
    pub sync_state_set_epoch: i32,
    pub alive: BTreeSet<BrokerId>,
    /// `minInSyncReplicas` of the master, when it said so (S7).
    pub min_in_sync: Option<i32>,
    #[serde(default)]
    pub at_ms: i64,
}

/// 1001 with `fence`: a new version of the same SyncStateSet. Its master asks for it when a proposal had no answer:
/// whatever became of that one, it cannot be committed after this (S3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    pub broker_set: String,
    pub master: BrokerId,
    pub master_epoch: Epoch,
    pub sync_state_set_epoch: i32,
    pub at_ms: i64,
}

/// The controller takes members that are dead by proof out of the set, so that strict writes go on without waiting for
/// the master to notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveDead {
    pub broker_set: String,
    pub ids: BTreeSet<BrokerId>,
    pub master_epoch: Epoch,
    pub sync_state_set_epoch: i32,
    #[serde(default)]
    pub at_ms: i64,
}

/// 1011.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clean {
    pub broker_set: String,
    /// None: the whole set.
    pub ids: Option<BTreeSet<BrokerId>>,
    pub living: CleanLiving,
    pub alive: BTreeSet<BrokerId>,
    pub at_ms: i64,
}

/// Whether live replicas may be erased too (`isCleanLivingBroker`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CleanLiving {
    Refuse,
    Allow,
}

/// An operator keeps mastership away from a replica whose host is to be worked on, or allows it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    pub broker_set: String,
    pub id: BrokerId,
    pub wanted: Drained,
    pub at_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drained {
    Yes,
    No,
}

/// An operator stops automatic elections for a while, or allows them again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub broker_set: String,
    /// Wall clock; 0 ends a pause.
    pub until_ms: i64,
    pub at_ms: i64,
}

/// What was refused before it came to a command; changes nothing but the memory of the set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub broker_set: String,
    pub asked: Asked,
    pub why: String,
    pub at_ms: i64,
}

impl Command {
    /// Changes nothing, as no change of a master has this epoch. Once it is decided, so is what stands before it in the
    /// log.
    pub fn nothing(broker_set: &str) -> Command {
        let broker_set = broker_set.to_owned();
        Command::Promoted(Promoted { broker_set, epoch: -1, committed_ms: 0, promoted_ms: 0 })
    }

    /// The one broker set that a command can change.
    pub fn broker_set(&self) -> &str {
        match self {
            Command::ApplyBrokerId(it) => &it.broker_set,
            Command::Register(it) => &it.broker_set,
            Command::Elect(it) => &it.broker_set,
            Command::AlterSyncStateSet(it) => &it.broker_set,
            Command::Fence(it) => &it.broker_set,
            Command::RemoveDead(it) => &it.broker_set,
            Command::Clean(it) => &it.broker_set,
            Command::Drain(it) => &it.broker_set,
            Command::Pause(it) => &it.broker_set,
            Command::Note(it) => &it.broker_set,
            Command::Promoted(it) => &it.broker_set,
        }
    }
}
