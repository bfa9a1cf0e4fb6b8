//! Who is master of each broker set: the state that Raft replicates.
//!
//! Pure and total: [`Replicas::apply`] checks and changes in one step, and whatever depends on time or liveness already
//! stands in the command, so every controller that applies the same log holds the same state. Promises S1 (epochs only
//! grow, one master each), the controller's half of S2 (a restarted master's term is over) and S7 (who may be elected).

mod alter;
mod clean;
mod command;
mod considered;
mod elect;
pub mod memory;
mod observe;
mod outcome;
mod planned;
mod register;
mod set;
pub mod story;

pub use command::{
    AlterSyncStateSet, ApplyBrokerId, Clean, CleanLiving, Command, Drain, Drained, Elect, Fence, Note, Pause, Register,
    RemoveDead,
};
pub use considered::{Considered, Verdict};
pub use elect::{Candidate, Choice, ElectMode, Standing, UncleanElection, Zone};
pub use memory::{Asked, Memory, Promoted};
pub use outcome::{Outcome, Refusal, SetSummary};
pub use planned::{NoSuccessor, Successor};
pub use set::{BrokerSet, Cause, Replica, RoleChange};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// More elections than controllers can have forgotten.
const FORGOTTEN: i32 = 1_000;

/// All broker sets by name. RocketMQ keys them by brokerName alone, whatever the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    sets: BTreeMap<String, BrokerSet>,
    /// What happened to each set.
    #[serde(default)]
    memories: BTreeMap<String, Memory>,
}

impl Replicas {
    /// `index` is the command's place in the log; it becomes the revision of the set that changes.
    pub fn apply(&mut self, index: u64, command: Command) -> Outcome {
        let before = self.before(&command);
        let outcome = self.change(index, command);
        self.observe(index, before, &outcome);
        outcome
    }

    fn change(&mut self, index: u64, command: Command) -> Outcome {
        match command {
            Command::ApplyBrokerId(it) => self.apply_broker_id(index, it),
            Command::Register(it) => self.register(index, it),
            Command::Elect(it) => self.elect(index, it),
            Command::AlterSyncStateSet(it) => self.alter_sync_state_set(index, it),
            Command::Fence(it) => self.fence(index, it),
            Command::RemoveDead(it) => self.remove_dead(index, it),
            Command::Clean(it) => self.clean(index, it),
            Command::Drain(it) => self.drain(index, it),
            Command::Pause(it) => self.pause(index, it),
            Command::Note(_) => Outcome::Unchanged,
            Command::Promoted(it) => {
                let told = self.memories.get_mut(&it.broker_set).is_some_and(|memory| memory.promoted(&it));
                if told { Outcome::Changed } else { Outcome::Unchanged }
            }
        }
    }

    /// After the controllers were put together from what was left: what they forgot may include elections, so that all
    /// epochs leap beyond any that can have been given (S1), and whoever was master has to be elected again.
    pub fn begin_anew(&mut self, index: u64) {
        for set in self.sets.values_mut().filter(|it| it.master_epoch > 0) {
            set.master_epoch = set.master_epoch.saturating_add(FORGOTTEN);
            set.sync_state_set_epoch = set.sync_state_set_epoch.saturating_add(FORGOTTEN);
            (set.master, set.revision) = (None, index);
        }
    }

    pub fn get(&self, broker_set: &str) -> Option<&BrokerSet> {
        self.sets.get(broker_set)
    }

    /// None for a set of which nothing is remembered.
    pub fn memory(&self, broker_set: &str) -> Option<&Memory> {
        self.memories.get(broker_set)
    }

    pub fn iter(&self) -> impl Iterator<Item = &BrokerSet> {
        self.sets.values()
    }

    /// The id a new replica should apply for; reading it reserves nothing.
    pub fn next_broker_id(&self, broker_set: &str) -> i64 {
        self.get(broker_set).map_or(1, |it| it.next_id)
    }
}

#[cfg(test)]
mod tests;
