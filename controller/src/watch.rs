//! Drives [`Liveness`]: one task owns it, feeds it heartbeats, closed connections, probes and committed views, and
//! carries out what it asks for.

use crate::config::Config;
use crate::knock;
use crate::lag::{Lag, Lags};
use crate::liveness::{Heartbeat, Input, Liveness, Output, Probed, Pulse, Settings};
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::raft::{Event, Raft, RaftError};
use crate::replicas::{
    Asked, BrokerSet, Command, Elect, ElectMode, Note, Promoted, RemoveDead, RoleChange, UncleanElection,
};
use crate::switchover::{Reason, Switchover};
use arc_swap::ArcSwap;
use node::clock::{monotonic_ms, wall_ms};
use proto::header::BrokerHeartbeatResponse;
use proto::{BrokerId, Epoch, Millis};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{error, info, warn};

/// Two seconds of the heartbeats of 10,000 sets of three. What finds it full would be stale by its turn.
const QUEUE: usize = 65_536;
/// HA addresses that are tried at a time: after a start there are as many as replicas, and each takes a file
/// descriptor.
const REACHING: usize = 256;
/// Committed changes kept for the status page.
const RECENT: usize = 200;

enum Ask {
    Heartbeat(Heartbeat, Option<oneshot::Sender<BrokerHeartbeatResponse>>),
    Closed(u64),
    Probed { broker_set: String, id: BrokerId, attempt: u64, result: Probed },
    Reached { broker_set: String, id: BrokerId, ha_address: String },
    Settled(String),
    Returned(String),
    Switching(String, oneshot::Sender<()>),
    Witnessed { broker_set: String, id: BrokerId, heard: Option<(Millis, String)> },
    Look(Look),
}

/// A question about the table.
type Look = Box<dyn FnOnce(Millis, &Table) + Send>;

/// What the task owns and others may look at.
pub(crate) struct Table {
    pub(crate) liveness: Liveness,
    /// Oldest first.
    pub(crate) recent: VecDeque<Committed>,
    /// Changes of a SyncStateSet without a change of master, oldest first.
    pub(crate) member_changes: VecDeque<MemberChange>,
    lags: Lags,
}

/// A SyncStateSet grew or shrank under its master.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberChange {
    broker_name: String,
    joined: BTreeSet<BrokerId>,
    left: BTreeSet<BrokerId>,
    sync_state_set: BTreeSet<BrokerId>,
    at_ms: i64,
}

impl Table {
    /// A replica that is not heard any more lags until now.
    pub(crate) fn lag(&self, now: Millis, broker_set: &str, id: BrokerId, pulse: Option<&Pulse>) -> Option<Lag> {
        let pulse = pulse.filter(|it| it.max_offset >= 0)?;
        let alive = self.liveness.is_alive(now, broker_set, id);
        let at = pulse.heard.filter(|_| alive).unwrap_or(now);
        self.lags.of(broker_set, id, at, pulse.max_offset)
    }

    fn heard(&mut self, now: Millis, it: &Heartbeat) {
        let master = self.liveness.view(&it.broker_set).and_then(|view| view.master);
        if master == Some(it.id) && it.max_offset >= 0 {
            self.lags.on_master(now, &it.broker_set, it.id, it.max_offset);
        }
    }
}

/// A committed change of a master, with the times of its phases on this controller's wall clock.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Committed {
    broker_name: String,
    from: Option<BrokerId>,
    master: Option<BrokerId>,
    master_epoch: i32,
    sync_state_set: Vec<BrokerId>,
    cause: serde_json::Value,
    unclean: bool,
    detected_ms: i64,
    proposed_ms: i64,
    committed_ms: i64,
}

/// Handle to the task.
#[derive(Clone)]
pub(crate) struct Watch {
    queue: mpsc::Sender<Ask>,
}

impl Watch {
    /// Answered without a lease when nobody is there to grant one: the queue is full, or the process is ending. Waiting
    /// for room instead would keep every connection's requests in memory; the next heartbeat comes.
    pub(crate) async fn heartbeat(&self, it: Heartbeat) -> BrokerHeartbeatResponse {
        let (done, answer) = oneshot::channel();
        let _ = self.queue.try_send(Ask::Heartbeat(it, Some(done)));
        answer.await.unwrap_or_default()
    }

