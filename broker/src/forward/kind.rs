//! Which requests of clients a replica that is not the master passes on.

use proto::code::request;

/// How a request that another replica has to answer may be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// A send of messages: adds to the log, and can be found there by its key.
    Send,
    /// Adds to the log, and cannot be told from others there.
    Append,
    /// Has the same effect however often it is done.
    Repeatable,
}

/// `None`: answered here, whatever this replica is.
///
/// Consumer offsets, queue locks and a queue's ends are the master's to say: a slave's tables follow it, and its log
/// may have begun later. So is who consumes: a broker that has just come back knows few of a group, and a consumer that
/// believed it would take the others' queues. What operators change is not in the list: their tools know the master.
pub fn nature(code: i32) -> Option<Nature> {
    match code {
        request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => Some(Nature::Send),
        request::CONSUMER_SEND_MSG_BACK | request::END_TRANSACTION => Some(Nature::Append),
        request::QUERY_CONSUMER_OFFSET
        | request::UPDATE_CONSUMER_OFFSET
        | request::GET_MAX_OFFSET
        | request::GET_MIN_OFFSET
        | request::SEARCH_OFFSET_BY_TIMESTAMP
        | request::GET_CONSUMER_LIST_BY_GROUP
        | request::LOCK_BATCH_MQ
        | request::UNLOCK_BATCH_MQ => Some(Nature::Repeatable),
        _ => None,
    }
}
