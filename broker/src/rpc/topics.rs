//! Topics: UPDATE_AND_CREATE_TOPIC (17), …_LIST (18), DELETE_TOPIC_IN_BROKER (215),
//! GET_TOPIC_CONFIG (351), GET_ALL_TOPIC_CONFIG (21), GET_TOPIC_STATS_INFO (202),
//! QUERY_TOPIC_CONSUME_BY_WHO (300), GET_SYSTEM_TOPIC_LIST_FROM_BROKER (305).

use super::{Answer, body, header, json, refuse, success, topic_missing};
use crate::broker::Broker;
use crate::meta::{Change, topics};
use node::remoting::Reply;
use proto::Command;
use proto::body::{
    DataVersion, GroupList, MessageQueue, TopicConfig, TopicConfigSerializeWrapper, TopicList, TopicOffset,
    TopicStatsTable,
};
use proto::code::response;
use proto::header::{
    CreateTopicRequest, DeleteTopicRequest, GetAllTopicConfigRequest, GetAllTopicConfigResponse, GetTopicConfigRequest,
    GetTopicStatsInfoRequest, QueryTopicConsumeByWhoRequest,
};
use proto::topic::{is_system_topic, validate_topic};
use serde::Deserialize;
use std::sync::Arc;

/// Topics per answer to 21 and groups per answer to 201 (`splitMetadataSize`).
pub(super) const PAGE: usize = 2000;

pub(super) fn put(broker: &Arc<Broker>, command: &Command) -> Reply {
    match requested(broker, command) {
        Ok(config) => super::after(broker, vec![Change::PutTopic(config)], success()),
        Err(refused) => Reply::Now(refused),
    }
}

fn requested(broker: &Broker, command: &Command) -> Result<TopicConfig, Command> {
    only_on_master(broker)?;
    let request: CreateTopicRequest = header(command)?;
    let settings = broker.metadata.settings();
    let current = settings.topics.config(&request.topic).map(|it| it.attributes.clone()).unwrap_or_default();
    let changes = request.attributes.as_deref().unwrap_or("");
    let attributes = topics::apply_attributes(&current, changes).map_err(|why| refuse(response::SYSTEM_ERROR, why))?;
    let config = TopicConfig {
        attributes,
        order: request.order.unwrap_or(false),
        perm: request.perm,
        read_queue_nums: request.read_queue_nums,
        topic_filter_type: request.topic_filter_type.unwrap_or_else(|| "SINGLE_TAG".into()),
        topic_name: request.topic,
        topic_sys_flag: request.topic_sys_flag.unwrap_or(0),
        write_queue_nums: request.write_queue_nums,
    };
    validate(&config)?;
    Ok(config)
}

/// A slave's settings are its master's; operators are told so in a way they see, unlike clients' sends,
/// which are retried.
pub(super) fn only_on_master(broker: &Broker) -> Result<(), Command> {
    if broker.is_master() {
        return Ok(());
    }
    let remark = "topics and subscription groups are changed on the master, this replica is a slave";
    Err(refuse(response::SYSTEM_ERROR, remark))
}

fn validate(config: &TopicConfig) -> Result<(), Command> {
    validate_topic(&config.topic_name).map_err(|error| refuse(response::INVALID_PARAMETER, error.to_string()))?;
    if is_system_topic(&config.topic_name) {
        let remark = format!("The topic[{}] is conflict with system topic.", config.topic_name);
        return Err(refuse(response::INVALID_PARAMETER, remark));
    }
    let queues = 1..=65_536;
    if !queues.contains(&config.read_queue_nums) || !queues.contains(&config.write_queue_nums) {
        let (read, write) = (config.read_queue_nums, config.write_queue_nums);
        let remark = format!("readQueueNums {read}, writeQueueNums {write}: want 1 to 65536");
        return Err(refuse(response::INVALID_PARAMETER, remark));
    }
    if !(0..16).contains(&config.perm) {
        let remark = format!("perm {}: want a sum of 4 (read), 2 (write), 1 (inherit)", config.perm);
        return Err(refuse(response::INVALID_PARAMETER, remark));
    }
    Ok(())
}

/// Body of 18.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CreateTopicList {
    topic_config_list: Vec<TopicConfig>,
}

pub(super) fn put_list(broker: &Arc<Broker>, command: &Command) -> Reply {
    let checked = only_on_master(broker).and_then(|()| body::<CreateTopicList>(command)).and_then(|list| {
        list.topic_config_list.iter().try_for_each(validate)?;
        Ok(list.topic_config_list.into_iter().map(Change::PutTopic).collect())
    });
    match checked {
        Ok(changes) => super::after(broker, changes, success()),
        Err(refused) => Reply::Now(refused),
    }
}