    /// A one-way heartbeat, in order of arrival. Dropped when the queue is full: the next one comes.
    pub(crate) fn note_heartbeat(&self, it: Heartbeat) {
        let _ = self.queue.try_send(Ask::Heartbeat(it, None));
    }

    pub(crate) fn closed(&self, connection: u64) {
        if let Err(mpsc::error::TrySendError::Full(ask)) = self.queue.try_send(Ask::Closed(connection)) {
            let queue = self.queue.clone();
            tokio::spawn(async move { queue.send(ask).await });
        }
    }

    /// When this returns no lease is granted to this set's master any more, until [`Watch::settle`] (S10).
    pub(crate) async fn switching(&self, broker_set: &str) {
        let (done, noted) = oneshot::channel();
        // When the task is gone the process is ending, and nobody grants anything.
        let _ = self.queue.send(Ask::Switching(broker_set.to_owned(), done)).await;
        let _ = noted.await;
    }

    /// Says that it is known what became of a change, once it is. `in_doubt`: its proposal had no answer, and may still
    /// be committed.
    pub(crate) async fn settle(&self, raft: &Raft, broker_set: &str, in_doubt: bool) {
        if in_doubt {
            raft.decided(broker_set).await;
        }
        // When the task is gone the process is ending.
        let _ = self.queue.send(Ask::Settled(broker_set.to_owned())).await;
    }

    /// Asks the table; `None` when the process is ending.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        question: impl FnOnce(Millis, &Table) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, answer) = oneshot::channel();
        // The asker may have given up meanwhile.
        let look: Look = Box::new(move |now: Millis, table: &Table| drop(done.send(question(now, table))));
        self.queue.send(Ask::Look(look)).await.ok()?;
        answer.await.ok()
    }
}

/// Starts the task. It ends when the raft thread has; the result is what the raft thread said.
pub(crate) fn start(
    config: Arc<ArcSwap<Config>>,
    raft: Raft,
    events: mpsc::Receiver<Event>,
    notifier: Notifier,
    metrics: Arc<Metrics>,
) -> (Watch, tokio::task::JoinHandle<Option<String>>) {
    let (queue, asks) = mpsc::channel(QUEUE);
    let table = Table {
        liveness: Liveness::new(settings(&config.load())),
        recent: VecDeque::new(),
        member_changes: VecDeque::new(),
        lags: Lags::default(),
    };
    let watch = Watch { queue: queue.clone() };
    let (reaching, unheard) = (Arc::new(Semaphore::new(REACHING)), BTreeMap::new());
    let task = Task { config, raft, queue, notifier, metrics, reaching, unheard, table };
    (watch, tokio::spawn(task.run(events, asks)))
}

pub fn settings(config: &Config) -> Settings {
    Settings {
        unclean: unclean(config),
        proof_of_death: config.elect_on_refused_connection,
        disk_stall: config.disk_stall_timeout_mills,
        default_timeout: config.default_heartbeat_timeout_mills,
        review_interval: config.scan_not_active_broker_interval.max(1),
        wall_ahead: wall_ms() - monotonic_ms() as i64,
        witness_wait: config.witness_wait_mills,
        flap_changes: config.max_automatic_master_changes,
        flap_window: config.automatic_master_changes_window_mills,
        preferred_delay: config.enable_preferred_master.then_some(config.preferred_master_delay_mills),
    }
}

pub(crate) fn unclean(config: &Config) -> UncleanElection {
    if config.enable_elect_unclean_master { UncleanElection::Allowed } else { UncleanElection::Forbidden }
}

struct Task {
    config: Arc<ArcSwap<Config>>,
    raft: Raft,
    queue: mpsc::Sender<Ask>,
    notifier: Notifier,
    metrics: Arc<Metrics>,
    /// Turns of looking whether HA addresses can be reached.
    reaching: Arc<Semaphore>,
    /// New masters that have not said yet that they know: their epoch and when it was committed.
    unheard: BTreeMap<String, (Epoch, Millis)>,
    table: Table,
}

