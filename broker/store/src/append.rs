//! The append side: the gate, the queue offsets, and the bytes that enter the log, a producer's or a master's.
//!
//! Records are encoded before the lock is taken; under it they get their positions and are copied into the map. The
//! gate is checked under the same lock, so that closing it is a barrier (S2).

use crate::queue_table::has_place;
use crate::{Appended, PutError, Shared, StoreConfig, StoreError};
use proto::message::{BLANK_SIZE, Message, Record, patch, sys_flag};
use proto::properties;
use proto::{Epoch, Offset};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Longest topic a record is made for: `%RETRY%` names have at most 255 bytes.
const MAX_TOPIC: usize = 255;

/// What the append lock guards.
pub(crate) struct Writer {
    pub gate: Gate,
    pub next: QueueOffsets,
    /// Bytes have come from elsewhere since `next` was made; it has to be rebuilt before the gate opens.
    pub stale: bool,
}

pub(crate) enum Gate {
    Open(Epoch),
    Closed(String),
}

/// The queue offset of the next message of each queue, counting messages that consumers do not see yet.
#[derive(Default)]
pub(crate) struct QueueOffsets(HashMap<Arc<str>, HashMap<i32, i64>>);

impl QueueOffsets {
    pub fn get(&self, topic: &str, queue_id: i32) -> i64 {
        self.0.get(topic).and_then(|queues| queues.get(&queue_id)).copied().unwrap_or(0)
    }

    pub fn set(&mut self, topic: &str, queue_id: i32, next: i64) {
        match self.0.get_mut(topic) {
            Some(queues) => queues.insert(queue_id, next),
            None => self.0.entry(topic.into()).or_default().insert(queue_id, next),
        };
    }

    /// Goes on behind a record of the log as its consume queue does (`ConsumeQueue::stage`): not at all if it has no
    /// place there, or one that is taken; from the beginning with a first one.
    pub fn follow(&mut self, record: &Record<'_>) {
        let (topic, id, at) = (record.topic, record.queue_id, record.queue_offset);
        if has_place(record) && (at == 0 || at >= self.get(topic, id)) {
            self.set(topic, id, at + 1);
        }
    }

    pub fn remove_topic(&mut self, topic: &str) {
        self.0.remove(topic);
    }
}

/// Encoded records whose positions are not known yet.
struct Encoded {
    bytes: Vec<u8>,
    /// Size of each record and whether it takes a queue offset.
    records: Vec<(usize, bool)>,
}

fn encode(config: &StoreConfig, messages: &[Message]) -> Result<Encoded, PutError> {
    let illegal = |why: String| Err(PutError::Illegal(why));
    let Some(first) = messages.first() else { return illegal("no message".into()) };
    let mut encoded = Encoded { bytes: Vec::new(), records: Vec::with_capacity(messages.len()) };
    let mut body_bytes = 0;
    for message in messages {
        body_bytes += message.body.len();
        if body_bytes > config.max_message_size {
            return illegal(format!("body of {body_bytes} bytes, maxMessageSize is {}", config.max_message_size));
        }
        if message.topic.is_empty() || message.topic.len() > MAX_TOPIC {
            return illegal(format!("topic of {} bytes, 1 to {MAX_TOPIC} are allowed", message.topic.len()));
        }
        // Where a sector ends, one would look like what a loss of power leaves (S12).
        if message.topic.contains('\0') || message.properties.contains('\0') {
            return illegal("topic or properties with a NUL character".into());
        }
        if message.topic != first.topic || message.queue_id != first.queue_id {
            return illegal("messages of one batch go to one queue".into());
        }
        let size = match properties::stored(&message.properties) {
            Cow::Borrowed(_) => message.encode_into(&mut encoded.bytes, 0, 0, 0),
            Cow::Owned(properties) => {
                Message { properties, ..message.clone() }.encode_into(&mut encoded.bytes, 0, 0, 0)
            }
        };
        match size {
            Ok(size) => encoded.records.push((size, sys_flag::is_indexed(message.sys_flag))),
            Err(error) => return illegal(error.to_string()),
        }
    }
    if encoded.bytes.len() as u64 + BLANK_SIZE as u64 > config.commit_log_file_size {
        return illegal(format!("{} bytes do not fit one commit log file", encoded.bytes.len()));
    }
    Ok(encoded)
}

