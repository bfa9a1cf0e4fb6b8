//! The thread that owns RawNode, log and state machine.
//!
//! ```text
//! queue ─▶ propose / step / read / tick ─▶ Ready ─▶ send ─▶ one disk write ─▶ send what needed it ─▶ apply ─▶ answer
//! ```
//! A disk that cannot be written or an entry that cannot be read ends the thread: a controller that goes on would be
//! wrong.

use super::disk::Disk;
use super::log::Log;
use super::members::{Change, Member, Members, disk_is_lost};
use super::metrics::RaftMetrics;
use super::reads::Reads;
use super::{Input, Leadership, QUEUE, Raft, RaftError};
use crate::replicas::{BrokerSet, Command, Outcome, Replicas};
use ::raft::eraftpb::{Entry, Message, MessageType};
use ::raft::{RawNode, StateRole};
use anyhow::{Context, bail};
use node::clock::monotonic_ms;
use node::throttle::Throttle;
use proto::Millis;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, warn};

mod leading;
mod membership;
mod ready;
mod snapshots;
mod stepped;

pub(super) use membership::Asker;
pub(super) use snapshots::{State, decode, encode};
pub use stepped::{Newcomer, Stepped};

use snapshots::Snapshots;

/// Inputs taken into one round, hence proposals that share one disk write.
const ROUND: usize = 4_096;
/// Of the election timeout: ticks until a leader that is silent is suspected, and between two heartbeats.
const ELECTION_TICKS: usize = 6;
const HEARTBEAT_TICKS: usize = 2;
/// Bytes per append message.
const MESSAGE_BYTES: u64 = 1024 * 1024;

#[derive(Clone, Debug)]
pub struct Options {
    pub id: u64,
    /// A follower that hears nothing for one to two of these calls an election.
    pub election_timeout: Millis,
    /// A snapshot is taken after this many entries or bytes.
    pub snapshot_entries: u64,
    pub snapshot_bytes: usize,
    /// The first members, with their addresses as the configuration has them now.
    pub founders: Members,
    /// Where this controller is reached.
    pub address: String,
}

/// What the rest of the controller learns, in the order of the log.
#[derive(Clone, Debug)]
pub enum Event {
    /// A set is now like this.
    View(Arc<BrokerSet>),
    Removed {
        broker_set: String,
    },
    Leading,
    Following,
    /// The thread has ended; the error says why if it should not have.
    Stopped(Option<String>),
}

/// Hands a message to the transport; false when it was dropped.
pub type Outbox = Box<dyn Fn(Message) -> bool + Send>;

/// Loads the disk and starts the thread. Everything on disk is applied, and its views are sent, before this controller
/// votes.
pub fn start(
    options: Options,
    mut disk: impl Disk,
    outbox: Outbox,
    events: mpsc::Sender<Event>,
    members: watch::Sender<Members>,
) -> anyhow::Result<Raft> {
    let log = Log::load(disk.load()?)?;
    let (queue, inputs) = sync_channel(QUEUE);
    let (publish, leadership) = watch::channel(Leadership::default());
    let mut driver = Driver::new(options, log, disk, outbox, events, publish, members)?;
    let lease = driver.lease.clone();
    let members = driver.publish_to.subscribe();
    let metrics = driver.metrics.clone();
    let (running, ended) = watch::channel(());
    let life = move || {
        let events = driver.events.clone();
        let why = driver.run(&inputs);
        // The disk is closed before anybody hears of the end: the process may exit, or open it again.
        drop(driver);
        drop(running);
        // Nobody listens any more when the whole process is going down.
        let _ = events.blocking_send(Event::Stopped(why));
    };
    std::thread::Builder::new().name("raft".into()).spawn(life).context("cannot start the raft thread")?;
    Ok(Raft { queue, leadership, members, lease, metrics, ended })
}

struct Driver<D> {
    node: RawNode<Log>,
    disk: D,
    replicas: Replicas,
    members: Members,
    /// Controllers that are newer than what is applied here.
    introduced: BTreeMap<u64, Member>,
    /// With which data directory each other controller was first heard.
    directories: BTreeMap<u64, u64>,
    publish_to: watch::Sender<Members>,
    /// The change that somebody waits for.
    changing: Option<(Change, Asker)>,
    snapshots: Snapshots,
    was_member: bool,
    applied: u64,
    pending: Pending,
    reads: Reads,
    /// The term in which this leader has told another one to take over, which then waits for nobody's lease: nothing
    /// proves any more that nobody else leads.
    handed_over: Option<u64>,
    outbox: Outbox,
    reports: Vec<Report>,
    events: mpsc::Sender<Event>,
    publish: watch::Sender<Leadership>,
    lease: Arc<AtomicU64>,
    metrics: Arc<RaftMetrics>,
    options: Options,
    tick: Millis,
    ticks: usize,
    /// Votes asked for before this are ignored, see [`Driver::may_vote`].
    votes_from: Millis,
    next_tick: Millis,
    /// Where election timeouts come from, if not from chance.
    election_seed: Option<u64>,
}

