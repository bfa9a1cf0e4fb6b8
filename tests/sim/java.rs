//! A broker as the others see RocketMQ 5's (`ReplicasManager` and the autoswitch HA): no lease, no boot id, polls every
//! five seconds, an epoch that only its memory and its epoch file know. Its habits are those of the code that people
//! run, quirks included. It is a slave, and counts in its set; once it leads, its run is over: see `checks/java.rs`.

mod epochs;
mod link;
mod slave;

use crate::ctx::{Ctx, NodeId, Timer};
use crate::disk::{Identity, StoreDisk};
use crate::net::{ConnId, Incoming, Port};
use crate::packet::{Packet, Reply, Request, Sent, SetId};
use controller::liveness::{Heartbeat, RaftLease};
use ha::role::View;
use link::{Link, Purpose};
use proto::{BrokerId, Epoch, Millis};
use slave::Following;

const TICK_US: u64 = 100_000;
/// `brokerHeartbeatInterval`, `syncBrokerMetadataPeriod` and how soon it polls first.
const BEAT_MS: Millis = 1_000;
/// `controllerHeartBeatTimeoutMills`.
const TIMEOUT_MS: Millis = 10_000;
const POLL_MS: Millis = 5_000;
const FIRST_POLL_MS: Millis = 3_000;
/// Between attempts to be elected first.
const START_AGAIN_MS: Millis = 5_000;

/// What a process has at hand: its node and its disk.
pub struct Host<'a> {
    pub ctx: &'a mut Ctx,
    pub node: NodeId,
    pub index: usize,
    pub set: SetId,
    pub disk: &'a mut StoreDisk,
}

