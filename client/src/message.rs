//! A message to send, and a message read from a broker.

use crate::compression;
use bytes::Bytes;
use proto::message::{Record, offset_message_id};
use proto::properties;
use std::net::SocketAddr;

/// What a producer sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub body: Bytes,
    /// The sender's own number, stored with the message.
    pub flag: i32,
    /// Names and values; neither may be empty or hold bytes 1 and 2, which separate them on the wire.
    pub properties: Vec<(String, String)>,
}

impl Message {
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Message {
        Message { topic: topic.into(), body: body.into(), ..Message::default() }
    }

    pub fn with_property(mut self, name: &str, value: impl Into<String>) -> Message {
        self.properties.push((name.to_owned(), value.into()));
        self
    }

    /// The tag consumers filter by.
    pub fn with_tags(self, tags: &str) -> Message {
        self.with_property(properties::TAGS, tags)
    }

    /// Words, separated by spaces, under which the message can be found.
    pub fn with_keys(self, keys: &str) -> Message {
        self.with_property(properties::KEYS, keys)
    }

    /// The first property that cannot be sent.
    pub(crate) fn bad_property(&self) -> Option<&str> {
        let bad = |it: &str| it.is_empty() || it.contains([properties::NAME_END, properties::VALUE_END]);
        self.properties.iter().find(|(name, value)| bad(name) || bad(value)).map(|(name, _)| name.as_str())
    }
}

/// What a consumer reads: one stored record, its body decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageView {
    pub topic: String,
    pub broker_name: String,
    pub queue_id: i32,
    pub queue_offset: i64,
    /// Byte offset in the commit log of the broker set.
    pub physical_offset: i64,
    /// Bytes of the record as stored.
    pub store_size: usize,
    pub flag: i32,
    pub sys_flag: i32,
    pub body_crc: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_timestamp: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: Bytes,
    properties: String,
}

/// A record that cannot be read. Skipping it means pulling from `offset + 1`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {at} of the answer: {why}")]
pub struct CorruptMessage {
    /// Position in the answer, from 0.
    pub at: usize,
    pub why: String,
}

impl MessageView {
    /// Every record of a pull answer.
    pub fn decode_all(buf: &[u8], broker_name: &str) -> Result<Vec<MessageView>, CorruptMessage> {
        let decode = |(at, record): (usize, Result<Record, proto::message::RecordError>)| {
            let view = record.map_err(|e| e.to_string()).and_then(|it| MessageView::of(&it, broker_name));
            view.map_err(|why| CorruptMessage { at, why })
        };
        proto::message::records(buf).enumerate().map(decode).collect()
    }

    fn of(record: &Record<'_>, broker_name: &str) -> Result<MessageView, String> {
        if proto::message::body_crc(record.body) != record.body_crc {
            return Err(format!(
                "body of {} bytes at offset {} does not match its checksum",
                record.body.len(),
                record.queue_offset
            ));
        }
        let body = compression::decompress(record.body, record.sys_flag)
            .map_err(|why| format!("body of {} bytes at offset {}: {why}", record.body.len(), record.queue_offset))?;
        Ok(MessageView {
            topic: record.topic.to_owned(),
            broker_name: broker_name.to_owned(),
            queue_id: record.queue_id,
            queue_offset: record.queue_offset,
            physical_offset: record.physical_offset,
            store_size: record.size,
            flag: record.flag,
            sys_flag: record.sys_flag,
            body_crc: record.body_crc,
            born_timestamp: record.born_timestamp,
            born_host: record.born_host,
            store_timestamp: record.store_timestamp,
            store_host: record.store_host,
            reconsume_times: record.reconsume_times,
            prepared_transaction_offset: record.prepared_transaction_offset,
            body,
            properties: record.properties.to_owned(),
        })
    }

    pub fn property(&self, name: &str) -> Option<&str> {
        properties::get(&self.properties, name)
    }

    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        properties::pairs(&self.properties)
    }

    /// What users call the message id: given by the producer, the same for every copy.
    pub fn msg_id(&self) -> String {
        self.property(properties::UNIQ_KEY).map_or_else(|| self.offset_msg_id(), str::to_owned)
    }

    /// Names the place: store host and physical offset.
    pub fn offset_msg_id(&self) -> String {
        offset_message_id(&self.store_host, self.physical_offset)
    }

    pub fn tags(&self) -> Option<&str> {
        self.property(properties::TAGS)
    }

    pub fn keys(&self) -> Option<&str> {
        self.property(properties::KEYS)
    }
}

#[cfg(test)]
mod tests;
