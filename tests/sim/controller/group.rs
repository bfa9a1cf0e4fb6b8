//! Who belongs to the group of controllers: `raft/transport.rs`, and what `controller/lib.rs` does before the Raft
//! thread starts. A stream opens with who opens it; one that joins asks the others who it is.

use super::Controller;
use super::requests::{Newcomer, Waiting, What};
use crate::ctx::{Ctx, NodeId, Timer};
use crate::disk::RaftDisk;
use crate::mutants::Mutant;
use crate::packet::Packet;
use ::raft::eraftpb::Message;
use controller::raft::members::Role;
use controller::raft::{Ask, Hello};
use std::sync::Arc;

/// How often a controller greets the others: a stream that broke is opened again.
pub const GREET_US: u64 = 500_000;
/// Between two questions of one that joins.
const JOIN_AGAIN_US: u64 = 300_000;

/// What a controller's disk says of itself.
#[derive(Clone)]
pub struct Directory {
    pub disk: RaftDisk,
    pub raft_id: u64,
    /// Who this controller is to the others; the directory's number is drawn when it is made.
    hello: Arc<Hello>,
}

impl Directory {
    fn new(raft_id: u64, hello: Hello, founders: usize, forgetful: bool) -> Directory {
        let voters: Vec<u64> = (1..=founders as u64).collect();
        Directory { disk: RaftDisk::new(&voters, forgetful), raft_id, hello: Arc::new(hello) }
    }
}

/// A controller's name in its group, and its address there.
pub fn name(index: usize) -> String {
    format!("n{index}")
}

pub fn address(index: usize) -> String {
    format!("C{}:1", index + 1)
}

fn index_at(address: &str) -> Option<usize> {
    address.strip_prefix('C')?.split(':').next()?.parse::<usize>().ok()?.checked_sub(1)
}

impl Controller {
    // ---- joining

    pub(super) fn ask_to_join(&mut self, ctx: &mut Ctx) {
        if self.directory.is_some() {
            return;
        }
        for other in (0..ctx.profile.controllers).filter(|it| *it != self.index) {
            let (to, name, life) = (ctx.controller(other), name(self.index), ctx.net.hosts[self.node.0].life);
            ctx.datagram(self.node, to, Packet::Join { name, life });
        }
        ctx.timer(self.node, JOIN_AGAIN_US, Timer::Join);
    }

    /// Only the leader answers; who joins asks everybody.
    pub(super) fn on_join(&mut self, ctx: &mut Ctx, from: NodeId, name: &str, life: Option<u32>) {
        let since = ctx.local(self.node);
        let Some(it) = &mut self.process else { return };
        match it.raft.newcomer(name) {
            Ok(answer) => it.waiting.push(Waiting { since, what: What::Join(answer, Newcomer { node: from, life }) }),
            Err(e) => self.must(ctx, Err(e)),
        }
    }

    pub(super) fn joined(&mut self, ctx: &mut Ctx, raft_id: u64) {
        if self.directory.is_none() {
            self.make_directory(ctx, raft_id);
            self.start_process(ctx);
        }
    }

    pub(super) fn make_directory(&mut self, ctx: &mut Ctx, raft_id: u64) {
        let (from, directory) = (raft_id, ctx.rng.next());
        let hello = Hello { from, directory, name: name(self.index), address: address(self.index) };
        let forgetful = ctx.is(Mutant::ForgetsRaftTail);
        self.directory = Some(Directory::new(raft_id, hello, ctx.profile.founders, forgetful));
    }

    /// Its disk is exchanged for an empty one. A founder takes itself for what it was, one that joins asks.
    pub fn wipe(&mut self) {
        (self.directory, self.is_expendable) = (None, true);
    }

    /// An operator has emptied its directory and set `controllerJoin`. From then on it has no reason to end.
    pub fn be_new(&mut self) {
        (self.is_expendable, self.ended) = (false, false);
        (self.directory, self.joins, self.is_out) = (None, true, false);
    }

