//! The commit log record, and the message a producer hands to the store. A pull answer is these records one after
//! another.
//!
//! ```text
//! offset  0     4      8         12        16    20            28               36        40              48
//!         size  magic  body_crc  queue_id  flag  queue_offset  physical_offset  sys_flag  born_timestamp  born_host
//!         i32   i32    i32       i32       i32   i64           i64              i32       i64             8, IPv6: 20
//! then    store_timestamp i64, store_host (8 or 20), reconsume_times i32, prepared_transaction_offset i64,
//!         body_len i32, body, topic_len (i8; i16 in V2), topic, properties_len i16, properties
//! ```
//! The rest of a file that the next record does not fit into begins with a blank: `room i32, BLANK_MAGIC i32`, then
//! anything.
//!
//! Encoding takes the positions as arguments and can patch them later, so that the bytes are made before the append
//! lock is taken.

use crate::Offset;
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

mod record;
pub use record::{Record, RecordCheck, RecordError, TextRanges, check, records};

pub const MAGIC_V1: i32 = -626843481;
/// Topic length of two bytes; written only for topics of more than 127 characters, which old clients cannot decode.
pub const MAGIC_V2: i32 = -626843477;
pub const BLANK_MAGIC: i32 = -875286124;
/// Bytes of a blank that mean something; a file always keeps that many spare.
pub const BLANK_SIZE: usize = 8;
/// Record without body, topic and properties: V1, both hosts IPv4.
pub const MIN_SIZE: usize = 91;

/// Where a record's queue offset stands.
pub const QUEUE_OFFSET: Range<usize> = 20..28;
pub(crate) const AT_PHYSICAL_OFFSET: usize = 28;
pub(crate) const AT_SYS_FLAG: usize = 36;
pub(crate) const AT_BORN_HOST: usize = 48;

/// Bits of `sys_flag`.
pub mod sys_flag {
    pub const COMPRESSED: i32 = 0x1;
    pub const MULTI_TAGS: i32 = 0x2;
    pub const TRANSACTION_MASK: i32 = 0xC;
    pub const TRANSACTION_PREPARED: i32 = 0x4;
    pub const TRANSACTION_COMMIT: i32 = 0x8;
    pub const TRANSACTION_ROLLBACK: i32 = 0xC;
    pub const BORN_HOST_V6: i32 = 0x10;
    pub const STORE_HOST_V6: i32 = 0x20;
    pub const NEED_UNWRAP: i32 = 0x40;
    pub const INNER_BATCH: i32 = 0x80;
    pub const COMPRESSION_MASK: i32 = 0x700;
    pub const COMPRESSION_LZ4: i32 = 0x100;
    pub const COMPRESSION_ZSTD: i32 = 0x200;
    pub const COMPRESSION_ZLIB: i32 = 0x300;

    /// Only these enter a consume queue and are given a queue offset; prepared and rollback records are not.
    pub fn is_indexed(sys_flag: i32) -> bool {
        matches!(sys_flag & TRANSACTION_MASK, 0 | TRANSACTION_COMMIT)
    }
}

/// A message that is not stored yet: everything of the record but sizes, offsets and the store time.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: Arc<str>,
    pub queue_id: i32,
    /// The producer's flag.
    pub flag: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: Bytes,
    /// `name \x01 value \x02 …`, as stored.
    pub properties: String,
}

/// A field that has no room in the record's layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("topic of {0} bytes: at most 32767")]
    Topic(usize),
    #[error("properties of {0} bytes: at most 32767")]
    Properties(usize),
    #[error("body of {0} bytes: record would not fit into 2 GiB")]
    Body(usize),
}

impl Message {
    /// V2 when the topic's length does not fit into V1's signed byte.
    fn is_v2(&self) -> bool {
        self.topic.len() > 127
    }

