//! Carries out what [`Lanes`] decides: one task that owns it, the requests, and the way to the master.

use super::kind::Nature;
use super::lanes::{Arrival, Input, Kind, Lane, LaneConfig, Lanes, Outcome, Output, Refused, Standing, Ticket, Traced};
use super::link::{Link, keep};
use super::search::{Finding, Job, Scan, search};
use super::{Entry, Turn, refusal, standing, trace};
use crate::broker::Broker;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use ha::Role;
use node::clock::monotonic_ms;
use node::remoting::{CallError, Client, Connection, Reply};
use proto::code::response;
use proto::forward::{Fate, Mark};
use proto::{Command, Epoch, Millis, Offset};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Executes a request on this replica, as if it had come on that connection.
pub type Local = Box<dyn Fn(&Arc<Connection>, Command, Turn) -> Reply + Send + Sync>;

const BATCH: usize = 256;
/// Deadlines are kept to this accuracy, and a log that has become the new master's is noticed so soon.
const TICK: Duration = Duration::from_millis(5);
/// What a master may take longer than it waits for its slaves.
const ANSWER_MARGIN_MS: Millis = 2_000;
/// What a request takes beside its body and fields.
const OVERHEAD: usize = 256;

/// A request that is not answered yet.
struct Slot {
    entry: Entry,
    /// What came last.
    answer: Option<Command>,
    /// Appends of this replica that were not acknowledged: epoch, end, and the answer if they survive.
    appended: Vec<(Epoch, Offset, Command)>,
    /// Where the log is to be searched for it.
    scan: Option<Scan>,
    sent: Instant,
    sent_over: Option<Link>,
}

impl Slot {
    fn new(mut entry: Entry) -> Slot {
        let appended = entry.deposed.take().map(|it| (it.epoch, it.end, it.answer));
        let (appended, sent) = (appended.into_iter().collect(), Instant::now());
        Slot { entry, answer: None, appended, scan: None, sent, sent_over: None }
    }

    fn is_gone(&self) -> bool {
        self.entry.asker.as_ref().is_some_and(|(_, answer)| answer.is_closed())
    }
}

type Attempt = (Ticket, u32, Progress);

/// How far an attempt has come.
enum Progress {
    /// It has its place in this replica's log, or has none.
    Began,
    Ended(Result<Command, CallError>),
}

struct Driver {
    broker: Arc<Broker>,
    local: Local,
    lanes: Lanes,
    slots: BTreeMap<Ticket, Slot>,
    link: watch::Receiver<Option<Link>>,
    /// The master has said goodbye to this one: what it was asked before it answers, nothing more.
    retired: Option<Link>,
    under_way: FuturesUnordered<BoxFuture<'static, Attempt>>,
    inputs: VecDeque<Input>,
    /// Connections of which earlier requests may still come: appended here, not acknowledged yet.
    early: BTreeMap<Lane, Arc<Connection>>,
    /// To be searched for together.
    traces: Vec<Ticket>,
    findings: mpsc::Sender<Finding>,
    answer_ms: Millis,
}

/// Until stopped. Whoever waits then is told so.
pub async fn run(broker: Arc<Broker>, client: Client, local: Local, stop: CancellationToken) {
    let Some(mut exit) = broker.forward.exit.lock().take() else { return };
    let (link, links) = watch::channel(None);
    let keeping = tokio::spawn(keep(broker.role.clone(), client, link, stop.clone()));
    let (findings, mut found) = mpsc::channel(BATCH);
    let mut role = broker.role.clone();
    let mut changed = links.clone();
    let mut driver = Driver::new(broker, local, links, findings);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            count = exit.recv_many(&mut batch, BATCH) => if count == 0 { break },
            Some(attempt) = driver.under_way.next(), if !driver.under_way.is_empty() => driver.went_on(attempt),
            Some(finding) = found.recv() => driver.found(finding),
            _ = role.changed() => {}
            _ = changed.changed() => {}
            _ = tick.tick(), if !driver.slots.is_empty() => driver.tick(),
            () = stop.cancelled() => break,
        }
        driver.look_around();
        // Seen before the last of theirs are taken from the entrance.
        let complete = driver.complete();
        for entry in batch.drain(..) {
            driver.arrived(entry);
        }
        while let Ok(entry) = exit.try_recv() {
            driver.arrived(entry);
        }
        for lane in complete {
            driver.early.remove(&lane);
            driver.inputs.push_back(Input::Complete(lane));
        }
        driver.go_on();
    }
    drop(driver);
    let _ended = keeping.await;
}

