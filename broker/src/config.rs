//! The broker's configuration: RocketMQ's keys and defaults, as far as this broker honours them.
//!
//! Every field says what it means, its unit and its default. [`Config::validate`] checks what no single field can say;
//! [`Config::durability_in_words`] tells an operator what an acknowledgement is worth.

mod local_address;
mod problem;

pub use problem::ConfigProblem;

use ha::{Acknowledgement, HaConfig};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use store::{DelayLevels, FlushDiskType as StoreFlush, StoreConfig};

/// When an acknowledged message is on this broker's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlushDiskType {
    /// Within about half a second; a crash of the machine may lose it here.
    #[default]
    #[serde(rename = "ASYNC_FLUSH")]
    AsyncFlush,
    /// Before it is acknowledged (S11).
    #[serde(rename = "SYNC_FLUSH")]
    SyncFlush,
}

/// RocketMQ's static role. In controller mode the controller decides and this is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BrokerRole {
    #[default]
    #[serde(rename = "ASYNC_MASTER")]
    AsyncMaster,
    #[serde(rename = "SYNC_MASTER")]
    SyncMaster,
    #[serde(rename = "SLAVE")]
    Slave,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Cluster this broker belongs to. Default `DefaultCluster`.
    pub broker_cluster_name: String,
    /// Name shared by all replicas of one broker set. Default: the host's name, or `DEFAULT_BROKER`.
    pub broker_name: String,
    /// Id in the set outside controller mode: 0 = master. In controller mode the controller assigns ids and this is
    /// ignored. Default 0.
    pub broker_id: i64,
    /// Address that clients, nameservers and controllers are told. Wrong: clients cannot connect. Default: this host's
    /// address on the way to other hosts, or `bindAddress` when that is a single address.
    #[serde(rename = "brokerIP1")]
    pub broker_ip1: Option<String>,
    /// Address that slaves are told for replication. Default: `brokerIP1`.
    #[serde(rename = "brokerIP2")]
    pub broker_ip2: Option<String>,
    /// Local address to listen on. Default `0.0.0.0`: all.
    pub bind_address: String,
    /// Port of clients, admin tools and controllers. Default 10911.
    pub listen_port: u16,
    /// Serve on the port `listenPort` - 2 as well, where Java's slaves ask for topics, and clients with
    /// `vipChannelEnabled` send. A port that is taken is only warned about. Default true.
    pub enable_vip_listener: bool,
    /// Port of replication; 0 means `listenPort` + 1. Default 0.
    pub ha_listen_port: u16,
    /// Nameservers, `host:port` separated by `;`. Default: the environment's `NAMESRV_ADDR`, which the command line
    /// tool fills in.
    pub namesrv_addr: Option<String>,
    /// Where everything is kept. Default `$HOME/store`.
    pub store_path_root_dir: Option<String>,
    /// Where the commit log is kept. Default `storePathRootDir/commitlog`.
    pub store_path_commit_log: Option<String>,
    /// Controller mode: which master wrote which bytes. Default `storePathRootDir/epochFileCheckpoint`.
    pub store_path_epoch_file: Option<String>,
    /// Controller mode: this replica's id. Default `storePathRootDir/brokerIdentity`.
    pub store_path_broker_identity: Option<String>,
    /// Bytes per commit log file. Default 1073741824 (1 GiB). Changing it on an existing store is refused by the store.
    pub mapped_file_size_commit_log: u64,
    /// Bytes per consume queue file, rounded up to a multiple of 20. Default 6000000.
    pub mapped_file_size_consume_queue: u64,
    /// `ASYNC_FLUSH` or `SYNC_FLUSH`. Default `ASYNC_FLUSH`.
    pub flush_disk_type: FlushDiskType,
    /// Milliseconds a send waits for the flush before it is answered FLUSH_DISK_TIMEOUT (stored, not yet flushed).
    /// Default 5000.
    pub sync_flush_timeout: u64,
    /// Static role outside controller mode. Default `ASYNC_MASTER`.
    pub broker_role: BrokerRole,
    /// Let the controllers decide who is master. Needs `controllerAddr`. Default false.
    pub enable_controller_mode: bool,
    /// Controllers, `host:port` separated by `;`. Default none.
    pub controller_addr: String,
    /// Acknowledge only what every member of the SyncStateSet has (S3). Default: true in controller mode when
    /// `inSyncReplicas` is not set either; otherwise false.
    pub all_ack_in_sync_state_set: Option<bool>,
    /// Copies, the master's included, that an acknowledged message has (S4). Default 1.
    pub in_sync_replicas: Option<usize>,
    /// Refuse writes while the SyncStateSet has fewer members than this. Default 1.
    pub min_in_sync_replicas: usize,
    /// Milliseconds a send waits for its copies before it is answered FLUSH_SLAVE_TIMEOUT. Default 3000.
    pub slave_timeout: u64,
    /// Bytes per replication packet. Default 32768.
    pub ha_transfer_batch_size: usize,
    /// Milliseconds between replication heartbeats on an idle link. Default 5000.
    pub ha_send_heartbeat_interval: u64,
    /// Milliseconds without traffic after which a replication link is closed. Default 20000.
    pub ha_housekeeping_interval: u64,
    /// Milliseconds a member may be behind without progress before the master asks to take it out of the set. Default
    /// 1000 (RocketMQ: 15000).
    pub ha_max_time_slave_not_catchup: u64,
    /// A new replica copies from the master's last file only. Default false.
    pub sync_from_last_file: bool,
    /// This replica copies but never joins the SyncStateSet. Default false.
    pub async_learner: bool,
    /// Milliseconds between heartbeats to the controllers. Default 500 (RocketMQ: 1000).
    pub broker_heartbeat_interval: u64,
    /// Milliseconds without a heartbeat after which the controller takes this broker for dead. Default 2000 (RocketMQ:
    /// 10000).
    pub controller_heart_beat_timeout_mills: u64,
    /// Milliseconds between polls of the replica information, which back up the controller's notifications. Default
    /// 1000 (RocketMQ: 5000).
    pub sync_broker_metadata_period: u64,
    /// Among equals, the smallest is elected. Default 2147483647.
    pub broker_election_priority: i32,
    /// Where this broker runs (a rack, a data centre). Among equal replicas one outside the dead master's zone is
    /// elected. Default: none.
    pub broker_zone: Option<String>,
    /// Milliseconds between registrations with the nameservers. Changes are registered at once. Default 30000.
    pub register_name_server_period: u64,
    /// Milliseconds one registration may take. Default 24000.
    pub register_broker_timeout_mills: u64,
    /// Controller mode: announce this replica, while it is a slave, as a write-only broker `<brokerName>@<id>` as well,
    /// so that a client's retry finds a live replica when the master has died; that passes the message on. See
    /// docs/FAILOVER.md for what it costs. Default false.
    pub enable_failover_alias: bool,
    /// Create a topic when a producer sends to one that does not exist. Default true.
    pub auto_create_topic_enable: bool,
    /// Create a group when a consumer of an unknown one appears. Default true.
    pub auto_create_subscription_group: bool,
    /// Queues of the topic that automatically created ones are copied from. Default 8.
    pub default_topic_queue_nums: i32,
    /// Keep a topic named like the cluster, which tools probe. Default true.
    pub cluster_topic_enable: bool,
    /// Keep a topic named like the broker, which tools probe. Default true.
    pub broker_topic_enable: bool,
    /// Keep the topic that clients write message traces to. Default false.
    pub trace_topic_enable: bool,
    /// Name of that topic. Default `RMQ_SYS_TRACE_TOPIC`.
    pub msg_trace_topic_name: String,
    /// Largest message body, bytes. Default 4194304.
    pub max_message_size: usize,
    /// What clients may do: 4 read, 2 write, 6 both. Default 6.
    pub broker_permission: i32,
    /// Send a consumer to a slave that keeps up when it reads what is not in the master's memory any more, or when its
    /// group is set so. The same on every replica of a set. A slave serves consumers that come to it by an old route
    /// whatever stands here. Default false.
    pub slave_read_enable: bool,
    /// With `slaveReadEnable`: spread each group's queues over all replicas that keep up, so that a master's death
    /// interrupts only its own readers. Default false.
    pub slave_read_spread: bool,
    /// Hold a pull that finds nothing for as long as the consumer asked. False: for `shortPollingTimeMills`. Default
    /// true.
    pub long_polling_enable: bool,
    /// Milliseconds a pull is held without long polling. Default 1000.
    pub short_polling_time_mills: u64,
    /// Bytes of messages in one pull answer. Default 262144.
    pub max_transfer_bytes_on_message_in_memory: usize,
    /// Messages in one pull answer. Default 32.
    pub max_transfer_count_on_message_in_memory: usize,
    /// Hours a commit log file is kept after its last write. Default 72.
    pub file_reserved_time: u64,
    /// Hours of the day, `;`-separated, at which expired files are deleted. Default `04`.
    pub delete_when: String,
    /// Milliseconds between looks for expired files. Default 10000.
    pub clean_resource_interval: u64,
    /// Region that messages are marked with. Default `DefaultRegion`.
    pub region_id: String,
    /// Tell clients to trace messages. Default true.
    pub trace_on: bool,
    /// Milliseconds between writes of the consumer offsets. Default 5000.
    pub flush_consumer_offset_interval: u64,
    /// How long each delay level waits, the first being level 1: whole numbers of s, m, h or d, separated by blanks.
    /// The same on every replica of a set; a change holds for messages that are stored after it. Default
    /// `1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h`.
    pub message_delay_level: String,
    /// Milliseconds between writes of how far the delay levels are delivered; what was delivered since the last one is
    /// delivered again when all replicas are killed at once. Default 1000 (RocketMQ: 10000).
    pub flush_delay_offset_interval: u64,
    /// Milliseconds that a client's write waits at a replica that is not the master for a new one to be elected; then
    /// it is refused. Below the 3 s that clients wait, so that they hear of it. Default 2500.
    pub forward_hold_millis: u64,
    /// Requests of clients that may be on their way to the master, or wait for one, at a time. More are refused.
    /// Default 10000.
    pub forward_hold_count: usize,
    /// Bytes of those requests. Default 67108864 (64 MiB).
    pub forward_hold_bytes: usize,
    /// Milliseconds without a heartbeat after which a client is forgotten. Default 120000.
    pub channel_expired_timeout: u64,
    /// What this broker signs its requests to controllers, nameservers and its master with:
    /// `{"accessKey":"…","secretKey":"…"}`. Default: unsigned.
    pub inner_client_authentication_credentials: String,
    /// Whether who changes this broker's role, holds its writes or copies its settings has to sign, with the same keys
    /// as in the controllers' files; without key and secret with those of `innerClientAuthenticationCredentials`.
    #[serde(flatten)]
    pub access: node::access::Settings,
    #[serde(flatten)]
    pub tls: node::tls::Settings,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            broker_cluster_name: "DefaultCluster".into(),
            broker_name: local_address::host_name().unwrap_or_else(|| "DEFAULT_BROKER".into()),
            broker_id: 0,
            broker_ip1: None,
            broker_ip2: None,
            bind_address: "0.0.0.0".into(),
            listen_port: 10911,
            enable_vip_listener: true,
            ha_listen_port: 0,
            namesrv_addr: None,
            store_path_root_dir: None,
            store_path_commit_log: None,
            store_path_epoch_file: None,
            store_path_broker_identity: None,
            mapped_file_size_commit_log: 1 << 30,
            mapped_file_size_consume_queue: 6_000_000,
            flush_disk_type: FlushDiskType::AsyncFlush,
            sync_flush_timeout: 5000,
            broker_role: BrokerRole::AsyncMaster,
            enable_controller_mode: false,
            controller_addr: String::new(),
            all_ack_in_sync_state_set: None,
            in_sync_replicas: None,
            min_in_sync_replicas: 1,
            slave_timeout: 3000,
            ha_transfer_batch_size: 32 << 10,
            ha_send_heartbeat_interval: 5000,
            ha_housekeeping_interval: 20_000,
            ha_max_time_slave_not_catchup: 1000,
            sync_from_last_file: false,
            async_learner: false,
            broker_heartbeat_interval: 500,
            controller_heart_beat_timeout_mills: 2000,
            sync_broker_metadata_period: 1000,
            broker_election_priority: i32::MAX,
            broker_zone: None,
            register_name_server_period: 30_000,
            register_broker_timeout_mills: 24_000,
            enable_failover_alias: false,
            auto_create_topic_enable: true,
            auto_create_subscription_group: true,
            default_topic_queue_nums: 8,
            cluster_topic_enable: true,
            broker_topic_enable: true,
            trace_topic_enable: false,
            msg_trace_topic_name: "RMQ_SYS_TRACE_TOPIC".into(),
            max_message_size: 4 << 20,
            broker_permission: 6,
            slave_read_enable: false,
            slave_read_spread: false,
            long_polling_enable: true,
            short_polling_time_mills: 1000,
            max_transfer_bytes_on_message_in_memory: 256 << 10,
            max_transfer_count_on_message_in_memory: 32,
            file_reserved_time: 72,
            delete_when: "04".into(),
            clean_resource_interval: 10_000,
            region_id: "DefaultRegion".into(),
            trace_on: true,
            flush_consumer_offset_interval: 5000,
            message_delay_level: DelayLevels::DEFAULT.into(),
            flush_delay_offset_interval: 1000,
            forward_hold_millis: 2_500,
            forward_hold_count: 10_000,
            forward_hold_bytes: 64 << 20,
            channel_expired_timeout: 120_000,
            inner_client_authentication_credentials: String::new(),
            access: node::access::Settings::default(),
            tls: node::tls::Settings::default(),
        }
    }
}

