//! Headers of nameserver RPCs, by RocketMQ's field names.

use super::header;

header! {
    /// 100.
    pub struct PutKvConfigRequest {
        namespace: Option<String> = "namespace",
        key: Option<String> = "key",
        value: Option<String> = "value",
    }
    /// 101.
    pub struct GetKvConfigRequest {
        namespace: Option<String> = "namespace",
        key: Option<String> = "key",
    }
    pub struct GetKvConfigResponse {
        value: Option<String> = "value",
    }
    /// 102.
    pub struct DeleteKvConfigRequest {
        namespace: Option<String> = "namespace",
        key: Option<String> = "key",
    }
    /// 103. Body: [`crate::body::RegisterBrokerBody`].
    pub struct RegisterBrokerRequest {
        cluster_name: String = "clusterName",
        broker_name: String = "brokerName",
        broker_addr: String = "brokerAddr",
        broker_id: i64 = "brokerId",
        ha_server_addr: Option<String> = "haServerAddr",
        /// Absent: 120 s.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        /// Absent: a broker older than acting masters.
        enable_acting_master: Option<bool> = "enableActingMaster",
        compressed: Option<bool> = "compressed",
        /// CRC-32 of the body without its top bit; 0 or absent: not checked.
        body_crc32: Option<i32> = "bodyCrc32",
        zone_name: Option<String> = "__ZONE_NAME",
    }
    /// Both absent for a master, and while there is none.
    pub struct RegisterBrokerResponse {
        ha_server_addr: Option<String> = "haServerAddr",
        master_addr: Option<String> = "masterAddr",
    }
    /// 104.
    pub struct UnregisterBrokerRequest {
        cluster_name: String = "clusterName",
        broker_name: String = "brokerName",
        broker_addr: String = "brokerAddr",
        broker_id: i64 = "brokerId",
    }
    /// 105.
    pub struct GetRouteInfoRequest {
        topic: Option<String> = "topic",
        /// True: keys of `brokerAddrs` are quoted.
        accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
        zone_mode: Option<bool> = "__ZONE_MODE",
        zone_name: Option<String> = "__ZONE_NAME",
    }
    /// 205 and 327.
    pub struct WritePermOfBrokerRequest {
        broker_name: String = "brokerName",
    }
    pub struct WipeWritePermOfBrokerResponse {
        wipe_topic_count: i32 = "wipeTopicCount",
    }
    pub struct AddWritePermOfBrokerResponse {
        add_topic_count: i32 = "addTopicCount",
    }
    /// 216.
    pub struct DeleteTopicInNamesrvRequest {
        topic: String = "topic",
        cluster_name: Option<String> = "clusterName",
    }
    /// 217. Body: [`crate::body::TopicRouteData`], of which only the queues count.
    pub struct RegisterTopicRequest {
        topic: String = "topic",
    }
    /// 219.
    pub struct GetKvListByNamespaceRequest {
        namespace: Option<String> = "namespace",
    }
    /// 224.
    pub struct GetTopicsByClusterRequest {
        cluster: String = "cluster",
    }
    /// 322. Body both ways: [`crate::body::DataVersion`].
    pub struct QueryDataVersionRequest {
        cluster_name: String = "clusterName",
        broker_name: String = "brokerName",
        broker_addr: String = "brokerAddr",
        broker_id: Option<i64> = "brokerId",
    }
    pub struct QueryDataVersionResponse {
        changed: bool = "changed",
    }
    /// 901. The answer's body: [`crate::body::GetBrokerMemberGroupResponseBody`].
    pub struct GetBrokerMemberGroupRequest {
        cluster_name: Option<String> = "clusterName",
        broker_name: String = "brokerName",
    }
    /// 905, one-way, nameserver to broker.
    pub struct NotifyMinBrokerIdChangeRequest {
        min_broker_id: Option<i64> = "minBrokerId",
        broker_name: Option<String> = "brokerName",
        min_broker_addr: Option<String> = "minBrokerAddr",
        offline_broker_addr: Option<String> = "offlineBrokerAddr",
        ha_broker_addr: Option<String> = "haBrokerAddr",
    }
}
