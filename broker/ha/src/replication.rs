//! The handle the broker holds: start, admission and acknowledgement of writes, what this replica is, shutdown.

use crate::controllers::{self, Controllers};
use crate::driver::{Driver, EVENT_QUEUE, Event};
use crate::epoch_file::EpochFile;
use crate::epochs::EpochHistory;
use crate::frontier::{Frontier, Standing};
use crate::identity::IdentityFile;
use crate::master_io::Listener;
use crate::maximal_set::{Awaited, MaximalSet};
use crate::promise_file::PromiseFile;
use crate::role::{Promise, Role as RoleCore, RoleConfig};
use crate::shared::{Gate, Shared};
use crate::{Ack, Admission, EpochSpan, HaConfig, HaError, HaStatus, Refusal, Role, RoleState, TooFewInSync};
use arc_swap::ArcSwap;
use node::clock::monotonic_ms;
use node::listener::BindError;
use node::remoting::Client;
use parking_lot::Mutex;
use proto::body::SyncStateSet;
use proto::header::{HoldWritesRequest, NotifyBrokerRoleChangedRequest};
use proto::{BrokerId, Epoch, Millis, Offset};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// How long a shutdown waits for writes under way to be acknowledged.
const DRAIN: Duration = Duration::from_millis(500);

pub struct Replication {
    shared: Arc<Shared>,
    /// `None` without controllers.
    events: Option<mpsc::Sender<Event>>,
    controllers: Option<Arc<Controllers>>,
    /// Ends the drivers; cancelled by [`Replication::shutdown`] or with the last handle.
    end: CancellationToken,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// As it is called outside, with the port the OS chose if `haListenPort` is 0.
    ha_address: String,
}

impl Replication {
    /// Loads identity, epochs and promise, binds the HA port, starts the drivers. Registers with the controllers in the
    /// background.
    pub async fn start(
        mut config: HaConfig,
        store: Arc<Store>,
        client: Client,
        stop: CancellationToken,
    ) -> Result<Arc<Replication>, HaError> {
        let epochs = EpochFile::open(config.epoch_file.clone())?;
        if config.controllers.is_empty() {
            return Self::alone(config, store, epochs, stop);
        }
        IdentityFile::new(config.identity_file.clone(), &config.cluster_name, &config.broker_name).load()?;
        let (promise_file, promise) = load_promise(&config, &store, &epochs)?;
        let socket = bind(&config.ha_bind)?;
        config.ha_address = advertised(&config.ha_address, &socket)?;
        let ha_address = config.ha_address.clone();
        let controllers = Arc::new(Controllers::new(config.clone(), client));
        let role_config = RoleConfig {
            poll_ms: config.sync_broker_metadata_period_ms.max(1),
            heartbeat_timeout_ms: config.heartbeat_timeout_ms,
        };
        let shared = Arc::new(Shared::new(config, store, epochs));
        let end = CancellationToken::new();
        close_gate_on(stop, end.clone(), shared.clone());

        let (events, inbox) = mpsc::channel(EVENT_QUEUE);
        identify(controllers.clone(), events.clone(), end.clone());
        let listener = Arc::new(Listener::new(shared.clone(), events.clone()));
        let main = tokio::runtime::Handle::current();
        let role = RoleCore::new(role_config, promise);
        let driver = Driver::new(
            shared.clone(),
            controllers.clone(),
            main,
            events.clone(),
            listener.clone(),
            promise_file,
            role,
        );
        let thread = spawn(driver, inbox, listener, socket, shared.clone(), end.clone())?;
        let (events, controllers, thread) = (Some(events), Some(controllers), Mutex::new(Some(thread)));
        Ok(Arc::new(Replication { shared, events, controllers, end, thread, ha_address }))
    }

