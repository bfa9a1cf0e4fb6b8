//! A simulated controller: the real Raft driver, state machine and liveness; `watch.rs` and the request handlers with
//! another network and another clock.

pub mod group;
mod orders;
mod requests;

use crate::ctx::{Ctx, NodeId, Point, Timer};
use crate::disk::RaftDisk;
use crate::mutants::Mutant;
use crate::net::{ConnId, Incoming, Port};
use crate::packet::{Packet, Reply, Request, SetId};
use ::raft::eraftpb::Message;
use controller::liveness::{Input, Liveness, Output, Probed, Settings};
use controller::raft::{Event, Members, Options, RaftError, Stepped};
use controller::replicas::{BrokerSet, Command, Elect, ElectMode, Outcome, RemoveDead, SetSummary};
use group::Directory;
use ha::Master;
use ha::role::View;
use node::clock::wall_ms;
use proto::{BrokerId, Millis};
use requests::{Asked, Waiting};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, channel};
use tokio::sync::mpsc;

const EVENTS: usize = 16_384;
const PROBE_US: u64 = 300_000;
const WITNESS_US: u64 = 150_000;
const NOTIFY_AGAIN_US: [u64; 3] = [20_000, 100_000, 400_000];

pub struct Controller {
    pub index: usize,
    pub node: NodeId,
    pub directory: Option<Directory>,
    pub process: Option<Process>,
    /// `controllerJoin`: with an empty disk it asks the others who it is.
    pub joins: bool,
    /// No member of the group, as far as operators are concerned.
    pub is_out: bool,
    /// Its disk was exchanged, or it was removed: its process may end by itself.
    pub is_expendable: bool,
    /// And did.
    pub ended: bool,
}

pub struct Process {
    pub raft: Stepped<RaftDisk>,
    /// Raft ids and directories that have opened a stream to this process.
    greeted: BTreeSet<(u64, u64)>,
    outbox: Receiver<Message>,
    events: mpsc::Receiver<Event>,
    liveness: Liveness,
    waiting: Vec<Waiting>,
    /// Requests between the socket and the task that answers them.
    asked: BTreeMap<u64, Asked>,
    probes: BTreeMap<ConnId, Probe>,
    inquiries: BTreeMap<u64, Inquiry>,
    holds: BTreeMap<u64, orders::Switch>,
    /// Planned changes that it has begun and whose outcome it does not know.
    switching: BTreeMap<SetId, usize>,
    next: u64,
    /// When the next tick is due, as the agenda has it.
    wakes_at: u64,
}

struct Probe {
    broker_set: String,
    attempt: Option<u64>,
    id: BrokerId,
    ha_address: Option<String>,
    number: u64,
}

/// What the other controllers know of a silent master.
struct Inquiry {
    set: SetId,
    id: BrokerId,
    waits: usize,
    heard: Option<(Millis, String)>,
}

impl Controller {
    /// One of the founders, or a machine that waits to be added.
    pub fn new(index: usize, node: NodeId, founders: usize) -> Controller {
        let joins = index >= founders;
        let (is_out, is_expendable, ended) = (joins, false, false);
        Controller { index, node, directory: None, process: None, joins, is_out, is_expendable, ended }
    }

    pub fn start(&mut self, ctx: &mut Ctx) {
        match self.directory {
            Some(_) => self.start_process(ctx),
            None if self.joins => self.ask_to_join(ctx),
            None => {
                self.make_directory(ctx, self.index as u64 + 1);
                self.start_process(ctx);
            }
        }
    }