impl Task {
    async fn run(mut self, mut events: mpsc::Receiver<Event>, mut asks: mpsc::Receiver<Ask>) -> Option<String> {
        loop {
            self.table.liveness.settings = settings(&self.config.load());
            let due = self.table.liveness.next_due();
            tokio::select! {
                // What was committed comes first: its author may already be asking again.
                biased;
                event = events.recv() => match event {
                    Some(Event::Stopped(why)) => return why,
                    Some(event) => self.on_event(event),
                    None => return Some("the raft thread ended".into()),
                },
                ask = asks.recv() => match ask {
                    Some(ask) => self.on_ask(ask),
                    None => return None,
                },
                () = sleep_until(due), if due.is_some() => self.step(Input::Tick, None),
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::View(view) => {
                self.remember(&view);
                self.step(Input::View(view), None);
            }
            Event::Removed { broker_set } => {
                self.table.lags.forget(&broker_set);
                self.unheard.remove(&broker_set);
                self.step(Input::Removed { broker_set }, None)
            }
            Event::Leading => self.step(Input::Leading, None),
            Event::Following => self.step(Input::Following, None),
            // Handled where the loop ends.
            Event::Stopped(_) => {}
        }
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Heartbeat(it, answer) => {
                self.table.heard(monotonic_ms(), &it);
                self.promoted(&it);
                self.step(Input::Heartbeat(it), answer)
            }
            Ask::Closed(connection) => self.step(Input::Closed { connection }, None),
            Ask::Probed { broker_set, id, attempt, result } => {
                self.step(Input::Probed { broker_set, id, attempt, result }, None)
            }
            Ask::Reached { broker_set, id, ha_address } => {
                self.step(Input::Reached { broker_set, id, ha_address }, None)
            }
            Ask::Witnessed { broker_set, id, heard } => self.step(Input::Witnessed { broker_set, id, heard }, None),
            Ask::Switching(broker_set, done) => {
                self.step(Input::Switching { broker_set }, None);
                // The asker cannot have given up.
                let _ = done.send(());
            }
            Ask::Returned(broker_set) => self.step(Input::Returned { broker_set }, None),
            Ask::Settled(broker_set) => self.step(Input::Settled { broker_set }, None),
            Ask::Look(question) => question(monotonic_ms(), &self.table),
        }
    }

    fn step(&mut self, input: Input, mut answer: Option<oneshot::Sender<BrokerHeartbeatResponse>>) {
        let mut out = Vec::new();
        self.table.liveness.step(monotonic_ms(), input, &mut out);
        for output in out {
            self.carry_out(output, &mut answer);
        }
    }

    fn carry_out(&self, output: Output, answer: &mut Option<oneshot::Sender<BrokerHeartbeatResponse>>) {
        match output {
            Output::Answer { lease, registered, master_epoch, sync_state_set_epoch } => {
                let (lease_mills, registered) = (lease.map(|it| it as i64), (!registered).then_some(false));
                let header = BrokerHeartbeatResponse { lease_mills, registered, master_epoch, sync_state_set_epoch };
                // The broker may have hung up meanwhile.
                answer.take().map(|it| it.send(header));
            }
            Output::Probe { broker_set, id, attempt, address, ha_address } => {
                self.probe(broker_set, id, attempt, Vec::from_iter([address].into_iter().chain(ha_address)))
            }
            Output::Reach { broker_set, id, ha_address } => self.reach(broker_set, id, ha_address),
            Output::Return { broker_set, from, to } => self.return_to(broker_set, from, to),
            Output::AskWitnesses { broker_set, id } => self.ask_witnesses(broker_set, id),
            Output::Flapping { broker_set, changes, wait } => {
                error!(
                    broker_set,
                    changes,
                    wait_ms = wait,
                    "the master changes too often: automatic elections wait; look why its brokers die, `mqadmin \
                     explain` helps"
                );
                let why = format!("the master changed {changes} times: elections that nobody chose wait for {wait} ms");
                self.propose(Command::Note(Note { broker_set, asked: Asked::Election, why, at_ms: wall_ms() }));
            }
            Output::Notify { broker_set, id } => self.notify(&broker_set, id),
            Output::RemoveDead { broker_set, ids, master_epoch, sync_state_set_epoch } => {
                info!(broker_set, ?ids, "taking dead replicas out of the SyncStateSet");
                let at_ms = wall_ms();
                let change = RemoveDead { broker_set, ids, master_epoch, sync_state_set_epoch, at_ms };
                self.propose(Command::RemoveDead(change));
            }
            Output::Elect { broker_set, expect, cause, alive, detected } => {
                info!(broker_set, old_master = ?expect.0, epoch = expect.1, ?cause, "electing a master");
                let at_ms = wall_ms();
                self.propose(Command::Elect(Elect {
                    broker_set,
                    requester: None,
                    mode: ElectMode::Best,
                    alive,
                    unclean: unclean(&self.config.load()),
                    expect: Some(expect),
                    cause,
                    detected_ms: at_ms - monotonic_ms().saturating_sub(detected) as i64,
                    at_ms,
                }));
            }
        }
    }