impl Host<'_> {
    fn now(&self) -> Millis {
        self.ctx.local(self.node)
    }

    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        self.ctx.say(self.node, line);
    }

    fn send(&mut self, conn: ConnId, packet: Packet) {
        if !self.ctx.burns() {
            self.ctx.send(conn, self.node, packet);
        }
    }

    fn close(&mut self, conn: ConnId) {
        self.ctx.close(conn, self.node);
    }

    fn refuse(&mut self, client: NodeId, message: u32) {
        if !self.ctx.burns() {
            self.ctx.datagram(self.node, client, Packet::Sent { message, result: Sent::Refused });
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Identify,
    Register,
    /// A master has to be known before it runs.
    Elect,
    Running,
}

enum Role {
    None,
    Slave(Following),
    /// Here its story ends.
    Master,
}

pub struct Process {
    link: Link,
    me: BrokerId,
    stage: Stage,
    role: Role,
    /// In memory only: after a restart every epoch is new.
    epoch: Epoch,
    next_step: Millis,
    beat_at: Millis,
    poll_at: Millis,
}

impl Process {
    pub fn start(host: &mut Host<'_>) -> Process {
        let end = host.disk.end();
        host.say(format_args!("starts, Java: log ends at {end}"));
        let lag = host.ctx.rng.below(TICK_US);
        host.ctx.timer(host.node, lag, Timer::Tick);
        Process {
            link: Link::new(host.ctx.profile.controllers),
            me: 0,
            stage: Stage::Identify,
            role: Role::None,
            epoch: 0,
            next_step: 0,
            beat_at: 0,
            poll_at: 0,
        }
    }

    /// The epoch at which bytes come in.
    pub fn copies_at(&self) -> Option<Epoch> {
        matches!(&self.role, Role::Slave(it) if it.copies()).then_some(self.epoch)
    }

    pub fn on_incoming(&mut self, host: &mut Host<'_>, conn: ConnId, incoming: Incoming) {
        match incoming {
            Incoming::Opened(Port::Ha) => host.close(conn),
            Incoming::Opened(Port::Main) => {}
            Incoming::Connected => {
                if !self.link.connected(host, conn)
                    && let Role::Slave(it) = &mut self.role
                    && it.owns(conn)
                {
                    it.connected(host, self.me);
                }
            }
            Incoming::Failed | Incoming::Closed => self.on_closed(host, conn),
            Incoming::Data(packet) => self.on_packet(host, conn, packet),
        }
    }

    fn on_closed(&mut self, host: &mut Host<'_>, conn: ConnId) {
        if let Some(failed) = self.link.closed(conn) {
            failed.into_iter().for_each(|it| self.failed(host, it));
            return;
        }
        if let Role::Slave(it) = &mut self.role
            && it.owns(conn)
        {
            it.drop_link(host);
        }
    }

    fn on_packet(&mut self, host: &mut Host<'_>, conn: ConnId, packet: Packet) {
        match (packet, &mut self.role) {
            (Packet::Reply { id, reply }, _) => {
                if let Some(purpose) = self.link.answered(id) {
                    self.on_reply(host, purpose, reply);
                }
            }
            (packet, Role::Slave(following)) if following.owns(conn) => following.on_packet(host, packet),
            _ => {}
        }
    }

    pub fn on_datagram(&mut self, host: &mut Host<'_>, from: NodeId, packet: Packet) {
        match packet {
            Packet::Notify(view) if view.master.is_some() => self.change_role(host, *view),
            Packet::Send(message) => host.refuse(from, message),
            _ => {}
        }
    }

    pub fn on_timer(&mut self, host: &mut Host<'_>) {
        host.ctx.timer(host.node, TICK_US, Timer::Tick);
        // The store's own habit; nobody counts on it.
        host.disk.flushed = host.disk.log.len();
        for failed in self.link.tick(host) {
            self.failed(host, failed);
        }
        self.go_on(host);
        if let Role::Slave(it) = &mut self.role {
            it.tick(host);
        }
    }

    // ---- registration, heartbeats, polls

    fn go_on(&mut self, host: &mut Host<'_>) {
        let now = host.now();
        if self.stage == Stage::Running {
            if now >= self.beat_at {
                self.beat(host);
            }
            if now >= self.poll_at {
                self.poll_at = now + POLL_MS;
                self.link.ask_leader(host, Purpose::Poll, Request::Poll);
            }
            return;
        }
        let busy = [Purpose::NextId, Purpose::ApplyId, Purpose::Register, Purpose::Elect];
        if now < self.next_step || !self.link.knows_leader() || busy.iter().any(|it| self.link.awaits(*it)) {
            return;
        }
        match (self.stage, host.disk.identity.clone()) {
            (Stage::Identify, Identity::Unknown) => drop(self.link.ask_leader(host, Purpose::NextId, Request::NextId)),
            (Stage::Identify, Identity::Applying(id, check_code)) => {
                self.link.ask_leader(host, Purpose::ApplyId, Request::ApplyId { id, check_code });
            }
            (Stage::Identify, Identity::Known(id)) => (self.me, self.stage) = (id, Stage::Register),
            (Stage::Register, _) => self.register(host),
            (Stage::Elect, _) => self.run_or_elect(host),
            (Stage::Running, _) => {}
        }
    }

    fn run_or_elect(&mut self, host: &mut Host<'_>) {
        self.beat(host);
        if matches!(self.role, Role::None) {
            self.link.ask_leader(host, Purpose::Elect, Request::Elect { id: self.me });
        } else {
            self.run(host);
        }
    }

    fn register(&mut self, host: &mut Host<'_>) {
        let address = host.ctx.names[host.node.0].clone();
        let request = Request::Register { id: self.me, address, boot_id: None, unclean: false };
        self.link.ask_leader(host, Purpose::Register, request);
    }

    fn run(&mut self, host: &Host<'_>) {
        self.stage = Stage::Running;
        self.poll_at = host.now() + FIRST_POLL_MS;
    }

    fn beat(&mut self, host: &mut Host<'_>) {
        self.beat_at = host.now() + BEAT_MS;
        let it = Heartbeat {
            broker_set: host.set.name().to_owned(),
            id: self.me,
            connection: 0,
            address: host.ctx.names[host.node.0].clone(),
            timeout: TIMEOUT_MS,
            epoch: host.disk.epochs.last_epoch(),
            max_offset: host.disk.end(),
            confirm_offset: host.disk.confirm,
            priority: i32::MAX,
            boot_id: None,
            min_in_sync: None,
            disk_probe_age: None,
            zone: None,
            raft_lease: RaftLease::NotHeld,
        };
        self.link.tell_all(host, &Request::Heartbeat(Box::new(it)));
    }

    /// No answer, or one that says nothing. A lost answer to 1013 burns an id.
    fn failed(&mut self, host: &mut Host<'_>, purpose: Purpose) {
        match purpose {
            Purpose::ApplyId => host.disk.identity = Identity::Unknown,
            Purpose::Register => self.next_step = host.now() + host.ctx.rng.below(1_000),
            Purpose::Elect => self.next_step = host.now() + START_AGAIN_MS,
            Purpose::Find | Purpose::NextId | Purpose::Poll => {}
        }
    }

    fn on_reply(&mut self, host: &mut Host<'_>, purpose: Purpose, reply: Reply) {
        match (purpose, reply) {
            (Purpose::Find, Reply::Metadata { leader, .. }) => self.link.found(leader),
            (Purpose::NextId, Reply::Id(id)) => {
                host.disk.identity =
                    Identity::Applying(id, format!("{};{}", host.ctx.names[host.node.0], host.ctx.now));
            }
            (Purpose::ApplyId, Reply::Done) => {
                if let Identity::Applying(id, _) = host.disk.identity {
                    host.disk.identity = Identity::Known(id);
                    host.say(format_args!("is replica {id}"));
                }
            }
            (Purpose::Register, Reply::View(view)) => {
                if self.stage == Stage::Register {
                    self.stage = Stage::Elect;
                }
                self.change_role(host, *view);
            }
            (Purpose::Elect, Reply::View(view)) if view.master.is_some() => {
                self.change_role(host, *view);
                if self.stage == Stage::Elect {
                    self.run(host);
                }
            }
            (Purpose::Poll, Reply::View(view)) => self.on_polled(host, *view),
            (Purpose::Poll, Reply::Unregistered) => self.register(host),
            (purpose, _) => self.failed(host, purpose),
        }
    }

    fn on_polled(&mut self, host: &mut Host<'_>, view: View) {
        match view.epoch > self.epoch && view.master.is_none() {
            true => drop(self.link.ask_leader(host, Purpose::Elect, Request::Elect { id: self.me })),
            false => self.change_role(host, view),
        }
    }

    // ---- roles

    /// Greater epochs only, as far as this process remembers.
    fn change_role(&mut self, host: &mut Host<'_>, view: View) {
        let Some(master) = view.master.filter(|_| view.epoch > self.epoch && self.me > 0) else { return };
        self.epoch = view.epoch;
        match &mut self.role {
            _ if master.id == self.me => self.lead(host),
            Role::Slave(it) if it.master.address == master.address => {}
            _ => {
                self.drop_link(host);
                host.say(format_args!("is a slave of {} at epoch {}, Java", master.address, view.epoch));
                let found = host.ctx.rng.pick(&[50, 1_000, 5_000, 5_000, 20_000]);
                let connect_at = host.now() + host.ctx.rng.below(found);
                self.role = Role::Slave(Following::new(master, connect_at));
            }
        }
    }

    fn lead(&mut self, host: &mut Host<'_>) {
        self.drop_link(host);
        let end = host.disk.whole_end();
        host.disk.truncate(end);
        host.say(format_args!("is master of epoch {}, Java, from {end}", self.epoch));
        self.role = Role::Master;
        let (set, index) = (host.set, host.index);
        host.ctx.truth(set).java_leads(index, self.epoch);
    }

    fn drop_link(&mut self, host: &mut Host<'_>) {
        if let Role::Slave(it) = &mut self.role {
            it.drop_link(host);
        }
        self.role = Role::None;
    }
}

/// Whose broker it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    Baton,
    Java,
}
