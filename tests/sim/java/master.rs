//! A Java master (`AutoSwitchHAService`, `ReplicasManager`, `GroupTransferService`): it judges for itself who is caught
//! up and reports whom it wants in its set, waits for all of both sets while an answer is out, and learns that its time
//! is over by a push or a poll only.

use super::Host;
use crate::ctx::{NodeId, Point};
use crate::net::ConnId;
use crate::packet::{Cell, Packet, Request, Sent};
use ha::role::View;
use proto::ha::{EpochEntry, MasterHandshake, SlaveHandshake, SlaveKind, TransferHeader};
use proto::{BrokerId, Epoch, Millis, Offset};
use std::collections::{BTreeMap, BTreeSet};

const WINDOW: usize = 12;
const BATCH: usize = 8;
/// `checkSyncStateSetPeriod`, and how soon after a promotion.
const CHECK_MS: Millis = 5_000;
const FIRST_CHECK_MS: Millis = 3_000;
/// `haMaxTimeSlaveNotCatchup`.
const NOT_CATCHUP_MS: Millis = 15_000;
/// Of one answer to a consumer.
const MOST: usize = 64;

/// A slave's connection. What it has acknowledged is nothing (−1) until it says so.
struct Slave {
    id: BrokerId,
    kind: SlaveKind,
    next: Option<Offset>,
    ack: Offset,
    /// The log's end when something was sent last, and when that was.
    last_max: Offset,
    last_sent: Millis,
    read_at: Millis,
    written_at: Millis,
}

struct Waiting {
    client: NodeId,
    message: u32,
    end: Offset,
    until: Millis,
}

pub struct Leading {
    me: BrokerId,
    pub epoch: Epoch,
    slaves: BTreeMap<ConnId, Slave>,
    set: BTreeSet<BrokerId>,
    set_epoch: i32,
    /// A proposal of which no success is known: it counts until the set is another one.
    proposed: Option<BTreeSet<BrokerId>>,
    /// To be asked for when the request before is over.
    wanted: Option<BTreeSet<BrokerId>>,
    caught_up: BTreeMap<BrokerId, Millis>,
    check_at: Millis,
    /// Consume queues have to catch up first.
    open_at: Millis,
    waiting: Vec<Waiting>,
    committed: Option<Offset>,
}

impl Leading {
    pub fn new(host: &mut Host<'_>, me: BrokerId, view: View) -> Leading {
        let now = host.now();
        Leading {
            me,
            epoch: view.epoch,
            slaves: BTreeMap::new(),
            set: view.sync_state_set,
            set_epoch: view.sync_state_set_epoch,
            proposed: None,
            wanted: None,
            caught_up: BTreeMap::new(),
            check_at: now + FIRST_CHECK_MS,
            open_at: now + host.ctx.rng.below(300),
            waiting: Vec::new(),
            committed: None,
        }
    }

    /// A newer version only.
    pub fn adopt(&mut self, host: &mut Host<'_>, set: BTreeSet<BrokerId>, set_epoch: i32) {
        if set_epoch > self.set_epoch {
            host.say(format_args!("set is {set:?}, version {set_epoch}, Java"));
            (self.set, self.set_epoch, self.proposed, self.wanted) = (set, set_epoch, None, None);
            self.compute_confirm(host);
        }
    }

    /// Whoever waits is told that all is well: nobody is connected who could lack anything.
    pub fn end(&mut self, host: &mut Host<'_>) {
        std::mem::take(&mut self.slaves).into_keys().for_each(|conn| host.close(conn));
        for it in std::mem::take(&mut self.waiting) {
            host.answer(it.client, it.message, Sent::Acknowledged);
        }
    }

    pub fn opened(&mut self, host: &Host<'_>, conn: ConnId) {
        let (now, kind) = (host.now(), SlaveKind::Java);
        let it = Slave { id: 0, kind, next: None, ack: -1, last_max: -1, last_sent: 0, read_at: now, written_at: now };
        self.slaves.insert(conn, it);
    }

    /// By replica, not by connection: the late end of an old one takes out who is back already.
    pub fn closed(&mut self, conn: ConnId) {
        let Some(it) = self.slaves.remove(&conn) else { return };
        if self.set.contains(&it.id) {
            let left = self.set.iter().copied().filter(|id| *id != it.id).collect();
            self.propose(left);
        }
    }

