//! S3, S4, S5, S11 and S12: what is confirmed is the same everywhere and for ever, and who has what is acknowledged.

use super::Truth;
use crate::broker::Broker;
use proto::{BrokerId, Epoch, Offset};
use std::collections::BTreeSet;

/// Up to where the logs of two replicas have been found to be the same, so that each byte is compared once.
pub(super) struct Agreement {
    same: Vec<Vec<usize>>,
}

impl Agreement {
    pub(super) fn new(brokers: usize) -> Agreement {
        Agreement { same: vec![vec![0; brokers]; brokers] }
    }

    /// This broker's log may have changed above `unchanged`.
    pub(super) fn forget(&mut self, broker: usize, unchanged: usize) {
        for other in 0..self.same.len() {
            self.same[broker][other] = self.same[broker][other].min(unchanged);
            self.same[other][broker] = self.same[other][broker].min(unchanged);
        }
    }

    /// Whether this replica's log is the same as `own` up to `end`, on its disk where that is what counts. Nothing if
    /// nobody is that replica.
    fn holds(&mut self, replicas: &[Broker], own: &Broker, id: BrokerId, end: usize, on_disk: bool) -> Option<bool> {
        let it = replicas.iter().find(|it| it.identity() == Some(id))?;
        let (log, expected) = (&it.disk.log, &own.disk.log);
        let known = self.same[own.index][it.index].min(end);
        let same = log.len() >= end && log[known..end] == expected[known..end];
        if same {
            self.same[own.index][it.index] = self.same[own.index][it.index].max(end);
            self.same[it.index][own.index] = self.same[own.index][it.index];
        }
        // A replica that has lost its memory loses its place when it says so; meanwhile nobody elects it.
        Some(same && (!on_disk || it.disk.flushed >= end) || it.disk.host_restarted)
    }
}

impl Truth {
    /// S3: what readers may see is the same everywhere and for ever.
    pub(super) fn judge_confirm(&mut self, broker: &Broker, master: Option<Epoch>, end: Offset) {
        if self.java.has_diverged() {
            return;
        }
        let log = &broker.disk.log;
        // Readers see whole messages only.
        let mut end = broker.disk.whole_end_below(end);
        // What a slave knows from a master of RocketMQ's, and what ours told it first, may be more than ours has found
        // to be confirmed.
        if self.java.has_led() && master.is_none() {
            end = end.min(self.confirmed.len());
        }
        let from = self.compared[broker.index].min(end);
        let known = end.min(self.confirmed.len());
        if let Some(at) = (from..known).find(|at| log[*at] != self.confirmed[*at]) {
            let (is, was) = (log[at].message, self.confirmed[at].message);
            let why = format!("B{} confirms message {is} at {at}, where message {was} was confirmed", broker.index + 1);
            return self.fail("S3", why);
        }
        let follows = |at: usize| match (at.checked_sub(1).map(|before| log[before]), log[at]) {
            (Some(before), it) if it.part > 0 => (before.message, before.part + 1) == (it.message, it.part),
            (before, it) => it.part == 0 && before.is_none_or(|before| before.part + 1 == before.parts),
        };
        if let Some(at) = (from..end).find(|at| !follows(*at)) {
            let why =
                format!("B{} confirms message {} at {at}, in the middle of another", broker.index + 1, log[at].message);
            return self.fail("S12", why);
        }
        if end > self.confirmed.len() {
            self.confirmed.extend_from_slice(&log[self.confirmed.len()..end]);
        }
        self.compared[broker.index] = end;
    }

    /// S3: a master waits for all who may be members: as long as nobody else is elected, for those who are.
    pub(super) fn judge_members(&mut self, broker: &Broker, master: Option<Epoch>) {
        let leading = broker.process.as_ref().and_then(|it| it.leading.as_ref());
        let Some(leading) = leading.filter(|it| Some(it.epoch) == master) else { return };
        let Some(newest) = self.newest.as_ref().filter(|it| it.epoch == leading.epoch) else { return };
        let counted: BTreeSet<BrokerId> = leading.core.in_sync().maximal().collect();
        if let Some(id) = newest.set.difference(&counted).next() {
            let (broker, version) = (broker.index + 1, newest.set_epoch);
            let why = format!("B{broker} does not wait for replica {id}, a member by version {version} of its set");
            self.fail("S3", why);
        }
    }

