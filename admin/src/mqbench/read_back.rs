//! Reads a run's queues from where they began and enters every message into the account.

use super::account::{Account, QueueName};
use client::{ConsumerOptions, MessageQueue, PullConsumer, PullOutcome};
use std::time::{Duration, Instant};

/// Messages per pull; brokers give fewer by their own limits.
const BATCH: i32 = 512;
/// How long to go on looking while acknowledged messages are missing: a reader sees a message only when every in-sync
/// replica has it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at the end of a queue.
const PAUSE: Duration = Duration::from_millis(50);

/// Where a queue's reading stands.
pub struct Position {
    pub queue: MessageQueue,
    pub offset: i64,
}

/// Reads to the end of every queue, then waits for what is missing. Fails only if a queue stays unreadable.
pub async fn read_back(
    namesrv: Vec<String>,
    mut positions: Vec<Position>,
    account: &mut Account,
) -> anyhow::Result<()> {
    let options =
        ConsumerOptions { namesrv, group: "mqbench-account".into(), timeout: PATIENCE, ..ConsumerOptions::default() };
    let consumer = PullConsumer::start(options);
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        let mut found = 0;
        for position in &mut positions {
            found += to_the_end(&consumer, position, account).await?;
        }
        if account.totals().lost == 0 {
            return Ok(());
        }
        if found > 0 {
            deadline = Instant::now() + PATIENCE; // it is still coming
        }
        if Instant::now() > deadline {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn to_the_end(consumer: &PullConsumer, position: &mut Position, account: &mut Account) -> anyhow::Result<u64> {
    let name = QueueName { broker_set: position.queue.broker_name.clone(), queue_id: position.queue.queue_id };
    let mut found = 0;
    loop {
        let outcome = consumer.pull(&position.queue, position.offset, BATCH, Duration::ZERO).await?;
        let before = std::mem::replace(&mut position.offset, outcome.next());
        match outcome {
            PullOutcome::Found { messages, .. } => {
                for message in &messages {
                    account.delivered(&name, &message.body);
                }
                found += messages.len() as u64;
            }
            PullOutcome::NoNewMessage { .. } => return Ok(found),
            // Moved or nothing matched: go on from there, unless that is where we were.
            PullOutcome::NoMatch { next } | PullOutcome::OffsetMoved { next } if next == before => return Ok(found),
            PullOutcome::NoMatch { .. } | PullOutcome::OffsetMoved { .. } => {}
        }
    }
}
