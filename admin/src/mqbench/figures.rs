//! `mqbench figures`: the figures of docs/BENCHMARKS.md, measured on the quick-start cluster, every fault several
//! times.

mod detour;
mod visitor;

use super::args::FiguresArgs;
use super::demo::{self, BROKER_SET};
use super::failover::{Fault, Report, Setup, Trial};
use super::print_result;
use super::quick_start::{Care, Life, Node, Ports, Process, QuickStart, REPLICAS, signal};
use super::report::millis;
use super::table::Figures;
use anyhow::{Context, bail};
use client::{Admin, AdminOptions, Message, Producer, ProducerOptions};
use detour::Detour;
use proto::code::request;
use proto::header::ApplyBrokerIdRequest;
use proto::{Command, code::response};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use visitor::Visitor;

/// Load before the blow, and after whatever it broke works again.
const BEFORE: Duration = Duration::from_millis(1500);
const AFTER: Duration = Duration::from_millis(500);
/// Nothing we measure takes longer; whoever does is an error.
const PATIENCE: Duration = Duration::from_secs(60);
/// A cluster counts as idle this long after it became whole.
const IDLE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(2);

/// What is done to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Start it, and look at it idle
    Start,
    /// SIGKILL the master
    KillMaster,
    /// SIGSTOP the master
    HangMaster,
    /// SIGKILL the controller leader
    KillLeader,
    /// SIGKILL both
    KillBoth,
    /// Send with and without failover aliases; docs/FAILOVER.md has these
    Aliases,
}

/// Those of docs/BENCHMARKS.md.
const USUAL: [Scenario; 5] =
    [Scenario::Start, Scenario::KillMaster, Scenario::HangMaster, Scenario::KillLeader, Scenario::KillBoth];

impl Scenario {
    fn label(self) -> &'static str {
        match self {
            Scenario::Start => "start",
            Scenario::KillMaster => "kill -9 of the master",
            Scenario::HangMaster => "SIGSTOP of the master",
            Scenario::KillLeader => "kill -9 of the controller leader",
            Scenario::KillBoth => "kill -9 of controller leader and master",
            Scenario::Aliases => "aliases while nothing fails",
        }
    }
}

impl From<Scenario> for &'static str {
    fn from(it: Scenario) -> Self {
        it.label()
    }
}

const LOST: &str = "acknowledged and lost";

