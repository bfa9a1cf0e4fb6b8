//! S6 and S14: a master is replaced without being asked only after it was silent for its whole timeout, or when its
//! process really was gone; so the death of a follower never changes the master. And S5: no lease is longer than that,
//! or comes from a controller that leads no more.

use super::Truth;
use crate::broker::boot_id;
use controller::liveness::Heartbeat;
use controller::replicas::{BrokerSet, Cause, Elect, ElectMode, RoleChange};
use proto::{BrokerId, Epoch, Millis};
use std::collections::{BTreeMap, BTreeSet};

/// Of a hundred parts of a timeout: a controller's clock may be fast by two, and counts whole milliseconds.
const SURELY: u64 = 97;
/// A replica that a controller has never heard has named no timeout.
const UNHEARD_MS: Millis = 1_000;

/// What is known of who heard whom, and of who was there.
#[derive(Default)]
pub struct Proof {
    /// By controller and replica: when a heartbeat came in last.
    heard: BTreeMap<(usize, BrokerId), u64>,
    timeouts: BTreeMap<BrokerId, Millis>,
    leads_since: BTreeMap<usize, u64>,
    /// The controllers' newest leader, and its term.
    leader: Option<(u64, usize)>,
    /// Which broker speaks for a replica.
    brokers: BTreeMap<BrokerId, usize>,
    /// By broker: when its process started; none while there is none.
    processes: BTreeMap<usize, Option<u64>>,
    starts: BTreeMap<usize, u32>,
    /// Ends of masterships that a controller had good reason to propose.
    justified: BTreeSet<(Epoch, BrokerId)>,
    /// The last entry of the history that was judged.
    seen: Option<RoleChange>,
}

impl Truth {
    pub fn process_is(&mut self, broker: usize, since: Option<u64>) {
        *self.proof.starts.entry(broker).or_default() += u32::from(since.is_some());
        self.proof.processes.insert(broker, since);
    }

    /// A heartbeat reached this controller. One of a process that is gone, held back on its way, proves nothing.
    pub fn heard_by(&mut self, controller: usize, now: u64, broker: usize, it: &Heartbeat) {
        if it.boot_id.as_deref() == Some(&*boot_id(broker, self.lives[broker])) {
            self.proof.heard.insert((controller, it.id), now);
            self.proof.brokers.insert(it.id, broker);
            self.proof.timeouts.insert(it.id, it.timeout);
        }
    }

    pub fn controller_leads(&mut self, controller: usize, term: u64, now: u64) {
        self.proof.leads_since.insert(controller, now);
        self.proof.leader = self.proof.leader.max(Some((term, controller)));
    }

    /// S5: a controller that another one has followed as leader has no Raft lease.
    pub fn answers_as_leader(&mut self, controller: usize) {
        if let Some((_, leader)) = self.proof.leader.filter(|it| it.1 != controller) {
            let (it, leader) = (controller + 1, leader + 1);
            self.fail("S5", format!("C{it} answers a heartbeat as leader, and C{leader} has led since"));
        }
    }

    /// S5: whatever clocks show, the lease that a controller gave is over before it may elect another master.
    pub fn trusts_lease(&mut self, broker: usize, id: BrokerId, controller: usize, until: u64) {
        let it = &self.proof;
        let Some((heard, timeout)) = it.heard.get(&(controller, id)).zip(it.timeouts.get(&id)) else { return };
        let waits = timeout * 10 * SURELY;
        if until > heard + waits {
            let (longer, broker) = ((until - heard - waits) / 1_000, broker + 1);
            self.fail("S5", format!("B{broker} trusts a lease {longer} ms longer than C{} waits", controller + 1));
        }
    }

    /// A controller wants an election, and knows this of the set.
    pub fn wants_election(&mut self, controller: usize, now: u64, set: &BrokerSet, elect: &Elect) {
        let Some(master) = set.master.filter(|_| elect.mode == ElectMode::Best) else { return };
        if elect.alive.iter().any(|it| it.id == master) {
            return;
        }
        if self.was_silent(controller, now, master) || self.was_gone(controller, master) {
            self.proof.justified.insert((set.master_epoch, master));
        }
    }

    fn was_silent(&self, controller: usize, now: u64, id: BrokerId) -> bool {
        let it = &self.proof;
        let heard = it.heard.get(&(controller, id)).copied();
        let timeout = if heard.is_some() { it.timeouts.get(&id).copied() } else { None };
        let since = heard.max(it.leads_since.get(&controller).copied()).unwrap_or(0);
        (now - since) * 100 >= timeout.unwrap_or(UNHEARD_MS) * 1_000 * SURELY
    }

    /// At some moment since its last heartbeat nobody was there to accept a connection.
    fn was_gone(&self, controller: usize, id: BrokerId) -> bool {
        let it = &self.proof;
        let Some(process) = it.brokers.get(&id).and_then(|it| self.proof.processes.get(it)) else { return true };
        let heard = it.heard.get(&(controller, id)).copied();
        self.proof_of_death && process.is_none_or(|since| heard.is_none_or(|heard| since > heard))
    }

    /// What the controllers remember of the set's masters grows; each new entry is judged.
    pub(super) fn judge_changes(&mut self, set: &BrokerSet) {
        let new = set.history.iter().rev().take_while(|it| Some(*it) != self.proof.seen.as_ref());
        let new: Vec<RoleChange> = new.cloned().collect();
        self.proof.seen = set.history.back().cloned();
        for it in new.into_iter().rev() {
            self.judge_change(&it);
        }
    }

    fn judge_change(&mut self, it: &RoleChange) {
        let Some(from) = it.from else { return };
        let why = match it.cause {
            Cause::First | Cause::Designated { .. } | Cause::Switchover { .. } | Cause::Preferred { .. } => return,
            Cause::Cleaned | Cause::NoMaster => return,
            // Another process of it has registered.
            Cause::Restarted => match self.proof.brokers.get(&from).and_then(|it| self.proof.starts.get(it)) {
                Some(1) => "it has had one process only",
                _ => return,
            },
            Cause::ConnectionClosedAndRefused if !self.proof_of_death => "proof of death is switched off",
            _ if self.proof.justified.contains(&(it.epoch - 1, from)) => return,
            _ => "it was heard within its timeout, and was not gone",
        };
        self.fail("S6", format!("replica {from} lost epoch {} ({:?}), {why}", it.epoch - 1, it.cause));
    }
}
