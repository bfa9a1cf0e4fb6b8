//! S6 and S10: what the cause of an election says is true.

use super::{Claim, Truth};
use crate::broker::Broker;
use controller::replicas::{BrokerSet, Cause};
use proto::{BrokerId, Epoch};

/// For so long an election that was planned may still be committed, whatever its master hears: what a slow clock counts
/// until the master trusts a lease again.
const MAY_MOVE_US: u64 = ha::master::DOUBT_MS * 900;

impl Truth {
    /// A master has told a controller that it is drained, which may elect another one from now on.
    pub fn drained(&mut self, epoch: Epoch, now: u64) {
        self.drained = Some((epoch, now));
    }

    /// S10: while something is acknowledged, this epoch may end as planned, whoever has a lease.
    pub(super) fn may_move(&self, epoch: Epoch) -> bool {
        self.drained.is_some_and(|it| it.0 == epoch && self.acknowledged_at < it.1 + MAY_MOVE_US)
    }

    /// What an election's cause says is to be true.
    pub(super) fn claim_reason(&mut self, set: &BrokerSet) {
        let Some(change) = set.history.back().filter(|it| it.epoch == set.master_epoch) else { return };
        match (&change.cause, change.from) {
            (Cause::Switchover { .. } | Cause::Preferred { .. }, _) => {
                self.planned.insert(set.master_epoch);
            }
            (Cause::ConnectionClosedAndRefused, Some(id)) => {
                let boot_id = set.replicas.get(&id).and_then(|it| it.boot_id.clone());
                self.claims.push(Claim::Died { id, boot_id });
            }
            _ => {}
        }
    }

    /// S6: proof is proof, however bad the network.
    pub(super) fn judge_death(&mut self, brokers: &[Broker], id: BrokerId, boot_id: Option<&str>) {
        let alive = |it: &&Broker| it.identity() == Some(id) && it.boot_id().is_some() && it.boot_id() == boot_id;
        if let Some(it) = self.of(brokers).iter().find(alive) {
            self.fail("S6", format!("B{} is replaced as dead by proof, and lives", it.index + 1));
        }
    }

    /// S10: in either profile a planned change loses nothing. It is judged when the target leads: one whose host loses
    /// power after the drain never does, it comes back as one that may lack something and another is elected. A master
    /// that lost its memory meanwhile proves nothing.
    pub(super) fn judge_move(&mut self, brokers: &[Broker], to: usize, after: Epoch) {
        let Some((_, from, end)) = self.top.filter(|it| it.0 == after) else { return };
        let (had, has) = (&brokers[from].disk.log, &brokers[to].disk.log);
        if had.len() >= end && (has.len() < end || had[..end] != has[..end]) {
            let why = format!("B{} takes over as planned, and lacks what was acknowledged up to {end}", to + 1);
            self.fail("S10", why);
        }
    }
}