    pub fn tick(&mut self, host: &mut Host<'_>) {
        let now = host.now();
        let silence = host.ctx.profile.ha_silence_ms;
        let silent = self.slaves.iter().filter(|it| now >= it.1.read_at + silence).map(|it| *it.0);
        for conn in silent.collect::<Vec<_>>() {
            host.close(conn);
            self.closed(conn);
        }
        if now >= self.check_at {
            self.check_at = now + CHECK_MS;
            self.maybe_shrink(now);
        }
        for it in self.waiting.extract_if(.., |it| now >= it.until) {
            host.answer(it.client, it.message, Sent::Unknown);
        }
        self.pump(host);
    }

    // ---- the set

    fn maybe_shrink(&mut self, now: Millis) {
        let fresh = |id: &BrokerId| self.caught_up.get(id).is_some_and(|at| now <= at + NOT_CATCHUP_MS);
        let left: BTreeSet<BrokerId> = self.set.iter().copied().filter(|id| *id == self.me || fresh(id)).collect();
        if left != self.set {
            self.propose(left);
        }
    }

    fn propose(&mut self, set: BTreeSet<BrokerId>) {
        self.proposed = Some(set.clone());
        self.wanted = Some(set);
    }

    /// The next proposal: one thread asks for one after the other.
    pub fn proposal(&mut self, host: &mut Host<'_>) -> Option<Request> {
        let set = self.wanted.take()?;
        let (epoch, set_epoch) = (self.epoch, self.set_epoch);
        host.say(format_args!("proposes set {set:?} over version {set_epoch}, Java"));
        host.ctx.reaches(Point::Proposal, host.node);
        if !set.is_subset(&self.set) {
            host.ctx.reaches(Point::Joining, host.node);
        }
        host.ctx.truth(host.set).proposes(epoch, set_epoch, &set);
        Some(Request::Alter { master: self.me, epoch, set, set_epoch, fence: false })
    }

    /// Whoever counts: both sets while an answer is out.
    fn union(&self) -> BTreeSet<BrokerId> {
        self.set.union(self.proposed.as_ref().unwrap_or(&self.set)).copied().collect()
    }

    // ---- slaves

    pub fn on_handshake(&mut self, host: &mut Host<'_>, conn: ConnId, it: &SlaveHandshake) {
        let Some(slave) = self.slaves.get_mut(&conn) else { return };
        (slave.id, slave.kind, slave.read_at) = (it.slave, it.kind, host.now());
        let history = &host.disk.epochs;
        let (entries, last_epoch) = (history.entries().to_vec(), history.last_epoch());
        let handshake = MasterHandshake { max_offset: host.disk.end(), last_epoch, entries };
        host.send(conn, Packet::MasterHandshake(Box::new(handshake)));
    }

    pub fn on_ack(&mut self, host: &mut Host<'_>, conn: ConnId, offset: Offset) {
        let (now, end) = (host.now(), host.disk.end());
        let epoch_start = host.disk.epochs.last().map_or(0, |it| it.start);
        let confirm = self.visible(host);
        let Some(slave) = self.slaves.get_mut(&conn) else { return };
        (slave.read_at, slave.ack) = (now, offset);
        slave.next = slave.next.or(Some(offset));
        let id = slave.id;
        if offset >= slave.last_max && slave.kind != SlaveKind::Learner {
            self.caught_up.insert(id, if offset == end { now } else { slave.last_sent });
            // Kinder than RocketMQ, which never asks again for whom it has asked without success.
            let joins = offset >= confirm && offset >= epoch_start && !self.set.contains(&id);
            if joins && self.wanted.is_none() {
                self.propose(self.set.iter().copied().chain([id]).collect());
            }
        }
        if self.set.contains(&id) {
            self.compute_confirm(host);
        }
        self.answer_sends(host);
        self.pump(host);
    }

    /// Frozen while a member has no connection; one that has said nothing yet does not count.
    pub fn compute_confirm(&self, host: &mut Host<'_>) {
        let acks = |id: &BrokerId| self.slaves.values().filter(|it| it.id == *id).map(|it| it.ack).max();
        let others = self.union().into_iter().filter(|id| *id != self.me);
        if let Some(acks) = others.map(|id| acks(&id)).collect::<Option<Vec<Offset>>>() {
            let end = host.disk.end();
            host.disk.confirm = acks.into_iter().filter(|it| *it > 0).min().unwrap_or(end).min(end);
        }
    }

