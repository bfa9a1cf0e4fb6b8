//! The master's side of replication: what each slave has, who belongs into the SyncStateSet, and what may be
//! acknowledged (S3, S4).
//!
//! ```text
//! log  ───────────────────────────────▶ own end (flushed with SYNC_FLUSH, S11)
//!            ▲ confirm offset: every member of the maximal set has it, connected or not; never goes back within a term
//! ```
//! Promises: `Confirm` is only put out for bytes that the profile's rule covers; the set changes only by the
//! controller's word.

use crate::Acknowledgement;
use crate::in_sync::{InSync, Outcome};
use crate::lease::Lease;
use proto::ha::SlaveKind;
use proto::{BrokerId, Epoch, Millis, Offset};
use std::collections::{BTreeMap, BTreeSet};

/// A member whose connection has been gone for this long is proposed for removal. A restarted connection takes about 10
/// ms; strict writes stall meanwhile, so the grace is a good part of the stall after a slave's death (target 200 ms).
pub const GONE_GRACE_MS: Millis = 100;
/// The same for a member that has not connected since this replica became master: it learns of us at the same moment as
/// we do.
pub const FIRST_LINK_GRACE_MS: Millis = 500;
/// After a refused or lost proposal: how long until the next.
pub const PROPOSE_AGAIN_MS: Millis = 100;
/// How long a change that may be under way in a controller that was paused is reckoned with where nothing can rule it
/// out: after a planned change (S10), and about a proposal without an answer when the controllers know no fence
/// (RocketMQ's). Then a read of the unchanged set has to do.
pub const DOUBT_MS: Millis = 10_000;

/// One connection of a slave; a reconnect has a new one.
pub type LinkId = u64;

#[derive(Clone, Debug)]
pub struct MasterConfig {
    pub me: BrokerId,
    pub epoch: Epoch,
    /// Where the epoch starts: the log's end at promotion.
    pub epoch_start: Offset,
    pub acknowledgement: Acknowledgement,
    pub min_in_sync_replicas: usize,
    /// A member that makes no progress for this long while behind leaves the set; one that was caught up within it may
    /// join.
    pub max_time_not_catchup_ms: Millis,
}

#[derive(Clone, Debug)]
pub enum Input {
    /// Our own copy reaches to here.
    Appended(Offset),
    /// A slave's handshake came in.
    LinkUp {
        link: LinkId,
        slave: BrokerId,
        kind: SlaveKind,
    },
    LinkDown {
        link: LinkId,
    },
    /// `max_offset`: our log's end when the acknowledgement was read.
    Ack {
        link: LinkId,
        offset: Offset,
        max_offset: Offset,
    },
    /// The committed set of this master epoch, as read from the controller.
    Committed {
        set: BTreeSet<BrokerId>,
        epoch: i32,
    },
    Proposed(Outcome),
    /// The controller leader answered a heartbeat: it elects nobody else before this moment (S5).
    Lease {
        until: Millis,
    },
    /// A planned change was begun, and may be committed until then: the controllers may elect in spite of the lease,
    /// and of all that was granted before (S10).
    DistrustLease {
        until: Millis,
    },
    /// S13: whether a Baton slave has all metadata.
    MetadataSynced {
        slave: BrokerId,
        synced: bool,
    },
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Acknowledge, and show to consumers, everything below.
    Confirm(Offset),
    /// Ask the controller for this set, given that its version is still `epoch`. If it is the committed one, only a new
    /// version of it is wanted: a fence, after which no earlier proposal can be committed.
    Propose {
        set: BTreeSet<BrokerId>,
        epoch: i32,
    },
    /// Read the set again: a proposal's outcome is in doubt or was refused.
    Reread,
    CloseLink {
        link: LinkId,
        why: String,
    },
    /// The committed set is another one.
    SetChanged,
}

/// What we know of one slave; forgotten only with the term, so that a vanished member still counts.
#[derive(Clone, Debug)]
struct Slave {
    link: Option<LinkId>,
    kind: SlaveKind,
    /// What it has acknowledged on the present link. `None` counts as 0.
    ack: Option<Offset>,
    /// The most it has ever acknowledged, on whatever link.
    furthest: Option<Offset>,
    /// When it last had everything or acknowledged more than ever before: connecting anew is no progress.
    progress_at: Millis,
    /// It had everything that existed at this moment.
    caught_up_at: Option<Millis>,
    /// Our end at its last acknowledgement, and when that was.
    mark: (Offset, Millis),
    gone_since: Millis,
}

