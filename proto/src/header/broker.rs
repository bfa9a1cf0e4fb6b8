//! Headers of what operators and other brokers ask of brokers, by RocketMQ's field names.

use super::header;

header! {
    /// 17.
    pub struct CreateTopicRequest {
        topic: String = "topic",
        default_topic: Option<String> = "defaultTopic",
        read_queue_nums: i32 = "readQueueNums",
        write_queue_nums: i32 = "writeQueueNums",
        perm: i32 = "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: Option<String> = "topicFilterType",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        order: Option<bool> = "order",
        /// `+k=v,+k2=v2,-k3`.
        attributes: Option<String> = "attributes",
        force: Option<bool> = "force",
    }
    /// 21. Without `topic_seq`: everything at once.
    pub struct GetAllTopicConfigRequest {
        topic_seq: Option<i32> = "topicSeq",
        /// A [`crate::body::DataVersion`] as JSON.
        data_version: Option<String> = "dataVersion",
        max_topic_num: Option<i32> = "maxTopicNum",
    }
    pub struct GetAllTopicConfigResponse {
        total_topic_num: Option<i32> = "totalTopicNum",
    }
    pub struct GetBrokerConfigResponse {
        /// A [`crate::body::DataVersion`] as JSON.
        version: String = "version",
    }
    /// 201, paged as 21.
    pub struct GetAllSubscriptionGroupRequest {
        group_seq: Option<i32> = "groupSeq",
        data_version: Option<String> = "dataVersion",
        max_group_num: Option<i32> = "maxGroupNum",
    }
    pub struct GetAllSubscriptionGroupResponse {
        total_group_num: Option<i32> = "totalGroupNum",
    }
    /// 202.
    pub struct GetTopicStatsInfoRequest {
        topic: String = "topic",
    }
    /// 203.
    pub struct GetConsumerConnectionListRequest {
        consumer_group: String = "consumerGroup",
    }
    /// 204.
    pub struct GetProducerConnectionListRequest {
        producer_group: String = "producerGroup",
    }
    /// 207.
    pub struct DeleteSubscriptionGroupRequest {
        group_name: String = "groupName",
        clean_offset: Option<bool> = "cleanOffset",
    }
    /// 208.
    pub struct GetConsumeStatsRequest {
        consumer_group: String = "consumerGroup",
        topic: Option<String> = "topic",
        /// Separated by `;`.
        topic_list: Option<String> = "topicList",
    }
    /// 215.
    pub struct DeleteTopicRequest {
        topic: String = "topic",
    }
    /// 300.
    pub struct QueryTopicConsumeByWhoRequest {
        topic: String = "topic",
    }
    /// 343.
    pub struct QueryTopicsByConsumerRequest {
        group: String = "group",
    }
    /// 351.
    pub struct GetTopicConfigRequest {
        topic: String = "topic",
    }
    /// 352.
    pub struct GetSubscriptionGroupConfigRequest {
        group: String = "group",
    }
    /// 906 both ways. A request without `master_ha_address` asks, one with it tells.
    pub struct ExchangeHaInfo {
        master_ha_address: Option<String> = "masterHaAddress",
        master_flush_offset: Option<i64> = "masterFlushOffset",
        master_address: Option<String> = "masterAddress",
    }
    /// 908.
    pub struct ResetMasterFlushOffsetRequest {
        master_flush_offset: i64 = "masterFlushOffset",
    }
}