    /// Not in controller mode: a master on its own, from now on.
    fn alone(
        config: HaConfig,
        store: Arc<Store>,
        epochs: EpochFile,
        stop: CancellationToken,
    ) -> Result<Arc<Replication>, HaError> {
        let path = config.epoch_file.parent().unwrap_or(&config.epoch_file).display().to_string();
        store.seal_tail().map_err(|e| HaError::File { path, why: e.to_string() })?;
        store.open_writes(0);
        let ha_address = config.ha_address.clone();
        let shared = Arc::new(Shared::new(config, store, epochs));
        shared.set_gate(Gate::Alone);
        shared.awaited.send_replace(Some(Awaited::Nobody));
        shared.state.send_replace(RoleState { role: Role::Master, ..unassigned() });
        let end = CancellationToken::new();
        close_gate_on(stop, end.clone(), shared.clone());
        Ok(Arc::new(Replication { shared, events: None, controllers: None, end, thread: Mutex::new(None), ha_address }))
    }

    pub fn state(&self) -> watch::Receiver<RoleState> {
        self.shared.state.subscribe()
    }

    /// Where slaves connect, as advertised.
    pub fn ha_address(&self) -> &str {
        &self.ha_address
    }

    pub fn admit(&self) -> Result<Admission, Refusal> {
        self.shared.admit()
    }

    /// Whether appends are held for a planned change (S10).
    pub fn is_held(&self) -> bool {
        self.shared.is_held()
    }

