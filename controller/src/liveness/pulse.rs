//! What is known of one replica's process.

use super::{Probed, Settings};
use proto::{BrokerId, Epoch, Millis, Offset};

/// Whether this controller's Raft lease held when the heartbeat arrived: only then may it grant leases (S5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaftLease {
    Held,
    NotHeld,
}

/// 904, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub broker_set: String,
    pub id: BrokerId,
    pub connection: u64,
    pub address: String,
    pub timeout: Millis,
    pub epoch: Epoch,
    pub max_offset: Offset,
    pub confirm_offset: Offset,
    pub priority: i32,
    pub boot_id: Option<String>,
    pub min_in_sync: Option<i32>,
    pub disk_probe_age: Option<Millis>,
    /// `brokerZone`, if it said so.
    pub zone: Option<String>,
    pub raft_lease: RaftLease,
}

/// Shortest and longest wait between two probes of one address.
const PROBE_FIRST: Millis = 5;
const PROBE_LONGEST: Millis = 500;

/// Of ten parts of its timeout a master may use nine as lease; the tenth covers drift between its clock and ours (S5).
pub(super) const LEASE_TENTHS: Millis = 9;
/// How often a live replica's HA address is tried until it has accepted a connection.
const REACH_EVERY: Millis = 10_000;

/// Whether a replica's HA address can be reached from this controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    tried: Option<Millis>,
    /// The one that has accepted a connection.
    accepted: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// Connected, or never to be probed.
    Idle,
    Wanted {
        at: Millis,
        backoff: Millis,
    },
    Waiting {
        backoff: Millis,
        attempt: u64,
    },
    /// Proof of death (S6), until a heartbeat proves the contrary.
    Refused,
}

/// One replica. Offsets are those of its last heartbeat, also when they went down: a truncated log is shorter than it
/// was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// None: closed, or never opened to this controller.
    pub connection: Option<u64>,
    pub heard: Option<Millis>,
    /// Last heartbeat with a working disk.
    pub(super) healthy: Option<Millis>,
    pub timeout: Millis,
    pub address: String,
    pub epoch: Epoch,
    pub max_offset: Offset,
    pub confirm_offset: Offset,
    pub priority: i32,
    pub boot_id: Option<String>,
    pub min_in_sync: Option<i32>,
    pub stalled: Option<Millis>,
    pub zone: Option<String>,
    pub(super) probe: Probe,
    reach: Reach,
    pub(super) notified: Millis,
    /// Number of the last probe.
    pub(super) attempts: u64,
}

impl Pulse {
    /// A registered replica that this controller has not heard yet: suspect until it speaks.
    pub(super) fn unheard(now: Millis, address: &str, timeout: Millis) -> Pulse {
        Pulse {
            connection: None,
            heard: None,
            healthy: None,
            timeout,
            address: address.to_owned(),
            epoch: -1,
            max_offset: -1,
            confirm_offset: -1,
            priority: i32::MAX,
            boot_id: None,
            min_in_sync: None,
            stalled: None,
            zone: None,
            probe: Probe::Wanted { at: now, backoff: PROBE_FIRST },
            reach: Reach::default(),
            notified: 0,
            // Not from 0: a replica that is forgotten and seen again must not take an old answer for a new one.
            attempts: now,
        }
    }

    /// True when this heartbeat changes what examining would find: back from the dead, or a disk that stalled or
    /// recovered.
    pub(super) fn beat(&mut self, now: Millis, it: &Heartbeat, settings: &Settings) -> bool {
        let stalled = it.disk_probe_age.filter(|age| *age > settings.disk_stall);
        let wakes =
            self.connection.is_none() || !self.is_fresh(now, None) || stalled.is_some() != self.stalled.is_some();
        *self = Pulse {
            connection: Some(it.connection),
            heard: Some(now),
            healthy: if stalled.is_none() { Some(now) } else { self.healthy },
            timeout: it.timeout,
            address: it.address.clone(),
            epoch: it.epoch,
            max_offset: it.max_offset,
            confirm_offset: it.confirm_offset,
            priority: it.priority,
            boot_id: it.boot_id.clone(),
            min_in_sync: it.min_in_sync,
            stalled,
            zone: it.zone.clone(),
            probe: Probe::Idle,
            reach: std::mem::take(&mut self.reach),
            notified: self.notified,
            attempts: self.attempts,
        };
        wakes
    }

    pub(super) fn on_closed(&mut self, now: Millis) {
        self.connection = None;
        self.probe = Probe::Wanted { at: now, backoff: PROBE_FIRST };
    }

    /// An answer counts only if it was asked for after the connection closed: an older one says nothing about the
    /// process that spoke since.
    pub(super) fn on_probed(&mut self, now: Millis, (answered, result): (u64, Probed)) {
        let Probe::Waiting { backoff, attempt } = self.probe else { return };
        if answered != attempt {
            return;
        }
        self.probe = match result {
            Probed::Refused => Probe::Refused,
            // A dying process may still listen for a moment; an unreachable host may come back.
            Probed::Alive | Probed::Unknown => {
                Probe::Wanted { at: now + backoff, backoff: (backoff * 2).min(PROBE_LONGEST) }
            }
        };
    }

    /// True when it is time to try; the next time is later.
    pub(super) fn wants_to_reach(&mut self, now: Millis, ha_address: &str) -> bool {
        let due = !self.has_reached(ha_address) && self.reach.tried.is_none_or(|it| now >= it + REACH_EVERY);
        if due {
            self.reach.tried = Some(now);
        }
        due
    }

    pub(super) fn on_reached(&mut self, ha_address: String) {
        self.reach.accepted = Some(ha_address);
    }

    pub(super) fn has_reached(&self, ha_address: &str) -> bool {
        self.reach.accepted.as_deref() == Some(ha_address)
    }

    /// A new leader asks again: what a follower once saw may be long ago.
    pub(super) fn probe_again(&mut self, now: Millis) {
        if self.connection.is_none() {
            self.probe = Probe::Wanted { at: now, backoff: PROBE_FIRST };
        }
    }

    pub(super) fn is_proven_dead(&self) -> bool {
        self.probe == Probe::Refused
    }

    /// Counts from the last healthy heartbeat, or from when this controller became leader if that was later (S5).
    pub(super) fn expires(&self, leading: Option<Millis>) -> Option<Millis> {
        self.healthy.max(leading).map(|it| it + self.timeout)
    }

    pub(super) fn is_fresh(&self, now: Millis, leading: Option<Millis>) -> bool {
        !self.is_proven_dead() && self.expires(leading).is_some_and(|it| now <= it)
    }

    /// What is left of the lease that its last healthy heartbeat may have got (S5).
    pub fn lease_left(&self, now: Millis) -> Option<Millis> {
        Some((self.healthy? + self.timeout * LEASE_TENTHS / 10).saturating_sub(now))
    }

    /// May be made master: heard by this controller within its timeout, connected, disk working.
    pub(super) fn is_electable(&self, now: Millis) -> bool {
        self.connection.is_some() && self.stalled.is_none() && self.is_fresh(now, None)
    }
}
