//! What is looked at every now and then while a run goes on: whether a set that nothing disturbs does its work.

use super::World;
use crate::broker::Broker;
use crate::ctx::Event;
use crate::faults::Fault;
use crate::packet::SetId;

const WATCH_US: u64 = 500_000;
/// Longest pause of acknowledgements in a set that nothing disturbs, and how long it has to be undisturbed.
const PAUSE_US: u64 = 10_000_000;

impl World {
    pub(super) fn watch(&mut self) {
        let now = self.ctx.now;
        for set in self.ctx.sets() {
            let steady = self.steady_master(set);
            let since = &mut self.steady_since[set.0];
            if steady.is_none() {
                *since = None;
                continue;
            }
            let since = *since.get_or_insert(now);
            // A relaxed master has more to wait for: a lease, or copies on members that it has lost.
            if self.ctx.profile.copies == 0 {
                self.ctx.truth(set).goes_on(now, since, PAUSE_US, "all its replicas are connected");
            }
        }
        self.ctx.agenda.put(now + WATCH_US, Event::Fault(Fault::Watch));
    }

    /// The master, if all its set lives, copies from it, and nothing is between them and the clients.
    fn steady_master(&self, set: SetId) -> Option<usize> {
        let master = self.master(set)?;
        let undisturbed = |it: &Broker| self.ctx.net.hosts[it.node.0].life.is_some() && !self.paused[it.node.0];
        let all = self.replicas(set);
        if self.ends_at.is_some() || !all.iter().all(undisturbed) {
            return None;
        }
        let clients = self.clients.iter().enumerate().filter(|it| it.1.set == set).map(|it| self.ctx.client(it.0));
        let nodes: Vec<_> = all.iter().map(|it| it.node).chain(clients).collect();
        let cut = nodes.iter().any(|from| nodes.iter().any(|to| self.ctx.net.is_cut(*from, *to)));
        let (epoch, members) = self.brokers[master].members_to_wait_for(self.ctx.profile.min_in_sync)?;
        let copies = |id| all.iter().any(|it| it.identity() == Some(id) && it.copies_at() == Some(epoch));
        let connected = members.iter().all(|id| Some(*id) == self.brokers[master].identity() || copies(*id));
        (!cut && connected).then_some(master)
    }
}
