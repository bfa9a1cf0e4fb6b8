//! Consumer groups: UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200), …_LIST (225), DELETE_SUBSCRIPTIONGROUP
//! (207), GET_SUBSCRIPTIONGROUP_CONFIG (352), GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201), GET_CONSUME_STATS
//! (208), QUERY_TOPICS_BY_CONSUMER (343).

use super::topics::{only_on_master, page, queue};
use super::{Answer, body, group_missing, header, json, refuse, success};
use crate::broker::Broker;
use crate::meta::Change;
use node::remoting::Reply;
use proto::Command;
use proto::body::{ConsumeStats, OffsetWrapper, SubscriptionGroupConfig, SubscriptionGroupWrapper, TopicList};
use proto::code::response;
use proto::header::{
    DeleteSubscriptionGroupRequest, GetAllSubscriptionGroupRequest, GetAllSubscriptionGroupResponse,
    GetConsumeStatsRequest, GetSubscriptionGroupConfigRequest, QueryTopicsByConsumerRequest,
};
use proto::topic::{is_system_group, retry_topic, validate_group};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) fn put(broker: &Arc<Broker>, command: &Command) -> Reply {
    let checked = only_on_master(broker).and_then(|()| body::<SubscriptionGroupConfig>(command)).and_then(|group| {
        validate(&group)?;
        Ok(group)
    });
    match checked {
        Ok(group) => super::after(broker, vec![Change::PutGroup(group)], success()),
        Err(refused) => Reply::Now(refused),
    }
}

fn validate(group: &SubscriptionGroupConfig) -> Result<(), Command> {
    validate_group(&group.group_name).map_err(|error| refuse(response::INVALID_PARAMETER, error.to_string()))
}

/// Body of 225.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupConfigList {
    group_config_list: Vec<SubscriptionGroupConfig>,
}

pub(super) fn put_list(broker: &Arc<Broker>, command: &Command) -> Reply {
    let checked = only_on_master(broker).and_then(|()| body::<GroupConfigList>(command)).and_then(|list| {
        list.group_config_list.iter().try_for_each(validate)?;
        Ok(list.group_config_list.into_iter().map(Change::PutGroup).collect())
    });
    match checked {
        Ok(changes) => super::after(broker, changes, success()),
        Err(refused) => Reply::Now(refused),
    }
}

/// With `cleanOffset` the group's offsets go too.
pub(super) fn delete(broker: &Arc<Broker>, command: &Command) -> Reply {
    let checked = only_on_master(broker).and_then(|()| header::<DeleteSubscriptionGroupRequest>(command));
    let request = match checked {
        Ok(request) if is_system_group(&request.group_name) => {
            let remark = format!("the group[{}] is one that every broker has", request.group_name);
            return Reply::Now(refuse(response::INVALID_PARAMETER, remark));
        }
        Ok(request) => request,
        Err(refused) => return Reply::Now(refused),
    };
    let clean = request.clean_offset.unwrap_or(false);
    let broker = broker.clone();
    Reply::Later(Box::pin(async move {
        match broker.change(vec![Change::RemoveGroup(request.group_name.clone())]).await {
            Ok(_) if clean => broker.metadata.offsets().remove_group(&request.group_name),
            Ok(_) => {}
            Err(error) => return error.into(),
        }
        success()
    }))
}

pub(super) fn get(broker: &Broker, command: &Command) -> Answer {
    let request: GetSubscriptionGroupConfigRequest = header(command)?;
    let settings = broker.metadata.settings();
    settings.groups.get(&request.group).map(|it| json(&**it)).ok_or_else(|| group_missing(&request.group))
}

pub(super) fn all(broker: &Broker, command: &Command) -> Answer {
    let request: GetAllSubscriptionGroupRequest = header(command)?;
    let mut wrapper: SubscriptionGroupWrapper = broker.metadata.settings().groups.to_file();
    let total = wrapper.subscription_group_table.len();
    let known = request.data_version.as_deref();
    if let Some(range) = page(request.group_seq, request.max_group_num, known, wrapper.data_version) {
        let table = wrapper.subscription_group_table.into_iter();
        wrapper.subscription_group_table = table.skip(range.start).take(range.len()).collect();
    }
    let header = GetAllSubscriptionGroupResponse { total_group_num: Some(total as i32) };
    Ok(json(&wrapper).with_header(&header))
}

/// Of one topic, of those named, or of all that the group has offsets for. While the group is connected, topics that it
/// does not subscribe to any more are left out.
pub(super) fn stats(broker: &Broker, command: &Command) -> Answer {
    let request: GetConsumeStatsRequest = header(command)?;
    let group = &request.consumer_group;
    let named = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
    let mut topics: BTreeSet<String> = match (named(&request.topic), named(&request.topic_list)) {
        (Some(topic), _) => BTreeSet::from([topic]),
        (None, Some(list)) => list.split(';').map(str::to_owned).collect(),
        (None, None) => broker.metadata.offsets().topics_of(group),
    };
    let retry = retry_topic(group);
    if let Some(consumers) = broker.clients.lock().consumers(group) {
        topics.retain(|it| *it == retry || consumers.subscriptions.contains_key(it));
    }
    let mut stats = ConsumeStats::default();
    let settings = broker.metadata.settings();
    for topic in &topics {
        let Some(config) = settings.topics.config(topic) else { continue };
        for queue_id in 0..config.read_queue_nums {
            stats.offset_table.push((queue(broker, topic, queue_id), progress(broker, group, topic, queue_id)));
        }
    }
    Ok(json(&stats))
}

fn progress(broker: &Broker, group: &str, topic: &str, queue_id: i32) -> OffsetWrapper {
    let (_, max) = broker.store.queue_bounds(topic, queue_id).unwrap_or((0, 0));
    let consumed = broker.metadata.offsets().get(group, topic, queue_id).unwrap_or(0).max(0);
    let last = if consumed > 0 { broker.store.store_time(topic, queue_id, consumed - 1) } else { None };
    OffsetWrapper {
        broker_offset: max.max(0),
        consumer_offset: consumed,
        last_timestamp: last.unwrap_or(0).max(0),
        pull_offset: consumed,
    }
}

pub(super) fn topics(broker: &Broker, command: &Command) -> Answer {
    let request: QueryTopicsByConsumerRequest = header(command)?;
    let topic_list = broker.metadata.offsets().topics_of(&request.group).into_iter().collect();
    Ok(json(&TopicList { broker_addr: None, topic_list }))
}
