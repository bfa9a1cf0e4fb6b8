//! The raft thread without the thread, for whoever brings time and messages himself: the simulator.
//!
//! The same driver, one round at a time on the caller's thread. raft-rs draws its election timeouts by chance; here
//! they come from a seed, so that a run can be repeated.

use super::{Driver, ELECTION_TICKS, Event, Options, Outbox};
use crate::raft::disk::Disk;
use crate::raft::log::Log;
use crate::raft::{Ask, Hello, Input, Leadership, MemberRefusal, Members, RaftError};
use crate::replicas::{Command, Outcome, Replicas};
use ::raft::eraftpb::Message;
use node::clock::monotonic_ms;
use proto::Millis;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot, watch};

/// A Raft id, or why there is none; an error where nobody knows.
pub type Newcomer = Result<Result<u64, MemberRefusal>, RaftError>;

pub struct Stepped<D: Disk>(Driver<D>);

impl<D: Disk> Stepped<D> {
    /// Loads the disk. Time is `node::clock`'s; a controller without a round makes no progress.
    pub fn new(
        options: Options,
        mut disk: D,
        outbox: Outbox,
        events: mpsc::Sender<Event>,
        election_seed: u64,
    ) -> anyhow::Result<Stepped<D>> {
        let log = Log::load(disk.load()?)?;
        let (publish, publish_to) =
            (watch::Sender::new(Leadership::default()), watch::Sender::new(options.founders.clone()));
        let mut driver = Driver::new(options, log, disk, outbox, events, publish, publish_to)?;
        driver.election_seed = Some(election_seed);
        driver.announce_all()?;
        Ok(Stepped(driver))
    }

    pub fn propose(&mut self, command: &Command) -> oneshot::Receiver<Result<Outcome, RaftError>> {
        let (done, outcome) = oneshot::channel();
        self.0.propose(command, done);
        outcome
    }

    /// Asks the applied state, linearizably.
    pub fn read<T: Send + 'static>(
        &mut self,
        question: impl FnOnce(&Replicas) -> T + Send + 'static,
    ) -> anyhow::Result<oneshot::Receiver<Result<T, RaftError>>> {
        let (done, result) = oneshot::channel();
        // The asker may have given up meanwhile.
        self.0.on_input(Input::Read(Box::new(move |it| drop(done.send(it.map(|it| question(it.replicas)))))))?;
        Ok(result)
    }

    /// Who the controller of this name is that has nothing on its disk.
    pub fn newcomer(&mut self, name: &str) -> anyhow::Result<oneshot::Receiver<Newcomer>> {
        let (done, result) = oneshot::channel();
        let name = name.to_owned();
        // As above.
        self.0.on_input(Input::Read(Box::new(move |it| drop(done.send(it.map(|it| it.newcomer(&name)))))))?;
        Ok(result)
    }

    pub fn deliver(&mut self, message: Message) -> anyhow::Result<()> {
        self.0.on_input(Input::Message(Box::new(message)))
    }

    /// Changes the members, or who leads.
    pub fn ask(&mut self, ask: &Ask) -> oneshot::Receiver<Result<Result<(), MemberRefusal>, RaftError>> {
        let (done, answered) = oneshot::channel();
        self.0.on_ask(ask, done);
        answered
    }

    /// May this controller talk to us? If not, why.
    pub fn hello(&mut self, hello: &Hello) -> anyhow::Result<Result<(), String>> {
        self.0.on_hello(hello)
    }

    /// Who belongs to the group and is sent messages, as this controller knows.
    pub fn members(&self) -> impl Deref<Target = Members> {
        self.0.publish_to.borrow()
    }

    /// What the inputs since the last round and the time led to; an error ends this controller.
    pub fn round(&mut self) -> anyhow::Result<()> {
        self.0.round()
    }

    /// When a round is needed even if nothing comes in.
    pub fn next_tick(&self) -> Millis {
        self.0.next_tick
    }

    pub fn leadership(&self) -> Leadership {
        *self.0.publish.borrow()
    }

    /// No other controller can lead at this moment (S5).
    pub fn lease_holds(&self) -> bool {
        self.leadership().leading && monotonic_ms() < self.0.lease.load(Ordering::Acquire)
    }

    /// What this controller has applied, for whoever judges it.
    pub fn applied(&self) -> &Replicas {
        &self.0.replicas
    }
}

impl<D: Disk> Driver<D> {
    /// Between one and two election timeouts, different for each controller and term.
    pub(super) fn choose_election_timeout(&mut self) {
        let Some(seed) = self.election_seed else { return };
        let raft = &self.node.raft;
        let mixed = [raft.id, raft.term, raft.state as u64].iter().fold(seed, |mixed, it| {
            let mixed = (mixed ^ it).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            mixed ^ (mixed >> 29)
        });
        self.node.raft.set_randomized_election_timeout(ELECTION_TICKS + mixed as usize % ELECTION_TICKS);
    }
}
