//! `mqbench demo`, `up` and `down`: the quick-start cluster on this machine.

use super::args::{DemoArgs, DownArgs, Programs, UpArgs};
use super::failover::{Fault, Setup, Trial};
use super::quick_start::{self, Care, Life, Node, Ports, Process, QuickStart, REPLICAS};
use super::timeline::Phase;
use super::{print_result, topic};
use anyhow::{Context, bail};
use client::{Admin, AdminOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

pub(super) const BROKER_SET: &str = "broker-a";
const TOPIC: &str = "demo";
/// From the first process to three replicas in sync; minutes of patience cost nothing where it takes a second.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// From the old master's restart until it is in the set again.
const REJOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// The killed master stays away this long, so that the view shows the set without it.
const AWAY: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);

/// Starts the cluster, kills its master under load, lets it return, accounts for every message. Everything it started
/// ends with it.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let folder = std::env::temp_dir().join(format!("baton-demo-{}", std::process::id()));
    let cleaner = Cleaner { folder: (!args.keep).then(|| folder.clone()) };
    let interrupt = node::shutdown::on_signals();
    let outcome = tokio::select! {
        outcome = show(&args, &folder, &interrupt) => outcome,
        () = interrupt.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    if args.keep {
        eprintln!("configuration, data and logs are in {}", folder.display());
    }
    drop(cleaner);
    outcome
}

/// Removes the demonstration's folder however it ends.
struct Cleaner {
    folder: Option<PathBuf>,
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder); // it may not exist yet
        }
    }
}

async fn show(args: &DemoArgs, folder: &Path, interrupt: &CancellationToken) -> anyhow::Result<ExitCode> {
    let cluster = QuickStart::lay_out(folder, &programs(&args.programs)?, Ports::free()?)?;
    let since = Instant::now();
    eprintln!("starting {REPLICAS} controllers, a nameserver and {REPLICAS} brokers in {}", folder.display());
    let mut processes = start(&cluster, Life::WithUs).await?;
    eprintln!("all {REPLICAS} replicas of {BROKER_SET} are in sync after {:.1} s", since.elapsed().as_secs_f64());

    let setup = Setup {
        namesrv: vec![cluster.ports.namesrv_address()],
        controllers: cluster.ports.controller_addresses().join(";"),
        topic: TOPIC.to_owned(),
        broker_set: Some(BROKER_SET.to_owned()),
        size: args.size,
        producers: args.producers,
        inflight: 1,
        rate: None,
        send_timeout: Duration::from_secs(10),
    };
    let trial = Trial::start(setup).await?;
    trial.live_until(Instant::now() + args.before, interrupt).await?;

    let old_master = trial.observer.view().route.unwrap_or_else(|| trial.old_master.clone());
    let index = cluster.ports.broker_addresses().iter().position(|it| *it == old_master);
    let index = index.with_context(|| format!("the master, {old_master}, is none of ours"))?;
    let node = Node::Broker(index);
    let process = processes.iter_mut().find(|it| it.node == node).context("the master is not running")?;
    eprintln!("        SIGKILL to {}, the master (process {})", node.name(), process.pid());
    let fault = Fault::now(old_master.clone(), format!("SIGKILL to {}, master at {old_master}", node.name()));
    process.kill()?;
    trial.live_until(fault.at + AWAY, interrupt).await?;

    eprintln!("        starting {} again", node.name());
    let restarted = Instant::now();
    *process = cluster.start(node, Life::WithUs)?;
    let rejoined = live_until_back(&trial, &old_master, interrupt).await?;
    trial.live_until(Instant::now() + args.after, interrupt).await?;
    for process in &mut processes {
        process.check_running()?;
    }
    let report = trial.finish(Some(fault), &[(Phase::Restarted, restarted), (Phase::Rejoined, rejoined)]).await?;
    eprintln!("stopping");
    for process in processes.iter_mut().rev() {
        process.stop()?;
    }
    print_result(args.json, &report, &format!("\n{}", report.text()))?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows the live view until the old master is a member again and says when that was seen.
async fn live_until_back(trial: &Trial, address: &str, interrupt: &CancellationToken) -> anyhow::Result<Instant> {
    let deadline = Instant::now() + REJOIN_TIMEOUT;
    let back = async {
        let is_back =
            |it: &super::observer::View| it.members().iter().any(|it| it == address) && it.members().len() == REPLICAS;
        trial.observer.wait(REJOIN_TIMEOUT, is_back).await.then(Instant::now)
    };
    tokio::select! {
        back = back => back.with_context(|| format!("{address} was not back in the SyncStateSet after {} \
            s", REJOIN_TIMEOUT.as_secs())),
        shown = trial.live_until(deadline + REJOIN_TIMEOUT, interrupt) => { shown?; bail!("{address} did not come \
            back") }
    }
}

/// Starts every process and waits until all replicas are in sync. Call it from the main task: the kernel ends the
/// children with the
/// *thread* that started them.
pub(super) async fn start(cluster: &QuickStart, life: Life) -> anyhow::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for node in Node::all() {
        processes.push(cluster.start(node, life)?);
    }
    if let Err(error) = whole(cluster, &mut processes).await {
        for process in processes.iter_mut().rev() {
            let _ = process.stop(); // the error above is what matters
        }
        return Err(error);
    }
    Ok(processes)
}

