//! A cluster of real processes in a temporary folder: controllers, nameservers and the replicas of one broker set.

mod configuration;
mod node;
mod ports;
mod settings;

use crate::netns::Network;
use crate::process::tail;
use crate::queries::{self, Epochs, Replicas};
use crate::{PATIENCE, ask_within, wait_for, wait_until};
use configuration::{jraft_config, nameserver_config};
use ports::free_broker_port;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub use configuration::{broker_config, controller_config};
pub use node::Node;
pub use ports::free_port;

pub const BROKER_SET: &str = "broker-a";
pub const CLUSTER_NAME: &str = "test-cluster";
const LOOPBACK: &str = "127.0.0.1";

/// What to start. Extra keys are `key=value` lines added to every file of that kind.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    pub controllers: usize,
    pub nameservers: usize,
    pub brokers: usize,
    pub controller_keys: Vec<String>,
    pub broker_keys: Vec<String>,
    pub form: ControllerForm,
    /// Each process on the host of its own name; `None`: all on loopback.
    pub network: Option<Arc<Network>>,
}

/// How the controllers are deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerForm {
    /// Processes of their own, with files of RocketMQ's DLedger controller.
    Independent,
    /// The same, with files of RocketMQ's JRaft controller.
    JRaftFiles,
    /// One in each nameserver: there are as many nameservers, and `Cluster::controllers` are the processes of both.
    InNameservers,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        ClusterSpec {
            controllers: 3,
            nameservers: 1,
            brokers: 3,
            controller_keys: Vec::new(),
            broker_keys: Vec::new(),
            form: ControllerForm::Independent,
            network: None,
        }
    }
}

impl ClusterSpec {
    pub fn of(form: ControllerForm) -> ClusterSpec {
        let one = ClusterSpec::default();
        let nameservers = if form == ControllerForm::InNameservers { one.controllers } else { one.nameservers };
        ClusterSpec { nameservers, form, ..one }
    }

    pub fn broker_key(mut self, line: &str) -> ClusterSpec {
        self.broker_keys.push(line.to_owned());
        self
    }

    pub fn controller_key(mut self, line: &str) -> ClusterSpec {
        self.controller_keys.push(line.to_owned());
        self
    }

    /// Every process on a host of its own. `None`, said loudly, where networks cannot be made.
    pub fn on_a_network(mut self) -> Option<ClusterSpec> {
        let alone = if self.form == ControllerForm::InNameservers { 0 } else { self.nameservers };
        let kinds = [("controller-n", self.controllers), ("namesrv-", alone), ("broker-n", self.brokers)];
        let names: Vec<_> = kinds.iter().flat_map(|(kind, n)| (0..*n).map(move |i| format!("{kind}{i}"))).collect();
        self.network = Some(Arc::new(Network::of(&names.iter().map(String::as_str).collect::<Vec<_>>())?));
        Some(self)
    }

    fn host(&self, name: &str) -> &str {
        self.network.as_ref().map_or(LOOPBACK, |it| it.ip(name))
    }
}

pub struct Cluster {
    pub controllers: Vec<Node>,
    pub nameservers: Vec<Node>,
    pub brokers: Vec<Node>,
    nameserver_addresses: Vec<String>,
    // Last: the folder goes when the processes are gone.
    folder: TempDir,
}

impl Cluster {
    /// Starts everything and waits until the set is whole.
    #[track_caller]
    pub fn start(spec: ClusterSpec) -> Cluster {
        let mut cluster = Cluster::prepare(&spec);
        cluster.launch_all();
        cluster.wait_whole();
        cluster
    }