#[derive(Debug)]
pub struct Master {
    config: MasterConfig,
    in_sync: InSync,
    slaves: BTreeMap<BrokerId, Slave>,
    links: BTreeMap<LinkId, BrokerId>,
    /// Moves on whenever `others` or `in_sync_count` may have become another.
    members_version: u64,
    /// Baton slaves that have confirmed all metadata of this mastership. It outlives their connections: what was
    /// confirmed is on their disks.
    synced_metadata: BTreeSet<BrokerId>,
    started: Millis,
    own_end: Offset,
    confirm: Offset,
    lease: Lease,
    propose_after: Millis,
    /// When the last change was proposed.
    proposed_at: Millis,
    fence: Fence,
}

/// Whether the controllers can end a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fence {
    Untried,
    /// Its answer is awaited.
    Asked,
    /// They know none, or the version is not what we think; reading tells which.
    Refused,
}

impl Master {
    /// `confirm` is where the log was confirmed before this term.
    pub fn new(
        now: Millis,
        config: MasterConfig,
        set: BTreeSet<BrokerId>,
        set_epoch: i32,
        own_end: Offset,
        confirm: Offset,
    ) -> Master {
        Master {
            in_sync: InSync::new(config.me, set, set_epoch),
            config,
            slaves: BTreeMap::new(),
            links: BTreeMap::new(),
            members_version: 0,
            synced_metadata: BTreeSet::new(),
            started: now,
            own_end,
            confirm: confirm.min(own_end),
            lease: Lease::default(),
            propose_after: now,
            proposed_at: now,
            fence: Fence::Untried,
        }
    }

