//! Configuration: RocketMQ's keys for a controller, and ours, with what must hold between them.

mod jraft;

pub use node::access::Settings as Access;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// What a controller's file may hold. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Installation folder; only the default of `configStorePath` depends on it.
    pub rocketmq_home: String,
    /// Where `updateControllerConfig` writes the effective configuration. Empty:
    /// `<rocketmqHome>/controller/controller.properties`, or nowhere without a home.
    pub config_store_path: String,
    /// Which of RocketMQ's two ways this file names the group in: `DLedger` (the `controllerDLeger…` keys) or `jRaft`
    /// (the `jRaft…` keys). What runs is the same.
    pub controller_type: String,
    /// Name of this group of controllers; the same on each of them.
    pub controller_d_leger_group: String,
    /// All controllers, `n0-10.0.0.1:9878;n1-10.0.0.2:9878;n2-10.0.0.3:9878`: the same on each of them, addresses as
    /// brokers reach them.
    pub controller_d_leger_peers: String,
    /// Which of the peers this process is.
    pub controller_d_leger_self_id: String,
    /// With `controllerType=jRaft`: name of the group.
    pub j_raft_group_id: String,
    /// Which of `jRaftInitConf` this process is.
    pub j_raft_server_id: String,
    /// All controllers, separated by `,`, by the addresses of JRaft's own protocol. Here they are names only.
    pub j_raft_init_conf: String,
    /// The same controllers in the same order, separated by `,`, by the addresses where brokers, tools and the other
    /// controllers reach them.
    #[serde(rename = "jRaftControllerRPCAddr")]
    pub j_raft_controller_rpc_addr: String,
    /// This controller joins a group that exists: with an empty data directory it waits until `mqadmin addController`
    /// has named it, and copies everything. Leave it false when a group is founded.
    pub controller_join: bool,
    /// Data directory, of this controller alone. Empty: `~/DLedgerController/<controllerDLegerSelfId>`, or
    /// `~/jRaftController/<jRaftServerId>`.
    pub controller_store_path: String,
    /// Address to listen on instead of the host of this controller's own peer entry, say `0.0.0.0` behind a NAT.
    pub bind_address: String,
    /// Elect a replica from outside the SyncStateSet when nobody in it is alive. Acknowledged messages may be lost;
    /// each such election is kept in the history as unclean.
    pub enable_elect_unclean_master: bool,
    /// Push role changes to brokers at once. Without it they learn of them by polling.
    pub notify_broker_role_changed: bool,
    /// The longest time between two looks at a broker set; every event about a set makes the controller look at once.
    pub scan_not_active_broker_interval: u64,
    /// Keys that `updateControllerConfig` may not change, separated by `;`.
    pub config_black_list: String,
    /// A controller that hears nothing from the leader for one to two of these calls an election. Lower finds a dead
    /// leader sooner, but below the round trip plus an fsync of a loaded machine leaders change without need.
    pub election_timeout_mills: u64,
    /// Take a closed connection together with a refusing listen or HA address as proof that a broker's process is gone,
    /// and act at once. Set to false where a proxy or load balancer refuses in a live broker's place.
    pub elect_on_refused_connection: bool,
    /// A broker whose disk has taken no write for longer than this is no better than one that is silent.
    pub disk_stall_timeout_mills: u64,
    /// Heartbeat timeout of a broker that does not say its own.
    pub default_heartbeat_timeout_mills: u64,
    /// How long a master that the leader does not hear is kept at most because another controller still hears it. 0:
    /// not at all.
    pub witness_wait_mills: u64,
    /// When a set's master has changed this often by itself within the window below, further automatic elections wait,
    /// longer each time, and the log says so as an error. What an operator asks for does not wait. 0: no limit.
    pub max_automatic_master_changes: usize,
    pub automatic_master_changes_window_mills: u64,
    /// Let mastership return to the preferred replica of each set, as a planned change that loses nothing: the one with
    /// the smallest `brokerElectionPriority`, among equals the one on whose host the fewest other sets have their
    /// master, then the one with the smallest id. Default false: a master stays until it fails or is moved.
    pub enable_preferred_master: bool,
    /// For how long, in milliseconds, without a break, a replica has to be in the SyncStateSet and preferred to the
    /// master before it takes over. Default 60000. When short, a replica that comes and goes takes mastership along.
    pub preferred_master_delay_mills: u64,
    /// A snapshot of the state is taken, and the Raft log cut, after this many entries …
    pub snapshot_entries: u64,
    /// … or this many bytes; of a large state not before the log has grown by half of what the state takes.
    pub snapshot_bytes: u64,
    #[serde(flatten)]
    pub access: Access,
    #[serde(flatten)]
    pub tls: node::tls::Settings,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rocketmq_home: String::new(),
            config_store_path: String::new(),
            controller_type: "DLedger".into(),
            controller_d_leger_group: "group1".into(),
            controller_d_leger_peers: String::new(),
            controller_d_leger_self_id: String::new(),
            j_raft_group_id: "jRaft-Controller".into(),
            j_raft_server_id: "localhost:9880".into(),
            j_raft_init_conf: "localhost:9880,localhost:9881,localhost:9882".into(),
            j_raft_controller_rpc_addr: "localhost:9770,localhost:9771,localhost:9772".into(),
            controller_join: false,
            controller_store_path: String::new(),
            bind_address: String::new(),
            enable_elect_unclean_master: false,
            notify_broker_role_changed: true,
            scan_not_active_broker_interval: 5_000,
            config_black_list: "configBlackList;configStorePath".into(),
            election_timeout_mills: 300,
            elect_on_refused_connection: true,
            disk_stall_timeout_mills: 2_000,
            default_heartbeat_timeout_mills: 10_000,
            witness_wait_mills: 10_000,
            max_automatic_master_changes: 5,
            automatic_master_changes_window_mills: 60_000,
            enable_preferred_master: false,
            preferred_master_delay_mills: 60_000,
            snapshot_entries: 10_000,
            snapshot_bytes: 4 * 1024 * 1024,
            access: Access::default(),
            tls: node::tls::Settings::default(),
        }
    }
}

