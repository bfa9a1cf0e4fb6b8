//! The slave's side of replication: `ha/slave_io.rs`.

use super::Broker;
use crate::ctx::{Ctx, Point, Timer};
use crate::mutants::Mutant;
use crate::net::{ConnId, Port};
use crate::packet::{Cell, Packet};
use ha::Master;
use ha::epochs::EpochHistory;
use ha::role::{self, Promise};
use ha::slave::{Input, LogFacts, Output, Peer, Slave, SlaveConfig};
use proto::Epoch;
use proto::ha::{EpochEntry, MasterPacket, TransferHeader};

const FIRST_RETRY_US: u64 = 10_000;
const LAST_RETRY_US: u64 = 500_000;
const CONNECT_US: u64 = 1_000_000;

pub struct Following {
    core: Slave,
    epoch: Epoch,
    master: Master,
    pub conn: Option<ConnId>,
    connected: bool,
    pause_us: u64,
    /// Which attempt to connect the timers are about.
    attempt: u64,
}

/// Only ours have an address for replication of their own.
fn is_java(master: &Master) -> bool {
    master.ha_address.is_none()
}

impl Broker {
    pub(super) fn follow(&mut self, ctx: &mut Ctx, epoch: Epoch, master: Master) {
        let Some(it) = &mut self.process else { return };
        ctx.say(self.node, format_args!("is a slave of {} at epoch {epoch}", master.address));
        if is_java(&master) && ctx.is(Mutant::PromisesNothingToJava) {
            self.disk.promise = None;
        }
        let on_disk = Promise::found(self.disk.promise, self.disk.epochs.last_epoch()).epoch;
        ctx.truth(self.set).acts_upon(self.index, epoch, on_disk);
        if ctx.is(Mutant::KeepsOldLink) && it.following.as_ref().is_some_and(|it| it.connected) {
            return;
        }
        let config = SlaveConfig {
            me: it.me,
            promised: epoch,
            peer: if is_java(&master) && !ctx.is(Mutant::TakesJavaForBaton) { Peer::Java } else { Peer::Baton },
            sync_from_last_file: false,
            async_learner: false,
            heartbeat_ms: ctx.profile.ha_heartbeat_ms,
            housekeeping_ms: ctx.profile.ha_silence_ms,
        };
        let core = Slave::new(config);
        let attempt = it.next_link;
        it.next_link += 1;
        let (conn, connected, pause_us) = (None, false, FIRST_RETRY_US);
        it.following = Some(Following { core, epoch, master, conn, connected, pause_us, attempt });
        self.follow_again(ctx, attempt);
    }

    /// Connects, if this is still wanted.
    pub(super) fn follow_again(&mut self, ctx: &mut Ctx, attempt: u64) {
        let node = self.node;
        let Some(it) = self.process.as_mut().and_then(|it| it.following.as_mut()) else { return };
        let Some(to) = ctx.at(&it.master.address).filter(|_| it.attempt == attempt && it.conn.is_none()) else {
            return;
        };
        it.conn = Some(ctx.connect(node, to, Port::Ha));
        it.connected = false;
        ctx.timer(node, CONNECT_US, Timer::Connect(attempt));
    }

    pub(super) fn connect_timed_out(&mut self, ctx: &mut Ctx, attempt: u64) {
        let Some(it) = self.process.as_mut().and_then(|it| it.following.as_mut()) else { return };
        if it.attempt == attempt && !it.connected {
            self.disconnect(ctx);
        }
    }

    /// Ends the session; the next one begins after a pause.
    fn disconnect(&mut self, ctx: &mut Ctx) {
        let node = self.node;
        let Some(process) = &mut self.process else { return };
        let Some(it) = &mut process.following else { return };
        if let Some(conn) = it.conn.take() {
            ctx.close(conn, node);
        }
        it.pause_us = if it.core.in_transfer() { FIRST_RETRY_US } else { (it.pause_us * 2).min(LAST_RETRY_US) };
        it.connected = false;
        it.attempt = process.next_link;
        process.next_link += 1;
        ctx.timer(node, it.pause_us, Timer::Follow(it.attempt));
    }