    /// S11: with synchronous flush, the master and each member that it waits for have it on disk.
    pub(super) fn judge_flush(&mut self, brokers: &[Broker], broker: usize, epoch: Epoch, end: Offset) {
        let Some(newest) = self.newest.as_ref().filter(|_| self.sync_flush) else { return };
        let (all, end) = (self.strict && newest.epoch == epoch, end as usize);
        let counts =
            |it: &Broker| it.index == broker || all && it.identity().is_some_and(|id| newest.set.contains(&id));
        let in_memory =
            |it: &&Broker| counts(it) && it.process.is_some() && it.disk.log.len() >= end && it.disk.flushed < end;
        if let Some(it) = self.of(brokers).iter().find(in_memory) {
            let why = format!("B{} acknowledges {end}, on B{}'s disk is {}", broker + 1, it.index + 1, it.disk.flushed);
            self.fail("S11", why);
        }
    }

    /// S3: every member has it. S4, S5: enough have it, and nobody else is master yet.
    pub(super) fn judge_acknowledgement(&mut self, brokers: &[Broker], broker: usize, epoch: Epoch, end: Offset) {
        let Some(newest) = self.newest.as_ref().filter(|_| !self.java.has_diverged()) else { return };
        let moves = newest.epoch == epoch && self.may_move(epoch);
        let (own, replicas, end) = (&brokers[broker], &brokers[self.replicas.clone()], end as usize);
        // Of all members of a strict set `judge_flush` says it.
        let on_disk = self.sync_flush && !self.strict;
        let mut holds = |id: BrokerId| match self.gone.contains(&id) {
            // What it had was lost later, or is somebody's fault who may not lose it.
            true => Some(true),
            false => self.agreement.holds(replicas, own, id, end, on_disk),
        };
        if self.strict {
            let lacking = match newest.epoch == epoch {
                true => newest.set.iter().find(|id| holds(**id) == Some(false)),
                false => newest.master.iter().find(|id| holds(**id) == Some(false)),
            };
            if let Some(id) = lacking {
                let why = format!("B{} acknowledges {end} at epoch {epoch}, replica {id} lacks it", broker + 1);
                self.fail("S3", why);
            }
            return;
        }
        let holders = newest.set.iter().filter(|id| holds(**id) == Some(true)).count();
        let all = holders == newest.set.len();
        if moves && !all {
            let (broker, members) = (broker + 1, newest.set.len());
            let why =
                format!("B{broker} acknowledges what {holders} of {members} have, and may be replaced as planned");
            return self.fail("S10", why);
        }
        // A lease that this replica got as master of the newer epoch, before it heard of it, binds the controllers no
        // less: nobody else is master, and its log goes on in that epoch.
        let replaced = newest.epoch > epoch && newest.master != own.identity();
        if replaced && !all {
            let why = format!("B{} acknowledges at epoch {epoch}, epoch {} is elected", broker + 1, newest.epoch);
            return self.fail("S5", why);
        }
        // Where the whole set has it, whoever is elected does: a copy outside it, on a replica that left while its
        // master could not hear of it (S8), is one, too.
        let copies = match all {
            // A member whose disk was exchanged meanwhile is nobody's identity any more, and had it.
            true => {
                let them = replicas.iter().filter_map(Broker::identity);
                holders.max(them.filter(|id| holds(*id) == Some(true)).count())
            }
            // So is one on a replica that the controllers found dead and took out on their own account, as long as the
            // master has not heard of that: S4 promises copies, and a lease binds the controllers to the master only.
            false => {
                let unheard = own.process.as_ref().and_then(|it| it.leading.as_ref()).map_or(0, |it| {
                    let known = it.core.in_sync().committed().intersection(&self.found_dead);
                    known.filter(|id| !newest.set.contains(id) && holds(**id) == Some(true)).count()
                });
                holders + unheard
            }
        };
        if newest.epoch == epoch && copies < self.copies {
            let why = format!("B{} acknowledges with {copies} copies of {}", broker + 1, self.copies);
            self.fail("S4", why);
        }
    }
}
