//! Headers of what clients ask of brokers, and of what brokers ask of clients, by RocketMQ's field names.

use super::{Header, HeaderError, Member, header};
use crate::command::ExtFields;

/// 10 (long field names), 310 and 320 (one letter each): one struct, read and written under either set of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendMessageRequest {
    pub producer_group: String,
    pub topic: String,
    /// Whose settings an auto-created topic inherits, normally `TBW102`.
    pub default_topic: String,
    pub default_topic_queue_nums: i32,
    /// Negative: the broker chooses.
    pub queue_id: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub flag: i32,
    /// `name \x01 value \x02 …`.
    pub properties: Option<String>,
    pub reconsume_times: Option<i32>,
    pub unit_mode: Option<bool>,
    pub max_reconsume_times: Option<i32>,
    /// The body is a batch ([`crate::batch`]). Decides, not the request code.
    pub batch: Option<bool>,
    /// Which broker set is meant; older clients send it as `n` under 310.
    pub broker_name: Option<String>,
}

/// The field names of one of the two forms, in the order of the struct.
struct SendNames {
    header: &'static str,
    fields: [&'static str; 13],
}

const SEND_V1: SendNames = SendNames {
    header: "SendMessageRequest",
    fields: [
        "producerGroup",
        "topic",
        "defaultTopic",
        "defaultTopicQueueNums",
        "queueId",
        "sysFlag",
        "bornTimestamp",
        "flag",
        "properties",
        "reconsumeTimes",
        "unitMode",
        "maxReconsumeTimes",
        "batch",
    ],
};
const SEND_V2: SendNames = SendNames {
    header: "SendMessageRequestV2",
    fields: ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"],
};
const BROKER_NAME: &str = "bname";
const BROKER_NAME_V2: &str = "n";

impl SendMessageRequest {
    /// Fields of 10 (and 324).
    pub fn read_v1(ext: &ExtFields) -> Result<Self, HeaderError> {
        Self::read_named(ext, &SEND_V1)
    }

    /// Fields of 310 and 320 (and 325).
    pub fn read_v2(ext: &ExtFields) -> Result<Self, HeaderError> {
        let mut header = Self::read_named(ext, &SEND_V2)?;
        if header.broker_name.is_none() {
            header.broker_name = Member::get(ext, SEND_V2.header, BROKER_NAME_V2)?;
        }
        Ok(header)
    }

    pub fn write_v1(&self, ext: &mut ExtFields) {
        self.write_named(ext, &SEND_V1);
    }

    pub fn write_v2(&self, ext: &mut ExtFields) {
        self.write_named(ext, &SEND_V2);
    }

    fn read_named(ext: &ExtFields, names: &SendNames) -> Result<Self, HeaderError> {
        let SendNames { header, fields } = *names;
        Ok(SendMessageRequest {
            producer_group: Member::get(ext, header, fields[0])?,
            topic: Member::get(ext, header, fields[1])?,
            default_topic: Member::get(ext, header, fields[2])?,
            default_topic_queue_nums: Member::get(ext, header, fields[3])?,
            queue_id: Member::get(ext, header, fields[4])?,
            sys_flag: Member::get(ext, header, fields[5])?,
            born_timestamp: Member::get(ext, header, fields[6])?,
            flag: Member::get(ext, header, fields[7])?,
            properties: Member::get(ext, header, fields[8])?,
            reconsume_times: Member::get(ext, header, fields[9])?,
            unit_mode: Member::get(ext, header, fields[10])?,
            max_reconsume_times: Member::get(ext, header, fields[11])?,
            batch: Member::get(ext, header, fields[12])?,
            broker_name: Member::get(ext, header, BROKER_NAME)?,
        })
    }

    fn write_named(&self, ext: &mut ExtFields, names: &SendNames) {
        let fields = names.fields;
        self.producer_group.put(ext, fields[0]);
        self.topic.put(ext, fields[1]);
        self.default_topic.put(ext, fields[2]);
        self.default_topic_queue_nums.put(ext, fields[3]);
        self.queue_id.put(ext, fields[4]);
        self.sys_flag.put(ext, fields[5]);
        self.born_timestamp.put(ext, fields[6]);
        self.flag.put(ext, fields[7]);
        self.properties.put(ext, fields[8]);
        self.reconsume_times.put(ext, fields[9]);
        self.unit_mode.put(ext, fields[10]);
        self.max_reconsume_times.put(ext, fields[11]);
        self.batch.put(ext, fields[12]);
        self.broker_name.put(ext, BROKER_NAME);
    }
}

/// Writes and reads the one-letter form, which every current client uses.
impl Header for SendMessageRequest {
    fn read(ext: &ExtFields) -> Result<Self, HeaderError> {
        Self::read_v2(ext)
    }