    pub fn step(&mut self, now: Millis, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Appended(end) => self.on_appended(now, end),
            Input::LinkUp { link, slave, kind } => self.on_link_up(now, link, slave, kind, out),
            Input::LinkDown { link } => self.on_link_down(now, link),
            Input::Ack { link, offset, max_offset } => self.on_ack(now, link, offset, max_offset, out),
            Input::Committed { set, epoch } => self.on_committed(now, set, epoch, out),
            Input::Proposed(outcome) => self.on_outcome(now, outcome, out),
            Input::Lease { until } => self.lease.grant(until),
            Input::DistrustLease { until } => self.lease.distrust(until),
            Input::MetadataSynced { slave, synced: true } => drop(self.synced_metadata.insert(slave)),
            Input::MetadataSynced { slave, synced: false } => drop(self.synced_metadata.remove(&slave)),
            Input::Tick => {}
        }
        self.confirm(now, out);
        self.propose(now, out);
    }

    pub fn in_sync(&self) -> &InSync {
        &self.in_sync
    }

    /// For the admission of writes: how many replicas count.
    pub fn in_sync_count(&self) -> usize {
        self.in_sync.committed().len()
    }

    /// Everybody else who counts in the set, or may (S3), and which program it is, if it has said so to this master.
    pub fn others(&self) -> impl Iterator<Item = (BrokerId, Option<SlaveKind>)> + '_ {
        let others = self.in_sync.maximal().filter(|it| *it != self.config.me);
        others.map(|id| (id, self.slaves.get(&id).map(|it| it.kind)))
    }

    /// While it stays the same, so do [`Master::others`] and [`Master::in_sync_count`].
    pub fn members_version(&self) -> u64 {
        self.members_version
    }

    pub fn confirm_offset(&self) -> Offset {
        self.confirm
    }

    /// What the controllers have granted this mastership.
    pub fn lease(&self) -> Lease {
        self.lease
    }

    /// Acknowledged offset per connected slave.
    pub fn acks(&self) -> impl Iterator<Item = (BrokerId, LinkId, Offset)> + '_ {
        self.slaves.iter().filter_map(|(id, it)| Some((*id, it.link?, it.ack.unwrap_or(0))))
    }

    fn on_appended(&mut self, now: Millis, end: Offset) {
        // Whoever had everything until now starts being behind at this moment, not when it last acknowledged.
        for it in self.slaves.values_mut().filter(|it| it.furthest >= Some(self.own_end)) {
            it.progress_at = now;
        }
        self.own_end = self.own_end.max(end);
    }

    fn on_link_up(&mut self, now: Millis, link: LinkId, id: BrokerId, kind: SlaveKind, out: &mut Vec<Output>) {
        if id == self.config.me {
            return out.push(Output::CloseLink { link, why: format!("replica {id} is this master itself") });
        }
        self.links.insert(link, id);
        let slave = self.slaves.entry(id).or_insert_with(|| Slave::unknown(now));
        if let Some(old) = slave.link.replace(link) {
            self.links.remove(&old);
            out.push(Output::CloseLink { link: old, why: format!("replica {id} has connected anew") });
        }
        slave.kind = kind;
        self.members_version += 1;
        slave.forget_acknowledged();
        // It missed nothing. Who was behind before gets no new time: a slave that cannot write might connect for ever.
        if slave.furthest >= Some(self.own_end) {
            slave.progress_at = now;
        }
    }

    /// By connection, not by replica: an old connection's late death must not evict a slave that has already
    /// reconnected.
    fn on_link_down(&mut self, now: Millis, link: LinkId) {
        let Some(id) = self.links.remove(&link) else { return };
        if let Some(slave) = self.slaves.get_mut(&id).filter(|it| it.link == Some(link)) {
            slave.lose_link(now);
        }
    }

    fn on_ack(&mut self, now: Millis, link: LinkId, offset: Offset, max_offset: Offset, out: &mut Vec<Output>) {
        let Some(slave) = self.links.get(&link).and_then(|id| self.slaves.get_mut(id)) else { return };
        if offset > max_offset {
            return out
                .push(Output::CloseLink { link, why: format!("acknowledged {offset}, the log ends at {max_offset}") });
        }
        slave.ack = Some(offset);
        if slave.furthest < Some(offset) {
            slave.furthest = Some(offset);
            slave.progress_at = now;
        }
        if offset >= max_offset {
            slave.caught_up_at = Some(now);
            slave.progress_at = now;
        } else if offset >= slave.mark.0 {
            slave.caught_up_at = slave.caught_up_at.max(Some(slave.mark.1));
            slave.progress_at = slave.progress_at.max(slave.mark.1);
        }
        slave.mark = (max_offset, now);
    }

    fn on_committed(&mut self, now: Millis, set: BTreeSet<BrokerId>, epoch: i32, out: &mut Vec<Output>) {
        if self.in_sync.adopt(set, epoch) {
            self.members_version += 1;
            self.fence = Fence::Untried;
            self.close_outsiders(now, out);
            out.push(Output::SetChanged);
        } else if self.fence == Fence::Refused
            && epoch == self.in_sync.epoch()
            && !self.in_sync.awaits_answer()
            && now >= self.proposed_at + DOUBT_MS
        {
            self.in_sync.settle();
            self.members_version += 1;
        }
    }

    /// S7: a version that is not the answer to a proposal of ours may mean that a replica has lost what it acknowledged
    /// (its host has restarted), however alive its link looks. On a new one only what it acknowledges then counts.
    /// Java's replicas do not say so, and take seconds to connect.
    fn close_outsiders(&mut self, now: Millis, out: &mut Vec<Output>) {
        let committed = self.in_sync.committed();
        for (id, it) in self.slaves.iter_mut().filter(|it| !committed.contains(it.0)) {
            if let Some(link) = it.link.filter(|_| it.kind == SlaveKind::Baton) {
                self.links.remove(&link);
                it.lose_link(now);
                out.push(Output::CloseLink {
                    link,
                    why: format!("replica {id} is outside the set, by the controllers"),
                });
            }
        }
    }

    fn on_outcome(&mut self, now: Millis, outcome: Outcome, out: &mut Vec<Output>) {
        let accepted = matches!(outcome, Outcome::Accepted { .. });
        if self.fence == Fence::Asked {
            self.fence = if outcome == Outcome::Refused { Fence::Refused } else { Fence::Untried };
        }
        let before = self.in_sync.epoch();
        self.in_sync.on_outcome(outcome);
        self.members_version += 1;
        if before != self.in_sync.epoch() {
            self.fence = Fence::Untried;
            out.push(Output::SetChanged);
        }
        if !accepted {
            self.propose_after = now + PROPOSE_AGAIN_MS;
            out.push(Output::Reread);
        }
    }

    fn confirm(&mut self, now: Millis, out: &mut Vec<Output>) {
        // Below the minimum nothing is acknowledged, and nothing may be shown that an eligible replica outside the set
        // could lack (S7).
        if self.in_sync_count() < self.config.min_in_sync_replicas {
            return;
        }
        let reached = match self.config.acknowledgement {
            Acknowledgement::AllInSyncStateSet => self.held_by_all(),
            Acknowledgement::InSyncReplicas(copies) if self.lease.holds(now) => {
                self.held_by(copies, self.in_sync.certain())
            }
            // S8: without a lease the whole set must have it, and the asked-for number of copies exist. Whoever is
            // elected has it then, so a member that may be one no more is a copy, too.
            Acknowledgement::InSyncReplicas(copies) => {
                self.held_by(copies, self.in_sync.committed().iter().copied()).min(self.held_by_all())
            }
        };
        if reached > self.confirm {
            assert!(reached <= self.own_end, "confirm offset {reached} beyond the log's end {}", self.own_end);
            self.confirm = reached;
            out.push(Output::Confirm(reached));
        }
    }

    fn held_by_all(&self) -> Offset {
        self.in_sync.maximal().map(|id| self.held(id)).min().unwrap_or(0)
    }

    /// What this many of these members have; 0 if there are fewer. Learners and replicas outside the set do not count:
    /// they cannot be elected.
    fn held_by(&self, copies: usize, members: impl Iterator<Item = BrokerId>) -> Offset {
        let mut held: Vec<Offset> = members.map(|id| self.held(id)).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        held.get(copies.max(1) - 1).copied().unwrap_or(0).min(self.own_end)
    }

    fn held(&self, id: BrokerId) -> Offset {
        if id == self.config.me { self.own_end } else { self.slaves.get(&id).and_then(|it| it.ack).unwrap_or(0) }
    }

    fn propose(&mut self, now: Millis, out: &mut Vec<Output>) {
        if self.in_sync.awaits_answer() || now < self.propose_after {
            return;
        }
        let committed = self.in_sync.committed();
        let fences = !committed.iter().any(|id| self.must_leave(now, *id))
            && !self.slaves.keys().any(|id| self.may_join(now, *id));
        if fences && self.in_sync.is_settled() {
            return;
        }
        let mut set: BTreeSet<BrokerId> = committed.iter().copied().filter(|id| !self.must_leave(now, *id)).collect();
        set.extend(self.slaves.keys().filter(|id| self.may_join(now, **id)));
        match fences {
            // In doubt, and no fence to be had: reading has to do.
            true if self.fence == Fence::Refused => {
                self.propose_after = now + PROPOSE_AGAIN_MS;
                return out.push(Output::Reread);
            }
            true => self.fence = Fence::Asked,
            false => self.proposed_at = now,
        }
        self.in_sync.propose(set.clone());
        self.members_version += 1;
        out.push(Output::Propose { set, epoch: self.in_sync.epoch() });
    }

    fn must_leave(&self, now: Millis, id: BrokerId) -> bool {
        if id == self.config.me {
            return false;
        }
        match self.slaves.get(&id) {
            None => now >= self.started + FIRST_LINK_GRACE_MS,
            Some(it) if it.link.is_none() => now >= it.gone_since + GONE_GRACE_MS,
            Some(it) => it.ack < Some(self.own_end) && now >= it.progress_at + self.config.max_time_not_catchup_ms,
        }
    }

    fn may_join(&self, now: Millis, id: BrokerId) -> bool {
        let Some(it) = self.slaves.get(&id) else { return false };
        let (Some(ack), Some(caught_up_at)) = (it.ack, it.caught_up_at) else { return false };
        it.link.is_some()
            && !self.in_sync.committed().contains(&id)
            && self.has_metadata(id, it.kind)
            && ack >= self.confirm
            && ack >= self.config.epoch_start
            && now < caught_up_at + self.config.max_time_not_catchup_ms
    }

    /// S13: a successor must know the topics that were acknowledged to operators. Java's slaves poll at their own pace.
    fn has_metadata(&self, id: BrokerId, kind: SlaveKind) -> bool {
        match kind {
            SlaveKind::Java => true,
            SlaveKind::Learner => false,
            SlaveKind::Baton => self.synced_metadata.contains(&id),
        }
    }
}

impl Slave {
    fn unknown(now: Millis) -> Slave {
        Slave {
            link: None,
            kind: SlaveKind::Java,
            ack: None,
            furthest: None,
            progress_at: now,
            caught_up_at: None,
            mark: (Offset::MAX, now),
            gone_since: now,
        }
    }

    fn lose_link(&mut self, now: Millis) {
        self.link = None;
        self.gone_since = now;
        self.forget_acknowledged();
    }

    /// The next connection proves nothing about what this one acknowledged: the slave may have been cut or restarted.
    fn forget_acknowledged(&mut self) {
        self.ack = None;
        self.caught_up_at = None;
    }
}

#[cfg(test)]
mod tests;
