//! Replication and roles: epochs and truncation, SyncStateSet and confirm offset, who may be acknowledged, each side of
//! an HA connection, and which role this replica has.
//!
//! Pure cores (`epochs`, `in_sync`, `lease`, `master`, `notes`, `slave`, `role`) decide; drivers (`epoch_file`,
//! `master_io`, `slave_io`, `controllers`) own files, sockets and timers. The broker sees one handle: [`Replication`].

pub mod drain;
pub mod epochs;
pub mod frontier;
pub mod in_sync;
pub mod lease;
pub mod master;
pub mod maximal_set;
pub mod notes;
pub mod role;
pub mod slave;

mod controllers;
mod driver;
mod durable_file;
mod epoch_file;
pub mod files;
mod identity;
mod master_io;
mod promise_file;
mod replication;
mod shared;
mod slave_io;

pub use maximal_set::{Awaited, MaximalSet};
pub use replication::Replication;

use proto::{BrokerId, Epoch, Offset};
use std::collections::BTreeSet;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct HaConfig {
    pub cluster_name: String,
    pub broker_name: String,
    /// `brokerIP1:listenPort`: what clients and controllers use.
    pub broker_address: String,
    /// Where the HA listener binds (`bindAddress:haListenPort`), and what it is called outside
    /// (`brokerIP2:haListenPort`).
    pub ha_bind: String,
    pub ha_address: String,
    /// `controllerAddr`, split. Empty: not in controller mode, this broker is a master on its own.
    pub controllers: Vec<String>,
    pub epoch_file: PathBuf,
    pub identity_file: PathBuf,
    /// Where the promised (epoch, master) is kept (ours).
    pub promise_file: PathBuf,
    pub sync_flush: bool,
    /// What this replica has acknowledged may be gone (`Recovery::lost_acknowledged`, S7).
    pub unclean_shutdown: bool,
    pub acknowledgement: Acknowledgement,
    pub min_in_sync_replicas: usize,
    pub slave_timeout_ms: u64,
    pub ha_transfer_batch_size: usize,
    pub ha_send_heartbeat_interval_ms: u64,
    pub ha_housekeeping_interval_ms: u64,
    pub ha_max_time_slave_not_catchup_ms: u64,
    pub sync_from_last_file: bool,
    pub async_learner: bool,
    pub heartbeat_interval_ms: u64,
    pub heartbeat_timeout_ms: u64,
    pub sync_broker_metadata_period_ms: u64,
    pub election_priority: i32,
    /// Where this replica runs, for elections among equals.
    pub zone: Option<String>,
}

/// The durability profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// S3: every member of the maximal SyncStateSet.
    AllInSyncStateSet,
    /// S4: this many copies, the master's included, under a valid lease when more replicas exist.
    InSyncReplicas(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Registered nowhere yet, or no master known. Serves reads.
    Unassigned,
    Slave {
        master: Master,
    },
    /// Writes are open.
    Master,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    pub id: BrokerId,
    pub address: String,
    pub ha_address: Option<String>,
}

/// What this replica is, published after it has become so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleState {
    /// Controller-assigned; 0 outside controller mode and until assigned.
    pub broker_id: BrokerId,
    pub role: Role,
    pub master_epoch: Epoch,
    pub sync_state_set: BTreeSet<BrokerId>,
    pub sync_state_set_epoch: i32,
}

/// A write may be appended now; hand it back with the append's end to learn when it may be acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// Which uninterrupted stretch of mastership this is.
    pub term: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Answer SERVICE_NOT_AVAILABLE (14).
    #[error("not the master: {0}")]
    NotMaster(String),
    /// Answer SYSTEM_ERROR (1) with remark "in-sync replicas not enough".
    #[error(transparent)]
    TooFewInSync(#[from] TooFewInSync),
}

/// S7: the committed set is smaller than `minInSyncReplicas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("in-sync replicas not enough: {have} of {want}")]
pub struct TooFewInSync {
    pub have: usize,
    pub want: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// The profile's promise holds (S3, S4, S11).
    Acknowledged,
    /// `slaveTimeout` passed; stored here, maybe elsewhere (FLUSH_SLAVE_TIMEOUT).
    Timeout,
    /// This replica stopped being master before the promise held: the outcome is unknown.
    Deposed,
}

/// One entry of GET_BROKER_EPOCH_CACHE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochSpan {
    pub epoch: Epoch,
    pub start: Offset,
    /// `i64::MAX` for the last.
    pub end: Offset,
}

/// For GET_BROKER_HA_STATUS (907).
#[derive(Clone, Debug, Default)]
pub struct HaStatus {
    pub slaves: Vec<SlaveStatus>,
    pub in_sync_slaves: usize,
    pub master_max_offset: Offset,
    /// On a slave: the HA address it copies from.
    pub copying_from: Option<String>,
}

#[derive(Clone, Debug)]
pub struct SlaveStatus {
    pub id: BrokerId,
    pub address: String,
    pub ack_offset: Offset,
    pub in_sync: bool,
    pub transfer_offset: Offset,
}

#[derive(Debug, thiserror::Error)]
pub enum HaError {
    #[error("{0}")]
    Identity(String),
    #[error("{path}: {why}")]
    File { path: String, why: String },
    #[error(transparent)]
    Bind(#[from] node::listener::BindError),
}
