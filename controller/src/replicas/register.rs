//! Identity: broker ids, addresses, and which process of a replica speaks.

use super::Replicas;
use super::command::{ApplyBrokerId, Register};
use super::outcome::{Outcome, Refusal, SetSummary};
use super::set::{BrokerSet, Cause, Replica};

impl Replicas {
    pub(super) fn apply_broker_id(&mut self, index: u64, it: ApplyBrokerId) -> Outcome {
        let (broker_set, id) = (it.broker_set.clone(), it.id);
        if !self.sets.contains_key(&broker_set) && id != 1 {
            return Outcome::Refused(Refusal::FirstIdIsOne { broker_set, id });
        }
        let set = self.sets.entry(broker_set.clone()).or_insert_with(|| BrokerSet::new(&it.cluster, &broker_set));
        match set.replicas.get(&id) {
            Some(known) if known.check_code == it.check_code => Outcome::BrokerIdApplied,
            None if id >= 1 => {
                set.add(index, it);
                Outcome::BrokerIdApplied
            }
            _ => Outcome::Refused(Refusal::IdTaken { broker_set, id }),
        }
    }

    pub(super) fn register(&mut self, index: u64, it: Register) -> Outcome {
        let Some(set) = self.sets.get_mut(&it.broker_set) else {
            return Outcome::Refused(Refusal::SetNotRegistered(it.broker_set));
        };
        let Some(replica) = set.replicas.get_mut(&it.id) else {
            return Outcome::Refused(Refusal::IdNotRegistered { broker_set: it.broker_set, id: it.id });
        };
        let restarted = replica.boot_id != it.boot_id;
        if let Some(address) = it.taken_by.clone().filter(|_| restarted) {
            return Outcome::Refused(Refusal::IdInUse { broker_set: it.broker_set, id: it.id, address });
        }
        if (&replica.address, &replica.ha_address) != (&it.address, &it.ha_address) || restarted {
            replica.address = it.address.clone();
            replica.ha_address = it.ha_address.clone();
            replica.boot_id = it.boot_id.clone();
            set.revision = index;
        }
        if restarted {
            set.on_restart(&it);
        }
        Outcome::Registered(SetSummary::from(&*set))
    }
}

impl BrokerSet {
    fn add(&mut self, index: u64, it: ApplyBrokerId) {
        let address = it.check_code.split(';').next().unwrap_or_default().to_owned();
        self.replicas.insert(it.id, Replica { address, check_code: it.check_code, ..Default::default() });
        self.next_id = self.next_id.max(it.id.saturating_add(1));
        self.revision = index;
    }

    /// S2: whatever the old process was, its term is over. S7: one that may have lost acknowledged bytes loses its
    /// place.
    fn on_restart(&mut self, it: &Register) {
        if self.master == Some(it.id) {
            self.end_mastership(Cause::Restarted, it.at_ms);
        }
        if it.unclean {
            self.lose_place(it);
        }
    }

    /// A sole member without eligible others keeps its place: no other copy has more, and without it nobody could ever
    /// be elected.
    fn lose_place(&mut self, it: &Register) {
        let others = self.sync_state_set.iter().chain(&self.eligible).any(|id| *id != it.id);
        if !others {
            return;
        }
        self.eligible.remove(&it.id);
        self.sync_state_set.remove(&it.id);
        // Also when it was no member: a proposal that adds it may be under way, based on bytes it no longer has.
        self.sync_state_set_epoch += 1;
    }
}