/// Two keys that do not go together, or one that is needed and not there. Names the key and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "`controllerDLegerPeers` is missing: list all controllers, as in \
         n0-10.0.0.1:9878;n1-10.0.0.2:9878;n2-10.0.0.3:9878"
    )]
    NoPeers,
    #[error("`controllerDLegerSelfId` is missing: name which of `controllerDLegerPeers` this process is")]
    NoSelfId,
    #[error("`controllerDLegerPeers`: `{0}`: want id-host:port, as in n0-10.0.0.1:9878")]
    BadPeer(String),
    #[error("`controllerDLegerPeers`: id {0} stands there twice: each controller needs its own")]
    DuplicateId(String),
    #[error("`controllerDLegerPeers`: address {0} stands there twice: each controller needs its own")]
    DuplicateAddress(String),
    #[error("`controllerDLegerSelfId={self_id}` is not among `controllerDLegerPeers` ({known}): correct one of them")]
    SelfIdUnknown { self_id: String, known: String },
    #[error(
        "`{key}`: {address} cannot be reached from the other hosts in the list: give each controller the \
         address by which brokers and the other controllers reach it (use `bindAddress` to listen elsewhere)"
    )]
    NotReachable { key: &'static str, address: String },
    #[error("`controllerType={0}`: want DLedger or jRaft")]
    UnknownType(String),
    #[error(
        "`jRaftControllerRPCAddr` names {rpc} controllers and `jRaftInitConf` {raft}: list the same ones in both, in \
         the same order, separated by `,`"
    )]
    JRaftLists { raft: usize, rpc: usize },
    #[error("`{key}`: `{value}`: want host:port, as in 10.0.0.1:9880")]
    BadJRaftPeer { key: &'static str, value: String },
    #[error("`jRaftInitConf`: {0} stands there twice: each controller needs its own")]
    DuplicateJRaftPeer(String),
    #[error("`jRaftControllerRPCAddr`: {0} stands there twice: each controller needs its own")]
    DuplicateJRaftAddress(String),
    #[error("`jRaftServerId={server_id}` is not in `jRaftInitConf` ({known}): correct one of them")]
    JRaftServerUnknown { server_id: String, known: String },
    #[error("`{0}` is missing: `controllerAclEnable=true` needs both controllerAccessKey and controllerSecretKey")]
    NoCredentials(&'static str),
    #[error("`{key}={value}`: want {want}")]
    OutOfRange { key: &'static str, value: u64, want: &'static str },
}

/// A day. What is longer was meant in another unit, and arithmetic on times must not overflow.
const LONGEST_TIME: u64 = 86_400_000;

/// Which of RocketMQ's controllers a file was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    DLedger,
    JRaft,
}

