//! `mqbench consume`: reads every queue of a topic from its beginning.

use super::args::ConsumeArgs;
use super::meter::Meter;
use super::{print_result, send};
use anyhow::{Context, bail};
use client::{ConsumerOptions, MessageQueue, PullConsumer, PullOutcome};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a reader waits at the end of a queue before it looks whether it is done.
const WAIT: Duration = Duration::from_millis(500);
/// Between two tries of a queue that cannot be read.
const PAUSE: Duration = Duration::from_millis(100);

pub async fn run(args: ConsumeArgs) -> anyhow::Result<ExitCode> {
    let common = &args.common;
    let readers = common.producers.unwrap_or(4) as usize;
    let options = ConsumerOptions {
        namesrv: client::nameservers(&common.namesrv),
        group: "mqbench".into(),
        ..ConsumerOptions::default()
    };
    let queues = PullConsumer::start(options.clone()).queues(&common.topic).await?;
    if queues.is_empty() {
        bail!("topic {} has no readable queue", common.topic);
    }
    let meter = Arc::new(Meter::start());
    let stop = node::shutdown::on_signals();
    let tasks: Vec<_> = (0..readers.min(queues.len()))
        .map(|number| {
            let reader = Reader {
                consumer: PullConsumer::start(options.clone()),
                queues: queues.iter().skip(number).step_by(readers).cloned().collect(),
                batch: common.inflight.unwrap_or(32) as i32,
                size: common.size,
                to_the_end: common.duration.is_none(),
                meter: meter.clone(),
            };
            tokio::spawn(reader.run(stop.clone()))
        })
        .collect();
    let done = CancellationToken::new();
    let reading = tokio::spawn({
        let done = done.clone();
        async move {
            for task in tasks {
                task.await?;
            }
            done.cancel();
            Ok::<_, tokio::task::JoinError>(())
        }
    });
    send::live(&meter, "read", common.duration.unwrap_or(Duration::MAX / 4), &done).await;
    let took = meter.elapsed();
    stop.cancel();
    reading.await?.context("a reader failed")?;
    let summary = meter.summary(took);
    print_result(common.json, &summary, &summary.text("read"))?;
    Ok(ExitCode::SUCCESS)
}

struct Reader {
    consumer: PullConsumer,
    queues: Vec<MessageQueue>,
    batch: i32,
    /// What bodies should measure.
    size: Option<usize>,
    /// Stop at the end each queue has when it is first reached.
    to_the_end: bool,
    meter: Arc<Meter>,
}

impl Reader {
    async fn run(self, stop: CancellationToken) {
        let mut positions: Vec<(MessageQueue, i64)> = self.queues.iter().map(|it| (it.clone(), 0)).collect();
        while !positions.is_empty() && !stop.is_cancelled() {
            let mut open = Vec::with_capacity(positions.len());
            for (queue, offset) in positions {
                tokio::select! {
                    () = stop.cancelled() => return,
                    next = self.pull(&queue, offset) => open.extend(next.map(|next| (queue, next))),
                }
            }
            positions = open;
        }
    }

    /// One pull; the next offset, or `None` when the queue is done.
    async fn pull(&self, queue: &MessageQueue, offset: i64) -> Option<i64> {
        // Waiting at one queue would keep the reader from its others.
        let wait = if self.to_the_end || self.queues.len() > 1 { Duration::ZERO } else { WAIT };
        let since = Instant::now();
        match self.consumer.pull(queue, offset, self.batch, wait).await {
            Ok(PullOutcome::Found { messages, next, .. }) => {
                for message in &messages {
                    match self.size {
                        Some(size) if size != message.body.len() => {
                            self.meter.failed(format!("body of {} bytes, want {size}", message.body.len()));
                        }
                        _ => self.meter.acknowledged(since.elapsed(), message.body.len(), &queue.broker_name),
                    }
                }
                Some(next)
            }
            Ok(PullOutcome::NoNewMessage { .. }) if self.to_the_end => None,
            Ok(outcome) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Some(outcome.next())
            }
            Err(error) => {
                self.meter.failed(error.to_string());
                tokio::time::sleep(PAUSE).await;
                Some(offset)
            }
        }
    }
}
