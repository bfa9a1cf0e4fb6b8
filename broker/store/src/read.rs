//! What consumers read: a queue's entries, and the records they point to.

use crate::durable::At;
use crate::scan::{Step, Verify};
use crate::{GetResult, GetStatus, Shared, StoreError};
use proto::Offset;
use proto::message::{Record, store_timestamp};
use proto::queue_entry::QueueEntry;

/// Entries looked at for one request when a filter passes few of them, at least; the original's 16,000 bytes.
const MIN_SCANNED_ENTRIES: i64 = 800;

impl Shared {
    pub fn get(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        max_messages: usize,
        max_bytes: usize,
        wanted: &dyn Fn(i64) -> bool,
    ) -> GetResult {
        let mut result = GetResult {
            status: GetStatus::NoMatchedLogicQueue,
            next_begin_offset: 0,
            min_offset: 0,
            max_offset: 0,
            messages: Vec::new(),
            last_store_timestamp: 0,
        };
        let Some(queue) = self.queues.get(topic, queue_id) else { return result };
        (result.min_offset, result.max_offset) = (queue.min(), queue.max());
        (result.status, result.next_begin_offset) = match offset {
            _ if result.max_offset == 0 => (GetStatus::NoMessageInQueue, 0),
            _ if offset < result.min_offset => (GetStatus::OffsetTooSmall, result.min_offset),
            _ if offset == result.max_offset => (GetStatus::OffsetOverflowOne, offset),
            _ if offset > result.max_offset => (GetStatus::OffsetOverflowBadly, result.max_offset),
            _ => (GetStatus::NoMatchedMessage, offset),
        };
        if result.status != GetStatus::NoMatchedMessage {
            return result;
        }
        let max_messages = max_messages.max(1);
        let last = result.max_offset.min(offset.saturating_add(MIN_SCANNED_ENTRIES.max(max_messages as i64)));
        let mut bytes = 0;
        'scan: while result.next_begin_offset < last {
            // No more than could be taken at once: most reads want few.
            let count = (last - result.next_begin_offset).min(max_messages as i64);
            let entries = queue.entries(result.next_begin_offset, count).unwrap_or_default();
            if entries.is_empty() {
                if result.messages.is_empty() {
                    result.status = GetStatus::OffsetFoundNull;
                    result.next_begin_offset = queue.roll(result.next_begin_offset);
                }
                break;
            }
            for entry in entries {
                if entry.is_pre_blank() || !wanted(entry.tags_code) {
                    result.next_begin_offset += 1;
                    continue;
                }
                let size = entry.size.max(0) as usize;
                if !result.messages.is_empty() && bytes + size > max_bytes {
                    break 'scan;
                }
                result.next_begin_offset += 1;
                match self.log.record(entry.offset, size) {
                    Some(record) => {
                        result.last_store_timestamp = store_timestamp(&record).unwrap_or(0);
                        result.status = GetStatus::Found;
                        result.messages.push(record);
                        bytes += size;
                    }
                    None if result.messages.is_empty() => result.status = GetStatus::MessageWasRemoving,
                    None => {}
                }
                if result.messages.len() >= max_messages || bytes >= max_bytes {
                    break 'scan;
                }
            }
        }
        result
    }

    pub fn entries(&self, topic: &str, queue_id: i32, offset: i64, count: i64) -> Result<Vec<QueueEntry>, StoreError> {
        let Some(queue) = self.queues.get(topic, queue_id) else { return Ok(Vec::new()) };
        queue.entries(offset, count).at(queue.dir(), "read")
    }

    pub fn walk(&self, from: Offset, to: Offset, each: &mut dyn FnMut(&Record<'_>)) -> Offset {
        let (mut at, to) = (from.max(self.log.min()), to.min(self.log.max()));
        while at < to {
            let Some(file) = self.log.find(at) else { break };
            match file.step(at, (to - at) as usize, Verify::Layout) {
                Step::Record(record) => {
                    each(&record);
                    at += record.size as Offset;
                }
                Step::NextFile(next) => at = next,
                Step::Partial | Step::Unwritten | Step::Invalid(_) => break,
            }
        }
        at
    }

    pub fn store_time(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let queue = self.queues.get(topic, queue_id)?;
        let entry = queue.entries(offset, 1).ok()?.into_iter().next()?;
        self.log.store_time(entry.offset, usize::try_from(entry.size).ok()?)
    }

    pub fn offset_by_time(&self, topic: &str, queue_id: i32, timestamp: i64) -> i64 {
        self.queues.get(topic, queue_id).map_or(0, |queue| {
            queue.lower_bound(timestamp, |entry| self.log.store_time(entry.offset, usize::try_from(entry.size).ok()?))
        })
    }
}