/// Waits for three members of the set and a route to their master.
pub(super) async fn whole(cluster: &QuickStart, processes: &mut [Process]) -> anyhow::Result<()> {
    let namesrv = vec![cluster.ports.namesrv_address()];
    let admin = Admin::new(AdminOptions { namesrv, timeout: Duration::from_secs(1), ..AdminOptions::default() });
    let controllers = cluster.ports.controller_addresses().join(";");
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        for process in processes.iter_mut() {
            process.check_running()?;
        }
        let in_sync = in_sync(&admin, &controllers).await;
        let routed = in_sync == Some(REPLICAS) && admin.master_address(BROKER_SET).await.ok().flatten().is_some();
        if routed {
            return Ok(());
        }
        if Instant::now() > deadline {
            let seen = in_sync
                .map_or_else(|| "no controller leader answers".to_owned(), |it| format!("{it} replicas are in sync"));
            bail!(
                "the cluster is not whole after {} s: {seen}; logs are in {}",
                START_TIMEOUT.as_secs(),
                cluster.folder.join("logs").display()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn in_sync(admin: &Admin, controllers: &str) -> Option<usize> {
    let leader = admin.controller_leader(controllers).await.ok()?;
    let answer = admin.sync_state_data(&leader, &[BROKER_SET.to_owned()]).await.ok()?;
    answer.replicas_info_table.get(BROKER_SET).map(|it| it.in_sync_replicas.len())
}

/// Starts the cluster and leaves it.
pub async fn up(args: UpArgs) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot create {}", args.dir.display()))?;
    let folder = args.dir.canonicalize()?;
    let running = quick_start::detached(&folder);
    if !running.is_empty() {
        let names: Vec<String> = running.into_iter().map(|(name, _)| name).collect();
        bail!(
            "{} already run in {}; stop them with `mqbench down --dir {}` (make down)",
            names.join(", "),
            folder.display(),
            args.dir.display()
        );
    }
    let ports = Ports::of_folder(&folder)?;
    let care = Care::supervised(args.supervised);
    let cluster = QuickStart { care, ..QuickStart::lay_out(&folder, &programs(&args.programs)?, ports)? };
    start(&cluster, Life::OnItsOwn).await?;
    let admin = Admin::new(AdminOptions { namesrv: vec![cluster.ports.namesrv_address()], ..AdminOptions::default() });
    topic::ensure(&admin, TOPIC, 1).await?;
    crate::mqadmin::print(&how_to_talk(&cluster, &args.dir))?;
    Ok(ExitCode::SUCCESS)
}

fn how_to_talk(cluster: &QuickStart, dir: &Path) -> String {
    let namesrv = cluster.ports.namesrv_address();
    let controllers = cluster.ports.controller_addresses().join(";");
    let programs = cluster.programs.display();
    format!(
        "The cluster runs. Nameserver: {namesrv}   controllers: {controllers}   brokers: {}

  export NAMESRV_ADDR={namesrv}
  {programs}/mqadmin clusterList
  {programs}/mqadmin getSyncStateSet -a '{controllers}' -b {BROKER_SET}
  {programs}/mqadmin sendMessage -t {TOPIC} -p hello
  {programs}/mqadmin consumeMessage -t {TOPIC}
  {programs}/mqbench send --topic {TOPIC}

Logs: {}   data: {}
Stop it: mqbench down --dir {} (make down)
",
        cluster.ports.broker_addresses().join(";"),
        cluster.folder.join("logs").display(),
        cluster.folder.join("data").display(),
        dir.display(),
    )
}

/// Stops what `up` started; its data stay.
pub fn down(args: &DownArgs) -> anyhow::Result<ExitCode> {
    let folder =
        args.dir.canonicalize().with_context(|| format!("{}: nothing was started there", args.dir.display()))?;
    let running = quick_start::detached(&folder);
    for (name, pid) in &running {
        quick_start::end(*pid).with_context(|| format!("cannot stop {name}"))?;
    }
    crate::mqadmin::print(&match running.len() {
        0 => format!("nothing runs in {}\n", folder.display()),
        count => format!("{count} processes stopped; data and logs stay in {}\n", folder.display()),
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn programs(args: &Programs) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &args.bin_dir {
        return folder.canonicalize().with_context(|| format!("--bin-dir {}: no such folder", folder.display()));
    }
    let own = std::env::current_exe().context("cannot tell where mqbench is; give --bin-dir")?;
    Ok(own.parent().map(Path::to_path_buf).unwrap_or_default())
}
