//! The network: streams that keep order, datagrams that do not, links that can be cut one way.
//!
//! A cut link holds back what is on its way, as TCP does, and lets it go when it heals: in order within a stream, in
//! any order between streams. A killed process's kernel closes its streams behind the data that was sent; a host
//! without power says nothing until it is back.

use crate::ctx::{Ctx, Event, NodeId};
use crate::packet::Packet;
use std::collections::{BTreeMap, VecDeque};

pub type ConnId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Main,
    Ha,
}

/// What a process learns of its connections.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// Somebody has connected.
    Opened(Port),
    Connected,
    Failed,
    Data(Packet),
    Closed,
}

enum Wire {
    Open,
    Accepted,
    Refused,
    Data(Packet),
    Closed,
}

struct Conn {
    /// Who opened it, and to whom.
    ends: [NodeId; 2],
    lives: [u32; 2],
    closed: [bool; 2],
    port: Port,
    /// By sender: what has not arrived.
    queue: [VecDeque<Wire>; 2],
    last: [u64; 2],
}

#[derive(Clone, Copy, Default)]
pub struct Host {
    pub powered: bool,
    /// Which life of the process, if it runs.
    pub life: Option<u32>,
}

pub struct Net {
    pub hosts: Vec<Host>,
    conns: BTreeMap<ConnId, Conn>,
    next: ConnId,
    /// By sender and receiver.
    cut: Vec<Vec<bool>>,
    /// Datagrams held back by a cut.
    held: Vec<(NodeId, NodeId, Packet)>,
}

impl Net {
    pub fn new(nodes: usize) -> Net {
        Net {
            hosts: vec![Host { powered: true, life: None }; nodes],
            conns: BTreeMap::new(),
            next: 1,
            cut: vec![vec![false; nodes]; nodes],
            held: Vec::new(),
        }
    }

    pub fn peer(&self, conn: ConnId, of: NodeId) -> Option<NodeId> {
        let ends = self.conns.get(&conn)?.ends;
        Some(if ends[0] == of { ends[1] } else { ends[0] })
    }

    /// Nothing that `from` sends arrives.
    pub fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cut[from.0][to.0]
    }

    /// Packets of a stream that this end has sent and that have not arrived.
    pub fn in_flight(&self, conn: ConnId, of: NodeId) -> usize {
        self.conns.get(&conn).map_or(0, |it| it.queue[usize::from(it.ends[0] != of)].len())
    }
}

impl Ctx {
    fn latency(&mut self) -> u64 {
        let (base, jitter) = (self.profile.latency_us, self.profile.jitter_us);
        let slow = self.rng.chance(self.profile.slow_packets);
        base + self.rng.below(jitter) + if slow { self.rng.below(self.profile.slow_us) } else { 0 }
    }

    /// The outcome comes as [`Incoming::Connected`] or [`Incoming::Failed`], or never.
    pub fn connect(&mut self, from: NodeId, to: NodeId, port: Port) -> ConnId {
        let id = self.net.next;
        self.net.next += 1;
        let life = self.net.hosts[from.0].life.unwrap_or(0);
        let conn = Conn {
            ends: [from, to],
            lives: [life, 0],
            closed: [false, false],
            port,
            queue: [VecDeque::new(), VecDeque::new()],
            last: [0, 0],
        };
        self.net.conns.insert(id, conn);
        self.put(id, 0, Wire::Open);
        id
    }

    pub fn send(&mut self, conn: ConnId, from: NodeId, packet: Packet) {
        if let Some(it) = self.net.conns.get(&conn) {
            let side = usize::from(it.ends[0] != from);
            if !it.closed[side] {
                self.put(conn, side, Wire::Data(packet));
            }
        }
    }

    pub fn close(&mut self, conn: ConnId, by: NodeId) {
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        let side = usize::from(it.ends[0] != by);
        if !std::mem::replace(&mut it.closed[side], true) {
            self.put(conn, side, Wire::Closed);
        }
    }

    fn put(&mut self, conn: ConnId, side: usize, wire: Wire) {
        let latency = self.latency();
        let now = self.now;
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        let (from, to) = (it.ends[side], it.ends[1 - side]);
        it.queue[side].push_back(wire);
        it.last[side] = (now + latency).max(it.last[side] + 1);
        let at = it.last[side];
        if !self.net.cut[from.0][to.0] {
            self.agenda.put(at, Event::Arrive { conn, side });
        }
    }

