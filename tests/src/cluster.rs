//! A cluster of real processes in a temporary folder: controllers, nameservers and the replicas of one broker set.

use crate::interposed::Interposed;
use crate::netns::Network;
use crate::process::{Process, binary, tail};
use crate::queries::{self, Epochs, Replicas};
use crate::{PATIENCE, ask_within, wait_for, wait_until};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

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

/// One process of the cluster and what is needed to start it again.
pub struct Node {
    pub name: String,
    /// Where it is talked to.
    pub address: String,
    /// Its working directory: configuration, log and store are in it.
    pub folder: PathBuf,
    /// What is run, without the configuration file.
    program: Box<dyn Fn() -> Command>,
    arguments: Vec<&'static str>,
    boot_line: &'static str,
    process: Option<Process>,
    interposed: Option<Interposed>,
    /// It runs on the host of its own name there.
    network: Option<Arc<Network>>,
}

impl Node {
    /// Writes the configuration; starts nothing.
    pub fn new(root: &Path, name: &str, program: &'static str, address: &str, config: &str) -> Node {
        let folder = root.join(name);
        std::fs::create_dir_all(&folder).expect("node folder");
        std::fs::write(folder.join("node.conf"), config).expect("node configuration");
        let boot_line = match program {
            "mqcontroller" => "The Controller Server boot success.",
            "mqnamesrv" => "The Name Server boot success.",
            _ => "The broker[",
        };
        let program = Box::new(move || Command::new(binary(program)));
        Node {
            name: name.to_owned(),
            address: address.to_owned(),
            folder,
            program,
            arguments: Vec::new(),
            boot_line,
            process: None,
            interposed: None,
            network: None,
        }
    }

    /// Runs on the host of its own name.
    fn on(mut self, network: Option<&Arc<Network>>, program: &'static str) -> Node {
        self.network = network.cloned();
        let on_host = self.on_host();
        self.run_with(move || on_host(&binary(program)));
        self
    }

    /// How a program is run on this node's host.
    pub fn on_host(&self) -> impl Fn(&Path) -> Command + use<> {
        let (network, name) = (self.network.clone(), self.name.clone());
        move |program| network.as_ref().map_or_else(|| Command::new(program), |it| it.command(&name, program))
    }

    /// It runs no more, though nobody has stopped it.
    pub fn has_ended_by_itself(&mut self) -> bool {
        self.process.as_mut().is_some_and(|it| it.has_ended().is_some())
    }

    /// From the next start on another program runs here, with the same configuration, folder and boot line.
    pub fn run_with(&mut self, program: impl Fn() -> Command + 'static) {
        self.program = Box::new(program);
    }

    /// From the next start on the program has one more argument.
    pub fn extend_program(&mut self, argument: &'static str) {
        self.arguments.push(argument);
    }

    pub fn arguments(&self) -> &[&'static str] {
        &self.arguments
    }

    pub fn config(&self) -> PathBuf {
        self.folder.join("node.conf")
    }

