//! What an operator orders: a planned change of master (S10), as in `controller/switchover.rs`; an election, as in
//! `rpc/election.rs`; and that replicas be forgotten, as in `rpc/admin.rs`.

use super::requests::Then;
use super::{Controller, Decision};
use crate::ctx::{Ctx, NodeId, Timer};
use crate::mutants::Mutant;
use crate::packet::{Packet, Request, SetId};
use controller::liveness::Input;
use controller::raft::RaftError;
use controller::replicas::{Cause, Clean, CleanLiving, Command, Elect, ElectMode, Outcome, UncleanElection};
use node::clock::wall_ms;
use proto::header::HoldWritesRequest;
use proto::{BrokerId, Epoch, Offset};

const DRAIN_MS: i64 = 1_000;
const HOLD_MS: i64 = 1_000;
const ANSWER_MARGIN_MS: u64 = 500;

/// A planned change under way.
pub struct Switch {
    set: SetId,
    from: BrokerId,
    to: BrokerId,
    epoch: Epoch,
    master: NodeId,
    /// Of the leader that ordered it.
    term: u64,
}

impl Controller {
    pub(super) fn on_order(&mut self, ctx: &mut Ctx, set: SetId, request: Request) {
        match request {
            Request::Switchover => self.begin_switch(ctx, set),
            Request::ElectBest => self.elect_for_operator(ctx, set, None),
            Request::Designate { id } => self.elect_for_operator(ctx, set, Some(id)),
            Request::Clean { ids } if self.leads() => {
                let now = ctx.local(self.node);
                ctx.say(self.node, format_args!("is told to forget {ids:?} of set {}", set.name()));
                let alive = self.process.as_ref().map(|it| it.liveness.heard(now, set.name())).unwrap_or_default();
                let (broker_set, living, at_ms) = (set.name().to_owned(), CleanLiving::Refuse, wall_ms());
                let change = Clean { broker_set, ids: Some(ids), living, alive, at_ms };
                self.propose(ctx, Command::Clean(change), Then::Nobody);
            }
            _ => {}
        }
    }

    fn elect_for_operator(&mut self, ctx: &mut Ctx, set: SetId, id: Option<BrokerId>) {
        let now = ctx.local(self.node);
        let Some(it) = self.process.as_ref().filter(|_| self.leads()) else { return };
        let (mode, cause) = match id {
            Some(id) => (ElectMode::Designated, Cause::Designated { id }),
            None => (ElectMode::Best, Cause::NoMaster),
        };
        // What an operator asks for does not wait.
        if mode == ElectMode::Best && it.liveness.restrained(now, set.name()).is_some() {
            return;
        }
        let at_ms = wall_ms();
        let elect = Elect {
            broker_set: set.name().to_owned(),
            requester: id,
            mode,
            alive: it.liveness.candidates(now, set.name()),
            unclean: super::settings(ctx).unclean,
            expect: None,
            cause,
            detected_ms: at_ms,
            at_ms,
        };
        ctx.say(self.node, format_args!("is told to elect for set {}: {:?}", set.name(), elect.cause));
        self.propose(ctx, Command::Elect(elect), Then::Nobody);
    }