impl Driver {
    fn new(
        broker: Arc<Broker>,
        local: Local,
        link: watch::Receiver<Option<Link>>,
        findings: mpsc::Sender<Finding>,
    ) -> Driver {
        let config = &broker.config;
        let answer_ms = config.slave_timeout.max(config.sync_flush_timeout) + ANSWER_MARGIN_MS;
        let lanes = Lanes::new(LaneConfig {
            hold_ms: config.forward_hold_millis,
            hold_count: config.forward_hold_count,
            hold_bytes: config.forward_hold_bytes,
            answer_ms,
        });
        Driver {
            broker,
            local,
            lanes,
            slots: BTreeMap::new(),
            link,
            retired: None,
            under_way: FuturesUnordered::new(),
            inputs: VecDeque::new(),
            early: BTreeMap::new(),
            traces: Vec::new(),
            findings,
            answer_ms,
        }
    }

    // ---- what happens

    fn arrived(&mut self, entry: Entry) {
        let kind = match entry.nature {
            // With a place in the log it needs no key.
            Nature::Send => {
                Kind::Append { traceable: entry.deposed.is_some() || trace::identity(&entry.command).is_some() }
            }
            Nature::Append => Kind::Append { traceable: false },
            Nature::Repeatable => Kind::Repeatable,
        };
        if let Some((connection, _)) = entry.asker.as_ref().filter(|_| entry.early) {
            self.early.insert(entry.place.lane, connection.clone());
        }
        let fields: usize = entry.command.ext.iter().map(|(key, value)| key.len() + value.len()).sum();
        let arrival = Arrival {
            ticket: entry.ticket,
            lane: entry.place.lane,
            kind,
            bytes: entry.command.body.len() + fields + OVERHEAD,
            marked: entry.mark.map(|it| it.epoch),
            deposed: entry.deposed.as_ref().map(|it| it.epoch),
            early: entry.early,
        };
        self.slots.insert(entry.ticket, Slot::new(entry));
        self.inputs.push_back(Input::Arrived(arrival));
    }

    fn went_on(&mut self, (ticket, attempt, progress): Attempt) {
        match progress {
            Progress::Began => self.inputs.push_back(Input::Began { ticket, attempt }),
            Progress::Ended(answer) => self.ended(ticket, attempt, answer),
        }
    }

