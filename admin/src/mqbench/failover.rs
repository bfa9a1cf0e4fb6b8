//! `mqbench failover`: load through a change of master, then the account of every message.
//!
//! [`Trial`] is one such run, also used by the demonstration: start, let something happen, finish.

use super::account::{Account, Sent, Totals};
use super::args::FailoverArgs;
use super::load::{self, Load};
use super::meter::{Meter, grouped};
use super::observer::{Change, Observer};
use super::quick_start::{serving_below, signal};
use super::read_back::{Position, read_back};
use super::report::{Summary, millis};
use super::timeline::{Phase, Timeline};
use super::{print_result, status, topic};
use anyhow::{Context, bail};
use client::routing::Aliases;
use client::{Admin, AdminOptions, MessageQueue};
use rustix::process::Signal;
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Lost messages named in the report.
const SHOWN: usize = 10;

/// What a trial needs to know.
pub struct Setup {
    pub namesrv: Vec<String>,
    /// `a:1;b:1`.
    pub controllers: String,
    pub topic: String,
    pub broker_set: Option<String>,
    pub size: usize,
    pub producers: u32,
    pub inflight: usize,
    pub rate: Option<f64>,
    pub send_timeout: Duration,
}

/// What was done to the master, and when.
#[derive(Clone, Debug)]
pub struct Fault {
    pub at: Instant,
    /// Milliseconds since 1970, for comparison with what servers wrote down.
    pub wall_ms: f64,
    /// The master's address before.
    pub old_master: String,
    pub what: String,
}

impl Fault {
    /// Call it right before the blow.
    pub fn now(old_master: String, what: impl Into<String>) -> Fault {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Fault { at: Instant::now(), wall_ms: wall.as_secs_f64() * 1000.0, old_master, what: what.into() }
    }
}

/// A load that runs and is watched.
pub struct Trial {
    pub observer: Observer,
    pub meter: Arc<Meter>,
    pub old_master: String,
    pub broker_set: String,
    setup: Setup,
    run: u32,
    positions: Vec<Position>,
    sending: JoinHandle<anyhow::Result<Vec<Sent>>>,
    stop: CancellationToken,
}

/// All that a trial found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub summary: Summary,
    #[serde(flatten)]
    pub totals: Totals,
    pub fault: Option<String>,
    pub kill_to_named_ms: Option<f64>,
    pub kill_to_route_ms: Option<f64>,
    pub kill_to_first_ack_ms: Option<f64>,
    pub timeline: Timeline,
    /// The first few lost messages, as (producer, sequence).
    pub lost_messages: Vec<(u32, u64)>,
}

impl Trial {
    /// Makes sure of the topic, then starts to watch and to send.
    pub async fn start(setup: Setup) -> anyhow::Result<Trial> {
        let admin = Admin::new(AdminOptions { namesrv: setup.namesrv.clone(), ..AdminOptions::default() });
        let route = topic::ensure(&admin, &setup.topic, setup.producers).await?;
        let with_queues = route
            .queue_datas
            .iter()
            .map(|it| &it.broker_name)
            .find(|it| setup.broker_set.as_ref().is_none_or(|set| set == *it));
        let Some(broker_set) = with_queues.cloned() else {
            let wanted = setup.broker_set.as_deref().unwrap_or("any broker set");
            bail!("topic {} has no queue on {wanted}; see `mqadmin topicRoute -t {}`", setup.topic, setup.topic);
        };
        let queues = topic::queues_of(&route, &setup.topic, &broker_set);
        let old_master = topic::master_of(&route, &broker_set);
        let old_master = old_master
            .with_context(|| format!("broker set {broker_set} has no master now; see `mqadmin clusterList`"))?;
        let positions = positions(&admin, &old_master, queues.clone()).await?;
        let observer =
            Observer::start(setup.namesrv.clone(), setup.controllers.clone(), setup.topic.clone(), broker_set.clone());
        let run = rand::random();
        let load = Load {
            namesrv: setup.namesrv.clone(),
            topic: setup.topic.clone(),
            run,
            size: setup.size,
            producers: setup.producers,
            inflight: setup.inflight,
            rate: setup.rate,
            send_timeout: setup.send_timeout,
            queues,
            aliases: Aliases::Ignored,
        };
        let meter = Arc::new(Meter::start());
        let stop = CancellationToken::new();
        let sending = tokio::spawn(load::run(load, meter.clone(), stop.clone()));
        Ok(Trial { observer, meter, old_master, broker_set, setup, run, positions, sending, stop })
    }

