//! What this controller would tell a person about each replica's process.

use super::{Liveness, Pulse};
use crate::replicas::story::{Life, LifeState};
use proto::Millis;

impl Liveness {
    /// All registered replicas of a set, in id order.
    pub fn lives(&self, now: Millis, broker_set: &str) -> Vec<Life> {
        let Some(set) = self.sets.get(broker_set) else { return Vec::new() };
        let state = |pulse: Option<&Pulse>| pulse.map_or(LifeState::Silent { for_ms: None }, |it| self.state(now, it));
        set.view.replicas.keys().map(|id| Life { id: *id, state: state(set.pulses.get(id)) }).collect()
    }

    fn state(&self, now: Millis, it: &Pulse) -> LifeState {
        let speaks = it.heard.is_some_and(|heard| now <= heard + it.timeout);
        match it.stalled {
            _ if it.is_proven_dead() => LifeState::Gone,
            Some(probe_age_ms) if speaks => LifeState::DiskStalled { probe_age_ms },
            _ if it.is_electable(now) => LifeState::Alive,
            _ if it.is_fresh(now, self.leading) => LifeState::Presumed,
            _ => LifeState::Silent { for_ms: it.heard.map(|heard| now.saturating_sub(heard)) },
        }
    }
}