    fn ended(&mut self, ticket: Ticket, attempt: u32, ended: Result<Command, CallError>) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        let outcome = match ended {
            Ok(answer) if slot.entry.mark.is_some() => {
                slot.answer = Some(answer);
                Outcome::Answered
            }
            // Its process ends: another one, there or elsewhere, takes it.
            Ok(answer) if answer.code == response::GO_AWAY => {
                self.retired = slot.sent_over.clone();
                Outcome::Refused
            }
            Ok(answer) => match Fate::read(&answer) {
                None => {
                    self.broker.metrics.forward.answered(slot.sent.elapsed());
                    slot.answer = Some(answer);
                    Outcome::Answered
                }
                Some(Fate::NotAppended) => Outcome::Refused,
                Some(Fate::Unknown { epoch, end }) => {
                    slot.appended.push((epoch, end, answer));
                    Outcome::Lost
                }
            },
            Err(error) => {
                tracing::debug!(%error, ticket, "a forwarded request was not answered");
                Outcome::Lost
            }
        };
        self.inputs.push_back(Input::Ended { ticket, attempt, outcome });
    }

    fn found(&mut self, Finding { ticket, at, traced, answer }: Finding) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        match traced {
            Traced::Found => self.broker.metrics.forward.resolved(true),
            Traced::Absent => self.broker.metrics.forward.resolved(false),
            Traced::Unclear | Traced::Again => {}
        }
        if answer.is_some() {
            slot.answer = answer;
        }
        self.inputs.push_back(Input::Traced { ticket, at, traced });
    }

    fn tick(&mut self) {
        let gone = self.slots.iter().filter(|it| it.1.is_gone()).map(|it| Input::Gone(*it.0));
        self.inputs.extend(gone);
        self.inputs.push_back(Input::Tick);
    }

    /// Connections of which nothing earlier can come any more.
    fn complete(&self) -> Vec<Lane> {
        let settled = |it: &(&Lane, &Arc<Connection>)| it.1.unsettled.load(Ordering::Acquire) == 0;
        self.early.iter().filter(settled).map(|it| *it.0).collect()
    }

    /// The way to the master of this epoch, if there is one.
    fn link_at(&self, epoch: Epoch) -> Option<Link> {
        let link = self.link.borrow().clone()?;
        let retired = self.retired.as_ref().is_some_and(|it| it.is_same(&link));
        (link.is_open_at(epoch) && !retired).then_some(link)
    }

    /// Level-triggered: what this replica is now, not what was reported of it.
    fn look_around(&mut self) {
        let standing = match standing(&self.broker) {
            Standing::Nobody { epoch } if self.link_at(epoch).is_some() => Standing::There { epoch },
            other => other,
        };
        // What happened before happened in the old standing.
        self.go_on();
        self.inputs.push_back(Input::Standing(standing));
        self.go_on();
        if self.lanes.wants_settled() && is_settled(&self.broker, standing.epoch()) {
            self.inputs.push_back(Input::Settled(standing.epoch()));
        }
    }

    /// Until nothing is left to be done at once.
    fn go_on(&mut self) {
        let mut out = Vec::new();
        while let Some(input) = self.inputs.pop_front() {
            self.lanes.step(monotonic_ms(), input, &mut out);
            for output in out.drain(..) {
                self.perform(output);
            }
        }
        self.start_traces();
    }

    // ---- what is done

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send { ticket, attempt, epoch } => self.send(ticket, attempt, epoch),
            Output::Run { ticket, attempt, epoch } => self.run(ticket, attempt, epoch),
            Output::Trace { ticket, .. } => self.traces.push(ticket),
            Output::Answer(ticket) => {
                if let Some(slot) = self.slots.remove(&ticket) {
                    let answer = slot.answer.unwrap_or_else(|| refusal(&self.broker, Refused::Unknown));
                    reply(slot.entry.asker, answer);
                }
            }
            Output::Refuse(ticket, why) => {
                if let Some(slot) = self.slots.remove(&ticket) {
                    self.broker.metrics.forward.refused(why);
                    reply(slot.entry.asker, refusal(&self.broker, why));
                }
            }
            Output::Forget(ticket) => drop(self.slots.remove(&ticket)),
        }
    }

    fn send(&mut self, ticket: Ticket, attempt: u32, epoch: Epoch) {
        let link = self.link_at(epoch);
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        if slot.is_gone() {
            return self.inputs.push_back(Input::Gone(ticket));
        }
        let Some(link) = link else {
            return self.inputs.push_back(Input::Ended { ticket, attempt, outcome: Outcome::Refused });
        };
        let by = self.broker.role.borrow().broker_id;
        let born_host = slot.entry.asker.as_ref().map_or(self.broker.address, |(connection, _)| connection.peer);
        let mut command = slot.entry.command.clone();
        command.flag = 0; // one-way to the client only: here it matters what has become of it
        Mark { by, born_host, epoch }.write(&mut command.ext);
        note_attempt(&self.broker, slot, epoch);
        slot.sent_over = Some(link.clone());
        self.broker.metrics.forward.sent();
        let answer = link.connection.start(command, Duration::from_millis(self.answer_ms + ANSWER_MARGIN_MS));
        self.under_way.push(Box::pin(async move {
            let answer = answer.await;
            drop(link); // not before: the last user's end closes the connection
            (ticket, attempt, Progress::Ended(answer))
        }));
    }

    fn run(&mut self, ticket: Ticket, attempt: u32, epoch: Epoch) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        let connection = match &slot.entry.asker {
            Some(_) if slot.is_gone() => return self.inputs.push_back(Input::Gone(ticket)),
            Some((connection, _)) => connection.clone(),
            None => Connection::detached(self.broker.address).0,
        };
        let mut command = slot.entry.command.clone();
        if slot.entry.mark.is_none() {
            let by = self.broker.role.borrow().broker_id;
            Mark { by, born_host: connection.peer, epoch }.write(&mut command.ext);
            note_attempt(&self.broker, slot, epoch);
        }
        let (turn, mut ends) = oneshot::channel();
        match (self.local)(&connection, command, Turn { _ends: turn }) {
            Reply::Now(answer) => self.ended(ticket, attempt, Ok(answer)),
            Reply::Later(answer) => {
                self.under_way.push(Box::pin(async move { (ticket, attempt, Progress::Ended(Ok(answer.await))) }));
                if ends.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                    let began = ends.map(move |_| (ticket, attempt, Progress::Began));
                    return self.under_way.push(Box::pin(began));
                }
                self.inputs.push_back(Input::Began { ticket, attempt });
            }
            Reply::None => self.inputs.push_back(Input::Gone(ticket)),
        }
    }

    fn start_traces(&mut self) {
        let tickets = std::mem::take(&mut self.traces);
        let at = self.broker.role.borrow().master_epoch;
        let job = |ticket| {
            let slot = self.slots.get(&ticket)?;
            let what = slot.scan.and_then(|_| trace::identity(&slot.entry.command));
            Some(Job { ticket, appended: slot.appended.clone(), scan: slot.scan, what })
        };
        let jobs: Vec<_> = tickets.into_iter().filter_map(job).collect();
        if !jobs.is_empty() {
            tracing::info!(sends = jobs.len(), epoch = at, "looking in the log for sends whose answer was lost");
            tokio::spawn(search(self.broker.clone(), at, jobs, self.findings.clone()));
        }
    }
}

