//! What every request handler shares: the handles of store and replication, the tables, and who is connected.

use crate::config::Config;
use crate::forward::Forward;
use crate::hold::Hold;
use crate::members::{Members, NotSettled};
use crate::meta::clients::{ConnectionId, Rebalance};
use crate::meta::{Change, ClientTable, QueueLocks};
use crate::metadata::{Applied, Metadata, MetadataError};
use crate::metrics::Metrics;
use crate::statistics::Statistics;
use ha::{Awaited, Replication, Role, RoleState, TooFewInSync};
use node::clock::{monotonic_ms, wall_ms};
use node::remoting::Connection;
use parking_lot::Mutex;
use proto::code::request;
use proto::header::NotifyConsumerIdsChangedRequest;
use proto::{BrokerId, Command, MASTER_ID, Offset};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use store::{DelayLevels, Store};
use tokio::sync::{Notify, watch};

/// A new master takes over its tables within a millisecond; longer means that it is stopping.
const ADOPTION: Duration = Duration::from_secs(1);

pub struct Broker {
    pub config: Config,
    /// What clients are told, `brokerIP1:port`.
    pub address: SocketAddr,
    pub ha_address: String,
    pub store: Arc<Store>,
    pub replication: Arc<Replication>,
    pub role: watch::Receiver<RoleState>,
    pub metadata: Metadata,
    pub members: Members,
    pub clients: Mutex<ClientTable>,
    /// Told after each heartbeat: who it came from is known now.
    pub introductions: Notify,
    pub locks: Mutex<QueueLocks>,
    pub hold: Hold,
    pub forward: Forward,
    pub delay_levels: DelayLevels,
    pub statistics: Statistics,
    pub metrics: Metrics,
    /// Changes whenever the nameservers should hear from us before the period is over.
    pub registration: watch::Sender<u64>,
    connections: Mutex<BTreeMap<ConnectionId, Arc<Connection>>>,
    /// Log end when this replica became master; until the queues reach it, an offset beyond a queue's end may
    /// still be right.
    promoted_at: AtomicI64,
    /// Wall clock of that moment.
    promoted_ms: AtomicI64,
    /// Set when the process is told to end: no new work is begun.
    pub stopping: AtomicBool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    NotSettled(#[from] NotSettled),
    /// Nothing was changed.
    #[error(transparent)]
    TooFew(#[from] TooFewInSync),
}

impl ChangeError {
    /// Whether another replica is, or is about to be, the master.
    pub fn is_deposition(&self) -> bool {
        matches!(self, ChangeError::Metadata(MetadataError::NotMaster) | ChangeError::NotSettled(NotSettled::Deposed))
    }
}

pub struct Parts {
    pub config: Config,
    pub address: SocketAddr,
    pub ha_address: String,
    pub store: Arc<Store>,
    pub replication: Arc<Replication>,
    pub metadata: Metadata,
}

impl Broker {
    pub fn new(parts: Parts) -> Arc<Broker> {
        let Parts { config, address, ha_address, store, replication, metadata } = parts;
        Arc::new(Broker {
            role: replication.state(),
            statistics: Statistics::new(monotonic_ms(), wall_ms()),
            metrics: Metrics::new(&config.broker_cluster_name, &config.broker_name),
            delay_levels: config.delay_levels(),
            config,
            address,
            ha_address,
            store,
            replication,
            metadata,
            members: Members::default(),
            clients: Mutex::default(),
            introductions: Notify::new(),
            locks: Mutex::default(),
            hold: Hold::default(),
            forward: Forward::default(),
            registration: watch::Sender::new(0),
            connections: Mutex::default(),
            promoted_at: AtomicI64::new(0),
            promoted_ms: AtomicI64::new(0),
            stopping: AtomicBool::new(false),
        })
    }

    pub fn is_master(&self) -> bool {
        self.role.borrow().role == Role::Master
    }

    /// Id under which clients and nameservers know this replica: 0 while it is the master.
    pub fn public_id(&self) -> BrokerId {
        let role = self.role.borrow();
        if role.role == Role::Master { MASTER_ID } else { role.broker_id }
    }

    /// Applies settings here and waits until every member of the set that has to has them (S13). A set that is too
    /// small to acknowledge anything changes nothing, as it takes no message.
    pub async fn change(&self, changes: Vec<Change>) -> Result<Applied, ChangeError> {
        if let Some(Awaited::Set(set)) = &*self.replication.awaited().borrow()
            && !changes.is_empty()
        {
            self.replication.enough(set)?;
        }
        let mut versions = self.metadata.versions();
        let applied = loop {
            versions.borrow_and_update();
            match self.metadata.change(changes.clone()).await {
                // The role is published a moment before the tables are this mastership's.
                Err(MetadataError::NotMaster) if self.is_master() => {
                    let adopted = tokio::time::timeout(ADOPTION, versions.changed()).await;
                    adopted.map_err(|_| MetadataError::NotMaster)?.map_err(|_| MetadataError::Stopped)?;
                }
                applied => break applied?,
            }
        };
        self.members.settings_changed(&self.replication, applied.version);
        if applied.touched.topics {
            self.register_soon();
        }
        // A change that changed nothing is acknowledged too: that of an earlier, unanswered attempt may still be
        // on its way.
        if !self.metadata.is_settled(applied.version.settings) || applied.touched.any() {
            self.members.settled(&self.replication, applied.version).await?;
            self.metadata.set_settled(applied.version.settings);
        }
        Ok(applied)
    }

    pub fn register_soon(&self) {
        self.registration.send_modify(|it| *it += 1);
    }

    // ---- connections

    /// Remembers a connection that has introduced itself, so that it can be told things.
    pub fn know(&self, connection: &Arc<Connection>) {
        self.connections.lock().entry(connection.id).or_insert_with(|| connection.clone());
    }

    pub fn connection_closed(&self, id: ConnectionId) {
        if self.connections.lock().remove(&id).is_some() {
            let changed = self.clients.lock().connection_closed(id);
            self.tell_to_rebalance(changed);
        }
    }

    pub fn expire_clients(&self) {
        let before = monotonic_ms().saturating_sub(self.config.channel_expired_timeout);
        let changed = self.clients.lock().expire(before);
        self.tell_to_rebalance(changed);
    }

    /// Request 40 to every consumer of these groups, unless the group does not want it. A consumer whose queue is full
    /// looks again by itself every 20 s.
    pub fn tell_to_rebalance(&self, changed: impl IntoIterator<Item = Rebalance>) {
        for rebalance in changed {
            let settings = self.metadata.settings();
            if settings.groups.get(&rebalance.group).is_some_and(|it| !it.notify_consumer_ids_changed_enable) {
                continue;
            }
            let connections = self.connections.lock();
            for connection in rebalance.connections.iter().filter_map(|it| connections.get(it)) {
                let header = NotifyConsumerIdsChangedRequest { consumer_group: rebalance.group.clone() };
                connection.push(Command::request(request::NOTIFY_CONSUMER_IDS_CHANGED).with_header(&header).one_way());
            }
        }
    }

    // ---- promotion

    pub fn promoted(&self, log_end: Offset) {
        self.promoted_at.store(log_end, Ordering::Release);
        self.promoted_ms.store(wall_ms(), Ordering::Release);
    }

    /// When writes were opened in this epoch (wall clock); none unless this replica is the master.
    pub fn promoted_ms(&self) -> Option<i64> {
        let promoted = self.promoted_ms.load(Ordering::Acquire);
        (self.is_master() && promoted > 0).then_some(promoted)
    }

    /// Whether every message that the log had when this replica became master is confirmed and in its queue.
    pub fn has_caught_up(&self) -> bool {
        self.store.confirm_offset() >= self.promoted_at.load(Ordering::Acquire) && self.store.dispatch_behind() <= 0
    }

    /// S13: after a promotion no consumer offset is beyond its queue's end.
    pub fn clamp_offsets(&self) {
        let end = |topic: &str, queue_id| self.store.queue_bounds(topic, queue_id).map(|(_, end)| end);
        for (queue, id, from, to) in self.metadata.offsets().clamp(end) {
            tracing::warn!(queue, id, from, to, "a consumer offset was beyond its queue's end and was moved back");
        }
    }
}
