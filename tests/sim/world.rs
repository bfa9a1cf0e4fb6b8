//! One run: controllers, one or two broker sets, clients, faults; one thread, virtual time, everything from the seed.

mod operator;
mod strikes;
mod watch;

use crate::agenda::Agenda;
use crate::broker::Broker;
use crate::checks::{Truth, Violation};
use crate::consumer::Consumer;
use crate::controller::Controller;
use crate::ctx::{Clock, Ctx, Event, NodeId, Story, Timer};
use crate::faults::{Fault, LastBlow, Profile};
use crate::mutants::Mutant;
use crate::net::{ConnId, Incoming, Net};
use crate::packet::{Packet, Sent, SetId};
use crate::rng::Rng;
use crate::schedule::Schedule;
use controller::raft::Ask;
use operator::Operator;
use std::collections::VecDeque;

/// After the faults: until a message is acknowledged, and until all replicas are the same.
const ELECTED_WITHIN_US: u64 = 20_000_000;
const HEALED_WITHIN_US: u64 = 60_000_000;
/// Once everybody has stopped sending, a consumer that has not everything yet gets something.
const READ_WITHIN_US: u64 = 10_000_000;
const LOOK_US: u64 = 250_000;
/// How long the controllers are gone in the end, and from when on something has to be acknowledged all the same (S8):
/// every lease is over by then.
const ALONE_US: u64 = 4_000_000;
const WITHOUT_LEASE_US: u64 = 2_500_000;
const CLIENT_PATIENCE_US: u64 = 1_000_000;

pub struct Report {
    pub violation: Option<Violation>,
    pub hash: u64,
    pub story: Vec<String>,
    pub acknowledged: usize,
    pub elections: u64,
    pub events: u64,
    /// Microseconds.
    pub virtual_time: u64,
    /// Ended early: a set had lost its last disk.
    pub stranded: bool,
}

/// What a stopped process finds when it goes on.
enum Deferred {
    Incoming(ConnId, Incoming),
    Datagram(NodeId, Packet),
    Timer(Timer),
    /// From an operator at its console.
    Ask(Ask),
}

struct Client {
    set: SetId,
    /// Which of the set's replicas it believes to be master.
    guess: usize,
    waits: Option<(u32, u64)>,
}

impl Client {
    fn new(set: SetId) -> Client {
        Client { set, guess: 0, waits: None }
    }

    fn looks_elsewhere(&mut self, profile: &Profile) {
        self.guess = (self.guess + 1) % profile.replicas;
    }
}

struct World {
    ctx: Ctx,
    controllers: Vec<Controller>,
    brokers: Vec<Broker>,
    clients: Vec<Client>,
    consumers: Vec<Consumer>,
    paused: Vec<bool>,
    inboxes: Vec<VecDeque<Deferred>>,
    /// Who dies after how many more outputs, and for how long.
    fuses: Vec<Option<(u32, u64)>>,
    lives: u32,
    sent: u32,
    calm_since: Option<u64>,
    /// By set: whether anything was since the faults, or since the last blow.
    acknowledged_since: Vec<bool>,
    /// The last fault: masters are lost for good, and others have to be there in time.
    last_blow: Option<u64>,
    victims: Vec<usize>,
    /// Clients have stopped; the end is judged then.
    ends_at: Option<u64>,
    /// How much all consumers have read, and since when no more.
    read: (usize, u64),
    alone: Alone,
    over: bool,
    operator: Operator,
    /// A set has lost its last disk, see [`Truth::is_stranded`].
    stranded: bool,
    /// By set: since when nothing disturbs it.
    steady_since: Vec<Option<u64>>,
}

/// Whether the brokers have been without controllers (S8).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Alone {
    NotYet,
    /// Since when, and which come back.
    Since(u64, Vec<NodeId>),
    Over,
}

/// Whether a run keeps its story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    Nothing,
    Story,
}

/// Of a seed, with the acts that it draws.
pub fn run(seed: u64, mutant: Option<Mutant>, telling: Telling) -> Report {
    play(&Schedule::drawn(seed), mutant, telling)
}

pub fn play(schedule: &Schedule, mutant: Option<Mutant>, telling: Telling) -> Report {
    World::new(schedule.chance(), schedule.profile(), mutant, telling).run(schedule)
}

