//! Consumer offsets: QUERY_CONSUMER_OFFSET (14), UPDATE_CONSUMER_OFFSET (15).

use super::{Answer, group_missing, header, not_master, refuse, success, topic_missing};
use crate::broker::Broker;
use crate::memory;
use proto::Command;
use proto::code::response;
use proto::header::{OffsetResponse, QueryConsumerOffsetRequest, UpdateConsumerOffsetRequest};

/// A group without an offset starts at 0 if the queue's beginning is still there and warm; otherwise
/// the client decides.
pub(super) fn query(broker: &Broker, command: &Command) -> Answer {
    let request: QueryConsumerOffsetRequest = header(command)?;
    let (group, topic, queue_id) = (&request.consumer_group, &request.topic, request.queue_id);
    let known = broker.metadata.offsets().get(group, topic, queue_id);
    if let Some(offset) = known {
        return Ok(success().with_header(&OffsetResponse { offset }));
    }
    let zero_allowed = request.set_zero_if_not_found != Some(false);
    if zero_allowed && begins_at_zero(broker, topic, queue_id) {
        return Ok(success().with_header(&OffsetResponse { offset: 0 }));
    }
    Err(refuse(response::QUERY_NOT_FOUND, "Not found, maybe this group consumer boot first"))
}

fn begins_at_zero(broker: &Broker, topic: &str, queue_id: i32) -> bool {
    let Some((min, max)) = broker.store.queue_bounds(topic, queue_id) else { return true };
    if min > 0 {
        return false;
    }
    if max == 0 {
        return true;
    }
    let first = broker.store.get(topic, queue_id, 0, 1, 1, &|_| true);
    let at = first.messages.first().and_then(|it| memory::physical_offset(it));
    at.is_none_or(|at| !memory::is_cold(broker.store.max_offset() - at))
}

pub(super) fn update(broker: &Broker, command: &Command) -> Answer {
    let request: UpdateConsumerOffsetRequest = header(command)?;
    if !broker.is_master() {
        // A slave's table follows the master's; what is written here would be lost without a word.
        return Err(not_master(broker));
    }
    let settings = broker.metadata.settings();
    if settings.groups.get(&request.consumer_group).is_none() {
        return Err(group_missing(&request.consumer_group));
    }
    if settings.topics.get(&request.topic).is_none() {
        return Err(topic_missing(&request.topic));
    }
    let (group, topic) = (&request.consumer_group, &request.topic);
    broker.metadata.offsets().commit(group, topic, request.queue_id, request.commit_offset);
    Ok(success())
}
