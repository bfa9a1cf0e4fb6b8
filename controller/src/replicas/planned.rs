//! Planned changes (S10): who may take over from a live master, who is kept away from mastership, and pauses.

use super::Replicas;
use super::command::{Drain, Drained, Pause};
use super::elect::Candidate;
use super::outcome::{Outcome, Refusal};
use super::set::{BrokerSet, Replica};
use proto::{BrokerId, Offset};

/// Who would take over, and how things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    pub from: BrokerId,
    pub to: BrokerId,
    /// Bytes that it lacked by the last heartbeats.
    pub lag: Offset,
    /// Live members besides the present master.
    pub in_sync_others: usize,
}

/// Why mastership cannot be moved. Each text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuccessor {
    #[error("{0} has no master to take over from; `mqadmin electMaster` chooses one")]
    NoMaster(String),
    #[error("replica {asked} of {broker_set} is not its master, {master} is")]
    NotTheMaster { broker_set: String, asked: BrokerId, master: BrokerId },
    #[error("replica {id} of {broker_set} is its master already")]
    IsMaster { broker_set: String, id: BrokerId },
    #[error("{broker_set} has no replica {id}; see `mqadmin getSyncStateSet`")]
    Unknown { broker_set: String, id: BrokerId },
    #[error("the master of {broker_set}, {id}, is not one of Baton's and cannot drain; use `mqadmin electMaster`")]
    MasterCannotDrain { broker_set: String, id: BrokerId },
    #[error("replica {id} of {broker_set} {why}")]
    Unfit { broker_set: String, id: BrokerId, why: &'static str },
    #[error("no replica of {broker_set} can take over: {}", reasons(.others))]
    Nobody { broker_set: String, others: Vec<(BrokerId, &'static str)> },
}

fn reasons(others: &[(BrokerId, &'static str)]) -> String {
    if others.is_empty() {
        return "it has no other replica".to_owned();
    }
    others.iter().map(|(id, why)| format!("{id} {why}")).collect::<Vec<_>>().join("; ")
}

impl BrokerSet {
    /// The member that a planned change would make master: the wanted one, or the best by S7. Outside the set nobody
    /// is, whatever `enableElectUncleanMaster` says.
    pub fn successor(&self, alive: &[Candidate], wanted: Option<BrokerId>) -> Result<Successor, NoSuccessor> {
        let broker_set = self.name.clone();
        let Some(from) = self.master else { return Err(NoSuccessor::NoMaster(broker_set)) };
        let to = match wanted {
            Some(id) if id == from => return Err(NoSuccessor::IsMaster { broker_set, id }),
            Some(id) if !self.replicas.contains_key(&id) => return Err(NoSuccessor::Unknown { broker_set, id }),
            Some(id) => match self.unfit(alive, id) {
                Some(why) => return Err(NoSuccessor::Unfit { broker_set, id, why }),
                None => id,
            },
            None => self.best_successor(alive, from)?,
        };
        if !self.replicas.get(&from).is_some_and(|it| it.is_baton()) {
            return Err(NoSuccessor::MasterCannotDrain { broker_set, id: from });
        }
        let end = |id| alive.iter().find(|it| it.id == id).map_or(0, |it| it.max_offset);
        let others = alive.iter().filter(|it| it.id != from && self.sync_state_set.contains(&it.id));
        Ok(Successor { from, to, lag: end(from).saturating_sub(end(to)).max(0), in_sync_others: others.count() })
    }

    fn best_successor(&self, alive: &[Candidate], from: BrokerId) -> Result<BrokerId, NoSuccessor> {
        let fit = alive.iter().filter(|it| it.id != from && self.unfit(alive, it.id).is_none());
        fit.max_by_key(|it| self.preference(it)).map(|it| it.id).ok_or_else(|| {
            let others = self.replicas.keys().filter(|id| **id != from);
            let others = others.map(|id| (*id, self.unfit(alive, *id).unwrap_or_default())).collect();
            NoSuccessor::Nobody { broker_set: self.name.clone(), others }
        })
    }

    /// Why this replica cannot take over now.
    fn unfit(&self, alive: &[Candidate], id: BrokerId) -> Option<&'static str> {
        let candidate = alive.iter().find(|it| it.id == id);
        if !self.sync_state_set.contains(&id) {
            return Some("is not in the SyncStateSet: wait until it has caught up");
        }
        match candidate {
            None => Some("is not alive"),
            Some(it) if !it.electable => Some("is not connected, or its disk takes no writes"),
            Some(_) if self.drained.contains(&id) => Some("is drained: `mqadmin undrain` it first"),
            Some(_) => None,
        }
    }

    /// Whether draining this replica would leave fewer members than the set needs. One outside the set takes nothing
    /// away.
    pub fn check_drain(&self, id: BrokerId) -> Result<(), Refusal> {
        if !self.replicas.contains_key(&id) {
            return Err(Refusal::IdNotRegistered { broker_set: self.name.clone(), id });
        }
        let left = self.sync_state_set.iter().filter(|it| **it != id && !self.drained.contains(it)).count();
        if self.sync_state_set.contains(&id) && left < self.min_in_sync.max(1) as usize {
            let (broker_set, min_in_sync) = (self.name.clone(), self.min_in_sync.max(1));
            return Err(Refusal::DrainBelowMinimum { broker_set, id, left, min_in_sync });
        }
        Ok(())
    }

    /// Replicas whose address is this one, or which are on this host.
    pub fn on_host<'a>(&'a self, host: &'a str) -> impl Iterator<Item = BrokerId> + 'a {
        let is_there = move |it: &Replica| it.address == host || it.host() == host;
        self.replicas.iter().filter(move |(_, it)| is_there(it)).map(|it| *it.0)
    }

    pub fn host_of(&self, id: BrokerId) -> Option<&str> {
        self.replicas.get(&id).map(Replica::host)
    }

    /// Where the master is, if there is one.
    pub fn master_host(&self) -> Option<&str> {
        self.host_of(self.master?)
    }

    pub fn is_paused(&self, at_ms: i64) -> bool {
        at_ms < self.paused_until_ms
    }
}

impl Replicas {
    pub(super) fn drain(&mut self, index: u64, it: Drain) -> Outcome {
        let Some(set) = self.sets.get_mut(&it.broker_set) else {
            return Outcome::Refused(Refusal::SetNotRegistered(it.broker_set));
        };
        let changed = match it.wanted {
            Drained::No => set.drained.remove(&it.id),
            Drained::Yes if set.drained.contains(&it.id) => false,
            Drained::Yes => match set.check_drain(it.id) {
                Ok(()) => set.drained.insert(it.id),
                Err(why) => return Outcome::Refused(why),
            },
        };
        if !changed {
            return Outcome::Unchanged;
        }
        set.revision = index;
        Outcome::Changed
    }

    pub(super) fn pause(&mut self, index: u64, it: Pause) -> Outcome {
        let Some(set) = self.sets.get_mut(&it.broker_set) else {
            return Outcome::Refused(Refusal::SetNotRegistered(it.broker_set));
        };
        if set.paused_until_ms == it.until_ms {
            return Outcome::Unchanged;
        }
        set.paused_until_ms = it.until_ms;
        set.revision = index;
        Outcome::Changed
    }
}
