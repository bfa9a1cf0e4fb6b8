//! The quick-start cluster of `conf/controller/quick-start` as processes: laid out in a folder, started, killed,
//! stopped.
//!
//! The configuration files of the repository are used as they are, with ports and folders replaced, so that what the
//! demonstration shows is what a user gets by hand.

mod process;

pub use process::{Process, serving_below, signal};

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, set_parent_process_death_signal, test_kill_process};
use serde::{Deserialize, Serialize};

/// Replicas of each kind.
pub const REPLICAS: usize = 3;
/// A process that has not ended this long after SIGTERM is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

const CONTROLLER_CONF: [&str; REPLICAS] = [
    include_str!("../../../conf/controller/quick-start/controller-n0.conf"),
    include_str!("../../../conf/controller/quick-start/controller-n1.conf"),
    include_str!("../../../conf/controller/quick-start/controller-n2.conf"),
];
const BROKER_CONF: [&str; REPLICAS] = [
    include_str!("../../../conf/controller/quick-start/broker-n0.conf"),
    include_str!("../../../conf/controller/quick-start/broker-n1.conf"),
    include_str!("../../../conf/controller/quick-start/broker-n2.conf"),
];
const NAMESRV_CONF: &str = include_str!("../../../conf/controller/quick-start/namesrv.conf");

/// One process of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Namesrv,
    Controller(usize),
    Broker(usize),
}

impl Node {
    /// In the order in which they are started.
    pub fn all() -> Vec<Node> {
        let controllers = (0..REPLICAS).map(Node::Controller);
        controllers.chain([Node::Namesrv]).chain((0..REPLICAS).map(Node::Broker)).collect()
    }

    pub fn name(self) -> String {
        match self {
            Node::Namesrv => "namesrv".to_owned(),
            Node::Controller(index) => format!("controller-n{index}"),
            Node::Broker(index) => format!("broker-n{index}"),
        }
    }

    pub fn program(self) -> &'static str {
        match self {
            Node::Namesrv => "mqnamesrv",
            Node::Controller(_) => "mqcontroller",
            Node::Broker(_) => "mqbroker",
        }
    }
}

/// Where everything listens, all on 127.0.0.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    pub controllers: [u16; REPLICAS],
    pub namesrv: u16,
    pub brokers: [u16; REPLICAS],
    pub ha: [u16; REPLICAS],
}

impl Ports {
    /// What the files in `conf/` say.
    pub const DEFAULT: Ports = Ports {
        controllers: [9878, 9868, 9858],
        namesrv: 9876,
        brokers: [10911, 10921, 10931],
        ha: [10912, 10922, 10932],
    };

    /// Ports that nobody uses at this moment.
    pub fn free() -> std::io::Result<Ports> {
        // All are held until the last is known, so that none is handed out twice.
        let (mut held, mut ports) = (Vec::new(), Vec::<u16>::new());
        while ports.len() < 1 + 3 * REPLICAS {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            // A broker serves on the second port below its own, too.
            if ports.iter().all(|it| it.abs_diff(port) != 2) {
                ports.push(port);
            }
            held.push(listener);
        }
        let three = |from: usize| std::array::from_fn(|index| ports[from + index]);
        Ok(Ports { namesrv: ports[0], controllers: three(1), brokers: three(4), ha: three(7) })
    }