    /// Shows a line a second until the deadline; an error when `stop` comes first.
    pub async fn live_until(&self, deadline: Instant, stop: &CancellationToken) -> anyhow::Result<()> {
        loop {
            // Whole seconds since the start, so that the lines go on evenly from one call to the next.
            let to_next = Duration::from_secs(1) - Duration::from_nanos(u64::from(self.meter.elapsed().subsec_nanos()));
            tokio::select! {
                () = stop.cancelled() => bail!("interrupted"),
                () = tokio::time::sleep_until(deadline.into()) => return Ok(()),
                () = tokio::time::sleep(to_next) => eprintln!("{}", self.line()),
            }
        }
    }

    /// Who is master, epoch, SyncStateSet, acknowledgements in the last second, last event.
    pub fn line(&self) -> String {
        let view = self.observer.view();
        let second = self.meter.second();
        let at = self.meter.elapsed().as_secs_f64();
        let epoch = view.info.as_ref().map_or(0, |it| it.master_epoch);
        let last = view.last().map(|it| format!("{} ({:.1} s ago)", it.change.text(), it.at.elapsed().as_secs_f64()));
        let error = second.last_error.map(|it| format!("  error: {it}")).unwrap_or_default();
        format!(
            "{at:>5.1} s  master {}  epoch {epoch}  in sync {}  acks {:>8}/s  p99 {:>6} µs  errors {}  last: {}{error}",
            view.master().unwrap_or("none           "),
            view.members().len(),
            grouped(second.acked),
            second.p99_us,
            second.errors,
            last.unwrap_or_else(|| "nothing yet".to_owned()),
        )
    }

    /// Ends the load, reads everything back, and sums up. `later` is what the caller saw of the old master.
    pub async fn finish(self, fault: Option<Fault>, later: &[(Phase, Instant)]) -> anyhow::Result<Report> {
        let took = self.meter.elapsed();
        self.stop.cancel();
        let sent = self.sending.await??;
        eprintln!("reading everything back");
        let mut account = Account::new(self.run, &sent);
        read_back(self.setup.namesrv.clone(), self.positions, &mut account)
            .await
            .context("cannot read the messages back")?;
        let mut timeline = Timeline::default();
        if let Some(fault) = &fault {
            observed(&mut timeline, fault, &self.observer, &self.meter);
            for (phase, at) in later {
                timeline.add(*phase, millis(*at - fault.at), fault.old_master.clone());
            }
            let servers = [client::nameservers(&self.setup.controllers), self.observer.view().members()].concat();
            status::add_phases(&mut timeline, fault, &servers, &self.broker_set).await;
        }
        Ok(Report {
            summary: self.meter.summary(took),
            totals: account.totals(),
            fault: fault.map(|it| it.what),
            kill_to_named_ms: timeline.at(Phase::Named),
            kill_to_route_ms: timeline.at(Phase::RoutePublished),
            kill_to_first_ack_ms: timeline.at(Phase::FirstAck),
            timeline,
            lost_messages: account.lost(SHOWN),
        })
    }
}

/// Where each queue ends before the load: reading begins there.
async fn positions(admin: &Admin, master: &str, queues: Vec<MessageQueue>) -> anyhow::Result<Vec<Position>> {
    let mut positions = Vec::with_capacity(queues.len());
    for queue in queues {
        let offset = admin.max_offset(master, &queue.topic, queue.queue_id).await?;
        positions.push(Position { queue, offset });
    }
    Ok(positions)
}

/// What we saw ourselves.
fn observed(timeline: &mut Timeline, fault: &Fault, observer: &Observer, meter: &Meter) {
    let view = observer.view();
    let since = |at: Instant| millis(at - fault.at);
    timeline.add(Phase::Killed, 0.0, &fault.what);
    let named = view.first(fault.at, |it| match it {
        Change::Master { id, address, epoch } => Some(format!("{address} (id {id}) at epoch {epoch}")),
        _ => None,
    });
    if let Some((at, what)) = &named {
        timeline.add(Phase::Named, since(*at), what);
    }
    let route = view.first(fault.at, |it| match it {
        Change::Route(Some(address)) if *address != fault.old_master => Some(address.clone()),
        _ => None,
    });
    if let Some((at, address)) = route {
        timeline.add(Phase::RoutePublished, since(at), address);
    }
    if let Some((at, address)) = meter.first_from_another(fault.at, &fault.old_master) {
        timeline.add(Phase::FirstAck, since(at), format!("from {address}"));
    }
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.totals.lost == 0 && self.totals.never_sent == 0
    }

    pub fn text(&self) -> String {
        let totals = &self.totals;
        let mut out = String::new();
        if !self.timeline.entries.is_empty() {
            out += &format!("Timeline\n{}\n", self.timeline.text());
        }
        out += "Account\n";
        let gap = format!("{:.1} ms", self.summary.longest_ack_gap_ms);
        let first_ack = self.kill_to_first_ack_ms.map_or_else(|| "not seen".to_owned(), |it| format!("{it:.1} ms"));
        let rows = [
            ("acknowledged", grouped(totals.acknowledged)),
            ("delivered", grouped(totals.delivered)),
            ("lost", grouped(totals.lost)),
            ("duplicated", grouped(totals.duplicated)),
            ("out of order", grouped(totals.out_of_order)),
            ("sends without acknowledgement", grouped(self.summary.errors)),
            ("longest time without an ack", gap),
            ("kill to first ack", first_ack),
        ];
        for (name, value) in rows {
            out += &format!("  {name:<30} {value:>14}\n");
        }
        for (producer, sequence) in &self.lost_messages {
            out += &format!("  lost: message {sequence} of producer {producer}\n");
        }
        if totals.never_sent > 0 {
            out += &format!("  {} messages carry this run's mark, but nobody sent them\n", totals.never_sent);
        }
        out + "\n" + &self.summary.text("acknowledged")
    }
}

