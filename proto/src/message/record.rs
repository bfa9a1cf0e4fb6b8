//! Reading records: [`Record`] borrows everything from the buffer, [`check`] says whether the bytes at a place are a
//! record at all.

use super::{AT_BORN_HOST, BLANK_MAGIC, BLANK_SIZE, MAGIC_V1, MAGIC_V2, MIN_SIZE, QUEUE_OFFSET, body_crc, sys_flag};
use crate::Offset;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// One stored message; borrows from the log or from a pull answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Bytes of the whole record.
    pub size: usize,
    pub body_crc: i32,
    pub queue_id: i32,
    pub flag: i32,
    pub queue_offset: i64,
    pub physical_offset: Offset,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_timestamp: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    pub topic: &'a str,
    /// Up to the first byte that is not UTF-8, if there is one: an odd property must not hide a message.
    pub properties: &'a str,
}

/// Where a record's topic and its properties stand in it.
pub type TextRanges = [Range<usize>; 2];

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record needs {need} bytes, have {have}")]
    NeedMore { need: usize, have: usize },
    #[error("magic {0:08x} is no record's")]
    Magic(i32),
    #[error("record size {0}, at least {MIN_SIZE}")]
    Size(i32),
    #[error("{field} of length {len} at byte {at} passes the record's end at {size}")]
    Length { field: &'static str, len: i64, at: usize, size: usize },
    #[error("fields end at byte {end}, the record at {size}")]
    Rest { end: usize, size: usize },
    #[error("topic is not UTF-8")]
    Topic,
    #[error("port {0}")]
    Port(i32),
}

/// What is at a place of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordCheck {
    /// A whole record, layout and body checksum right.
    Valid {
        size: usize,
    },
    /// The rest of this file is unused: `size` bytes.
    Blank {
        size: usize,
    },
    /// Begins like a record, but the buffer ends before it does.
    NeedMore,
    Invalid {
        why: String,
    },
}

/// Judges the bytes at the start of `buf`. Does not know where they came from: the caller compares the physical offset.
pub fn check(buf: &[u8]) -> RecordCheck {
    if let (Some(size), Some(BLANK_MAGIC)) = (int(buf, 0), int(buf, 4)) {
        return match usize::try_from(size) {
            Ok(size) if size >= BLANK_SIZE => RecordCheck::Blank { size },
            _ => RecordCheck::Invalid { why: format!("blank of size {size}, at least {BLANK_SIZE}") },
        };
    }
    match Record::decode(buf) {
        Ok(record) if body_crc(record.body) == record.body_crc => RecordCheck::Valid { size: record.size },
        Ok(record) => RecordCheck::Invalid {
            why: format!(
                "record of {} bytes, crc {:08x}, stored {:08x}",
                record.size,
                body_crc(record.body),
                record.body_crc
            ),
        },
        Err(RecordError::NeedMore { .. }) => RecordCheck::NeedMore,
        Err(error) => RecordCheck::Invalid { why: error.to_string() },
    }
}

/// Every record of a pull answer, in order. Ends after the first error.
pub fn records(mut buf: &[u8]) -> impl Iterator<Item = Result<Record<'_>, RecordError>> {
    std::iter::from_fn(move || {
        if buf.is_empty() {
            return None;
        }
        let record = Record::decode(buf);
        buf = record.as_ref().map_or(&[], |record| &buf[record.size..]);
        Some(record)
    })
}

