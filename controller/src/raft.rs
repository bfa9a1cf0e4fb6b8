//! The replicated log: drives raft-rs and applies what it commits to [`Replicas`].
//!
//! One thread owns the RawNode, the log and the state machine ([`thread`]); everybody else holds a [`Raft`] handle and
//! sends it messages. Each round of work is one synced disk write, so concurrent proposals share an fsync. Reads are
//! linearizable: answered at once under the leader's lease, otherwise after a ReadIndex round trip, never from a
//! deposed leader's memory.

pub mod disk;
mod door;
mod log;
pub mod members;
pub mod metrics;
pub mod offline;
mod reads;
mod rocks;
mod thread;
pub mod transport;

pub use disk::{Batch, Disk, MemoryDisk, Stored};
pub use door::Door;
pub use members::{Ask, Member, MemberRefusal, Members};
pub use rocks::{Identity, RocksDisk};
pub use thread::{Event, Newcomer, Options, Outbox, Stepped, start};

use crate::replicas::{Command, Outcome, Replicas};
use ::raft::eraftpb::Message;
use node::clock::monotonic_ms;
use proto::Millis;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Messages waiting for the raft thread. Deep enough for a thousand masters dying at once; when full, callers are
/// refused, and Raft messages dropped (Raft repeats them).
const QUEUE: usize = 16_384;
/// RocketMQ's processor waits this long for the outcome of a request.
const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries to learn what became of a proposal.
const AGAIN: Duration = Duration::from_millis(500);

/// What the raft thread can be asked.
enum Input {
    Propose(Command, oneshot::Sender<Result<Outcome, RaftError>>),
    Read(Read),
    Message(Box<Message>),
    Ask(Ask, thread::Asker),
    Hello(Hello, oneshot::Sender<Result<(), String>>),
    /// End with this error.
    Fail(String),
    Stop,
}

/// Who opens a stream to this controller.
#[derive(Clone, Debug)]
pub struct Hello {
    pub from: u64,
    /// Drawn when its data directory was made.
    pub directory: u64,
    pub name: String,
    pub address: String,
}

/// A question about what is applied; told `Err` when this controller turns out not to lead.
type Read = Box<dyn FnOnce(Result<Applied<'_>, RaftError>) + Send>;

/// What the leader has applied, and whom it has heard.
struct Applied<'a> {
    replicas: &'a Replicas,
    members: &'a Members,
    /// With which data directory each other controller was first heard, by Raft id.
    directories: &'a BTreeMap<u64, u64>,
}

impl Applied<'_> {
    fn newcomer(&self, name: &str) -> Result<u64, MemberRefusal> {
        self.members.newcomer(name, |id| self.directories.contains_key(&id))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RaftError {
    #[error("The controller is not in leader state")]
    NotLeader,
    #[error("the controller has more requests under way than it can queue; try again")]
    Busy,
    #[error("no majority of controllers answered within 5 s; the request may still be carried out")]
    Timeout,
    #[error("the controller is shutting down")]
    Stopped,
}

/// Who leads, as this controller knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Raft id of the leader; none while unknown.
    pub leader: Option<u64>,
    /// This controller leads and has applied everything committed before its term: it may serve.
    pub leading: bool,
    pub term: u64,
}

/// Handle to the raft thread.
#[derive(Clone)]
pub struct Raft {
    queue: SyncSender<Input>,
    leadership: watch::Receiver<Leadership>,
    members: watch::Receiver<Members>,
    /// Monotonic milliseconds until which no other controller can have become leader.
    lease: Arc<AtomicU64>,
    pub metrics: Arc<metrics::RaftMetrics>,
    /// Closes when the thread has ended and its disk is closed; nothing is ever sent.
    ended: watch::Receiver<()>,
}

impl Raft {
    /// Commits and applies a command. `NotLeader` may also mean that leadership was lost on the way; every command
    /// checks what it changes, so repeating one is safe.
    pub async fn propose(&self, command: Command) -> Result<Outcome, RaftError> {
        let began = Instant::now();
        let outcome = self.decide(command).await;
        self.metrics.proposed(began.elapsed(), &outcome);
        outcome
    }

