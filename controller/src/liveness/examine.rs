//! Comparing one set's desired and actual state (S14).

use super::pulse::{Heartbeat, LEASE_TENTHS, Probe, Pulse};
use super::{Liveness, News, Output, Proposed, Settings, Watched};
use crate::replicas::{BrokerSet, Candidate, Cause, Choice, Elect, ElectMode, Zone};
use proto::{BrokerId, Epoch, Millis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// First and longest wait before a proposal that led to nothing is repeated.
const RETRY_FIRST: Millis = 200;
const RETRY_LONGEST: Millis = 2_000;
/// A replica whose heartbeats show an older epoch is notified again this often, for this long after the change. (An
/// idle slave's log may stay at its old epoch for ever, so this must end.)
const NOTIFY_EVERY: Millis = 1_000;
pub(super) const NOTIFY_FOR: Millis = 10_000;

impl Liveness {
    /// Does what the set needs now and writes down when to look again. A follower only remembers.
    pub(super) fn examine(&mut self, now: Millis, broker_set: &str, out: &mut Vec<Output>) {
        let Some(set) = self.sets.get_mut(broker_set) else { return };
        self.agenda.remove(&(set.due, broker_set.to_owned()));
        if let Some(leading) = self.leading {
            set.seed(now, &self.settings);
            set.probe(now, &self.settings, out);
            set.repair(now, leading, &self.settings, out);
            self.prefer(now, broker_set, out);
        }
        let Some(set) = self.sets.get_mut(broker_set) else { return };
        if let Some(leading) = self.leading {
            set.due = set.next_due(now, leading, &self.settings);
        }
        self.agenda.insert((set.due, broker_set.to_owned()));
    }
}

impl Watched {
    pub(super) fn new(now: Millis, view: Arc<BrokerSet>) -> Watched {
        Watched {
            view,
            pulses: BTreeMap::new(),
            due: now,
            proposed: None,
            changed: now,
            witnesses: Default::default(),
            patience: Default::default(),
            wish: None,
        }
    }

    /// A new view: what is wrong is seen anew, and pulses of replaced processes are worth nothing.
    pub(super) fn renew(&mut self, now: Millis, view: Arc<BrokerSet>) -> News {
        let old = &self.view;
        let news = match (view.master, view.master_epoch) != (old.master, old.master_epoch) {
            true => News::Master,
            false if view.sync_state_set_epoch != old.sync_state_set_epoch => News::SyncStateSet,
            false => News::None,
        };
        if news != News::None {
            self.proposed = None;
        }
        if news == News::Master {
            self.changed = now;
            self.witnesses = Default::default();
        }
        self.pulses.retain(|id, it| {
            view.replicas.get(id).is_some_and(|registered| it.heard.is_none() || registered.boot_id == it.boot_id)
        });
        self.view = view;
        news
    }

    /// A heartbeat of a process that is not the registered one (restarted and not registered yet, or an impostor)
    /// proves nothing about it.
    pub(super) fn speaks_for_registered(&self, it: &Heartbeat) -> bool {
        self.view.replicas.get(&it.id).is_some_and(|registered| registered.boot_id == it.boot_id)
    }

    /// The registration of a process that is gone may come late, after its successor's (S14).
    pub(super) fn knows_another_process(&self, it: &Heartbeat) -> bool {
        self.view.replicas.get(&it.id).is_some_and(|registered| registered.boot_id != it.boot_id)
    }

    pub(super) fn beat(&mut self, now: Millis, it: &Heartbeat, settings: &Settings) -> bool {
        if self.view.master == Some(it.id) {
            self.witnesses = Default::default();
        }
        let pulse = self.pulses.entry(it.id);
        pulse.or_insert_with(|| Pulse::unheard(now, &it.address, it.timeout)).beat(now, it, settings)
    }

    /// S5: only the master has use for a lease, and none is granted by a heartbeat that will not count.
    pub(super) fn lease(&self, it: &Heartbeat, settings: &Settings) -> Millis {
        let deposed = self.view.master != Some(it.id);
        let stalled = it.disk_probe_age.is_some_and(|age| age > settings.disk_stall);
        match deposed || stalled || !self.speaks_for_registered(it) {
            true => 0,
            false => it.timeout * LEASE_TENTHS / 10,
        }
    }

    pub(super) fn needs_notice(&mut self, now: Millis, id: BrokerId, epoch: Epoch) -> bool {
        let lags = self.view.master.is_some() && epoch < self.view.master_epoch && now <= self.changed + NOTIFY_FOR;
        let Some(pulse) = self.pulses.get_mut(&id).filter(|_| lags) else { return false };
        let due = now >= pulse.notified.max(self.changed) + NOTIFY_EVERY;
        if due {
            pulse.notified = now;
        }
        due
    }

    pub(super) fn is_alive(&self, now: Millis, leading: Option<Millis>, id: BrokerId) -> bool {
        self.pulses.get(&id).is_some_and(|it| it.is_fresh(now, leading))
    }

    pub(super) fn candidates(&self, now: Millis, leading: Option<Millis>) -> Vec<Candidate> {
        let alive = self.pulses.iter().filter(|(_, it)| it.is_fresh(now, leading));
        let candidate = |(id, it): (&BrokerId, &Pulse)| Candidate {
            id: *id,
            epoch: it.epoch,
            max_offset: it.max_offset,
            priority: it.priority,
            min_in_sync: it.min_in_sync,
            electable: it.is_electable(now),
            zone: self.zone_of(it),
        };
        alive.map(candidate).collect()
    }

    /// Compared with where the master is, or was when it was heard last.
    fn zone_of(&self, it: &Pulse) -> Zone {
        let master = self.view.master.and_then(|it| self.pulses.get(&it)).and_then(|it| it.zone.as_ref());
        match master.zip(it.zone.as_ref()) {
            Some((master, zone)) if master != zone => Zone::Other,
            _ => Zone::Same,
        }
    }

    /// Registered replicas that were never heard are "unknown since now" (S5).
    fn seed(&mut self, now: Millis, settings: &Settings) {
        for (id, it) in &self.view.replicas {
            self.pulses.entry(*id).or_insert_with(|| Pulse::unheard(now, &it.address, settings.default_timeout));
        }
    }

    fn probe(&mut self, now: Millis, settings: &Settings, out: &mut Vec<Output>) {
        if !settings.proof_of_death {
            return;
        }
        for id in &self.view.sync_state_set {
            let Some((pulse, registered)) = self.pulses.get_mut(id).zip(self.view.replicas.get(id)) else { continue };
            if let Probe::Wanted { at, backoff } = pulse.probe
                && at <= now
            {
                pulse.attempts += 1;
                let attempt = pulse.attempts;
                pulse.probe = Probe::Waiting { backoff, attempt };
                let (broker_set, address) = (self.view.name.clone(), registered.address.clone());
                let ha_address = registered.ha_address.clone().filter(|it| pulse.has_reached(it));
                out.push(Output::Probe { broker_set, id: *id, attempt, address, ha_address });
            }
        }
    }

    /// After a heartbeat: every controller finds out for itself, as any of them may lead when the replica dies.
    pub(super) fn reach(&mut self, now: Millis, id: BrokerId, settings: &Settings, out: &mut Vec<Output>) {
        let registered = self.view.replicas.get(&id).and_then(|it| it.ha_address.as_ref());
        let Some((pulse, ha_address)) = self.pulses.get_mut(&id).zip(registered) else { return };
        if settings.proof_of_death && pulse.wants_to_reach(now, ha_address) {
            out.push(Output::Reach { broker_set: self.view.name.clone(), id, ha_address: ha_address.clone() });
        }
    }

    fn repair(&mut self, now: Millis, leading: Millis, settings: &Settings, out: &mut Vec<Output>) {
        if self.proposed.is_some_and(|it| now < it.retry_at) {
            return;
        }
        let action = match self.wanted_election(now, leading, settings) {
            Some((cause, alive)) => Some((Some(cause), alive)),
            None => self.dead_members().map(|_| (None, Vec::new())),
        };
        let Some((cause, alive)) = action else {
            self.proposed = None;
            return;
        };
        if cause.as_ref().is_some_and(|cause| self.awaits_witnesses(now, cause, settings, out)) {
            return;
        }
        let (broker_set, detected) = (self.view.name.clone(), self.remember_proposal(now));
        let (master_epoch, sync_state_set_epoch) = (self.view.master_epoch, self.view.sync_state_set_epoch);
        out.push(match cause {
            Some(cause) => {
                Output::Elect { broker_set, expect: (self.view.master, master_epoch), cause, alive, detected }
            }
            None => {
                let ids = self.dead_members().unwrap_or_default();
                Output::RemoveDead { broker_set, ids, master_epoch, sync_state_set_epoch }
            }
        });
    }

    fn remember_proposal(&mut self, now: Millis) -> Millis {
        let (backoff, detected) = match self.proposed {
            Some(it) => ((it.backoff * 2).min(RETRY_LONGEST), it.detected),
            None => (RETRY_FIRST, now),
        };
        self.proposed = Some(Proposed { retry_at: now + backoff, backoff, detected });
        detected
    }

    /// The cause and the live members, if the set has no live master and an election would change that.
    fn wanted_election(&self, now: Millis, leading: Millis, settings: &Settings) -> Option<(Cause, Vec<Candidate>)> {
        if now < self.paused_until(settings) || now < self.patience.until {
            return None;
        }
        let cause = match self.view.master {
            Some(master) => self.death_of(now, leading, master)?,
            None if self.view.master_epoch == 0 => return None,
            None => Cause::NoMaster,
        };
        let mut alive = self.candidates(now, Some(leading));
        // It may look alive to the list: a stalled disk with an open connection.
        alive.retain(|it| Some(it.id) != self.view.master);
        let elect = Elect {
            broker_set: String::new(),
            requester: None,
            mode: ElectMode::Best,
            alive,
            unclean: settings.unclean,
            expect: None,
            cause,
            detected_ms: 0,
            at_ms: 0,
        };
        let useful = match self.view.choose(&elect) {
            Choice::New(..) => true,
            // A master that is gone for good is cleared, so that brokers see it, unless a member may still turn up that
            // could follow it; one that only stalls is better than none.
            Choice::Nobody => {
                let awaited = elect.alive.iter().any(|it| self.view.sync_state_set.contains(&it.id));
                self.view.master.is_some() && !awaited && !matches!(elect.cause, Cause::DiskStalled { .. })
            }
            Choice::Keep => false,
        };
        useful.then_some((elect.cause, elect.alive))
    }

    /// Until when an operator has stopped elections, on the monotonic clock.
    pub(super) fn paused_until(&self, settings: &Settings) -> Millis {
        self.view.paused_until_ms.saturating_sub(settings.wall_ahead).max(0) as Millis
    }

    fn death_of(&self, now: Millis, leading: Millis, id: BrokerId) -> Option<Cause> {
        let pulse = self.pulses.get(&id)?;
        if pulse.is_proven_dead() {
            return Some(Cause::ConnectionClosedAndRefused);
        }
        if pulse.is_fresh(now, Some(leading)) {
            return None;
        }
        Some(match pulse.stalled.filter(|_| pulse.heard.is_some_and(|it| now <= it + pulse.timeout)) {
            Some(probe_age_ms) => Cause::DiskStalled { probe_age_ms },
            None => Cause::HeartbeatExpired { silent_ms: now - pulse.heard.unwrap_or(leading).min(now) },
        })
    }

    /// Members that are dead by proof while the master lives. A Java master would not learn of the change in time, so
    /// it shrinks its set itself.
    fn dead_members(&self) -> Option<BTreeSet<BrokerId>> {
        let master = self.view.master.and_then(|it| self.view.replicas.get(&it))?;
        let dead = self.view.sync_state_set.iter().copied().filter(|id| Some(*id) != self.view.master);
        let dead = dead.filter(|id| self.pulses.get(id).is_some_and(Pulse::is_proven_dead)).collect::<BTreeSet<_>>();
        (master.is_baton() && !dead.is_empty()).then_some(dead)
    }

    fn next_due(&self, now: Millis, leading: Millis, settings: &Settings) -> Millis {
        let master = self.view.master.and_then(|it| self.pulses.get(&it));
        let expiry = master.and_then(|it| it.expires(Some(leading))).filter(|it| *it >= now).map(|it| it + 1);
        let retry = self.proposed.map(|it| it.retry_at);
        let probes = self.view.sync_state_set.iter().filter_map(|id| match self.pulses.get(id)?.probe {
            Probe::Wanted { at, .. } if settings.proof_of_death => Some(at),
            _ => None,
        });
        let resumed = Some(self.paused_until(settings)).filter(|it| *it > now);
        let patient = Some(self.patience.until).filter(|it| *it > now);
        let restrained = patient.into_iter().chain(self.witnesses_due(settings).filter(|it| *it > now));
        let wished = self.wish_due(settings).filter(|it| *it > now);
        let soonest = probes
            .chain(restrained)
            .chain(wished)
            .chain(resumed)
            .chain(expiry)
            .chain(retry)
            .chain([now + settings.review_interval])
            .min();
        soonest.unwrap_or(now).max(now + 1)
    }
}
