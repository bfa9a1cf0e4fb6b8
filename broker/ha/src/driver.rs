//! The replication task: owns the pure cores, feeds them what happens, and carries out what they say, in order.
//!
//! It has a thread of its own, together with the HA connections: an fsync or a cut in the middle of a role change must
//! hold up everything that follows from it, and nothing else. Questions to the controllers run on the main runtime and
//! come back as events.

use crate::controllers::{Controllers, Pulse, Purpose};
use crate::drain::{Drain, Progress};
use crate::in_sync::Outcome;
use crate::master::{self, LinkId, MasterConfig};
use crate::master_io::{LinkHandle, Listener, Term};
use crate::maximal_set::{Awaited, MaximalSet};
use crate::promise_file::PromiseFile;
use crate::role::{self, Answer, Ask, Role, View};
use crate::shared::{Gate, Shared};
use crate::{HaError, HaStatus, SlaveStatus, slave_io};
use node::clock::monotonic_ms;
use proto::ha::SlaveKind;
use proto::header::{BrokerHeartbeatResponse, HoldWritesRequest};
use proto::{BrokerId, Epoch, Millis, Offset};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// Events that may wait: some thousand acknowledgements. A full queue makes the connections wait, which is all right:
/// what they report only grows.
pub(crate) const EVENT_QUEUE: usize = 4096;
/// Taken at once, before the frontier is moved.
const EVENT_BATCH: usize = 256;
/// Deadlines of the cores are kept to this accuracy.
const TICK: Duration = Duration::from_millis(20);
/// A disk that refuses a promise gets another chance after this long; meanwhile nothing is served at the new epoch.
const DISK_RETRY: Duration = Duration::from_millis(200);

pub(crate) enum Event {
    Identified(Result<BrokerId, HaError>),
    Answered(Ask, Answer),
    Notified(View),
    Heartbeat {
        sent: Millis,
        answer: BrokerHeartbeatResponse,
    },
    Proposed {
        epoch: Epoch,
        outcome: Outcome,
    },
    PollNow,
    LinkUp {
        epoch: Epoch,
        link: LinkId,
        slave: BrokerId,
        kind: SlaveKind,
        handle: LinkHandle,
    },
    LinkDown {
        epoch: Epoch,
        link: LinkId,
    },
    Ack {
        epoch: Epoch,
        link: LinkId,
        offset: Offset,
        max_offset: Offset,
    },
    /// The slave's connection: to which HA address, if any.
    CopyingFrom(Option<String>),
    /// A planned change: hold appends, answer when the target has everything (S10).
    Hold {
        request: HoldWritesRequest,
        done: oneshot::Sender<Result<Offset, String>>,
    },
    /// The planned change does not happen.
    Release {
        epoch: Epoch,
    },
}

/// The mastership that is on.
struct Leading {
    core: master::Master,
    epoch: Epoch,
    links: BTreeMap<LinkId, LinkHandle>,
    /// Appends are held for a planned change (S10). Ends with the mastership, or the mastership goes on.
    held: Option<Held>,
    /// Which version of the core's set others know.
    told: Option<u64>,
}

/// A planned change that drains, or has drained and waits for the election.
struct Held {
    drain: Drain,
    /// Who asked; answered once.
    done: Option<oneshot::Sender<Result<Offset, String>>>,
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    controllers: Arc<Controllers>,
    main: tokio::runtime::Handle,
    events: mpsc::Sender<Event>,
    listener: Arc<Listener>,
    promise_file: PromiseFile,
    role: Role,
    /// What the cores have asked of the role, to be stepped next.
    role_inputs: VecDeque<role::Input>,
    leading: Option<Leading>,
    following: Option<JoinHandle<()>>,
    copying_from: Option<String>,
    me: BrokerId,
    /// Counts uninterrupted masterships of this process.
    term: u64,
    /// The newest lease that was granted: also one that came before this replica had heard that it is master.
    lease_until: Millis,
    heart: Arc<Heart>,
}