    fn write(&self, ext: &mut ExtFields) {
        self.write_v2(ext);
    }
}

header! {
    /// Clients also expect the fields [`MSG_REGION`] and [`TRACE_ON`] beside it.
    pub struct SendMessageResponse {
        /// Offset id: store address and physical offset. A batch: comma-separated.
        msg_id: String = "msgId",
        queue_id: i32 = "queueId",
        queue_offset: i64 = "queueOffset",
        /// The message's UNIQ_KEY.
        transaction_id: Option<String> = "transactionId",
        batch_uniq_id: Option<String> = "batchUniqId",
        recall_handle: Option<String> = "recallHandle",
    }
    /// 11 and 361.
    pub struct PullMessageRequest {
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        queue_id: i32 = "queueId",
        queue_offset: i64 = "queueOffset",
        max_msg_nums: i32 = "maxMsgNums",
        /// See [`pull_sys_flag`].
        sys_flag: i32 = "sysFlag",
        commit_offset: i64 = "commitOffset",
        suspend_timeout_millis: i64 = "suspendTimeoutMillis",
        sub_version: i64 = "subVersion",
        subscription: Option<String> = "subscription",
        /// Absent or empty: TAG.
        expression_type: Option<String> = "expressionType",
        max_msg_bytes: Option<i32> = "maxMsgBytes",
        request_source: Option<i32> = "requestSource",
        proxy_forward_client_id: Option<String> = "proxyFrowardClientId",
        broker_name: Option<String> = "bname",
    }
    pub struct PullMessageResponse {
        suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        next_begin_offset: i64 = "nextBeginOffset",
        min_offset: i64 = "minOffset",
        max_offset: i64 = "maxOffset",
        offset_delta: Option<i64> = "offsetDelta",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        group_sys_flag: Option<i32> = "groupSysFlag",
        forbidden_type: Option<i32> = "forbiddenType",
    }
    /// 12.
    pub struct QueryMessageRequest {
        topic: String = "topic",
        key: String = "key",
        max_num: i32 = "maxNum",
        begin_timestamp: i64 = "beginTimestamp",
        end_timestamp: i64 = "endTimestamp",
        unique_key_query: Option<bool> = "_UNIQUE_KEY_QUERY",
    }
    pub struct QueryMessageResponse {
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }
    /// 14.
    pub struct QueryConsumerOffsetRequest {
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        queue_id: i32 = "queueId",
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }
    /// Answers of 14, 29, 30 and 31.
    pub struct OffsetResponse {
        offset: i64 = "offset",
    }
    /// 15, usually one-way.
    pub struct UpdateConsumerOffsetRequest {
        consumer_group: String = "consumerGroup",
        topic: String = "topic",
        queue_id: i32 = "queueId",
        commit_offset: i64 = "commitOffset",
    }
    /// 29.
    pub struct SearchOffsetRequest {
        topic: String = "topic",
        queue_id: i32 = "queueId",
        timestamp: i64 = "timestamp",
        /// `lower` (also when absent) or `upper`, in any case.
        boundary_type: Option<String> = "boundaryType",
    }
    /// 30.
    pub struct GetMaxOffsetRequest {
        topic: String = "topic",
        queue_id: i32 = "queueId",
        committed: Option<bool> = "committed",
    }
    /// 31 and 32.
    pub struct GetMinOffsetRequest {
        topic: String = "topic",
        queue_id: i32 = "queueId",
    }
    pub struct GetEarliestMsgStoretimeResponse {
        timestamp: i64 = "timestamp",
    }
    /// 33.
    pub struct ViewMessageRequest {
        topic: Option<String> = "topic",
        /// Physical.
        offset: i64 = "offset",
    }
    /// Fields of the answer to 34 (whose body is [`crate::body::HeartbeatData`]).
    pub struct HeartbeatResponse {
        is_support_heart_beat_v2: Option<bool> = "IS_SUPPORT_HEART_BEAT_V2",
        is_sub_change: Option<bool> = "IS_SUB_CHANGE",
    }
    /// 35.
    pub struct UnregisterClientRequest {
        client_id: String = "clientID",
        producer_group: Option<String> = "producerGroup",
        consumer_group: Option<String> = "consumerGroup",
    }
    /// 36.
    pub struct ConsumerSendMsgBackRequest {
        /// Physical offset of the message that was not consumed.
        offset: i64 = "offset",
        group: String = "group",
        /// Negative: dead letter; 0: by the number of attempts.
        delay_level: i32 = "delayLevel",
        origin_msg_id: Option<String> = "originMsgId",
        origin_topic: Option<String> = "originTopic",
        unit_mode: Option<bool> = "unitMode",
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }
    /// 37.
    pub struct EndTransactionRequest {
        topic: Option<String> = "topic",
        producer_group: String = "producerGroup",
        tran_state_table_offset: i64 = "tranStateTableOffset",
        commit_log_offset: i64 = "commitLogOffset",
        /// 8 commit, 12 roll back, 0 unknown.
        commit_or_rollback: i32 = "commitOrRollback",
        from_transaction_check: Option<bool> = "fromTransactionCheck",
        msg_id: String = "msgId",
        transaction_id: Option<String> = "transactionId",
    }
    /// 38.
    pub struct GetConsumerListByGroupRequest {
        consumer_group: String = "consumerGroup",
    }
    /// 39, broker to client.
    pub struct CheckTransactionStateRequest {
        topic: Option<String> = "topic",
        tran_state_table_offset: i64 = "tranStateTableOffset",
        commit_log_offset: i64 = "commitLogOffset",
        msg_id: Option<String> = "msgId",
        transaction_id: Option<String> = "transactionId",
        offset_msg_id: Option<String> = "offsetMsgId",
    }
    /// 40, one-way, broker to client.
    pub struct NotifyConsumerIdsChangedRequest {
        consumer_group: String = "consumerGroup",
    }
}

/// Extra field of every answer to a send; the client fails without it.
pub const MSG_REGION: &str = "MSG_REGION";
/// Extra field of every answer to a send.
pub const TRACE_ON: &str = "TRACE_ON";

/// Bits of [`PullMessageRequest::sys_flag`].
pub mod pull_sys_flag {
    /// `commit_offset` is to be stored.
    pub const COMMIT_OFFSET: i32 = 1;
    /// The broker may hold the request until there is a message.
    pub const SUSPEND: i32 = 1 << 1;
    /// `subscription` is given, nothing needs to be registered.
    pub const SUBSCRIPTION: i32 = 1 << 2;
    pub const CLASS_FILTER: i32 = 1 << 3;
    pub const LITE_PULL: i32 = 1 << 4;
}