/// The members of the group. Raft ids count from 1 in the order of the names, whatever the order in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    pub names: Vec<String>,
    /// Raft id to `host:port`.
    pub addresses: BTreeMap<u64, String>,
    pub self_id: u64,
}

impl Peers {
    pub fn name(&self, id: u64) -> Option<&str> {
        self.names.get((id as usize).checked_sub(1)?).map(String::as_str)
    }

    pub fn address_of(&self, name: &str) -> Option<&str> {
        let at = self.names.iter().position(|it| it == name)?;
        self.addresses.get(&(at as u64 + 1)).map(String::as_str)
    }

    pub fn own_address(&self) -> &str {
        self.addresses.get(&self.self_id).map_or("", String::as_str)
    }

    /// Everybody but this controller.
    pub fn others(&self) -> BTreeMap<u64, String> {
        self.addresses.iter().filter(|it| *it.0 != self.self_id).map(|(id, it)| (*id, it.clone())).collect()
    }
}

impl Config {
    /// Checks what no single value can tell.
    pub fn peers(&self) -> Result<Peers, ConfigError> {
        if !(50..=60_000).contains(&self.election_timeout_mills) {
            let (key, value) = ("electionTimeoutMills", self.election_timeout_mills);
            return Err(ConfigError::OutOfRange { key, value, want: "50 to 60000" });
        }
        self.check_times()?;
        let (by_name, wanted) = match self.flavour()? {
            Flavour::JRaft => jraft::members(self)?,
            Flavour::DLedger => {
                let by_name = parse(&self.controller_d_leger_peers)?;
                let wanted = self.controller_d_leger_self_id.trim();
                if wanted.is_empty() {
                    return Err(ConfigError::NoSelfId);
                }
                (by_name, wanted)
            }
        };
        check_reachable(self.peers_key(), by_name.values())?;
        let names = by_name.keys().cloned().collect::<Vec<_>>();
        let Some(at) = names.iter().position(|it| it == wanted) else {
            return Err(ConfigError::SelfIdUnknown { self_id: wanted.to_owned(), known: names.join(", ") });
        };
        let addresses = (1..).zip(by_name.into_values()).collect();
        Ok(Peers { names, addresses, self_id: at as u64 + 1 })
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        let times = [
            ("scanNotActiveBrokerInterval", self.scan_not_active_broker_interval),
            ("diskStallTimeoutMills", self.disk_stall_timeout_mills),
            ("defaultHeartbeatTimeoutMills", self.default_heartbeat_timeout_mills),
            ("witnessWaitMills", self.witness_wait_mills),
            ("automaticMasterChangesWindowMills", self.automatic_master_changes_window_mills),
            ("preferredMasterDelayMills", self.preferred_master_delay_mills),
        ];
        match times.into_iter().find(|it| it.1 > LONGEST_TIME) {
            Some((key, value)) => Err(ConfigError::OutOfRange { key, value, want: "milliseconds, at most a day" }),
            None => Ok(()),
        }
    }

    pub fn flavour(&self) -> Result<Flavour, ConfigError> {
        match self.controller_type.trim() {
            it if it.eq_ignore_ascii_case("jRaft") => Ok(Flavour::JRaft),
            it if it.eq_ignore_ascii_case("DLedger") => Ok(Flavour::DLedger),
            other => Err(ConfigError::UnknownType(other.to_owned())),
        }
    }

