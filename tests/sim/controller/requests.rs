//! What brokers ask: `controller/rpc/{broker,election,query}.rs`, decoded.

use super::{Controller, Decision, orders, view_of};
use crate::ctx::{Ctx, NodeId, Timer};
use crate::mutants::Mutant;
use crate::net::ConnId;
use crate::packet::{Packet, Reply, Request, SetId};
use controller::liveness::{Heartbeat, Input, RaftLease};
use controller::raft::{self, RaftError};
use controller::replicas::{
    AlterSyncStateSet, ApplyBrokerId, Cause, Command, Elect, ElectMode, Fence, Outcome, Refusal, Register, SetSummary,
};
use ha::role::View;
use node::clock::wall_ms;
use proto::{BrokerId, Millis};
use tokio::sync::oneshot::{self, error::TryRecvError};

const PROPOSAL_MS: Millis = 5_000;

/// A request that its task has not taken up yet.
pub struct Asked {
    conn: ConnId,
    call: u64,
    set: SetId,
    request: Request,
}

/// A request that waits for Raft.
pub struct Waiting {
    pub since: Millis,
    pub what: What,
}

pub enum What {
    Proposed(oneshot::Receiver<Decision>, Then),
    Read(oneshot::Receiver<Result<Reply, RaftError>>, Asker),
    Join(oneshot::Receiver<raft::Newcomer>, Newcomer),
}

/// A controller with an empty disk that asks who it is, in this life.
#[derive(Clone, Copy)]
pub struct Newcomer {
    pub node: NodeId,
    pub life: Option<u32>,
}

#[derive(Clone, Copy)]
pub struct Asker {
    conn: ConnId,
    call: u64,
}

/// Who waits for a proposal.
pub enum Then {
    Register(Asker),
    Elect(Asker),
    Alter(Asker),
    Apply(Asker),
    /// The controller's own idea about this broker set.
    Own(String),
    /// An operator reads the outcome from what the controllers list.
    Nobody,
    Switch(Box<orders::Switch>),
    /// Something behind a switch whose outcome was not known: when it is decided, so is the switch.
    Passed(SetId),
}

impl Controller {
    pub(super) fn on_call(&mut self, ctx: &mut Ctx, conn: ConnId, call: u64, set: SetId, request: Request) {
        let asker = Asker { conn, call };
        match request {
            Request::Metadata => {
                let leadership = self.process.as_ref().map(|it| it.raft.leadership()).unwrap_or_default();
                let leader = leadership.leader.and_then(|it| self.index_of(it));
                self.reply(ctx, asker, Reply::Metadata { leading: leadership.leading, leader });
            }
            Request::Heartbeat(it) => {
                let held = self.process.as_ref().is_some_and(|it| it.raft.lease_holds());
                let held = held || (ctx.is(Mutant::GrantsLeasesWithoutRaftLease) && self.leads());
                let raft_lease = if held { RaftLease::Held } else { RaftLease::NotHeld };
                let mut heartbeat = Heartbeat { connection: conn, raft_lease, ..*it };
                self.note_heartbeat(ctx, conn, set, &heartbeat);
                if ctx.is(Mutant::RemembersEveryLeaver) {
                    heartbeat.min_in_sync = Some(i32::MAX);
                }
                if ctx.is(Mutant::ExpiresBeforeTheLease) || ctx.is(Mutant::GivesUpTooSoon) {
                    heartbeat.timeout /= 2;
                }
                if let Some(mut reply) = self.step(ctx, Input::Heartbeat(heartbeat)) {
                    self.note_answer(ctx, set, &reply);
                    if let (true, Reply::Heartbeat { lease, .. }) = (ctx.is(Mutant::ExpiresBeforeTheLease), &mut reply)
                    {
                        *lease = lease.map(|it| it * 2);
                    }
                    self.reply(ctx, asker, reply);
                }
            }
            request => {
                let Some(it) = &mut self.process else { return };
                let number = it.next;
                it.next += 1;
                it.asked.insert(number, Asked { conn, call, set, request });
                // Each request is a task of its own: they overtake each other.
                let lag = ctx.rng.between(10, ctx.profile.task_us);
                ctx.timer(self.node, lag, Timer::Handle(number));
            }
        }
    }

    /// For the judge: a heartbeat of a replica.
    fn note_heartbeat(&self, ctx: &mut Ctx, conn: ConnId, set: SetId, it: &Heartbeat) {
        let broker = ctx.net.peer(conn, self.node).map(|it| it.0 - ctx.profile.controllers);
        let now = ctx.now;
        if let Some(broker) = broker {
            ctx.truth(set).heard_by(self.index, now, broker, it);
        }
    }

    /// For the judge: S5, and S10: no lease while the leader does not know who will be master.
    fn note_answer(&self, ctx: &mut Ctx, set: SetId, reply: &Reply) {
        let Reply::Heartbeat { lease: Some(lease), .. } = reply else { return };
        ctx.truth(set).answers_as_leader(self.index);
        let switching = self.process.as_ref().and_then(|it| it.switching.get(&set)).is_some_and(|it| *it > 0);
        if switching && *lease > 0 {
            let why = format!("C{} grants a lease of {lease} ms while it moves mastership", self.index + 1);
            ctx.truth(set).fail("S10", why);
        }
    }