    /// Writes the configurations; starts nothing.
    pub fn prepare(spec: &ClusterSpec) -> Cluster {
        let folder = tempfile::Builder::new().prefix("baton-test-").tempdir().expect("temporary folder");
        let root = folder.path();
        let network = spec.network.as_ref();
        let addresses = |kind: &str, n: usize| {
            let address = |i: usize| format!("{}:{}", spec.host(&format!("{kind}{i}")), free_port());
            (0..n).map(address).collect::<Vec<_>>()
        };
        let controllers = addresses("controller-n", spec.controllers);
        let with_controller = spec.form == ControllerForm::InNameservers;
        let nameservers = addresses(if with_controller { "controller-n" } else { "namesrv-" }, spec.nameservers);
        let peers: Vec<_> = controllers.iter().enumerate().map(|(i, it)| format!("n{i}-{it}")).collect();
        let controller = |(i, address): (usize, &String)| {
            let name = format!("controller-n{i}");
            let mut config = match spec.form {
                ControllerForm::JRaftFiles => jraft_config(root, &name, &controllers, i, &spec.controller_keys),
                _ => controller_config(root, &name, &peers.join(";"), i, &spec.controller_keys),
            };
            if !with_controller {
                return Node::new(root, &name, "mqcontroller", address, &config).on(network, "mqcontroller");
            }
            config += &format!("enableControllerInNamesrv=true\n{}", nameserver_config(&nameservers[i]));
            Node::new(root, &name, "mqnamesrv", address, &config).on(network, "mqnamesrv")
        };
        let nameserver = |(i, address): (usize, &String)| {
            let node = Node::new(root, &format!("namesrv-{i}"), "mqnamesrv", address, &nameserver_config(address));
            node.on(network, "mqnamesrv")
        };
        let broker = |i: usize| {
            let name = format!("broker-n{i}");
            let port = free_broker_port();
            let config = broker_config(root, &name, BROKER_SET, port, &nameservers, &spec.broker_keys);
            let host = spec.host(&name);
            let mut config = config.replace(LOOPBACK, host);
            if !controllers.is_empty() {
                let addresses = controllers.join(";");
                config +=
                    &format!("brokerId=-1\nbrokerRole=SLAVE\nenableControllerMode=true\ncontrollerAddr={addresses}\n");
            }
            Node::new(root, &name, "mqbroker", &format!("{host}:{port}"), &config).on(network, "mqbroker")
        };
        let alone = if with_controller { &[][..] } else { &nameservers[..] };
        Cluster {
            controllers: controllers.iter().enumerate().map(controller).collect(),
            nameservers: alone.iter().enumerate().map(nameserver).collect(),
            brokers: (0..spec.brokers).map(broker).collect(),
            nameserver_addresses: nameservers.clone(),
            folder,
        }
    }

    #[track_caller]
    pub fn launch_all(&mut self) {
        self.nodes_mut().for_each(Node::launch);
        self.nodes_mut().for_each(Node::wait_booted);
    }

    /// Every process, in an order in which they may be started.
    pub fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nameservers.iter_mut().chain(&mut self.controllers).chain(&mut self.brokers)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// That its hosts are on, if they are not all this one.
    pub fn network(&self) -> Option<Arc<Network>> {
        self.nameservers.iter().chain(&self.controllers).find_map(|it| it.network.clone())
    }

    pub fn nameserver(&self) -> &str {
        &self.nameserver_addresses[0]
    }

    /// `host:port;…` of all nameservers, as configuration files and Java clients want it.
    pub fn nameserver_list(&self) -> String {
        self.nameserver_addresses.join(";")
    }

    pub fn controller_list(&self) -> String {
        self.controllers.iter().map(|it| it.address.clone()).collect::<Vec<_>>().join(";")
    }

    /// The leader that at least one running controller names and that runs itself.
    pub fn leader(&self) -> Option<usize> {
        let named =
            self.controllers.iter().filter(|it| it.runs()).find_map(|it| queries::leader_according_to(&it.address))?;
        self.controllers.iter().position(|it| it.runs() && it.address == named)
    }

    #[track_caller]
    pub fn wait_leader(&self) -> usize {
        wait_for("a controller leads", PATIENCE, || self.leader())
    }

    /// What the leader has committed about the broker set.
    pub fn replicas(&self) -> Option<Replicas> {
        queries::replicas(&self.controllers[self.leader()?].address, BROKER_SET)
    }

    /// Index of the broker at `address`.
    pub fn broker_at(&self, address: &str) -> Option<usize> {
        self.brokers.iter().position(|it| it.address == address)
    }

