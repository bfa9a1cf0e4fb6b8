//! What slaves ask their master: a Baton slave by one long poll (S13), a Java slave by GET_ALL_CONSUMER_OFFSET (43),
//! GET_ALL_DELAY_OFFSET (45), GET_ALL_MESSAGE_REQUEST_MODE (402), GET_TIMER_METRICS (61) and GET_TIMER_CHECK_POINT
//! (60), beside 21 and 201.

use super::{Answer, header, json, not_master, success};
use crate::broker::Broker;
use crate::sync_wire::{SyncRequest, SyncResponse};
use bytes::{BufMut, BytesMut};
use ha::Role;
use node::remoting::Reply;
use proto::Command;
use proto::body::DataVersion;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A slave may ask to be held no longer than this, so that a silent link is noticed.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// BATON_METADATA_SYNC: acknowledges what the slave has, answers what it lacks.
pub(super) fn baton(broker: &Arc<Broker>, command: &Command) -> Reply {
    let request: SyncRequest = match header(command) {
        Ok(request) => request,
        Err(refused) => return Reply::Now(refused),
    };
    if !broker.is_master() {
        return Reply::Now(not_master(broker));
    }
    let broker = broker.clone();
    Reply::Later(Box::pin(async move { answer(&broker, request).await }))
}

async fn answer(broker: &Broker, request: SyncRequest) -> Command {
    let deadline = Instant::now() + LONGEST_HOLD.min(Duration::from_millis(request.wait));
    let mut versions = broker.metadata.versions();
    let mut role = broker.role.clone();
    let current = *versions.borrow_and_update();
    broker.members.note(&broker.replication, request.broker_id, request.has, current);
    loop {
        let (is_master, epoch) = {
            let role = role.borrow_and_update();
            (role.role == Role::Master, role.master_epoch)
        };
        if !is_master {
            return not_master(broker);
        }
        let current = *versions.borrow_and_update();
        // The tables become this mastership's a moment after the role does; until then they are an older master's.
        let ours = current.master_epoch == epoch;
        if let Some((version, body)) = broker.metadata.newer_than(request.has).filter(|_| ours) {
            return json(&body).with_header(&SyncResponse { version });
        }
        tokio::select! {
            _ = versions.changed() => {}
            _ = role.changed() => {}
            () = tokio::time::sleep_until(deadline) => {
                let version = if ours { current } else { request.has };
                return json(&crate::sync_wire::SyncBody::default()).with_header(&SyncResponse { version });
            }
        }
    }
}

pub(super) fn consumer_offsets(broker: &Broker) -> Answer {
    Ok(json(&broker.metadata.offsets().to_file()))
}

pub(super) fn delay_offsets(broker: &Broker) -> Answer {
    Ok(json(&broker.metadata.offsets().delays().to_file()))
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestModes {
    message_request_mode_map: BTreeMap<String, String>,
}

pub(super) fn request_modes() -> Answer {
    Ok(json(&RequestModes::default()))
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TimerMetrics {
    data_version: DataVersion,
    timing_count: BTreeMap<String, i64>,
}

pub(super) fn timer_metrics() -> Answer {
    Ok(json(&TimerMetrics::default()))
}

/// 56 bytes: last read time, last flushed position of the timer log, last queue offset, master's queue offset,
/// then a DataVersion.
pub(super) fn timer_check_point() -> Answer {
    const SIZE: usize = 56;
    let mut bytes = BytesMut::with_capacity(SIZE);
    bytes.put_bytes(0, SIZE);
    Ok(success().with_body(bytes.freeze()))
}