    /// While appends are held for a planned change (S10): ends when they are not any more, at the latest after `limit`.
    /// `None` if nothing is held.
    pub fn held(&self, limit: Duration) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        if !self.shared.is_held() {
            return None;
        }
        let shared = self.shared.clone();
        Some(async move {
            let released = async {
                loop {
                    // Registered before it is looked at: a change in between is not missed.
                    let mut moved = std::pin::pin!(shared.gate_moved.notified());
                    moved.as_mut().enable();
                    if !shared.is_held() {
                        return;
                    }
                    moved.await;
                }
            };
            let _still_held = tokio::time::timeout(limit, released).await;
        })
    }

    /// 31002: appends wait from now on; answers the log's end once `target` has the whole log and every reader may see
    /// it, or why that was not to be, with nothing changed (S10).
    pub async fn hold_writes(&self, request: HoldWritesRequest) -> Result<Offset, String> {
        let events = self.events.as_ref().ok_or("this broker is not in controller mode")?;
        let (done, answer) = oneshot::channel();
        events.send(Event::Hold { request, done }).await.map_err(|_| "the broker is stopping")?;
        answer.await.map_err(|_| "this replica has stopped being the master".to_owned())?
    }

    /// 31003.
    pub async fn release_writes(&self, epoch: Epoch) {
        if let Some(events) = &self.events {
            let _stopping = events.send(Event::Release { epoch }).await;
        }
    }

    /// Before a shutdown: gives mastership to another member, if there is one (S10). Ends when this replica is not the
    /// master any more, or with the reason why it stays.
    pub async fn hand_over(&self, limit: Duration) -> Result<(), String> {
        let Some(controllers) = self.controllers.as_ref() else { return Ok(()) };
        let mut state = self.state();
        if state.borrow().role != Role::Master {
            return Ok(());
        }
        let id = state.borrow().broker_id;
        let handed = async {
            controllers.switch_away(id).await?;
            state.wait_for(|it| it.role != Role::Master).await.map_err(|e| e.to_string()).map(drop)
        };
        tokio::time::timeout(limit, handed).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }

    /// Ends when everything below `end` may be acknowledged, after `slaveTimeout`, or when mastership ends.
    pub fn acknowledged(
        &self,
        admission: Admission,
        end: Offset,
    ) -> impl Future<Output = Ack> + Send + 'static + use<> {
        let alone = self.events.is_none();
        let standing =
            if alone { Standing::Known(Ack::Acknowledged) } else { self.shared.frontier.wait(admission.term, end) };
        let shared = self.shared.clone();
        async move {
            if alone && shared.config.sync_flush {
                return match shared.store.wait_flushed(end).await {
                    Ok(()) => Ack::Acknowledged,
                    Err(e) => {
                        error!(%e, "cannot flush the commit log");
                        Ack::Timeout
                    }
                };
            }
            let receiver = match standing {
                Standing::Known(ack) => return ack,
                Standing::Waits(receiver) => receiver,
            };
            match tokio::time::timeout(Duration::from_millis(shared.config.slave_timeout_ms), receiver).await {
                Ok(ack) => ack.unwrap_or(Ack::Deposed),
                Err(_) => Ack::Timeout,
            }
        }
    }

    /// A controller's push (1008). A push about another broker set is ignored; one that finds the queue full is
    /// repaired by the next poll.
    pub fn on_role_notification(&self, header: NotifyBrokerRoleChangedRequest, body: SyncStateSet) {
        let ours = header.broker_name.as_ref().is_none_or(|it| *it == self.shared.config.broker_name);
        if let Some(events) = self.events.as_ref().filter(|_| ours)
            && let Err(e) = events.try_send(Event::Notified(controllers::notified(header, body)))
        {
            warn!(%e, "a role change notification was dropped");
        }
    }

    /// What is left of the lease that the controllers gave this master (S5); 0 without one.
    pub fn lease_left_ms(&self) -> Millis {
        let is_master = self.shared.state.borrow().role == Role::Master;
        let until = if is_master { self.shared.lease.lock().until() } else { 0 };
        until.saturating_sub(monotonic_ms())
    }

    /// Whether another replica may be master by now: the controllers grant leases, and this one's has run out (S5), or
    /// they may elect in spite of it (S10).
    pub fn may_be_deposed(&self) -> bool {
        self.shared.lease.lock().may_be_deposed(monotonic_ms())
    }

    pub fn epochs(&self) -> Vec<EpochSpan> {
        let history = self.shared.epochs.current();
        let entries = history.entries();
        let ends = entries.iter().skip(1).map(|it| it.start).chain(std::iter::once(i64::MAX));
        entries.iter().zip(ends).map(|(it, end)| EpochSpan { epoch: it.epoch, start: it.start, end }).collect()
    }

    /// Of the log: when it is the role's epoch, what this replica has below the epoch's start is what the master had.
    pub fn log_epoch(&self) -> Epoch {
        self.shared.epochs.current().last_epoch()
    }

    pub fn status(&self) -> HaStatus {
        let status = (**self.shared.status.load()).clone();
        HaStatus { master_max_offset: self.shared.store.max_offset(), ..status }
    }

    /// S13: whether this slave has all topics, groups and settings of the mastership of `epoch`. A slave that calls
    /// itself Baton's joins the SyncStateSet only once it has; a Java slave is not held back.
    pub fn set_metadata_synced(&self, epoch: Epoch, slave: BrokerId, synced: bool) {
        self.shared.notes.lock().add(epoch, slave, synced);
    }

    /// S13: who has to have a change of topics or groups before it may be acknowledged; changes before the outcome of a
    /// proposal is known, and before anybody reads that the mastership is over. `None`: this replica is not the master.
    pub fn awaited(&self) -> watch::Receiver<Option<Awaited>> {
        self.shared.awaited.subscribe()
    }

    /// S7: below `minInSyncReplicas` nothing is acknowledged, neither messages nor topics: whoever left the set lately
    /// may still be elected.
    pub fn enough(&self, set: &MaximalSet) -> Result<(), TooFewInSync> {
        self.shared.enough(set.committed)
    }

    /// Shutdown in order: stop writes, let those under way be acknowledged, leave the controllers, close connections.
    pub async fn shutdown(&self) {
        self.shared.close_gate("shutting down");
        self.shared.store.close_writes("shutting down");
        let drained = async {
            while self.shared.frontier.sweep() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            warn!("shutting down with writes that not all of the SyncStateSet has confirmed");
        }
        self.end.cancel();
        // The closed connection is how a controller learns of it: it finds nobody listening here and elects at once.
        if let Some(it) = &self.controllers {
            it.disconnect();
        }
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _panicked = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Shared {
    fn new(config: HaConfig, store: Arc<Store>, epochs: EpochFile) -> Shared {
        Shared {
            config,
            store,
            epochs,
            frontier: Frontier::default(),
            gate: ArcSwap::from_pointee(Gate::Closed("no role yet".to_owned())),
            gate_moved: tokio::sync::Notify::new(),
            state: watch::Sender::new(unassigned()),
            status: ArcSwap::from_pointee(HaStatus::default()),
            lease: Mutex::default(),
            notes: Mutex::default(),
            awaited: watch::Sender::new(None),
        }
    }
}

fn unassigned() -> RoleState {
    RoleState {
        broker_id: 0,
        role: Role::Unassigned,
        master_epoch: 0,
        sync_state_set: BTreeSet::new(),
        sync_state_set_epoch: 0,
    }
}

/// Entries beyond the log's end are forgotten, but not before what they promised is kept elsewhere.
fn load_promise(config: &HaConfig, store: &Store, epochs: &EpochFile) -> Result<(PromiseFile, Promise), HaError> {
    let (mut file, kept) = PromiseFile::open(config.promise_file.clone())?;
    let mut history: EpochHistory = (*epochs.current()).clone();
    let promise = Promise::found(kept, history.last_epoch());
    if history.trim_to(store.max_offset()) {
        warn!(log_end = store.max_offset(), "the log has lost its tail: forgetting the epochs that began in it");
        file.save(promise)?;
        epochs.save(history)?;
    }
    Ok((file, promise))
}

fn bind(address: &str) -> Result<std::net::TcpListener, HaError> {
    let bound = std::net::TcpListener::bind(address).and_then(|it| it.set_nonblocking(true).map(|()| it));
    let cure = "free the port or set haListenPort";
    Ok(bound.map_err(|e| BindError { address: address.to_owned(), why: format!("{e}; {cure}") })?)
}

/// With `haListenPort=0` the OS has chosen the port; it is written back, as Java does.
fn advertised(configured: &str, socket: &std::net::TcpListener) -> Result<String, HaError> {
    let local = socket.local_addr().map_err(|e| BindError { address: configured.to_owned(), why: e.to_string() })?;
    Ok(configured.strip_suffix(":0").map_or_else(|| configured.to_owned(), |host| format!("{host}:{}", local.port())))
}

/// A process that is asked to stop takes no more writes; its connections live until [`Replication::shutdown`].
fn close_gate_on(stop: CancellationToken, end: CancellationToken, shared: Arc<Shared>) {
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {
                shared.close_gate("shutting down");
                shared.store.close_writes("shutting down");
            }
            () = end.cancelled() => {}
        }
    });
}

