//! What operators do: orders to the controllers' leader, and the procedures of docs/CONTROLLER.md for controllers that
//! come and go, step by step, until each has had its effect.

use super::{Deferred, World};
use crate::controller::group::{address, name};
use crate::ctx::{Event, NodeId};
use crate::faults::Fault;
use crate::packet::{Packet, Request, SetId};
use crate::schedule::Order;
use controller::raft::Ask;
use controller::raft::members::Role;
use std::collections::VecDeque;

/// How often an operator looks whether a step has had its effect.
const LOOK_AGAIN_US: u64 = 300_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Remove(usize),
    /// Its directory is emptied, and it is started as one that joins.
    StartAnew(usize),
    Add(usize),
}

/// One change at a time: the next begins when all of this one is done.
#[derive(Debug, Default)]
pub struct Operator {
    steps: VecDeque<Step>,
}

impl Operator {
    pub fn is_idle(&self) -> bool {
        self.steps.is_empty()
    }
}

impl World {
    pub(super) fn order(&mut self, order: &Order, it: Option<NodeId>) {
        let meant = |world: &World, who| world.meant(who, it).into_iter().next();
        match *order {
            Order::Switch { set } => self.send_order(set, Request::Switchover),
            Order::Elect { set } => self.send_order(set, Request::ElectBest),
            Order::Designate { who } => {
                let index = meant(self, who).and_then(|it| self.broker_index(it));
                let id = index.and_then(|it| Some((self.brokers[it].set, self.brokers[it].identity()?)));
                if let Some((set, id)) = id {
                    self.send_order(set, Request::Designate { id });
                }
            }
            Order::Clean { set } => {
                let gone = self.ctx.truth(set).gone.clone();
                // What is gone for good, never the last that the controllers know of.
                if !gone.is_empty() && !self.ctx.truth(set).is_stranded() {
                    self.send_order(set, Request::Clean { ids: gone });
                }
            }
            Order::Transfer { to } => {
                if let Some(to) = meant(self, to).filter(|it| it.0 < self.controllers.len()) {
                    self.ask_leader(&Ask::Transfer { name: name(to.0) });
                }
            }
            Order::Add { who } => {
                let index = meant(self, who).map(|it| it.0).filter(|it| *it < self.controllers.len());
                if let Some(index) = index.filter(|it| self.operator.is_idle() && self.controllers[*it].is_out) {
                    self.set_about([Step::StartAnew(index), Step::Add(index)]);
                }
            }
            Order::Remove { who } => {
                let index = meant(self, who).map(|it| it.0).filter(|it| *it < self.controllers.len());
                let members = self.controllers.iter().filter(|it| !it.is_out).count();
                let may = |it: &usize| self.operator.is_idle() && members > 2 && !self.controllers[*it].is_out;
                if let Some(index) = index.filter(may) {
                    self.set_about([Step::Remove(index)]);
                }
            }
        }
    }

    fn send_order(&mut self, set: SetId, request: Request) {
        if let Some(leader) = self.leader() {
            let from = self.ctx.client(0);
            self.ctx.datagram(from, leader, Packet::Call { id: 0, set, request });
        }
    }

    /// One at a time, of three voters or more, and not while nobody is there who knows its old directory.
    pub(super) fn may_lose_controller(&self, index: usize) -> bool {
        let lost = &self.controllers[index];
        let others = || self.controllers.iter().filter(|it| it.index != index && !it.is_out);
        self.operator.is_idle()
            && !lost.is_out
            && others().count() >= 2
            && others().all(|it| it.knows_directory_of(lost))
    }

    /// The operator of a wiped controller finds out when its process has ended, at the latest.
    pub(super) fn replace(&mut self, index: usize) {
        self.set_about([Step::Remove(index), Step::StartAnew(index), Step::Add(index)]);
    }

    fn set_about<const N: usize>(&mut self, steps: [Step; N]) {
        self.operator.steps = steps.into();
        self.ctx.agenda.put(self.ctx.now + LOOK_AGAIN_US, Event::Fault(Fault::Operator));
    }

    pub(super) fn operate(&mut self) {
        let Some(step) = self.operator.steps.front().copied() else { return };
        if self.is_done(step) {
            self.operator.steps.pop_front();
            match step {
                Step::Remove(index) => {
                    self.controllers[index].is_out = true;
                    self.ctx.say(self.controllers[index].node, format_args!("is no controller any more"));
                }
                Step::StartAnew(_) => {}
                Step::Add(index) => self.ctx.say(self.controllers[index].node, format_args!("is a voter")),
            }
        } else {
            self.take(step);
        }
        self.ctx.agenda.put(self.ctx.now + LOOK_AGAIN_US, Event::Fault(Fault::Operator));
    }

    fn role_of(&self, index: usize) -> Option<Option<Role>> {
        let leader = self.leader()?;
        Some(self.controllers[leader.0].role_of(index))
    }

    /// By what the leader lists, if there is one.
    fn is_done(&self, step: Step) -> bool {
        match step {
            Step::Remove(index) => self.role_of(index) == Some(None),
            Step::StartAnew(index) => !self.controllers[index].is_out,
            Step::Add(index) => self.role_of(index) == Some(Some(Role::Voter)),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Remove(index) => {
                let leads = self.leader() == Some(self.controllers[index].node);
                let other = self.controllers.iter().find(|it| it.index != index && !it.is_out && self.runs(it.node));
                match other.filter(|_| leads).map(|it| it.index) {
                    Some(other) => self.ask_leader(&Ask::Transfer { name: name(other) }),
                    None => self.ask_leader(&Ask::Remove { name: name(index) }),
                }
            }
            Step::StartAnew(index) => {
                let node = self.controllers[index].node;
                if self.runs(node) {
                    self.stop(node);
                }
                self.controllers[index].be_new();
                self.start(node);
            }
            Step::Add(index) => self.ask_leader(&Ask::Add { name: name(index), address: address(index) }),
        }
    }

    fn ask_leader(&mut self, ask: &Ask) {
        if let Some(leader) = self.leader() {
            if let Ask::Remove { name: removed } = ask
                && let Some(it) = self.controllers.iter_mut().find(|it| name(it.index) == *removed)
            {
                it.is_expendable = true;
            }
            self.ctx.say(leader, format_args!("is told: {ask:?}"));
            self.give(leader, Deferred::Ask(ask.clone()));
        }
    }
}
