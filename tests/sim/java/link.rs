//! A Java broker's link to the controllers: it asks who leads every ten seconds, and nothing makes it ask earlier; a
//! request without an answer for three seconds closes the connection that its heartbeats use, too.

use super::Host;
use crate::ctx::NodeId;
use crate::net::{ConnId, Port};
use crate::packet::{Packet, Request};
use proto::Millis;
use std::collections::{BTreeMap, BTreeSet};

const CALL_MS: Millis = 3_000;
/// `syncControllerMetadataPeriod`, and while no leader is known.
const LEADER_MS: Millis = 10_000;
const FIRST_LEADER_MS: Millis = 1_000;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Find,
    NextId,
    ApplyId,
    Register,
    Elect,
    Poll,
    Alter,
}

struct Call {
    purpose: Purpose,
    controller: usize,
    until: Millis,
}

#[derive(Default)]
struct Door {
    conn: Option<ConnId>,
    connected: bool,
    /// Until the connection is there.
    queue: Vec<Packet>,
}

pub struct Link {
    doors: Vec<Door>,
    leader: Option<usize>,
    find_at: Millis,
    calls: BTreeMap<u64, Call>,
    next: u64,
}

impl Link {
    pub fn new(controllers: usize) -> Link {
        let doors = (0..controllers).map(|_| Door::default()).collect();
        Link { doors, leader: None, find_at: 0, calls: BTreeMap::new(), next: 1 }
    }

    pub fn knows_leader(&self) -> bool {
        self.leader.is_some()
    }

    pub fn awaits(&self, purpose: Purpose) -> bool {
        self.calls.values().any(|it| it.purpose == purpose)
    }

    /// Looks for the leader when it is time; the purposes of requests that have waited too long.
    pub fn tick(&mut self, host: &mut Host<'_>) -> Vec<Purpose> {
        let now = host.now();
        if now >= self.find_at {
            self.find_at = now + if self.leader.is_some() { LEADER_MS } else { FIRST_LEADER_MS };
            for controller in 0..self.doors.len() {
                self.call(host, controller, Purpose::Find, Request::Metadata);
            }
        }
        let late: BTreeSet<usize> = self.calls.values().filter(|it| now >= it.until).map(|it| it.controller).collect();
        let mut failed = Vec::new();
        for controller in late {
            if let Some(conn) = self.doors[controller].conn {
                host.close(conn);
            }
            failed.extend(self.lost(controller));
        }
        failed
    }

    /// What was asked over this controller's connection has failed with it.
    fn lost(&mut self, controller: usize) -> Vec<Purpose> {
        self.doors[controller] = Door::default();
        self.calls.extract_if(.., |_, it| it.controller == controller).map(|it| it.1.purpose).collect()
    }

    /// False: no leader is known.
    pub fn ask_leader(&mut self, host: &mut Host<'_>, purpose: Purpose, request: Request) -> bool {
        let leader = self.leader;
        leader.inspect(|it| self.call(host, *it, purpose, request)).is_some()
    }

    fn call(&mut self, host: &mut Host<'_>, controller: usize, purpose: Purpose, request: Request) {
        let (id, until) = (self.next, host.now() + CALL_MS);
        self.next += 1;
        self.calls.insert(id, Call { purpose, controller, until });
        self.send(host, controller, id, request);
    }

    /// One-way: nobody waits for an answer.
    pub fn tell_all(&mut self, host: &mut Host<'_>, request: &Request) {
        for controller in 0..self.doors.len() {
            let id = self.next;
            self.next += 1;
            self.send(host, controller, id, request.clone());
        }
    }

    fn send(&mut self, host: &mut Host<'_>, controller: usize, id: u64, request: Request) {
        let packet = Packet::Call { id, set: host.set, request };
        let door = &mut self.doors[controller];
        let conn = *door.conn.get_or_insert_with(|| host.ctx.connect(host.node, NodeId(controller), Port::Main));
        match door.connected {
            true => host.send(conn, packet),
            false => door.queue.push(packet),
        }
    }

    /// True if the connection is one of these.
    pub fn connected(&mut self, host: &mut Host<'_>, conn: ConnId) -> bool {
        let Some(door) = self.doors.iter_mut().find(|it| it.conn == Some(conn)) else { return false };
        door.connected = true;
        for packet in std::mem::take(&mut door.queue) {
            host.send(conn, packet);
        }
        true
    }

    /// What has failed with it, if the connection was one of these.
    pub fn closed(&mut self, conn: ConnId) -> Option<Vec<Purpose>> {
        let controller = self.doors.iter().position(|it| it.conn == Some(conn))?;
        Some(self.lost(controller))
    }

    pub fn answered(&mut self, id: u64) -> Option<Purpose> {
        self.calls.remove(&id).map(|it| it.purpose)
    }

    /// Whoever names a leader is believed.
    pub fn found(&mut self, leader: Option<usize>) {
        self.leader = leader.or(self.leader);
    }
}
