//! The master's side: links to slaves (`ha/master_io.rs`), the master core, planned changes.

use super::{Broker, Gate};
use crate::ctx::{Ctx, NodeId, Point};
use crate::mutants::Mutant;
use crate::net::ConnId;
use crate::packet::{Packet, Reply, Request};
use broker::verdict::Tenure;
use ha::Acknowledgement;
use ha::drain::{Drain, Progress};
use ha::epochs::EpochHistory;
use ha::in_sync::Outcome;
use ha::master::{self, Master, MasterConfig};
use ha::role;
use proto::ha::{MasterHandshake, SlaveHandshake, SlaveKind, TransferHeader};
use proto::header::HoldWritesRequest;
use proto::{BrokerId, Epoch, Millis, Offset};
use std::collections::{BTreeMap, BTreeSet};

/// Packets on their way to one slave, as many as its socket buffer takes.
const WINDOW: usize = 12;
const BATCH: usize = 8;
/// A confirm offset that moved without new bytes is told after this long.
const CONFIRM_DELAY_US: u64 = 50_000;

/// The mastership that is on.
pub struct Leading {
    pub core: Master,
    pub epoch: Epoch,
    history: EpochHistory,
    links: BTreeMap<ConnId, Link>,
    held: Option<Held>,
}

struct Held {
    drain: Drain,
    asker: Option<(NodeId, u64)>,
}

#[derive(Default)]
struct Link {
    number: u64,
    /// Where the next byte comes from, once the slave has asked.
    next: Option<Offset>,
    told: Offset,
    sent_at: u64,
}

/// Below so many members nothing is acknowledged.
pub fn least(ctx: &Ctx) -> usize {
    if ctx.is(Mutant::AcksBelowMinimum) { 1 } else { ctx.profile.min_in_sync }
}

impl Leading {
    pub fn close_all(&mut self, ctx: &mut Ctx, node: NodeId) {
        for conn in std::mem::take(&mut self.links).into_keys() {
            ctx.close(conn, node);
        }
    }
}

impl Broker {
    pub(super) fn lead(&mut self, ctx: &mut Ctx, epoch: Epoch, mut set: BTreeSet<BrokerId>, set_epoch: i32) {
        let (own_end, now) = (self.own_end(ctx), self.now(ctx));
        let Some(it) = &mut self.process else { return };
        let history = self.disk.epochs.clone();
        if ctx.is(Mutant::StartsWithItselfAlone) {
            set = [it.me].into();
        }
        let config = MasterConfig {
            me: it.me,
            epoch,
            epoch_start: history.last().map_or(0, |it| it.start),
            acknowledgement: match ctx.profile.copies {
                0 => Acknowledgement::AllInSyncStateSet,
                copies => Acknowledgement::InSyncReplicas(copies),
            },
            min_in_sync_replicas: least(ctx),
            max_time_not_catchup_ms: ctx.profile.not_catchup_ms,
        };
        let core = Master::new(now, config, set.clone(), set_epoch, own_end, self.disk.confirm);
        if it.leading.is_none() {
            it.term += 1;
        }
        it.frontier.open(it.term, core.confirm_offset());
        it.leading = Some(Leading { core, epoch, history, links: BTreeMap::new(), held: None });
        it.writes = Some(epoch);
        let lease = if ctx.is(Mutant::NeedsNoLease) { Millis::MAX } else { it.lease_until };
        ctx.say(
            self.node,
            format_args!("is master of epoch {epoch}, which starts at {}, set {set:?}", self.disk.end()),
        );
        ctx.truth(self.set).leads(self.index, epoch);
        ctx.reaches(Point::Epoch, self.node);
        self.step_master(ctx, master::Input::Lease { until: lease });
        self.open_gate();
    }

    pub(super) fn open_gate(&mut self) {
        let Some(it) = &mut self.process else { return };
        if let Some(leading) = it.leading.as_ref().filter(|it| it.held.is_none()) {
            it.gate = Gate::Open { in_sync: leading.core.in_sync_count() };
        }
    }

    // ---- core

