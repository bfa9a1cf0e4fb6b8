//! Elections: who may be master (S7), at which epoch (S1).

use super::Replicas;
use super::command::Elect;
use super::outcome::{Outcome, Refusal, SetSummary};
use super::set::{BrokerSet, Cause, RoleChange};
use proto::{BrokerId, Epoch, Offset};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A live member, as its heartbeats describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub id: BrokerId,
    /// Last epoch in its log, −1 if none.
    pub epoch: Epoch,
    pub max_offset: Offset,
    /// Smaller is preferred.
    pub priority: i32,
    pub min_in_sync: Option<i32>,
    /// False: presumed alive only (not heard since this leader took over, no open connection, or a stalled disk). Such
    /// a replica stays what it is, but is not made master.
    pub electable: bool,
    #[serde(default)]
    pub zone: Zone,
}

/// Where a candidate is, compared with the old master (`brokerZone`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Zone {
    /// The same, or one of the two has not said.
    #[default]
    Same,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElectMode {
    /// Keep a live master; otherwise the best.
    Best,
    /// `designateElect`: the requester and nobody else, even over a live master.
    Designated,
}

/// `enableElectUncleanMaster`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UncleanElection {
    Forbidden,
    Allowed,
}

/// Why a chosen replica was allowed to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    First,
    InSync,
    Eligible,
    Unclean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Keep,
    New(BrokerId, Standing),
    Nobody,
}

impl BrokerSet {
    /// Who should be master now. Also the controller's own test whether proposing an election makes sense (S14).
    pub fn choose(&self, elect: &Elect) -> Choice {
        if self.master_epoch == 0 {
            // The first one to ask, alive or not: its first heartbeat may still be under way.
            return match elect.requester.filter(|id| self.replicas.contains_key(id)) {
                Some(id) => Choice::New(id, Standing::First),
                None => Choice::Nobody,
            };
        }
        let wanted = elect.requester.filter(|_| elect.mode == ElectMode::Designated);
        let in_sync = live(elect, |id| self.sync_state_set.contains(&id));
        if let Some(master) = self.master.filter(|id| in_sync.iter().any(|it| it.id == *id))
            && wanted.is_none_or(|it| it == master)
        {
            return Choice::Keep;
        }
        if let Some(id) = best(&in_sync, wanted, |it| self.preference(it)) {
            return Choice::New(id, Standing::InSync);
        }
        if in_sync.is_empty() {
            let eligible = live(elect, |id| self.eligible.contains(&id));
            if let Some(id) = best(&eligible, wanted, |it| self.preference(it)) {
                return Choice::New(id, Standing::Eligible);
            }
        }
        let all = live(elect, |id| self.replicas.contains_key(&id));
        match best(&all, wanted, by_log).filter(|_| elect.unclean == UncleanElection::Allowed) {
            Some(id) => Choice::New(id, Standing::Unclean),
            None => Choice::Nobody,
        }
    }

    /// S10 before S7: a drained replica only if nobody else can be.
    pub(super) fn preference(&self, it: &Candidate) -> impl Ord + use<> {
        (!self.drained.contains(&it.id), by_priority(it))
    }
}

fn live(elect: &Elect, belongs: impl Fn(BrokerId) -> bool) -> Vec<Candidate> {
    elect.alive.iter().filter(|it| belongs(it.id)).copied().collect()
}

/// S7's order among replicas that all hold what was acknowledged. Compared as numbers of their own width: RocketMQ
/// subtracts and overflows. Among equals a replica outside the old master's zone: what took that one away may take its
/// neighbours too.
fn by_priority(it: &Candidate) -> impl Ord + use<> {
    (Reverse(it.priority), it.epoch, it.max_offset, it.zone, Reverse(it.id))
}

/// An unclean election loses the least by taking the newest, longest log.
fn by_log(it: &Candidate) -> impl Ord + use<> {
    (it.epoch, it.max_offset, Reverse(it.priority), it.zone, Reverse(it.id))
}

fn best<K: Ord>(among: &[Candidate], wanted: Option<BrokerId>, key: impl Fn(&Candidate) -> K) -> Option<BrokerId> {
    let mut among = among.iter().filter(|it| it.electable && wanted.is_none_or(|id| id == it.id)).collect::<Vec<_>>();
    among.sort_by_key(|it| key(it));
    among.last().map(|it| it.id)
}

impl Replicas {
    pub(super) fn elect(&mut self, index: u64, command: Elect) -> Outcome {
        let Some(set) = self.sets.get_mut(&command.broker_set) else {
            return Outcome::Refused(Refusal::ElectUnknownSet);
        };
        if command.expect.is_some_and(|it| it != (set.master, set.master_epoch)) {
            return Outcome::Unchanged;
        }
        match set.choose(&command) {
            Choice::Keep => Outcome::MasterStillAlive(SetSummary::from(&*set)),
            Choice::New(id, _) if set.master == Some(id) => Outcome::MasterStillAlive(SetSummary::from(&*set)),
            Choice::New(..) | Choice::Nobody
                if command.mode == ElectMode::Best && set.is_paused(command.at_ms) && set.master_epoch > 0 =>
            {
                let (broker_set, until_ms) = (set.name.clone(), set.paused_until_ms);
                Outcome::Refused(Refusal::ElectionsPaused { broker_set, until_ms })
            }
            Choice::New(id, standing) => {
                set.promote(index, id, standing, command);
                let members = set.replicas.iter().map(|(id, it)| (*id, it.address.clone())).collect();
                Outcome::Elected(SetSummary::from(&*set), members)
            }
            Choice::Nobody if command.requester.is_some() => Outcome::Refused(Refusal::ElectFailed),
            Choice::Nobody => {
                set.clear_master(index, command);
                Outcome::Refused(Refusal::NobodyElectable)
            }
        }
    }
}

impl BrokerSet {
    fn promote(&mut self, index: u64, id: BrokerId, standing: Standing, command: Elect) {
        let from = self.master.replace(id);
        // A new epoch even if the same replica wins: its old acknowledgements must not count twice (S1).
        self.master_epoch += 1;
        let min_in_sync = command.alive.iter().find(|it| it.id == id).and_then(|it| it.min_in_sync);
        self.min_in_sync = min_in_sync.unwrap_or(if standing == Standing::First { 1 } else { self.min_in_sync });
        self.replace_sync_state_set(self.set_under(id, standing, &command));
        self.record(RoleChange {
            detected_ms: command.detected_ms,
            proposed_ms: command.at_ms,
            from,
            to: Some(id),
            epoch: self.master_epoch,
            sync_state_set: self.sync_state_set.clone(),
            cause: if standing == Standing::First { Cause::First } else { command.cause },
            unclean: standing == Standing::Unclean,
        });
        self.revision = index;
    }

    /// The other live members stay, so that a failover does not silently leave one copy; a Java master gets the set it
    /// expects (S7).
    fn set_under(&self, id: BrokerId, standing: Standing, command: &Elect) -> BTreeSet<BrokerId> {
        let keeps = standing == Standing::InSync && self.replicas.get(&id).is_some_and(|it| it.is_baton());
        let staying = command.alive.iter().filter(|it| keeps && it.electable && self.sync_state_set.contains(&it.id));
        staying.map(|it| it.id).chain([id]).collect()
    }

    /// Once per lost master, so that polling Java slaves see a newer epoch; repeated failures change nothing.
    fn clear_master(&mut self, index: u64, command: Elect) {
        if self.master.is_some() {
            self.master_epoch += 1;
            self.end_mastership(command.cause, command.at_ms);
            self.revision = index;
        }
    }
}