pub async fn run(args: FiguresArgs) -> anyhow::Result<ExitCode> {
    let programs = demo::programs(&args.programs)?;
    let interrupt = node::shutdown::on_signals();
    let scenarios = if args.only.is_empty() { USUAL.to_vec() } else { args.only.clone() };
    let mut figures = Figures::default();
    for scenario in scenarios {
        let folder = tempfile::Builder::new().prefix("baton-figures-").tempdir().context("cannot make a folder")?;
        tokio::select! {
            done = measure(scenario, &args, folder.path(), &programs, &mut figures, &interrupt) => done?,
            () = interrupt.cancelled() => bail!("interrupted"),
        }
    }
    print_result(args.json, &figures, &figures.text())?;
    Ok(if figures.sum(LOST) == 0.0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(
    scenario: Scenario,
    args: &FiguresArgs,
    folder: &Path,
    programs: &Path,
    figures: &mut Figures,
    interrupt: &CancellationToken,
) -> anyhow::Result<()> {
    let (rounds, care) = (args.rounds, Care::supervised(args.supervised));
    if scenario == Scenario::Start {
        for round in 0..rounds {
            eprintln!("{}: round {} of {rounds}", scenario.label(), round + 1);
            let folder = folder.join(round.to_string());
            let cluster = QuickStart { care, ..QuickStart::lay_out(&folder, programs, Ports::free()?)? };
            start(&cluster, figures).await?;
        }
        return Ok(());
    }
    let cluster = QuickStart { care, ..QuickStart::lay_out(folder, programs, Ports::free()?)? };
    let mut processes = demo::start(&cluster, Life::WithUs).await?;
    let detour = if scenario == Scenario::Aliases { Some(Detour::new(&cluster).await?) } else { None };
    for round in 0..rounds {
        eprintln!("{}: round {} of {rounds}", scenario.label(), round + 1);
        if let Some(detour) = &detour {
            detour.round(round, figures).await?;
            continue;
        }
        Round { scenario, cluster: &cluster, processes: &mut processes, figures, interrupt }.run(round).await?;
    }
    Ok(())
}

fn admin(cluster: &QuickStart) -> Admin {
    let namesrv = vec![cluster.ports.namesrv_address()];
    Admin::new(AdminOptions { namesrv, timeout: Duration::from_millis(300), ..AdminOptions::default() })
}

const SUPERVISOR: &str = "supervisor";

/// From each process's start until it serves; then the memory of the idle cluster.
async fn start(cluster: &QuickStart, figures: &mut Figures) -> anyhow::Result<()> {
    let admin = admin(cluster);
    let since = Instant::now();
    let mut processes = vec![cluster.start(Node::Namesrv, Life::WithUs)?];
    until("the nameserver answers", async || admin.cluster_info().await.is_ok()).await?;
    figures.add(Scenario::Start, "nameserver answers", "ms", millis(since.elapsed()));

    let since = Instant::now();
    for index in 0..REPLICAS {
        processes.push(cluster.start(Node::Controller(index), Life::WithUs)?);
    }
    let controllers = cluster.ports.controller_addresses().join(";");
    until("the controllers have a leader", async || admin.controller_leader(&controllers).await.is_ok()).await?;
    figures.add(Scenario::Start, "three controllers have a leader", "ms", millis(since.elapsed()));

    let since = Instant::now();
    for index in 0..REPLICAS {
        processes.push(cluster.start(Node::Broker(index), Life::WithUs)?);
    }
    let producer = Producer::start(ProducerOptions {
        namesrv: vec![cluster.ports.namesrv_address()],
        ..ProducerOptions::default()
    });
    let message = Message::new("TBW102-figures", "x");
    until("a broker accepts a send", async || producer.send(&message).await.is_ok()).await?;
    figures.add(Scenario::Start, "a broker accepts a send", "ms", millis(since.elapsed()));

    demo::whole(cluster, &mut processes).await?;
    tokio::time::sleep(IDLE).await;
    let mut rss: BTreeMap<&str, f64> = BTreeMap::new();
    for process in &processes {
        let kind = rss.entry(process.node.program()).or_default();
        *kind = kind.max(resident_mib(process.serving_pid()?)?);
        if process.pid() != process.serving_pid()? {
            let supervisor = rss.entry(SUPERVISOR).or_default();
            *supervisor = supervisor.max(resident_mib(process.pid())?);
        }
    }
    if let Some(rss) = rss.get(SUPERVISOR) {
        figures.add(Scenario::Start, "idle RSS of the largest supervisor", "MiB", *rss);
    }
    for (program, name) in [("mqcontroller", "controller"), ("mqbroker", "broker"), ("mqnamesrv", "nameserver")] {
        let name: &'static str = match name {
            "controller" => "idle RSS of the largest controller",
            "broker" => "idle RSS of the largest broker",
            _ => "idle RSS of the nameserver",
        };
        figures.add(Scenario::Start, name, "MiB", rss.get(program).copied().unwrap_or_default());
    }
    for process in processes.iter_mut().rev() {
        process.stop()?;
    }
    Ok(())
}

pub(super) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("/proc has no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib / 1024.0)
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        if Instant::now() > deadline {
            bail!("not within {} s: {what}", PATIENCE.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// One blow to a running cluster.
struct Round<'a> {
    scenario: Scenario,
    cluster: &'a QuickStart,
    processes: &'a mut Vec<Process>,
    figures: &'a mut Figures,
    interrupt: &'a CancellationToken,
}

impl Round<'_> {
    async fn run(&mut self, round: u32) -> anyhow::Result<()> {
        demo::whole(self.cluster, self.processes).await?;
        let trial = Trial::start(self.setup()).await?;
        trial.live_until(Instant::now() + BEFORE, self.interrupt).await?;
        let master = trial.observer.view().route.unwrap_or_else(|| trial.old_master.clone());
        let leader =
            admin(self.cluster).controller_leader(&self.cluster.ports.controller_addresses().join(";")).await?;
        let broker = position(&self.cluster.ports.broker_addresses(), &master).map(Node::Broker)?;
        let controller = position(&self.cluster.ports.controller_addresses(), &leader).map(Node::Controller)?;

        let (kills_leader, kills_master) = (
            matches!(self.scenario, Scenario::KillLeader | Scenario::KillBoth),
            self.scenario == Scenario::KillMaster || self.scenario == Scenario::KillBoth,
        );
        let comes_back = kills_master && self.cluster.care == Care::Supervisor;
        let visitor = match comes_back {
            true => Some(Visitor::new(&self.cluster.ports, &master).await?),
            false => None,
        };
        let fault = Fault::now(master.clone(), self.scenario.label());
        if kills_leader {
            self.process(controller)?.kill()?;
        }
        if kills_master {
            self.process(broker)?.kill()?;
        }
        if self.scenario == Scenario::HangMaster {
            signal(self.process(broker)?.serving_pid()?, Signal::STOP)?;
        }
        if let Some(visitor) = visitor {
            let (send, pull) = visitor.served_again(fault.at).await?;
            self.figures.add(self.scenario, "kill → its address takes a send", "ms", millis(send));
            self.figures.add(self.scenario, "kill → its address answers a pull", "ms", millis(pull));
        } else if self.scenario == Scenario::KillLeader {
            self.next_write(round, fault.at).await?;
        } else {
            until("another broker acknowledges", async || trial.meter.first_from_another(fault.at, &master).is_some())
                .await?;
        }
        trial.live_until(Instant::now() + AFTER, self.interrupt).await?;

        let since = Instant::now();
        if kills_master && !comes_back {
            self.start_again(broker)?;
        }
        if self.scenario == Scenario::HangMaster {
            signal(self.process(broker)?.serving_pid()?, Signal::CONT)?;
        }
        if kills_leader {
            self.start_again(controller)?;
        }
        if kills_master {
            let back = |it: &super::observer::View| it.members().len() == REPLICAS;
            if !trial.observer.wait(PATIENCE, back).await {
                bail!("{master} was not back in the SyncStateSet after {} s", PATIENCE.as_secs());
            }
            if !comes_back {
                let name = "killed replica started → back in the set";
                self.figures.add(self.scenario, name, "ms", millis(since.elapsed()));
            }
        }
        let report = trial.finish(Some(fault), &[]).await?;
        self.add(&report);
        Ok(())
    }

    fn setup(&self) -> Setup {
        Setup {
            namesrv: vec![self.cluster.ports.namesrv_address()],
            controllers: self.cluster.ports.controller_addresses().join(";"),
            topic: "figures".to_owned(),
            broker_set: Some(BROKER_SET.to_owned()),
            size: 1024,
            producers: 8,
            inflight: 1,
            rate: None,
            send_timeout: Duration::from_secs(10),
        }
    }

    fn process(&mut self, node: Node) -> anyhow::Result<&mut Process> {
        self.processes.iter_mut().find(|it| it.node == node).with_context(|| format!("{} is not running", node.name()))
    }

    fn start_again(&mut self, node: Node) -> anyhow::Result<()> {
        let started = self.cluster.start(node, Life::WithUs)?;
        *self.process(node)? = started;
        Ok(())
    }

    /// A write that every controller may be asked for: the first broker id of a set nobody has heard of.
    async fn next_write(&mut self, round: u32, since: Instant) -> anyhow::Result<()> {
        let admin = admin(self.cluster);
        let header = ApplyBrokerIdRequest {
            cluster_name: "figures".to_owned(),
            broker_name: format!("figures-{round}"),
            applied_broker_id: 1,
            register_check_code: "127.0.0.1:1;1".to_owned(),
        };
        let request = Command::request(request::CONTROLLER_APPLY_BROKER_ID).with_header(&header);
        let addresses = self.cluster.ports.controller_addresses();
        until("a controller commits a write", async || {
            for address in &addresses {
                if admin.call(address, request.clone()).await.is_ok_and(|it| it.code == response::SUCCESS) {
                    return true;
                }
            }
            false
        })
        .await?;
        self.figures.add(self.scenario, "kill → next controller write", "ms", millis(since.elapsed()));
        Ok(())
    }

    fn add(&mut self, report: &Report) {
        let scenario = self.scenario;
        let measured = [
            ("kill → controllers name another master", report.kill_to_named_ms),
            ("kill → route names it", report.kill_to_route_ms),
            ("kill → first acknowledged write", report.kill_to_first_ack_ms),
            ("longest time without an acknowledgement", Some(report.summary.longest_ack_gap_ms)),
        ];
        for (name, value) in measured {
            if let Some(value) = value.filter(|_| scenario != Scenario::KillLeader || name.starts_with("longest")) {
                self.figures.add(scenario, name, "ms", value);
            }
        }
        self.figures.add(scenario, "failed sends", "messages", report.summary.errors as f64);
        self.figures.add(scenario, LOST, "messages", report.totals.lost as f64);
        self.figures.add(scenario, "delivered twice", "messages", report.totals.duplicated as f64);
        self.figures.add(scenario, "throughput through the fault", "messages/s", report.summary.tps.round());
    }
}

fn position(addresses: &[String], wanted: &str) -> anyhow::Result<usize> {
    addresses.iter().position(|it| it == wanted).with_context(|| format!("{wanted} is none of ours"))
}