    pub(super) fn step_master(&mut self, ctx: &mut Ctx, input: master::Input) {
        let now = self.now(ctx);
        let Some(it) = &mut self.process else { return };
        let Some(leading) = &mut it.leading else { return };
        let mut out = Vec::new();
        for (slave, synced) in it.metadata.notes.take(leading.epoch) {
            leading.core.step(now, master::Input::MetadataSynced { slave, synced }, &mut out);
        }
        leading.core.step(now, input, &mut out);
        for output in out {
            if ctx.burns() {
                return;
            }
            self.perform_master(ctx, output);
        }
    }

    fn perform_master(&mut self, ctx: &mut Ctx, output: master::Output) {
        let Some(it) = &mut self.process else { return };
        let Some(leading) = &mut it.leading else { return };
        match output {
            master::Output::Confirm(offset) => {
                self.set_confirm(ctx, offset);
                if let Some(it) = &self.process {
                    it.frontier.advance(offset);
                }
                self.answer_sends(ctx);
            }
            master::Output::Propose { set, epoch } => {
                let master_epoch = leading.epoch;
                ctx.reaches(Point::Proposal, self.node);
                if !set.is_subset(leading.core.in_sync().committed()) {
                    ctx.reaches(Point::Joining, self.node);
                }
                ctx.truth(self.set).proposes(master_epoch, epoch, &set);
                ctx.say(self.node, format_args!("proposes set {set:?} over version {epoch}"));
                let fence = *leading.core.in_sync().committed() == set;
                self.alter(ctx, master_epoch, set.clone(), epoch, fence);
                if ctx.is(Mutant::ShrinksOnItsOwn) {
                    return self.step_master(ctx, master::Input::Committed { set, epoch: epoch + 1 });
                }
                if ctx.is(Mutant::AcksByCommittedSetOnly) {
                    self.step_master(ctx, master::Input::Proposed(Outcome::Refused));
                }
            }
            master::Output::Reread => it.inputs.push_back(role::Input::PollNow),
            master::Output::CloseLink { link, .. } => {
                let conn = leading.links.iter().find(|it| it.1.number == link).map(|it| *it.0);
                if let Some(conn) = conn {
                    ctx.close(conn, self.node);
                    self.link_down(ctx, conn);
                }
            }
            master::Output::SetChanged => {
                let (set, epoch) = (leading.core.in_sync().committed().clone(), leading.core.in_sync().epoch());
                ctx.say(self.node, format_args!("set is {set:?}, version {epoch}"));
                it.inputs.push_back(role::Input::SetChanged { sync_state_set: set, sync_state_set_epoch: epoch });
                self.open_gate();
            }
        }
    }

