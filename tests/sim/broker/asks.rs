//! The broker's link to the controllers: `ha/controllers.rs` and the heartbeat tasks.

use super::Broker;
use crate::ctx::{Ctx, Point, Timer};
use crate::disk::Identity;
use crate::mutants::Mutant;
use crate::net::{ConnId, Port};
use crate::packet::{Packet, Reply, Request};
use controller::liveness::{Heartbeat, RaftLease};
use ha::in_sync::Outcome;
use ha::master;
use ha::role::{self, Answer, Ask};
use proto::{BrokerId, Epoch, Millis};
use std::collections::{BTreeMap, BTreeSet};

const CALL_US: u64 = 3_000_000;
const ALTER_US: u64 = 1_500_000;
const FIND_US: u64 = 500_000;
const IDENTIFY_AGAIN_US: u64 = 100_000;

/// What a call is for, and what becomes of its answer.
#[derive(Clone, Debug)]
enum Purpose {
    NextId,
    ApplyId,
    Register,
    /// A heartbeat that goes before the request, so that the leader knows us to be alive.
    BeforeElect,
    Elect,
    Poll,
    Alter {
        epoch: Epoch,
    },
    Beat {
        sent: Millis,
    },
    Find {
        search: u64,
    },
}

/// A request that goes to whoever leads.
#[derive(Clone, Debug)]
struct Errand {
    purpose: Purpose,
    request: Request,
    timeout_us: u64,
    /// Tried once already.
    again: bool,
}

struct Call {
    controller: usize,
    errand: Errand,
    /// Handed to the network: it may arrive whatever happens to the connection.
    sent: bool,
}

struct Search {
    id: u64,
    waits: usize,
    hint: Option<usize>,
    errands: Vec<Errand>,
}

#[derive(Clone, Copy, Default)]
struct Door {
    conn: Option<ConnId>,
    connected: bool,
}

pub struct Controllers {
    leader: Option<usize>,
    doors: Vec<Door>,
    calls: BTreeMap<u64, Call>,
    next: u64,
    search: Option<Search>,
}

impl Controllers {
    pub fn new(count: usize) -> Controllers {
        let doors = vec![Door::default(); count];
        Controllers { leader: None, doors, calls: BTreeMap::new(), next: 1, search: None }
    }
}

impl Broker {
    // ---- what is asked

    pub(super) fn identify(&mut self, ctx: &mut Ctx) {
        match self.disk.identity.clone() {
            Identity::Known(id) => {
                if let Some(it) = &mut self.process {
                    it.me = id;
                }
                self.input(role::Input::Identified(id));
            }
            Identity::Unknown => self.errand(ctx, Purpose::NextId, Request::NextId, CALL_US),
            Identity::Applying(id, check_code) => {
                self.errand(ctx, Purpose::ApplyId, Request::ApplyId { id, check_code }, CALL_US)
            }
        }
    }

    pub(super) fn ask(&mut self, ctx: &mut Ctx, ask: Ask) {
        let Some(it) = &self.process else { return };
        let (id, boot_id) = (it.me, it.boot_id.clone());
        match ask {
            Ask::Register => {
                let lost = self.disk.host_restarted && !ctx.profile.sync_flush;
                let unclean = lost && !ctx.is(Mutant::HidesHostRestart);
                let address = ctx.names[self.node.0].clone();
                let request = Request::Register { id, address, boot_id: Some(boot_id), unclean };
                self.errand(ctx, Purpose::Register, request, CALL_US);
            }
            Ask::Elect => {
                let pulse = self.pulse(ctx);
                self.errand(ctx, Purpose::BeforeElect, Request::Heartbeat(Box::new(pulse)), CALL_US);
            }
            Ask::Poll => self.errand(ctx, Purpose::Poll, Request::Poll, CALL_US),
        }
    }

    pub(super) fn alter(&mut self, ctx: &mut Ctx, epoch: Epoch, set: BTreeSet<BrokerId>, set_epoch: i32, fence: bool) {
        let Some(it) = &self.process else { return };
        let request = Request::Alter { master: it.me, epoch, set, set_epoch, fence };
        let errand = Errand { purpose: Purpose::Alter { epoch }, request, timeout_us: ALTER_US, again: true };
        self.ask_leader(ctx, errand);
    }

