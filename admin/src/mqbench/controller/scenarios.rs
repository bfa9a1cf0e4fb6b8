//! What is done to three controllers of our own, and what is measured.

use super::super::args::ControllerArgs;
use super::super::report::{latencies, millis, record};
use super::super::table::Figures;
use super::death::Death;
use super::fleet::{Audience, Fleet, Spec};
use super::group::{Group, PATIENCE, processor_seconds};
use super::toggles;
use crate::mqbench::figures::resident_mib;
use anyhow::{bail, ensure};
use proto::Command;
use proto::code::{request, response};
use std::path::Path;
use std::time::{Duration, Instant};

/// Until what was just founded, or healed, has calmed down.
const CALM: Duration = Duration::from_secs(2);
const MIB: f64 = 1024.0 * 1024.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// 10,000 broker sets heartbeat each second
    Heartbeats,
    /// The masters of 1,000 sets are killed at once
    MastersKilled,
    /// The masters of 1,000 sets fall silent at once
    MastersSilent,
    /// SIGKILL the controller leader
    LeaderKilled,
    /// A million commands as fast as they are committed; then what they left on disk, and a restart
    Commands,
}

pub(super) const ALL: [Scenario; 5] = [
    Scenario::Heartbeats,
    Scenario::MastersKilled,
    Scenario::MastersSilent,
    Scenario::LeaderKilled,
    Scenario::Commands,
];

impl From<Scenario> for &'static str {
    fn from(it: Scenario) -> Self {
        match it {
            Scenario::Heartbeats => "heartbeats",
            Scenario::MastersKilled => "all masters killed at once",
            Scenario::MastersSilent => "all masters silent at once",
            Scenario::LeaderKilled => "kill -9 of the controller leader",
            Scenario::Commands => "commands",
        }
    }
}

impl Scenario {
    fn spec(self, args: &ControllerArgs) -> Spec {
        let (sets, per_host, timeout, audience) = match self {
            // A process may not have 30,000 sockets everywhere: 6,000 hosts, each with one connection and one listener.
            Scenario::Heartbeats => (10_000, 5, 10_000, Audience::Leader),
            Scenario::MastersKilled | Scenario::MastersSilent => (1_000, 1, 2_000, Audience::All),
            Scenario::LeaderKilled | Scenario::Commands => (1_000, 10, 10_000, Audience::All),
        };
        let sets = args.sets.map_or(sets, |it| it as usize);
        Spec { sets, per_host, timeout: Duration::from_millis(timeout), audience }
    }

    pub(super) async fn measure(
        self,
        args: &ControllerArgs,
        folder: &Path,
        programs: &Path,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let (group, spec) = (Group::start(folder, programs).await?, self.spec(args));
        let label: &'static str = self.into();
        eprintln!("{label}: {} broker sets of three replicas, up to {} on a host", spec.sets, spec.per_host);
        let fleet = Fleet::found(&group, spec).await?;
        tokio::time::sleep(CALM).await;
        let mut it = Measuring { scenario: self, args, group, fleet, figures };
        match self {
            Scenario::Heartbeats => it.heartbeats().await,
            Scenario::MastersKilled => it.masters(Death::Killed).await,
            Scenario::MastersSilent => it.masters(Death::Silent).await,
            Scenario::LeaderKilled => it.leader_killed().await,
            Scenario::Commands => it.commands().await,
        }
    }
}

struct Measuring<'a> {
    scenario: Scenario,
    args: &'a ControllerArgs,
    group: Group,
    fleet: Fleet,
    figures: &'a mut Figures,
}