    /// The running broker that the controllers call master.
    pub fn master(&self) -> Option<usize> {
        let master = self.broker_at(&self.replicas()?.master_address)?;
        self.brokers[master].runs().then_some(master)
    }

    #[track_caller]
    pub fn wait_master(&self) -> usize {
        wait_for("the set has a running master", PATIENCE, || self.master())
    }

    /// Waits until all running brokers are in the SyncStateSet and nobody else is, under a running master.
    #[track_caller]
    pub fn wait_whole(&self) -> Replicas {
        self.whole_within(PATIENCE).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same for those who know what to do if it does not happen.
    pub fn whole_within(&self, patience: Duration) -> Result<Replicas, String> {
        let running: Vec<_> = self.brokers.iter().filter(|it| it.runs()).map(|it| it.address.clone()).collect();
        let mut last = None;
        let whole = ask_within(patience, || {
            let found = self.replicas()?;
            let members: Vec<_> = found.in_sync.iter().filter_map(|id| found.addresses.get(id)).collect();
            let all_are_in = members.len() == running.len() && running.iter().all(|it| members.contains(&it));
            let is_whole = all_are_in && running.contains(&found.master_address);
            last = Some(found);
            is_whole.then(|| last.clone())?
        });
        whole.ok_or_else(|| format!("waited {patience:?} in vain for {running:?} in the set; last: {last:?}"))
    }

    /// Waits for a master at a later epoch than `epoch`.
    #[track_caller]
    pub fn wait_master_after(&self, epoch: i32) -> Replicas {
        wait_for("a master at a later epoch", PATIENCE, || {
            self.replicas().filter(|it| it.master_epoch > epoch && self.master().is_some())
        })
    }

    /// Makes `broker`, which is in the set, master by an operator's command, and waits until the whole set follows it.
    #[track_caller]
    pub fn switch_to(&self, broker: usize) -> Replicas {
        let before = self.wait_whole();
        let address = &self.brokers[broker].address;
        let id = *before.addresses.iter().find(|it| it.1 == address).expect("a replica of the set").0;
        wait_until("the leader elects the replica it is told to", PATIENCE, || {
            let leader = &self.controllers[self.wait_leader()].address;
            queries::elect(leader, CLUSTER_NAME, BROKER_SET, id).is_ok_and(|it| it.code == queries::OK)
        });
        let after = self.wait_master_after(before.master_epoch);
        assert_eq!(after.master_id, id);
        self.wait_whole()
    }

    /// Each running broker's epoch history, if it answers.
    pub fn epochs_or_silence(&self) -> Vec<(&str, Option<Epochs>)> {
        let running = self.brokers.iter().filter(|it| it.runs());
        running.map(|it| (&*it.name, queries::epochs(&it.address))).collect()
    }

    /// Epoch histories of all running brokers, once all logs have the same end. Only without load.
    #[track_caller]
    pub fn wait_equal_logs(&self) -> Vec<Epochs> {
        wait_for("all replicas have the same log end", PATIENCE, || {
            let all: Vec<_> = self.epochs_or_silence().into_iter().map(|it| it.1).collect::<Option<_>>()?;
            all.iter().all(|it: &Epochs| it.max_offset == all[0].max_offset).then_some(all)
        })
    }
}

impl Cluster {
    /// With `BATON_KEEP` set everything that the processes have written stays where it is.
    pub fn keep_if_asked(&mut self) {
        if std::env::var_os("BATON_KEEP").is_some() {
            self.folder.disable_cleanup(true);
            eprintln!("---- kept: {}", self.folder.path().display());
        }
    }
}

/// A failed case shows what the processes said last.
impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.keep_if_asked();
        for node in self.controllers.iter().chain(&self.nameservers).chain(&self.brokers) {
            let log = std::fs::read(node.folder.join("output.log")).unwrap_or_default();
            eprintln!(
                "---- {} ({}), its last lines:\n{}",
                node.name,
                node.address,
                tail(&String::from_utf8_lossy(&log), 40)
            );
        }
    }
}
