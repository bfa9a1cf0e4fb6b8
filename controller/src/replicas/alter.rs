//! Changes of the SyncStateSet other than by election.

use super::Replicas;
use super::command::{AlterSyncStateSet, Fence, RemoveDead};
use super::outcome::{Outcome, Refusal, SetSummary};
use super::set::BrokerSet;
use proto::{BrokerId, Epoch};

impl Replicas {
    pub(super) fn alter_sync_state_set(&mut self, index: u64, it: AlterSyncStateSet) -> Outcome {
        let Some(set) = self.sets.get_mut(&it.broker_set) else {
            return Outcome::Refused(Refusal::AlterUnknownSet);
        };
        if let Err(why) = set.check_alter(&it) {
            return Outcome::Refused(why);
        }
        set.min_in_sync = it.min_in_sync.unwrap_or(set.min_in_sync);
        set.replace_sync_state_set(it.sync_state_set);
        set.revision = index;
        Outcome::Altered(SetSummary::from(&*set))
    }

    pub(super) fn fence(&mut self, index: u64, it: Fence) -> Outcome {
        let Some(set) = self.sets.get_mut(&it.broker_set) else {
            return Outcome::Refused(Refusal::AlterUnknownSet);
        };
        if let Err(why) = set.check_version(it.master, it.master_epoch, it.sync_state_set_epoch) {
            return Outcome::Refused(why);
        }
        set.sync_state_set_epoch += 1;
        set.revision = index;
        Outcome::Altered(SetSummary::from(&*set))
    }

    pub(super) fn remove_dead(&mut self, index: u64, it: RemoveDead) -> Outcome {
        let Some(set) = self.sets.get_mut(&it.broker_set) else { return Outcome::Unchanged };
        let expected = (it.master_epoch, it.sync_state_set_epoch) == (set.master_epoch, set.sync_state_set_epoch);
        let left = set.sync_state_set.iter().filter(|id| !it.ids.contains(id) || set.master == Some(**id)).copied();
        let left = left.collect::<std::collections::BTreeSet<_>>();
        if !expected || set.master.is_none() || left == set.sync_state_set {
            return Outcome::Unchanged;
        }
        set.replace_sync_state_set(left);
        set.revision = index;
        Outcome::Changed
    }
}

impl BrokerSet {
    /// The compare of the compare-and-set.
    fn check_version(&self, master: BrokerId, epoch: Epoch, set_epoch: i32) -> Result<(), Refusal> {
        if self.master != Some(master) {
            return Err(Refusal::AlterOtherMaster { current: self.master, asked: master });
        }
        if self.master_epoch != epoch {
            return Err(Refusal::AlterOtherEpoch { current: self.master_epoch, asked: epoch });
        }
        if self.sync_state_set_epoch != set_epoch {
            return Err(Refusal::AlterOtherSetEpoch { current: self.sync_state_set_epoch, asked: set_epoch });
        }
        Ok(())
    }

    /// RocketMQ's checks in RocketMQ's order.
    fn check_alter(&self, it: &AlterSyncStateSet) -> Result<(), Refusal> {
        if it.sync_state_set == self.sync_state_set {
            return Err(Refusal::AlterEqual);
        }
        self.check_version(it.master, it.master_epoch, it.sync_state_set_epoch)?;
        for id in &it.sync_state_set {
            if !self.replicas.contains_key(id) {
                return Err(Refusal::AlterUnknownReplica(*id));
            }
            if !it.alive.contains(id) {
                return Err(Refusal::AlterDeadReplica(*id));
            }
        }
        if !it.sync_state_set.contains(&it.master) {
            return Err(Refusal::AlterWithoutMaster(it.master));
        }
        Ok(())
    }
}
