//! Queue locks of ordered consumers: LOCK_BATCH_MQ (41), UNLOCK_BATCH_MQ (42).

use super::{Answer, body, json, success};
use crate::broker::Broker;
use node::clock::monotonic_ms;
use proto::Command;
use proto::body::{LockBatchRequestBody, LockBatchResponseBody};

pub(super) fn lock(broker: &Broker, command: &Command) -> Answer {
    let request: LockBatchRequestBody = body(command)?;
    let now = monotonic_ms();
    let mut locks = broker.locks.lock();
    let mut taken = request.mq_set;
    taken.retain(|it| locks.lock(now, &request.consumer_group, &request.client_id, (it.topic.clone(), it.queue_id)));
    Ok(json(&LockBatchResponseBody { lock_ok_mq_set: taken }))
}

pub(super) fn unlock(broker: &Broker, command: &Command) -> Answer {
    let request: LockBatchRequestBody = body(command)?;
    let mut locks = broker.locks.lock();
    for queue in request.mq_set {
        locks.unlock(&request.consumer_group, &request.client_id, &(queue.topic, queue.queue_id));
    }
    Ok(success())
}
