//! A broker without its RPCs, and a controller that keeps one broker set in memory.

use ha::{Ack, Acknowledgement, HaConfig, HaError, Replication, Role};
use node::listener::{Limits, Listener};
use node::remoting::{Client, ClientOptions, Connection, Handler, Reply};
use proto::body::{ElectMasterResponseBody, SyncStateSet};
use proto::code::{request, response};
use proto::header::*;
use proto::message::Message;
use proto::{BrokerId, Command, Epoch, Offset};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use store::{FlushDiskType, Store, StoreConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub async fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Nobody has to look for it again and again: `watched` tells.
pub async fn told<T: Clone>(what: &str, watched: &mut watch::Receiver<T>, condition: impl FnMut(&T) -> bool) -> T {
    let found = tokio::time::timeout(Duration::from_secs(20), watched.wait_for(condition)).await;
    found.unwrap_or_else(|_| panic!("never told: {what}")).expect("the replica runs").clone()
}

/// The whole log.
pub fn bytes(store: &Store) -> Vec<u8> {
    let mut log = Vec::new();
    while let Some(part) = store.slice(log.len() as Offset, usize::MAX).filter(|it| !it.is_empty()) {
        log.extend_from_slice(&part);
    }
    assert_eq!(log.len() as Offset, store.max_offset());
    log
}

pub struct Broker {
    pub store: Arc<Store>,
    pub replication: Arc<Replication>,
    /// While it is true this broker, as master, finds its slaves' metadata complete at once (S13).
    pub finds_metadata_complete: Arc<AtomicBool>,
}

impl Broker {
    pub async fn start(controller: &FakeController, name: &str) -> Broker {
        let root = controller.folder.path().join(name);
        Broker::try_start(&controller.address, &root).await.unwrap()
    }

    pub async fn try_start(controller: &str, root: &Path) -> Result<Broker, HaError> {
        Broker::open(vec![controller.to_owned()], root).await
    }

    pub async fn alone(root: &Path) -> Broker {
        Broker::open(Vec::new(), root).await.unwrap()
    }

    async fn open(controllers: Vec<String>, root: &Path) -> Result<Broker, HaError> {
        let replicated = !controllers.is_empty();
        let config = StoreConfig {
            root: root.into(),
            commit_log: root.join("commitlog"),
            commit_log_file_size: 256 * 1024,
            consume_queue_file_size: 20 * 1000,
            flush: FlushDiskType::AsyncFlush,
            max_message_size: 4096,
            file_reserved_hours: 72,
            delay_levels: store::DelayLevels::default(),
            replicated,
        };
        let store = Store::open(config).unwrap().0;
        let client = Client::new(ClientOptions::default());
        let replication =
            Replication::start(ha_config(controllers, root), store.clone(), client, CancellationToken::new()).await?;
        let finds_metadata_complete = Arc::new(AtomicBool::new(true));
        tokio::spawn(confirm_metadata(Arc::downgrade(&replication), finds_metadata_complete.clone()));
        Ok(Broker { store, replication, finds_metadata_complete })
    }

    pub async fn id(&self) -> BrokerId {
        let mut state = self.replication.state();
        tokio::time::timeout(Duration::from_secs(20), state.wait_for(|it| it.broker_id > 0))
            .await
            .unwrap()
            .unwrap()
            .broker_id
    }

    pub fn is_master(&self) -> bool {
        self.replication.state().borrow().role == Role::Master
    }

    pub fn is_slave(&self) -> bool {
        matches!(self.replication.state().borrow().role, Role::Slave { .. })
    }

    pub fn send(&self, body: &str) -> (Offset, impl Future<Output = Ack> + Send + 'static + use<>) {
        let admission = self.replication.admit().unwrap();
        let end = self.store.append(&[message(body)]).unwrap().end;
        (end, self.replication.acknowledged(admission, end))
    }

    pub async fn stop(self) {
        self.replication.shutdown().await;
        self.store.shutdown().unwrap();
    }
}

/// What a broker's tables do for the slaves that ask it.
async fn confirm_metadata(replication: Weak<Replication>, complete: Arc<AtomicBool>) {
    while let Some(replication) = replication.upgrade() {
        let epoch = replication.state().borrow().master_epoch;
        if complete.load(Ordering::Relaxed) {
            replication.status().slaves.iter().for_each(|it| replication.set_metadata_synced(epoch, it.id, true));
        }
        drop(replication);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn ha_config(controllers: Vec<String>, root: &Path) -> HaConfig {
    let name = root.file_name().unwrap().to_string_lossy().into_owned();
    HaConfig {
        cluster_name: "c".into(),
        broker_name: "broker-a".into(),
        broker_address: format!("{name}:10911"),
        ha_bind: "127.0.0.1:0".into(),
        ha_address: "127.0.0.1:0".into(),
        controllers,
        epoch_file: root.join("epochFileCheckpoint"),
        identity_file: root.join("brokerIdentity"),
        promise_file: root.join("promise"),
        sync_flush: false,
        unclean_shutdown: false,
        acknowledgement: Acknowledgement::AllInSyncStateSet,
        min_in_sync_replicas: 1,
        slave_timeout_ms: 15_000,
        ha_transfer_batch_size: 32 * 1024,
        ha_send_heartbeat_interval_ms: 5000,
        ha_housekeeping_interval_ms: 20_000,
        ha_max_time_slave_not_catchup_ms: 1000,
        sync_from_last_file: false,
        async_learner: false,
        heartbeat_interval_ms: 100,
        heartbeat_timeout_ms: 2000,
        sync_broker_metadata_period_ms: 100,
        election_priority: i32::MAX,
        zone: None,
    }
}

fn message(body: &str) -> Message {
    Message {
        topic: "t".into(),
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "10.0.0.1:4000".parse().unwrap(),
        store_host: "10.0.0.2:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: bytes::Bytes::copy_from_slice(body.as_bytes()),
        properties: String::new(),
    }
}

pub struct FakeController {
    pub address: String,
    pub folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Id → address, HA address, boot id.
    replicas: BTreeMap<BrokerId, (String, String, String)>,
    master: Option<BrokerId>,
    epoch: Epoch,
    set: BTreeSet<BrokerId>,
    version: i32,
    refuse: bool,
    /// This request is answered with an error.
    failing: Option<i32>,
    /// How often it was.
    failed: usize,
}

impl FakeController {
    pub async fn start() -> FakeController {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local.to_string();
        let state: Arc<Mutex<State>> = Arc::default();
        let stop = CancellationToken::new();
        tokio::spawn(listener.serve(Arc::new(Rpc(state.clone())), None, Limits::default(), stop.clone()));
        FakeController { address, folder: tempfile::tempdir().unwrap(), state, stop }
    }

    pub fn set(&self) -> BTreeSet<BrokerId> {
        self.state.lock().unwrap().set.clone()
    }

    pub fn refuse_alterations(&self, refuse: bool) {
        self.state.lock().unwrap().refuse = refuse;
    }

    /// From now on requests of this code fail; `None`: of no code.
    pub fn fail(&self, code: Option<i32>) {
        let mut state = self.state.lock().unwrap();
        (state.failing, state.failed) = (code, 0);
    }

    pub fn failed(&self) -> usize {
        self.state.lock().unwrap().failed
    }

    /// Whether the id has been given to anybody.
    pub fn knows(&self, id: BrokerId) -> bool {
        self.state.lock().unwrap().replicas.contains_key(&id)
    }

    /// The replica's address as it has registered it.
    pub fn registered(&self, id: BrokerId) -> Option<String> {
        let state = self.state.lock().unwrap();
        state.replicas.get(&id).map(|it| it.0.clone()).filter(|it| !it.is_empty())
    }

    pub fn elect<const N: usize>(&self, master: BrokerId, set: [BrokerId; N]) {
        self.state.lock().unwrap().elect(master, set.into());
    }

    pub fn notify(&self, brokers: &[&Broker]) {
        let state = self.state.lock().unwrap();
        let (address, ha_address) = state.master.map(|it| state.replicas[&it].clone()).map(|it| (it.0, it.1)).unzip();
        let header = NotifyBrokerRoleChangedRequest {
            master_address: address,
            master_epoch: Some(state.epoch),
            sync_state_set_epoch: Some(state.version),
            master_broker_id: state.master,
            master_ha_address: ha_address,
            broker_name: Some("broker-a".into()),
        };
        for it in brokers {
            it.replication.on_role_notification(header.clone(), state.body());
        }
    }
}

impl Drop for FakeController {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl State {
    fn body(&self) -> SyncStateSet {
        SyncStateSet { sync_state_set: self.set.clone(), sync_state_set_epoch: self.version }
    }

    fn elect(&mut self, master: BrokerId, set: BTreeSet<BrokerId>) {
        self.master = Some(master);
        self.epoch += 1;
        self.version += 1;
        self.set = set;
    }

    fn replica_info(&self) -> GetReplicaInfoResponse {
        let master = self.master.and_then(|it| self.replicas.get(&it));
        GetReplicaInfoResponse {
            master_broker_id: self.master,
            master_address: master.map(|it| it.0.clone()),
            master_epoch: Some(self.epoch),
            master_ha_address: master.map(|it| it.1.clone()),
        }
    }

    /// S2: a new boot id of the master ends its mastership.
    fn register(&mut self, it: RegisterBrokerToControllerRequest) -> Command {
        let boot_id = it.boot_id.unwrap();
        let known = self.replicas.insert(it.broker_id, (it.broker_address, it.ha_address.unwrap(), boot_id.clone()));
        if self.master == Some(it.broker_id) && known.is_some_and(|it| it.2 != boot_id) {
            self.master = None;
        }
        let info = self.replica_info();
        let header = RegisterBrokerToControllerResponse {
            master_broker_id: info.master_broker_id,
            master_address: info.master_address,
            master_epoch: info.master_epoch,
            master_ha_address: info.master_ha_address,
            sync_state_set_epoch: Some(self.version),
            ..Default::default()
        };
        Command::response(0).with_header(&header).with_body(proto::json::to_vec(&self.body()))
    }

    fn elect_for(&mut self, id: BrokerId) -> Command {
        let code = if self.master.is_some() { response::CONTROLLER_MASTER_STILL_EXIST } else { 0 };
        if self.master.is_none() {
            if !self.set.is_empty() && !self.set.contains(&id) {
                return Command::error(response::CONTROLLER_ELECT_MASTER_FAILED, "Failed to elect a new master");
            }
            self.elect(id, [id].into());
        }
        let info = self.replica_info();
        let header = ElectMasterResponse {
            master_broker_id: info.master_broker_id,
            master_address: info.master_address,
            master_epoch: info.master_epoch,
            sync_state_set_epoch: Some(self.version),
            master_ha_address: info.master_ha_address,
        };
        let body = ElectMasterResponseBody { broker_member_group: None, sync_state_set: self.set.clone() };
        Command::response(code).with_header(&header).with_body(proto::json::to_vec(&body))
    }

    fn alter(&mut self, it: &AlterSyncStateSetRequest, wanted: SyncStateSet) -> Command {
        let current = Some(it.master_broker_id) == self.master && it.master_epoch == self.epoch;
        if self.refuse || !current || wanted.sync_state_set_epoch != self.version {
            return Command::error(response::CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH, "no");
        }
        self.set = wanted.sync_state_set;
        self.version += 1;
        Command::response(0).with_body(proto::json::to_vec(&self.body()))
    }

    fn answer(&mut self, it: &Command) -> Result<Command, HeaderError> {
        if self.failing == Some(it.code) {
            self.failed += 1;
            return Ok(Command::error(response::SYSTEM_ERROR, "as the test wants"));
        }
        Ok(match it.code {
            request::CONTROLLER_GET_METADATA_INFO => {
                Command::response(0).with_header(&GetMetadataInfoResponse { is_leader: true, ..Default::default() })
            }
            request::CONTROLLER_GET_NEXT_BROKER_ID => {
                let next_broker_id = Some(self.replicas.len() as BrokerId + 1);
                Command::response(0).with_header(&GetNextBrokerIdResponse { next_broker_id, ..Default::default() })
            }
            request::CONTROLLER_APPLY_BROKER_ID => {
                let it: ApplyBrokerIdRequest = it.header()?;
                if self.replicas.get(&it.applied_broker_id).is_some_and(|known| known.2 != it.register_check_code) {
                    return Ok(Command::error(response::CONTROLLER_BROKER_ID_INVALID, "taken"));
                }
                self.replicas.insert(it.applied_broker_id, (String::new(), String::new(), it.register_check_code));
                Command::response(0)
            }
            request::CONTROLLER_REGISTER_BROKER => self.register(it.header()?),
            request::CONTROLLER_ELECT_MASTER => self.elect_for(it.header::<ElectMasterRequest>()?.broker_id.unwrap()),
            request::CONTROLLER_GET_REPLICA_INFO => {
                Command::response(0).with_header(&self.replica_info()).with_body(proto::json::to_vec(&self.body()))
            }
            request::CONTROLLER_ALTER_SYNC_STATE_SET => {
                self.alter(&it.header()?, proto::json::from_slice(&it.body).unwrap())
            }
            request::BROKER_HEARTBEAT => Command::response(0).with_header(&BrokerHeartbeatResponse {
                lease_mills: Some(2000),
                registered: None,
                master_epoch: Some(self.epoch),
                sync_state_set_epoch: Some(self.version),
            }),
            other => Command::error(response::REQUEST_CODE_NOT_SUPPORTED, format!("{other}")),
        })
    }
}

struct Rpc(Arc<Mutex<State>>);

impl Handler for Rpc {
    fn handle(&self, _: &Arc<Connection>, request: Command) -> Reply {
        Reply::Now(self.0.lock().unwrap().answer(&request).unwrap())
    }

    fn closed(&self, _: &Arc<Connection>) {}
}
