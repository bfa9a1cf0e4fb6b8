//! Drives [`Liveness`]: one task owns it, feeds it heartbeats, closed connections, probes and committed views, and
//! carries out what it asks for.

use crate::config::Config;
use crate::liveness::{Heartbeat, Input, Liveness, Output, Probed, Settings};
use crate::notify::Notifier;
use crate::raft::{Event, Raft};
use crate::replicas::{BrokerSet, Command, Elect, ElectMode, Outcome, RemoveDead, UncleanElection};
use arc_swap::ArcSwap;
use node::clock::{monotonic_ms, wall_ms};
use proto::header::BrokerHeartbeatResponse;
use proto::{BrokerId, Millis};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

/// Heartbeats of 10,000 sets of three within a third of a second. When full, connections wait.
const QUEUE: usize = 16_384;
/// An address that has not answered after this long proves nothing.
const PROBE_TIMEOUT: Duration = Duration::from_millis(300);
/// Committed changes kept for the status page.
const RECENT: usize = 200;

enum Ask {
    Heartbeat(Heartbeat, Option<oneshot::Sender<BrokerHeartbeatResponse>>),
    Closed(u64),
    Probed { broker_set: String, id: BrokerId, attempt: u64, result: Probed },
    Settled(String),
    Look(Look),
}

/// A question about the table.
type Look = Box<dyn FnOnce(Millis, &Table) + Send>;

/// What the task owns and others may look at.
pub(crate) struct Table {
    pub(crate) liveness: Liveness,
    /// Oldest first.
    pub(crate) recent: VecDeque<Committed>,
}

/// A committed change of a master, with the times of its phases on this controller's wall clock.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Committed {
    broker_name: String,
    master: Option<BrokerId>,
    master_epoch: i32,
    sync_state_set: Vec<BrokerId>,
    cause: serde_json::Value,
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
    pub(crate) async fn heartbeat(&self, it: Heartbeat) -> BrokerHeartbeatResponse {
        let (done, answer) = oneshot::channel();
        // When the task is gone the process is ending: an answer without lease is right.
        let _ = self.queue.send(Ask::Heartbeat(it, Some(done))).await;
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
) -> (Watch, tokio::task::JoinHandle<Option<String>>) {
    let (queue, asks) = mpsc::channel(QUEUE);
    let table = Table { liveness: Liveness::new(settings(&config.load())), recent: VecDeque::new() };
    let watch = Watch { queue: queue.clone() };
    let task = Task { config, raft, queue, notifier, table };
    (watch, tokio::spawn(task.run(events, asks)))
}

pub(crate) fn settings(config: &Config) -> Settings {
    Settings {
        unclean: unclean(config),
        proof_of_death: config.elect_on_refused_connection,
        disk_stall: config.disk_stall_timeout_mills,
        default_timeout: config.default_heartbeat_timeout_mills,
        review_interval: config.scan_not_active_broker_interval.max(1),
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
            Event::Removed { broker_set } => self.step(Input::Removed { broker_set }, None),
            Event::Leading => self.step(Input::Leading, None),
            Event::Following => self.step(Input::Following, None),
            // Handled where the loop ends.
            Event::Stopped(_) => {}
        }
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Heartbeat(it, answer) => self.step(Input::Heartbeat(it), answer),
            Ask::Closed(connection) => self.step(Input::Closed { connection }, None),
            Ask::Probed { broker_set, id, attempt, result } => {
                self.step(Input::Probed { broker_set, id, attempt, result }, None)
            }
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
            Output::Answer { lease, master_epoch, sync_state_set_epoch } => {
                let lease_mills = lease.map(|it| it as i64);
                // The broker may have hung up meanwhile.
                answer
                    .take()
                    .map(|it| it.send(BrokerHeartbeatResponse { lease_mills, master_epoch, sync_state_set_epoch }));
            }
            Output::Probe { broker_set, id, attempt, address } => self.probe(broker_set, id, attempt, address),
            Output::Notify { broker_set, id } => self.notify(&broker_set, id),
            Output::RemoveDead { broker_set, ids, master_epoch, sync_state_set_epoch } => {
                info!(broker_set, ?ids, "taking dead replicas out of the SyncStateSet");
                self.propose(Command::RemoveDead(RemoveDead { broker_set, ids, master_epoch, sync_state_set_epoch }));
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

    fn probe(&self, broker_set: String, id: BrokerId, attempt: u64, address: String) {
        let queue = self.queue.clone();
        tokio::spawn(async move {
            let result = match tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(&address)).await {
                Ok(Ok(_)) => Probed::Alive,
                Ok(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused => Probed::Refused,
                Ok(Err(_)) | Err(_) => Probed::Unknown,
            };
            // When the task is gone the process is ending.
            let _ = queue.send(Ask::Probed { broker_set, id, attempt, result }).await;
        });
    }

    /// What becomes of it arrives as a view; only "nothing changed" has to be told.
    fn propose(&self, command: Command) {
        let (raft, queue) = (self.raft.clone(), self.queue.clone());
        tokio::spawn(async move {
            let broker_set = command.broker_set().to_owned();
            match raft.propose(command).await {
                Ok(Outcome::Unchanged | Outcome::Refused(_) | Outcome::MasterStillAlive(_)) => {
                    // When the task is gone the process is ending.
                    let _ = queue.send(Ask::Settled(broker_set)).await;
                }
                Ok(_) => {}
                Err(why) => warn!(broker_set, %why, "the change was not committed; it is proposed again"),
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
        let known = self.table.liveness.view(&view.name).and_then(|it| it.history.back());
        let Some(change) = view.history.back().filter(|it| known != Some(*it)) else { return };
        if self.table.recent.len() == RECENT {
            self.table.recent.pop_front();
        }
        let committed_ms = wall_ms();
        let (broker_set, epoch, set) = (&view.name, view.master_epoch, &view.sync_state_set);
        info!(broker_set, master = ?change.to, epoch, cause = ?change.cause, ?set, "master changed");
        if change.unclean {
            warn!(broker_set = view.name, master = ?change.to, "unclean election: acknowledged messages may be lost");
        }
        self.table.recent.push_back(Committed {
            broker_name: view.name.clone(),
            master: change.to,
            master_epoch: view.master_epoch,
            sync_state_set: view.sync_state_set.iter().copied().collect(),
            cause: serde_json::to_value(&change.cause).unwrap_or_default(),
            detected_ms: change.detected_ms,
            proposed_ms: change.proposed_ms,
            committed_ms,
        });
    }
}

async fn sleep_until(due: Option<Millis>) {
    let wait = due.map_or(0, |it| it.saturating_sub(monotonic_ms()));
    tokio::time::sleep(Duration::from_millis(wait)).await;
}