fn identify(controllers: Arc<Controllers>, events: mpsc::Sender<Event>, end: CancellationToken) {
    tokio::spawn(end.run_until_cancelled_owned(async move {
        let identified = controllers.identify().await;
        let _stopping = events.send(Event::Identified(identified)).await;
    }));
}

/// The thread of replication: the task that owns the cores, and all HA connections.
fn spawn(
    driver: Driver,
    inbox: mpsc::Receiver<Event>,
    listener: Arc<Listener>,
    socket: std::net::TcpListener,
    shared: Arc<Shared>,
    end: CancellationToken,
) -> Result<std::thread::JoinHandle<()>, HaError> {
    let failed = |e: std::io::Error| HaError::Bind(BindError { address: "HA listener".to_owned(), why: e.to_string() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let socket = {
        let _runtime = runtime.enter();
        tokio::net::TcpListener::from_std(socket).map_err(failed)?
    };
    let work = move || {
        runtime.block_on(async move {
            tokio::spawn(listener.run(socket));
            if shared.config.sync_flush {
                tokio::spawn(flush(shared));
            }
            driver.run(inbox, end).await;
        });
    };
    std::thread::Builder::new().name("replication".to_owned()).spawn(work).map_err(failed)
}

/// S11: with SYNC_FLUSH a replica's copy counts when it is on disk, so every append is followed by a flush, one for
/// many.
async fn flush(shared: Arc<Shared>) {
    let mut max = shared.store.watch_max();
    loop {
        let end = *max.borrow_and_update();
        if let Err(e) = shared.store.wait_flushed(end).await {
            error!(%e, "cannot flush the commit log");
            tokio::time::sleep(Duration::from_millis(100)).await;
        } else if max.changed().await.is_err() {
            return;
        }
    }
}
