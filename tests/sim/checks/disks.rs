//! What may be lost without breaking a promise, and what is lost.

use super::Truth;
use crate::broker::Broker;
use proto::BrokerId;

impl Truth {
    /// May this host lose everything above `kept`? With asynchronous flush a replica whose host has restarted loses its
    /// place, whatever it kept, so one member that is in no doubt has to have all that was confirmed: machines that
    /// fail together are not promised anything.
    pub fn may_lose_power(&self, brokers: &[Broker], broker: usize, kept: usize) -> bool {
        let Some(newest) = &self.newest else { return true };
        let until = self.confirmed.len();
        let counts =
            |it: &Broker| it.identity().is_some_and(|id| newest.set.contains(&id) || newest.eligible.contains(&id));
        let others = || self.of(brokers).iter().filter(|it| it.index != broker);
        if others().any(|it| it.disk.host_restarted) {
            return false;
        }
        let alone = newest.set.len() + newest.eligible.len() == 1 && counts(&brokers[broker]);
        let holds = |it: &Broker| it.disk.log.len() >= until && it.disk.log[..until] == self.confirmed[..];
        alone && kept >= until || others().any(|it| counts(it) && holds(it))
    }

    /// May this disk be lost? Only where another member is there that has all that was confirmed, and that the master
    /// is not about to take out of the set.
    pub fn may_lose_disk(&self, brokers: &[Broker], broker: usize) -> bool {
        let Some(newest) = &self.newest else { return true };
        let counts =
            |it: &Broker| it.identity().is_some_and(|id| newest.set.contains(&id) || newest.eligible.contains(&id));
        let until = self.confirmed.len();
        let intact = |it: &&Broker| {
            let holds = it.disk.log.len() >= until && it.disk.log[..until] == self.confirmed[..];
            it.index != broker && it.process.is_some() && counts(it) && !it.disk.host_restarted && holds
        };
        !counts(&brokers[broker]) || self.of(brokers).iter().filter(intact).any(|_| brokers[broker].is_settled())
    }

    /// The replica on this broker exists no more: what it had promised binds nobody.
    pub fn disk_lost(&mut self, broker: usize, id: Option<BrokerId>) {
        self.gone.extend(id);
        self.promised[broker] = 0;
    }

    /// All that could be elected was on disks that are gone: nothing is promised then.
    pub fn is_stranded(&self) -> bool {
        let Some(newest) = self.newest.as_ref().filter(|_| !self.gone.is_empty()) else { return false };
        newest.set.union(&newest.eligible).all(|id| self.gone.contains(id))
    }
}