    fn start_process(&mut self, ctx: &mut Ctx) {
        ctx.set_clocks(self.node);
        let Some(directory) = &self.directory else { return };
        let founders = (0..ctx.profile.founders).map(|it| (group::name(it), group::address(it)));
        let options = Options {
            id: directory.raft_id,
            election_timeout: ctx.profile.election_ms,
            snapshot_entries: ctx.profile.snapshot_entries,
            snapshot_bytes: 1 << 20,
            founders: Members::founders(founders),
            address: String::new(),
        };
        let (send, outbox) = channel();
        let (told, events) = mpsc::channel(EVENTS);
        let deliver = Box::new(move |it: Message| send.send(it).is_ok());
        let seed = ctx.rng.next();
        let raft = Stepped::new(options, directory.disk.clone(), deliver, told, seed);
        let raft = match raft {
            Ok(it) => it,
            Err(e) => return ctx.fail("Raft", format!("controller {} does not start: {e:#}", self.index + 1)),
        };
        self.process = Some(Process {
            raft,
            greeted: BTreeSet::new(),
            outbox,
            events,
            liveness: Liveness::new(settings(ctx)),
            waiting: Vec::new(),
            asked: BTreeMap::new(),
            probes: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            holds: BTreeMap::new(),
            switching: BTreeMap::new(),
            next: 1,
            wakes_at: 0,
        });
        ctx.say(self.node, format_args!("starts"));
        self.greet(ctx);
        self.settle(ctx);
    }

    pub fn lose_memory(&self) {
        if let Some(it) = &self.directory {
            it.disk.lose_memory();
        }
    }

    pub fn on_incoming(&mut self, ctx: &mut Ctx, conn: ConnId, incoming: Incoming) {
        ctx.set_clocks(self.node);
        match incoming {
            Incoming::Data(Packet::Call { id, set, request }) => self.on_call(ctx, conn, id, set, request),
            Incoming::Connected => self.probed(ctx, conn, Probed::Alive),
            Incoming::Failed => self.probed(ctx, conn, Probed::Refused),
            Incoming::Closed => {
                self.probed(ctx, conn, Probed::Unknown);
                self.step(ctx, Input::Closed { connection: conn });
            }
            Incoming::Opened(_) | Incoming::Data(_) => {}
        }
        self.settle(ctx);
    }

    pub fn on_datagram(&mut self, ctx: &mut Ctx, from: NodeId, packet: Packet) {
        ctx.set_clocks(self.node);
        match packet {
            Packet::Raft { to, hello, message } => self.on_raft(ctx, from, to, &hello, message),
            Packet::Banned { directory, why } => self.banned(ctx, directory, why),
            Packet::Join { name, life } => self.on_join(ctx, from, &name, life),
            Packet::Joined { life, raft_id } if life == ctx.net.hosts[self.node.0].life => self.joined(ctx, raft_id),
            Packet::Call { id, set, request: Request::Witness { id: broker } } => {
                let now = ctx.local(self.node);
                let heard = self.process.as_ref().and_then(|it| it.liveness.silent_for(now, set.name(), broker));
                ctx.datagram(self.node, from, Packet::Reply { id, reply: Reply::Witness(heard) });
            }
            Packet::Call { set, request, .. } => self.on_order(ctx, set, request),
            Packet::Reply { id, reply: Reply::Witness(heard) } => self.witnessed(ctx, from, id, heard),
            Packet::Reply { id, reply: Reply::Held(result) } => self.held(ctx, id, result),
            _ => {}
        }
        self.settle(ctx);
    }

    pub fn on_timer(&mut self, ctx: &mut Ctx, timer: Timer) {
        ctx.set_clocks(self.node);
        match timer {
            Timer::Tick => {
                let Some(it) = &mut self.process else { return };
                if ctx.now < it.wakes_at {
                    return; // another one was put before it
                }
                it.wakes_at = 0;
                if !ctx.is(Mutant::ReactsToEventsOnly) {
                    self.step(ctx, Input::Tick);
                }
            }
            Timer::Handle(id) => self.handle(ctx, id),
            Timer::Connect(number) => self.probe_timed_out(ctx, number),
            Timer::Search(call) => self.end_inquiry(ctx, call),
            Timer::Call(id) => self.hold_timed_out(ctx, id),
            Timer::Greet => self.greet(ctx),
            Timer::Join => self.ask_to_join(ctx),
            Timer::Notify { set, id, attempt } => self.notify(ctx, set, id, attempt),
            _ => {}
        }
        self.settle(ctx);
    }

