//! From the log to the consume queues: whole records below the confirm offset only (S3), in log order, off the append
//! path.

use crate::consume_queue::{ConsumeQueue, Staged};
use crate::queue_table::has_place;
use crate::scan::{Step, Verify};
use crate::{DelayLevels, Shared, StoreError};
use proto::Offset;
use proto::message::{Record, sys_flag};
use proto::properties;
use proto::queue_entry::QueueEntry;
use proto::topic::SCHEDULE_TOPIC;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tracing::{error, warn};

/// Log bytes per round: bounds how long a truncation or a role change waits for the dispatch lock, and the memory of
/// staged entries.
const ROUND_BYTES: i64 = 1 << 20;
/// Pause after a failed write of a consume queue (a full disk) and after bytes that are no record.
const RETRY: Duration = Duration::from_millis(200);
/// Every change of the limit wakes the thread; this is only for the one that happens while it starts.
const IDLE: Duration = Duration::from_secs(1);

/// What the dispatch lock guards.
pub(crate) struct Dispatcher {
    /// Everything below is in the consume queues. A record boundary.
    pub position: Offset,
    /// Store time of the last record below.
    pub last_store_timestamp: i64,
    /// Queues with staged entries: of the round that is on, and of no other.
    touched: Vec<Arc<ConsumeQueue>>,
    /// The place that was last reported as no record, so that it is logged once.
    reported: Offset,
}

/// Why a round ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// There may be more.
    Progress,
    /// Nothing whole below the limit.
    Idle,
    /// What stands at the position is no record; nothing behind it can be dispatched.
    Stuck(String),
    /// A record's queue offset is beyond its queue's end (only when looking for gaps).
    Gap,
}

/// What to do when entries before a record's are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnGap {
    Fill,
    Report,
}

impl Dispatcher {
    pub fn at(position: Offset) -> Dispatcher {
        Dispatcher { position, last_store_timestamp: 0, touched: Vec::new(), reported: -1 }
    }

    /// Takes a position that was cut or recovered. Nothing may be staged.
    pub fn rewind(&mut self, position: Offset) {
        *self = Dispatcher { last_store_timestamp: self.last_store_timestamp, ..Dispatcher::at(position) };
    }
}

impl Shared {
    /// Where dispatch may go.
    pub fn dispatch_limit(&self) -> Offset {
        let max = self.log.max();
        if self.config.replicated { max.min(self.confirm.load(Ordering::Acquire)) } else { max }
    }

    /// Dispatches up to [`ROUND_BYTES`] of whole records below `limit`. After an error nothing has happened: nobody may
    /// take a position for dispatched whose entries are only staged, and a cut may come before they are written.
    pub fn dispatch_round(&self, d: &mut Dispatcher, limit: Offset, on_gap: OnGap) -> Result<Round, StoreError> {
        let (position, last_store_timestamp) = (d.position, d.last_store_timestamp);
        let round = self.try_round(d, limit, on_gap);
        if round.is_err() {
            d.touched.drain(..).for_each(|queue| queue.unstage());
            (d.position, d.last_store_timestamp) = (position, last_store_timestamp);
        }
        round
    }

    fn try_round(&self, d: &mut Dispatcher, limit: Offset, on_gap: OnGap) -> Result<Round, StoreError> {
        let (begin, mut at) = (d.position, d.position.max(self.log.min()));
        let mut outcome = Round::Progress;
        while at < limit && at - begin < ROUND_BYTES {
            let Some(file) = self.log.find(at) else { break };
            match file.step(at, (limit - at) as usize, Verify::Layout) {
                Step::Record(record) => {
                    if self.index(d, &record, on_gap)? == Indexed::Gap {
                        outcome = Round::Gap;
                        break;
                    }
                    at += record.size as i64;
                    d.position = at;
                    d.last_store_timestamp = record.store_timestamp;
                }
                Step::NextFile(next) => at = next,
                Step::Partial => break,
                Step::Unwritten => {
                    outcome = Round::Stuck("zeroes where a record should begin".into());
                    break;
                }
                Step::Invalid(why) => {
                    outcome = Round::Stuck(why);
                    break;
                }
            }
        }
        if outcome == Round::Progress && at == begin {
            outcome = Round::Idle;
        }
        d.position = at;
        self.publish(d)?;
        Ok(outcome)
    }

