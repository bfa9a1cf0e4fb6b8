//! The thread that owns RawNode, log and state machine.
//!
//! ```text
//! queue ─▶ propose / step / read / tick ─▶ Ready ─▶ send ─▶ one disk write ─▶ send what needed it ─▶ apply ─▶ answer
//! ```
//! A disk that cannot be written or an entry that cannot be read ends the thread: a controller that goes on would be
//! wrong.

use super::disk::{Batch, Disk, Durability};
use super::log::Log;
use super::members::{Change, Member, Members};
use super::metrics::{Follower, RaftMetrics};
use super::reads::Reads;
use super::{Input, Leadership, QUEUE, Raft, RaftError, Read};
use crate::replicas::{BrokerSet, Command, Outcome, Replicas};
use ::raft::eraftpb::{Entry, EntryType, Message, MessageType, Snapshot};
use ::raft::{RawNode, SnapshotStatus, StateRole};
use anyhow::{Context, bail};
use node::clock::monotonic_ms;
use proto::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info};

mod membership;
mod stepped;
pub(super) use membership::Asker;
pub use stepped::Stepped;

/// Inputs taken into one round, hence proposals that share one disk write.
const ROUND: usize = 4_096;
/// Of the election timeout: ticks until a leader that is silent is suspected, and between two heartbeats.
const ELECTION_TICKS: usize = 6;
const HEARTBEAT_TICKS: usize = 2;
/// Entries kept behind a snapshot, so that a follower that lags a little needs no snapshot.
const KEEP: u64 = 1_000;
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
    let life = move || {
        let events = driver.events.clone();
        let why = driver.run(&inputs);
        // The disk is closed before anybody hears of the end: the process may exit, or open it again.
        drop(driver);
        // Nobody listens any more when the whole process is going down.
        let _ = events.blocking_send(Event::Stopped(why));
    };
    std::thread::Builder::new().name("raft".into()).spawn(life).context("cannot start the raft thread")?;
    Ok(Raft { queue, leadership, members, lease, metrics })
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
    snapshot_due: bool,
    was_member: bool,
    applied: u64,
    pending: Pending,
    reads: Reads,
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
struct Pending {
    /// Distinguishes our entries from those of an earlier life of this controller.
    nonce: u64,
    next: u64,
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
            snapshot_due: false,
            was_member: false,
            applied,
            pending: Pending { nonce: node::clock::wall_ms() as u64, next: 0, waiting: BTreeMap::new() },
            reads: Reads::default(),
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
            for input in inputs.try_iter().take(ROUND) {
                if matches!(input, Input::Stop) {
                    return Ok(());
                }
                self.on_input(input)?;
            }
            self.round()?;
        }
    }

    /// After the inputs of a round: what they and the time led to.
    fn round(&mut self) -> anyhow::Result<()> {
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

    fn propose(&mut self, command: &Command, done: oneshot::Sender<Result<Outcome, RaftError>>) {
        let data = serde_json::to_vec(command).unwrap_or_default();
        let context = self.pending.context();
        let refused =
            self.node.raft.state != StateRole::Leader || data.is_empty() || self.node.propose(context, data).is_err();
        if refused {
            // The asker may have given up meanwhile.
            let _ = done.send(Err(RaftError::NotLeader));
        } else {
            self.pending.waiting.insert(self.pending.next, done);
        }
    }

    fn on_tick(&mut self, now: Millis) {
        self.choose_election_timeout();
        self.node.tick();
        self.ticks += 1;
        // Renews the lease as often as heartbeats go out.
        if self.ticks.is_multiple_of(HEARTBEAT_TICKS) {
            self.begin_round(now);
            self.look_at_followers();
            self.promote_learners();
        }
    }

    fn look_at_followers(&self) {
        let raft = &self.node.raft;
        let last = self.node.store().last();
        let leads = raft.state == StateRole::Leader;
        let others = raft.prs().iter().filter(|(id, _)| leads && **id != raft.id);
        let mut followers = self.metrics.followers.lock();
        let follower = |(id, it): (&u64, &::raft::Progress)| {
            let silent = followers.iter().find(|it| it.id == *id).map_or(0, |it| it.silent_looks);
            let silent_looks = if it.recent_active { 0 } else { silent.saturating_add(1) };
            Follower { id: *id, lag_entries: last.saturating_sub(it.matched), silent_looks }
        };
        *followers = others.map(follower).collect();
    }

    fn start_reads(&mut self) {
        let now = monotonic_ms();
        if self.reads.has_waiting() && now >= self.reads.lease_until && self.reads.needs_round() {
            self.begin_round(now);
        }
    }

    fn begin_round(&mut self, now: Millis) {
        // raft-rs would ignore it before the first commit of this term.
        if self.node.raft.state == StateRole::Leader && self.node.raft.commit_to_current_term() {
            let context = self.reads.begin(now);
            self.node.read_index(context);
        }
    }

    fn on_ready(&mut self) -> anyhow::Result<()> {
        let mut ready = self.node.ready();
        self.send(ready.take_messages());
        let snapshot = ready.snapshot().clone();
        if snapshot.get_metadata().index > 0 {
            self.install(snapshot)?;
        }
        if let Some(hard_state) = ready.hs() {
            self.node.mut_store().hard_state = hard_state.clone();
        }
        if !ready.entries().is_empty() || ready.hs().is_some() {
            let durability = if ready.must_sync() { Durability::Synced } else { Durability::Lazy };
            let hard_state = Some(&self.node.store().hard_state);
            let began = Instant::now();
            self.disk.write(&Batch { hard_state, entries: ready.entries(), durability, ..Default::default() })?;
            if durability == Durability::Synced {
                self.metrics.synced(began.elapsed());
            }
            self.node.mut_store().append(ready.entries());
        }
        for state in ready.take_read_states() {
            self.reads.confirm(&state.request_ctx, state.index, self.lease_length());
        }
        self.send(ready.take_persisted_messages());
        let committed = ready.take_committed_entries();
        let mut light = self.node.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.node.mut_store().hard_state.commit = commit;
        }
        self.send(light.take_messages());
        self.apply(committed)?;
        self.apply(light.take_committed_entries())?;
        self.node.advance_apply();
        self.report();
        Ok(())
    }

    /// Followers that answered ignore other candidates for one election timeout; a tick may have been about to pass
    /// when they answered, and a third of the rest covers drift between their clock and ours.
    fn lease_length(&self) -> Millis {
        self.tick * (ELECTION_TICKS as Millis - 1) * 2 / 3
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let (to, is_snapshot) = (message.to, message.get_msg_type() == MessageType::MsgSnapshot);
            let sent = (self.outbox)(message);
            if is_snapshot || !sent {
                self.reports.push(Report { to, is_snapshot, sent });
            }
        }
    }

    /// After the Ready is done with: raft-rs must not be stepped in between.
    fn report(&mut self) {
        for it in std::mem::take(&mut self.reports) {
            match it {
                // The stream keeps order, so what follows a queued snapshot arrives after it; a lost one is noticed by
                // the next rejection.
                Report { is_snapshot: true, sent: true, to } => self.node.report_snapshot(to, SnapshotStatus::Finish),
                Report { is_snapshot: true, to, .. } => self.node.report_snapshot(to, SnapshotStatus::Failure),
                Report { to, .. } => self.node.report_unreachable(to),
            }
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) -> anyhow::Result<()> {
        for entry in entries {
            match entry.get_entry_type() {
                _ if entry.data.is_empty() => {}
                EntryType::EntryNormal => self.apply_one(&entry)?,
                _ => self.apply_change(&entry)?,
            }
            self.applied = entry.index;
        }
        Ok(())
    }

    fn apply_one(&mut self, entry: &Entry) -> anyhow::Result<()> {
        let command: Command = serde_json::from_slice(&entry.data).with_context(|| {
            format!("raft entry {}: not a command of this version; run the version that wrote it", entry.index)
        })?;
        let broker_set = command.broker_set().to_owned();
        let existed = self.replicas.get(&broker_set).is_some();
        let outcome = self.replicas.apply(entry.index, command);
        match self.replicas.get(&broker_set) {
            Some(set) if set.revision == entry.index => self.tell(Event::View(Arc::new(set.clone())))?,
            None if existed => self.tell(Event::Removed { broker_set })?,
            _ => {}
        }
        if let Some(done) = self.pending.take(&entry.context) {
            // The asker may have given up meanwhile.
            let _ = done.send(Ok(outcome));
        }
        Ok(())
    }

    /// A leader's snapshot is written before it is applied, in one step with the log it replaces.
    fn install(&mut self, snapshot: Snapshot) -> anyhow::Result<()> {
        let State { replicas, mut members } = decode(&snapshot, &self.options.founders)?;
        members.readdress(&self.options.founders, self.options.id, &self.options.address);
        let meta = snapshot.get_metadata();
        let truncated = (meta.index, meta.term);
        info!(index = meta.index, sets = replicas.iter().count(), "snapshot installed");
        let gone =
            self.replicas.iter().map(|it| it.name.clone()).filter(|it| replicas.get(it).is_none()).collect::<Vec<_>>();
        self.node.mut_store().install(snapshot.clone());
        let hard_state = Some(&self.node.store().hard_state);
        let (snapshot, truncate) = (Some(&snapshot), Some(truncated));
        self.disk.write(&Batch { hard_state, snapshot, truncate, discard_entries: true, ..Default::default() })?;
        (self.replicas, self.members, self.applied) = (replicas, members, truncated.0);
        self.publish_members();
        for broker_set in gone {
            self.tell(Event::Removed { broker_set })?;
        }
        self.announce_all()
    }

    fn after_round(&mut self) -> anyhow::Result<()> {
        self.publish_leadership()?;
        self.lease.store(self.reads.lease_until, Ordering::Release);
        self.metrics.at(self.node.store().last(), self.node.raft.raft_log.committed, self.applied);
        let lease_holds = monotonic_ms() < self.reads.lease_until;
        let ready = match lease_holds && self.publish.borrow().leading {
            true => self.reads.take_all(),
            false => self.reads.ready(self.applied),
        };
        ready.into_iter().for_each(|read| read(Ok(&self.replicas)));
        self.compact()
    }

    /// Leading counts from when everything committed before this term is applied: before that, answers could be stale.
    fn publish_leadership(&mut self) -> anyhow::Result<()> {
        let before = *self.publish.borrow();
        let raft = &self.node.raft;
        let is_leader = raft.state == StateRole::Leader;
        let leading = is_leader && raft.commit_to_current_term() && self.applied == raft.raft_log.committed
            || is_leader && before.leading && before.term == raft.term;
        let leader = Some(raft.leader_id).filter(|it| *it != 0 && (leading || !is_leader));
        let now = Leadership { leader, leading, term: raft.term };
        if now == before {
            return Ok(());
        }
        info!(leader = now.leader, leading, term = now.term, "raft leadership");
        if before.leading && (!leading || before.term != now.term) {
            self.lose_leadership();
            self.tell(Event::Following)?;
        }
        self.publish.send_replace(now);
        if leading && (!before.leading || before.term != now.term) {
            self.begin_round(monotonic_ms());
            self.tell(Event::Leading)?;
        }
        Ok(())
    }

    /// What was proposed may still commit, under another leader: askers are sent to it.
    fn lose_leadership(&mut self) {
        for (_, done) in std::mem::take(&mut self.pending.waiting) {
            // The asker may have given up meanwhile.
            let _ = done.send(Err(RaftError::NotLeader));
        }
        if let Some((_, asker)) = self.changing.take() {
            let _ = asker.send(Err(RaftError::NotLeader));
        }
        self.abandon_reads();
        self.lease.store(0, Ordering::Release);
    }

    fn abandon_reads(&mut self) {
        self.reads.abandon().into_iter().for_each(|read: Read| read(Err(RaftError::NotLeader)));
    }

    /// Bounds log, memory and restart time.
    fn compact(&mut self) -> anyhow::Result<()> {
        let log = self.node.store();
        let grown = self.applied - log.snapshot_index();
        let due = self.snapshot_due
            || grown >= self.options.snapshot_entries
            || log.grown_bytes() >= self.options.snapshot_bytes;
        if grown == 0 || !due {
            return Ok(());
        }
        self.snapshot_due = false;
        let snapshot = self.snapshot()?;
        let keep_from = self.applied.saturating_sub(KEEP.min(self.options.snapshot_entries));
        let truncate = log.term_of(keep_from).filter(|_| keep_from >= log.first()).map(|term| (keep_from, term));
        self.disk.write(&Batch { snapshot: Some(&snapshot), truncate, ..Default::default() })?;
        let log = self.node.mut_store();
        log.compacted(snapshot, truncate);
        info!(index = self.applied, kept = log.last() + 1 - log.first(), "snapshot taken");
        Ok(())
    }

    fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let log = self.node.store();
        let term = log.term_of(self.applied).context("the applied index is not in the log")?;
        let mut snapshot = Snapshot { data: encode(&self.replicas, &self.members)?.into(), ..Default::default() };
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = (self.applied, term);
        meta.set_conf_state(log.conf_state.clone());
        Ok(snapshot)
    }

    fn announce_all(&self) -> anyhow::Result<()> {
        self.replicas.iter().try_for_each(|set| self.tell(Event::View(Arc::new(set.clone()))))
    }

    fn tell(&self, event: Event) -> anyhow::Result<()> {
        self.events.blocking_send(event).context("nobody listens to the raft thread any more")
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

/// What a snapshot holds.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    pub(super) members: Members,
    pub(super) replicas: Replicas,
}

#[derive(Serialize)]
struct Borrowed<'a> {
    members: &'a Members,
    replicas: &'a Replicas,
}

pub(super) fn encode(replicas: &Replicas, members: &Members) -> anyhow::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&Borrowed { members, replicas })?)
}

/// Without a snapshot there is nothing but the founders.
pub(super) fn decode(snapshot: &Snapshot, founders: &Members) -> anyhow::Result<State> {
    match snapshot.data.is_empty() {
        true => Ok(State { members: founders.clone(), replicas: Replicas::default() }),
        false => serde_json::from_slice(&snapshot.data).context("the raft snapshot is not one of this version"),
    }
}
