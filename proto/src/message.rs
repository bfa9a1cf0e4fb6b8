//! The commit log record and the message a producer hands to the store. (codec to be written)

use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;

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