    pub(super) fn proposed(&mut self, ctx: &mut Ctx, epoch: Epoch, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Unknown if ctx.is(Mutant::TakesSilenceForRefusal) => Outcome::Refused,
            other => other,
        };
        if self.process.as_ref().and_then(|it| it.leading.as_ref()).is_some_and(|it| it.epoch == epoch) {
            ctx.say(self.node, format_args!("proposal: {outcome:?}"));
            self.step_master(ctx, master::Input::Proposed(outcome));
        }
    }

    /// Whether another replica may be master by now (`Replication::may_be_deposed`).
    pub(super) fn tenure(&self, ctx: &Ctx) -> Tenure {
        let leading = self.process.as_ref().and_then(|it| it.leading.as_ref());
        let doubtful = leading.is_none_or(|it| it.core.lease().may_be_deposed(self.now(ctx)));
        if doubtful { Tenure::Doubtful } else { Tenure::Certain }
    }

    /// The epoch of this mastership and everybody who counts in it, if writes are admitted.
    pub fn members_to_wait_for(&self, least: usize) -> Option<(Epoch, BTreeSet<BrokerId>)> {
        let leading = self.process.as_ref()?.leading.as_ref().filter(|it| it.core.in_sync_count() >= least)?;
        Some((leading.epoch, leading.core.in_sync().maximal().collect()))
    }

    // ---- links

    pub(super) fn on_slave_connected(&mut self, ctx: &mut Ctx, conn: ConnId) {
        let Some(it) = &mut self.process else { return };
        let number = it.next_link;
        match &mut it.leading {
            Some(leading) => {
                it.next_link += 1;
                leading.links.insert(conn, Link { number, told: -1, ..Link::default() });
            }
            None => ctx.close(conn, self.node),
        }
    }

    /// True if the connection was a slave's.
    pub(super) fn link_down(&mut self, ctx: &mut Ctx, conn: ConnId) -> bool {
        let Some(leading) = self.process.as_mut().and_then(|it| it.leading.as_mut()) else { return false };
        let Some(link) = leading.links.remove(&conn) else { return false };
        let gone = leading.core.acks().find(|it| it.1 == link.number).map(|it| it.0);
        self.step_master(ctx, master::Input::LinkDown { link: link.number });
        if let Some(id) = gone.filter(|_| ctx.is(Mutant::ForgetsDisconnectedMembers)) {
            let Some(leading) = self.process.as_ref().and_then(|it| it.leading.as_ref()) else { return true };
            let mut set = leading.core.in_sync().committed().clone();
            set.remove(&id);
            let epoch = leading.core.in_sync().epoch() + 1;
            self.step_master(ctx, master::Input::Committed { set, epoch });
        }
        true
    }

    pub(super) fn on_slave_handshake(&mut self, ctx: &mut Ctx, conn: ConnId, it: SlaveHandshake) {
        let end = self.disk.end();
        let Some(leading) = self.process.as_mut().and_then(|it| it.leading.as_mut()) else { return };
        let Some(link) = leading.links.get(&conn).map(|it| it.number) else { return };
        let entries = leading.history.entries().to_vec();
        let handshake = MasterHandshake { max_offset: end, last_epoch: leading.history.last_epoch(), entries };
        self.step_master(ctx, master::Input::LinkUp { link, slave: it.slave, kind: it.kind });
        let whole = ctx.is(Mutant::TakesJavaSlavesForWhole) && it.kind == SlaveKind::Java;
        if whole || ctx.is(Mutant::CountsConnectionsAsCopies) {
            self.step_master(ctx, master::Input::Ack { link, offset: end, max_offset: end });
        }
        ctx.send(conn, self.node, Packet::MasterHandshake(Box::new(handshake)));
    }

    pub(super) fn on_ack(&mut self, ctx: &mut Ctx, conn: ConnId, offset: Offset) {
        let end = self.disk.end();
        let Some(leading) = self.process.as_mut().and_then(|it| it.leading.as_mut()) else { return };
        let Some(link) = leading.links.get_mut(&conn) else { return };
        let number = link.number;
        if link.next.is_none() {
            link.next = Some(offset);
        }
        let offset = if ctx.is(Mutant::CountsWhatWasSent) { link.next.unwrap_or(offset).max(offset) } else { offset };
        self.step_master(ctx, master::Input::Ack { link: number, offset, max_offset: end });
        self.pump(ctx);
    }

    /// Sends what the slaves lack, as far as their windows allow.
    pub(super) fn pump(&mut self, ctx: &mut Ctx) {
        let node = self.node;
        let Some(leading) = self.process.as_mut().and_then(|it| it.leading.as_mut()) else { return };
        let confirm = self.disk.confirm;
        for (conn, link) in &mut leading.links {
            let Some(mut next) = link.next else { continue };
            while (next as usize) < self.disk.log.len() && ctx.net.in_flight(*conn, node) < WINDOW {
                let (entry, end) = leading.history.covering(next);
                let limit = end.map_or(self.disk.log.len(), |end| (end as usize).min(self.disk.log.len()));
                let to = limit.min(next as usize + ctx.rng.between(1, BATCH as u64) as usize);
                let body = self.disk.log[next as usize..to].to_vec();
                let header = TransferHeader {
                    body_size: body.len(),
                    offset: next,
                    epoch: entry.epoch,
                    epoch_start: entry.start,
                    confirm_offset: confirm,
                };
                ctx.send(*conn, node, Packet::Transfer(header));
                // A packet's body arrives in pieces.
                let first = ctx.rng.below(body.len() as u64 + 1) as usize;
                let (head, tail) = body.split_at(first);
                for piece in [head, tail].into_iter().filter(|it| !it.is_empty()) {
                    ctx.send(*conn, node, Packet::Body(piece.to_vec()));
                }
                next = to as Offset;
                (link.told, link.sent_at) = (confirm, ctx.now);
            }
            link.next = Some(next);
            let idle = ctx.now - link.sent_at;
            if idle >= ctx.profile.ha_heartbeat_ms * 1_000 || (link.told != confirm && idle >= CONFIRM_DELAY_US) {
                let (entry, _) = leading.history.covering((next - 1).max(0));
                let header = TransferHeader {
                    body_size: 0,
                    offset: next,
                    epoch: entry.epoch,
                    epoch_start: entry.start,
                    confirm_offset: confirm,
                };
                ctx.send(*conn, node, Packet::Transfer(header));
                (link.told, link.sent_at) = (confirm, ctx.now);
            }
        }
    }

    // ---- planned change (S10)

    pub(super) fn on_order(&mut self, ctx: &mut Ctx, from: NodeId, id: u64, request: Request) {
        match request {
            Request::Hold(request) => {
                if self.begin_hold(ctx, &request, (from, id)).is_none() {
                    let reply = Reply::Held(Err("not now".to_owned()));
                    ctx.datagram(self.node, from, Packet::Reply { id, reply });
                }
                self.step_held(ctx);
            }
            Request::Release(epoch) => {
                let leads =
                    self.process.as_ref().and_then(|it| it.leading.as_ref()).is_some_and(|it| it.epoch == epoch);
                if leads {
                    self.release(ctx);
                }
            }
            _ => {}
        }
    }

    fn begin_hold(&mut self, ctx: &mut Ctx, request: &HoldWritesRequest, asker: (NodeId, u64)) -> Option<()> {
        let (now, end) = (self.now(ctx), self.disk.end());
        let it = self.process.as_mut()?;
        let leading = it.leading.as_mut().filter(|it| it.epoch == request.master_epoch && it.held.is_none())?;
        if !leading.core.in_sync().committed().contains(&request.target_broker_id) {
            return None;
        }
        it.gate = Gate::Held;
        it.writes = None;
        let drain = Drain::new(now, request, end);
        let until = drain.trust_lease_from();
        leading.held = Some(Held { drain, asker: Some(asker) });
        ctx.say(self.node, format_args!("holds appends for {}", request.target_broker_id));
        // Who needs no lease is never in doubt of one.
        if !ctx.is(Mutant::TrustsLeaseWhileDraining) && !ctx.is(Mutant::NeedsNoLease) {
            self.step_master(ctx, master::Input::DistrustLease { until });
        }
        Some(())
    }

    pub(super) fn step_held(&mut self, ctx: &mut Ctx) {
        let now = self.now(ctx);
        let Some(leading) = self.process.as_mut().and_then(|it| it.leading.as_mut()) else { return };
        let Some(held) = leading.held.as_mut() else { return };
        let target = leading.core.acks().find(|it| it.0 == held.drain.target).map(|it| it.2);
        let (target, confirmed) = match ctx.is(Mutant::DrainsWithoutWaiting) {
            true => (Some(Offset::MAX), Offset::MAX),
            false => (target, leading.core.confirm_offset()),
        };
        match held.drain.step(now, target, confirmed) {
            Progress::Waits => {}
            Progress::Drained(end) => {
                if let Some((to, id)) = held.asker.take() {
                    let epoch = leading.epoch;
                    let now = ctx.now;
                    ctx.truth(self.set).drained(epoch, now);
                    ctx.say(self.node, format_args!("is drained at {end}"));
                    ctx.reaches(Point::Drained, self.node);
                    ctx.datagram(self.node, to, Packet::Reply { id, reply: Reply::Held(Ok(end)) });
                }
            }
            Progress::Over(_) => self.release(ctx),
        }
    }

    fn release(&mut self, ctx: &mut Ctx) {
        let Some(it) = &mut self.process else { return };
        let Some(leading) = it.leading.as_mut() else { return };
        let Some(held) = leading.held.take() else { return };
        it.writes = Some(leading.epoch);
        ctx.say(self.node, format_args!("appends again: no planned change"));
        if let Some((to, id)) = held.asker {
            ctx.datagram(self.node, to, Packet::Reply { id, reply: Reply::Held(Err("over".to_owned())) });
        }
        self.open_gate();
    }
}