/// The heartbeat tasks' side.
#[derive(Default)]
pub(crate) struct Heart {
    /// 0 until registered.
    id: std::sync::atomic::AtomicI64,
    mute_until: AtomicU64,
    now: tokio::sync::Notify,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        controllers: Arc<Controllers>,
        main: tokio::runtime::Handle,
        events: mpsc::Sender<Event>,
        listener: Arc<Listener>,
        promise_file: PromiseFile,
        role: Role,
    ) -> Driver {
        Driver {
            shared,
            controllers,
            main,
            events,
            listener,
            promise_file,
            role,
            role_inputs: VecDeque::new(),
            leading: None,
            following: None,
            copying_from: None,
            me: 0,
            term: 0,
            lease_until: 0,
            heart: Arc::default(),
        }
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Event>, stop: CancellationToken) {
        self.start_heartbeats(&stop);
        let (mut max, mut flushed) = (self.shared.store.watch_max(), self.shared.store.watch_flushed());
        let sync_flush = self.shared.config.sync_flush;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(EVENT_BATCH);
        loop {
            tokio::select! {
                count = inbox.recv_many(&mut batch, EVENT_BATCH) => if count == 0 { break },
                _ = max.changed(), if !sync_flush && self.leading.is_some() => {}
                _ = flushed.changed(), if sync_flush && self.leading.is_some() => {}
                _ = tick.tick() => self.on_tick().await,
                () = stop.cancelled() => break,
            }
            for event in batch.drain(..) {
                self.on_event(event).await;
            }
            self.step_master(master::Input::Appended(self.shared.own_end()));
            self.step_held();
            self.step_role_inputs().await;
        }
        self.shared.close_gate("shutting down");
        self.shared.store.close_writes("shutting down");
        self.shared.frontier.depose();
        self.drop_links().await;
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::Identified(Ok(id)) => {
                info!(id, "this replica's id");
                self.me = id;
                self.role_inputs.push_back(role::Input::Identified(id));
            }
            Event::Identified(Err(e)) => {
                error!(%e, "this replica has no id: it takes no part in its broker set until restarted")
            }
            Event::Answered(ask, answer) => self.on_answer(ask, answer),
            Event::Notified(view) => self.role_inputs.push_back(role::Input::Notified(view)),
            Event::Heartbeat { sent, answer } => self.on_heartbeat(sent, &answer),
            Event::Proposed { epoch, outcome } => self.step_term(epoch, master::Input::Proposed(outcome)),
            Event::PollNow => self.role_inputs.push_back(role::Input::PollNow),
            Event::LinkUp { epoch, link, slave, kind, handle } => {
                if let Some(it) = self.leading.as_mut().filter(|it| it.epoch == epoch) {
                    it.links.insert(link, handle);
                    self.step_master(master::Input::LinkUp { link, slave, kind });
                }
            }
            Event::LinkDown { epoch, link } => {
                self.step_term(epoch, master::Input::LinkDown { link });
                self.leading.as_mut().map(|it| it.links.remove(&link));
            }
            Event::Ack { epoch, link, offset, max_offset } => {
                self.step_term(epoch, master::Input::Ack { link, offset, max_offset });
            }
            Event::CopyingFrom(address) => self.copying_from = address,
            Event::Hold { request, done } => self.hold(&request, done),
            Event::Release { epoch } => {
                if self.leading.as_ref().is_some_and(|it| it.epoch == epoch) {
                    self.release("the controllers chose no other master");
                }
            }
        }
        self.step_role_inputs().await;
    }

    fn on_answer(&mut self, ask: Ask, answer: Answer) {
        if matches!(answer, Answer::View(_)) {
            self.heart.id.store(self.me, Ordering::Relaxed);
            if ask == Ask::Register {
                self.heart.now.notify_waiters();
            }
        }
        self.role_inputs.push_back(role::Input::Answered(ask, answer));
    }

    fn on_heartbeat(&mut self, sent: Millis, answer: &BrokerHeartbeatResponse) {
        // S5: from when it was sent, not from when the answer came.
        if let Some(lease) = answer.lease_mills.and_then(|it| u64::try_from(it).ok()) {
            self.lease_until = self.lease_until.max(sent + lease);
            self.step_lease(master::Input::Lease { until: self.lease_until });
        }
        if answer.registered == Some(false) {
            self.role_inputs.push_back(role::Input::Unregistered);
        }
        if let (Some(master_epoch), Some(sync_state_set_epoch)) = (answer.master_epoch, answer.sync_state_set_epoch) {
            self.role_inputs.push_back(role::Input::Hint { master_epoch, sync_state_set_epoch });
        }
    }

    async fn on_tick(&mut self) {
        self.step_master(master::Input::Tick);
        self.role_inputs.push_back(role::Input::Tick);
        self.publish_status();
        self.shared.frontier.sweep();
        self.step_role_inputs().await;
    }

    // ---- master core

    fn step_term(&mut self, epoch: Epoch, input: master::Input) {
        if self.leading.as_ref().is_some_and(|it| it.epoch == epoch) {
            self.step_master(input);
        }
    }

    fn step_master(&mut self, input: master::Input) {
        let Some(Leading { core, epoch, told, .. }) = &mut self.leading else { return };
        let (now, mut out) = (monotonic_ms(), Vec::new());
        {
            // S13: what was said of slaves before this moment counts before anybody is proposed, and whoever is
            // proposed counts before anything else is said.
            let mut notes = self.shared.notes.lock();
            for (slave, synced) in notes.take(*epoch) {
                core.step(now, master::Input::MetadataSynced { slave, synced }, &mut out);
            }
            core.step(now, input, &mut out);
            if told.replace(core.members_version()) != Some(core.members_version()) {
                self.shared.awaited.send_replace(Some(Awaited::Set(MaximalSet::of(*epoch, core))));
            }
        }
        for output in out {
            self.perform_master(output);
        }
    }

    /// What changes the lease is seen by those who watch.
    fn step_lease(&mut self, input: master::Input) {
        self.step_master(input);
        if let Some(it) = &self.leading {
            *self.shared.lease.lock() = it.core.lease();
        }
    }

    fn perform_master(&mut self, output: master::Output) {
        let Some(leading) = &self.leading else { return };
        match output {
            master::Output::Confirm(offset) => {
                self.shared.store.set_confirm_offset(offset);
                self.shared.frontier.advance(offset);
            }
            master::Output::Propose { set, epoch } => {
                let fences = *leading.core.in_sync().committed() == set;
                let purpose = if fences { Purpose::Fence } else { Purpose::Change };
                self.propose(leading.epoch, set, epoch, purpose);
            }
            master::Output::Reread => self.role_inputs.push_back(role::Input::PollNow),
            master::Output::CloseLink { link, why } => {
                if let Some(it) = leading.links.get(&link) {
                    warn!(peer = %it.peer, %why, "closing an HA connection");
                    it.close.cancel();
                }
            }
            master::Output::SetChanged => {
                let it = leading.core.in_sync();
                info!(epoch = leading.epoch, set = ?it.committed(), set_epoch = it.epoch(), "SyncStateSet changed");
                let (sync_state_set, sync_state_set_epoch) = (it.committed().clone(), it.epoch());
                self.role_inputs.push_back(role::Input::SetChanged { sync_state_set, sync_state_set_epoch });
                self.open_gate();
            }
        }
    }

    fn propose(&self, epoch: Epoch, set: BTreeSet<BrokerId>, set_epoch: i32, purpose: Purpose) {
        info!(epoch, ?set, set_epoch, ?purpose, "proposing a SyncStateSet");
        let (controllers, events, me) = (self.controllers.clone(), self.events.clone(), self.me);
        self.main.spawn(async move {
            let outcome = controllers.alter(me, epoch, set, set_epoch, purpose).await;
            let _stopping = events.send(Event::Proposed { epoch, outcome }).await;
        });
    }

    fn open_gate(&self) {
        if let Some(it) = self.leading.as_ref().filter(|it| it.held.is_none()) {
            self.shared.set_gate(Gate::Open { term: self.term, in_sync: it.core.in_sync_count() });
        }
    }

    // ---- planned change (S10)

    fn hold(&mut self, request: &HoldWritesRequest, done: oneshot::Sender<Result<Offset, String>>) {
        if let Err(why) = self.begin_hold(request) {
            let _gone = done.send(Err(why));
            return;
        }
        info!(target = request.target_broker_id, "holding appends for a planned change of master");
        if let Some(held) = self.leading.as_mut().and_then(|it| it.held.as_mut()) {
            held.done = Some(done);
        }
        self.step_held();
    }

    fn begin_hold(&mut self, request: &HoldWritesRequest) -> Result<(), String> {
        let epoch = request.master_epoch;
        let Some(leading) = self.leading.as_mut().filter(|it| it.epoch == epoch) else {
            return Err(format!("this replica is not the master at epoch {epoch}"));
        };
        if leading.held.is_some() {
            return Err("another planned change is under way".to_owned());
        }
        if !leading.core.in_sync().committed().contains(&request.target_broker_id) {
            return Err(format!("replica {} is not in the SyncStateSet", request.target_broker_id));
        }
        // The gate first: from here on a send waits instead of being refused by the closed store.
        self.shared.set_gate(Gate::Held);
        self.shared.store.close_writes("another replica is about to be master");
        let drain = Drain::new(monotonic_ms(), request, self.shared.store.max_offset());
        let until = drain.trust_lease_from();
        leading.held = Some(Held { drain, done: None });
        self.step_lease(master::Input::DistrustLease { until });
        Ok(())
    }

    fn step_held(&mut self) {
        let Some(leading) = self.leading.as_mut() else { return };
        let Some(held) = leading.held.as_mut() else { return };
        let target = leading.core.acks().find(|it| it.0 == held.drain.target).map(|it| it.2);
        match held.drain.step(monotonic_ms(), target, leading.core.confirm_offset()) {
            Progress::Waits => {}
            Progress::Drained(end) => {
                info!(end, target = held.drain.target, "the log is drained");
                let asker = held.done.take();
                let answered = asker.is_some_and(|it| it.send(Ok(end)).is_ok());
                if !answered {
                    self.release("nobody waits for the drain any more");
                }
            }
            Progress::Over(why) => self.release(&why),
        }
    }

    /// Appends go on.
    fn release(&mut self, why: &str) {
        let Some(leading) = self.leading.as_mut() else { return };
        let Some(held) = leading.held.take() else { return };
        warn!(why, "the planned change of master did not happen; appends go on");
        if let Some(done) = held.done {
            let _gone = done.send(Err(why.to_owned()));
        }
        self.shared.store.open_writes(leading.epoch);
        self.open_gate();
    }

    // ---- role core

    async fn step_role_inputs(&mut self) {
        while let Some(input) = self.role_inputs.pop_front() {
            let mut out = Vec::new();
            self.role.step(monotonic_ms(), input, &mut out);
            for output in out {
                self.perform_role(output).await;
            }
        }
    }

    async fn perform_role(&mut self, output: role::Output) {
        match output {
            role::Output::Ask(ask) => self.ask(ask),
            role::Output::CloseWrites => self.close_writes(),
            role::Output::PauseWrites => self.shared.store.close_writes("a new epoch begins"),
            role::Output::DropLinks => self.drop_links().await,
            role::Output::PersistPromise(promise) => {
                while let Err(e) = self.promise_file.save(promise) {
                    error!(%e, "cannot keep a promise; this replica stays out until its disk can be written");
                    tokio::time::sleep(DISK_RETRY).await;
                }
            }
            role::Output::StartEpoch(epoch) => {
                while let Err(e) = self.start_epoch(epoch) {
                    error!(%e, epoch, "cannot begin an epoch; this replica does not serve until its disk can be \
                        written");
                    tokio::time::sleep(DISK_RETRY).await;
                }
            }
            role::Output::OpenWrites { epoch, sync_state_set, sync_state_set_epoch } => {
                self.lead(epoch, sync_state_set, sync_state_set_epoch);
            }
            role::Output::Follow { epoch, master } => self.follow(epoch, master),
            role::Output::Committed { sync_state_set, sync_state_set_epoch } => {
                self.step_master(master::Input::Committed { set: sync_state_set, epoch: sync_state_set_epoch });
            }
            role::Output::Publish(state) => self.publish(state),
            role::Output::Mute(period) => self.heart.mute_until.store(monotonic_ms() + period, Ordering::Relaxed),
            role::Output::Alarm(text) => error!("{text}"),
        }
    }

    fn ask(&self, ask: Ask) {
        let (controllers, events, pulse) =
            (self.controllers.clone(), self.events.clone(), pulse(&self.shared, self.me));
        let store = self.shared.store.clone();
        self.main.spawn(async move {
            let answer = match ask {
                Ask::Register => {
                    let answer = controllers.register(pulse.id).await;
                    if matches!(answer, Answer::View(_))
                        && let Err(e) = store.losses_reported()
                    {
                        warn!(%e, "the next start will report again what was lost");
                    }
                    answer
                }
                Ask::Elect => controllers.elect(pulse).await,
                Ask::Poll => controllers.poll().await,
            };
            let _stopping = events.send(Event::Answered(ask, answer)).await;
        });
    }

    fn close_writes(&mut self) {
        self.shared.close_gate("another replica is master");
        self.shared.store.close_writes("another replica is master");
        self.leading = None;
        self.shared.awaited.send_replace(None);
        self.shared.frontier.depose();
    }

    async fn drop_links(&mut self) {
        self.listener.close().await;
        if let Some(link) = self.following.take() {
            link.abort();
            let _aborted = link.await;
        }
        self.copying_from = None;
    }

    /// S2: the epoch is durable before anything is served at it. The file's entry is the promise.
    fn start_epoch(&self, epoch: Epoch) -> anyhow::Result<()> {
        let start = self.shared.store.seal_tail()?;
        let history = self.shared.epochs.current().begin(epoch, start)?;
        Ok(self.shared.epochs.save(history)?)
    }

    fn lead(&mut self, epoch: Epoch, set: BTreeSet<BrokerId>, set_epoch: i32) {
        let history = self.shared.epochs.current();
        let epoch_start = history.last().map_or(0, |it| it.start);
        let config = &self.shared.config;
        let core = master::Master::new(
            monotonic_ms(),
            MasterConfig {
                me: self.me,
                epoch,
                epoch_start,
                acknowledgement: config.acknowledgement,
                min_in_sync_replicas: config.min_in_sync_replicas,
                max_time_not_catchup_ms: config.ha_max_time_slave_not_catchup_ms,
            },
            set.clone(),
            set_epoch,
            self.shared.own_end(),
            self.shared.store.confirm_offset(),
        );
        if self.leading.is_none() {
            self.term += 1;
        }
        self.shared.frontier.open(self.term, core.confirm_offset());
        // Without any distrust: what was planned against an older epoch cannot be committed any more.
        self.leading = Some(Leading { core, epoch, links: BTreeMap::new(), held: None, told: None });
        self.listener.open(Term::new(epoch, history));
        self.shared.store.open_writes(epoch);
        info!(epoch, start = epoch_start, ?set, set_epoch, "this replica is master");
        self.step_lease(master::Input::Lease { until: self.lease_until });
        self.open_gate();
    }

    fn follow(&mut self, epoch: Epoch, master: crate::Master) {
        info!(epoch, master = master.id, address = %master.address, "this replica is a slave");
        let link = slave_io::Link {
            shared: self.shared.clone(),
            controllers: self.controllers.clone(),
            main: self.main.clone(),
            events: self.events.clone(),
            me: self.me,
            epoch,
            master,
        };
        self.following = Some(tokio::spawn(link.run()));
    }

    fn publish(&self, state: crate::RoleState) {
        debug!(?state, "role state");
        self.shared.state.send_replace(state);
        self.heart.now.notify_waiters();
    }

    fn publish_status(&self) {
        let mut status = HaStatus {
            master_max_offset: self.shared.store.max_offset(),
            copying_from: self.copying_from.clone(),
            ..HaStatus::default()
        };
        if let Some(it) = &self.leading {
            let set = it.core.in_sync().committed();
            status.in_sync_slaves = set.len() - 1;
            status.slaves = it
                .core
                .acks()
                .filter_map(|(id, link, ack_offset)| {
                    let handle = it.links.get(&link)?;
                    let transfer_offset = handle.transfer_offset.load(Ordering::Relaxed);
                    Some(SlaveStatus {
                        id,
                        address: handle.peer.clone(),
                        ack_offset,
                        in_sync: set.contains(&id),
                        transfer_offset,
                    })
                })
                .collect();
        }
        self.shared.status.store(Arc::new(status));
    }

    // ---- heartbeats

    fn start_heartbeats(&self, stop: &CancellationToken) {
        for address in self.controllers.addresses() {
            let beat = beat(
                self.shared.clone(),
                self.controllers.clone(),
                self.heart.clone(),
                self.events.clone(),
                address.clone(),
            );
            let stop = stop.clone();
            self.main.spawn(async move { stop.run_until_cancelled(beat).await });
        }
    }
}

