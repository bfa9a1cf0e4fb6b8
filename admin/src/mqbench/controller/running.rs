//! Load on a group of controllers that runs: takes ids for made-up replicas (each a committed command), heartbeats for
//! all of them each second, and cleans up.

use super::super::args::ControllerArgs;
use super::super::print_result;
use anyhow::{Context, ensure};
use client::{Admin, AdminOptions};
use proto::Command;
use proto::code::{request, response};
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections, each carrying many requests at once: brokers have one each, but a bench may not have 30,000 files open.
const CONNECTIONS: usize = 16;
/// Requests under way per connection.
const INFLIGHT: usize = 64;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
struct Result {
    replicas: usize,
    commands: usize,
    commands_per_s: f64,
    command_p50_us: u64,
    command_p99_us: u64,
    heartbeats: usize,
    heartbeats_per_s: f64,
    heartbeat_p50_us: u64,
    heartbeat_p99_us: u64,
    errors: usize,
}

/// Where the requests go, and for which made-up replicas.
struct Load {
    admins: Vec<Admin>,
    leader: String,
    prefix: String,
    replicas: usize,
}

/// Unless the command line says otherwise.
const SETS: u32 = 1_000;

pub(super) async fn run(controllers: &str, args: &ControllerArgs) -> anyhow::Result<ExitCode> {
    let admins = (0..CONNECTIONS).map(|_| Admin::new(AdminOptions::default())).collect::<Vec<_>>();
    let leader = admins[0].controller_leader(controllers).await?;
    let prefix = format!("mqbench-{}-{}", std::process::id(), node::clock::wall_ms());
    let load = Arc::new(Load { admins, leader, prefix, replicas: args.replicas as usize });
    let sets = args.sets.unwrap_or(SETS) as usize;
    let total = sets * load.replicas;

    // A set's ids are given in order, so replica by replica; sets side by side.
    let (began, mut took, mut errors) = (Instant::now(), Vec::new(), 0);
    for replica in 0..load.replicas {
        let (some, failed) = all(&load, sets, move |load, set| load.take_id(set, replica)).await?;
        took.extend(some);
        errors += failed;
    }
    let (commands, commands_for) = (took.len(), began.elapsed());
    ensure!(commands > 0, "no controller took any of {total} ids");
    eprintln!(
        "{commands} commands in {:.1} s; heartbeats for {} s",
        commands_for.as_secs_f64(),
        args.duration.as_secs()
    );

    let (began, mut beats) = (Instant::now(), Vec::new());
    while began.elapsed() < args.duration {
        let round = Instant::now();
        let (some, failed) = all(&load, total, |load, at| load.heartbeat(at)).await?;
        beats.extend(some);
        errors += failed;
        tokio::time::sleep(SECOND.saturating_sub(round.elapsed())).await;
    }
    let beats_for = began.elapsed();
    let (_, unclean) = all(&load, sets, |load, set| load.clean(set)).await?;
    if unclean > 0 {
        eprintln!("{unclean} broker sets {}… were not cleaned up; see `mqadmin cleanBrokerMetadata`", load.prefix);
    }

    let result = Result {
        replicas: total,
        commands,
        commands_per_s: commands as f64 / commands_for.as_secs_f64(),
        command_p50_us: percentile(&mut took, 50),
        command_p99_us: percentile(&mut took, 99),
        heartbeats: beats.len(),
        heartbeats_per_s: beats.len() as f64 / beats_for.as_secs_f64(),
        heartbeat_p50_us: percentile(&mut beats, 50),
        heartbeat_p99_us: percentile(&mut beats, 99),
        errors,
    };
    print_result(args.json, &result, &text(&result))?;
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends request 0, 1, … `count - 1`; how long each took in microseconds, and how many were not answered with success.
async fn all(
    load: &Arc<Load>,
    count: usize,
    request: impl Fn(&Load, usize) -> Command + Copy + Send + 'static,
) -> anyhow::Result<(Vec<u64>, usize)> {
    let next = Arc::new(AtomicUsize::new(0));
    let workers = (0..CONNECTIONS * INFLIGHT).map(|worker| {
        let (load, next) = (load.clone(), next.clone());
        tokio::spawn(async move {
            let (mut took, mut failed) = (Vec::new(), 0);
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    return (took, failed);
                }
                let began = Instant::now();
                match load.admins[worker % CONNECTIONS].call(&load.leader, request(&load, at)).await {
                    Ok(answer) if answer.code == response::SUCCESS => took.push(began.elapsed().as_micros() as u64),
                    _ => failed += 1,
                }
            }
        })
    });
    let (mut took, mut failed) = (Vec::new(), 0);
    for worker in workers.collect::<Vec<_>>() {
        let (some, lost) = worker.await.context("a sender panicked")?;
        took.extend(some);
        failed += lost;
    }
    Ok((took, failed))
}

impl Load {
    fn request(&self, code: i32, set: usize) -> Command {
        let name = format!("{}-{set}", self.prefix);
        Command::request(code).with_ext("clusterName", "mqbench").with_ext("brokerName", name)
    }

    fn take_id(&self, set: usize, replica: usize) -> Command {
        self.request(request::CONTROLLER_APPLY_BROKER_ID, set)
            .with_ext("appliedBrokerId", replica + 1)
            .with_ext("registerCheckCode", format!("{};1", address(replica)))
    }

    fn heartbeat(&self, at: usize) -> Command {
        let (set, replica) = (at / self.replicas, at % self.replicas);
        self.request(request::BROKER_HEARTBEAT, set)
            .with_ext("brokerAddr", address(replica))
            .with_ext("brokerId", replica + 1)
            .with_ext("epoch", 1)
            .with_ext("maxOffset", 0)
            .with_ext("confirmOffset", 0)
            .with_ext("heartbeatTimeoutMills", 10_000)
    }

    fn clean(&self, set: usize) -> Command {
        self.request(request::CLEAN_BROKER_DATA, set).with_ext("isCleanLivingBroker", true)
    }
}

/// Of documentation only: nobody is ever connected to.
fn address(replica: usize) -> String {
    format!("192.0.2.{}:10911", replica + 1)
}

fn percentile(took: &mut [u64], percent: usize) -> u64 {
    took.sort_unstable();
    took.get((took.len() * percent / 100).min(took.len().saturating_sub(1))).copied().unwrap_or(0)
}

fn text(it: &Result) -> String {
    format!(
        "committed commands  {:>8.0} /s   p50 {} us, p99 {} us ({} commands)\nheartbeats          {:>8.0} /s   p50 {} \
         us, \
         p99 {} us ({} heartbeats of {} replicas)\nerrors              {:>8}\n",
        it.commands_per_s,
        it.command_p50_us,
        it.command_p99_us,
        it.commands,
        it.heartbeats_per_s,
        it.heartbeat_p50_us,
        it.heartbeat_p99_us,
        it.heartbeats,
        it.replicas,
        it.errors
    )
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_of_few_and_none() {
        assert_eq!(percentile(&mut [3, 1, 2], 50), 2);
        assert_eq!(percentile(&mut [3, 1, 2], 99), 3);
        assert_eq!(percentile(&mut [], 99), 0);
    }
}