impl World {
    fn run(self, schedule: &Schedule) -> Report {
        let mut world = self;
        for it in &schedule.acts {
            world.ctx.agenda.put(it.at, Event::Fault(Fault::Act(Box::new(it.act.clone()))));
        }
        world.begin();
        let mut events = 0;
        while let Some((at, event)) = world.ctx.agenda.take() {
            world.ctx.now = at;
            events += 1;
            world.handle(event);
            world.ctx.judge(&mut world.brokers);
            if world.over || world.ctx.violation().is_some() {
                break;
            }
        }
        let World { ctx, stranded, .. } = world;
        Report {
            violation: ctx.violation().cloned(),
            hash: ctx.story.hash,
            story: ctx.story.lines,
            acknowledged: ctx.truths.iter().map(|it| it.acknowledged.len()).sum(),
            elections: ctx.truths.iter().map(|it| it.elections).sum(),
            events,
            virtual_time: ctx.now,
            stranded,
        }
    }

    fn new(mut rng: Rng, profile: Profile, mutant: Option<Mutant>, telling: Telling) -> World {
        let nodes = profile.nodes();
        let (controllers, brokers, clients) = (profile.controllers, profile.brokers(), profile.sets * profile.clients);
        let name = |kind: &str, count: usize| (1..=count).map(|it| format!("{kind}{it}")).collect::<Vec<_>>();
        let names =
            [name("C", controllers), name("B", brokers), name("K", clients), name("R", profile.consumers())].concat();
        let drift = profile.drift_ppm;
        let clocks = (0..nodes).map(|_| Clock {
            offset_ms: rng.below(100_000),
            drift_ppm: rng.below(2 * drift as u64 + 1) as i64 - drift,
            wall_ahead_ms: rng.below(4_000) as i64 - 2_000,
        });
        let clocks = clocks.collect();
        let sets = (0..profile.sets).map(SetId);
        let truths: Vec<Truth> = sets.map(|it| Truth::new(&profile, it)).collect();
        let ctx = Ctx {
            now: 0,
            rng,
            agenda: Agenda::default(),
            net: Net::new(nodes),
            clocks,
            names,
            profile,
            mutant,
            truths,
            broken: None,
            story: Story { told: telling == Telling::Story, lines: Vec::new(), hash: 0xCBF2_9CE4_8422_2325 },
            ambush: None,
            fuse: None,
        };
        World {
            controllers: (0..controllers)
                .map(|it| Controller::new(it, ctx.controller(it), ctx.profile.founders))
                .collect(),
            brokers: (0..brokers).map(|it| Broker::new(it, ctx.profile.set_of_broker(it), ctx.broker(it))).collect(),
            clients: (0..clients).map(|it| Client::new(SetId(it / ctx.profile.clients))).collect(),
            consumers: (0..ctx.profile.consumers())
                .map(|it| Consumer::new(ctx.client(clients + it), SetId(it)))
                .collect(),
            paused: vec![false; nodes],
            inboxes: (0..nodes).map(|_| VecDeque::new()).collect(),
            fuses: vec![None; nodes],
            steady_since: vec![None; ctx.profile.sets],
            acknowledged_since: vec![false; ctx.profile.sets],
            ctx,
            lives: 0,
            sent: 0,
            calm_since: None,
            last_blow: None,
            victims: Vec::new(),
            ends_at: None,
            read: (0, 0),
            alone: Alone::NotYet,
            over: false,
            operator: Operator::default(),
            stranded: false,
        }
    }

    fn begin(&mut self) {
        for node in 0..self.ctx.profile.controllers + self.brokers.len() {
            self.start(NodeId(node));
        }
        for client in 0..self.clients.len() + self.consumers.len() {
            let node = self.ctx.client(client);
            self.ctx.net.hosts[node.0].life = Some(0);
            let after = 500_000 + self.ctx.rng.below(500_000);
            self.ctx.timer(node, after, Timer::Client);
        }
        self.ctx.agenda.put(2_000_000, Event::Fault(Fault::Watch));
        self.ctx.agenda.put(self.ctx.profile.faults_until, Event::Fault(Fault::Calm));
    }