impl Config {
    pub fn root(&self) -> PathBuf {
        match &self.store_path_root_dir {
            Some(root) => PathBuf::from(root),
            None => PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| ".".into())).join("store"),
        }
    }

    fn path_or(&self, configured: &Option<String>, name: &str) -> PathBuf {
        configured.as_ref().map_or_else(|| self.root().join(name), PathBuf::from)
    }

    /// The address others are told: never the wildcard.
    pub fn ip1(&self) -> Result<IpAddr, ConfigProblem> {
        match &self.broker_ip1 {
            Some(text) => problem::ip("brokerIP1", text),
            None => Ok(local_address::advertised(&self.bind_address)),
        }
    }

    fn ip2(&self) -> Result<IpAddr, ConfigProblem> {
        match &self.broker_ip2 {
            Some(text) => problem::ip("brokerIP2", text),
            None => self.ip1(),
        }
    }

    /// None where the system chooses the port, and where replication has it.
    pub fn vip_port(&self) -> Option<u16> {
        let wanted = |port: &u16| self.enable_vip_listener && *port > 0 && *port != self.ha_port();
        self.listen_port.checked_sub(2).filter(wanted)
    }

    pub fn ha_port(&self) -> u16 {
        if self.ha_listen_port == 0 { self.listen_port.saturating_add(1) } else { self.ha_listen_port }
    }

    pub fn nameservers(&self) -> Vec<String> {
        split_list(self.namesrv_addr.as_deref().unwrap_or(""))
    }

    pub fn controllers(&self) -> Vec<String> {
        if self.enable_controller_mode { split_list(&self.controller_addr) } else { Vec::new() }
    }

    /// The hours of `deleteWhen`.
    pub fn delete_hours(&self) -> Vec<i8> {
        split_list(&self.delete_when).iter().filter_map(|it| it.parse().ok()).collect()
    }

    /// [`Config::validate`] has refused a list that cannot be read.
    pub fn delay_levels(&self) -> DelayLevels {
        DelayLevels::parse(&self.message_delay_level).unwrap_or_default()
    }

    /// Strict unless the file says otherwise (controller mode), and as RocketMQ without controllers.
    pub fn acknowledgement(&self) -> Acknowledgement {
        let strict_by_default = self.enable_controller_mode && self.in_sync_replicas.is_none();
        match self.all_ack_in_sync_state_set.unwrap_or(strict_by_default) {
            true => Acknowledgement::AllInSyncStateSet,
            false => Acknowledgement::InSyncReplicas(self.in_sync_replicas.unwrap_or(1)),
        }
    }

    /// What an acknowledgement promises, for the log and the status page.
    pub fn durability_in_words(&self) -> String {
        let disk = match self.flush_disk_type {
            FlushDiskType::SyncFlush => "on disk",
            FlushDiskType::AsyncFlush => "in memory (on disk within about 500 ms)",
        };
        if !self.enable_controller_mode {
            return format!("an acknowledged message is {disk} on this broker alone; there are no replicas");
        }
        let minimum = self.min_in_sync_replicas;
        match self.acknowledgement() {
            Acknowledgement::AllInSyncStateSet => format!(
                "strict: an acknowledged message is {disk} on every member of the SyncStateSet and survives while one \
                 member does; \
                 writes are refused while the set has fewer than {minimum} member(s)"
            ),
            Acknowledgement::InSyncReplicas(copies) => format!(
                "relaxed: an acknowledged message is {disk} on {copies} replica(s), under a valid lease; it \
                 may be lost when those \
                 fail together; writes are refused while the set has fewer than {minimum} member(s)"
            ),
        }
    }

    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            root: self.root(),
            commit_log: self.path_or(&self.store_path_commit_log, "commitlog"),
            commit_log_file_size: self.mapped_file_size_commit_log,
            consume_queue_file_size: self.mapped_file_size_consume_queue,
            flush: match self.flush_disk_type {
                FlushDiskType::AsyncFlush => StoreFlush::AsyncFlush,
                FlushDiskType::SyncFlush => StoreFlush::SyncFlush,
            },
            max_message_size: self.max_message_size,
            file_reserved_hours: self.file_reserved_time,
            delay_levels: self.delay_levels(),
            replicated: self.enable_controller_mode,
        }
    }

    /// `port` is the one that was really bound, which differs from `listenPort` when that is 0.
    pub fn ha(&self, port: u16, unclean_shutdown: bool) -> Result<HaConfig, ConfigProblem> {
        let ha_port = if self.listen_port == 0 { self.ha_listen_port } else { self.ha_port() };
        let epoch_file = self.path_or(&self.store_path_epoch_file, "epochFileCheckpoint");
        Ok(HaConfig {
            cluster_name: self.broker_cluster_name.clone(),
            broker_name: self.broker_name.clone(),
            broker_address: host_port(self.ip1()?, port),
            ha_bind: format!("{}:{ha_port}", self.bind_address),
            ha_address: host_port(self.ip2()?, ha_port),
            controllers: self.controllers(),
            promise_file: epoch_file.with_file_name("epochPromise"),
            epoch_file,
            identity_file: self.path_or(&self.store_path_broker_identity, "brokerIdentity"),
            sync_flush: self.flush_disk_type == FlushDiskType::SyncFlush,
            unclean_shutdown,
            acknowledgement: self.acknowledgement(),
            min_in_sync_replicas: self.min_in_sync_replicas,
            slave_timeout_ms: self.slave_timeout,
            ha_transfer_batch_size: self.ha_transfer_batch_size,
            ha_send_heartbeat_interval_ms: self.ha_send_heartbeat_interval,
            ha_housekeeping_interval_ms: self.ha_housekeeping_interval,
            ha_max_time_slave_not_catchup_ms: self.ha_max_time_slave_not_catchup,
            sync_from_last_file: self.sync_from_last_file,
            async_learner: self.async_learner,
            heartbeat_interval_ms: self.broker_heartbeat_interval,
            heartbeat_timeout_ms: self.controller_heart_beat_timeout_mills,
            sync_broker_metadata_period_ms: self.sync_broker_metadata_period,
            election_priority: self.broker_election_priority,
            zone: self.broker_zone.clone(),
        })
    }

    /// `key=value` lines sorted by key, as GET_BROKER_CONFIG answers; unset keys are left out.
    pub fn lines(&self) -> Vec<(String, String)> {
        let Ok(serde_json::Value::Object(map)) = serde_json::to_value(self) else { return Vec::new() };
        let mut lines: Vec<_> = map
            .into_iter()
            .filter_map(|(key, value)| match value {
                serde_json::Value::Null => None,
                serde_json::Value::String(text) if node::properties::is_secret(&key) && !text.is_empty() => {
                    Some((key, node::properties::HIDDEN.to_owned()))
                }
                serde_json::Value::String(text) => Some((key, text)),
                other => Some((key, other.to_string())),
            })
            .collect();
        lines.sort();
        lines
    }
}

pub(crate) fn host_port(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

/// RocketMQ's address lists: `;`-separated, blanks ignored.
fn split_list(text: &str) -> Vec<String> {
    text.split(';').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