    /// `sys_flag` with the address family bits that match the hosts.
    fn stored_sys_flag(&self) -> i32 {
        let family = |host: &SocketAddr, bit| if host.is_ipv6() { bit } else { 0 };
        (self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6))
            | family(&self.born_host, sys_flag::BORN_HOST_V6)
            | family(&self.store_host, sys_flag::STORE_HOST_V6)
    }

    /// Bytes of the record.
    pub fn encoded_size(&self) -> usize {
        let v6 = usize::from(self.born_host.is_ipv6()) + usize::from(self.store_host.is_ipv6());
        MIN_SIZE + usize::from(self.is_v2()) + 12 * v6 + self.body.len() + self.topic.len() + self.properties.len()
    }

    /// Appends the record to `out`; returns its size. Positions may be wrong yet, see [`patch`].
    pub fn encode_into(
        &self,
        out: &mut Vec<u8>,
        queue_offset: i64,
        physical_offset: Offset,
        store_timestamp: i64,
    ) -> Result<usize, EncodeError> {
        let topic_len = i16::try_from(self.topic.len()).map_err(|_| EncodeError::Topic(self.topic.len()))?;
        let properties_len =
            i16::try_from(self.properties.len()).map_err(|_| EncodeError::Properties(self.properties.len()))?;
        let size = self.encoded_size();
        let record_len = i32::try_from(size).map_err(|_| EncodeError::Body(self.body.len()))?;
        let begin = out.len();
        out.reserve(size);
        out.extend_from_slice(&record_len.to_be_bytes());
        out.extend_from_slice(&if self.is_v2() { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        out.extend_from_slice(&body_crc(&self.body).to_be_bytes());
        out.extend_from_slice(&self.queue_id.to_be_bytes());
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&queue_offset.to_be_bytes());
        out.extend_from_slice(&physical_offset.to_be_bytes());
        out.extend_from_slice(&self.stored_sys_flag().to_be_bytes());
        out.extend_from_slice(&self.born_timestamp.to_be_bytes());
        push_host(out, &self.born_host);
        out.extend_from_slice(&store_timestamp.to_be_bytes());
        push_host(out, &self.store_host);
        out.extend_from_slice(&self.reconsume_times.to_be_bytes());
        out.extend_from_slice(&self.prepared_transaction_offset.to_be_bytes());
        // The whole record fits an i32, so its body does.
        out.extend_from_slice(&(self.body.len() as i32).to_be_bytes());
        out.extend_from_slice(&self.body);
        if self.is_v2() {
            out.extend_from_slice(&topic_len.to_be_bytes());
        } else {
            out.push(self.topic.len() as u8);
        }
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&properties_len.to_be_bytes());
        out.extend_from_slice(self.properties.as_bytes());
        debug_assert_eq!(out.len() - begin, size);
        Ok(size)
    }
}

/// Puts the final positions into an encoded record. Does nothing to bytes too short to be one.
pub fn patch(record: &mut [u8], queue_offset: i64, physical_offset: Offset, store_timestamp: i64) {
    let Some(at) = store_timestamp_at(record) else { return };
    if record.len() < at + 8 {
        return;
    }
    record[QUEUE_OFFSET].copy_from_slice(&queue_offset.to_be_bytes());
    record[AT_PHYSICAL_OFFSET..][..8].copy_from_slice(&physical_offset.to_be_bytes());
    record[at..][..8].copy_from_slice(&store_timestamp.to_be_bytes());
}

/// Store time of an encoded record, without decoding the rest.
pub fn store_timestamp(record: &[u8]) -> Option<i64> {
    let at = store_timestamp_at(record)?;
    record.get(at..at + 8)?.first_chunk().map(|bytes| i64::from_be_bytes(*bytes))
}

fn store_timestamp_at(record: &[u8]) -> Option<usize> {
    let flag = i32::from_be_bytes(*record.get(AT_SYS_FLAG..AT_SYS_FLAG + 4)?.first_chunk()?);
    Some(AT_BORN_HOST + if flag & sys_flag::BORN_HOST_V6 != 0 { 20 } else { 8 })
}

/// The eight bytes that close a file with `room` bytes left.
pub fn encode_blank(room: i32) -> [u8; BLANK_SIZE] {
    let mut out = [0; BLANK_SIZE];
    out[..4].copy_from_slice(&room.to_be_bytes());
    out[4..].copy_from_slice(&BLANK_MAGIC.to_be_bytes());
    out
}

/// CRC-32 without the sign bit, as stored.
pub fn body_crc(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

fn push_host(out: &mut Vec<u8>, host: &SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&i32::from(host.port()).to_be_bytes());
}

/// The id a broker gives a message: store host and physical offset in upper-case hex, 32 digits (56 for IPv6).
pub fn offset_message_id(store_host: &SocketAddr, offset: Offset) -> String {
    let mut bytes = Vec::with_capacity(28);
    push_host(&mut bytes, store_host);
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Store host and physical offset of an [`offset_message_id`]; `None` for any other text.
pub fn parse_offset_message_id(id: &str) -> Option<(SocketAddr, Offset)> {
    if !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let bytes =
        (0..id.len() / 2).map(|i| u8::from_str_radix(&id[i * 2..i * 2 + 2], 16).ok()).collect::<Option<Vec<u8>>>()?;
    let ip: IpAddr = match id.len() {
        32 => (*bytes.first_chunk::<4>()?).into(),
        56 => (*bytes.first_chunk::<16>()?).into(),
        _ => return None,
    };
    let rest = &bytes[bytes.len() - 12..];
    let port = u16::try_from(i32::from_be_bytes(*rest.first_chunk()?)).ok()?;
    Some((SocketAddr::new(ip, port), i64::from_be_bytes(*rest.last_chunk()?)))
}

#[cfg(test)]
mod tests;
