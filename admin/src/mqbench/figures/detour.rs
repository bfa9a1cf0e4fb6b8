//! What failover aliases cost while nothing fails: the throughput of producers that use the queues of aliases, as
//! RocketMQ's do, beside that of producers that do not, in turns on one cluster.

use super::super::load::{self, Load};
use super::super::{meter::Meter, quick_start::QuickStart, topic};
use super::{Figures, Scenario, until};
use anyhow::Context;
use client::routing::Aliases;
use client::{Admin, AdminOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "figures-aliases";
const SIZE: usize = 1024;
const PRODUCERS: u32 = 4;
const INFLIGHT: usize = 64;
/// Caches and connections are warm after this, and once more before each measurement.
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(3);

pub(super) struct Detour {
    namesrv: Vec<String>,
}

impl Detour {
    pub(super) async fn new(cluster: &QuickStart) -> anyhow::Result<Detour> {
        let namesrv = vec![cluster.ports.namesrv_address()];
        let admin = Admin::new(AdminOptions { namesrv: namesrv.clone(), ..AdminOptions::default() });
        let queues = topic::ensure(&admin, TOPIC, PRODUCERS).await?.queue_datas.len();
        let slaves = cluster.ports.brokers.len() - 1;
        until("each slave has an alias", async || {
            let route = admin.topic_route_with_aliases(TOPIC).await;
            route.is_ok_and(|it| it.queue_datas.len() == queues + slaves)
        })
        .await?;
        Ok(Detour { namesrv })
    }

    /// Which of the two is first changes from round to round, so that what grows warm or full hurts both.
    pub(super) async fn round(&self, round: u32, figures: &mut Figures) -> anyhow::Result<()> {
        let (direct, detour) = if round.is_multiple_of(2) {
            let direct = self.throughput(Aliases::Ignored).await?;
            (direct, self.throughput(Aliases::Used).await?)
        } else {
            let detour = self.throughput(Aliases::Used).await?;
            (self.throughput(Aliases::Ignored).await?, detour)
        };
        let mut add = |name, unit, value| figures.add(Scenario::Aliases, name, unit, value);
        add("throughput without aliases", "messages/s", direct);
        add("throughput with aliases", "messages/s", detour);
        add("cost of aliases", "%", (1.0 - detour / direct) * 100.0);
        Ok(())
    }

    async fn throughput(&self, aliases: Aliases) -> anyhow::Result<f64> {
        let load = Load {
            namesrv: self.namesrv.clone(),
            topic: TOPIC.to_owned(),
            run: rand::random(),
            size: SIZE,
            producers: PRODUCERS,
            inflight: INFLIGHT,
            rate: None,
            send_timeout: Duration::from_secs(3),
            queues: Vec::new(),
            aliases,
        };
        let (meter, stop) = (Arc::new(Meter::start()), CancellationToken::new());
        // Ends the producers whenever this future ends.
        let _guard = stop.clone().drop_guard();
        let sending = tokio::spawn(load::run(load, meter.clone(), stop.clone()));
        tokio::time::sleep(WARM_UP).await;
        let (began, before) = (meter.elapsed(), meter.summary(WARM_UP).acked);
        tokio::time::sleep(MEASURED).await;
        let (took, acked) = (meter.elapsed() - began, meter.summary(MEASURED).acked - before);
        stop.cancel();
        sending.await??;
        let rate = acked as f64 / took.as_secs_f64();
        (rate > 0.0).then_some(rate.round()).context("no message was acknowledged")
    }
}
