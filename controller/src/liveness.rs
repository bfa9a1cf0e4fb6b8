//! Who is alive, as one controller sees it, and what follows: probes, elections, shrinking, repeated notifications.
//!
//! Pure: time comes in as `now` (monotonic milliseconds), every effect goes out as an [`Output`]. Soft state only:
//! nothing here survives a restart, and every controller keeps its own table warm because brokers heartbeat to all of
//! them.
//!
//! Level-triggered (S14): a set is *examined* whenever something about it happens and at the latest after
//! `review_interval`; examining compares what should be with what is and proposes again what is still not so, at a
//! bounded rate.
//!
//! ```text
//! alive     connection open, heard within its timeout
//! suspect   connection closed: its addresses are probed until it heartbeats again, one refuses, or its timeout is over
//! dead      connection closed and refused (S6) · nothing healthy heard for its timeout (S5, S14)
//! ```

mod examine;
mod life;
mod preferred;
mod pulse;
mod restraint;

pub use pulse::{Heartbeat, Pulse, RaftLease};

use preferred::{Hosts, Returns, Wish};
use restraint::{Patience, Witnesses};

use crate::replicas::{BrokerSet, Candidate, Cause, UncleanElection};
use proto::{BrokerId, Epoch, Millis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Answered by exactly one [`Output::Answer`], the first output.
    Heartbeat(Heartbeat),
    Closed {
        connection: u64,
    },
    /// `attempt` as in the [`Output::Probe`] it answers.
    Probed {
        broker_set: String,
        id: BrokerId,
        attempt: u64,
        result: Probed,
    },
    /// The HA address that [`Output::Reach`] named accepted a connection.
    Reached {
        broker_set: String,
        id: BrokerId,
        ha_address: String,
    },
    /// The other controllers' answer to [`Output::AskWitnesses`]: how long ago one of them heard it, and which.
    Witnessed {
        broker_set: String,
        id: BrokerId,
        heard: Option<(Millis, String)>,
    },
    /// The replicated state of a set changed; after a snapshot: once for every set.
    View(Arc<BrokerSet>),
    Removed {
        broker_set: String,
    },
    /// This controller leads and has applied everything committed before its term.
    Leading,
    Following,
    /// A planned change of this set's master begins: no lease until it is settled, since the election is not held back
    /// by one (S10).
    Switching {
        broker_set: String,
    },
    /// The move that [`Output::Return`] asked for is over, whatever became of it.
    Returned {
        broker_set: String,
    },
    /// What became of one [`Output::Elect`], [`Output::RemoveDead`] or planned change is known, whatever it is.
    Settled {
        broker_set: String,
    },
    Tick,
}

/// What a replica's addresses answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// Something accepts connections wherever it was asked.
    Alive,
    /// The host's kernel said of one of them that nobody listens.
    Refused,
    /// Unreachable or silent: proves nothing.
    Unknown,
}

/// What to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// `lease`: absent unless this controller leads under a valid Raft lease; 0 for a replica that is not master, or
    /// about to be replaced.
    Answer {
        lease: Option<Millis>,
        /// False: the sender is not the registered process of its replica, and has to say again that it is.
        registered: bool,
        master_epoch: Option<Epoch>,
        sync_state_set_epoch: Option<i32>,
    },
    Probe {
        broker_set: String,
        id: BrokerId,
        attempt: u64,
        address: String,
        /// Refused, it proves as much: the process itself holds this one, whoever holds the other for it (S6).
        ha_address: Option<String>,
    },
    /// Find out whether this live replica's HA address can be reached from here: only then will its refusal prove
    /// anything. A firewall refuses too.
    Reach {
        broker_set: String,
        id: BrokerId,
        ha_address: String,
    },
    /// Propose an election; `detected` is when the cause was seen.
    Elect {
        broker_set: String,
        expect: (Option<BrokerId>, Epoch),
        cause: Cause,
        alive: Vec<Candidate>,
        detected: Millis,
    },
    RemoveDead {
        broker_set: String,
        ids: BTreeSet<BrokerId>,
        master_epoch: Epoch,
        sync_state_set_epoch: i32,
    },
    /// Move mastership to the preferred replica, drained first (S10).
    Return {
        broker_set: String,
        from: BrokerId,
        to: BrokerId,
    },
    /// Ask the other controllers when they heard this master last.
    AskWitnesses {
        broker_set: String,
        id: BrokerId,
    },
    /// The master changed so often that automatic elections wait.
    Flapping {
        broker_set: String,
        changes: usize,
        wait: Millis,
    },
    /// This replica seems not to know the current master yet.
    Notify {
        broker_set: String,
        id: BrokerId,
    },
}

