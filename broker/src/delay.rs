//! Delayed messages: while this replica is the master, what is due in the delay topic is appended to the topics
//! it was for.
//!
//! ```text
//! send, DELAY=3 ──▶ SCHEDULE_TOPIC_XXXX queue 2 ──10 s──▶ the real topic ──confirmed──▶ delayOffset.json, slaves
//! ```
//! Only confirmed messages are in the queue that is read (S3), and a level's offset moves only past copies that are
//! confirmed themselves. So a successor, which has the offsets of some 50 ms ago (S13), delivers what is missing: a
//! failover repeats some messages and loses none.

mod level;
mod message;

pub use message::{level, scheduled};

use crate::broker::Broker;
use crate::put::{NotPut, Put};
use ha::Ack;
use level::Next;
use message::delivered;
use node::clock::wall_ms;
use node::throttle::Throttle;
use proto::message::Record;
use proto::queue_entry::QueueEntry;
use proto::topic::SCHEDULE_TOPIC;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks at the queues, unless a message is due earlier. No level is shorter than a second, so that every
/// message is seen before it is due.
const LOOK: Duration = Duration::from_millis(100);
/// After something failed: a full disk, a set that is too small.
const RETRY: Duration = Duration::from_secs(1);
/// Messages of one level between two looks at the others; all are confirmed together.
const BATCH: i64 = 256;
/// And their bytes.
const BATCH_BYTES: usize = 4 << 20;
/// What a look may still take when the broker is stopping.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// How long a planned change may hold appends before it is looked at again (S10).
const LONGEST_HELD: Duration = Duration::from_secs(1);

static COMPLAINTS: Throttle = Throttle::new();

/// What was appended of one level, or of all.
#[derive(Default)]
struct Batch {
    /// Level and the offset up to which it is delivered once `last` is confirmed.
    reached: Vec<(i32, i64)>,
    last: Option<Put>,
    messages: usize,
    /// Until the next message is due.
    wait: Option<Duration>,
    /// The rest could not be appended now.
    failed: bool,
    /// Mastership was lost and won between two appends: what happened to the first is unknown.
    torn: bool,
}

impl Batch {
    fn appended(&mut self, put: Put) {
        self.torn |= self.last.is_some_and(|it| !it.same_term(&put));
        self.last = Some(put);
        self.messages += 1;
    }
}

pub async fn run(broker: Arc<Broker>, stop: CancellationToken) {
    let mut role = broker.role.clone();
    // A look that has appended something may finish: what it does not note is delivered again after the restart.
    let ended = async || {
        stop.cancelled().await;
        tokio::time::sleep(LAST_LOOK).await;
    };
    loop {
        let pause = match broker.is_master() {
            true => tokio::select! {
                pause = look(&broker) => pause,
                () = ended() => return,
            },
            false => Duration::MAX,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = role.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// One look at every level. Answers when to look again.
async fn look(broker: &Broker) -> Duration {
    if let Some(released) = broker.replication.held(LONGEST_HELD) {
        released.await;
        return Duration::ZERO;
    }
    let levels = &broker.delay_levels;
    let mut batch = Batch::default();
    for level in 1..=levels.max() {
        append_due(broker, level, levels.delay_ms(level), &mut batch);
        if batch.failed {
            break;
        }
        tokio::task::yield_now().await;
    }
    if let Some(put) = batch.last
        && (batch.torn || !all_confirmed(broker, put).await)
    {
        return RETRY;
    }
    broker.metrics.delivered(batch.messages);
    let mut offsets = broker.metadata.offsets();
    for (level, offset) in batch.reached {
        offsets.delivered(level, offset);
    }
    if batch.failed { RETRY } else { batch.wait.map_or(LOOK, |it| it.min(LOOK)) }
}

/// Appends what is due of one level, in the order of its queue.
fn append_due(broker: &Broker, level: i32, delay: i64, batch: &mut Batch) {
    let queue_id = level - 1;
    let bounds = broker.store.queue_bounds(SCHEDULE_TOPIC, queue_id);
    let at = broker.metadata.offsets().delays().get(level);
    let from = match level::next(at, bounds, broker.has_caught_up()) {
        Next::From(from) => from,
        Next::Clamp(end) => {
            tracing::warn!(level, at, end, "more of a delay level was delivered than its queue has; it was moved back");
            return broker.metadata.offsets().clamp_delay(level, end);
        }
        Next::Nothing => return,
    };
    let entries = match broker.store.entries(SCHEDULE_TOPIC, queue_id, from, BATCH) {
        Ok(entries) => entries,
        Err(error) => return fail(batch, level, &error),
    };
    let (mut next, mut bytes, now) = (from, 0, wall_ms());
    for entry in entries {
        let wait = level::wait(now, entry.tags_code, delay);
        if wait > 0 && !entry.is_pre_blank() {
            batch.wait = Some(Duration::from_millis(wait).min(batch.wait.unwrap_or(Duration::MAX)));
            break;
        }
        match append(broker, level, next, &entry) {
            Ok(Some(put)) => batch.appended(put),
            Ok(None) => {}
            Err(error) => {
                fail(batch, level, &error);
                break;
            }
        }
        next += 1;
        bytes += entry.size.max(0) as usize;
        // Whatever is left of a long queue is due as well.
        if bytes >= BATCH_BYTES || next == from + BATCH {
            batch.wait = Some(Duration::ZERO);
            break;
        }
    }
    if next > at {
        batch.reached.push((level, next));
    }
}

fn fail(batch: &mut Batch, level: i32, error: &dyn std::error::Error) {
    batch.failed = true;
    COMPLAINTS.say(|_| tracing::warn!(level, %error, "delayed messages wait until they can be delivered"));
}

/// `None`: there is nothing to deliver at this place.
fn append(broker: &Broker, level: i32, offset: i64, entry: &QueueEntry) -> Result<Option<Put>, NotPut> {
    if entry.is_pre_blank() {
        return Ok(None);
    }
    let Some(record) = broker.store.record_at(entry.offset) else {
        tracing::warn!(level, offset, at = entry.offset, "a delayed message is not in the log any more");
        return Ok(None);
    };
    let message = match Record::decode(&record)
        .map_err(|error| error.to_string())
        .and_then(|record| delivered(&record).map_err(|error| error.to_string()))
    {
        Ok(message) => message,
        Err(why) => {
            tracing::error!(
                level,
                offset,
                at = entry.offset,
                why,
                "a delayed message cannot be delivered; it is skipped"
            );
            return Ok(None);
        }
    };
    match broker.put(message) {
        Ok(put) => Ok(Some(put)),
        Err(NotPut::Illegal(why)) => {
            tracing::error!(
                level,
                offset,
                at = entry.offset,
                why,
                "a delayed message cannot be delivered; it is skipped"
            );
            Ok(None)
        }
        Err(not_now) => Err(not_now),
    }
}

/// Waits as long as it takes: appending again what only lacks its confirmation would repeat it without end.
async fn all_confirmed(broker: &Broker, put: Put) -> bool {
    loop {
        match broker.confirmed(put).await {
            Ack::Acknowledged => return true,
            Ack::Deposed => return false,
            Ack::Timeout => tokio::time::sleep(LOOK).await,
        }
    }
}
