//! Faults as they strike: drawn from the profile, sprung where somebody reaches a point, or as a scenario tells them.

use super::World;
use crate::ctx::{Event, NodeId, Point};
use crate::faults::{self, Fault, Kind};
use crate::packet::{Packet, Request, SetId};
use crate::scenarios::Strike;

impl World {
    pub(super) fn on_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Next if self.calm_since.is_none() => {
                if let Some(kind) = self.ctx.profile.kind(&mut self.ctx.rng) {
                    self.strike(kind);
                }
                let gap = self.ctx.rng.below(2 * self.ctx.profile.gap_us);
                self.ctx.agenda.put(self.ctx.now + gap, Event::Fault(Fault::Next));
            }
            Fault::Next => {}
            Fault::Heal(from, to) => self.ctx.heal(from, to),
            Fault::Resume(node) => self.go_on(node),
            Fault::Start(node) => self.start(node),
            Fault::Sprung(node) => self.sprung(node),
            Fault::Scripted(strike) => self.strike_as_told(strike),
            Fault::Calm => self.calm_down(),
            Fault::Look => self.look(),
        }
    }

    fn later(&mut self, fault: Fault) {
        let after = faults::duration(&mut self.ctx);
        self.ctx.agenda.put(self.ctx.now + after, Event::Fault(fault));
    }

    fn some_set(&mut self) -> SetId {
        SetId(self.ctx.rng.below(self.ctx.profile.sets as u64) as usize)
    }

    fn some_broker(&mut self) -> NodeId {
        let set = self.some_set();
        self.some_replica(set)
    }

    fn some_replica(&mut self, set: SetId) -> NodeId {
        // The master is what matters.
        let master = self.master(set);
        let index = match master.filter(|_| self.ctx.rng.chance(500)) {
            Some(index) => index,
            None => {
                let replicas = self.ctx.profile.brokers_of(set);
                replicas.start + self.ctx.rng.below(replicas.len() as u64) as usize
            }
        };
        self.ctx.broker(index)
    }

    fn some_controller(&mut self) -> NodeId {
        let leader = self.controllers.iter().position(|it| it.leads());
        let index = leader.filter(|_| self.ctx.rng.chance(600));
        NodeId(index.unwrap_or_else(|| self.ctx.rng.below(self.controllers.len() as u64) as usize))
    }

    fn runs(&self, node: NodeId) -> bool {
        self.ctx.net.hosts[node.0].life.is_some()
    }

    fn strike(&mut self, kind: Kind) {
        match kind {
            Kind::KillBroker => {
                let node = self.some_broker();
                self.kill(node);
            }
            Kind::KillController => {
                let node = self.some_controller();
                self.kill(node);
            }
            Kind::KillLeaderAndMaster => {
                let set = self.some_set();
                let (master, leader) = (self.master(set), self.controllers.iter().position(|it| it.leads()));
                if let Some((master, leader)) = master.zip(leader) {
                    self.kill(NodeId(leader));
                    let master = self.ctx.broker(master);
                    self.kill(master);
                }
            }
            Kind::CrashBroker => {
                let node = self.some_broker();
                if self.runs(node) {
                    self.fuses[node.0] = Some(self.ctx.rng.between(1, 60) as u32);
                }
            }
            Kind::PowerBroker => self.strike_power(),
            Kind::PowerController => {
                let node = self.some_controller();
                if self.runs(node) {
                    self.ctx.say(node, format_args!("its host loses power"));
                    self.power_off(node);
                    self.later(Fault::Start(node));
                }
            }
            Kind::PauseBroker => {
                let node = self.some_broker();
                self.pause(node);
            }
            Kind::PauseController => {
                let node = self.some_controller();
                self.pause(node);
            }
            Kind::Cut => {
                let (from, to) = (self.some_node(), self.some_node());
                self.cut(from, to);
            }
            Kind::Isolate => self.isolate(),
            Kind::Reset => {
                let (a, b) = (self.some_node(), self.some_node());
                self.ctx.say(a, format_args!("its connections with {} break", self.ctx.names[b.0].clone()));
                self.ctx.reset(a, b);
            }
            Kind::Ambush => {
                let points =
                    [Point::Proposal, Point::Epoch, Point::Promise, Point::Cut, Point::Drained, Point::Election];
                self.ctx.ambush = Some(self.ctx.rng.pick(&points));
            }
            Kind::Catastrophe => self.strike_all(),
            Kind::Switchover => {
                let set = self.some_set();
                self.switch_over(set);
            }
        }
    }

    fn switch_over(&mut self, set: SetId) {
        if let Some(leader) = self.controllers.iter().position(|it| it.leads()) {
            let (from, to) = (self.ctx.client(0), NodeId(leader));
            self.ctx.datagram(from, to, Packet::Call { id: 0, set, request: Request::Switchover });
        }
    }

    fn strike_as_told(&mut self, strike: Strike) {
        // Scenarios have one set.
        let set = SetId(0);
        let Some(master) = self.master(set) else { return };
        let (now, master_node) = (self.ctx.now, self.ctx.broker(master));
        // The one that nobody would choose: of equals the smallest id is.
        let slaves = self.replicas(set).iter().filter(|it| it.index != master);
        let slave = slaves.max_by_key(|it| it.identity()).map_or(master_node, |it| it.node);
        let controllers = (0..self.controllers.len()).map(NodeId);
        let servers = (0..self.controllers.len() + self.brokers.len()).map(NodeId);
        let (links, until): (Vec<(NodeId, NodeId)>, u64) = match strike {
            Strike::CutOffMaster(ms) => {
                let others = servers.filter(|it| *it != master_node);
                (others.flat_map(|it| [(it, master_node), (master_node, it)]).collect(), now + ms * 1_000)
            }
            Strike::DeafenSlave(ms) => (controllers.map(|it| (it, slave)).collect(), now + ms * 1_000),
            Strike::Switchover => return self.switch_over(set),
            Strike::BreakMastersConnections => {
                return controllers.for_each(|it| self.ctx.reset(it, master_node));
            }
        };
        for (from, to) in links {
            self.ctx.cut(from, to);
            self.ctx.agenda.put(until, Event::Fault(Fault::Heal(from, to)));
        }
    }

    fn some_node(&mut self) -> NodeId {
        if self.ctx.rng.chance(400) { self.some_controller() } else { self.some_broker() }
    }

    fn kill(&mut self, node: NodeId) {
        if self.runs(node) {
            self.ctx.say(node, format_args!("is killed"));
            self.stop(node);
            self.later(Fault::Start(node));
        }
    }

    fn pause(&mut self, node: NodeId) {
        if self.runs(node) && !self.paused[node.0] {
            self.ctx.say(node, format_args!("is stopped for a while"));
            self.paused[node.0] = true;
            self.later(Fault::Resume(node));
        }
    }

    /// What happens at a moment that matters.
    fn sprung(&mut self, node: NodeId) {
        if self.calm_since.is_some() {
            return;
        }
        self.ctx.say(node, format_args!("is ambushed"));
        match (self.ctx.rng.below(8), self.broker_index(node)) {
            (0, _) => self.kill(node),
            (1, _) => self.pause(node),
            (2, Some(_)) => drop(self.darken(node)),
            (3..=5, _) => self.cut_from_controllers(node),
            _ => self.isolate_one(node),
        }
    }

    /// Answers do not come, or requests and answers do not, while the brokers hear each other.
    fn cut_from_controllers(&mut self, node: NodeId) {
        let (after, both) = (faults::duration(&mut self.ctx), self.ctx.rng.chance(300));
        self.ctx.say(node, format_args!("does not hear the controllers"));
        for other in (0..self.controllers.len()).map(NodeId).filter(|it| *it != node) {
            self.ctx.cut(other, node);
            self.ctx.agenda.put(self.ctx.now + after, Event::Fault(Fault::Heal(other, node)));
            if both {
                self.ctx.cut(node, other);
                self.ctx.agenda.put(self.ctx.now + after, Event::Fault(Fault::Heal(node, other)));
            }
        }
    }

    fn strike_all(&mut self) {
        let set = self.some_set();
        let node = self.some_replica(set);
        if !self.darken(node) {
            return;
        }
        self.ctx.agenda.put(self.ctx.now + 1_000, Event::Fault(Fault::Start(node)));
        for other in self.ctx.profile.brokers_of(set).map(|it| self.ctx.broker(it)).collect::<Vec<_>>() {
            self.kill(other);
        }
    }

    fn strike_power(&mut self) {
        let node = self.some_broker();
        self.darken(node);
    }

    /// True if its host has lost power.
    fn darken(&mut self, node: NodeId) -> bool {
        let Some(index) = self.broker_index(node).filter(|_| self.runs(node)) else { return false };
        let flushed = self.brokers[index].disk.flushed;
        let weak = self.ctx.profile.min_in_sync < 2 || self.ctx.profile.copies > 0;
        let flush = self.ctx.profile.sync_flush;
        if !flush && (weak || !self.ctx.truths[self.brokers[index].set.0].may_lose_power(&self.brokers, index, flushed))
        {
            return false;
        }
        self.ctx.say(node, format_args!("its host loses power"));
        self.power_off(node);
        self.later(Fault::Start(node));
        true
    }

    fn cut(&mut self, from: NodeId, to: NodeId) {
        if from != to && !self.ctx.net.is_cut(from, to) {
            self.ctx.say(from, format_args!("is not heard by {}", self.ctx.names[to.0].clone()));
            self.ctx.cut(from, to);
            self.later(Fault::Heal(from, to));
        }
    }

    /// One node from some of the others; a master with one controller, now and then.
    fn isolate(&mut self) {
        let node = self.some_node();
        self.isolate_one(node);
    }

    fn isolate_one(&mut self, node: NodeId) {
        let (spared, ways) = (self.some_controller(), self.ctx.rng.below(3));
        let spares = self.ctx.rng.chance(300);
        self.ctx.say(node, format_args!("is cut off"));
        for other in (0..self.ctx.profile.nodes()).map(NodeId).filter(|it| *it != node && !(spares && *it == spared)) {
            if ways != 1 {
                self.ctx.cut(node, other);
            }
            if ways != 0 {
                self.ctx.cut(other, node);
            }
        }
        let after = faults::duration(&mut self.ctx);
        for other in (0..self.ctx.profile.nodes()).map(NodeId) {
            for (from, to) in [(node, other), (other, node)] {
                let lag = self.ctx.rng.below(20_000);
                self.ctx.agenda.put(self.ctx.now + after + lag, Event::Fault(Fault::Heal(from, to)));
            }
        }
    }
}