    fn index(&self, d: &mut Dispatcher, record: &Record<'_>, on_gap: OnGap) -> Result<Indexed, StoreError> {
        if !has_place(record) {
            if sys_flag::is_indexed(record.sys_flag) {
                warn!(
                    topic = record.topic,
                    queue = record.queue_id,
                    offset = record.physical_offset,
                    queue_offset = record.queue_offset,
                    "record of an impossible queue or place in it; not indexed"
                );
            }
            return Ok(Indexed::Done);
        }
        let queue = self.queues.get_or_create(record.topic, record.queue_id)?;
        let tags_code = tags_code(record, &self.config.delay_levels);
        let entry = QueueEntry { offset: record.physical_offset, size: record.size as i32, tags_code };
        if on_gap == OnGap::Report && record.queue_offset > queue.next() && entry.end() > queue.max_physical() {
            return Ok(Indexed::Gap);
        }
        if !d.touched.iter().any(|touched| Arc::ptr_eq(touched, &queue)) {
            d.touched.push(queue.clone());
        }
        match queue.stage(record.queue_offset, entry)? {
            Staged::Gap => warn!(
                topic = record.topic,
                queue = record.queue_id,
                queue_offset = record.queue_offset,
                "earlier messages of this queue are not in the log"
            ),
            Staged::Added | Staged::Repeat => {}
        }
        Ok(Indexed::Done)
    }

    /// Writes the staged entries, then shows them: the position that readers of it see never runs ahead of the queues.
    fn publish(&self, d: &mut Dispatcher) -> Result<(), StoreError> {
        let mut has_grown = false;
        while let Some(queue) = d.touched.last() {
            if let Some(max_offset) = queue.publish()? {
                self.grown.lock().insert((queue.topic.clone(), queue.id), max_offset);
                has_grown = true;
            }
            d.touched.pop();
        }
        self.dispatched.store(d.position, Ordering::Release);
        if has_grown {
            self.grown_notify.notify_one();
        }
        Ok(())
    }

    /// The dispatch thread: sleeps until the log or the confirm offset moves.
    pub fn run_dispatch(&self) {
        self.dispatch_wake.enlist();
        while !self.is_stopped() {
            if !self.has_to_dispatch() {
                std::thread::park_timeout(IDLE);
            } else if self.dispatch_once() == Next::Pause {
                std::thread::park_timeout(RETRY);
            }
        }
    }

    pub fn has_to_dispatch(&self) -> bool {
        self.dispatch_limit() > self.dispatched.load(Ordering::Acquire)
    }

    pub fn dispatch_once(&self) -> Next {
        let mut d = self.dispatch.lock();
        // Read under the lock: a truncation may have lowered it while we waited.
        let limit = self.dispatch_limit();
        let round = self.dispatch_round(&mut d, limit, OnGap::Fill);
        let noted = if self.config.replicated { self.checkpoint.note_confirm(self.confirm_offset()) } else { Ok(()) };
        let round = round.and_then(|round| noted.map(|()| round));
        let position = d.position;
        let first_time =
            matches!(round, Err(_) | Ok(Round::Stuck(_))) && std::mem::replace(&mut d.reported, position) != position;
        drop(d);
        match round {
            Ok(Round::Progress) => Next::GoOn,
            // The limit is inside a record: only a new limit helps.
            Ok(Round::Idle | Round::Gap) if self.dispatch_limit() == limit => Next::Pause,
            Ok(Round::Idle | Round::Gap) => Next::GoOn,
            Ok(Round::Stuck(why)) => {
                if first_time {
                    error!(offset = position, %why, "no record in the commit log where one should begin; consumers \
                        see nothing behind it");
                }
                Next::Pause
            }
            Err(error) => {
                if first_time {
                    error!(offset = position, %error, "consume queues cannot be written; trying again");
                }
                Next::Pause
            }
        }
    }
}

/// What the dispatch thread does after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    Pause,
}

#[derive(PartialEq, Eq)]
enum Indexed {
    Done,
    Gap,
}

/// What the queue entry says about the tags; in the delay topic, when the message is due.
fn tags_code(record: &Record<'_>, levels: &DelayLevels) -> i64 {
    if record.topic == SCHEDULE_TOPIC
        && let Some(wanted) = properties::get(record.properties, properties::DELAY).and_then(|it| it.parse().ok())
        && let Some(level) = levels.clip(wanted)
    {
        return levels.due(level, record.store_timestamp);
    }
    properties::tags_code(properties::get(record.properties, properties::TAGS))
}