    /// Starts the process without waiting for it.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = (self.program)();
        command.args(&self.arguments).arg("-c").arg(self.config()).current_dir(&self.folder);
        // What the machine's user has set must not reach the processes.
        command
            .env_remove("NAMESRV_ADDR")
            .env_remove("ROCKETMQ_HOME")
            .env("HOME", &self.folder)
            .env("RUST_BACKTRACE", "1");
        if let Some(interposed) = &self.interposed {
            interposed.preload_into(&mut command);
        }
        self.process = Some(Process::start(&self.name, command, &self.log()));
    }

    /// From the next start on the process's clock and disk can be bent.
    pub fn interpose(&mut self) {
        self.interposed = Some(Interposed::new(&self.folder, &self.store()));
    }

    #[track_caller]
    pub fn interposed(&self) -> &Interposed {
        self.interposed.as_ref().unwrap_or_else(|| panic!("{} was started as it is", self.name))
    }

    /// What all its runs have written.
    pub fn log(&self) -> PathBuf {
        self.folder.join("output.log")
    }

    pub fn log_length(&self) -> u64 {
        std::fs::metadata(self.log()).map_or(0, |it| it.len())
    }

    #[track_caller]
    pub fn wait_booted(&mut self) {
        let boot_line = self.boot_line;
        self.process().wait_for_output(boot_line, PATIENCE);
    }

    /// It has said that it serves.
    pub fn has_booted(&self) -> bool {
        self.output().contains(self.boot_line)
    }

    #[track_caller]
    pub fn start(&mut self) {
        self.launch();
        self.wait_booted();
    }

    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        let name = &self.name;
        self.process.as_mut().unwrap_or_else(|| panic!("{name} does not run"))
    }

    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    #[track_caller]
    pub fn pause(&mut self) {
        self.process().pause();
    }

    #[track_caller]
    pub fn resume(&mut self) {
        self.process().resume();
    }

    /// SIGTERM, and its exit status.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        let status = self.process().terminate(PATIENCE);
        self.process = None;
        status
    }

    /// What the last run has written.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    pub fn commit_log(&self) -> PathBuf {
        self.store().join("commitlog")
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

    /// Creates a topic on the master and waits until the nameservers know it.
    #[track_caller]
    pub fn create_topic(&self, topic: &str, queues: i32) {
        let master = self.wait_master();
        let answer = wait_for("the master answers a topic's creation", PATIENCE, || {
            queries::create_topic(&self.brokers[master].address, topic, queues).ok().filter(|it| it.code == queries::OK)
        });
        assert_eq!(answer.code, queries::OK);
        for nameserver in &self.nameserver_addresses {
            wait_for("a nameserver routes the topic", PATIENCE, || {
                queries::master_address(nameserver, topic, BROKER_SET).filter(|it| *it == self.brokers[master].address)
            });
        }
    }

    /// Epoch histories of all running brokers, once all logs have the same end. Only without load.
    #[track_caller]
    pub fn wait_equal_logs(&self) -> Vec<Epochs> {
        wait_for("all replicas have the same log end", PATIENCE, || {
            let running = self.brokers.iter().filter(|it| it.runs());
            let all: Vec<_> = running.map(|it| queries::epochs(&it.address)).collect::<Option<_>>()?;
            all.iter().all(|it| it.max_offset == all[0].max_offset).then_some(all)
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

pub fn controller_config(root: &Path, name: &str, peers: &str, id: usize, keys: &[String]) -> String {
    let store = root.join(name).join("store");
    format!(
        "controllerDLegerGroup=test-group\ncontrollerDLegerPeers={peers}\ncontrollerDLegerSelfId=n{id}\n\
         controllerStorePath={}\nmaxAutomaticMasterChanges=0\n{}\n",
        store.display(),
        keys.join("\n")
    )
}

fn nameserver_config(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').expect("host:port");
    format!("listenPort={port}\nbindAddress={host}\n")
}

/// What Java's JRaft controller would be given. Nobody listens on the addresses of its own protocol.
fn jraft_config(root: &Path, name: &str, controllers: &[String], id: usize, keys: &[String]) -> String {
    let raft = |i: usize| format!("127.0.0.1:{}", 9880 + i);
    let all = (0..controllers.len()).map(raft).collect::<Vec<_>>().join(",");
    format!(
        "controllerType=jRaft\njRaftGroupId=test-group\njRaftServerId={}\njRaftInitConf={all}\n\
         jRaftControllerRPCAddr={}\njRaftElectionTimeoutMs=1000\ncontrollerStorePath={}\n{}\n",
        raft(id),
        controllers.join(","),
        root.join(name).join("store").display(),
        keys.join("\n")
    )
}

/// A broker on loopback with small files; which mode it runs in is up to the caller.
pub fn broker_config(root: &Path, name: &str, set: &str, port: u16, nameservers: &[String], keys: &[String]) -> String {
    let store = root.join(name).join("store");
    let store = store.display();
    let haport = free_port();
    let lines = [
        format!(
            "brokerClusterName={CLUSTER_NAME}\nbrokerName={set}\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\n\
             bindAddress=127.0.0.1"
        ),
        format!("listenPort={port}\nhaListenPort={haport}\nnamesrvAddr={}", nameservers.join(";")),
        format!(
            "storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\n\
             storePathEpochFile={store}/epochFileCheckpoint"
        ),
        format!(
            "storePathBrokerIdentity={store}/brokerIdentity\nmappedFileSizeCommitLog=16777216\n\
             autoCreateTopicEnable=false"
        ),
        keys.join("\n"),
    ];
    lines.join("\n") + "\n"
}

/// A port that is free now. Below the kernel's range for outgoing connections: a killed process's port must still be
/// free when it comes back, and must refuse connections meanwhile.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        if reserve(&[port]) {
            return port;
        }
    }
}

/// A port for a broker, which also serves on the second one below it.
fn free_broker_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        if reserve(&[port, port - 2]) {
            return port;
        }
    }
}

/// Takes all of these for this test process, or none: a port that is given to nobody yet may be somebody's second one.
fn reserve(ports: &[u16]) -> bool {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let free = ports.iter().all(|it| !taken.contains(it) && is_free(*it));
    if free {
        taken.extend(ports);
    }
    free
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
