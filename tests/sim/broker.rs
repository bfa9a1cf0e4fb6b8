//! A simulated broker: `ha/driver.rs` with another store, another network and another clock. It owns the real cores and
//! carries out what they say, in order; it decides nothing.

mod asks;
mod follow;
mod lead;
mod metadata;
mod readers;

use crate::ctx::{Ctx, NodeId, Point, Timer};
use crate::disk::{Identity, StoreDisk};
use crate::java::{self, Make};
use crate::mutants::Mutant;
use crate::net::{ConnId, Incoming, Port};
use crate::packet::{Cell, Packet, Sent, SetId};
use asks::Controllers;
use follow::Following;
use ha::Ack;
use ha::epochs::EpochHistory;
use ha::frontier::{Frontier, Standing};
use ha::master;
use ha::role::{self, Promise, Role, RoleConfig};
use lead::Leading;
use metadata::Metadata;
use proto::{BrokerId, Epoch, Millis, Offset};
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// Asynchronous flush.
const FLUSH_US: u64 = 500_000;

/// A replica: its disk, and its process if there is one.
pub struct Broker {
    /// Among the brokers of all sets.
    pub index: usize,
    pub set: SetId,
    pub node: NodeId,
    pub disk: StoreDisk,
    pub process: Option<Process>,
    pub make: Make,
    /// The process of one that is RocketMQ's.
    java: Option<java::Process>,
}

/// Of each process another one.
pub fn boot_id(broker: usize, life: u32) -> String {
    format!("{broker}-{life}")
}

enum Gate {
    Closed,
    Held,
    Open { in_sync: usize },
}

/// A send that waits to be acknowledged.
struct Waiting {
    client: NodeId,
    message: u32,
    end: Offset,
    answer: oneshot::Receiver<Ack>,
    until: Millis,
}

pub struct Process {
    boot_id: String,
    pub me: BrokerId,
    pub role: Role,
    inputs: VecDeque<role::Input>,
    pub leading: Option<Leading>,
    following: Option<Following>,
    controllers: Controllers,
    pub metadata: Metadata,
    frontier: Frontier,
    gate: Gate,
    writes: Option<Epoch>,
    waiting: Vec<Waiting>,
    /// Counts uninterrupted masterships of this process.
    term: u64,
    lease_until: Millis,
    mute_until: Millis,
    registered: bool,
    flushing: bool,
    next_link: u64,
}

impl Broker {
    pub fn new(index: usize, set: SetId, node: NodeId, make: Make) -> Broker {
        Broker { index, set, node, disk: StoreDisk::default(), process: None, make, java: None }
    }

