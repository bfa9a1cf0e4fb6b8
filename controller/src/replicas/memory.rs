//! What happened to a broker set: each role change, each change of the SyncStateSet, each refusal, with who could have
//! been master instead and why not; and what an operator ordered. Replicated, so that any later leader can answer "why
//! did the master change at 12:03?".
//!
//! Bounded by number and by bytes; a refusal that repeats is counted instead of kept again. It decides nothing.

use super::considered::Considered;
use super::elect::Standing;
use super::set::Cause;
use proto::{BrokerId, Epoch};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// Of one set.
const MOST_EVENTS: usize = 1_000;
/// Of one set, as JSON, however few sets there are.
const MOST_BYTES: usize = 128 * 1024;
/// Shared by all sets, so that a snapshot of 10,000 of them stays small.
const ALL_BYTES: usize = 16 * 1024 * 1024;
/// Several brokers may be refused in turn; among this many last events a repeated refusal is looked for.
const REPEATS_WITHIN: usize = 8;

/// Oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub events: VecDeque<Event>,
    bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Place in the Raft log.
    pub index: u64,
    /// Wall clock of the leader that proposed it.
    pub at_ms: i64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum What {
    Role {
        from: Option<BrokerId>,
        to: Option<BrokerId>,
        epoch: Epoch,
        sync_state_set: BTreeSet<BrokerId>,
        cause: Cause,
        /// Why the new master was allowed to be it.
        standing: Option<Standing>,
        /// When the reason was seen.
        detected_ms: i64,
        /// When the change was committed, and when the new master's heartbeat showed its epoch; not known at once.
        committed_ms: Option<i64>,
        promoted_ms: Option<i64>,
        /// All replicas of the set, the winner among them.
        considered: Vec<Considered>,
    },
    SyncStateSet {
        before: BTreeSet<BrokerId>,
        after: BTreeSet<BrokerId>,
        epoch: i32,
        trigger: Trigger,
    },
    /// An operator keeps mastership away from a replica, or allows it again (S10).
    Drain {
        id: BrokerId,
    },
    Undrain {
        id: BrokerId,
    },
    /// An operator stops automatic elections until then, or allows them again.
    Pause {
        until_ms: i64,
    },
    Resume {},
    Refused {
        asked: Asked,
        by: Option<BrokerId>,
        why: String,
        /// How often, and when last.
        times: u32,
        last_ms: i64,
        /// Of a refused election.
        considered: Vec<Considered>,
    },
}

/// Who changed the SyncStateSet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trigger {
    /// 1001.
    Master {
        id: BrokerId,
    },
    /// Dead by proof (S6).
    ProofOfDeath,
    /// A member restarted without what it had (S7).
    UncleanRestart {
        id: BrokerId,
    },
    /// An operator erased a replica.
    Cleaned,
    Election,
    #[default]
    Other,
}

/// What was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Asked {
    BrokerId,
    Registration,
    Election,
    SyncStateSet,
    Cleaning,
    Draining,
    Switchover,
    #[default]
    Other,
}

/// When the phases that follow the decision were reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    pub broker_set: String,
    pub epoch: Epoch,
    pub committed_ms: i64,
    pub promoted_ms: i64,
}

impl Memory {
    /// `sets`: how many share the bytes.
    pub(super) fn record(&mut self, event: Event, sets: usize) {
        if self.repeats(&event) {
            return;
        }
        self.bytes += size(&event);
        self.events.push_back(event);
        let most = (ALL_BYTES / sets.max(1)).min(MOST_BYTES);
        // The newest stays, whatever it takes.
        while self.events.len() > 1 && (self.events.len() > MOST_EVENTS || self.bytes > most) {
            let gone = self.events.pop_front();
            self.bytes = self.bytes.saturating_sub(gone.as_ref().map_or(0, size));
        }
    }

    /// A broker that cannot be served asks several times a second.
    fn repeats(&mut self, event: &Event) -> bool {
        let What::Refused { asked, by, why, .. } = &event.what else { return false };
        for it in self.events.iter_mut().rev().take(REPEATS_WITHIN) {
            match &mut it.what {
                What::Refused { asked: a, by: b, why: w, times, last_ms, .. }
                    if (&*a, &*b, &*w) == (asked, by, why) =>
                {
                    *times = times.saturating_add(1);
                    *last_ms = event.at_ms;
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    /// Fills in the phases of a role change; false if it is forgotten, or was told before.
    pub(super) fn promoted(&mut self, it: &Promoted) -> bool {
        let role = self.events.iter_mut().rev().find_map(|event| match &mut event.what {
            What::Role { to: Some(_), epoch, committed_ms, promoted_ms, .. } if *epoch == it.epoch => {
                Some((committed_ms, promoted_ms))
            }
            _ => None,
        });
        let Some((committed_ms, promoted_ms)) = role.filter(|it| it.1.is_none()) else { return false };
        (*committed_ms, *promoted_ms) = (Some(it.committed_ms), Some(it.promoted_ms));
        true
    }
}

/// About what it takes as JSON. Does not depend on what is filled in later, so that adding and taking away agree.
fn size(event: &Event) -> usize {
    match &event.what {
        What::Role { sync_state_set, considered, .. } => 300 + 4 * sync_state_set.len() + 110 * considered.len(),
        What::SyncStateSet { before, after, .. } => 120 + 4 * (before.len() + after.len()),
        What::Drain { .. } | What::Undrain { .. } | What::Pause { .. } | What::Resume {} => 100,
        What::Refused { why, considered, .. } => 180 + why.len() + 110 * considered.len(),
    }
}