    /// What readers and slaves are told: a set of one confirms what it writes.
    fn visible(&self, host: &mut Host<'_>) -> Offset {
        if self.set.len() == 1 {
            host.disk.confirm = host.disk.end();
        }
        host.disk.confirm
    }

    /// Sends what the slaves lack. The last bytes of an epoch go out under the name of the next.
    pub fn pump(&mut self, host: &mut Host<'_>) {
        let (now, node, end, confirm) = (host.now(), host.node, host.disk.end(), self.visible(host));
        for (conn, slave) in &mut self.slaves {
            let Some(mut next) = slave.next else { continue };
            while next < end && host.ctx.net.in_flight(*conn, node) < WINDOW {
                let (entry, until) = host.disk.epochs.covering(next);
                let wanted = next + host.ctx.rng.between(1, BATCH as u64) as Offset;
                let to = wanted.min(until.unwrap_or(end)).min(end);
                let label = match until {
                    Some(until) if wanted > until => host.disk.epochs.covering(until).0,
                    _ => entry,
                };
                let body = host.disk.log[next as usize..to as usize].to_vec();
                host.send(*conn, Packet::Transfer(header(&label, next, body.len(), confirm)));
                host.send(*conn, Packet::Body(body));
                next = to;
                (slave.last_max, slave.last_sent, slave.written_at) = (end, now, now);
            }
            slave.next = Some(next);
            if next >= end {
                self.caught_up.insert(slave.id, now);
            }
            if now >= slave.written_at + host.ctx.profile.ha_heartbeat_ms {
                let (entry, _) = host.disk.epochs.covering(next);
                host.send(*conn, Packet::Transfer(header(&entry, next, 0, confirm)));
                slave.written_at = now;
            }
        }
    }

    // ---- clients

    pub fn on_send(&mut self, host: &mut Host<'_>, client: NodeId, message: u32) {
        let now = host.now();
        let counted = self.set.len().max(self.proposed.as_ref().map_or(0, BTreeSet::len));
        if now < self.open_at || counted < host.ctx.profile.min_in_sync {
            return host.answer(client, message, Sent::Refused);
        }
        let (parts, epoch) = (host.ctx.rng.between(1, 4) as u8, self.epoch as u16);
        host.disk.log.extend((0..parts).map(|part| Cell { message, part, parts, epoch }));
        let until = now + host.ctx.profile.slave_timeout_ms;
        self.waiting.push(Waiting { client, message, end: host.disk.end(), until });
        self.answer_sends(host);
        self.pump(host);
    }

    /// `allAckInSyncStateSet`: as many connections of members have it as there are members.
    fn answer_sends(&mut self, host: &mut Host<'_>) {
        let members = self.union();
        let slaves = &self.slaves;
        let has = |end| slaves.values().filter(|it| members.contains(&it.id) && it.ack >= end).count();
        for it in self.waiting.extract_if(.., |it| members.len() <= 1 || has(it.end) + 1 >= members.len()) {
            host.answer(it.client, it.message, Sent::Acknowledged);
        }
    }

    pub fn on_pull(&self, host: &mut Host<'_>, from: NodeId, at: Offset) {
        let confirm = self.visible(host);
        let end = host.disk.whole_end_below(confirm);
        let to = host.disk.whole_end_below((at + MOST as Offset).min(end as Offset)).max(at as usize);
        let moved = at as usize > end;
        let cells = if moved { Vec::new() } else { host.disk.log[at as usize..to].to_vec() };
        let next = if moved { end } else { to } as Offset;
        host.ctx.datagram(host.node, from, Packet::Pulled { at, cells, next, moved, master: true });
    }

    pub fn on_commit(&mut self, offset: Offset) {
        self.committed = Some(offset);
    }

    pub fn on_query(&self, host: &mut Host<'_>, from: NodeId) {
        host.ctx.datagram(host.node, from, Packet::Committed { offset: self.committed, master: true });
    }
}

fn header(of: &EpochEntry, offset: Offset, body_size: usize, confirm_offset: Offset) -> TransferHeader {
    TransferHeader { body_size, offset, epoch: of.epoch, epoch_start: of.start, confirm_offset }
}