    fn reply(&self, ctx: &mut Ctx, to: Asker, reply: Reply) {
        ctx.send(to.conn, self.node, Packet::Reply { id: to.call, reply });
    }

    pub(super) fn handle(&mut self, ctx: &mut Ctx, number: u64) {
        let Some(Asked { conn, call, set, request }) = self.process.as_mut().and_then(|it| it.asked.remove(&number))
        else {
            return;
        };
        let asker = Asker { conn, call };
        if !self.leads() {
            return self.reply(ctx, asker, Reply::NotLeader);
        }
        let now = ctx.local(self.node);
        let Some(it) = &self.process else { return };
        let (name, at_ms) = (set.name(), wall_ms());
        match request {
            Request::NextId => self.read(ctx, asker, |it| Reply::Id(it.next_broker_id(name))),
            Request::Poll => self.read(ctx, asker, |it| {
                it.get(name).map_or(Reply::Unregistered, |it| Reply::View(Box::new(view_of(&SetSummary::from(it)))))
            }),
            Request::ApplyId { id, check_code } => {
                let (cluster, broker_set) = ("c".to_owned(), name.to_owned());
                let change = ApplyBrokerId { cluster, broker_set, id, check_code, at_ms };
                self.propose(ctx, Command::ApplyBrokerId(change), Then::Apply(asker));
            }
            Request::Register { id, address, boot_id, unclean } => {
                let taken_by = it.liveness.taken_by(now, name, id, &address, boot_id.as_deref());
                let ha_address = boot_id.is_some().then(|| address.replace('B', "H"));
                let broker_set = name.to_owned();
                let change = Register { broker_set, id, address, ha_address, boot_id, unclean, taken_by, at_ms };
                self.propose(ctx, Command::Register(change), Then::Register(asker));
            }
            Request::Elect { id } => self.elect(ctx, asker, name, id),
            Request::Alter { master, epoch: master_epoch, set_epoch: sync_state_set_epoch, fence: true, .. } => {
                let known = it.raft.applied().get(name).filter(|_| ctx.is(Mutant::AltersWithoutCompare));
                let (master_epoch, sync_state_set_epoch) =
                    known.map_or((master_epoch, sync_state_set_epoch), |it| (it.master_epoch, it.sync_state_set_epoch));
                let broker_set = name.to_owned();
                let change = Fence { broker_set, master, master_epoch, sync_state_set_epoch, at_ms };
                self.propose(ctx, Command::Fence(change), Then::Alter(asker));
            }
            Request::Alter { master, epoch, set, set_epoch, .. } => {
                let mut alive = it.liveness.heard(now, name);
                // The sender speaks, even if this leader has not had a heartbeat of it yet.
                alive.extend(it.liveness.is_alive(now, name, master).then_some(master));
                let known = it.raft.applied().get(name).filter(|_| ctx.is(Mutant::AltersWithoutCompare));
                let (epoch, set_epoch) =
                    known.map_or((epoch, set_epoch), |it| (it.master_epoch, it.sync_state_set_epoch));
                let change = AlterSyncStateSet {
                    broker_set: name.to_owned(),
                    master,
                    master_epoch: epoch,
                    sync_state_set: set,
                    sync_state_set_epoch: set_epoch,
                    alive,
                    min_in_sync: it.liveness.min_in_sync(name, master),
                    at_ms,
                };
                self.propose(ctx, Command::AlterSyncStateSet(change), Then::Alter(asker));
            }
            _ => {}
        }
    }

    fn elect(&mut self, ctx: &mut Ctx, asker: Asker, set: &str, by: BrokerId) {
        let now = ctx.local(self.node);
        let Some(it) = &self.process else { return };
        if it.liveness.restrained(now, set).is_some() {
            return self.reply(ctx, asker, Reply::Failed);
        }
        let at_ms = wall_ms();
        let elect = Elect {
            broker_set: set.to_owned(),
            requester: Some(by),
            mode: ElectMode::Best,
            alive: it.liveness.candidates(now, set),
            unclean: super::settings(ctx).unclean,
            expect: None,
            cause: Cause::Requested { by },
            detected_ms: at_ms,
            at_ms,
        };
        self.propose(ctx, Command::Elect(elect), Then::Elect(asker));
    }

    // ---- Raft

    pub(super) fn propose(&mut self, ctx: &mut Ctx, command: Command, then: Then) {
        let (since, now) = (ctx.local(self.node), ctx.now);
        let Some(it) = &mut self.process else { return };
        if let Command::Elect(elect) = &command
            && let Some((id, set)) = SetId::named(&elect.broker_set).zip(it.raft.applied().get(&elect.broker_set))
        {
            ctx.truth(id).wants_election(self.index, now, set, elect);
        }
        let decision = it.raft.propose(&command);
        it.waiting.push(Waiting { since, what: What::Proposed(decision, then) });
    }