impl<'a> Record<'a> {
    /// Decodes the record at the start of `buf`. Does not check the body's checksum; [`check`] does.
    pub fn decode(buf: &'a [u8]) -> Result<Record<'a>, RecordError> {
        Record::decode_with_text(buf).map(|(record, _)| record)
    }

    /// The same, and where the text stands: all of the properties, whether or not they are UTF-8.
    pub fn decode_with_text(buf: &'a [u8]) -> Result<(Record<'a>, TextRanges), RecordError> {
        let short = || RecordError::NeedMore { need: BLANK_SIZE, have: buf.len() };
        let size = int(buf, 0).ok_or_else(short)?;
        let magic = int(buf, 4).ok_or_else(short)?;
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(RecordError::Magic(magic));
        }
        let size = usize::try_from(size).ok().filter(|size| *size >= MIN_SIZE).ok_or(RecordError::Size(size))?;
        let buf = buf.get(..size).ok_or(RecordError::NeedMore { need: size, have: buf.len() })?;
        let mut fields = Fields { buf, at: 8 };
        let body_crc = fields.i32("bodyCRC")?;
        let queue_id = fields.i32("queueId")?;
        let flag = fields.i32("flag")?;
        debug_assert_eq!(fields.at, QUEUE_OFFSET.start);
        let queue_offset = fields.i64("queueOffset")?;
        let physical_offset = fields.i64("physicalOffset")?;
        let sys_flag = fields.i32("sysFlag")?;
        let born_timestamp = fields.i64("bornTimestamp")?;
        debug_assert_eq!(fields.at, AT_BORN_HOST);
        let born_host = fields.host("bornHost", sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
        let store_timestamp = fields.i64("storeTimestamp")?;
        let store_host = fields.host("storeHost", sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
        let reconsume_times = fields.i32("reconsumeTimes")?;
        let prepared_transaction_offset = fields.i64("preparedTransactionOffset")?;
        let body_len = fields.i32("bodyLength")?;
        let body = fields.take("body", i64::from(body_len))?;
        let topic_len = match magic {
            MAGIC_V1 => i64::from(fields.take("topicLength", 1)?[0] as i8),
            _ => i64::from(fields.i16("topicLength")?),
        };
        let (topic, topic_range) = fields.take_ranged("topic", topic_len)?;
        let topic = std::str::from_utf8(topic).map_err(|_| RecordError::Topic)?;
        let properties_len = fields.i16("propertiesLength")?;
        let (properties, properties_range) = fields.take_ranged("properties", i64::from(properties_len))?;
        if fields.at != size {
            return Err(RecordError::Rest { end: fields.at, size });
        }
        let record = Record {
            size,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties: valid_prefix(properties),
        };
        Ok((record, [topic_range, properties_range]))
    }

    /// The id brokers give this message.
    pub fn offset_message_id(&self) -> String {
        super::offset_message_id(&self.store_host, self.physical_offset)
    }
}

fn valid_prefix(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

fn int(buf: &[u8], at: usize) -> Option<i32> {
    buf.get(at..at + 4)?.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

/// A cursor over one record's bytes.
struct Fields<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, field: &'static str, len: i64) -> Result<&'a [u8], RecordError> {
        let (at, size) = (self.at, self.buf.len());
        let end = usize::try_from(len).ok().and_then(|len| at.checked_add(len));
        let bytes = end.and_then(|end| self.buf.get(at..end)).ok_or(RecordError::Length { field, len, at, size })?;
        self.at += bytes.len();
        Ok(bytes)
    }

    fn take_ranged(&mut self, field: &'static str, len: i64) -> Result<(&'a [u8], Range<usize>), RecordError> {
        let from = self.at;
        Ok((self.take(field, len)?, from..self.at))
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], RecordError> {
        let (at, size) = (self.at, self.buf.len());
        let bytes = self.take(field, N as i64)?;
        bytes.first_chunk().copied().ok_or(RecordError::Length { field, len: N as i64, at, size })
    }

    fn i16(&mut self, field: &'static str) -> Result<i16, RecordError> {
        self.array(field).map(i16::from_be_bytes)
    }

    fn i32(&mut self, field: &'static str) -> Result<i32, RecordError> {
        self.array(field).map(i32::from_be_bytes)
    }

    fn i64(&mut self, field: &'static str) -> Result<i64, RecordError> {
        self.array(field).map(i64::from_be_bytes)
    }

    fn host(&mut self, field: &'static str, is_v6: bool) -> Result<SocketAddr, RecordError> {
        let ip: IpAddr = match is_v6 {
            true => self.array::<16>(field)?.into(),
            false => self.array::<4>(field)?.into(),
        };
        let port = self.i32(field)?;
        Ok(SocketAddr::new(ip, u16::try_from(port).map_err(|_| RecordError::Port(port))?))
    }
}
