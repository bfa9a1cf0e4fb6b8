//! One run: controllers, one or two broker sets, clients, faults; one thread, virtual time, everything from the seed.

mod alone;
mod clients;
mod end;
mod operator;
mod processes;
mod strikes;
mod watch;

use crate::agenda::Agenda;
use crate::broker::Broker;
use crate::checks::{Truth, Violation};
use crate::consumer::Consumer;
use crate::controller::Controller;
use crate::ctx::{Clock, Ctx, Event, NodeId, Story, Timer};
use crate::faults::{Fault, Profile};
use crate::java::Make;
use crate::mutants::Mutant;
use crate::net::{ConnId, Incoming, Net};
use crate::packet::{Packet, SetId};
use crate::rng::Rng;
use crate::schedule::Schedule;
use alone::Alone;
use clients::Client;
use controller::raft::Ask;
use operator::Operator;
use std::collections::VecDeque;

const JAVA_STARTS_US: u64 = 4_000_000;

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
    /// A set of it has RocketMQ's brokers.
    pub mixed: bool,
    /// One of those led.
    pub java_led: bool,
    /// And logs differ since, which is its fault: less is judged from then on.
    pub diverged: bool,
}

/// What a stopped process finds when it goes on.
enum Deferred {
    Incoming(ConnId, Incoming),
    Datagram(NodeId, Packet),
    Timer(Timer),
    /// From an operator at its console.
    Ask(Ask),
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
            mixed: !ctx.profile.java.is_empty(),
            java_led: ctx.truths.iter().any(|it| it.java.has_led()),
            diverged: ctx.truths.iter().any(|it| it.java.has_diverged()),
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
            brokers: (0..brokers)
                .map(|it| Broker::new(it, ctx.profile.set_of_broker(it), ctx.broker(it), ctx.profile.make(it)))
                .collect(),
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
        for node in (0..self.ctx.profile.controllers + self.brokers.len()).map(NodeId) {
            match self.broker_index(node).map(|it| self.ctx.profile.make(it)) {
                // A set's first broker is its first master: RocketMQ's come later.
                Some(Make::Java) => self.ctx.agenda.put(JAVA_STARTS_US, Event::Fault(Fault::Start(node))),
                _ => self.start(node),
            }
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

    pub(super) fn replicas(&self, set: SetId) -> &[Broker] {
        &self.brokers[self.ctx.profile.brokers_of(set)]
    }

    /// The broker that leads the set's newest epoch.
    pub(super) fn master(&self, set: SetId) -> Option<usize> {
        let leads = self.replicas(set).iter().filter_map(|it| Some((it.leads()?, it.index)));
        leads.max().map(|it| it.1)
    }

    /// Is that broker RocketMQ's?
    fn java_leads(&self, set: SetId) -> bool {
        self.master(set).is_some_and(|it| self.brokers[it].make == Make::Java)
    }
}
