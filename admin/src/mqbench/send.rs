//! `mqbench send`.

use super::args::SendArgs;
use super::load::{self, Load};
use super::meter::Meter;
use super::{print_result, topic};
use client::routing::Aliases;
use client::{Admin, AdminOptions};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub async fn run(args: SendArgs) -> anyhow::Result<ExitCode> {
    let common = &args.common;
    let namesrv = client::nameservers(&common.namesrv);
    let admin = Admin::new(AdminOptions { namesrv: namesrv.clone(), ..AdminOptions::default() });
    let producers = common.producers.unwrap_or(4);
    topic::ensure(&admin, &common.topic, producers).await?;
    let load = Load {
        namesrv,
        topic: common.topic.clone(),
        run: rand::random(),
        size: common.size.unwrap_or(1024),
        producers,
        inflight: common.inflight.unwrap_or(64) as usize,
        rate: args.sending.rate,
        send_timeout: args.sending.send_timeout,
        queues: Vec::new(),
        aliases: if args.aliases { Aliases::Used } else { Aliases::Ignored },
    };
    let meter = Arc::new(Meter::start());
    let stop = node::shutdown::on_signals();
    let sending = tokio::spawn(load::run(load, meter.clone(), stop.clone()));
    live(&meter, "acked", common.duration.unwrap_or(Duration::from_secs(10)), &stop).await;
    let took = meter.elapsed();
    stop.cancel();
    sending.await??;
    let summary = meter.summary(took);
    print_result(common.json, &summary, &summary.text("acknowledged"))?;
    Ok(if summary.acked > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A line each second until the time is over or `stop`.
pub async fn live(meter: &Meter, verb: &str, duration: Duration, stop: &CancellationToken) {
    let end = tokio::time::Instant::now() + duration;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await; // the first is immediate
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(end) => return,
            _ = ticks.tick() => eprintln!("{}", meter.second().line(verb, meter.elapsed())),
        }
    }
}