    /// The next packet of a stream is due: what its receiver's process learns, if anything.
    pub fn arrive(&mut self, conn: ConnId, side: usize) -> Option<(NodeId, u32, Incoming)> {
        let it = self.net.conns.get_mut(&conn)?;
        let (from, to, other) = (it.ends[side], it.ends[1 - side], 1 - side);
        let host = self.net.hosts[to.0];
        if self.net.cut[from.0][to.0] {
            return None;
        }
        let wire = it.queue[side].pop_front()?;
        if !host.powered {
            return None;
        }
        let incoming = match wire {
            Wire::Open => {
                let answer = match host.life {
                    Some(life) => {
                        it.lives[other] = life;
                        Wire::Accepted
                    }
                    None => {
                        it.closed[other] = true;
                        Wire::Refused
                    }
                };
                let opened = Incoming::Opened(it.port);
                self.put(conn, other, answer);
                opened
            }
            Wire::Accepted => Incoming::Connected,
            Wire::Refused => Incoming::Failed,
            Wire::Data(packet) => Incoming::Data(packet),
            Wire::Closed => Incoming::Closed,
        };
        let it = self.net.conns.get_mut(&conn)?;
        let (life, deaf) = (it.lives[other], it.closed[other]);
        if matches!(incoming, Incoming::Closed | Incoming::Failed) {
            it.closed[other] = true;
            if it.closed[side] {
                self.net.conns.remove(&conn);
            }
        }
        (!deaf && host.life == Some(life)).then_some((to, life, incoming))
    }

    /// Connectionless, in any order; may be lost.
    pub fn datagram(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        if self.rng.chance(self.profile.loss) {
            return;
        }
        if self.net.cut[from.0][to.0] {
            if self.rng.chance(500) {
                self.net.held.push((from, to, packet));
            }
            return;
        }
        if self.rng.chance(self.profile.duplicates) {
            let at = self.now + self.latency();
            self.agenda.put(at, Event::Datagram { from, to, packet: packet.clone() });
        }
        let at = self.now + self.latency();
        self.agenda.put(at, Event::Datagram { from, to, packet });
    }

    /// Whether a datagram gets through now that it is due.
    pub fn takes_datagram(&self, from: NodeId, to: NodeId) -> bool {
        !self.net.cut[from.0][to.0] && self.net.hosts[to.0].life.is_some()
    }

    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.net.cut[from.0][to.0] = true;
    }

    pub fn heal(&mut self, from: NodeId, to: NodeId) {
        if !std::mem::replace(&mut self.net.cut[from.0][to.0], false) {
            return;
        }
        let mut streams = Vec::new();
        for (id, it) in &self.net.conns {
            for side in 0..2 {
                if (it.ends[side], it.ends[1 - side]) == (from, to) {
                    streams.push((*id, side, it.queue[side].len()));
                }
            }
        }
        for (conn, side, count) in streams {
            // Streams are let go at moments of their own.
            let mut at = self.now + self.latency() * 3;
            for _ in 0..count {
                at += self.rng.below(50) + 1;
                self.agenda.put(at, Event::Arrive { conn, side });
            }
        }
        let (go, stay) = std::mem::take(&mut self.net.held).into_iter().partition(|it| (it.0, it.1) == (from, to));
        self.net.held = stay;
        for (from, to, packet) in go {
            let at = self.now + self.rng.below(20_000);
            self.agenda.put(at, Event::Datagram { from, to, packet });
        }
    }

    /// The process is gone, its kernel is not: streams end behind what was sent.
    pub fn hang_up(&mut self, node: NodeId) {
        let all: Vec<ConnId> = self.net.conns.iter().filter(|it| it.1.ends.contains(&node)).map(|it| *it.0).collect();
        all.into_iter().for_each(|conn| self.close(conn, node));
    }

    /// The host is gone: some of what was sent is lost, and nothing is said until it is back.
    pub fn go_dark(&mut self, node: NodeId) {
        for it in self.net.conns.values_mut() {
            for side in (0..2).filter(|side| it.ends[*side] == node) {
                it.queue[side].truncate(self.rng.below(it.queue[side].len() as u64 + 1) as usize);
                // Its end may have been among what is lost: the host says so again when it is back.
                it.closed[side] = false;
            }
        }
    }

    /// A stream breaks in the middle: both ends learn of it, in their own time.
    pub fn reset(&mut self, a: NodeId, b: NodeId) {
        let between = |it: &Conn| it.ends == [a, b] || it.ends == [b, a];
        let all: Vec<ConnId> = self.net.conns.iter().filter(|it| between(it.1)).map(|it| *it.0).collect();
        for conn in all {
            for side in 0..2 {
                if let Some(it) = self.net.conns.get_mut(&conn) {
                    it.queue[side].truncate(self.rng.below(it.queue[side].len() as u64 + 1) as usize);
                }
                self.put(conn, side, Wire::Closed);
            }
        }
    }
}
