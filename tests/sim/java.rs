//! A broker as the others see RocketMQ 5's (`ReplicasManager` and the autoswitch HA): no lease, no boot id, polls every
//! five seconds, an epoch that only its memory and its epoch file know. Its habits are those of the code that people
//! run, quirks included. What is judged once one of them has led: see `checks/java.rs`.

mod epochs;
mod link;
mod master;
mod slave;

use crate::ctx::{Ctx, NodeId, Point, Timer};
use crate::disk::{Identity, StoreDisk};
use crate::net::{ConnId, Incoming, Port};
use crate::packet::{Packet, Reply, Request, Sent, SetId, Sync};
use controller::liveness::{Heartbeat, RaftLease};
use ha::role::View;
use link::{Link, Purpose};
use master::Leading;
use proto::ha::EpochEntry;
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

    fn answer(&mut self, client: NodeId, message: u32, result: Sent) {
        if !self.ctx.burns() {
            self.ctx.datagram(self.node, client, Packet::Sent { message, result });
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
    Master(Box<Leading>),
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

    /// The epoch that it believes to be master of.
    pub fn leads(&self) -> Option<Epoch> {
        match &self.role {
            Role::Master(it) => Some(it.epoch),
            _ => None,
        }
    }

    /// The epoch at which bytes come in.
    pub fn copies_at(&self) -> Option<Epoch> {
        matches!(&self.role, Role::Slave(it) if it.copies()).then_some(self.epoch)
    }

    pub fn on_incoming(&mut self, host: &mut Host<'_>, conn: ConnId, incoming: Incoming) {
        match incoming {
            Incoming::Opened(Port::Ha) => match &mut self.role {
                Role::Master(it) => it.opened(host, conn),
                _ => host.close(conn),
            },
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
        match &mut self.role {
            Role::Slave(it) if it.owns(conn) => it.drop_link(host),
            Role::Master(it) => it.closed(conn),
            _ => {}
        }
        self.propose(host);
    }

    fn on_packet(&mut self, host: &mut Host<'_>, conn: ConnId, packet: Packet) {
        match (packet, &mut self.role) {
            (Packet::Reply { id, reply }, _) => {
                if let Some(purpose) = self.link.answered(id) {
                    self.on_reply(host, purpose, reply);
                }
            }
            (packet, Role::Slave(following)) if following.owns(conn) => following.on_packet(host, packet),
            (Packet::SlaveHandshake(it), Role::Master(leading)) => leading.on_handshake(host, conn, &it),
            (Packet::Ack(offset), Role::Master(leading)) => leading.on_ack(host, conn, offset),
            // It knows no such request; the tables that our slaves get from it otherwise are not simulated.
            (Packet::Sync(Sync::Ask { .. }), Role::Master(_)) => host.send(conn, Packet::Sync(Sync::Refused)),
            _ => {}
        }
        self.propose(host);
    }

    pub fn on_datagram(&mut self, host: &mut Host<'_>, from: NodeId, packet: Packet) {
        match (packet, &mut self.role) {
            (Packet::Notify(view), _) if view.master.is_some() => self.change_role(host, *view),
            (Packet::Send(message), Role::Master(it)) => it.on_send(host, from, message),
            (Packet::Send(message), _) => host.answer(from, message, Sent::Refused),
            (Packet::Pull { at }, Role::Master(it)) => it.on_pull(host, from, at),
            (Packet::Commit { offset }, Role::Master(it)) => it.on_commit(offset),
            (Packet::Query, Role::Master(it)) => it.on_query(host, from),
            _ => {}
        }
        self.propose(host);
    }

    pub fn on_timer(&mut self, host: &mut Host<'_>) {
        host.ctx.timer(host.node, TICK_US, Timer::Tick);
        // The store's own habit; nobody counts on it.
        host.disk.flushed = host.disk.log.len();
        for failed in self.link.tick(host) {
            self.failed(host, failed);
        }
        self.go_on(host);
        match &mut self.role {
            Role::None => {}
            Role::Slave(it) => it.tick(host),
            Role::Master(it) => it.tick(host),
        }
        self.propose(host);
    }

    fn propose(&mut self, host: &mut Host<'_>) {
        let Role::Master(it) = &mut self.role else { return };
        if self.link.awaits(Purpose::Alter) || !self.link.knows_leader() {
            return;
        }
        if let Some(request) = it.proposal(host) {
            self.link.ask_leader(host, Purpose::Alter, request);
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
            Purpose::Find | Purpose::NextId | Purpose::Poll | Purpose::Alter => {}
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
            (Purpose::Alter, Reply::Altered { set, epoch }) => {
                if let Role::Master(it) = &mut self.role {
                    it.adopt(host, set, epoch);
                }
            }
            (purpose, _) => self.failed(host, purpose),
        }
    }

    fn on_polled(&mut self, host: &mut Host<'_>, view: View) {
        match &mut self.role {
            _ if view.epoch > self.epoch && view.master.is_none() => {
                self.link.ask_leader(host, Purpose::Elect, Request::Elect { id: self.me });
            }
            Role::Master(it) if view.epoch == self.epoch => {
                it.adopt(host, view.sync_state_set, view.sync_state_set_epoch);
            }
            _ => self.change_role(host, view),
        }
    }

    // ---- roles

    /// Greater epochs only, as far as this process remembers.
    fn change_role(&mut self, host: &mut Host<'_>, view: View) {
        let new = |it: &ha::Master| (it.clone(), it.id == self.me);
        let Some((master, mine)) = view.master.as_ref().filter(|_| view.epoch > self.epoch && self.me > 0).map(new)
        else {
            return;
        };
        let before = std::mem::replace(&mut self.epoch, view.epoch);
        match &mut self.role {
            Role::Master(it) if mine => {
                // Connections stay, and go on under the old epoch's name.
                it.epoch = view.epoch;
                it.adopt(host, view.sync_state_set, view.sync_state_set_epoch);
                self.begin_epoch(host, Some(before));
            }
            _ if mine => self.lead(host, view),
            Role::Slave(it) if it.master.address == master.address => {}
            _ => {
                self.drop_links(host);
                host.say(format_args!("is a slave of {} at epoch {}, Java", master.address, view.epoch));
                let found = host.ctx.rng.pick(&[50, 1_000, 5_000, 5_000, 20_000]);
                let connect_at = host.now() + host.ctx.rng.below(found);
                self.role = Role::Slave(Following::new(master, connect_at));
            }
        }
    }

    fn lead(&mut self, host: &mut Host<'_>, view: View) {
        self.drop_links(host);
        let end = host.disk.whole_end();
        host.disk.truncate(end);
        let leading = Leading::new(host, self.me, view);
        leading.compute_confirm(host);
        self.role = Role::Master(Box::new(leading));
        self.begin_epoch(host, None);
        host.ctx.reaches(Point::Epoch, host.node);
    }

    /// `after`: of this very mastership, which slaves that are connected take it for.
    fn begin_epoch(&mut self, host: &mut Host<'_>, after: Option<Epoch>) {
        let (epoch, start) = (self.epoch, host.disk.end());
        host.say(format_args!("is master of epoch {epoch}, Java, from {start}"));
        let kept = epochs::without_epochs_from(&host.disk.epochs, epoch);
        host.disk.epochs = epochs::append(&kept, EpochEntry { epoch, start });
        let (set, index) = (host.set, host.index);
        host.ctx.truth(set).java_leads(index, epoch, after);
    }

    fn drop_links(&mut self, host: &mut Host<'_>) {
        match &mut self.role {
            Role::None => {}
            Role::Slave(it) => it.drop_link(host),
            Role::Master(it) => it.end(host),
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
