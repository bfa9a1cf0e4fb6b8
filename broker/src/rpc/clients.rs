//! Who is connected: HEART_BEAT (34), UNREGISTER_CLIENT (35), CHECK_CLIENT_CONFIG (46), GET_CONSUMER_LIST_BY_GROUP
//! (38), GET_CONSUMER_CONNECTION_LIST (203), GET_PRODUCER_CONNECTION_LIST (204).

use super::{Answer, body, header, json, refuse, success};
use crate::broker::Broker;
use crate::meta::clients::Client;
use crate::meta::subscription::is_tag;
use crate::meta::{Change, groups, topics};
use node::clock::monotonic_ms;
use node::remoting::{Connection, Reply};
use proto::Command;
use proto::body::{ConsumerData, GetConsumerListByGroupResponseBody, HeartbeatData, SubscriptionData};
use proto::code::response;
use proto::header::{
    GetConsumerConnectionListRequest, GetConsumerListByGroupRequest, GetProducerConnectionListRequest,
    HeartbeatResponse, UnregisterClientRequest,
};
use proto::topic::{retry_topic, validate_group};
use serde::Deserialize;
use std::sync::Arc;

/// Registers at once, because GET_CONSUMER_LIST_BY_GROUP may be the connection's next request; groups and retry topics
/// that are missing are created before the answer.
pub(super) fn heartbeat(broker: &Arc<Broker>, connection: &Arc<Connection>, command: &Command) -> Reply {
    let data: HeartbeatData = match body(command) {
        Ok(data) => data,
        Err(refused) => return Reply::Now(refused),
    };
    let client = Client {
        id: data.client_id.clone(),
        address: connection.peer.to_string(),
        language: command.language.name(),
        version: command.version,
        seen: monotonic_ms(),
    };
    broker.know(connection);
    let mut resend = data.heartbeat_fingerprint == 0;
    let mut changed = Vec::new();
    let mut missing = Vec::new();
    {
        let mut clients = broker.clients.lock();
        for consumer in &data.consumer_data_set {
            let Some(creates) = creates(broker, consumer) else { continue };
            missing.extend(creates);
            changed.extend(clients.register_consumer(consumer, connection.id, client.clone(), !data.without_sub));
            if data.heartbeat_fingerprint != 0 {
                let differs = clients.note_fingerprint(&consumer.group_name, data.heartbeat_fingerprint);
                resend |= differs && data.without_sub;
            }
        }
        for producer in &data.producer_data_set {
            clients.register_producer(&producer.group_name, connection.id, client.clone());
        }
    }
    broker.introductions.notify_waiters();
    broker.tell_to_rebalance(changed);
    let answer =
        success().with_header(&HeartbeatResponse { is_support_heart_beat_v2: Some(true), is_sub_change: Some(resend) });
    // A slave's settings are its master's.
    if missing.is_empty() || !broker.is_master() {
        return Reply::Now(answer);
    }
    super::after(broker, missing, answer)
}

/// What has to be created for a consumer; `None`: its group does not exist and may not be created, so the entry
/// does not count.
fn creates(broker: &Broker, consumer: &ConsumerData) -> Option<Vec<Change>> {
    let settings = broker.metadata.settings();
    let name = &consumer.group_name;
    let mut changes = Vec::new();
    let retry_queues = match settings.groups.get(name) {
        Some(group) => group.retry_queue_nums,
        None if broker.config.auto_create_subscription_group && validate_group(name).is_ok() => {
            let group = groups::auto_created(name);
            let queues = group.retry_queue_nums;
            changes.push(Change::CreateGroup(group));
            queues
        }
        None => return None,
    };
    let retry = retry_topic(name);
    if retry_queues > 0 && settings.topics.get(&retry).is_none() {
        let order = consumer
            .subscription_data_set
            .iter()
            .any(|it| settings.topics.config(&it.topic).is_some_and(|topic| topic.order));
        changes.push(Change::CreateTopic(proto::body::TopicConfig { order, ..topics::derived(retry, retry_queues) }));
    }
    Some(changes)
}

pub(super) fn unregister(broker: &Broker, connection: &Connection, command: &Command) -> Answer {
    let request: UnregisterClientRequest = header(command)?;
    let (producer, consumer) = (request.producer_group.as_deref(), request.consumer_group.as_deref());
    let changed = broker.clients.lock().unregister(connection.id, producer, consumer);
    broker.tell_to_rebalance(changed);
    Ok(success())
}

/// Body of 46.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CheckClientRequest {
    subscription_data: Option<SubscriptionData>,
}

pub(super) fn check_config(command: &Command) -> Answer {
    let request: CheckClientRequest = body(command)?;
    match request.subscription_data {
        Some(it) if !is_tag(Some(&it.expression_type)) => {
            let kind = it.expression_type;
            let remark = format!("The broker does not support consumer to filter message by {kind}");
            Err(refuse(response::SYSTEM_ERROR, remark))
        }
        _ => Ok(success()),
    }
}

pub(super) fn consumer_list(broker: &Broker, command: &Command) -> Answer {
    let request: GetConsumerListByGroupRequest = header(command)?;
    let ids = broker.clients.lock().consumer_ids(&request.consumer_group);
    if ids.is_empty() {
        let remark = format!("no consumer for this group, {}", request.consumer_group);
        return Err(refuse(response::SYSTEM_ERROR, remark));
    }
    Ok(json(&GetConsumerListByGroupResponseBody { consumer_id_list: ids.into_iter().collect() }))
}

pub(super) fn consumer_connections(broker: &Broker, command: &Command) -> Answer {
    let request: GetConsumerConnectionListRequest = header(command)?;
    let group = &request.consumer_group;
    let offline = || refuse(response::CONSUMER_NOT_ONLINE, format!("the consumer group[{group}] not online"));
    broker.clients.lock().consumer_connection(group).map(|it| json(&it)).ok_or_else(offline)
}

pub(super) fn producer_connections(broker: &Broker, command: &Command) -> Answer {
    let request: GetProducerConnectionListRequest = header(command)?;
    let group = &request.producer_group;
    let unknown = || refuse(response::SYSTEM_ERROR, format!("the producer group[{group}] not exist"));
    broker.clients.lock().producer_connection(group).map(|it| json(&it)).ok_or_else(unknown)
}
