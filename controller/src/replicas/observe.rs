//! Writes into a set's [`Memory`](super::memory::Memory) what a command did to it, whatever the command was.

use super::Replicas;
use super::command::{Command, Drain, Drained, Pause};
use super::considered::{Considered, Verdict};
use super::elect::Standing;
use super::memory::{Asked, Event, Trigger, What};
use super::outcome::Outcome;
use super::set::{BrokerSet, RoleChange};
use proto::BrokerId;
use std::collections::BTreeSet;

/// What is needed of a command and of the state before it.
#[derive(Default)]
pub(super) struct Before {
    broker_set: String,
    at_ms: i64,
    asked: Asked,
    by: Option<BrokerId>,
    trigger: Trigger,
    last: Option<RoleChange>,
    sync_state_set: BTreeSet<BrokerId>,
    eligible: BTreeSet<BrokerId>,
    considered: Vec<Considered>,
    /// Kept if it changed anything.
    ordered: Option<What>,
    /// Kept in any case.
    noted: Option<What>,
}

impl Replicas {
    pub(super) fn before(&self, command: &Command) -> Before {
        let set = self.get(command.broker_set());
        let (asked, by, trigger, at_ms) = match command {
            Command::ApplyBrokerId(it) => (Asked::BrokerId, Some(it.id), Trigger::Other, it.at_ms),
            Command::Register(it) => {
                (Asked::Registration, Some(it.id), Trigger::UncleanRestart { id: it.id }, it.at_ms)
            }
            Command::Elect(it) => (Asked::Election, it.requester, Trigger::Election, it.at_ms),
            Command::AlterSyncStateSet(it) => {
                (Asked::SyncStateSet, Some(it.master), Trigger::Master { id: it.master }, it.at_ms)
            }
            Command::Fence(it) => (Asked::SyncStateSet, Some(it.master), Trigger::Master { id: it.master }, it.at_ms),
            Command::RemoveDead(it) => (Asked::SyncStateSet, None, Trigger::ProofOfDeath, it.at_ms),
            Command::Clean(it) => (Asked::Cleaning, None, Trigger::Cleaned, it.at_ms),
            Command::Drain(it) => (Asked::Draining, Some(it.id), Trigger::Other, it.at_ms),
            Command::Pause(it) => (Asked::Other, None, Trigger::Other, it.at_ms),
            Command::Note(it) => (it.asked, None, Trigger::Other, it.at_ms),
            Command::Promoted(it) => (Asked::Other, None, Trigger::Other, it.promoted_ms),
        };
        let considered = match command {
            Command::Elect(it) => set.map(|set| set.considered(it)).unwrap_or_default(),
            _ => Vec::new(),
        };
        Before {
            broker_set: command.broker_set().to_owned(),
            at_ms,
            asked,
            by,
            trigger,
            last: set.and_then(|it| it.history.back()).cloned(),
            sync_state_set: set.map(|it| it.sync_state_set.clone()).unwrap_or_default(),
            eligible: set.map(|it| it.eligible.clone()).unwrap_or_default(),
            considered,
            ordered: ordered(command),
            noted: noted(command),
        }
    }

    /// A set that is erased takes its memory along; a name that was never registered gets none.
    pub(super) fn observe(&mut self, index: u64, before: Before, outcome: &Outcome) {
        let Some(set) = self.sets.get(&before.broker_set) else {
            self.memories.remove(&before.broker_set);
            return;
        };
        let whats = before.into_whats(set, outcome);
        if whats.is_empty() {
            return;
        }
        let (name, sets) = (set.name.clone(), self.sets.len());
        let memory = self.memories.entry(name).or_default();
        for (at_ms, what) in whats {
            memory.record(Event { index, at_ms, what }, sets);
        }
    }
}

impl Before {
    fn into_whats(mut self, set: &BrokerSet, outcome: &Outcome) -> Vec<(i64, What)> {
        let mut whats = Vec::new();
        let at_ms = self.at_ms;
        if let Outcome::Refused(why) = outcome
            && set.history.back() == self.last.as_ref()
        {
            let (asked, by, considered) = (self.asked, self.by, self.considered);
            let why = why.to_string();
            return vec![(at_ms, What::Refused { asked, by, why, times: 1, last_ms: at_ms, considered })];
        }
        whats.extend(self.noted.take().map(|it| (at_ms, it)));
        whats.extend(self.ordered.take().filter(|_| *outcome == Outcome::Changed).map(|it| (at_ms, it)));
        let new_role = set.history.back().filter(|it| Some(*it) != self.last.as_ref());
        let elected = new_role.is_some_and(|it| it.to.is_some());
        if let Some(it) = new_role {
            whats.push((at_ms, role(it, self.standing(it), self.considered)));
        }
        // What an election makes of the set stands in its own event.
        if set.sync_state_set != self.sync_state_set && !elected {
            let (before, after) = (self.sync_state_set, set.sync_state_set.clone());
            let (epoch, trigger) = (set.sync_state_set_epoch, self.trigger);
            whats.push((at_ms, What::SyncStateSet { before, after, epoch, trigger }));
        }
        whats
    }

    fn standing(&self, it: &RoleChange) -> Option<Standing> {
        let id = it.to?;
        Some(match it.unclean {
            true => Standing::Unclean,
            false if self.sync_state_set.is_empty() => Standing::First,
            false if self.sync_state_set.contains(&id) || !self.eligible.contains(&id) => Standing::InSync,
            false => Standing::Eligible,
        })
    }
}

fn ordered(command: &Command) -> Option<What> {
    match command {
        Command::Drain(Drain { id, wanted: Drained::Yes, .. }) => Some(What::Drain { id: *id }),
        Command::Drain(Drain { id, wanted: Drained::No, .. }) => Some(What::Undrain { id: *id }),
        Command::Pause(Pause { until_ms: 0, .. }) => Some(What::Resume {}),
        Command::Pause(Pause { until_ms, .. }) => Some(What::Pause { until_ms: *until_ms }),
        _ => None,
    }
}

fn noted(command: &Command) -> Option<What> {
    let Command::Note(it) = command else { return None };
    let (asked, why, last_ms) = (it.asked, it.why.clone(), it.at_ms);
    Some(What::Refused { asked, by: None, why, times: 1, last_ms, considered: Vec::new() })
}

fn role(it: &RoleChange, standing: Option<Standing>, mut considered: Vec<Considered>) -> What {
    // Whom a first election did not ask for has not lost anything.
    if standing == Some(Standing::First) {
        considered.retain(|it| it.verdict == Verdict::Won);
    }
    What::Role {
        from: it.from,
        to: it.to,
        epoch: it.epoch,
        sync_state_set: it.sync_state_set.clone(),
        cause: it.cause.clone(),
        standing,
        detected_ms: it.detected_ms,
        committed_ms: None,
        promoted_ms: None,
        considered,
    }
}