    pub(super) fn beat(&mut self, ctx: &mut Ctx) {
        let now = self.now(ctx);
        if !self.process.as_ref().is_some_and(|it| it.registered && now >= it.mute_until) {
            return;
        }
        if self.process.as_ref().is_some_and(|it| it.leading.is_some()) {
            ctx.reaches(Point::Heartbeat, self.node);
        }
        let pulse = self.pulse(ctx);
        for controller in 0..ctx.profile.controllers {
            let (purpose, request) = (Purpose::Beat { sent: now }, Request::Heartbeat(Box::new(pulse.clone())));
            let timeout_us = ctx.profile.timeout_ms * 1_000;
            self.call(ctx, controller, Errand { purpose, request, timeout_us, again: true });
        }
    }

    fn pulse(&self, ctx: &Ctx) -> Heartbeat {
        let it = self.process.as_ref();
        Heartbeat {
            broker_set: self.set.name().to_owned(),
            id: it.map_or(0, |it| it.me),
            connection: 0,
            address: ctx.names[self.node.0].clone(),
            timeout: ctx.profile.timeout_ms,
            epoch: self.disk.epochs.last_epoch(),
            max_offset: self.disk.end(),
            confirm_offset: self.disk.confirm,
            priority: 0,
            boot_id: it.map(|it| it.boot_id.clone()),
            min_in_sync: Some(ctx.profile.min_in_sync as i32),
            disk_probe_age: Some(0),
            zone: None,
            raft_lease: RaftLease::NotHeld,
        }
    }

    // ---- finding the leader

    fn errand(&mut self, ctx: &mut Ctx, purpose: Purpose, request: Request, timeout_us: u64) {
        self.ask_leader(ctx, Errand { purpose, request, timeout_us, again: false });
    }

    fn ask_leader(&mut self, ctx: &mut Ctx, errand: Errand) {
        let Some(it) = &mut self.process else { return };
        if let Some(leader) = it.controllers.leader {
            return self.call(ctx, leader, errand);
        }
        if let Some(search) = &mut it.controllers.search {
            return search.errands.push(errand);
        }
        let id = it.controllers.next;
        it.controllers.next += 1;
        let count = ctx.profile.controllers;
        it.controllers.search = Some(Search { id, waits: count, hint: None, errands: vec![errand] });
        for controller in 0..count {
            let (purpose, request) = (Purpose::Find { search: id }, Request::Metadata);
            self.call(ctx, controller, Errand { purpose, request, timeout_us: FIND_US, again: true });
        }
        ctx.timer(self.node, FIND_US + 1_000, Timer::Search(id));
    }

    fn found(&mut self, ctx: &mut Ctx, search: u64, answer: Option<(bool, Option<usize>)>, from: usize) {
        let Some(it) = &mut self.process else { return };
        let Some(running) = it.controllers.search.as_mut().filter(|it| it.id == search) else { return };
        running.waits -= 1;
        let (leading, leader) = answer.unwrap_or_default();
        running.hint = leader.or(running.hint);
        if leading {
            self.end_search(ctx, Some(from));
        } else if running.waits == 0 {
            let hint = running.hint;
            self.end_search(ctx, hint);
        }
    }

    pub(super) fn search_timed_out(&mut self, ctx: &mut Ctx, id: u64) {
        let search = self.process.as_ref().and_then(|it| it.controllers.search.as_ref());
        if let Some(hint) = search.filter(|it| it.id == id).map(|it| it.hint) {
            self.end_search(ctx, hint);
        }
    }

    fn end_search(&mut self, ctx: &mut Ctx, leader: Option<usize>) {
        let Some(search) = self.process.as_mut().and_then(|it| it.controllers.search.take()) else { return };
        for errand in search.errands {
            match leader {
                Some(leader) => {
                    if let Some(it) = &mut self.process {
                        it.controllers.leader = Some(leader);
                    }
                    self.call(ctx, leader, errand);
                }
                None => self.failed(ctx, errand, false),
            }
        }
    }

    // ---- calls

    fn call(&mut self, ctx: &mut Ctx, controller: usize, errand: Errand) {
        let node = self.node;
        let Some(it) = &mut self.process else { return };
        let id = it.controllers.next;
        it.controllers.next += 1;
        let door = &mut it.controllers.doors[controller];
        let to = ctx.controller(controller);
        let conn = *door.conn.get_or_insert_with(|| ctx.connect(node, to, Port::Main));
        let sent = door.connected;
        ctx.timer(node, errand.timeout_us, Timer::Call(id));
        if sent {
            ctx.send(conn, node, Packet::Call { id, set: self.set, request: errand.request.clone() });
        }
        it.controllers.calls.insert(id, Call { controller, errand, sent });
    }