    fn broker_index(&self, node: NodeId) -> Option<usize> {
        node.0.checked_sub(self.ctx.profile.controllers).filter(|it| *it < self.brokers.len())
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive { conn, side } => {
                if let Some((node, _, incoming)) = self.ctx.arrive(conn, side) {
                    self.give(node, Deferred::Incoming(conn, incoming));
                }
            }
            Event::Datagram { from, to, packet } => {
                if self.ctx.takes_datagram(from, to) {
                    self.give(to, Deferred::Datagram(from, packet));
                }
            }
            Event::Timer { node, life, timer } => {
                if self.ctx.net.hosts[node.0].life == Some(life) {
                    self.give(node, Deferred::Timer(timer));
                }
            }
            Event::Fault(fault) => self.on_fault(fault),
        }
    }

    /// Hands something to a process, or keeps it until the process goes on.
    fn give(&mut self, node: NodeId, what: Deferred) {
        if self.paused[node.0] {
            return self.inboxes[node.0].push_back(what);
        }
        self.ctx.fuse = self.fuses[node.0].map(|it| it.0);
        if let Some(index) = self.broker_index(node) {
            let (it, ctx) = (&mut self.brokers[index], &mut self.ctx);
            match what {
                Deferred::Incoming(conn, incoming) => it.on_incoming(ctx, conn, incoming),
                Deferred::Datagram(from, packet) => it.on_datagram(ctx, from, packet),
                Deferred::Timer(timer) => it.on_timer(ctx, timer),
                Deferred::Ask(_) => {}
            }
        } else if node.0 < self.controllers.len() {
            let (it, ctx) = (&mut self.controllers[node.0], &mut self.ctx);
            match what {
                Deferred::Incoming(conn, incoming) => it.on_incoming(ctx, conn, incoming),
                Deferred::Datagram(from, packet) => it.on_datagram(ctx, from, packet),
                Deferred::Timer(timer) => it.on_timer(ctx, timer),
                Deferred::Ask(ask) => it.on_ask(ctx, &ask),
            }
            if it.ended && it.process.is_some() {
                self.stop(node);
            }
        } else {
            self.on_client(node, what);
        }
        if let (Some(fuse), Some(left)) = (&mut self.fuses[node.0], self.ctx.fuse.take()) {
            fuse.0 = left;
        }
        if let Some((_, back)) = self.fuses[node.0].take_if(|it| it.0 == 0) {
            self.ctx.judge(&mut self.brokers);
            self.ctx.say(node, format_args!("dies in the middle of its work"));
            self.stop(node);
            self.ctx.agenda.put(self.ctx.now + back, Event::Fault(Fault::Start(node)));
        }
    }

    // ---- clients

    fn on_client(&mut self, node: NodeId, what: Deferred) {
        let index = node.0 - self.ctx.profile.controllers - self.brokers.len();
        if let Some(at) = index.checked_sub(self.clients.len()) {
            match what {
                Deferred::Timer(_) => self.consumers[at].on_timer(&mut self.ctx),
                Deferred::Datagram(_, packet) => self.consumers[at].on_packet(&mut self.ctx, packet),
                Deferred::Incoming(..) | Deferred::Ask(_) => {}
            }
            return;
        }
        match what {
            Deferred::Timer(_) => self.client_works(node, index),
            Deferred::Datagram(_, Packet::Sent { message, result }) => {
                let client = &mut self.clients[index];
                if client.waits.is_some_and(|it| it.0 == message) {
                    client.waits = None;
                    match result {
                        Sent::Acknowledged => {
                            self.acknowledged_since[client.set.0] |= self.calm_since.is_some();
                            self.ctx.truth(client.set).heard.push(message);
                        }
                        Sent::Refused | Sent::Unknown => client.looks_elsewhere(&self.ctx.profile),
                    }
                }
            }
            _ => {}
        }
    }

    fn client_works(&mut self, node: NodeId, index: usize) {
        let now = self.ctx.now;
        let count = self.clients.len() as u32;
        let client = &mut self.clients[index];
        if client.waits.is_some_and(|it| now >= it.1 + CLIENT_PATIENCE_US) {
            client.waits = None;
            client.looks_elsewhere(&self.ctx.profile);
        }
        if client.waits.is_none() && self.ends_at.is_none() {
            // Which client sent a message can be told from its number.
            self.sent += 1;
            let message = self.sent * count + index as u32;
            client.waits = Some((message, now));
            let to = self.ctx.broker(self.ctx.profile.brokers_of(client.set).start + client.guess);
            self.ctx.datagram(node, to, Packet::Send(message));
        }
        let pause = self.ctx.profile.client_pause_us;
        let after = self.ctx.rng.between(pause / 2, pause * 2);
        self.ctx.timer(node, after, Timer::Client);
    }

    // ---- processes and hosts

    fn start(&mut self, node: NodeId) {
        let waits = |it: &Controller| it.ended || it.is_out && it.directory.is_none();
        if self.ctx.net.hosts[node.0].life.is_some() || self.controllers.get(node.0).is_some_and(waits) {
            return;
        }
        if !self.ctx.net.hosts[node.0].powered {
            self.ctx.net.hosts[node.0].powered = true;
            // The host answers for the connections of its former life.
            self.ctx.hang_up(node);
        }
        self.lives += 1;
        self.ctx.net.hosts[node.0].life = Some(self.lives);
        self.paused[node.0] = false;
        self.inboxes[node.0].clear();
        match self.broker_index(node) {
            Some(index) => self.brokers[index].start(&mut self.ctx, self.lives),
            None => self.controllers[node.0].start(&mut self.ctx),
        }
    }

    /// kill -9.
    fn stop(&mut self, node: NodeId) {
        self.ctx.hang_up(node);
        self.drop_process(node);
    }

    fn drop_process(&mut self, node: NodeId) {
        self.ctx.net.hosts[node.0].life = None;
        self.fuses[node.0] = None;
        self.paused[node.0] = false;
        self.inboxes[node.0].clear();
        match self.broker_index(node) {
            Some(index) => {
                self.brokers[index].process = None;
                self.ctx.truth(self.brokers[index].set).process_is(index, None);
            }
            None => self.controllers[node.0].process = None,
        }
    }

    fn power_off(&mut self, node: NodeId, kept_percent: u64) {
        self.ctx.go_dark(node);
        self.drop_process(node);
        self.ctx.net.hosts[node.0].powered = false;
        match self.broker_index(node) {
            Some(index) => {
                let disk = &mut self.brokers[index].disk;
                let kept = (disk.log.len() - disk.flushed) * kept_percent as usize / 100;
                disk.lose_memory(disk.flushed + kept);
            }
            None => self.controllers[node.0].lose_memory(),
        }
    }

    fn go_on(&mut self, node: NodeId) {
        if !std::mem::replace(&mut self.paused[node.0], false) {
            return;
        }
        self.ctx.say(node, format_args!("goes on"));
        let life = self.ctx.net.hosts[node.0].life;
        for what in std::mem::take(&mut self.inboxes[node.0]) {
            // What is in it may end it.
            if self.ctx.net.hosts[node.0].life == life && life.is_some() {
                self.give(node, what);
            }
        }
    }

    // ---- the end

    fn calm_down(&mut self) {
        self.calm_since = Some(self.ctx.now);
        self.ctx.say(NodeId(0), format_args!("faults are over"));
        self.fuses.fill(None);
        let profile = &mut self.ctx.profile;
        (profile.slow_packets, profile.loss, profile.duplicates) = (0, 0, 0);
        for from in (0..self.ctx.profile.nodes()).map(NodeId) {
            for to in (0..self.ctx.profile.nodes()).map(NodeId) {
                self.ctx.heal(from, to);
            }
        }
        for node in (0..self.ctx.profile.controllers + self.brokers.len()).map(NodeId) {
            self.go_on(node);
            self.start(node);
        }
        self.ctx.agenda.put(self.ctx.now + LOOK_US, Event::Fault(Fault::Look));
    }

    fn replicas(&self, set: SetId) -> &[Broker] {
        &self.brokers[self.ctx.profile.brokers_of(set)]
    }

    /// The broker that leads the set's newest epoch.
    fn master(&self, set: SetId) -> Option<usize> {
        let leads = self.replicas(set).iter().filter_map(|it| Some((it.leads()?, it.index)));
        leads.max().map(|it| it.1)
    }

    fn look(&mut self) {
        let Some(since) = self.last_blow.or(self.calm_since) else { return };
        if self.ctx.truths.iter().any(Truth::is_stranded) {
            (self.over, self.stranded) = (true, true);
            return;
        }
        let (now, passed) = (self.ctx.now, self.ctx.now - since);
        if let Alone::Since(at, gone) = self.alone.clone() {
            self.judge_alone(now - at, &gone);
        } else if let Some(at) = self.ends_at {
            let so_far = self.ctx.truths.iter().map(|it| it.readers.read_to).sum();
            if self.read.0 != so_far {
                self.read = (so_far, now);
            }
            let read = self.ctx.sets().all(|it| self.is_read(it));
            if now >= at && (read || now >= at.max(self.read.1) + READ_WITHIN_US) {
                self.over = true;
                self.judge_the_end();
            }
        } else if self.operator.is_idle()
            && self.ctx.sets().all(|it| self.acknowledged_since[it.0] && self.is_whole(it))
        {
            match self.last_blow {
                None if self.alone == Alone::NotYet => self.take_controllers_away(),
                None => self.strike_masters(),
                // What is under way comes to its end.
                Some(_) => self.ends_at = Some(now + 3_000_000),
            }
        } else {
            for set in self.ctx.sets() {
                self.judge_healing(set, passed);
            }
            if passed >= HEALED_WITHIN_US && !self.operator.is_idle() {
                self.ctx.fail("S14", format!("the controllers' members are not as ordered: {:?}", self.operator));
            }
        }
        self.ctx.agenda.put(now + LOOK_US, Event::Fault(Fault::Look));
    }

    /// The consumer has all there is.
    fn is_read(&self, set: SetId) -> bool {
        let end = self.master(set).map(|it| &self.brokers[it].disk).map(|it| it.whole_end_below(it.confirm));
        end.is_some_and(|end| self.ctx.truths[set.0].readers.read_to >= end)
            || !self.ctx.truths[set.0].readers_are_promised()
    }

    fn judge_the_end(&mut self) {
        let clients = self.clients.len() as u32;
        for set in self.ctx.sets() {
            if let Some(master) = self.master(set) {
                self.ctx.truth(set).judge_delivery();
                self.ctx.truth(set).judge_the_end(&self.brokers, master, |it| (it % clients) as usize);
            }
        }
    }

    fn take_controllers_away(&mut self) {
        self.ctx.say(NodeId(0), format_args!("and all other controllers are killed"));
        let gone: Vec<NodeId> = self.controllers.iter().filter(|it| it.process.is_some()).map(|it| it.node).collect();
        gone.iter().for_each(|it| self.stop(*it));
        self.alone = Alone::Since(self.ctx.now, gone);
    }

    /// S8: brokers that are connected need no controllers.
    fn judge_alone(&mut self, for_us: u64, gone: &[NodeId]) {
        if for_us < WITHOUT_LEASE_US {
            return self.acknowledged_since.fill(false);
        }
        if for_us < ALONE_US {
            return;
        }
        for set in self.ctx.sets().filter(|it| !self.acknowledged_since[it.0]).collect::<Vec<_>>() {
            let why = format!("nothing is acknowledged in set {} without controllers", set.name());
            self.ctx.truth(set).fail("S8", why);
        }
        gone.iter().for_each(|it| self.start(*it));
        self.alone = Alone::Over;
    }

    /// S14: so long after the last fault.
    fn judge_healing(&mut self, set: SetId, passed_us: u64) {
        let (name, passed) = (set.name(), passed_us / 1_000_000);
        if !self.acknowledged_since[set.0] && passed_us >= ELECTED_WITHIN_US {
            let why = format!("nothing is acknowledged in set {name} {passed} s after the faults");
            self.ctx.truth(set).fail("S14", why);
        } else if passed_us >= HEALED_WITHIN_US && !self.is_whole(set) {
            let why = format!("set {name} is not whole {passed} s after the faults");
            self.ctx.truth(set).fail("S14", why);
        }
    }

    /// Killed or hung, and not back: others have to take over in time.
    fn strike_masters(&mut self) {
        self.last_blow = Some(self.ctx.now);
        for set in self.ctx.sets() {
            self.strike_master(set);
        }
    }

    fn strike_master(&mut self, set: SetId) {
        // Who has nobody to replace it is spared.
        let needed = self.ctx.profile.min_in_sync.max(self.ctx.profile.copies).max(1);
        let replaceable = self.ctx.profile.replicas > needed;
        let Some(master) = self.master(set).filter(|_| replaceable) else { return };
        let node = self.ctx.broker(master);
        self.victims.push(master);
        self.acknowledged_since[set.0] = false;
        match self.ctx.profile.last_blow {
            LastBlow::Killed => {
                self.ctx.say(node, format_args!("is killed for good"));
                self.stop(node);
            }
            LastBlow::Hung => {
                self.ctx.say(node, format_args!("hangs for good"));
                self.paused[node.0] = true;
            }
        }
    }

    /// Everybody who can be is in the set of the master that the controllers know.
    fn is_whole(&self, set: SetId) -> bool {
        let Some(newest) = &self.ctx.truths[set.0].newest else { return false };
        let Some(master) = self.master(set) else { return false };
        let belongs = |it: &Broker| it.identity().is_some_and(|id| newest.set.contains(&id));
        self.brokers[master].identity() == newest.master
            && newest.set.is_disjoint(&self.ctx.truths[set.0].gone)
            && self.replicas(set).iter().all(|it| self.victims.contains(&it.index) || belongs(it))
    }
}
