//! Headers of controller RPCs (codes 1001–1013, 904, 1008), by RocketMQ's field names.
//!
//! Fields marked "Baton" are ours: a Java peer neither sends nor reads them.

use super::header;

header! {
    /// 1001. Body: [`crate::body::SyncStateSet`] with the sender's current epoch.
    pub struct AlterSyncStateSetRequest {
        broker_name: String = "brokerName",
        master_broker_id: i64 = "masterBrokerId",
        master_epoch: i32 = "masterEpoch",
        invoke_time: Option<i64> = "invokeTime",
        /// Ours: the set stays as it is and gets a new version, so that nothing that was proposed against the old one
        /// can be committed any more.
        fence: Option<bool> = "fence",
    }
    pub struct AlterSyncStateSetResponse {
        new_sync_state_set_epoch: i32 = "newSyncStateSetEpoch",
    }
    /// 1002. Java's defaults: cluster and set `""`, id −1, `designateElect` false.
    pub struct ElectMasterRequest {
        cluster_name: Option<String> = "clusterName",
        broker_name: String = "brokerName",
        broker_id: Option<i64> = "brokerId",
        designate_elect: Option<bool> = "designateElect",
        invoke_time: Option<i64> = "invokeTime",
    }
    pub struct ElectMasterResponse {
        master_broker_id: Option<i64> = "masterBrokerId",
        master_address: Option<String> = "masterAddress",
        master_epoch: Option<i32> = "masterEpoch",
        sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
        /// Baton: where the master's HA listener is, so that a slave need not ask the nameserver.
        master_ha_address: Option<String> = "masterHaAddress",
    }
    /// 1003.
    pub struct RegisterBrokerToControllerRequest {
        cluster_name: String = "clusterName",
        broker_name: String = "brokerName",
        broker_id: i64 = "brokerId",
        broker_address: String = "brokerAddress",
        invoke_time: Option<i64> = "invokeTime",
        /// Baton: `brokerIP2:haListenPort`.
        ha_address: Option<String> = "haAddress",
        /// Baton: a token drawn when the process started. A new token means a restart, after which the old mastership
        /// is over (S2).
        boot_id: Option<String> = "bootId",
        /// Baton: the process before this one ended without flushing (S7).
        unclean_shutdown: Option<bool> = "uncleanShutdown",
    }
    /// The last five only when a master exists and is alive.
    pub struct RegisterBrokerToControllerResponse {
        cluster_name: Option<String> = "clusterName",
        broker_name: Option<String> = "brokerName",
        master_broker_id: Option<i64> = "masterBrokerId",
        master_address: Option<String> = "masterAddress",
        master_epoch: Option<i32> = "masterEpoch",
        sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
        master_ha_address: Option<String> = "masterHaAddress",
    }
    /// 1004.
    pub struct GetReplicaInfoRequest {
        broker_name: String = "brokerName",
    }
    pub struct GetReplicaInfoResponse {
        master_broker_id: Option<i64> = "masterBrokerId",
        master_address: Option<String> = "masterAddress",
        master_epoch: Option<i32> = "masterEpoch",
        master_ha_address: Option<String> = "masterHaAddress",
    }
    /// 1005 has no request header.
    pub struct GetMetadataInfoResponse {
        group: Option<String> = "group",
        controller_leader_id: Option<String> = "controllerLeaderId",
        controller_leader_address: Option<String> = "controllerLeaderAddress",
        is_leader: bool = "isLeader",
        peers: Option<String> = "peers",
    }
    /// 1011.
    pub struct CleanBrokerDataRequest {
        cluster_name: Option<String> = "clusterName",
        broker_name: String = "brokerName",
        broker_controller_ids_to_clean: Option<String> = "brokerControllerIdsToClean",
        is_clean_living_broker: Option<bool> = "isCleanLivingBroker",
        invoke_time: Option<i64> = "invokeTime",
    }
    /// 1012.
    pub struct GetNextBrokerIdRequest {
        cluster_name: String = "clusterName",
        broker_name: String = "brokerName",
    }
    pub struct GetNextBrokerIdResponse {
        cluster_name: Option<String> = "clusterName",
        broker_name: Option<String> = "brokerName",
        next_broker_id: Option<i64> = "nextBrokerId",
    }
    /// 1013.
    pub struct ApplyBrokerIdRequest {
        cluster_name: String = "clusterName",
        broker_name: String = "brokerName",
        applied_broker_id: i64 = "appliedBrokerId",
        /// `<brokerAddr>;<millis>`: the text before the first `;` becomes the stored address.
        register_check_code: String = "registerCheckCode",
    }
    pub struct ApplyBrokerIdResponse {
        cluster_name: Option<String> = "clusterName",
        broker_name: Option<String> = "brokerName",
    }
    /// 904, sent to controllers and nameservers. Java sends it one-way; ours asks for the answer, which carries the
    /// lease (S5).
    pub struct BrokerHeartbeatRequest {
        cluster_name: String = "clusterName",
        broker_addr: String = "brokerAddr",
        broker_name: String = "brokerName",
        broker_id: Option<i64> = "brokerId",
        /// Last epoch in the sender's epoch file, −1 if none.
        epoch: Option<i32> = "epoch",
        max_offset: Option<i64> = "maxOffset",
        confirm_offset: Option<i64> = "confirmOffset",
        heartbeat_timeout_mills: Option<i64> = "heartbeatTimeoutMills",
        election_priority: Option<i32> = "electionPriority",
        /// Baton: which process of this replica speaks; see [`RegisterBrokerToControllerRequest::boot_id`].
        boot_id: Option<String> = "bootId",
        /// Baton: `minInSyncReplicas` of this replica, for eligibility (S7).
        min_in_sync_replicas: Option<i32> = "minInSyncReplicas",
        /// Baton: milliseconds since the last append-and-fsync probe of the store's disk succeeded (S14).
        disk_probe_age_mills: Option<i64> = "diskProbeAgeMills",
        /// Baton: `brokerZone` of this replica; among equals a successor in another zone is preferred.
        broker_zone: Option<String> = "brokerZone",
    }
    /// Baton: in the answer to a heartbeat, from the leader only.
    pub struct BrokerHeartbeatResponse {
        /// The lease the sender may count on, from when it *sent* the heartbeat (S5). Absent from a controller that is
        /// not leader.
        lease_mills: Option<i64> = "leaseMills",
        /// False: the leader knows another process under this id, so that the sender has to register (S14). Absent
        /// otherwise.
        registered: Option<bool> = "registered",
        /// What the leader knows of the set, so that a lost notification costs one heartbeat at most.
        master_epoch: Option<i32> = "masterEpoch",
        sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
    }
    /// 1008, one-way, controller to broker. Body: [`crate::body::SyncStateSet`].
    pub struct NotifyBrokerRoleChangedRequest {
        master_address: Option<String> = "masterAddress",
        master_epoch: Option<i32> = "masterEpoch",
        sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
        master_broker_id: Option<i64> = "masterBrokerId",
        master_ha_address: Option<String> = "masterHaAddress",
        /// Baton: which set this is about (a Java controller leaves it out).
        broker_name: Option<String> = "brokerName",
    }
    /// 31002, controller leader to master (S10).
    pub struct HoldWritesRequest {
        broker_name: String = "brokerName",
        master_epoch: i32 = "masterEpoch",
        /// Who is to have the whole log.
        target_broker_id: i64 = "targetBrokerId",
        /// If the target does not have it by then, the hold ends and nothing has changed.
        drain_mills: i64 = "drainMills",
        /// From the answer on the election may take this long; then the master goes on, unless it knows a newer epoch.
        hold_mills: i64 = "holdMills",
    }
    pub struct HoldWritesResponse {
        /// The log's end, which every reader may see and the target has.
        end_offset: i64 = "endOffset",
    }
    /// 31003.
    pub struct ReleaseWritesRequest {
        broker_name: String = "brokerName",
        master_epoch: i32 = "masterEpoch",
    }
    /// 31004.
    pub struct SwitchoverRequest {
        broker_name: String = "brokerName",
        /// The replica that is to be master; absent: the best of the SyncStateSet.
        broker_id: Option<i64> = "brokerId",
        /// Only if this is the master: sent by a master that wants to stop.
        master_broker_id: Option<i64> = "masterBrokerId",
        /// Only say what would be done.
        dry_run: Option<bool> = "dryRun",
    }
    pub struct SwitchoverResponse {
        old_master_broker_id: i64 = "oldMasterBrokerId",
        master_broker_id: i64 = "masterBrokerId",
        master_address: String = "masterAddress",
        /// Of the new master; with `dryRun` of the present one.
        master_epoch: i32 = "masterEpoch",
        /// Bytes that the target lacked, by the heartbeats.
        lag: i64 = "lag",
        /// Live members of the SyncStateSet besides the present master.
        in_sync_others: i32 = "inSyncOthers",
        min_in_sync_replicas: i32 = "minInSyncReplicas",
        /// Where the new epoch begins; absent with `dryRun`.
        end_offset: Option<i64> = "endOffset",
        drain_mills: Option<i64> = "drainMills",
        elect_mills: Option<i64> = "electMills",
    }
    /// 31005. Either `host`, or `brokerName` and `brokerId`. The answer's body is text, a line for each replica.
    pub struct DrainRequest {
        /// An address `host:port`, or a host with all its replicas.
        host: Option<String> = "host",
        broker_name: Option<String> = "brokerName",
        broker_id: Option<i64> = "brokerId",
        /// False: mastership may come back.
        drain: bool = "drain",
    }
    /// 31006. The answer's body is text, a line for each broker set.
    pub struct PauseRequest {
        /// Absent: every broker set there is.
        broker_name: Option<String> = "brokerName",
        /// 0: elections go on at once.
        for_mills: i64 = "forMills",
    }
    /// Baton: 31010. Body of the answer: a list of [`crate::body::HistoryLine`].
    pub struct BatonHistoryRequest {
        broker_name: String = "brokerName",
        /// Only the newest so many.
        most: Option<i64> = "most",
    }
    /// Baton: 31011. Body of the answer: text.
    pub struct BatonExplainRequest {
        broker_name: String = "brokerName",
        /// Wall clock; absent: now.
        at_mills: Option<i64> = "atMills",
    }
    /// Baton: 31020. The answer's body is text, a line for each controller.
    pub struct BatonControllersRequest {
        /// `add`, `remove`, `transfer` or `list`.
        action: String = "action",
        controller_id: Option<String> = "controllerId",
        /// `host:port`; with `add` only.
        controller_address: Option<String> = "controllerAddress",
    }
    /// Baton: 31012, between controllers.
    pub struct BatonWitnessRequest {
        broker_name: String = "brokerName",
        broker_id: i64 = "brokerId",
    }
    pub struct BatonWitnessResponse {
        /// Absent: never, or its process is known to be gone.
        heard_mills_ago: Option<i64> = "heardMillsAgo",
    }
}