/// Limits and habits; see the fields of the same meaning in `config.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub unclean: UncleanElection,
    /// S6; off where a proxy answers in the broker's place.
    pub proof_of_death: bool,
    /// A disk that took no write for this long makes its replica count as not heard (S14).
    pub disk_stall: Millis,
    /// Timeout of a replica that has not said its own.
    pub default_timeout: Millis,
    pub review_interval: Millis,
    /// Wall clock minus monotonic clock at present: pauses end by the wall clock (S10).
    pub wall_ahead: i64,
    /// How long a silent master is kept at most because another controller hears it; 0: never.
    pub witness_wait: Millis,
    /// From this many automatic changes of a set's master within the window on, elections wait; 0: never.
    pub flap_changes: usize,
    pub flap_window: Millis,
    /// How long a replica has to be preferred to the master before it takes over; none: it does not.
    pub preferred_delay: Option<Millis>,
}

/// The table. One task owns it.
pub struct Liveness {
    pub settings: Settings,
    /// Since when this controller leads.
    leading: Option<Millis>,
    sets: BTreeMap<String, Watched>,
    /// Which replicas speak over which connection: several in a broker container.
    connections: BTreeMap<u64, BTreeSet<(String, BrokerId)>>,
    /// When each set is to be examined next, at the latest.
    agenda: BTreeSet<(Millis, String)>,
    hosts: Hosts,
    returns: Returns,
    /// By set: how many elections, removals and planned changes of this controller's may still commit, whatever was
    /// proposed or seen after them. No lease is granted meanwhile (S5).
    undecided: BTreeMap<String, usize>,
}

/// One set under watch.
struct Watched {
    view: Arc<BrokerSet>,
    pulses: BTreeMap<BrokerId, Pulse>,
    due: Millis,
    proposed: Option<Proposed>,
    /// When the view last changed.
    changed: Millis,
    witnesses: Witnesses,
    patience: Patience,
    wish: Option<Wish>,
}

/// What a new view brings that brokers should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    None,
    Master,
    /// Nothing but the members changed: the master has to know.
    SyncStateSet,
}

/// What was proposed and when to propose again if nothing came of it.
#[derive(Clone, Copy)]
struct Proposed {
    retry_at: Millis,
    backoff: Millis,
    /// When the reason was first seen.
    detected: Millis,
}

impl Liveness {
    pub fn new(settings: Settings) -> Liveness {
        Liveness {
            settings,
            leading: None,
            sets: BTreeMap::new(),
            connections: BTreeMap::new(),
            agenda: BTreeSet::new(),
            hosts: Hosts::default(),
            returns: Returns::default(),
            undecided: BTreeMap::new(),
        }
    }

    pub fn step(&mut self, now: Millis, input: Input, out: &mut Vec<Output>) {
        let before = out.len();
        match input {
            Input::Heartbeat(it) => self.on_heartbeat(now, it, out),
            Input::Closed { connection } => self.on_closed(now, connection, out),
            Input::Probed { broker_set, id, attempt, result } => {
                self.on_probed(now, &broker_set, id, (attempt, result), out)
            }
            Input::Reached { broker_set, id, ha_address } => self.on_reached(&broker_set, id, ha_address),
            Input::Witnessed { broker_set, id, heard } => self.on_witnessed(now, &broker_set, id, heard, out),
            Input::View(view) => self.on_view(now, view, out),
            Input::Removed { broker_set } => self.forget(&broker_set),
            Input::Leading => self.on_leading(now, out),
            Input::Following => self.on_following(),
            Input::Switching { broker_set } => self.may_commit(&broker_set),
            Input::Returned { broker_set } => self.on_returned(now, &broker_set, out),
            Input::Settled { broker_set } => self.on_settled(&broker_set),
            Input::Tick => self.on_tick(now, out),
        }
        for output in &out[before..] {
            if let Output::Elect { broker_set, .. } | Output::RemoveDead { broker_set, .. } = output {
                self.may_commit(broker_set);
            }
        }
    }