    /// Waits until it is known what became of what was proposed before and has had no answer. The log is in order: once
    /// a later entry is decided, so is what stands before it. A leader that lost its place decides nothing any more,
    /// and the next one has applied what there is before it grants a lease.
    pub(crate) async fn decided(&self, broker_set: &str) {
        while let Err(RaftError::Timeout | RaftError::Busy) = self.decide(Command::nothing(broker_set)).await {
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn decide(&self, command: Command) -> Result<Outcome, RaftError> {
        let (done, outcome) = oneshot::channel();
        self.enqueue(Input::Propose(command, done))?;
        answer(outcome).await?
    }

    /// Asks the applied state.
    pub async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Replicas) -> T + Send + 'static,
    ) -> Result<T, RaftError> {
        self.read_applied(|it| question(it.replicas)).await
    }

    /// Which Raft id the controller of this name has that has nothing on its disk. Only the leader knows: others may
    /// not have heard yet that the id which they know was taken away.
    pub async fn newcomer(&self, name: &str) -> Result<Result<u64, MemberRefusal>, RaftError> {
        let name = name.to_owned();
        self.read_applied(move |it| it.newcomer(&name)).await
    }

    async fn read_applied<T: Send + 'static>(
        &self,
        question: impl FnOnce(Applied<'_>) -> T + Send + 'static,
    ) -> Result<T, RaftError> {
        let (done, result) = oneshot::channel();
        // The asker may have given up meanwhile; then nobody wants the answer.
        let read: Read = Box::new(move |it| drop(done.send(it.map(question))));
        self.enqueue(Input::Read(read))?;
        answer(result).await?
    }

    /// A message from another controller. Dropped when the queue is full: Raft repeats what matters.
    pub fn deliver(&self, message: Message) -> Result<(), RaftError> {
        self.enqueue(Input::Message(Box::new(message)))
    }

    /// Changes the members, or who leads. Done when committed; a new controller is a learner then.
    pub async fn ask(&self, ask: Ask) -> Result<Result<(), MemberRefusal>, RaftError> {
        let (done, answered) = oneshot::channel();
        self.enqueue(Input::Ask(ask, done))?;
        answer(answered).await?
    }

    /// May this controller talk to us? If not, why.
    pub async fn hello(&self, hello: Hello) -> Result<Result<(), String>, RaftError> {
        let (done, answered) = oneshot::channel();
        self.enqueue(Input::Hello(hello, done))?;
        answer(answered).await
    }

    /// Ends the thread with an error.
    pub fn fail(&self, why: String) {
        // Full: whoever found out will find out again.
        let _ = self.enqueue(Input::Fail(why));
    }

    /// Who belongs to the group, as this controller has applied it.
    pub fn members(&self) -> Members {
        self.members.borrow().clone()
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    pub fn is_leading(&self) -> bool {
        self.leadership.borrow().leading
    }

    /// No other controller can lead at this moment (S5).
    pub fn lease_holds(&self) -> bool {
        self.is_leading() && monotonic_ms() < self.lease.load(Ordering::Acquire)
    }

    /// For how long no other controller can lead, 0 without a lease (S5).
    pub fn lease_left_ms(&self) -> Millis {
        if self.is_leading() { self.lease.load(Ordering::Acquire).saturating_sub(monotonic_ms()) } else { 0 }
    }

    /// Ends the thread. After this nothing is written any more, and the disk is closed: the process may exit, which
    /// rocksdb does not survive while somebody uses it.
    pub async fn stop(&self) {
        while let Err(RaftError::Busy) = self.enqueue(Input::Stop) {
            tokio::time::sleep(AGAIN).await;
        }
        // The error is what is waited for.
        let _ = self.ended.clone().changed().await;
    }

    fn enqueue(&self, input: Input) -> Result<(), RaftError> {
        self.queue.try_send(input).map_err(|it| match it {
            TrySendError::Full(_) => RaftError::Busy,
            TrySendError::Disconnected(_) => RaftError::Stopped,
        })
    }
}

async fn answer<T>(waiting: oneshot::Receiver<T>) -> Result<T, RaftError> {
    match tokio::time::timeout(PROPOSAL_TIMEOUT, waiting).await {
        Ok(answered) => answered.map_err(|_| RaftError::Stopped),
        Err(_) => Err(RaftError::Timeout),
    }
}

#[cfg(test)]
mod tests;