    /// The process, if it is one of RocketMQ's, and what it has at hand.
    fn java<'a>(&'a mut self, ctx: &'a mut Ctx) -> Option<(&'a mut java::Process, java::Host<'a>)> {
        let host = java::Host { ctx, node: self.node, index: self.index, set: self.set, disk: &mut self.disk };
        Some((self.java.as_mut()?, host))
    }

    pub fn stop(&mut self) {
        (self.process, self.java) = (None, None);
    }

    /// The epoch that it is master of, as far as it knows.
    pub fn leads(&self) -> Option<Epoch> {
        if let Some(it) = &self.java {
            return it.leads();
        }
        self.process.as_ref()?.leading.as_ref().map(|it| it.epoch)
    }

    pub fn start(&mut self, ctx: &mut Ctx, life: u32) {
        let now = ctx.now;
        ctx.truth(self.set).process_is(self.index, Some(now));
        self.disk.recover();
        if self.make == Make::Java {
            let (node, index, set, disk) = (self.node, self.index, self.set, &mut self.disk);
            self.java = Some(java::Process::start(&mut java::Host { ctx, node, index, set, disk }));
            return;
        }
        let mut promise = Promise::found(self.disk.promise, self.disk.epochs.last_epoch());
        ctx.truth(self.set).process_started(self.index, life, promise.epoch);
        if !ctx.is(Mutant::KeepsEpochsBeyondTheEnd) && self.disk.epochs.trim_to(self.disk.end()) {
            self.disk.promise = Some(promise);
        }
        self.tell_history(ctx);
        if ctx.is(Mutant::ResumesMastership) && promise.epoch > 0 {
            promise = Promise { epoch: promise.epoch - 1, master: None };
        }
        let config = RoleConfig { poll_ms: ctx.profile.poll_ms, heartbeat_timeout_ms: ctx.profile.timeout_ms };
        let same_process = ctx.is(Mutant::ResumesMastership);
        self.process = Some(Process {
            boot_id: boot_id(self.index, if same_process { 0 } else { life }),
            me: 0,
            role: Role::new(config, promise),
            inputs: VecDeque::new(),
            leading: None,
            following: None,
            controllers: Controllers::new(ctx.profile.controllers),
            metadata: Metadata::load(&self.disk),
            frontier: Frontier::default(),
            gate: Gate::Closed,
            writes: None,
            waiting: Vec::new(),
            term: 0,
            lease_until: 0,
            mute_until: 0,
            registered: false,
            flushing: false,
            next_link: 1,
        });
        ctx.say(
            self.node,
            format_args!(
                "starts: log ends at {}, promised {:?}{}",
                self.disk.end(),
                promise,
                if self.disk.host_restarted { ", its host has restarted" } else { "" }
            ),
        );
        self.identify(ctx);
        let lag = ctx.rng.below(ctx.profile.tick_us);
        ctx.timer(self.node, lag, Timer::Tick);
        let lag = ctx.rng.below(ctx.profile.heartbeat_ms * 1_000);
        ctx.timer(self.node, lag, Timer::Beat);
        let lag = ctx.rng.below(FLUSH_US);
        ctx.timer(self.node, lag, Timer::Flush);
    }

    /// How far this replica's own copy counts (S11).
    fn own_end(&self, ctx: &Ctx) -> Offset {
        match ctx.profile.sync_flush && !ctx.is(Mutant::CountsUnflushed) {
            true => self.disk.flushed as Offset,
            false => self.disk.end(),
        }
    }

    fn fails(&self, ctx: &mut Ctx, rule: &'static str, what: std::fmt::Arguments<'_>) {
        let what = format!("{} {what}", ctx.names[self.node.0]);
        ctx.truth(self.set).fail(rule, what);
    }

    fn now(&self, ctx: &Ctx) -> Millis {
        ctx.local(self.node)
    }

    pub fn on_incoming(&mut self, ctx: &mut Ctx, conn: ConnId, incoming: Incoming) {
        if let Some((it, mut host)) = self.java(ctx) {
            return it.on_incoming(&mut host, conn, incoming);
        }
        match incoming {
            Incoming::Opened(Port::Ha) => self.on_slave_connected(ctx, conn),
            Incoming::Opened(Port::Main) => {}
            Incoming::Connected => self.on_connected(ctx, conn),
            Incoming::Failed | Incoming::Closed => self.on_closed(ctx, conn, matches!(incoming, Incoming::Failed)),
            Incoming::Data(packet) => self.on_data(ctx, conn, packet),
        }
        self.settle(ctx);
    }

    pub fn on_datagram(&mut self, ctx: &mut Ctx, from: NodeId, packet: Packet) {
        if let Some((it, mut host)) = self.java(ctx) {
            return it.on_datagram(&mut host, from, packet);
        }
        match packet {
            Packet::Notify(view) => {
                if ctx.is(Mutant::BelievesLateNotices) {
                    self.forget_promise(ctx, view.epoch);
                }
                self.input(role::Input::Notified(*view));
            }
            Packet::Send(message) => self.on_send(ctx, from, message),
            Packet::Pull { at } => self.on_pull(ctx, from, at),
            Packet::Commit { offset } => self.on_commit(offset),
            Packet::Query => self.on_query(ctx, from),
            Packet::Create { topic } => self.on_create(ctx, topic),
            Packet::Call { id, request, .. } => self.on_order(ctx, from, id, request),
            _ => {}
        }
        self.settle(ctx);
    }

    pub fn on_timer(&mut self, ctx: &mut Ctx, timer: Timer) {
        if let Some((it, mut host)) = self.java(ctx) {
            return it.on_timer(&mut host);
        }
        match timer {
            Timer::Tick => {
                self.on_tick(ctx);
                ctx.timer(self.node, ctx.profile.tick_us, Timer::Tick);
            }
            Timer::Beat => {
                self.beat(ctx);
                ctx.timer(self.node, ctx.profile.heartbeat_ms * 1_000, Timer::Beat);
            }
            Timer::Flush => {
                if !ctx.profile.sync_flush {
                    self.flushed(self.disk.log.len());
                }
                ctx.timer(self.node, FLUSH_US, Timer::Flush);
            }
            Timer::Flushed(end) => {
                self.flushed(end as usize);
                if let Some(it) = &mut self.process {
                    it.flushing = false;
                }
                self.flush_soon(ctx);
                self.report(ctx);
            }
            Timer::Call(id) => self.call_timed_out(ctx, id),
            Timer::Search(id) => self.search_timed_out(ctx, id),
            Timer::Identify => self.identify(ctx),
            Timer::Connect(number) => self.connect_timed_out(ctx, number),
            Timer::Follow(number) => self.follow_again(ctx, number),
            Timer::Handle(_) | Timer::Notify { .. } | Timer::Client | Timer::Greet | Timer::Join => {}
        }
        self.settle(ctx);
    }

    fn on_tick(&mut self, ctx: &mut Ctx) {
        self.step_master(ctx, master::Input::Tick);
        self.input(role::Input::Tick);
        self.tick_slave(ctx);
        self.tick_metadata(ctx);
        self.pump(ctx);
        let now = self.now(ctx);
        let Some(it) = &mut self.process else { return };
        let gone: Vec<Waiting> = it.waiting.extract_if(.., |it| now >= it.until).collect();
        it.frontier.sweep();
        for it in gone {
            ctx.datagram(self.node, it.client, Packet::Sent { message: it.message, result: Sent::Unknown });
        }
    }

    /// After every event, as the driver's loop does.
    fn settle(&mut self, ctx: &mut Ctx) {
        let end = self.own_end(ctx);
        self.step_master(ctx, master::Input::Appended(end));
        self.step_held(ctx);
        self.step_role(ctx);
        self.answer_sends(ctx);
    }

    fn input(&mut self, input: role::Input) {
        if let Some(it) = &mut self.process {
            it.inputs.push_back(input);
        }
    }

    fn step_role(&mut self, ctx: &mut Ctx) {
        while let Some(input) = self.process.as_mut().and_then(|it| it.inputs.pop_front()) {
            let now = self.now(ctx);
            let mut out = Vec::new();
            if let Some(it) = &mut self.process {
                it.role.step(now, input, &mut out);
            }
            for output in out {
                if ctx.burns() {
                    return;
                }
                self.perform_role(ctx, output);
            }
        }
    }

    fn perform_role(&mut self, ctx: &mut Ctx, output: role::Output) {
        match output {
            role::Output::Ask(ask) => self.ask(ctx, ask),
            role::Output::CloseWrites => self.close_writes(ctx),
            role::Output::PauseWrites => self.set_writes(None),
            role::Output::DropLinks => self.drop_links(ctx),
            role::Output::PersistPromise(promise) => {
                ctx.say(self.node, format_args!("promises epoch {} to {:?}", promise.epoch, promise.master));
                ctx.truth(self.set).promised(self.index, promise.epoch);
                ctx.reaches(Point::Promise, self.node);
                if !ctx.is(Mutant::ForgetsPromises) {
                    self.disk.promise = Some(promise);
                }
            }
            role::Output::StartEpoch(epoch) => self.start_epoch(ctx, epoch),
            role::Output::OpenWrites { epoch, sync_state_set, sync_state_set_epoch } => {
                self.lead(ctx, epoch, sync_state_set, sync_state_set_epoch);
            }
            role::Output::Follow { epoch, master } => self.follow(ctx, epoch, master),
            role::Output::Committed { sync_state_set, sync_state_set_epoch } => {
                self.step_master(ctx, master::Input::Committed { set: sync_state_set, epoch: sync_state_set_epoch });
            }
            role::Output::Publish(state) => {
                self.beat(ctx);
                self.take_role(ctx, state);
            }
            role::Output::Mute(period) => {
                let until = self.now(ctx) + period;
                if let Some(it) = &mut self.process {
                    it.mute_until = until;
                }
            }
            role::Output::Alarm(text) => {
                ctx.say(self.node, format_args!("alarm: {text}"));
                self.fails(ctx, "S1", format_args!("alarms: {text}"));
            }
        }
    }

    /// Planted: an older epoch is as good as a newer one.
    fn forget_promise(&mut self, ctx: &Ctx, epoch: Epoch) {
        let Some(it) = self.process.as_mut().filter(|it| epoch < it.role.promise().epoch && it.leading.is_none())
        else {
            return;
        };
        let config = RoleConfig { poll_ms: ctx.profile.poll_ms, heartbeat_timeout_ms: ctx.profile.timeout_ms };
        it.role = Role::new(config, Promise { epoch: epoch - 1, master: None });
        it.inputs.push_back(role::Input::Identified(it.me));
    }

    fn set_writes(&mut self, epoch: Option<Epoch>) {
        if let Some(it) = &mut self.process {
            it.writes = epoch;
        }
    }

    fn start_epoch(&mut self, ctx: &mut Ctx, epoch: Epoch) {
        let end = if ctx.is(Mutant::KeepsTornTail) { self.disk.log.len() } else { self.disk.whole_end() };
        self.disk.truncate(end);
        ctx.truth(self.set).promised(self.index, epoch);
        match self.disk.epochs.begin(epoch, end as Offset) {
            Ok(history) if ctx.is(Mutant::DropsEmptyEpochs) => self.disk.epochs = without_empty(&history),
            Ok(history) => self.disk.epochs = history,
            Err(e) => self.fails(ctx, "S1", format_args!("cannot begin epoch {epoch}: {e}")),
        }
        self.tell_history(ctx);
    }

    /// For the judge: what this replica would say at a handshake.
    fn tell_history(&self, ctx: &mut Ctx) {
        ctx.truth(self.set).says(self.index, self.disk.epochs.entries(), &self.disk.log);
    }

    fn close_writes(&mut self, ctx: &mut Ctx) {
        if ctx.is(Mutant::KeepsServingWhenDeposed) {
            return;
        }
        ctx.say(self.node, format_args!("is master no more"));
        let Some(it) = &mut self.process else { return };
        it.gate = Gate::Closed;
        it.writes = None;
        it.leading = None;
        it.frontier.depose();
    }

    fn drop_links(&mut self, ctx: &mut Ctx) {
        let Some(it) = &mut self.process else { return };
        if let Some(leading) = &mut it.leading {
            leading.close_all(ctx, self.node);
        }
        if ctx.is(Mutant::KeepsOldLink) {
            return;
        }
        if let Some(conn) = it.following.take().and_then(|it| it.conn) {
            ctx.close(conn, self.node);
        }
    }

    // ---- sends

    fn on_send(&mut self, ctx: &mut Ctx, client: NodeId, message: u32) {
        let now = self.now(ctx);
        let Some(it) = &mut self.process else { return };
        let min = lead::least(ctx);
        if ctx.is(Mutant::StopsWithoutControllers) && now >= it.lease_until {
            return ctx.datagram(self.node, client, Packet::Sent { message, result: Sent::Refused });
        }
        let admitted = matches!(it.gate, Gate::Open { in_sync } if in_sync >= min) && it.writes.is_some();
        if !admitted {
            return ctx.datagram(self.node, client, Packet::Sent { message, result: Sent::Refused });
        }
        let parts = ctx.rng.between(1, 4) as u8;
        let epoch = it.writes.unwrap_or_default() as u16;
        self.disk.log.extend((0..parts).map(|part| Cell { message, part, parts, epoch }));
        let end = self.disk.end();
        let result = match it.frontier.wait(it.term, end) {
            Standing::Known(Ack::Acknowledged) => Sent::Acknowledged,
            Standing::Known(_) => Sent::Unknown,
            Standing::Waits(answer) => {
                let until = now + ctx.profile.slave_timeout_ms;
                it.waiting.push(Waiting { client, message, end, answer, until });
                self.flush_soon(ctx);
                return self.pump(ctx);
            }
        };
        self.acknowledge(ctx, client, message, end, result);
    }

    /// Those who have waited learn of it.
    fn answer_sends(&mut self, ctx: &mut Ctx) {
        let Some(it) = &mut self.process else { return };
        let mut answered = Vec::new();
        it.waiting.retain_mut(|it| match it.answer.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => true,
            ack => {
                let result = if ack == Ok(Ack::Acknowledged) { Sent::Acknowledged } else { Sent::Unknown };
                answered.push((it.client, it.message, it.end, result));
                false
            }
        });
        for (client, message, end, result) in answered {
            self.acknowledge(ctx, client, message, end, result);
        }
    }

    fn acknowledge(&mut self, ctx: &mut Ctx, client: NodeId, message: u32, end: Offset, result: Sent) {
        if ctx.burns() {
            return;
        }
        if result == Sent::Acknowledged {
            let epoch = self.process.as_ref().and_then(|it| it.leading.as_ref()).map(|it| it.epoch);
            let now = ctx.now;
            ctx.truth(self.set).acknowledges(now, self.index, epoch, message, end);
        }
        ctx.datagram(self.node, client, Packet::Sent { message, result });
    }

    // ---- disk

    /// With synchronous flush every append is followed by a flush, one for many.
    fn flush_soon(&mut self, ctx: &mut Ctx) {
        let end = self.disk.end();
        let Some(it) = &mut self.process else { return };
        if ctx.profile.sync_flush && !it.flushing && (self.disk.flushed as Offset) < end {
            it.flushing = true;
            let took = ctx.rng.between(200, ctx.profile.fsync_us);
            ctx.timer(self.node, took, Timer::Flushed(end));
        }
    }

    fn flushed(&mut self, end: usize) {
        self.disk.flushed = self.disk.flushed.max(end.min(self.disk.log.len()));
        self.disk.confirm_flushed = self.disk.confirm;
    }

    fn set_confirm(&mut self, ctx: &mut Ctx, offset: Offset) {
        self.disk.confirm = offset.min(self.disk.end());
        let (master, confirm) = (self.leads(), self.disk.confirm);
        ctx.truth(self.set).confirms(self.index, master, confirm);
    }
}

/// Planted: as RocketMQ keeps it, an epoch that begins where the one before did is not entered. The last one has to be,
/// or no slave would take a byte.
fn without_empty(history: &EpochHistory) -> EpochHistory {
    let all = history.entries();
    let kept =
        all.iter().enumerate().filter(|(at, it)| *at == 0 || *at + 1 == all.len() || all[at - 1].start != it.start);
    EpochHistory::from_entries(kept.map(|it| *it.1)).expect("a part of a history")
}

impl Broker {
    /// As master it waits for no answer about its set.
    pub fn is_settled(&self) -> bool {
        let leading = self.process.as_ref().and_then(|it| it.leading.as_ref());
        leading.is_none_or(|it| it.core.in_sync().is_settled())
    }

    /// Which process of it runs.
    pub fn boot_id(&self) -> Option<&str> {
        self.process.as_ref().map(|it| &*it.boot_id)
    }

    pub fn identity(&self) -> Option<BrokerId> {
        match self.disk.identity {
            Identity::Known(id) => Some(id),
            _ => None,
        }
    }
}
