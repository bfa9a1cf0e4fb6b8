//! Where the Java peer comes from, and how its programs are run.

use crate::cluster::{Cluster, Node};
use crate::process::Process;
use crate::{loudly, wait_for};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

const VERSION: &str = "5.5.0";

/// What RocketMQ's servers need of a JDK 17, in little memory. A broker maps its log's files: nothing is fetched ahead
/// of use.
const SERVER_OPTIONS: [&str; 9] = [
    "-Xms256m",
    "-Xmx1g",
    "-XX:MaxDirectMemorySize=1g",
    "-XX:TieredStopAtLevel=1",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
];

/// A JVM takes seconds where our processes take milliseconds, and several do on this many cores.
pub const JAVA_PATIENCE: Duration = Duration::from_secs(90);

/// What makes RocketMQ's broker wait for its whole set before it acknowledges, and run beside others on a small and
/// full machine.
pub const JAVA_KEYS: [&str; 4] = [
    "allAckInSyncStateSet=true",
    "diskMaxUsedSpaceRatio=98",
    "registerNameServerPeriod=10000",
    "waitTimeMillsInSendQueue=3000",
];

/// The shaded logging framework says a hundred lines about itself when a program starts, which hide the program's own.
const QUIET_LOGGING: &str =
    "-Dlogback.statusListenerClass=org.apache.rocketmq.logging.ch.qos.logback.core.status.NopStatusListener";

/// RocketMQ's client, tools and servers, ready to run.
pub struct Java {
    libraries: PathBuf,
    /// Scratch folder: RocketMQ writes logs and offsets to the user's home otherwise.
    home: tempfile::TempDir,
    /// `-Dkey=value` of the programs.
    properties: Vec<String>,
}

impl Java {
    /// `None`, said loudly, where there is no JDK, or neither a cached peer nor a way to fetch one.
    pub fn find() -> Option<Java> {
        static LIBRARIES: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        match LIBRARIES.get_or_init(libraries) {
            Ok(libraries) => {
                let home = tempfile::Builder::new().prefix("baton-java-").tempdir().expect("temporary folder");
                scratch(home.path());
                Some(Java { libraries: libraries.clone(), home, properties: Vec::new() })
            }
            Err(why) => {
                loudly(&format!("SKIPPED: no Java peer here, so what needs one did not run: {why}"));
                None
            }
        }
    }

    /// From now on the admin tool signs what it sends.
    pub fn sign(&self, access_key: &str, secret: &str) {
        let text = format!("accessKey: {access_key}\nsecretKey: \"{secret}\"\n");
        std::fs::write(self.home.path().join("conf/tools.yml"), text).expect("tools.yml");
    }

    /// With this system property, `key=value`, from now on.
    pub fn set(&mut self, property: &str) {
        self.properties.push(format!("-D{property}"));
    }

    /// Starts one of `java/*.java` from its source.
    pub fn start(&self, program: &str, arguments: &[&str]) -> Process {
        Process::start(program, self.program(program, arguments), &self.log(program))
    }