    // ---- streams

    fn hello(&self) -> Option<Arc<Hello>> {
        self.directory.as_ref().map(|it| it.hello.clone())
    }

    /// Of the controller with this Raft id.
    pub(super) fn index_of(&self, raft_id: u64) -> Option<usize> {
        let members = self.process.as_ref()?.raft.members();
        members.get(raft_id).and_then(|it| index_at(&it.address))
    }

    pub(super) fn greet(&self, ctx: &mut Ctx) {
        let (Some(it), Some(hello)) = (&self.process, self.hello()) else { return };
        for (id, member) in &it.raft.members().members {
            if let Some(index) = index_at(&member.address).filter(|_| *id != hello.from) {
                let to = ctx.controller(index);
                ctx.datagram(self.node, to, Packet::Raft { to: *id, hello: hello.clone(), message: None });
            }
        }
        ctx.timer(self.node, GREET_US, Timer::Greet);
    }

    pub(super) fn send_raft(&self, ctx: &mut Ctx, message: Message) {
        if let Some((index, hello)) = self.index_of(message.to).zip(self.hello()) {
            let to = ctx.controller(index);
            ctx.datagram(self.node, to, Packet::Raft { to: message.to, hello, message: Some(Box::new(message)) });
        }
    }

    pub(super) fn on_raft(
        &mut self,
        ctx: &mut Ctx,
        from: NodeId,
        to: u64,
        hello: &Hello,
        message: Option<Box<Message>>,
    ) {
        let own = self.directory.as_ref().map(|it| it.raft_id);
        let Some(it) = self.process.as_mut() else { return };
        if own != Some(to) {
            let gone = it.raft.members().check_not_gone(hello.from, &hello.name);
            if let Err(why) = gone {
                let directory = hello.directory;
                ctx.datagram(self.node, from, Packet::Banned { directory, why: why.to_string() });
            }
            return;
        }
        // A stream that is open is not asked again.
        if message.is_none() || !it.greeted.contains(&(hello.from, hello.directory)) {
            match it.raft.hello(hello) {
                Ok(Ok(())) => drop(it.greeted.insert((hello.from, hello.directory))),
                Ok(Err(why)) => {
                    let directory = hello.directory;
                    return ctx.datagram(self.node, from, Packet::Banned { directory, why });
                }
                Err(e) => return self.must(ctx, Err(e)),
            }
        }
        if let (Some(message), Some(it)) = (message, &mut self.process) {
            let delivered = it.raft.deliver(*message);
            self.must(ctx, delivered);
        }
    }

    /// A member that has good reason never to talk to this controller again.
    pub(super) fn banned(&mut self, ctx: &mut Ctx, directory: u64, why: String) {
        if self.hello().is_some_and(|it| it.directory == directory) && self.process.is_some() {
            self.must(ctx, Err(anyhow::anyhow!(why)));
        }
    }

    // ---- for whoever stands beside it

    /// Of the machine with this index, as this controller knows.
    pub fn role_of(&self, index: usize) -> Option<Role> {
        let members = self.process.as_ref()?.raft.members();
        members.get(members.id_of(&name(index))?).map(|it| it.role)
    }

    /// What an operator asks for; whether it was done shows in [`Controller::role_of`].
    pub fn on_ask(&mut self, ctx: &mut Ctx, ask: &Ask) {
        ctx.set_clocks(self.node);
        if let Some(it) = &mut self.process {
            drop(it.raft.ask(ask));
        }
        self.settle(ctx);
    }

    /// Does this one know by which directory that other one speaks?
    pub fn knows_directory_of(&self, other: &Controller) -> bool {
        let (Some(own), Some(its)) = (&self.directory, &other.directory) else { return false };
        own.raft_id == its.raft_id || own.disk.directory_of(its.raft_id) == Some(its.hello.directory)
    }
}
