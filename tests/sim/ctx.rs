//! What every simulated process sees of the world: time, chance, the network, and those who judge.

use crate::agenda::Agenda;
use crate::broker::Broker;
use crate::checks::{Truth, Violation};
use crate::faults::{Fault, Profile};
use crate::mutants::Mutant;
use crate::net::{ConnId, Net};
use crate::packet::{Packet, SetId};
use crate::rng::Rng;
use crate::schedule::Act;
use node::clock::{self, Virtual};
use proto::Millis;

/// Controllers first, then brokers, then clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A timer of a process; it dies with the process.
#[derive(Clone, Debug)]
pub enum Timer {
    /// The driver's own rhythm.
    Tick,
    Beat,
    Flush,
    Flushed(i64),
    Call(u64),
    Search(u64),
    Identify,
    Connect(u64),
    Follow(u64),
    Handle(u64),
    Notify {
        set: SetId,
        id: i64,
        attempt: usize,
    },
    Client,
    Greet,
    Join,
}

/// Moments at which a fault is worth more than at any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Proposal,
    /// A proposal with somebody who was no member.
    Joining,
    /// A slave knows the history that it continues; no byte has come.
    Handshake,
    Epoch,
    Promise,
    Cut,
    Drained,
    Election,
    /// A master's.
    Heartbeat,
}

#[derive(Clone, Debug)]
pub enum Event {
    Arrive { conn: ConnId, side: usize },
    Datagram { from: NodeId, to: NodeId, packet: Packet },
    Timer { node: NodeId, life: u32, timer: Timer },
    Fault(Fault),
}

/// A node's clock: where it stood when its host started, and how fast it goes.
#[derive(Clone, Copy)]
pub struct Clock {
    pub offset_ms: u64,
    pub drift_ppm: i64,
    pub wall_ahead_ms: i64,
}

/// One line an event, kept only when somebody reads it; its hash always.
pub struct Story {
    pub told: bool,
    pub lines: Vec<String>,
    pub hash: u64,
}

pub struct Ctx {
    /// Microseconds of true time.
    pub now: u64,
    pub rng: Rng,
    pub agenda: Agenda,
    pub net: Net,
    pub clocks: Vec<Clock>,
    pub names: Vec<String>,
    pub profile: Profile,
    pub mutant: Option<Mutant>,
    /// One per broker set.
    pub truths: Vec<Truth>,
    /// What concerns no broker set: the controllers' own.
    pub broken: Option<Violation>,
    pub story: Story,
    /// An act that waits for somebody to reach this point, and how much longer then.
    pub ambush: Option<(Point, u64, Box<Act>)>,
    /// Of the process that is at work: it dies after so many more outputs.
    pub fuse: Option<u32>,
}

impl Ctx {
    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// What the node's monotonic clock shows.
    pub fn local(&self, node: NodeId) -> Millis {
        let clock = self.clocks[node.0];
        let now = self.now as i64;
        let passed = now + (now * clock.drift_ppm).div_euclid(1_000_000);
        clock.offset_ms + passed as u64 / 1_000
    }

    /// How long it really takes until the node's clock shows so much more.
    pub fn true_us(&self, node: NodeId, later: Millis) -> u64 {
        let us = later as i64 * 1_000;
        (us - us * self.clocks[node.0].drift_ppm / 1_000_000) as u64
    }

    /// What the node's wall clock shows.
    pub fn wall(&self, node: NodeId) -> i64 {
        1_700_000_000_000 + self.clocks[node.0].wall_ahead_ms + self.local(node) as i64
    }

    /// Sets this thread's clocks to the node's.
    pub fn set_clocks(&self, node: NodeId) {
        let monotonic_ms = self.local(node);
        let wall_ms = self.wall(node);
        clock::simulate(Virtual { monotonic_ms, wall_ms });
    }

    pub fn timer(&mut self, node: NodeId, after_us: u64, timer: Timer) {
        let life = self.net.hosts[node.0].life.unwrap_or(0);
        self.agenda.put(self.now + after_us.max(1), Event::Timer { node, life, timer });
    }

    pub fn say(&mut self, node: NodeId, line: std::fmt::Arguments<'_>) {
        let line = format!("{:>10.3} {:<3} {line}", self.now as f64 / 1_000.0, self.names[node.0]);
        for byte in line.bytes() {
            self.story.hash = (self.story.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        if self.story.told {
            self.story.lines.push(line);
        }
    }

    /// Springs the ambush that is laid here.
    pub fn reaches(&mut self, point: Point, node: NodeId) {
        if let Some((_, wait, act)) = self.ambush.take_if(|it| it.0 == point) {
            self.agenda.put(self.now + wait, Event::Fault(Fault::Sprung(node, act)));
        }
    }

    /// Between two outputs of a core: whether the process dies here.
    pub fn burns(&mut self) -> bool {
        match &mut self.fuse {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                *left == 0
            }
        }
    }

    pub fn truth(&mut self, set: SetId) -> &mut Truth {
        &mut self.truths[set.0]
    }

    /// The first one is told: what follows may be its consequence.
    pub fn fail(&mut self, rule: &'static str, what: String) {
        self.broken.get_or_insert(Violation { rule, what });
    }

    /// After every step.
    pub fn judge(&mut self, brokers: &mut [Broker]) {
        self.truths.iter_mut().for_each(|it| it.judge(brokers));
    }

    pub fn violation(&self) -> Option<&Violation> {
        self.broken.as_ref().or_else(|| self.truths.iter().find_map(|it| it.violation.as_ref()))
    }

    pub fn sets(&self) -> impl Iterator<Item = SetId> + use<> {
        (0..self.profile.sets).map(SetId)
    }

    pub fn controller(&self, index: usize) -> NodeId {
        NodeId(index)
    }

    pub fn broker(&self, index: usize) -> NodeId {
        NodeId(self.profile.controllers + index)
    }

    pub fn client(&self, index: usize) -> NodeId {
        NodeId(self.profile.controllers + self.profile.brokers() + index)
    }

    /// The broker whose address this is.
    pub fn at(&self, address: &str) -> Option<NodeId> {
        self.names.iter().position(|it| it == address).map(NodeId)
    }
}