/// The queues are deleted after every slave knows that the topic is gone.
pub(super) fn delete(broker: &Arc<Broker>, command: &Command) -> Reply {
    let request: DeleteTopicRequest = match header(command) {
        Ok(request) => request,
        Err(refused) => return Reply::Now(refused),
    };
    let topic = request.topic;
    if topic.trim().is_empty() {
        return Reply::Now(refuse(response::INVALID_PARAMETER, "The specified topic is blank."));
    }
    if is_system_topic(&topic) {
        let remark = format!("The topic[{topic}] is conflict with system topic.");
        return Reply::Now(refuse(response::INVALID_PARAMETER, remark));
    }
    if let Err(refused) = only_on_master(broker) {
        return Reply::Now(refused);
    }
    let broker = broker.clone();
    Reply::Later(Box::pin(async move {
        if let Err(error) = broker.change(vec![Change::RemoveTopic(topic.clone())]).await {
            return error.into();
        }
        let store = broker.store.clone();
        match tokio::task::spawn_blocking(move || store.delete_topic(&topic)).await {
            Ok(Ok(())) => success(),
            Ok(Err(error)) => refuse(response::SYSTEM_ERROR, error.to_string()),
            Err(error) => refuse(response::SYSTEM_ERROR, error.to_string()),
        }
    }))
}

pub(super) fn get(broker: &Broker, command: &Command) -> Answer {
    let request: GetTopicConfigRequest = header(command)?;
    let settings = broker.metadata.settings();
    settings.topics.config(&request.topic).map(json).ok_or_else(|| topic_missing(&request.topic))
}

/// Whole without `topicSeq`; else a page, which starts over when the table has changed since the last one.
pub(super) fn all(broker: &Broker, command: &Command) -> Answer {
    let request: GetAllTopicConfigRequest = header(command)?;
    let settings = broker.metadata.settings();
    let version = settings.topics.version;
    let mut table = settings.topics.configs();
    let total = table.len();
    if let Some(range) = page(request.topic_seq, request.max_topic_num, request.data_version.as_deref(), version) {
        table = table.into_iter().skip(range.start).take(range.len()).collect();
    }
    let wrapper =
        TopicConfigSerializeWrapper { data_version: version, topic_config_table: table, ..Default::default() };
    let header = GetAllTopicConfigResponse { total_topic_num: Some(total as i32) };
    Ok(json(&wrapper).with_header(&header))
}

/// Which entries a paged request wants; `None`: all.
pub(super) fn page(
    seq: Option<i32>,
    most: Option<i32>,
    known: Option<&str>,
    version: DataVersion,
) -> Option<std::ops::Range<usize>> {
    let seq = seq?;
    let same = known.and_then(|it| proto::json::from_slice::<DataVersion>(it.as_bytes()).ok()) == Some(version);
    let start = if same { seq.max(0) as usize } else { 0 };
    let size = most.filter(|it| *it > 0).map_or(PAGE, |it| (it as usize).min(PAGE));
    Some(start..start + size)
}

pub(super) fn stats(broker: &Broker, command: &Command) -> Answer {
    let request: GetTopicStatsInfoRequest = header(command)?;
    let topic = request.topic;
    let settings = broker.metadata.settings();
    let config = settings.topics.config(&topic).ok_or_else(|| topic_missing(&topic))?;
    let mut table = TopicStatsTable::default();
    for queue_id in 0..config.read_queue_nums.max(config.write_queue_nums) {
        let (min, max) = broker.store.queue_bounds(&topic, queue_id).unwrap_or((0, 0));
        let last = if max > min { broker.store.store_time(&topic, queue_id, max - 1) } else { None };
        let offset = TopicOffset {
            last_update_timestamp: last.unwrap_or(0).max(0),
            max_offset: max.max(0),
            min_offset: min.max(0),
        };
        table.offset_table.push((queue(broker, &topic, queue_id), offset));
    }
    Ok(json(&table))
}

pub(super) fn queue(broker: &Broker, topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue { broker_name: broker.config.broker_name.clone(), queue_id, topic: topic.to_owned() }
}

pub(super) fn consumed_by(broker: &Broker, command: &Command) -> Answer {
    let request: QueryTopicConsumeByWhoRequest = header(command)?;
    let mut group_list = broker.clients.lock().groups_subscribed_to(&request.topic);
    group_list.extend(broker.metadata.offsets().groups_of(&request.topic));
    Ok(json(&GroupList { group_list }))
}

pub(super) fn system(broker: &Broker) -> Answer {
    let settings = broker.metadata.settings();
    let own = [&broker.config.broker_cluster_name, &broker.config.broker_name];
    let topic_list = settings
        .topics
        .names()
        .filter(|it| is_system_topic(it) || own.iter().any(|own| own.as_str() == &***it))
        .map(|it| it.to_string())
        .collect();
    Ok(json(&TopicList { broker_addr: None, topic_list }))
}