/// What became of a message, for raft-rs to know.
struct Report {
    to: u64,
    is_snapshot: bool,
    sent: bool,
}

/// Proposals of this process whose entry is not applied yet.
#[derive(Default)]
struct Pending {
    /// Distinguishes our entries from those of an earlier life of this controller.
    nonce: u64,
    next: u64,
    /// Of this round, not handed to raft-rs yet; they have the last numbers.
    proposed: Vec<Entry>,
    waiting: BTreeMap<u64, oneshot::Sender<Result<Outcome, RaftError>>>,
}

impl<D: Disk> Driver<D> {
    fn new(
        options: Options,
        mut log: Log,
        disk: D,
        outbox: Outbox,
        events: mpsc::Sender<Event>,
        publish: watch::Sender<Leadership>,
        publish_to: watch::Sender<Members>,
    ) -> anyhow::Result<Driver<D>> {
        let State { replicas, mut members } = decode(&log.snapshot, &options.founders)?;
        members.readdress(&options.founders, options.id, &options.address);
        let directories = std::mem::take(&mut log.directories);
        let (applied, restarted) = (log.snapshot_index(), log.hard_state.term > 0);
        let config = ::raft::Config {
            id: options.id,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied,
            max_size_per_msg: MESSAGE_BYTES,
            check_quorum: true,
            pre_vote: true,
            ..Default::default()
        };
        let alone = log.conf_state.voters == [options.id];
        // raft-rs reports every vote at INFO.
        let drain = slog::LevelFilter::new(tracing_slog::TracingSlogDrain, slog::Level::Warning);
        let logger = slog::Logger::root(slog::Fuse(drain), slog::o!());
        let mut node = RawNode::new(&config, log, &logger)?;
        if alone {
            node.campaign()?;
        }
        let now = monotonic_ms();
        let mut driver = Driver {
            node,
            disk,
            replicas,
            members,
            introduced: BTreeMap::new(),
            directories,
            publish_to,
            changing: None,
            snapshots: Snapshots::default(),
            was_member: false,
            applied,
            pending: Pending { nonce: node::clock::wall_ms() as u64, ..Default::default() },
            reads: Reads::default(),
            handed_over: None,
            outbox,
            reports: Vec::new(),
            events,
            publish,
            lease: Arc::new(AtomicU64::new(0)),
            metrics: Arc::default(),
            tick: (options.election_timeout / ELECTION_TICKS as Millis).max(1),
            ticks: 0,
            // A single controller needs nobody's vote.
            votes_from: if restarted || !alone { now + options.election_timeout } else { now },
            next_tick: now,
            election_seed: None,
            options,
        };
        driver.next_tick = now + driver.tick;
        driver.publish_members();
        Ok(driver)
    }

    /// Until stopped; tells what went wrong if something did.
    fn run(&mut self, inputs: &Receiver<Input>) -> Option<String> {
        let ended = self.announce_all().and_then(|()| self.serve(inputs));
        if let Err(why) = &ended {
            error!("the raft thread ended: {why:#}");
        }
        // When nobody listens, nobody grants a lease either.
        let _ = self.tell(Event::Following);
        self.lose_leadership();
        self.publish.send_replace(Leadership::default());
        ended.err().map(|it| format!("{it:#}"))
    }