    /// The ports a folder's cluster had before, which its data name; for a new one the default ports, or others if
    /// those are taken.
    pub fn of_folder(folder: &Path) -> anyhow::Result<Ports> {
        let path = folder.join("ports.json");
        match fs::read(&path) {
            Ok(text) => {
                let ports: Ports = serde_json::from_slice(&text)
                    .with_context(|| format!("{} is damaged; remove the folder", path.display()))?;
                if !ports.all_free() {
                    bail!("a port of {} is taken by another process; stop that, or use another folder", path.display());
                }
                Ok(ports)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let ports = if Ports::DEFAULT.all_free() { Ports::DEFAULT } else { Ports::free()? };
                fs::write(&path, serde_json::to_vec(&ports)?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                Ok(ports)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub fn all_free(&self) -> bool {
        let all = self.controllers.iter().chain(&self.brokers).chain(&self.ha).chain([&self.namesrv]);
        all.into_iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
    }

    pub fn namesrv_address(&self) -> String {
        address(self.namesrv)
    }

    pub fn controller_addresses(&self) -> Vec<String> {
        self.controllers.iter().copied().map(address).collect()
    }

    pub fn broker_addresses(&self) -> Vec<String> {
        self.brokers.iter().copied().map(address).collect()
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Whether a process goes down with the one that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    WithUs,
    OnItsOwn,
}

/// Who starts a broker again that dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Care {
    #[default]
    Nobody,
    /// `mqbroker --supervised`
    Supervisor,
}

impl Care {
    pub fn supervised(yes: bool) -> Care {
        if yes { Care::Supervisor } else { Care::Nobody }
    }
}

/// mqbroker's option.
const SUPERVISED: &str = "--supervised";

/// A folder with the cluster's configuration, data and logs.
#[derive(Clone, Debug)]
pub struct QuickStart {
    pub folder: PathBuf,
    pub programs: PathBuf,
    pub ports: Ports,
    pub care: Care,
}

impl QuickStart {
    /// Writes the configuration into `folder`, whose `data` may be there from before.
    pub fn lay_out(folder: &Path, programs: &Path, ports: Ports) -> anyhow::Result<QuickStart> {
        for node in Node::all() {
            let program = programs.join(node.program());
            if !program.is_file() {
                bail!(
                    "{}: not there. Build it with `make build`, or say where it is with --bin-dir",
                    program.display()
                );
            }
        }
        for name in ["conf", "data", "logs", "pids"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let (folder, programs, care) = (folder.to_owned(), programs.to_owned(), Care::Nobody);
        let cluster = QuickStart { folder, programs, ports, care };
        for node in Node::all() {
            let path = cluster.conf_file(node);
            fs::write(&path, cluster.conf(node)).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(cluster)
    }

    pub fn conf_file(&self, node: Node) -> PathBuf {
        self.folder.join("conf").join(format!("{}.conf", node.name()))
    }

    pub fn log_file(&self, node: Node) -> PathBuf {
        self.folder.join("logs").join(format!("{}.log", node.name()))
    }

    fn conf(&self, node: Node) -> String {
        let ports = &self.ports;
        let data = self.folder.join("data").join(node.name()).display().to_string();
        let peers: Vec<String> =
            ports.controllers.iter().enumerate().map(|(n, port)| format!("n{n}-{}", address(*port))).collect();
        match node {
            Node::Namesrv => with_values(NAMESRV_CONF, &[("listenPort", ports.namesrv.to_string())]),
            Node::Controller(index) => with_values(
                CONTROLLER_CONF[index],
                &[("controllerDLegerPeers", peers.join(";")), ("controllerStorePath", data)],
            ),
            Node::Broker(index) => with_values(
                BROKER_CONF[index],
                &[
                    ("listenPort", ports.brokers[index].to_string()),
                    ("haListenPort", ports.ha[index].to_string()),
                    ("namesrvAddr", ports.namesrv_address()),
                    ("controllerAddr", ports.controller_addresses().join(";")),
                    ("storePathRootDir", data),
                ],
            ),
        }
    }

    /// Starts one process; its output goes to the end of its log file.
    pub fn start(&self, node: Node, life: Life) -> anyhow::Result<Process> {
        let program = self.programs.join(node.program());
        let log_path = self.log_file(node);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .with_context(|| format!("cannot open {}", log_path.display()))?;
        let mut command = Command::new(&program);
        let care = if matches!(node, Node::Broker(_)) { self.care } else { Care::Nobody };
        command.args((care == Care::Supervisor).then_some(SUPERVISED));
        command.arg("-c").arg(self.conf_file(node)).current_dir(&self.folder).env_remove("NAMESRV_ADDR");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A group of its own: Ctrl-C at the terminal reaches us, and we end the cluster in order.
        command.process_group(0);
        if life == Life::WithUs {
            die_with_parent(&mut command);
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        if life == Life::OnItsOwn {
            fs::write(self.folder.join("pids").join(node.name()), child.id().to_string())?;
        }
        Ok(Process { node, life, care, child, log_path })
    }
}

/// The kernel ends the child when our thread ends, however that comes about, so that a demonstration never leaves
/// brokers behind.
fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only one async-signal-safe system call is made, and nothing is allocated.
    unsafe {
        command.pre_exec(|| set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from));
    }
}

/// `text` with the values of some keys replaced; comments stay.
fn with_values(text: &str, values: &[(&str, String)]) -> String {
    let replaced = |line: &str| {
        let key = line.split_once('=').map(|(key, _)| key.trim());
        match values.iter().find(|(name, _)| Some(*name) == key) {
            Some((name, value)) => format!("{name}={value}\n"),
            None => format!("{line}\n"),
        }
    };
    text.lines().map(replaced).collect()
}

/// What `make down` ends: `(name, pid)` of each process a detached cluster in `folder` still has.
pub fn detached(folder: &Path) -> Vec<(String, u32)> {
    let alive = |node: Node| {
        let pid: u32 = fs::read_to_string(folder.join("pids").join(node.name())).ok()?.trim().parse().ok()?;
        is_ours(pid, node).then(|| (node.name(), pid))
    };
    // Brokers first: they say goodbye to nameserver and controllers.
    Node::all().into_iter().rev().filter_map(alive).collect()
}

/// A process number may have gone to somebody else since it was written down.
fn is_ours(pid: u32, node: Node) -> bool {
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = command_line.split(|it| *it == 0).map(String::from_utf8_lossy);
    let program = words.next().unwrap_or_default();
    program.ends_with(node.program()) && words.any(|it| it.ends_with(&format!("{}.conf", node.name())))
}

/// Ends a process that is not our child: SIGTERM, SIGKILL after [`STOP_TIMEOUT`].
pub fn end(pid: u32) -> anyhow::Result<()> {
    signal(pid, Signal::TERM)?;
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let deadline = Instant::now() + STOP_TIMEOUT;
    while test_kill_process(raw).is_ok() {
        if Instant::now() > deadline {
            return signal(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(folder: &Path, ports: Ports) -> QuickStart {
        QuickStart { folder: folder.to_owned(), programs: PathBuf::from("/nowhere"), ports, care: Care::Nobody }
    }

    #[test]
    fn the_files_say_the_default_ports() {
        let text = |node| match node {
            Node::Namesrv => NAMESRV_CONF,
            Node::Controller(index) => CONTROLLER_CONF[index],
            Node::Broker(index) => BROKER_CONF[index],
        };
        let cluster = cluster(Path::new("/x"), Ports::DEFAULT);
        for node in Node::all() {
            let without_paths =
                |text: &str| text.lines().filter(|it| !it.contains("Path")).map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(without_paths(&cluster.conf(node)), without_paths(text(node)), "{}", node.name());
        }
    }

    #[test]
    fn ports_and_folders_are_replaced() {
        let ports = Ports { controllers: [1, 2, 3], namesrv: 4, brokers: [5, 6, 7], ha: [8, 9, 10] };
        let cluster = cluster(Path::new("/x"), ports);
        let lines =
            |node| cluster.conf(node).lines().filter(|it| !it.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        let controller = lines(Node::Controller(1));
        for line in [
            "controllerDLegerPeers=n0-127.0.0.1:1;n1-127.0.0.1:2;n2-127.0.0.1:3",
            "controllerStorePath=/x/data/controller-n1",
        ] {
            assert!(controller.iter().any(|it| it == line), "{line} in {controller:?}");
        }
        let broker = lines(Node::Broker(2));
        for line in ["listenPort=7", "haListenPort=10", "namesrvAddr=127.0.0.1:4", "storePathRootDir=/x/data/broker-n2"]
        {
            assert!(broker.iter().any(|it| it == line), "{line} in {broker:?}");
        }
    }

    #[test]
    fn free_ports_differ() {
        let ports = Ports::free().unwrap();
        let mut all: Vec<u16> = [&ports.controllers[..], &ports.brokers, &ports.ha, &[ports.namesrv]].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn a_folder_insists_on_its_ports() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ports = Ports { namesrv: taken.local_addr().unwrap().port(), ..Ports::DEFAULT };
        let path = folder.path().join("ports.json");
        fs::write(&path, serde_json::to_vec(&ports).unwrap()).unwrap();
        let error = Ports::of_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is taken by another process"), "{error}");
        fs::write(&path, "{").unwrap();
        let error = Ports::of_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = QuickStart::lay_out(folder.path(), Path::new("/nowhere"), Ports::DEFAULT).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/mqcontroller: not there."), "{error}");
    }

    #[test]
    fn a_stranger_with_an_old_number_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pids")).unwrap();
        fs::write(folder.path().join("pids/namesrv"), std::process::id().to_string()).unwrap();
        assert_eq!(detached(folder.path()), vec![]);
    }
}
