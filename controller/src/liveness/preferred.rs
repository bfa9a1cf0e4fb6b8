//! Which member of a set should be master while nothing is wrong, and when mastership returns to it.
//!
//! The preferred one has the smallest `brokerElectionPriority`; among equals the one on whose host the fewest other
//! sets have their master; then the smallest id. Only members of the SyncStateSet count that could take over at once,
//! with the master itself. When one of them has been preferred to the master for `preferredMasterDelayMills` without a
//! break, mastership moves to it by a drained switchover (S10).
//!
//! One set at a time: each move changes the numbers that the next one is weighed by. Every move either lowers the
//! priority, or evens out the masters per host, or lowers the id and leaves the rest as it was; so moves come to an
//! end.

use super::{Liveness, Output, Settings, Watched};
use proto::{BrokerId, Millis};
use std::collections::{BTreeMap, BTreeSet};

/// How many sets have their master on each host.
#[derive(Debug, Default)]
pub(super) struct Hosts(BTreeMap<String, usize>);

/// The smallest is preferred.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    priority: i32,
    /// Of other sets, on its host.
    masters: usize,
    id: BrokerId,
}

/// A member that is preferred to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    to: BrokerId,
    /// Without a break.
    since: Millis,
}

/// Moves under way, of all sets.
#[derive(Debug, Default)]
pub(super) struct Returns {
    /// The set whose mastership moves.
    moving: Option<String>,
    /// Whose turn is next.
    waiting: BTreeSet<String>,
}

impl Hosts {
    /// A set's master is on another host than before.
    pub(super) fn moved(&mut self, from: Option<&str>, to: Option<&str>) {
        if from == to {
            return;
        }
        if let Some((host, count)) = from.and_then(|it| Some((it, self.0.get_mut(it)?))) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(host);
            }
        }
        if let Some(host) = to {
            *self.0.entry(host.to_owned()).or_default() += 1;
        }
    }

    fn masters_on(&self, host: &str) -> usize {
        self.0.get(host).copied().unwrap_or_default()
    }
}

impl Liveness {
    /// After examining a set: whether its mastership should move now.
    pub(super) fn prefer(&mut self, now: Millis, broker_set: &str, out: &mut Vec<Output>) {
        let Some(set) = self.sets.get_mut(broker_set) else { return };
        set.wish = set.wish(now, &self.settings, &self.hosts);
        let Some((from, wish)) = set.view.master.zip(set.wish) else { return };
        if set.wish_due(&self.settings).is_none_or(|due| now < due) {
            return;
        }
        if self.returns.moving.is_some() {
            self.returns.waiting.insert(broker_set.to_owned());
            return;
        }
        self.returns.moving = Some(broker_set.to_owned());
        out.push(Output::Return { broker_set: broker_set.to_owned(), from, to: wish.to });
    }

    /// A move has ended, whether it succeeded or not. One that did not is tried again after the whole delay.
    pub(super) fn on_returned(&mut self, now: Millis, broker_set: &str, out: &mut Vec<Output>) {
        if self.returns.moving.as_deref() != Some(broker_set) {
            return;
        }
        self.returns.moving = None;
        if let Some(set) = self.sets.get_mut(broker_set) {
            set.wish = None;
            self.examine(now, broker_set, out);
        }
        while self.returns.moving.is_none()
            && let Some(next) = self.returns.waiting.pop_first()
        {
            self.examine(now, &next, out);
        }
    }

    /// Another leader begins to count anew.
    pub(super) fn forget_returns(&mut self) {
        self.returns = Returns::default();
        for set in self.sets.values_mut() {
            set.wish = None;
        }
    }
}

impl Watched {
    fn wish(&self, now: Millis, settings: &Settings, hosts: &Hosts) -> Option<Wish> {
        let to = self.preferred(now, settings, hosts).filter(|it| Some(*it) != self.view.master)?;
        Some(self.wish.filter(|it| it.to == to).unwrap_or(Wish { to, since: now }))
    }

    /// None while mastership is not to be touched: switched off, paused, flapping, something else under way, a master
    /// that is drained (it leaves anyway), ill, or not one of Baton's and so cannot drain its log.
    fn preferred(&self, now: Millis, settings: &Settings, hosts: &Hosts) -> Option<BrokerId> {
        let master = self.view.master?;
        let untouched = settings.preferred_delay.is_none()
            || now < self.paused_until(settings)
            || now < self.patience.until
            || self.proposed.is_some()
            || self.view.replicas.get(&master).is_none_or(|it| !it.is_baton());
        let fit = |id: BrokerId| {
            let electable = self.pulses.get(&id).is_some_and(|it| it.is_electable(now));
            electable && !self.view.drained.contains(&id)
        };
        if untouched || !fit(master) {
            return None;
        }
        let own_host = self.view.master_host();
        let rank = |id: BrokerId| {
            let (host, pulse) = (self.view.host_of(id)?, self.pulses.get(&id)?);
            let masters = hosts.masters_on(host).saturating_sub(usize::from(own_host == Some(host)));
            Some(Rank { priority: pulse.priority, masters, id })
        };
        let members = self.view.sync_state_set.iter().copied().filter(|id| fit(*id));
        members.filter_map(rank).min().map(|it| it.id)
    }

    pub(super) fn wish_due(&self, settings: &Settings) -> Option<Millis> {
        Some(self.wish?.since + settings.preferred_delay?)
    }

    /// Who is preferred to the master, and in how long it takes over.
    pub(super) fn wished(&self, now: Millis, settings: &Settings) -> Option<(BrokerId, Millis)> {
        Some((self.wish?.to, self.wish_due(settings)?.saturating_sub(now)))
    }
}