    fn is_master_link(&self, conn: ConnId) -> bool {
        self.process.as_ref().and_then(|it| it.following.as_ref()).is_some_and(|it| it.conn == Some(conn))
    }

    /// True if the connection was the one to the master.
    pub(super) fn master_link_opened(&mut self, ctx: &mut Ctx, conn: ConnId) -> bool {
        if !self.is_master_link(conn) {
            return false;
        }
        if ctx.is(Mutant::CutsToItsConfirmOffset) {
            self.disk.truncate(self.disk.confirm as usize);
            self.disk.epochs.trim_to(self.disk.end());
        }
        let mut history = self.disk.epochs.clone();
        if ctx.is(Mutant::CutsEverything) {
            history = EpochHistory::default();
        }
        let min = if self.disk.log.is_empty() { -1 } else { 0 };
        let facts = LogFacts { history, min, max: self.disk.end() };
        if let Some(it) = self.process.as_mut().and_then(|it| it.following.as_mut()) {
            it.connected = true;
        }
        self.step_slave(ctx, Input::Connected(facts));
        self.report(ctx);
        true
    }

    pub(super) fn master_link_closed(&mut self, ctx: &mut Ctx, conn: ConnId) -> bool {
        let ours = self.is_master_link(conn);
        if ours {
            self.disconnect(ctx);
        }
        ours
    }

    pub(super) fn on_master_packet(&mut self, ctx: &mut Ctx, conn: ConnId, packet: Packet) {
        if !self.is_master_link(conn) {
            return;
        }
        match packet {
            Packet::MasterHandshake(it) => {
                self.step_slave(ctx, Input::Packet(MasterPacket::Handshake(*it)));
                self.tell_comparison(ctx);
            }
            Packet::Transfer(it) => {
                self.step_slave(ctx, Input::Packet(MasterPacket::Transfer(it)));
                if ctx.is(Mutant::BelievesJavaLabels) {
                    self.take_label(ctx, &it);
                }
            }
            Packet::Body(cells) => self.take_body(ctx, &cells),
            _ => {}
        }
        self.report(ctx);
    }

    /// The link to a master of RocketMQ's.
    fn under_java(&self) -> Option<&Following> {
        self.process.as_ref()?.following.as_ref().filter(|it| is_java(&it.master))
    }

    /// Planted: Java labels the last bytes of an epoch with the next one.
    fn take_label(&mut self, ctx: &mut Ctx, of: &TransferHeader) {
        let believes = self.under_java().is_some_and(|it| it.core.in_transfer());
        let entry = EpochEntry { epoch: of.epoch, start: of.epoch_start };
        if believes && self.disk.epochs.push(entry).is_ok() {
            self.tell_history(ctx);
        }
    }

    /// For the judge: what it has now, it believes its master to have.
    fn tell_comparison(&self, ctx: &mut Ctx) {
        let Some(it) = self.process.as_ref().and_then(|it| it.following.as_ref()) else { return };
        let Some(master) = ctx.at(&it.master.address).filter(|_| it.core.in_transfer()) else { return };
        let master = master.0 - ctx.profile.controllers;
        ctx.truth(self.set).compared(self.index, master, Some(it.epoch));
    }

    fn take_body(&mut self, ctx: &mut Ctx, cells: &[Cell]) {
        let Some(it) = self.process.as_ref().and_then(|it| it.following.as_ref()) else { return };
        if it.core.body_left() < cells.len() {
            return; // of a packet that the core refused
        }
        let (at, end) = (it.core.next_offset() as usize, self.disk.log.len());
        if at != end && !ctx.is(Mutant::SkipsCuts) && !ctx.is(Mutant::CutsEverything) {
            return self.fails(ctx, "S9", format_args!("takes bytes at {at}, its log ends at {end}"));
        }
        if ctx.is(Mutant::SkipsCuts) && at < end {
            // The bytes are there, whoever wrote them.
            let fresh = cells.len().saturating_sub(end - at);
            self.disk.log.extend_from_slice(&cells[cells.len() - fresh..]);
        } else {
            self.disk.log.extend_from_slice(cells);
        }
        ctx.truth(self.set).copied(self.index, it.epoch);
        self.flush_soon(ctx);
        self.step_slave(ctx, Input::Appended(cells.len()));
    }

