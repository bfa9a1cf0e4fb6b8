//! One broker set as the controllers remember it.

use proto::{BrokerId, Epoch, Offset};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Enough to answer "why did the master change at 12:03?" weeks later, little enough for a snapshot of 10,000 sets.
const HISTORY: usize = 100;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerSet {
    pub cluster: String,
    pub name: String,
    /// One more than the largest id ever taken: ids are never given out twice.
    pub next_id: BrokerId,
    pub replicas: BTreeMap<BrokerId, Replica>,
    /// Always a member of the SyncStateSet.
    pub master: Option<BrokerId>,
    /// 0: never had a master. Only grows (S1).
    pub master_epoch: Epoch,
    /// Replicas that count for acknowledgement and election.
    pub sync_state_set: BTreeSet<BrokerId>,
    pub sync_state_set_epoch: i32,
    /// Left the set while nothing could be acknowledged without them (S7). Disjoint from the set; empty unless the set
    /// is below its minimum.
    pub eligible: BTreeSet<BrokerId>,
    /// Replicas that an operator keeps mastership away from: elected only if nobody else can be (S10).
    #[serde(default)]
    pub drained: BTreeSet<BrokerId>,
    /// No automatic election before this moment of the wall clock; 0: not paused. Leaders compare it with the time
    /// that their commands carry.
    #[serde(default)]
    pub paused_until_ms: i64,
    /// `minInSyncReplicas` of the current or last master, as far as it said so; 1 otherwise.
    pub min_in_sync: i32,
    /// Oldest first.
    pub history: VecDeque<RoleChange>,
    /// Log index of the last change.
    pub revision: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    pub address: String,
    /// Known of Baton replicas only.
    pub ha_address: Option<String>,
    pub check_code: String,
    /// The process that registered last; only Baton replicas name it.
    pub boot_id: Option<String>,
}

impl Replica {
    /// A Baton replica understands a SyncStateSet of several members right after its election; a Java one expects
    /// itself alone.
    pub fn is_baton(&self) -> bool {
        self.boot_id.is_some()
    }

    /// Its address without the port.
    pub fn host(&self) -> &str {
        self.address.rsplit_once(':').map_or(&self.address, |it| it.0)
    }
}

/// One line of a set's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleChange {
    /// When the leader saw the reason, and when it proposed the change (wall clock).
    pub detected_ms: i64,
    pub proposed_ms: i64,
    pub from: Option<BrokerId>,
    pub to: Option<BrokerId>,
    pub epoch: Epoch,
    pub sync_state_set: BTreeSet<BrokerId>,
    pub cause: Cause,
    /// Elected from outside the set and the eligible: acknowledged messages may be gone.
    pub unclean: bool,
}

/// Why the master changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The set's first master.
    First,
    /// A broker asked while there was no live master.
    Requested {
        by: BrokerId,
    },
    /// An operator chose.
    Designated {
        id: BrokerId,
    },
    /// Proof of death (S6).
    ConnectionClosedAndRefused,
    /// Nothing heard for the replica's own timeout (S5).
    HeartbeatExpired {
        silent_ms: u64,
    },
    /// It speaks, but its disk has not taken a write for too long (S14).
    DiskStalled {
        probe_age_ms: u64,
    },
    /// A new process of the master registered: the old one's term is over (S2).
    Restarted,
    /// There was no master, and now a member that may be one is alive.
    NoMaster,
    Cleaned,
    /// An operator moved mastership, or the master is about to stop: drained first (S10).
    Switchover {
        drained_to: Offset,
    },
    /// The controller moved mastership to the preferred replica (`enablePreferredMaster`): drained first (S10).
    Preferred {
        drained_to: Offset,
    },
}

impl BrokerSet {
    pub(super) fn new(cluster: &str, name: &str) -> BrokerSet {
        BrokerSet {
            cluster: cluster.to_owned(),
            name: name.to_owned(),
            next_id: 1,
            min_in_sync: 1,
            ..Default::default()
        }
    }

    pub(super) fn record(&mut self, change: RoleChange) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(change);
    }

    /// Replaces the SyncStateSet and recomputes who outside it stays eligible (S7): whoever left while the set is below
    /// its minimum, since nothing can have been acknowledged after that. Once the set is large enough again, only
    /// members count.
    pub(super) fn replace_sync_state_set(&mut self, new: BTreeSet<BrokerId>) {
        let before = self.sync_state_set.union(&self.eligible).copied();
        self.eligible = match new.len() < self.min_in_sync.max(1) as usize {
            true => before.filter(|it| !new.contains(it)).collect(),
            false => BTreeSet::new(),
        };
        self.sync_state_set = new;
        self.sync_state_set_epoch += 1;
    }

    /// The master's term ends without a successor; the next election brings the next epoch.
    pub(super) fn end_mastership(&mut self, cause: Cause, at_ms: i64) {
        let from = self.master.take();
        let (epoch, sync_state_set) = (self.master_epoch, self.sync_state_set.clone());
        self.record(RoleChange {
            detected_ms: at_ms,
            proposed_ms: at_ms,
            from,
            to: None,
            epoch,
            sync_state_set,
            cause,
            unclean: false,
        });
    }
}