    fn probe(&self, broker_set: String, id: BrokerId, attempt: u64, addresses: Vec<String>) {
        let queue = self.queue.clone();
        tokio::spawn(async move {
            let result = knock::on_all(&addresses).await;
            // When the task is gone the process is ending.
            let _ = queue.send(Ask::Probed { broker_set, id, attempt, result }).await;
        });
    }

    fn reach(&self, broker_set: String, id: BrokerId, ha_address: String) {
        let (queue, turns) = (self.queue.clone(), self.reaching.clone());
        tokio::spawn(async move {
            // Nobody closes it.
            let _turn = turns.acquire_owned().await;
            if knock::on(&ha_address).await == Probed::Alive {
                // When the task is gone the process is ending.
                let _ = queue.send(Ask::Reached { broker_set, id, ha_address }).await;
            }
        });
    }

    /// Whether it succeeded is seen by the view that follows.
    fn return_to(&self, broker_set: String, from: BrokerId, to: BrokerId) {
        let (queue, switchover, view) = (self.queue.clone(), self.switchover(), self.table.liveness.view(&broker_set));
        let view = view.cloned();
        tokio::spawn(async move {
            if let Some(view) = view.filter(|it| it.master == Some(from)) {
                info!(broker_set, from, to, "mastership returns to the preferred replica");
                if let Err(why) = switchover.run(&view, Some(to), Reason::Preferred).await {
                    warn!(broker_set, to, %why, "the preferred replica is not master yet; it is tried again later");
                }
            }
            // When the task is gone the process is ending.
            let _ = queue.send(Ask::Returned(broker_set)).await;
        });
    }

    fn handle(&self) -> Watch {
        Watch { queue: self.queue.clone() }
    }

    fn switchover(&self) -> Switchover {
        Switchover {
            raft: self.raft.clone(),
            watch: self.handle(),
            client: self.notifier.client.clone(),
            metrics: self.metrics.clone(),
        }
    }

    fn ask_witnesses(&self, broker_set: String, id: BrokerId) {
        let (queue, client) = (self.queue.clone(), self.notifier.client.clone());
        let others = self.config.load().peers().map(|it| it.others()).unwrap_or_default();
        tokio::spawn(async move {
            let heard = crate::witness_io::ask(&client, others.into_values(), &broker_set, id).await;
            // When the task is gone the process is ending.
            let _ = queue.send(Ask::Witnessed { broker_set, id, heard }).await;
        });
    }

    /// What becomes of it arrives as a view; that it is decided has to be told.
    fn propose(&self, command: Command) {
        let (raft, watch, metrics) = (self.raft.clone(), self.handle(), self.metrics.clone());
        tokio::spawn(async move {
            let broker_set = command.broker_set().to_owned();
            let elects = matches!(command, Command::Elect(_));
            // Only what `liveness` counts as under way: to settle it early would renew a lease too soon (S5).
            let awaited = elects || matches!(command, Command::RemoveDead(_));
            let outcome = raft.propose(command).await;
            if let Some(outcome) = outcome.as_ref().ok().filter(|_| elects) {
                metrics.elected(&broker_set, outcome);
            }
            if let Err(why) = &outcome {
                warn!(broker_set, %why, "a change of this controller's own has no outcome");
            }
            if awaited {
                watch.settle(&raft, &broker_set, outcome == Err(RaftError::Timeout)).await;
            }
        });
    }

    fn notify(&self, broker_set: &str, id: BrokerId) {
        let view = self.table.liveness.view(broker_set);
        if let Some(view) = view.filter(|_| self.config.load().notify_broker_role_changed) {
            self.notifier.notify(view, id);
        }
    }

    fn remember(&mut self, view: &BrokerSet) {
        let before = self.table.liveness.view(&view.name).cloned();
        let known = before.as_ref().and_then(|it| it.history.back());
        match view.history.back().filter(|it| known != Some(*it)) {
            Some(change) => self.master_changed(view, change, before.is_some()),
            None => self.members_changed(view, before.as_deref()),
        }
    }

