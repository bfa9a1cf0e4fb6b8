//! Changes of the SyncStateSet other than by election.

use super::Replicas;
use super::command::{AlterSyncStateSet, RemoveDead};
use super::outcome::{Outcome, Refusal, SetSummary};
use super::set::BrokerSet;

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
    /// RocketMQ's checks in RocketMQ's order.
    fn check_alter(&self, it: &AlterSyncStateSet) -> Result<(), Refusal> {
        if it.sync_state_set == self.sync_state_set {
            return Err(Refusal::AlterEqual);
        }
        if self.master != Some(it.master) {
            return Err(Refusal::AlterOtherMaster { current: self.master, asked: it.master });
        }
        if self.master_epoch != it.master_epoch {
            return Err(Refusal::AlterOtherEpoch { current: self.master_epoch, asked: it.master_epoch });
        }
        if self.sync_state_set_epoch != it.sync_state_set_epoch {
            return Err(Refusal::AlterOtherSetEpoch {
                current: self.sync_state_set_epoch,
                asked: it.sync_state_set_epoch,
            });
        }
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