    /// The group's name, by the keys of either flavour.
    pub fn group(&self) -> &str {
        match self.flavour() {
            Ok(Flavour::JRaft) => &self.j_raft_group_id,
            _ => &self.controller_d_leger_group,
        }
    }

    /// The key that lists the addresses of all controllers.
    fn peers_key(&self) -> &'static str {
        match self.flavour() {
            Ok(Flavour::JRaft) => "jRaftControllerRPCAddr",
            _ => "controllerDLegerPeers",
        }
    }

    /// What is allowed but probably not meant.
    pub fn warnings(&self, peers: &Peers) -> Vec<String> {
        let count = peers.names.len();
        let survives = (count - 1) / 2;
        let even = format!(
            "`{}` names {count} controllers: an even number tolerates no more failures ({survives}) than {} would; \
             use 1, 3 or 5",
            self.peers_key(),
            count - 1
        );
        Vec::from_iter(count.is_multiple_of(2).then_some(even))
    }

    /// Where to listen: the own peer entry, with its host replaced by `bindAddress` if that is set.
    pub fn listen_address(&self, peers: &Peers) -> String {
        let own = peers.own_address();
        match (self.bind_address.trim(), own.rsplit_once(':')) {
            ("", _) | (_, None) => own.to_owned(),
            (host, Some((_, port))) => format!("{host}:{port}"),
        }
    }

    pub fn store_path(&self) -> PathBuf {
        match self.controller_store_path.trim() {
            "" => {
                let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
                match self.flavour() {
                    Ok(Flavour::JRaft) => home.join("jRaftController").join(self.j_raft_server_id.trim()),
                    _ => home.join("DLedgerController").join(self.controller_d_leger_self_id.trim()),
                }
            }
            path => PathBuf::from(path),
        }
    }

    /// Where `updateControllerConfig` persists, if anywhere.
    pub fn persist_path(&self) -> Option<PathBuf> {
        match (self.config_store_path.trim(), self.rocketmq_home.trim()) {
            ("", "") => None,
            ("", home) => Some(PathBuf::from(home).join("controller").join("controller.properties")),
            (path, _) => Some(PathBuf::from(path)),
        }
    }
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let (mut by_name, mut addresses) = (BTreeMap::new(), Vec::new());
    for peer in text.split(';').map(str::trim).filter(|it| !it.is_empty()) {
        let (name, address) = split(peer).ok_or_else(|| ConfigError::BadPeer(peer.to_owned()))?;
        if addresses.contains(&address) {
            return Err(ConfigError::DuplicateAddress(address.to_owned()));
        }
        addresses.push(address);
        if by_name.insert(name.to_owned(), address.to_owned()).is_some() {
            return Err(ConfigError::DuplicateId(name.to_owned()));
        }
    }
    if by_name.is_empty() { Err(ConfigError::NoPeers) } else { Ok(by_name) }
}

fn split(peer: &str) -> Option<(&str, &str)> {
    let (name, address) = peer.split_once('-')?;
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse::<u16>().ok()?;
    (!name.is_empty() && !host.is_empty() && port != 0).then_some((name, address))
}

/// A loopback address is fine as long as everybody is on this host.
fn check_reachable<'a>(
    key: &'static str,
    addresses: impl Iterator<Item = &'a String> + Clone,
) -> Result<(), ConfigError> {
    let local = |address: &str| {
        let host = address.rsplit_once(':').map_or(address, |it| it.0).trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
    };
    let anywhere = |address: &str| address.starts_with("0.0.0.0:") || address.starts_with("[::]:");
    if let Some(it) = addresses.clone().find(|it| anywhere(it)) {
        return Err(ConfigError::NotReachable { key, address: it.clone() });
    }
    let all_local = addresses.clone().all(|it| local(it));
    match addresses.clone().find(|it| !all_local && local(it)) {
        Some(it) => Err(ConfigError::NotReachable { key, address: it.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
