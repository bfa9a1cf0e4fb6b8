//! Calls to one broker, by its address.

use super::{Admin, AdminError, Result};
use crate::message::MessageView;
use proto::Command;
use proto::body::{
    ConsumeStats, EpochEntryCache, GroupList, HaRuntimeInfo, KvTable, SubscriptionGroupConfig, TopicConfig,
    TopicConfigSerializeWrapper, TopicStatsTable,
};
use proto::code::request;
use proto::header::{
    CreateTopicRequest, DeleteTopicRequest, GetConsumeStatsRequest, GetMaxOffsetRequest, GetMinOffsetRequest,
    GetTopicConfigRequest, GetTopicStatsInfoRequest, OffsetResponse, QueryTopicConsumeByWhoRequest,
    SearchOffsetRequest, ViewMessageRequest,
};
use proto::topic::AUTO_CREATE_TOPIC_KEY_TOPIC;
use std::collections::BTreeMap;

impl Admin {
    /// 17: creates the topic, or changes it to this.
    pub async fn create_topic(&self, broker: &str, topic: &TopicConfig) -> Result<()> {
        let attributes: Vec<_> = topic.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let header = CreateTopicRequest {
            topic: topic.topic_name.clone(),
            default_topic: Some(AUTO_CREATE_TOPIC_KEY_TOPIC.to_owned()),
            read_queue_nums: topic.read_queue_nums,
            write_queue_nums: topic.write_queue_nums,
            perm: topic.perm,
            topic_filter_type: Some(topic.topic_filter_type.clone()),
            topic_sys_flag: Some(topic.topic_sys_flag),
            order: Some(topic.order),
            attributes: Some(attributes.join(",")),
            force: Some(false),
        };
        self.succeed(broker, Command::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&header)).await.map(|_| ())
    }

    /// 215. The nameservers forget it separately.
    pub async fn delete_topic(&self, broker: &str, topic: &str) -> Result<()> {
        let header = DeleteTopicRequest { topic: topic.to_owned() };
        self.succeed(broker, Command::request(request::DELETE_TOPIC_IN_BROKER).with_header(&header)).await.map(|_| ())
    }

    /// 21: every topic of the broker.
    pub async fn all_topic_config(&self, broker: &str) -> Result<TopicConfigSerializeWrapper> {
        self.body(broker, Command::request(request::GET_ALL_TOPIC_CONFIG)).await
    }

    /// 351.
    pub async fn topic_config(&self, broker: &str, topic: &str) -> Result<TopicConfig> {
        let header = GetTopicConfigRequest { topic: topic.to_owned() };
        self.body(broker, Command::request(request::GET_TOPIC_CONFIG).with_header(&header)).await
    }

    /// 200: creates the group, or changes it to this.
    pub async fn create_group(&self, broker: &str, group: &SubscriptionGroupConfig) -> Result<()> {
        let request =
            Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(proto::json::to_vec(group));
        self.succeed(broker, request).await.map(|_| ())
    }

    /// 202.
    pub async fn topic_stats(&self, broker: &str, topic: &str) -> Result<TopicStatsTable> {
        let header = GetTopicStatsInfoRequest { topic: topic.to_owned() };
        self.body(broker, Command::request(request::GET_TOPIC_STATS_INFO).with_header(&header)).await
    }

    /// 28.
    pub async fn broker_runtime_info(&self, broker: &str) -> Result<BTreeMap<String, String>> {
        let body: KvTable = self.body(broker, Command::request(request::GET_BROKER_RUNTIME_INFO)).await?;
        Ok(body.table)
    }

    /// 26: `key=value` lines.
    pub async fn broker_config(&self, broker: &str) -> Result<String> {
        let answer = self.succeed(broker, Command::request(request::GET_BROKER_CONFIG)).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// 1007: which master wrote which bytes of this broker's log.
    pub async fn broker_epoch(&self, broker: &str) -> Result<EpochEntryCache> {
        self.body(broker, Command::request(request::GET_BROKER_EPOCH_CACHE)).await
    }

    /// 907.
    pub async fn ha_status(&self, broker: &str) -> Result<HaRuntimeInfo> {
        self.body(broker, Command::request(request::GET_BROKER_HA_STATUS)).await
    }

    /// 30.
    pub async fn max_offset(&self, broker: &str, topic: &str, queue_id: i32) -> Result<i64> {
        let header = GetMaxOffsetRequest { topic: topic.to_owned(), queue_id, committed: Some(true) };
        self.offset(broker, Command::request(request::GET_MAX_OFFSET).with_header(&header)).await
    }

    /// 31.
    pub async fn min_offset(&self, broker: &str, topic: &str, queue_id: i32) -> Result<i64> {
        let header = GetMinOffsetRequest { topic: topic.to_owned(), queue_id };
        self.offset(broker, Command::request(request::GET_MIN_OFFSET).with_header(&header)).await
    }

    /// 29: the first offset stored at or after this time, ms since 1970.
    pub async fn search_offset(&self, broker: &str, topic: &str, queue_id: i32, timestamp: i64) -> Result<i64> {
        let header = SearchOffsetRequest { topic: topic.to_owned(), queue_id, timestamp, boundary_type: None };
        self.offset(broker, Command::request(request::SEARCH_OFFSET_BY_TIMESTAMP).with_header(&header)).await
    }

    /// 33: the message at a physical offset of the broker's commit log.
    pub async fn view_message(&self, broker: &str, offset: i64) -> Result<MessageView> {
        let code = request::VIEW_MESSAGE_BY_ID;
        let request = Command::request(code).with_header(&ViewMessageRequest { topic: None, offset });
        let answer = self.succeed(broker, request).await?;
        let unreadable = |why: String| AdminError::Unreadable { address: broker.to_owned(), request: code, why };
        let views = MessageView::decode_all(&answer.body, "").map_err(|e| unreadable(e.to_string()))?;
        views.into_iter().next().ok_or_else(|| unreadable("it holds no message".into()))
    }

    /// 208: how far a group has come, in all its topics or in one.
    pub async fn consume_stats(&self, broker: &str, group: &str, topic: Option<&str>) -> Result<ConsumeStats> {
        let header = GetConsumeStatsRequest {
            consumer_group: group.to_owned(),
            topic: topic.map(str::to_owned),
            topic_list: None,
        };
        self.body(broker, Command::request(request::GET_CONSUME_STATS).with_header(&header)).await
    }

    /// 300: groups that read this topic.
    pub async fn topic_consumed_by(&self, broker: &str, topic: &str) -> Result<GroupList> {
        let header = QueryTopicConsumeByWhoRequest { topic: topic.to_owned() };
        self.body(broker, Command::request(request::QUERY_TOPIC_CONSUME_BY_WHO).with_header(&header)).await
    }

    async fn offset(&self, broker: &str, request: Command) -> Result<i64> {
        Ok(self.header::<OffsetResponse>(broker, request).await?.offset)
    }
}
