//! What a queue holds: GET_MAX_OFFSET (30), GET_MIN_OFFSET (31), SEARCH_OFFSET_BY_TIMESTAMP (29),
//! GET_EARLIEST_MSG_STORETIME (32), VIEW_MESSAGE_BY_ID (33).

use super::{Answer, header, refuse, success};
use crate::broker::Broker;
use bytes::Bytes;
use proto::Command;
use proto::code::response;
use proto::header::{
    GetEarliestMsgStoretimeResponse, GetMaxOffsetRequest, GetMinOffsetRequest, OffsetResponse, SearchOffsetRequest,
    ViewMessageRequest,
};

fn bounds(broker: &Broker, topic: &str, queue_id: i32) -> (i64, i64) {
    broker.store.queue_bounds(topic, queue_id).unwrap_or((0, 0))
}

pub(super) fn max_offset(broker: &Broker, command: &Command) -> Answer {
    let request: GetMaxOffsetRequest = header(command)?;
    let (_, offset) = bounds(broker, &request.topic, request.queue_id);
    Ok(success().with_header(&OffsetResponse { offset }))
}

pub(super) fn min_offset(broker: &Broker, command: &Command) -> Answer {
    let request: GetMinOffsetRequest = header(command)?;
    let (offset, _) = bounds(broker, &request.topic, request.queue_id);
    Ok(success().with_header(&OffsetResponse { offset }))
}

/// `lower` (default): the first message not older. `upper`: the last one not newer.
pub(super) fn offset_by_time(broker: &Broker, command: &Command) -> Answer {
    let request: SearchOffsetRequest = header(command)?;
    let (topic, queue_id, timestamp) = (&request.topic, request.queue_id, request.timestamp);
    let upper = request.boundary_type.as_deref().is_some_and(|it| it.eq_ignore_ascii_case("upper"));
    let offset = if upper {
        // One before the first that is newer; 0 when all are.
        (broker.store.offset_by_time(topic, queue_id, timestamp.saturating_add(1)) - 1).max(0)
    } else {
        broker.store.offset_by_time(topic, queue_id, timestamp)
    };
    Ok(success().with_header(&OffsetResponse { offset }))
}

pub(super) fn earliest_time(broker: &Broker, command: &Command) -> Answer {
    let request: GetMinOffsetRequest = header(command)?;
    let (min, _) = bounds(broker, &request.topic, request.queue_id);
    let timestamp = broker.store.store_time(&request.topic, request.queue_id, min).unwrap_or(-1);
    Ok(success().with_header(&GetEarliestMsgStoretimeResponse { timestamp }))
}

/// Not beyond what is confirmed: an unconfirmed message may yet be cut (S3).
pub(super) fn message_by_id(broker: &Broker, command: &Command) -> Answer {
    let request: ViewMessageRequest = header(command)?;
    let confirmed = request.offset >= 0 && request.offset < broker.store.confirm_offset();
    match broker.store.record_at(request.offset).filter(|_| confirmed) {
        Some(record) => Ok(success().with_body(Bytes::copy_from_slice(&record))),
        None => Err(refuse(response::SYSTEM_ERROR, format!("can not find message by offset: {}", request.offset))),
    }
}