    /// A set that was not in the table comes with its past: what this controller's log or a snapshot says of it.
    fn master_changed(&mut self, view: &BrokerSet, change: &RoleChange, is_news: bool) {
        let committed_ms = if is_news { wall_ms() } else { change.proposed_ms };
        let (broker_set, epoch, set) = (&view.name, view.master_epoch, &view.sync_state_set);
        if is_news {
            info!(broker_set, master = ?change.to, epoch, cause = ?change.cause, ?set, "master changed");
            if change.unclean {
                warn!(broker_set, master = ?change.to, "unclean election: acknowledged messages may be lost");
            }
        }
        if is_news && self.raft.is_leading() {
            self.metrics.changed(broker_set, change, committed_ms);
            if change.from.is_some() && change.to.is_some() {
                self.unheard.insert(broker_set.clone(), (epoch, monotonic_ms()));
            }
        }
        let it = Committed {
            broker_name: view.name.clone(),
            from: change.from,
            master: change.to,
            master_epoch: view.master_epoch,
            sync_state_set: view.sync_state_set.iter().copied().collect(),
            cause: serde_json::to_value(&change.cause).unwrap_or_default(),
            unclean: change.unclean,
            detected_ms: change.detected_ms,
            proposed_ms: change.proposed_ms,
            committed_ms,
        };
        push(&mut self.table.recent, it);
    }

    fn members_changed(&mut self, view: &BrokerSet, before: Option<&BrokerSet>) {
        let Some(before) = before.filter(|it| it.sync_state_set != view.sync_state_set) else { return };
        let it = MemberChange {
            broker_name: view.name.clone(),
            joined: view.sync_state_set.difference(&before.sync_state_set).copied().collect(),
            left: before.sync_state_set.difference(&view.sync_state_set).copied().collect(),
            sync_state_set: view.sync_state_set.clone(),
            at_ms: wall_ms(),
        };
        push(&mut self.table.member_changes, it);
    }

    /// The last phase of a change that a controller sees: the new master speaks at its epoch.
    fn promoted(&mut self, it: &Heartbeat) {
        let Some((epoch, committed)) = self.unheard.get(&it.broker_set).copied() else { return };
        let master = self.table.liveness.view(&it.broker_set).and_then(|view| view.master);
        if master == Some(it.id) && it.epoch >= epoch {
            self.unheard.remove(&it.broker_set);
            let took = monotonic_ms().saturating_sub(committed) as i64;
            self.metrics.phase("committed_to_heard", took);
            if self.raft.is_leading() {
                let (broker_set, promoted_ms) = (it.broker_set.clone(), wall_ms());
                let committed_ms = promoted_ms - took;
                self.propose(Command::Promoted(Promoted { broker_set, epoch, committed_ms, promoted_ms }));
            }
        }
    }
}

fn push<T>(recent: &mut VecDeque<T>, it: T) {
    if recent.len() == RECENT {
        recent.pop_front();
    }
    recent.push_back(it);
}

async fn sleep_until(due: Option<Millis>) {
    let wait = due.map_or(0, |it| it.saturating_sub(monotonic_ms()));
    tokio::time::sleep(Duration::from_millis(wait)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::liveness::RaftLease;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn a_heartbeat_that_finds_the_queue_full_is_answered_at_once_without_a_lease() {
        // A task that never gets to its queue.
        let (queue, asks) = mpsc::channel(1);
        let watch = Watch { queue };
        let (mut waiting, mut refused) = (pin!(watch.heartbeat(heartbeat())), pin!(watch.heartbeat(heartbeat())));
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(waiting.as_mut().poll(cx), Poll::Pending);
        assert_eq!(refused.as_mut().poll(cx), Poll::Ready(BrokerHeartbeatResponse::default()));
        // Nor does anybody wait for a task that has ended.
        drop(asks);
        assert_eq!(waiting.as_mut().poll(cx), Poll::Ready(BrokerHeartbeatResponse::default()));
    }

    fn heartbeat() -> Heartbeat {
        Heartbeat {
            broker_set: "a".into(),
            id: 1,
            connection: 1,
            address: "10.0.0.1:1".into(),
            timeout: 10_000,
            epoch: 1,
            max_offset: 0,
            confirm_offset: 0,
            priority: 0,
            boot_id: None,
            min_in_sync: None,
            disk_probe_age: None,
            zone: None,
            raft_lease: RaftLease::Held,
        }
    }
}