impl Shared {
    /// With an epoch given: under that one or not at all.
    pub fn append(&self, messages: &[Message], only: Option<Epoch>) -> Result<Appended, PutError> {
        let mut encoded = encode(&self.config, messages)?;
        let (topic, queue_id) = (&*messages[0].topic, messages[0].queue_id);
        let mut writer = self.writer.lock();
        let epoch = match &writer.gate {
            Gate::Open(epoch) => *epoch,
            Gate::Closed(why) => return Err(PutError::Closed(why.clone())),
        };
        if let Some(only) = only.filter(|it| *it != epoch) {
            return Err(PutError::Closed(format!("the epoch is {epoch}, not {only}")));
        }
        if let Some(why) = self.failed.get() {
            return Err(PutError::NotWritable(why.clone()));
        }
        let (file, begin) = self.log.place(encoded.bytes.len()).map_err(|error| put_error(&self.config, &error))?;
        let store_timestamp = node::clock::wall_ms();
        let queue_offset = if encoded.records[0].1 { writer.next.get(topic, queue_id) } else { 0 };
        let (mut next, mut at) = (queue_offset, 0);
        let mut offsets = Vec::with_capacity(encoded.records.len());
        for (size, indexed) in &encoded.records {
            let offset = begin + at as Offset;
            patch(&mut encoded.bytes[at..at + size], if *indexed { next } else { 0 }, offset, store_timestamp);
            offsets.push(offset);
            next += i64::from(*indexed);
            at += size;
        }
        file.write(file.position(begin), &encoded.bytes);
        if encoded.records[0].1 {
            writer.next.set(topic, queue_id, next);
        }
        let end = begin + at as Offset;
        self.log.publish_max(end);
        drop(writer);
        self.on_grown();
        Ok(Appended { epoch, offsets, end, queue_offset, store_timestamp })
    }

    pub fn append_replicated(&self, offset: Offset, bytes: &[u8]) -> Result<Offset, StoreError> {
        let mut writer = self.writer.lock();
        if matches!(writer.gate, Gate::Open(_)) {
            return Err(StoreError::Unusable("replicated bytes refused: this store takes its own appends".into()));
        }
        if let Some(why) = self.failed.get() {
            return Err(StoreError::Unusable(why.clone()));
        }
        let mut max = self.log.max();
        if offset != max {
            return Err(StoreError::NotContiguous { got: offset, want: max });
        }
        writer.stale = true;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (file, at) = self.log.current(max).map_err(|source| StoreError::Io {
                path: self.log.dir.display().to_string(),
                what: "allocate the next commit log file",
                source,
            })?;
            let (part, later) = rest.split_at(rest.len().min(file.size() - at));
            file.write(at, part);
            self.log.prepare_next(&file, at + part.len());
            max += part.len() as i64;
            self.log.publish_max(max);
            rest = later;
        }
        drop(writer);
        self.on_grown();
        Ok(max)
    }

    /// Wakes whoever works on a longer log.
    fn on_grown(&self) {
        if self.config.flush == crate::FlushDiskType::SyncFlush {
            self.flush_wake.wake();
        }
        if !self.config.replicated {
            self.dispatch_wake.wake();
        }
    }

    pub fn close_writes(&self, why: &str) {
        self.writer.lock().gate = Gate::Closed(why.into());
    }
}

fn put_error(config: &StoreConfig, error: &std::io::Error) -> PutError {
    let (dir, size) = (config.commit_log.display(), config.commit_log_file_size);
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => PutError::DiskFull(format!(
            "{dir}: no room for the next commit log file of {size} bytes; free some, appending resumes by itself"
        )),
        _ => PutError::NotWritable(format!("{dir}: allocate the next commit log file: {error}")),
    }
}