    pub(super) fn on_connected(&mut self, ctx: &mut Ctx, conn: ConnId) {
        if self.master_link_opened(ctx, conn) || self.metadata_link_opened(ctx, conn) {
            return;
        }
        let Some(it) = &mut self.process else { return };
        let Some(controller) = it.controllers.doors.iter().position(|it| it.conn == Some(conn)) else { return };
        it.controllers.doors[controller].connected = true;
        for (id, call) in it.controllers.calls.iter_mut().filter(|it| it.1.controller == controller && !it.1.sent) {
            call.sent = true;
            ctx.send(conn, self.node, Packet::Call { id: *id, set: self.set, request: call.errand.request.clone() });
        }
    }

    pub(super) fn on_closed(&mut self, ctx: &mut Ctx, conn: ConnId, failed: bool) {
        let known = self.master_link_closed(ctx, conn) || self.link_down(ctx, conn);
        if known || self.metadata_link_closed(ctx, conn) {
            return;
        }
        let Some(it) = &mut self.process else { return };
        let Some(controller) = it.controllers.doors.iter().position(|it| it.conn == Some(conn)) else { return };
        it.controllers.doors[controller] = Door::default();
        let lost: Vec<u64> =
            it.controllers.calls.iter().filter(|it| it.1.controller == controller).map(|it| *it.0).collect();
        for id in lost {
            if let Some(call) = self.process.as_mut().and_then(|it| it.controllers.calls.remove(&id)) {
                self.unanswered(ctx, call, failed);
            }
        }
    }

    pub(super) fn call_timed_out(&mut self, ctx: &mut Ctx, id: u64) {
        let node = self.node;
        let Some(it) = &mut self.process else { return };
        let Some(call) = it.controllers.calls.remove(&id) else { return };
        let door = &mut it.controllers.doors[call.controller];
        if !door.connected && !call.sent {
            // Connecting takes too long: the next call tries anew.
            if let Some(conn) = std::mem::take(door).conn {
                ctx.close(conn, node);
            }
        }
        self.unanswered(ctx, call, false);
    }

    fn unanswered(&mut self, ctx: &mut Ctx, call: Call, refused: bool) {
        if let Purpose::Find { search } = call.errand.purpose {
            return self.found(ctx, search, None, call.controller);
        }
        self.forget(call.controller);
        let reached = call.sent && !refused;
        self.try_again(ctx, call.errand, reached);
    }

    fn forget(&mut self, controller: usize) {
        if let Some(it) = &mut self.process {
            it.controllers.leader.take_if(|it| *it == controller);
        }
    }

    fn try_again(&mut self, ctx: &mut Ctx, errand: Errand, reached: bool) {
        match errand.again {
            false => self.ask_leader(ctx, Errand { again: true, ..errand }),
            true => self.failed(ctx, errand, reached),
        }
    }

    /// No answer. `reached`: it may have been carried out.
    fn failed(&mut self, ctx: &mut Ctx, errand: Errand, reached: bool) {
        let answered = |ask| role::Input::Answered(ask, Answer::Failed);
        match errand.purpose {
            Purpose::NextId | Purpose::ApplyId => ctx.timer(self.node, IDENTIFY_AGAIN_US, Timer::Identify),
            Purpose::Register => self.input(answered(Ask::Register)),
            Purpose::BeforeElect | Purpose::Elect => self.input(answered(Ask::Elect)),
            Purpose::Poll => self.input(answered(Ask::Poll)),
            Purpose::Alter { epoch } => {
                let outcome = if reached { Outcome::Unknown } else { Outcome::Refused };
                self.proposed(ctx, epoch, outcome);
            }
            Purpose::Beat { .. } | Purpose::Find { .. } => {}
        }
    }

    pub(super) fn on_data(&mut self, ctx: &mut Ctx, conn: ConnId, packet: Packet) {
        match packet {
            Packet::Reply { id, reply } => {
                if let Some(call) = self.process.as_mut().and_then(|it| it.controllers.calls.remove(&id)) {
                    self.on_reply(ctx, call, reply);
                }
            }
            Packet::Sync(it) => self.on_sync(ctx, conn, it),
            Packet::SlaveHandshake(it) => self.on_slave_handshake(ctx, conn, *it),
            Packet::Ack(offset) => self.on_ack(ctx, conn, offset),
            other => self.on_master_packet(ctx, conn, other),
        }
    }