    /// When [`Input::Tick`] is needed next.
    pub fn next_due(&self) -> Option<Millis> {
        self.leading.and(self.agenda.first()).map(|it| it.0)
    }

    /// Live members of a set for a command, in id order.
    pub fn candidates(&self, now: Millis, broker_set: &str) -> Vec<Candidate> {
        self.sets.get(broker_set).map(|it| it.candidates(now, self.leading)).unwrap_or_default()
    }

    /// Heard by this controller within their timeouts: RocketMQ's liveness table.
    pub fn heard(&self, now: Millis, broker_set: &str) -> BTreeSet<BrokerId> {
        let pulses = self.sets.get(broker_set).into_iter().flat_map(|it| &it.pulses);
        pulses.filter(|it| it.1.is_fresh(now, None)).map(|it| *it.0).collect()
    }

    /// Also true of a replica that a new leader has not heard yet, until its timeout has passed (S5).
    pub fn is_alive(&self, now: Millis, broker_set: &str, id: BrokerId) -> bool {
        self.sets.get(broker_set).is_some_and(|it| it.is_alive(now, self.leading, id))
    }

    /// `minInSyncReplicas` as the replica's heartbeats say.
    pub fn min_in_sync(&self, broker_set: &str, id: BrokerId) -> Option<i32> {
        self.pulse(broker_set, id)?.min_in_sync
    }

    /// The address of another process that speaks for this id over an open connection (two brokers with one identity
    /// file).
    pub fn taken_by(
        &self,
        now: Millis,
        broker_set: &str,
        id: BrokerId,
        address: &str,
        boot_id: Option<&str>,
    ) -> Option<String> {
        let pulse = self.pulse(broker_set, id)?;
        let other = pulse.boot_id.as_deref() != boot_id && pulse.address != address;
        (other && pulse.connection.is_some() && pulse.is_fresh(now, None)).then(|| pulse.address.clone())
    }

    pub fn sets(&self) -> impl Iterator<Item = (&Arc<BrokerSet>, &BTreeMap<BrokerId, Pulse>)> {
        self.sets.values().map(|it| (&it.view, &it.pulses))
    }

    pub fn view(&self, broker_set: &str) -> Option<&Arc<BrokerSet>> {
        self.sets.get(broker_set).map(|it| &it.view)
    }

    fn pulse(&self, broker_set: &str, id: BrokerId) -> Option<&Pulse> {
        self.sets.get(broker_set)?.pulses.get(&id)
    }

    fn on_heartbeat(&mut self, now: Millis, it: Heartbeat, out: &mut Vec<Output>) {
        let Some(set) = self.sets.get_mut(&it.broker_set) else {
            // Unknown identities are answered, as RocketMQ does, but not remembered.
            let (lease, registered) = (None, true);
            return out.push(Output::Answer { lease, registered, master_epoch: None, sync_state_set_epoch: None });
        };
        let lease = self.leading.filter(|_| it.raft_lease == RaftLease::Held);
        let lease = lease.map(|_| match self.undecided.contains_key(&it.broker_set) {
            true => 0,
            false => set.lease(&it, &self.settings),
        });
        let (master_epoch, sync_state_set_epoch) = (Some(set.view.master_epoch), Some(set.view.sync_state_set_epoch));
        let registered = lease.is_none() || !set.knows_another_process(&it);
        out.push(Output::Answer { lease, registered, master_epoch, sync_state_set_epoch });
        if !set.speaks_for_registered(&it) {
            return;
        }
        let key = (it.broker_set.clone(), it.id);
        let before = set.pulses.get(&it.id).and_then(|it| it.connection);
        // A replica that has reconnected: its old connection's close must not count against it.
        if before != Some(it.connection) {
            before.and_then(|old| self.connections.get_mut(&old)).map(|keys| keys.remove(&key));
            self.connections.entry(it.connection).or_default().insert(key);
        }
        let wakes = set.beat(now, &it, &self.settings);
        set.reach(now, it.id, &self.settings, out);
        if self.leading.is_some() && set.needs_notice(now, it.id, it.epoch) {
            out.push(Output::Notify { broker_set: it.broker_set.clone(), id: it.id });
        }
        if wakes || set.view.master.is_none() {
            self.examine(now, &it.broker_set, out);
        }
    }