/// From the first attempt on the log may have it; the last one says in which epochs.
fn note_attempt(broker: &Broker, slot: &mut Slot, epoch: Epoch) {
    slot.sent = Instant::now();
    match &mut slot.scan {
        Some(scan) => scan.last_epoch = epoch,
        None => slot.scan = Some(Scan { from: place(broker, epoch), first_epoch: epoch, last_epoch: epoch }),
    }
}

/// The beginning of a record that the master of `epoch` has below its log's end; `None` while this log is not known to
/// be the beginning of that one's.
fn place(broker: &Broker, epoch: Epoch) -> Option<Offset> {
    let is_of_it = || broker.replication.log_epoch() == epoch;
    let from = is_of_it().then(|| broker.store.dispatched_offset())?;
    is_of_it().then_some(from)
}

/// Whether this replica's log is, up to where `epoch` begins, that of its master.
pub(super) fn is_settled(broker: &Broker, epoch: Epoch) -> bool {
    let role = broker.role.borrow();
    role.master_epoch == epoch && role.role != Role::Unassigned && broker.replication.log_epoch() == epoch
}

fn reply(asker: Option<(Arc<Connection>, oneshot::Sender<Command>)>, answer: Command) {
    if let Some((_, asker)) = asker {
        let _gone = asker.send(answer);
    }
}