impl Measuring<'_> {
    fn add(&mut self, name: &'static str, unit: &'static str, value: f64) {
        self.figures.add(self.scenario, name, unit, value);
    }

    async fn heartbeats(&mut self) -> anyhow::Result<()> {
        let leader = self.group.leader().await?;
        let pid = self.group.pid(&leader)?;
        for _ in 0..self.args.rounds {
            self.fleet.pulse.take();
            let (began, used) = (Instant::now(), processor_seconds(pid)?);
            tokio::time::sleep(self.args.duration).await;
            let (took, unanswered) = self.fleet.pulse.take();
            let seconds = began.elapsed().as_secs_f64();
            self.add("answered by the leader", "heartbeats/s", (took.len() as f64 / seconds).round());
            self.add("leader's processor use", "cores", (processor_seconds(pid)? - used) / seconds);
            self.add("leader's RSS", "MiB", resident_mib(pid)?);
            self.add("p50 of a heartbeat", "ms", took.value_at_quantile(0.5) as f64 / 1000.0);
            self.add("p99 of a heartbeat", "ms", took.value_at_quantile(0.99) as f64 / 1000.0);
            self.add("unanswered", "heartbeats", unanswered as f64);
            ensure!(self.group.leader().await? == leader, "another controller leads now: too much else runs here");
        }
        Ok(())
    }

    async fn masters(&mut self, death: Death) -> anyhow::Result<()> {
        for round in 0..self.args.rounds {
            let dead = self.fleet.master_hosts();
            let waits = self.fleet.masters_die(death).await?;
            let (half, all) = match death {
                Death::Killed => ("blow → half of the replicas told", "blow → all replicas told of their new masters"),
                Death::Silent => (
                    "timeout over → half of the replicas told",
                    "timeout over → all replicas told of their new masters",
                ),
            };
            self.add(half, "ms", millis(waits.median));
            self.add(all, "ms", millis(waits.last));
            if round + 1 < self.args.rounds {
                self.fleet.revive(&dead).await?;
                tokio::time::sleep(CALM).await;
            }
        }
        Ok(())
    }

    async fn leader_killed(&mut self) -> anyhow::Result<()> {
        for round in 0..self.args.rounds {
            let leader = self.group.leader().await?;
            let killed = Instant::now();
            self.group.kill(&leader)?;
            self.next_command(&format!("mqbench-next-{round}")).await?;
            self.add("kill → next command committed", "ms", millis(killed.elapsed()));
            self.group.start_again(&leader).await?;
            tokio::time::sleep(CALM).await;
        }
        Ok(())
    }

    /// The first broker id of a set that nobody has heard of, asked of each controller until one commits it.
    async fn next_command(&self, broker_set: &str) -> anyhow::Result<()> {
        let request = Command::request(request::CONTROLLER_APPLY_BROKER_ID)
            .with_ext("clusterName", "mqbench")
            .with_ext("brokerName", broker_set)
            .with_ext("appliedBrokerId", 1)
            .with_ext("registerCheckCode", "192.0.2.1:10911;1");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for address in self.group.addresses() {
                let answer = self.group.admin.call(&address, request.clone()).await;
                if answer.is_ok_and(|it| it.code == response::SUCCESS) {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("no command was committed within {} s", PATIENCE.as_secs())
    }

    async fn commands(&mut self) -> anyhow::Result<()> {
        let (began, total) = (Instant::now(), self.args.commands as usize);
        let took = toggles::run(&mut self.fleet, total).await?;
        let seconds = began.elapsed().as_secs_f64();
        let mut histogram = latencies();
        took.into_iter().for_each(|it| record(&mut histogram, it));
        self.add("committed", "commands", histogram.len() as f64);
        self.add("committed, on three disks", "commands/s", (histogram.len() as f64 / seconds).round());
        self.add("p50 of a command", "ms", histogram.value_at_quantile(0.5) as f64 / 1000.0);
        self.add("p99 of a command", "ms", histogram.value_at_quantile(0.99) as f64 / 1000.0);
        let leader = self.group.leader().await?;
        self.add("leader's RSS", "MiB", resident_mib(self.group.pid(&leader)?)?);
        self.add("largest data directory", "MiB", self.group.largest_store()? as f64 / MIB);
        self.group.kill_all()?;
        self.add("the same, all controllers killed", "MiB", self.group.largest_store()? as f64 / MIB);
        let started = Instant::now();
        self.group.start_all()?;
        self.next_command("mqbench-restarted").await?;
        self.add("three killed controllers started → next command committed", "ms", millis(started.elapsed()));
        let known = self.fleet.still_known().await?;
        self.add("broker sets as they were before", "sets", known as f64);
        Ok(())
    }
}