    /// Rounds until nothing more comes of them.
    fn settle(&mut self, ctx: &mut Ctx) {
        let mut messages = Vec::new();
        loop {
            let Some(it) = &mut self.process else { return };
            let round = it.raft.round();
            let mut moved = false;
            while let Ok(message) = it.outbox.try_recv() {
                messages.push(message);
            }
            messages.drain(..).for_each(|it| self.send_raft(ctx, it));
            let Some(it) = &mut self.process else { return };
            let mut events = Vec::new();
            while let Ok(event) = it.events.try_recv() {
                events.push(event);
            }
            self.must(ctx, round);
            for event in events {
                moved = true;
                self.on_event(ctx, event);
            }
            moved |= self.answer_waiting(ctx);
            if !moved {
                break;
            }
        }
        self.sleep(ctx);
    }

    fn must(&mut self, ctx: &mut Ctx, result: anyhow::Result<()>) {
        let Err(e) = result else { return };
        if self.ended {
            return; // said already
        }
        if self.is_expendable {
            ctx.say(self.node, format_args!("ends: {e:#}"));
            self.ended = true;
        } else {
            ctx.fail("Raft", format!("controller {} ends: {e:#}", self.index + 1));
        }
    }

    fn sleep(&mut self, ctx: &mut Ctx) {
        let Some(it) = &mut self.process else { return };
        let due = it.liveness.next_due().map_or(it.raft.next_tick(), |due| due.min(it.raft.next_tick()));
        // To the microsecond the clock may show the millisecond before.
        let at = ctx.now + due.saturating_sub(ctx.local(self.node)) * 1_000 + 1_000;
        if it.wakes_at == 0 || at + 1_000 < it.wakes_at {
            it.wakes_at = at;
            ctx.timer(self.node, at - ctx.now, Timer::Tick);
        }
    }

    fn on_event(&mut self, ctx: &mut Ctx, event: Event) {
        match event {
            Event::View(view) => {
                if let Some(set) = SetId::named(&view.name) {
                    ctx.truth(set).committed(self.index, &view);
                }
                self.step(ctx, Input::View(view));
            }
            Event::Removed { broker_set } => drop(self.step(ctx, Input::Removed { broker_set })),
            Event::Leading => {
                ctx.say(self.node, format_args!("leads the controllers"));
                let now = ctx.now;
                let term = self.process.as_ref().map_or(0, |it| it.raft.leadership().term);
                ctx.truths.iter_mut().for_each(|it| it.controller_leads(self.index, term, now));
                if let Some(it) = self.process.as_mut().filter(|_| ctx.is(Mutant::NewLeaderForgets)) {
                    it.liveness = Liveness::new(settings(ctx));
                }
                self.step(ctx, Input::Leading);
            }
            Event::Following => {
                ctx.say(self.node, format_args!("follows"));
                self.step(ctx, Input::Following);
            }
            Event::Stopped(_) => {}
        }
    }

    // ---- liveness

    /// The first output answers, if the input was a heartbeat.
    fn step(&mut self, ctx: &mut Ctx, input: Input) -> Option<Reply> {
        let mut now = ctx.local(self.node);
        if ctx.is(Mutant::NewLeaderDoesNotWait) && input == Input::Leading {
            now = now.saturating_sub(ctx.profile.timeout_ms);
        }
        let mut out = Vec::new();
        if let Some(it) = &mut self.process {
            it.liveness.step(now, input, &mut out);
        }
        let mut answer = None;
        for output in out {
            if ctx.burns() {
                return None;
            }
            self.carry_out(ctx, output, &mut answer);
        }
        answer
    }

