//! Erasing what the controllers know of dead replicas (1011).

use super::Replicas;
use super::command::{Clean, CleanLiving};
use super::outcome::{Outcome, Refusal};
use super::set::{BrokerSet, Cause};
use proto::BrokerId;
use std::collections::BTreeSet;

impl Replicas {
    pub(super) fn clean(&mut self, index: u64, it: Clean) -> Outcome {
        let set = self.sets.get_mut(&it.broker_set);
        if let Err(why) = check(set.as_deref(), &it) {
            return Outcome::Refused(why);
        }
        let Some(set) = set else { return Outcome::Refused(Refusal::CleanUnknownSet(it.broker_set)) };
        match &it.ids {
            None => set.replicas.clear(),
            Some(ids) => set.erase(index, ids, it.at_ms),
        }
        if set.replicas.is_empty() {
            self.sets.remove(&it.broker_set);
        }
        Outcome::Cleaned
    }
}

fn check(set: Option<&BrokerSet>, it: &Clean) -> Result<(), Refusal> {
    if it.living == CleanLiving::Allow {
        return Ok(());
    }
    match &it.ids {
        None if set.is_some_and(|it| it.master.is_some()) => Err(Refusal::CleanHasMaster(it.broker_set.clone())),
        None => Ok(()),
        Some(ids) => match ids.intersection(&it.alive).next() {
            Some(id) => Err(Refusal::CleanLiveReplica { broker_set: it.broker_set.clone(), id: *id }),
            None => Ok(()),
        },
    }
}

impl BrokerSet {
    /// Unlike RocketMQ's, leaves no half a set: whoever is erased is neither master nor member any more.
    fn erase(&mut self, index: u64, ids: &BTreeSet<BrokerId>, at_ms: i64) {
        if self.master.is_some_and(|it| ids.contains(&it)) {
            self.end_mastership(Cause::Cleaned, at_ms);
        }
        self.replicas.retain(|id, _| !ids.contains(id));
        self.eligible.retain(|id| !ids.contains(id));
        self.drained.retain(|id| !ids.contains(id));
        let members = self.sync_state_set.len();
        self.sync_state_set.retain(|id| !ids.contains(id));
        if self.sync_state_set.len() != members {
            self.sync_state_set_epoch += 1;
        }
        self.revision = index;
    }
}