    fn on_closed(&mut self, now: Millis, connection: u64, out: &mut Vec<Output>) {
        for (broker_set, id) in self.connections.remove(&connection).unwrap_or_default() {
            let pulse = self.sets.get_mut(&broker_set).and_then(|it| it.pulses.get_mut(&id));
            if let Some(pulse) = pulse.filter(|it| it.connection == Some(connection)) {
                pulse.on_closed(now);
            }
            self.examine(now, &broker_set, out);
        }
    }

    fn on_probed(&mut self, now: Millis, broker_set: &str, id: BrokerId, result: (u64, Probed), out: &mut Vec<Output>) {
        if let Some(pulse) = self.sets.get_mut(broker_set).and_then(|it| it.pulses.get_mut(&id)) {
            pulse.on_probed(now, result);
        }
        self.examine(now, broker_set, out);
    }

    fn on_reached(&mut self, broker_set: &str, id: BrokerId, ha_address: String) {
        if let Some(pulse) = self.sets.get_mut(broker_set).and_then(|it| it.pulses.get_mut(&id)) {
            pulse.on_reached(ha_address);
        }
    }

    fn on_view(&mut self, now: Millis, view: Arc<BrokerSet>, out: &mut Vec<Output>) {
        let name = view.name.clone();
        let before = self.view(&name).cloned();
        self.hosts.moved(before.as_ref().and_then(|it| it.master_host()), view.master_host());
        let news = match self.sets.get_mut(&name) {
            Some(set) => set.renew(now, view),
            None => {
                self.sets.insert(name.clone(), Watched::new(now, view));
                News::None
            }
        };
        self.announce(now, &name, news, out);
        if news == News::Master {
            self.restrain(now, &name, out);
        }
        self.examine(now, &name, out);
    }

    /// Tells the live members of what was committed; who misses it is told again (see `needs_notice`).
    fn announce(&mut self, now: Millis, broker_set: &str, news: News, out: &mut Vec<Output>) {
        let Some(set) = self.sets.get_mut(broker_set).filter(|it| self.leading.is_some() && it.view.master.is_some())
        else {
            return;
        };
        for (id, pulse) in &mut set.pulses {
            let concerned = match news {
                News::None => false,
                News::Master => pulse.is_fresh(now, self.leading),
                News::SyncStateSet => set.view.master == Some(*id),
            };
            if concerned {
                pulse.notified = now;
                out.push(Output::Notify { broker_set: broker_set.to_owned(), id: *id });
            }
        }
    }

    fn forget(&mut self, broker_set: &str) {
        if let Some(set) = self.sets.remove(broker_set) {
            self.agenda.remove(&(set.due, broker_set.to_owned()));
            self.hosts.moved(set.view.master_host(), None);
        }
    }

    /// Every master gets one full timeout from now before it can be replaced by expiry (S5); whoever has no connection
    /// is probed at once.
    fn on_leading(&mut self, now: Millis, out: &mut Vec<Output>) {
        self.leading = Some(now);
        self.forget_returns();
        for set in self.sets.values_mut() {
            set.proposed = None;
            for pulse in set.pulses.values_mut() {
                pulse.probe_again(now);
            }
        }
        for name in self.sets.keys().cloned().collect::<Vec<_>>() {
            // The leader before may have died between committing a change and telling of it.
            let recent = self.sets.get(&name).is_some_and(|it| now <= it.changed + examine::NOTIFY_FOR);
            self.announce(now, &name, if recent { News::Master } else { News::None }, out);
            self.examine(now, &name, out);
        }
    }

    fn on_following(&mut self) {
        self.leading = None;
        self.forget_returns();
        for set in self.sets.values_mut() {
            set.proposed = None;
        }
    }

    fn may_commit(&mut self, broker_set: &str) {
        *self.undecided.entry(broker_set.to_owned()).or_default() += 1;
    }

    /// After the last one leases are renewed again; what is still wrong is proposed again when its time comes.
    fn on_settled(&mut self, broker_set: &str) {
        if let Some(count) = self.undecided.get_mut(broker_set) {
            *count -= 1;
            if *count == 0 {
                self.undecided.remove(broker_set);
            }
        }
    }

    fn on_tick(&mut self, now: Millis, out: &mut Vec<Output>) {
        while let Some((_, name)) = self.agenda.first().filter(|it| it.0 <= now && self.leading.is_some()).cloned() {
            self.examine(now, &name, out);
        }
    }
}

#[cfg(test)]
mod tests;