    /// The same for one that takes commands on its standard input.
    pub fn start_told(&self, program: &str, arguments: &[&str]) -> Process {
        Process::start_told(program, self.program(program, arguments), &self.log(program))
    }

    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/java").join(program);
        let mut command = self.command();
        command.arg(source).args(arguments);
        command
    }

    fn log(&self, program: &str) -> PathBuf {
        self.home.path().join(format!("{program}.log"))
    }

    /// Runs Java's mqadmin and returns what it printed, without its logging framework's own lines.
    #[track_caller]
    pub fn mqadmin(&self, nameservers: &str, arguments: &[&str]) -> String {
        let run = self.run_mqadmin(nameservers, arguments);
        let printed = text(&run);
        assert!(run.status.success() && run.stderr.is_empty(), "mqadmin {arguments:?}: {}\n{printed}", run.status);
        printed
    }

    /// What it prints when it may fail. Its exit status says nothing.
    pub fn mqadmin_says(&self, nameservers: &str, arguments: &[&str]) -> String {
        text(&self.run_mqadmin(nameservers, arguments))
    }

    fn run_mqadmin(&self, nameservers: &str, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.arg("org.apache.rocketmq.tools.command.MQAdminStartup").args(arguments).args(["-n", nameservers]);
        command.output().expect("java runs")
    }

    /// From now on `broker` runs RocketMQ's own broker, with the configuration and the store that it has.
    pub fn takes_over(&self, broker: &mut Node) {
        self.runs(broker, "org.apache.rocketmq.broker.BrokerStartup");
    }

    /// From now on `node` is a JVM with the main class `main`.
    pub fn runs(&self, node: &mut Node, main: &str) {
        let home = node.folder.join("java");
        scratch(&home);
        let mut arguments: Vec<_> = SERVER_OPTIONS.iter().map(|it| it.to_string()).collect();
        arguments.push(QUIET_LOGGING.to_owned());
        arguments.push(format!("-Duser.home={}", home.display()));
        arguments.push(format!("-Djava.io.tmpdir={}/tmp", home.display()));
        arguments.push(format!("-Drocketmq.home.dir={}", home.display()));
        arguments.extend(["-cp".to_owned(), format!("{}/*", self.libraries.display()), main.to_owned()]);
        let on_host = node.on_host();
        node.run_with(move || {
            let mut command = on_host(Path::new("java"));
            command.args(&arguments);
            command
        });
    }

    /// From now on every process of the cluster is RocketMQ's own.
    pub fn takes_over_all(&self, cluster: &mut Cluster) {
        cluster.controllers.iter_mut().for_each(|it| self.runs(it, "org.apache.rocketmq.controller.ControllerStartup"));
        cluster.nameservers.iter_mut().for_each(|it| self.runs(it, "org.apache.rocketmq.namesrv.NamesrvStartup"));
        cluster.brokers.iter_mut().for_each(|it| self.takes_over(it));
    }

    fn command(&self) -> Command {
        let mut command = Command::new("java");
        let home = self.home.path();
        // One compiler tier and a small heap: these programs live for seconds.
        command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", QUIET_LOGGING]);
        command.arg(format!("-Duser.home={}", home.display()));
        command.arg(format!("-Djava.io.tmpdir={}/tmp", home.display()));
        command.args(&self.properties);
        command.arg("-cp").arg(format!("{}/*", self.libraries.display()));
        command.current_dir(home).env("ROCKETMQ_HOME", home).env_remove("NAMESRV_ADDR");
        command
    }
}

/// What RocketMQ reads, and what JVMs unpack and leave behind.
fn scratch(home: &Path) {
    for folder in ["conf", "tmp"] {
        std::fs::create_dir_all(home.join(folder)).expect("scratch folder");
    }
}

/// Starts a cluster of RocketMQ's own processes in the order that they need, and waits until its set is whole.
#[track_caller]
pub fn start_all(cluster: &mut Cluster) {
    cluster.nameservers.iter_mut().for_each(|it| it.start());
    cluster.controllers.iter_mut().for_each(|it| it.launch());
    cluster.controllers.iter_mut().for_each(|it| it.wait_booted());
    wait_for("Java's controllers have a leader", JAVA_PATIENCE, || cluster.leader());
    cluster.brokers.iter_mut().for_each(|it| it.launch());
    cluster.brokers.iter_mut().for_each(|it| it.wait_booted());
    cluster.wait_whole();
}

/// Output of a command: stdout, then stderr, without what the logging framework says about itself first, and its empty
/// line.
pub fn text(run: &Output) -> String {
    let all = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let about_logging = |it: &&str| it.contains("|-INFO in") || it.contains("|-WARN in");
    let skipped = all.lines().take_while(about_logging).count();
    let lines = all.lines().skip(if skipped == 0 { 0 } else { skipped + 1 });
    lines.map(|it| format!("{it}\n")).collect()
}

/// The cached libraries, fetched first if need be.
fn libraries() -> Result<PathBuf, String> {
    succeeds(Command::new("java").arg("-version"))?;
    let home = std::env::var("HOME").map_err(|_| "HOME is not set".to_owned())?;
    let cache = Path::new(&home).join(".cache/baton");
    // Another list of what is needed is another folder.
    let list = crc32fast::hash(include_bytes!("../interop/java/pom.xml"));
    let libraries = cache.join(format!("java-peer-{VERSION}-{list:08x}"));
    if libraries.exists() {
        return Ok(libraries);
    }
    std::fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    // Fetched aside and renamed: an interrupted download is not taken for a whole one.
    let aside = tempfile::tempdir_in(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/java/pom.xml");
    let fetched = aside.path().join("libraries");
    loudly(&format!("fetching RocketMQ {VERSION} for Java from Maven Central into {}", libraries.display()));
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(pom).arg("dependency:copy-dependencies");
    maven.arg(format!("-DoutputDirectory={}", fetched.display()));
    succeeds(&mut maven)?;
    match std::fs::rename(&fetched, &libraries) {
        Ok(()) => Ok(libraries),
        // Somebody else was quicker.
        Err(_) if libraries.exists() => Ok(libraries),
        Err(error) => Err(format!("{}: {error}", libraries.display())),
    }
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let run = command.output().map_err(|error| format!("`{program}` does not run: {error}"))?;
    if run.status.success() { Ok(()) } else { Err(format!("`{program}` failed ({}):\n{}", run.status, text(&run))) }
}
