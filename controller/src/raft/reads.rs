//! Linearizable reads and the leader's lease, both from ReadIndex round trips.
//!
//! Pure bookkeeping: which question waits for which round trip, and until when the last answered one proves that nobody
//! else leads.

use super::Read;
use proto::Millis;
use std::collections::{BTreeMap, VecDeque};

#[derive(Default)]
pub(super) struct Reads {
    round: u64,
    /// When each unanswered round was sent.
    sent: BTreeMap<u64, Millis>,
    /// Questions, each with the first round that was started after it arrived.
    waiting: VecDeque<(u64, Read)>,
    /// Confirmed rounds whose index is not applied yet: (round, index).
    confirmed: VecDeque<(u64, u64)>,
    pub(super) lease_until: Millis,
}

impl Reads {
    /// Starts a round; its number is the ReadIndex context.
    pub(super) fn begin(&mut self, now: Millis) -> Vec<u8> {
        self.round += 1;
        self.sent.insert(self.round, now);
        self.round.to_be_bytes().to_vec()
    }

    pub(super) fn wait(&mut self, read: Read) {
        self.waiting.push_back((self.round + 1, read));
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Questions for which no round has been started yet.
    pub(super) fn needs_round(&self) -> bool {
        self.waiting.back().is_some_and(|it| it.0 > self.round)
    }

    /// A majority answered a round after it was sent, and none of them will vote for another for `lease` from when they
    /// heard it.
    pub(super) fn confirm(&mut self, context: &[u8], index: u64, lease: Millis) {
        let Ok(round) = context.try_into().map(u64::from_be_bytes) else { return };
        if let Some(sent) = self.sent.get(&round) {
            self.lease_until = self.lease_until.max(sent + lease);
            self.confirmed.push_back((round, index));
        }
        self.sent = self.sent.split_off(&(round + 1));
    }

    /// Questions that may be answered from a state that has applied `applied`.
    pub(super) fn ready(&mut self, applied: u64) -> Vec<Read> {
        let mut ready = Vec::new();
        while let Some((round, _)) = self.confirmed.front().filter(|it| it.1 <= applied).copied() {
            self.confirmed.pop_front();
            while let Some((_, read)) = self.waiting.pop_front_if(|it| it.0 <= round) {
                ready.push(read);
            }
        }
        ready
    }

    /// The lease holds: every question may be answered now.
    pub(super) fn take_all(&mut self) -> Vec<Read> {
        self.waiting.drain(..).map(|it| it.1).collect()
    }

    /// Leadership is lost: nothing here holds any more.
    pub(super) fn abandon(&mut self) -> Vec<Read> {
        self.sent.clear();
        self.confirmed.clear();
        self.lease_until = 0;
        self.waiting.drain(..).map(|it| it.1).collect()
    }
}
