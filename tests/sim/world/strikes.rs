//! Acts as they strike: who is meant is resolved here, and nothing is drawn that the act does not leave to the network.

use super::World;
use crate::ctx::{Event, NodeId};
use crate::faults::Fault;
use crate::java::Make;
use crate::mutants::Mutant;
use crate::packet::SetId;
use crate::schedule::{Act, Direction, Group, Way, Who};

impl World {
    pub(super) fn on_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Act(act) if self.calm_since.is_none() => self.strike(*act, None),
            // Somebody has reached the point where it waited.
            Fault::Sprung(node, act) if self.calm_since.is_none() => {
                self.ctx.say(node, format_args!("is ambushed"));
                self.strike(*act, Some(node));
            }
            Fault::Act(_) | Fault::Sprung(..) => {}
            Fault::Heal(from, to) => self.ctx.heal(from, to),
            Fault::Resume(node) => self.go_on(node),
            Fault::Start(node) => self.start(node),
            Fault::Operator => self.operate(),
            Fault::Calm => self.calm_down(),
            Fault::Look => self.look(),
            Fault::Watch => self.watch(),
        }
    }

    fn later(&mut self, after: u64, fault: Fault) {
        self.ctx.agenda.put(self.ctx.now + after, Event::Fault(fault));
    }

    // ---- who is meant

    pub(super) fn meant(&self, who: Who, it: Option<NodeId>) -> Vec<NodeId> {
        let (controllers, brokers) = (self.controllers.len(), self.brokers.len());
        let (clients, consumers) = (self.clients.len(), self.consumers.len());
        let one = |index: usize, count: usize, first: usize| match index < count {
            true => vec![NodeId(first + index)],
            false => Vec::new(),
        };
        let some = |of: std::ops::Range<usize>| of.map(NodeId).collect();
        match who {
            Who::Controller(index) => one(index, controllers, 0),
            Who::Broker(index) => one(index, brokers, controllers),
            Who::Client(index) => one(index, clients, controllers + brokers),
            Who::Consumer(index) => one(index, consumers, controllers + brokers + clients),
            Who::Leader => self.leader().into_iter().collect(),
            Who::Master(set) if self.has(set) => self.master(set).map(|it| self.ctx.broker(it)).into_iter().collect(),
            Who::Slave(set) if self.has(set) => self.last_slave(set).into_iter().collect(),
            Who::It => it.into_iter().collect(),
            Who::Controllers => some(0..controllers),
            Who::Set(set) if self.has(set) => self.replicas(set).iter().map(|it| it.node).collect(),
            Who::Master(_) | Who::Slave(_) | Who::Set(_) => Vec::new(),
            Who::Servers => some(0..controllers + brokers),
            Who::All => some(0..controllers + brokers + clients + consumers),
        }
    }

    fn group(&self, group: &Group, it: Option<NodeId>) -> Vec<NodeId> {
        let all = |of: &[Who]| of.iter().flat_map(|who| self.meant(*who, it)).collect::<Vec<_>>();
        let but = all(&group.but);
        all(&group.of).into_iter().filter(|node| !but.contains(node)).collect()
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.controllers.iter().find(|it| it.leads() && !self.paused[it.node.0]).map(|it| it.node)
    }

    /// The one that nobody would choose: of equals the smallest id is.
    fn last_slave(&self, set: SetId) -> Option<NodeId> {
        let master = self.master(set);
        let slaves = self.replicas(set).iter().filter(|it| Some(it.index) != master);
        slaves.max_by_key(|it| it.identity()).map(|it| it.node)
    }

    /// A schedule may be played with another profile than it was drawn for.
    fn has(&self, set: SetId) -> bool {
        set.0 < self.ctx.profile.sets
    }

    pub(super) fn runs(&self, node: NodeId) -> bool {
        self.ctx.net.hosts[node.0].life.is_some()
    }

    // ---- what happens

    fn strike(&mut self, act: Act, it: Option<NodeId>) {
        match act {
            Act::Kill { who, back } => self.each(who, it, |world, node| world.kill(node, back)),
            Act::Crash { who, outputs, back } => self.each(who, it, |world, node| {
                world.fuses[node.0] = Some((outputs, back));
            }),
            Act::PowerOff { who, back, kept_percent } => {
                self.each(who, it, |world, node| world.darken(node, back, kept_percent));
            }
            Act::Pause { who, lasts } => self.each(who, it, |world, node| world.pause(node, lasts)),
            Act::Cut { ways, lasts, healing } => self.cut(&ways, it, lasts, healing),
            Act::Break { a, b } => {
                let (some, others) = (self.meant(a, it), self.meant(b, it));
                for (a, b) in some.iter().flat_map(|a| others.iter().map(|b| (*a, *b))).filter(|it| it.0 != it.1) {
                    self.ctx.say(a, format_args!("its connections with {} break", self.ctx.names[b.0].clone()));
                    self.ctx.reset(a, b);
                }
            }
            Act::Wipe { who, back } => self.each(who, it, |world, node| world.exchange_disk(node, back)),
            Act::Jump { who, by_ms } => self.each(who, it, |world, node| {
                world.ctx.clocks[node.0].wall_ahead_ms += by_ms;
                world.ctx.say(node, format_args!("its wall clock jumps by {by_ms} ms"));
            }),
            Act::Order(order) => self.order(&order, it),
            Act::Ambush { point, wait, act } => self.ctx.ambush = Some((point, wait, act)),
        }
    }

    /// Each server that is meant and runs.
    fn each(&mut self, who: Who, it: Option<NodeId>, mut strike: impl FnMut(&mut World, NodeId)) {
        let servers = self.controllers.len() + self.brokers.len();
        for node in self.meant(who, it).into_iter().filter(|it| it.0 < servers) {
            if self.runs(node) {
                strike(self, node);
            }
        }
    }

    fn kill(&mut self, node: NodeId, back: u64) {
        self.ctx.say(node, format_args!("is killed"));
        self.stop(node);
        self.later(back, Fault::Start(node));
    }

    fn pause(&mut self, node: NodeId, lasts: u64) {
        if !self.paused[node.0] {
            self.ctx.say(node, format_args!("is stopped for a while"));
            self.paused[node.0] = true;
            self.later(lasts, Fault::Resume(node));
        }
    }

    /// Not where nothing is promised: with asynchronous flush one host at a time.
    fn darken(&mut self, node: NodeId, back: u64, kept_percent: u64) {
        if let Some(index) = self.broker_index(node) {
            // It counts what it has not flushed, and nobody learns that it lost it: nothing is promised then.
            if self.brokers[index].make == Make::Java {
                return;
            }
            let flushed = self.brokers[index].disk.flushed;
            let weak = self.ctx.profile.min_in_sync < 2 || self.ctx.profile.copies > 0;
            let flush = self.ctx.profile.sync_flush;
            if !flush
                && (weak || !self.ctx.truths[self.brokers[index].set.0].may_lose_power(&self.brokers, index, flushed))
            {
                return;
            }
        }
        self.ctx.say(node, format_args!("its host loses power"));
        self.power_off(node, kept_percent);
        self.later(back, Fault::Start(node));
    }

    /// Not where nothing is promised: to the last one that has everything, or to a second controller.
    fn exchange_disk(&mut self, node: NodeId, back: u64) {
        match self.broker_index(node) {
            Some(index) => {
                let (set, id) = (self.brokers[index].set, self.brokers[index].identity());
                if self.brokers[index].make == Make::Java || !self.ctx.truths[set.0].may_lose_disk(&self.brokers, index)
                {
                    return;
                }
                self.ctx.say(node, format_args!("is killed, and its disk is exchanged for an empty one"));
                self.stop(node);
                let lost = std::mem::take(&mut self.brokers[index].disk);
                if self.ctx.is(Mutant::KeepsIdentityOfLostDisk) {
                    self.brokers[index].disk.identity = lost.identity;
                } else {
                    self.ctx.truth(set).disk_lost(index, id);
                }
            }
            None => {
                if !self.may_lose_controller(node.0) {
                    return;
                }
                self.ctx.say(node, format_args!("is killed, and its disk is exchanged for an empty one"));
                self.stop(node);
                self.controllers[node.0].wipe();
                self.replace(node.0);
            }
        }
        self.later(back, Fault::Start(node));
    }

    fn cut(&mut self, ways: &[Way], it: Option<NodeId>, lasts: u64, healing: u64) {
        let mut links = Vec::new();
        for way in ways {
            let (from, to) = (self.group(&way.from, it), self.group(&way.to, it));
            for from in &from {
                let to: Vec<NodeId> = to.iter().copied().filter(|it| it != from).collect();
                let names = to.iter().map(|it| &*self.ctx.names[it.0]).collect::<Vec<_>>().join(" ");
                if way.direction == Direction::Both {
                    links.extend(to.iter().map(|it| (*it, *from)));
                    self.ctx.say(*from, format_args!("neither hears nor is heard by {names}"));
                } else if !to.is_empty() {
                    self.ctx.say(*from, format_args!("is not heard by {names}"));
                }
                links.extend(to.into_iter().map(|it| (*from, it)));
            }
        }
        for (from, to) in links {
            self.ctx.cut(from, to);
            let lag = if healing > 0 { self.ctx.rng.below(healing) } else { 0 };
            self.later(lasts + lag, Fault::Heal(from, to));
        }
    }
}