pub async fn run(args: FailoverArgs) -> anyhow::Result<ExitCode> {
    let common = &args.common;
    let duration = common.duration.unwrap_or(Duration::from_secs(20));
    if args.at >= duration {
        bail!("--at {:?} is not before the end of the run, --duration {duration:?}", args.at);
    }
    let setup = Setup {
        namesrv: client::nameservers(&common.namesrv),
        controllers: args.controller.clone(),
        topic: common.topic.clone(),
        broker_set: args.broker_name.clone(),
        size: common.size.unwrap_or(1024),
        producers: common.producers.unwrap_or(8),
        inflight: common.inflight.unwrap_or(1) as usize,
        rate: args.sending.rate,
        send_timeout: args.sending.send_timeout,
    };
    let interrupt = node::shutdown::on_signals();
    let trial = Trial::start(setup).await?;
    let start = Instant::now();
    trial.live_until(start + args.at, &interrupt).await?;
    let fault = strike(&args, &trial)?;
    let stopped = args.stop_pid.map(|it| serving_below(it).unwrap_or(it));
    if let (Some(pid), Some(resume_at)) = (stopped, args.resume_at) {
        trial.live_until(start + resume_at.min(duration), &interrupt).await?;
        signal(pid, Signal::CONT)?;
        eprintln!("SIGCONT to process {pid}");
    }
    trial.live_until(start + duration, &interrupt).await?;
    if let Some(pid) = stopped {
        signal(pid, Signal::CONT)?; // whatever comes of it, nobody wants a stopped process left behind
    }
    let report = trial.finish(fault, &[]).await?;
    print_result(common.json, &report, &report.text())?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends the signal the options ask for.
fn strike(args: &FailoverArgs, trial: &Trial) -> anyhow::Result<Option<Fault>> {
    let (pid, which, name) = match (args.kill_pid, args.stop_pid) {
        (Some(pid), _) => (pid, Signal::KILL, "SIGKILL"),
        (None, Some(pid)) => (pid, Signal::STOP, "SIGSTOP"),
        (None, None) => return Ok(None),
    };
    let pid = serving_below(pid).unwrap_or(pid);
    let old_master = trial.observer.view().route.unwrap_or_else(|| trial.old_master.clone());
    let fault = Fault::now(old_master.clone(), format!("{name} to process {pid}, master at {old_master}"));
    signal(pid, which)?;
    eprintln!("{name} to process {pid}");
    Ok(Some(fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqbench::report::latencies;
    use expect_test::expect;

    #[test]
    fn the_report_reads_well() {
        let mut timeline = Timeline::default();
        timeline.add(Phase::Killed, 0.0, "SIGKILL to process 7");
        timeline.add(Phase::FirstAck, 61.2, "from b:2");
        let report = Report {
            summary: Summary::new(&latencies(), 0, 3, Duration::from_millis(61), Duration::from_secs(1)),
            totals: Totals { acknowledged: 12_345, delivered: 12_346, lost: 1, duplicated: 2, ..Totals::default() },
            fault: Some("SIGKILL".into()),
            kill_to_named_ms: None,
            kill_to_route_ms: None,
            kill_to_first_ack_ms: Some(61.2),
            timeline,
            lost_messages: vec![(3, 77)],
        };
        expect![[r"
            Timeline
                   0.0 ms  killed           SIGKILL to process 7
                  61.2 ms  first ack        from b:2

            Account
              acknowledged                           12,345
              delivered                              12,346
              lost                                        1
              duplicated                                  2
              out of order                                0
              sends without acknowledgement               3
              longest time without an ack           61.0 ms
              kill to first ack                     61.2 ms
              lost: message 77 of producer 3

            0 acknowledged in 1.0 s: 0/s, 0.0 MiB/s, errors 3
            latency p50 0 µs, p99 0 µs, p99.9 0 µs, max 0 µs; longest gap 61.0 ms
        "]]
        .assert_eq(&report.text());
        assert!(!report.is_clean());
    }
}