    /// The epoch at which bytes come in.
    pub fn copies_at(&self) -> Option<Epoch> {
        if let Some(it) = &self.java {
            return it.copies_at();
        }
        let it = self.process.as_ref()?.following.as_ref()?;
        (it.connected && it.core.in_transfer()).then_some(it.epoch)
    }

    /// To its master's HA address.
    pub(super) fn is_connected(&self) -> bool {
        self.process.as_ref().and_then(|it| it.following.as_ref()).is_some_and(|it| it.connected)
    }

    pub(super) fn report(&mut self, ctx: &mut Ctx) {
        let reportable = self.own_end(ctx);
        if self.is_connected() {
            self.step_slave(ctx, Input::Reportable(reportable));
        }
    }

    pub(super) fn tick_slave(&mut self, ctx: &mut Ctx) {
        if self.is_connected() {
            self.step_slave(ctx, Input::Tick);
        }
    }

    fn step_slave(&mut self, ctx: &mut Ctx, input: Input) {
        let now = self.now(ctx);
        let mut out = Vec::new();
        if let Some(it) = self.process.as_mut().and_then(|it| it.following.as_mut()) {
            it.core.step(now, input, &mut out);
        }
        for output in out {
            if ctx.burns() {
                return;
            }
            self.perform_slave(ctx, output);
        }
    }

    fn perform_slave(&mut self, ctx: &mut Ctx, output: Output) {
        let Some(conn) = self.process.as_ref().and_then(|it| it.following.as_ref()).and_then(|it| it.conn) else {
            return;
        };
        match output {
            Output::SendHandshake(it) => ctx.send(conn, self.node, Packet::SlaveHandshake(Box::new(it))),
            Output::SendAck(_) if ctx.is(Mutant::AwaitsBytesUnderJava) && self.has_nothing_of_java() => {}
            Output::SendAck(offset) => ctx.send(conn, self.node, Packet::Ack(offset)),
            Output::Truncate { to, .. } => self.cut(ctx, to as usize),
            Output::StartAt(offset) => {
                if offset != 0 {
                    self.fails(ctx, "S9", format_args!("starts at {offset}"));
                }
                self.disk.truncate(0);
            }
            Output::SaveHistory(history) => {
                self.disk.epochs = history;
                self.tell_history(ctx);
                ctx.reaches(Point::Handshake, self.node);
            }
            Output::Confirm(offset) if offset > self.disk.confirm => self.set_confirm(ctx, offset),
            Output::Confirm(_) => {}
            Output::AskController => self.input(role::Input::PollNow),
            Output::Disconnect(why) => {
                ctx.say(self.node, format_args!("leaves its master: {why}"));
                self.disconnect(ctx);
            }
        }
    }

    /// Nothing that its master of RocketMQ's has written.
    fn has_nothing_of_java(&self) -> bool {
        let last = self.disk.log.last().map(|it| Epoch::from(it.epoch));
        self.under_java().is_some_and(|it| last != Some(it.epoch))
    }

    fn cut(&mut self, ctx: &mut Ctx, to: usize) {
        ctx.say(self.node, format_args!("cuts its log from {} to {to}", self.disk.end()));
        let skips_some = ctx.is(Mutant::SkipsCutsUnderJava) && self.under_java().is_some();
        if ctx.is(Mutant::SkipsCuts) || skips_some {
            return;
        }
        ctx.reaches(Point::Cut, self.node);
        if ctx.is(Mutant::CutsInMemoryOnly) {
            self.disk.revenant = self.disk.log[to..].to_vec();
        }
        self.disk.truncate(to);
    }
}