/// One controller's heartbeats: a slow answer of one never delays the next, nor another controller's.
async fn beat(
    shared: Arc<Shared>,
    controllers: Arc<Controllers>,
    heart: Arc<Heart>,
    events: mpsc::Sender<Event>,
    address: String,
) {
    let mut interval = tokio::time::interval(Duration::from_millis(shared.config.heartbeat_interval_ms.max(1)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = heart.now.notified() => {}
        }
        let id = heart.id.load(Ordering::Relaxed);
        if id == 0 || monotonic_ms() < heart.mute_until.load(Ordering::Relaxed) {
            continue;
        }
        let (controllers, events, address, pulse) =
            (controllers.clone(), events.clone(), address.clone(), pulse(&shared, id));
        tokio::spawn(async move {
            let sent = monotonic_ms();
            if let Some(answer) = controllers.heartbeat(&address, &pulse).await {
                let _stopping = events.send(Event::Heartbeat { sent, answer }).await;
            }
        });
    }
}

fn pulse(shared: &Shared, id: BrokerId) -> Pulse {
    Pulse {
        id,
        epoch: shared.epochs.current().last_epoch(),
        max_offset: shared.store.max_offset(),
        confirm_offset: shared.store.confirm_offset(),
        disk_probe_age_ms: shared.store.disk_probe_age_ms(),
    }
}