    pub(super) fn begin_switch(&mut self, ctx: &mut Ctx, of: SetId) {
        let now = ctx.local(self.node);
        if !self.leads() {
            return;
        }
        let Some(set) = self.set(of).cloned() else { return };
        let Some(it) = &mut self.process else { return };
        let Ok(plan) = set.successor(&it.liveness.candidates(now, of.name()), None) else { return };
        let master = set.replicas.get(&plan.from).and_then(|it| ctx.at(&it.address));
        let Some(master) = master else { return };
        let (id, term) = (it.next, it.raft.leadership().term);
        it.next += 1;
        *it.switching.entry(of).or_default() += 1;
        it.holds.insert(id, Switch { set: of, from: plan.from, to: plan.to, epoch: set.master_epoch, master, term });
        // The election does not wait for the master's lease to end: it gets none until this is over.
        if !ctx.is(Mutant::GrantsLeasesWhileSwitching) {
            self.step(ctx, Input::Switching { broker_set: of.name().to_owned() });
        }
        ctx.say(self.node, format_args!("moves mastership of set {} from {} to {}", set.name, plan.from, plan.to));
        let request = Request::Hold(Box::new(HoldWritesRequest {
            broker_name: set.name.clone(),
            master_epoch: set.master_epoch,
            target_broker_id: plan.to,
            drain_mills: DRAIN_MS,
            hold_mills: HOLD_MS,
        }));
        ctx.datagram(self.node, master, Packet::Call { id, set: of, request });
        ctx.timer(self.node, (DRAIN_MS as u64 + ANSWER_MARGIN_MS) * 1_000, Timer::Call(id));
    }

    pub(super) fn hold_timed_out(&mut self, ctx: &mut Ctx, id: u64) {
        if let Some(it) = self.process.as_mut().and_then(|it| it.holds.remove(&id)) {
            ctx.say(self.node, format_args!("the master did not answer the order to hold"));
            self.over(ctx, it.set);
        }
    }

    pub(super) fn held(&mut self, ctx: &mut Ctx, id: u64, result: Result<Offset, String>) {
        let now = ctx.local(self.node);
        let Some(it) = &mut self.process else { return };
        let Some(switch) = it.holds.remove(&id) else { return };
        let same_term = it.raft.leadership().term == switch.term;
        let Ok(drained_to) = result else { return self.over(ctx, switch.set) };
        if !same_term {
            // Another leader may have granted leases meanwhile.
            return self.switched(ctx, switch, Ok(Outcome::Unchanged));
        }
        let at_ms = wall_ms();
        let elect = Elect {
            broker_set: switch.set.name().to_owned(),
            requester: Some(switch.to),
            mode: ElectMode::Designated,
            alive: it.liveness.candidates(now, switch.set.name()),
            unclean: UncleanElection::Forbidden,
            expect: Some((Some(switch.from), switch.epoch)),
            cause: Cause::Switchover { drained_to },
            detected_ms: at_ms,
            at_ms,
        };
        self.propose(ctx, Command::Elect(elect), Then::Switch(Box::new(switch)));
    }

    pub(super) fn switched(&mut self, ctx: &mut Ctx, it: Switch, decision: Decision) {
        let elected = matches!(decision, Ok(Outcome::Elected(..)));
        // An election whose outcome is unknown may still happen: then the master's own clock decides.
        if decision.is_ok() && !elected {
            let id = 0;
            ctx.datagram(self.node, it.master, Packet::Call { id, set: it.set, request: Request::Release(it.epoch) });
        }
        match decision {
            Err(RaftError::Timeout) => self.passed(ctx, it.set, Err(RaftError::Timeout)),
            _ => self.over(ctx, it.set),
        }
    }

    pub(super) fn passed(&mut self, ctx: &mut Ctx, set: SetId, decision: Decision) {
        match decision {
            Err(RaftError::Timeout | RaftError::Busy) => self.await_decision(ctx, set.name(), Then::Passed(set)),
            _ => self.over(ctx, set),
        }
    }

    /// The log is in order: once a later entry is decided, so is a proposal that had no answer.
    pub(super) fn await_decision(&mut self, ctx: &mut Ctx, broker_set: &str, then: Then) {
        self.propose(ctx, Command::nothing(broker_set), then);
    }

    fn over(&mut self, ctx: &mut Ctx, set: SetId) {
        if let Some(count) = self.process.as_mut().and_then(|it| it.switching.get_mut(&set)) {
            *count -= 1;
        }
        if !ctx.is(Mutant::GrantsLeasesWhileSwitching) {
            self.step(ctx, Input::Settled { broker_set: set.name().to_owned() });
        }
    }
}
