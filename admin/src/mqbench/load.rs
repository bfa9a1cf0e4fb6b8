//! Producers: each keeps a number of sends under way until it is told to stop.

use super::account::Sent;
use super::body::Mark;
use super::meter::Meter;
use client::routing::Aliases;
use client::{Message, MessageQueue, Producer, ProducerOptions, SendResult, SendStatus};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct Load {
    pub namesrv: Vec<String>,
    pub topic: String,
    /// Marks the messages of this run.
    pub run: u32,
    pub size: usize,
    pub producers: u32,
    /// Sends under way at once, per producer.
    pub inflight: usize,
    /// Messages per second over all producers; `None` as fast as they are acknowledged.
    pub rate: Option<f64>,
    pub send_timeout: Duration,
    /// Queue of each producer, by its number modulo their count; empty: the next queue in turn for every message.
    pub queues: Vec<MessageQueue>,
    pub aliases: Aliases,
}

/// Runs all producers until `stop`, then waits for what is under way. The result is in producer order.
pub async fn run(load: Load, meter: Arc<Meter>, stop: CancellationToken) -> anyhow::Result<Vec<Sent>> {
    let load = Arc::new(load);
    let tasks: Vec<_> = (0..load.producers)
        .map(|number| tokio::spawn(produce(load.clone(), number, meter.clone(), stop.clone())))
        .collect();
    let mut all = Vec::with_capacity(tasks.len());
    for task in tasks {
        all.push(task.await?);
    }
    Ok(all)
}

/// One producer, with connections of its own.
async fn produce(load: Arc<Load>, number: u32, meter: Arc<Meter>, stop: CancellationToken) -> Sent {
    let options = ProducerOptions {
        namesrv: load.namesrv.clone(),
        group: "mqbench".into(),
        send_timeout: load.send_timeout,
        aliases: load.aliases,
        compress_over: 0, // the filling would shrink to nothing, and the figures would flatter
        ..ProducerOptions::default()
    };
    let producer = Producer::start(options);
    let queue = load.queues.get(number as usize % load.queues.len().max(1)).cloned();
    let mut pace = Pace::new(load.rate.map(|it| it / f64::from(load.producers)));
    let mut sent = Sent::default();
    let mut under_way = FuturesUnordered::new();
    loop {
        let full = under_way.len() >= load.inflight;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some((sequence, outcome)) = under_way.next() => settle(&mut sent, &meter, sequence, outcome),
            since = pace.turn(), if !full => {
                pace.taken();
                let sequence = sent.next_sequence;
                sent.next_sequence += 1;
                let body = Mark { run: load.run, producer: number, sequence }.body(load.size);
                let message = Message::new(&*load.topic, body);
                under_way.push(send(producer.clone(), message, queue.clone(), sequence, since));
            }
        }
    }
    while let Some((sequence, outcome)) = under_way.next().await {
        settle(&mut sent, &meter, sequence, outcome);
    }
    sent
}

/// A send's acknowledgement, with its latency and body size, or why there is none.
type Outcome = Result<(SendResult, Duration, usize), String>;

async fn send(
    producer: Producer,
    message: Message,
    queue: Option<MessageQueue>,
    sequence: u64,
    since: Instant,
) -> (u64, Outcome) {
    let size = message.body.len();
    let result = match &queue {
        Some(queue) => producer.send_to(&message, queue).await,
        None => producer.send(&message).await,
    };
    let outcome = match result {
        Ok(result) if result.status == SendStatus::SendOk => Ok((result, since.elapsed(), size)),
        // Stored, but not as safely as configured: no acknowledgement.
        Ok(result) => Err(format!("{} answered {:?}", result.address, result.status)),
        Err(error) => Err(error.to_string()),
    };
    (sequence, outcome)
}

fn settle(sent: &mut Sent, meter: &Meter, sequence: u64, outcome: Outcome) {
    match outcome {
        Ok((result, latency, size)) => {
            meter.acknowledged(latency, size, &result.address);
            sent.acknowledged.push(sequence);
        }
        Err(error) => meter.failed(error),
    }
}

/// When the next message is due. Latency counts from that moment, so that a stalled server cannot hide behind messages
/// not sent.
struct Pace {
    period: Option<Duration>,
    due: Instant,
}

impl Pace {
    fn new(rate: Option<f64>) -> Pace {
        Pace { period: rate.map(|it| Duration::from_secs_f64(1.0 / it.max(1e-3))), due: Instant::now() }
    }

    /// Waits for the next turn; [`Pace::taken`] says that it was used.
    async fn turn(&self) -> Instant {
        if self.period.is_none() {
            return Instant::now();
        }
        tokio::time::sleep_until(self.due).await;
        self.due
    }

    fn taken(&mut self) {
        self.due += self.period.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pace_makes_up_for_a_stall() {
        let mut pace = Pace::new(Some(1000.0));
        let start = pace.due;
        tokio::time::sleep(Duration::from_millis(20)).await;
        for turn in 0..20 {
            let due = pace.turn().await;
            assert_eq!(
                due - start,
                Duration::from_millis(turn),
                "latency counts from when it was due, not from when the stall ended"
            );
            pace.taken();
        }
    }

    #[tokio::test]
    async fn without_a_rate_it_is_always_our_turn() {
        let before = Instant::now();
        let pace = Pace::new(None);
        assert!(pace.turn().await >= before);
    }
}