    fn carry_out(&mut self, ctx: &mut Ctx, output: Output, answer: &mut Option<Reply>) {
        match output {
            Output::Answer { lease, registered, master_epoch: epoch, sync_state_set_epoch: set_epoch } => {
                *answer = Some(Reply::Heartbeat { lease, registered, epoch, set_epoch });
            }
            Output::Probe { broker_set, id, attempt, address, .. } => {
                self.probe(ctx, broker_set, id, Some(attempt), &address, None);
            }
            Output::Reach { broker_set, id, ha_address } => {
                let address = ha_address.replace('H', "B");
                self.probe(ctx, broker_set, id, None, &address, Some(ha_address));
            }
            Output::AskWitnesses { broker_set, id } => self.ask_witnesses(ctx, &broker_set, id),
            Output::Notify { broker_set, id } => {
                if let Some(set) = SetId::named(&broker_set) {
                    self.notify(ctx, set, id, 0);
                }
            }
            Output::RemoveDead { broker_set, ids, master_epoch, sync_state_set_epoch } => {
                ctx.say(self.node, format_args!("takes dead {ids:?} out of set {broker_set}"));
                let at_ms = wall_ms();
                if let Some(set) = SetId::named(&broker_set) {
                    ctx.truth(set).found_dead(&ids);
                }
                let own = requests::Then::Own(broker_set.clone());
                let it = RemoveDead { broker_set, ids, master_epoch, sync_state_set_epoch, at_ms };
                self.propose(ctx, Command::RemoveDead(it), own);
            }
            Output::Elect { broker_set, expect, cause, alive, .. } => {
                ctx.say(self.node, format_args!("elects for set {broker_set}: {cause:?}, alive {:?}", ids(&alive)));
                ctx.reaches(Point::Election, self.node);
                let at_ms = wall_ms();
                let own = requests::Then::Own(broker_set.clone());
                let elect = Elect {
                    broker_set,
                    requester: None,
                    mode: ElectMode::Best,
                    alive,
                    unclean: settings(ctx).unclean,
                    expect: Some(expect),
                    cause,
                    detected_ms: at_ms,
                    at_ms,
                };
                self.propose(ctx, Command::Elect(elect), own);
            }
            // No replica is preferred, and no set is restrained: see `settings`.
            Output::Return { .. } | Output::Flapping { .. } => unreachable!("{output:?}"),
        }
    }

    fn probe(
        &mut self,
        ctx: &mut Ctx,
        broker_set: String,
        id: BrokerId,
        attempt: Option<u64>,
        address: &str,
        ha_address: Option<String>,
    ) {
        if ctx.is(Mutant::TakesClosedForDead) && attempt.is_some() {
            if let Some(attempt) = attempt {
                let result = Probed::Refused;
                self.step(ctx, Input::Probed { broker_set, id, attempt, result });
            }
            return;
        }
        let (Some(to), Some(it)) = (ctx.at(address), &mut self.process) else { return };
        let number = it.next;
        it.next += 1;
        let conn = ctx.connect(self.node, to, Port::Main);
        it.probes.insert(conn, Probe { broker_set, attempt, id, ha_address, number });
        ctx.timer(self.node, PROBE_US, Timer::Connect(number));
    }

    fn probed(&mut self, ctx: &mut Ctx, conn: ConnId, result: Probed) {
        let Some(probe) = self.process.as_mut().and_then(|it| it.probes.remove(&conn)) else { return };
        ctx.close(conn, self.node);
        let unreachable = result == Probed::Unknown && probe.attempt.is_some();
        let result = match unreachable && ctx.is(Mutant::TakesUnreachableForDead) {
            true => Probed::Refused,
            false => result,
        };
        let (broker_set, id) = (probe.broker_set, probe.id);
        if let Some(attempt) = probe.attempt {
            self.step(ctx, Input::Probed { broker_set, id, attempt, result });
        } else if let Some(ha_address) = probe.ha_address.filter(|_| result == Probed::Alive) {
            self.step(ctx, Input::Reached { broker_set, id, ha_address });
        }
    }