    fn serve(&mut self, inputs: &Receiver<Input>) -> anyhow::Result<()> {
        self.next_tick = monotonic_ms() + self.tick;
        loop {
            let wait = Duration::from_millis(self.next_tick.saturating_sub(monotonic_ms()));
            match inputs.recv_timeout(wait) {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(input) => self.on_input(input)?,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let began = Instant::now();
            for input in inputs.try_iter().take(ROUND) {
                if matches!(input, Input::Stop) {
                    return Ok(());
                }
                self.on_input(input)?;
            }
            self.round()?;
            self.complain(began.elapsed());
        }
    }

    /// The others take a leader for dead that does not speak for one election timeout.
    fn complain(&self, took: Duration) {
        static SAID: Throttle = Throttle::new();
        if took.as_millis() as u64 > self.options.election_timeout / 2 {
            let (took_ms, election_timeout_ms) = (took.as_millis() as u64, self.options.election_timeout);
            SAID.say(|unsaid| {
                warn!(
                    took_ms,
                    election_timeout_ms,
                    unsaid,
                    "a round of the raft thread took long: a slow disk, or too little processor time; see \
                     electionTimeoutMills"
                )
            });
        }
    }

    /// After the inputs of a round: what they and the time led to.
    fn round(&mut self) -> anyhow::Result<()> {
        self.hand_in();
        let now = monotonic_ms();
        if now >= self.next_tick {
            // Never two ticks closer than one period, even after a stall: leases count on it.
            self.next_tick = now + self.tick;
            self.on_tick(now);
        }
        self.start_reads();
        while self.node.has_ready() {
            self.on_ready()?;
        }
        self.after_round()?;
        if self.is_removed() {
            bail!("this controller was removed from the group; its data directory is of no more use");
        }
        Ok(())
    }

    fn on_input(&mut self, input: Input) -> anyhow::Result<()> {
        match input {
            Input::Propose(command, done) => self.propose(&command, done),
            Input::Read(read) if self.node.raft.state == StateRole::Leader => self.reads.wait(read),
            Input::Read(read) => read(Err(RaftError::NotLeader)),
            Input::Message(message) if self.may_vote(&message) => {
                self.check_memory(&message)?;
                // A message that raft-rs refuses (from a stranger, or stale) is dropped by design.
                let _ = self.node.step(*message);
            }
            Input::Ask(ask, asker) => self.on_ask(&ask, asker),
            Input::Hello(hello, done) => {
                let answer = self.on_hello(&hello)?;
                // The stream may be gone already.
                let _ = done.send(answer);
            }
            Input::Fail(why) => bail!("{why}"),
            Input::Message(_) | Input::Stop => {}
        }
        Ok(())
    }

    /// A restarted follower has forgotten whom it promised its silence; until one election timeout has passed it votes
    /// for nobody, so that a leader's lease, which counts on that promise, holds across restarts. One with an empty
    /// directory waits as long, for those that know it by another one to say so.
    fn may_vote(&self, message: &Message) -> bool {
        let vote = matches!(message.get_msg_type(), MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        !vote || monotonic_ms() >= self.votes_from
    }

    /// A leader's heartbeat names nothing that its receiver has not acknowledged as written.
    fn check_memory(&self, message: &Message) -> anyhow::Result<()> {
        let (raft, last) = (&self.node.raft, self.node.store().last());
        let heartbeat = message.get_msg_type() == MessageType::MsgHeartbeat && message.term >= raft.term;
        if !heartbeat || message.commit <= last {
            return Ok(());
        }
        let (name, address) = self.members.get(raft.id).map(|it| (&*it.name, &*it.address)).unwrap_or_default();
        bail!(
            "controller {name} has acknowledged the log up to {}, and has it up to {last}: {}",
            message.commit,
            disk_is_lost(name, address)
        )
    }

    fn propose(&mut self, command: &Command, done: oneshot::Sender<Result<Outcome, RaftError>>) {
        let data = serde_json::to_vec(command).unwrap_or_default();
        let context = self.pending.context();
        self.pending.proposed.push(Entry { data: data.into(), context: context.into(), ..Default::default() });
        self.pending.waiting.insert(self.pending.next, done);
    }

    /// Everything that was proposed in this round, in one message to each follower: raft-rs would send one for each
    /// proposal.
    fn hand_in(&mut self) {
        let entries = std::mem::take(&mut self.pending.proposed);
        let first = self.pending.next + 1 - entries.len() as u64;
        if entries.is_empty() {
            return;
        }
        let mut message = Message { from: self.node.raft.id, entries: entries.into(), ..Default::default() };
        message.set_msg_type(MessageType::MsgPropose);
        if self.node.raft.state == StateRole::Leader && self.node.raft.step(message).is_ok() {
            return;
        }
        for done in self.pending.waiting.split_off(&first).into_values() {
            // The asker may have given up meanwhile.
            let _ = done.send(Err(RaftError::NotLeader));
        }
    }

    fn on_tick(&mut self, now: Millis) {
        self.choose_election_timeout();
        self.node.tick();
        self.ticks += 1;
        self.end_failed_transfer();
        // Renews the lease as often as heartbeats go out.
        if self.ticks.is_multiple_of(HEARTBEAT_TICKS) {
            self.begin_round(now);
            self.look_at_followers();
            self.promote_learners();
        }
    }
}

impl Pending {
    fn context(&mut self) -> Vec<u8> {
        self.next += 1;
        [self.nonce.to_be_bytes(), self.next.to_be_bytes()].concat()
    }

    fn take(&mut self, context: &[u8]) -> Option<oneshot::Sender<Result<Outcome, RaftError>>> {
        let both = u128::from_be_bytes(context.try_into().ok()?);
        self.waiting.remove(&(both as u64)).filter(|_| (both >> 64) as u64 == self.nonce)
    }
}