    fn read(
        &mut self,
        ctx: &mut Ctx,
        asker: Asker,
        question: impl FnOnce(&controller::replicas::Replicas) -> Reply + Send + 'static,
    ) {
        let since = ctx.local(self.node);
        let Some(it) = &mut self.process else { return };
        match it.raft.read(question) {
            Ok(answer) => it.waiting.push(Waiting { since, what: What::Read(answer, asker) }),
            Err(e) => self.must(ctx, Err(e)),
        }
    }

    /// Answers what has been decided; true if anything was.
    pub(super) fn answer_waiting(&mut self, ctx: &mut Ctx) -> bool {
        let now = ctx.local(self.node);
        let Some(it) = &mut self.process else { return false };
        let (mut replies, mut decisions, mut joined, mut still) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for waiting in std::mem::take(&mut it.waiting) {
            let late = now >= waiting.since + PROPOSAL_MS;
            match waiting.what {
                What::Proposed(mut decision, then) => match decision.try_recv() {
                    Ok(it) => decisions.push((it, then)),
                    Err(TryRecvError::Empty) if !late => {
                        still.push(Waiting { what: What::Proposed(decision, then), ..waiting });
                    }
                    Err(_) => decisions.push((Err(RaftError::Timeout), then)),
                },
                What::Read(mut answer, asker) => match answer.try_recv() {
                    Ok(Ok(reply)) => replies.push((reply, asker)),
                    Ok(Err(_)) => replies.push((Reply::NotLeader, asker)),
                    Err(TryRecvError::Empty) if !late => {
                        still.push(Waiting { what: What::Read(answer, asker), ..waiting });
                    }
                    Err(_) => replies.push((Reply::Failed, asker)),
                },
                What::Join(mut answer, newcomer) => match answer.try_recv() {
                    Ok(Ok(Ok(raft_id))) => joined.push((raft_id, newcomer)),
                    Err(TryRecvError::Empty) if !late => {
                        still.push(Waiting { what: What::Join(answer, newcomer), ..waiting });
                    }
                    // It asks again anyway.
                    Ok(_) | Err(_) => {}
                },
            }
        }
        it.waiting = still;
        let any = !replies.is_empty() || !decisions.is_empty();
        for (reply, asker) in replies {
            self.reply(ctx, asker, reply);
        }
        for (raft_id, Newcomer { node, life }) in joined {
            ctx.datagram(self.node, node, Packet::Joined { life, raft_id });
        }
        for (decision, then) in decisions {
            self.decided(ctx, decision, then);
        }
        any
    }

    fn decided(&mut self, ctx: &mut Ctx, decision: Decision, then: Then) {
        match then {
            Then::Own(broker_set) => match decision {
                Err(RaftError::Timeout | RaftError::Busy) => {
                    self.await_decision(ctx, &broker_set.clone(), Then::Own(broker_set));
                }
                _ => drop(self.step(ctx, Input::Settled { broker_set })),
            },
            Then::Nobody => {}
            Then::Switch(it) => self.switched(ctx, *it, decision),
            Then::Passed(set) => self.passed(ctx, set, decision),
            // The answer to a proposal is what may get lost.
            Then::Apply(asker) | Then::Register(asker) | Then::Elect(asker) | Then::Alter(asker) => {
                let reply = match decision {
                    Err(RaftError::NotLeader) => Reply::NotLeader,
                    Err(_) => Reply::Failed,
                    Ok(outcome) => self.outcome(ctx, outcome),
                };
                if !ctx.burns() {
                    self.reply(ctx, asker, reply);
                }
            }
        }
    }

    fn outcome(&self, ctx: &Ctx, outcome: Outcome) -> Reply {
        match outcome {
            Outcome::BrokerIdApplied => Reply::Done,
            Outcome::Registered(it) => Reply::View(Box::new(self.registered(ctx, &it))),
            Outcome::Elected(it, _) | Outcome::MasterStillAlive(it) => Reply::View(Box::new(view_of(&it))),
            Outcome::Altered(it) => Reply::Altered { set: it.sync_state_set, epoch: it.sync_state_set_epoch },
            Outcome::Refused(
                Refusal::SetNotRegistered(_) | Refusal::IdNotRegistered { .. } | Refusal::ElectUnknownSet,
            ) => Reply::Unregistered,
            Outcome::Refused(Refusal::NobodyElectable | Refusal::ElectFailed) => Reply::Failed,
            Outcome::Refused(_) => Reply::Refused,
            _ => Reply::Failed,
        }
    }

    /// A master that is not alive is not named: the broker then asks for an election.
    fn registered(&self, ctx: &Ctx, it: &SetSummary) -> View {
        let now = ctx.local(self.node);
        let alive = self.process.as_ref().is_some_and(|process| {
            it.master.is_some_and(|master| process.liveness.is_alive(now, &it.broker_set, master))
        });
        let view = view_of(it);
        match alive {
            true => view,
            false => View { epoch: 0, master: None, ..view },
        }
    }
}