    fn probe_timed_out(&mut self, ctx: &mut Ctx, number: u64) {
        let conn = self.process.as_ref().and_then(|it| it.probes.iter().find(|it| it.1.number == number));
        if let Some(conn) = conn.map(|it| *it.0) {
            self.probed(ctx, conn, Probed::Unknown);
        }
    }

    fn ask_witnesses(&mut self, ctx: &mut Ctx, broker_set: &str, id: BrokerId) {
        let (Some(set), Some(it)) = (SetId::named(broker_set), &mut self.process) else { return };
        let call = it.next;
        it.next += 1;
        it.inquiries.insert(call, Inquiry { set, id, waits: ctx.profile.controllers - 1, heard: None });
        for other in (0..ctx.profile.controllers).filter(|it| *it != self.index) {
            let to = ctx.controller(other);
            ctx.datagram(self.node, to, Packet::Call { id: call, set, request: Request::Witness { id } });
        }
        ctx.timer(self.node, WITNESS_US, Timer::Search(call));
    }

    fn witnessed(&mut self, ctx: &mut Ctx, from: NodeId, call: u64, heard: Option<Millis>) {
        let Some(it) = self.process.as_mut().and_then(|it| it.inquiries.get_mut(&call)) else { return };
        it.waits = it.waits.saturating_sub(1);
        let heard = heard.map(|ago| (ago, ctx.names[from.0].clone()));
        it.heard = it.heard.take().into_iter().chain(heard).min();
        if it.waits == 0 {
            self.end_inquiry(ctx, call);
        }
    }

    fn end_inquiry(&mut self, ctx: &mut Ctx, call: u64) {
        let Some(it) = self.process.as_mut().and_then(|it| it.inquiries.remove(&call)) else { return };
        self.step(ctx, Input::Witnessed { broker_set: it.set.name().to_owned(), id: it.id, heard: it.heard });
    }

    /// One-way; a broker that is not there is tried again a few times.
    fn notify(&mut self, ctx: &mut Ctx, set: SetId, id: BrokerId, attempt: usize) {
        let Some(view) = self.process.as_ref().and_then(|it| it.liveness.view(set.name())) else { return };
        let to = view.replicas.get(&id).and_then(|it| ctx.at(&it.address));
        let Some(to) = to else { return };
        if ctx.net.hosts[to.0].life.is_some() {
            let view = view_of(&SetSummary::from(&**view));
            ctx.datagram(self.node, to, Packet::Notify(Box::new(view)));
        } else if let Some(wait) = NOTIFY_AGAIN_US.get(attempt) {
            ctx.timer(self.node, *wait, Timer::Notify { set, id, attempt: attempt + 1 });
        }
    }

    /// What this controller knows of the set.
    pub fn set(&self, set: SetId) -> Option<&BrokerSet> {
        self.process.as_ref()?.raft.applied().get(set.name())
    }

    pub fn leads(&self) -> bool {
        self.process.as_ref().is_some_and(|it| it.raft.leadership().leading)
    }
}

fn settings(ctx: &Ctx) -> Settings {
    let config = controller::Config {
        enable_elect_unclean_master: ctx.is(Mutant::ElectsAnyone),
        elect_on_refused_connection: ctx.profile.proof_of_death,
        witness_wait_mills: ctx.profile.witness_ms,
        // Runs are short and full of faults: patience would be all that is seen.
        max_automatic_master_changes: 0,
        ..Default::default()
    };
    controller::liveness_settings(&config)
}

fn ids(of: &[controller::replicas::Candidate]) -> BTreeSet<BrokerId> {
    of.iter().map(|it| it.id).collect()
}

/// As it travels to brokers.
fn view_of(it: &SetSummary) -> View {
    let master = it.master.zip(it.master_address.clone());
    View {
        epoch: it.master_epoch,
        master: master.map(|(id, address)| Master { id, address, ha_address: it.master_ha_address.clone() }),
        sync_state_set: it.sync_state_set.clone(),
        sync_state_set_epoch: it.sync_state_set_epoch,
    }
}

/// What became of a proposal, or that it is not known.
type Decision = Result<Outcome, RaftError>;