    fn on_reply(&mut self, ctx: &mut Ctx, call: Call, reply: Reply) {
        let from = call.controller;
        match (call.errand.purpose.clone(), reply) {
            (Purpose::Find { search }, Reply::Metadata { leading, leader }) => {
                self.found(ctx, search, Some((leading, leader)), from);
            }
            (Purpose::Beat { sent }, reply) => self.on_heartbeat(ctx, from, sent, &reply),
            (Purpose::Alter { epoch }, reply) => {
                let outcome = match reply {
                    Reply::Altered { set, epoch } => Outcome::Accepted { set, epoch },
                    Reply::Refused => Outcome::Refused,
                    _ => Outcome::Unknown,
                };
                self.proposed(ctx, epoch, outcome);
            }
            (_, Reply::NotLeader) => {
                self.forget(from);
                self.try_again(ctx, call.errand, false);
            }
            (Purpose::NextId, Reply::Id(id)) => {
                let check_code = format!("{};{}", ctx.names[self.node.0], ctx.wall(self.node));
                self.disk.identity = Identity::Applying(id, check_code);
                self.identify(ctx);
            }
            (Purpose::ApplyId, Reply::Done) => {
                if let Identity::Applying(id, _) = self.disk.identity {
                    self.disk.identity = Identity::Known(id);
                    ctx.say(self.node, format_args!("is replica {id}"));
                }
                self.identify(ctx);
            }
            (Purpose::ApplyId, Reply::Refused) => {
                self.disk.identity = Identity::Unknown;
                ctx.timer(self.node, IDENTIFY_AGAIN_US, Timer::Identify);
            }
            (Purpose::Register, reply) => self.on_registered(ctx, reply),
            (Purpose::BeforeElect, _) => {
                let id = self.process.as_ref().map_or(0, |it| it.me);
                self.ask_leader(
                    ctx,
                    Errand {
                        purpose: Purpose::Elect,
                        request: Request::Elect { id },
                        timeout_us: CALL_US,
                        again: false,
                    },
                );
            }
            (Purpose::Elect, reply) => self.input(role::Input::Answered(Ask::Elect, answer(reply))),
            (Purpose::Poll, reply) => self.input(role::Input::Answered(Ask::Poll, answer(reply))),
            (Purpose::NextId | Purpose::ApplyId | Purpose::Find { .. }, _) => {
                self.failed(ctx, call.errand, true);
            }
        }
    }

    fn on_registered(&mut self, ctx: &mut Ctx, reply: Reply) {
        let answer = answer(reply);
        if matches!(answer, Answer::View(_)) {
            self.disk.host_restarted = false;
            if let Some(it) = &mut self.process {
                it.registered = true;
            }
            self.beat(ctx);
        }
        let resumes = ctx.is(Mutant::ResumesMastership) && matches!(answer, Answer::View(_));
        let ask = if resumes { Ask::Poll } else { Ask::Register };
        self.input(role::Input::Answered(ask, answer));
    }

    fn on_heartbeat(&mut self, ctx: &mut Ctx, controller: usize, sent: Millis, reply: &Reply) {
        let Reply::Heartbeat { lease, registered, epoch, set_epoch } = *reply else { return };
        let now = self.now(ctx);
        let Some(it) = &mut self.process else { return };
        if let Some(lease) = lease {
            it.controllers.leader = Some(controller);
            // S5: from when it was sent, not from when the answer came.
            let from = if ctx.is(Mutant::CountsLeaseFromItsAnswer) { now } else { sent };
            let until = from + lease;
            it.lease_until = it.lease_until.max(until);
            if until > now {
                let ends = ctx.now + ctx.true_us(self.node, until - now);
                ctx.truth(self.set).trusts_lease(self.index, it.me, controller, ends);
            }
            let until = it.lease_until;
            self.step_master(ctx, master::Input::Lease { until });
        }
        if !registered {
            self.input(role::Input::Unregistered);
        }
        if let (Some(master_epoch), Some(sync_state_set_epoch)) = (epoch, set_epoch) {
            self.input(role::Input::Hint { master_epoch, sync_state_set_epoch });
        }
    }
}

fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::View(view) => Answer::View(*view),
        Reply::Unregistered => Answer::Unregistered,
        _ => Answer::Failed,
    }
}
