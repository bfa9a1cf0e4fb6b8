//! Keys of RocketMQ's files that this program reads past, each with the reason.
//!
//! They stand in working files of Java's, so they deserve better than "unknown key"; and a person who relies on one of
//! them must hear that it does nothing here.

/// Which program reads the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Broker,
    Controller,
    Namesrv,
}

type Table = &'static [(&'static str, &'static [&'static str])];

/// What the settings of Netty and of logs would be.
const EVERYWHERE: Table = &[
    (
        "threads follow the number of processors",
        &[
            "serverWorkerThreads",
            "serverCallbackExecutorThreads",
            "serverSelectorThreads",
            "serverNettyWorkerGroupEnable",
            "clientWorkerThreads",
            "clientCallbackExecutorThreads",
            "useEpollNativeSelector",
        ],
    ),
    (
        "connections and their buffers are bounded by fixed limits",
        &[
            "serverOnewaySemaphoreValue",
            "serverAsyncSemaphoreValue",
            "serverSocketSndBufSize",
            "serverSocketRcvBufSize",
            "serverSocketBacklog",
            "serverPooledByteBufAllocatorEnable",
            "writeBufferHighWaterMark",
            "writeBufferLowWaterMark",
            "clientOnewaySemaphoreValue",
            "clientAsyncSemaphoreValue",
            "clientSocketSndBufSize",
            "clientSocketRcvBufSize",
            "clientPooledByteBufAllocatorEnable",
        ],
    ),
    (
        "metrics are at /metrics on the port this process listens on",
        &[
            "metricsExporterType",
            "metricsPromExporterPort",
            "metricsPromExporterHost",
            "metricsGrpcExporterTarget",
            "metricsGrpcExporterHeader",
            "metricGrpcExporterTimeOutInMills",
            "metricGrpcExporterIntervalInMills",
            "metricLoggingExporterIntervalInMills",
            "metricsLabel",
            "metricsInDelta",
        ],
    ),
];

const BROKER: Table = &[
    (
        "the SyncStateSet is looked at whenever an acknowledgement, a connection or the clock changes something",
        &["checkSyncStateSetPeriod"],
    ),
    (
        "every controller is asked at once whenever the leader does not answer",
        &["syncControllerMetadataPeriod", "fetchControllerAddrByDnsLookup"],
    ),
    (
        "requests are not queued by kind: they run as they arrive, within the limit per connection",
        &[
            "sendMessageThreadPoolNums",
            "pullMessageThreadPoolNums",
            "putMessageFutureThreadPoolNums",
            "queryMessageThreadPoolNums",
            "adminBrokerThreadPoolNums",
            "clientManageThreadPoolNums",
            "consumerManageThreadPoolNums",
            "heartbeatThreadPoolNums",
            "endTransactionThreadPoolNums",
            "sendThreadPoolQueueCapacity",
            "pullThreadPoolQueueCapacity",
            "queryThreadPoolQueueCapacity",
            "clientManagerThreadPoolQueueCapacity",
            "consumerManagerThreadPoolQueueCapacity",
            "heartbeatThreadPoolQueueCapacity",
            "brokerFastFailureEnable",
            "waitTimeMillsInSendQueue",
            "waitTimeMillsInPullQueue",
        ],
    ),
    (
        "the commit log is written through its map and flushed by one thread: every write with SYNC_FLUSH, else twice \
         a \
         second",
        &[
            "flushIntervalCommitLog",
            "commitIntervalCommitLog",
            "flushCommitLogTimed",
            "flushCommitLogLeastPages",
            "flushCommitLogThoroughInterval",
            "flushIntervalConsumeQueue",
            "flushConsumeQueueLeastPages",
            "useReentrantLockWhenPutMessage",
            "transientStorePoolEnable",
            "transientStorePoolSize",
            "warmMapedFileEnable",
            "osPageCacheBusyTimeOutMills",
        ],
    ),
    (
        "how many copies an acknowledged message has follows from allAckInSyncStateSet, inSyncReplicas and \
         minInSyncReplicas",
        &["totalReplicas", "enableAutoInSyncReplicas"],
    ),
    ("the master's replication address comes from the controllers", &["haMasterAddress"]),
    (
        "this broker has no such feature",
        &[
            "timerWheelEnable",
            "transactionTimeOut",
            "transactionCheckMax",
            "transactionCheckInterval",
            "messageIndexEnable",
            "maxHashSlotNum",
            "maxIndexNum",
            "enablePropertyFilter",
            "enableSlaveActingMaster",
            "enableRemoteEscape",
            "enableLmq",
            "enableMultiDispatch",
            "aclEnable",
            "authenticationEnabled",
            "authorizationEnabled",
            "storeReplyMessageEnable",
        ],
    ),
    (
        "DLedger groups are not supported: use enableControllerMode",
        &["enableDLegerCommitLog", "dLegerGroup", "dLegerPeers", "dLegerSelfId"],
    ),
    (
        "files are deleted by fileReservedTime and deleteWhen; a send is refused when the disk is really full",
        &[
            "diskMaxUsedSpaceRatio",
            "diskSpaceWarningLevelRatio",
            "diskSpaceCleanForciblyRatio",
            "cleanFileForciblyEnable",
        ],
    ),
];

const CONTROLLER: Table = &[
    (
        "a controller listens on its own entry in the list of peers; bindAddress replaces that entry's host",
        &["listenPort"],
    ),
    (
        "Raft commands are proposed in one batch after another by a single thread",
        &["controllerThreadPoolNums", "controllerRequestThreadPoolQueueCapacity"],
    ),
    ("an election that fails is tried again until it is not needed any more (S14)", &["electMasterMaxRetryCount"]),
    ("every read is confirmed by a majority", &["processReadEvent", "isProcessReadEvent"]),
    (
        "liveness is looked at whenever something happens, and at least each scanNotActiveBrokerInterval",
        &["scanInactiveMasterInterval", "jRaftScanWaitTimeoutMs"],
    ),
    ("the log is cut by snapshotEntries and snapshotBytes", &["mappedFileSize", "jRaftSnapshotIntervalSecs"]),
    ("a silent leader is replaced after electionTimeoutMills", &["jRaftElectionTimeoutMs"]),
];

const NAMESRV: Table = &[
    (
        "requests are not queued by kind: they run as they arrive, within the limit per connection",
        &[
            "clientRequestThreadPoolNums",
            "defaultThreadPoolNums",
            "clientRequestThreadPoolQueueCapacity",
            "defaultThreadPoolQueueCapacity",
            "unRegisterBrokerQueueCapacity",
        ],
    ),
    ("brokers of a set learn from the controllers who is master", &["notifyMinBrokerIdChanged"]),
    ("it is a label that nothing reads", &["productEnvName", "clusterTest"]),
];

/// Why `key` does nothing in this program; `None` if RocketMQ has no such key either, or none that people use.
pub fn reason(program: Program, key: &str) -> Option<&'static str> {
    let own = match program {
        Program::Broker => BROKER,
        Program::Controller => CONTROLLER,
        Program::Namesrv => NAMESRV,
    };
    own.iter().chain(EVERYWHERE).find(|(_, keys)| keys.contains(&key)).map(|(reason, _)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::properties::print;

    /// A key that is honoured must not be called one that does nothing.
    #[test]
    fn no_key_that_is_honoured_is_in_the_tables() {
        let honoured = [
            (Program::Broker, print(&broker::Config::default())),
            (Program::Controller, print(&controller::Config::default())),
            (Program::Namesrv, print(&namesrv::Config::default())),
        ];
        for (program, text) in honoured {
            for (key, _) in text.lines().filter_map(|it| it.split_once('=')) {
                assert_eq!(reason(program, key), None, "{program:?}: {key}");
            }
        }
    }

    #[test]
    fn each_program_has_its_own_reasons() {
        assert!(reason(Program::Controller, "listenPort").is_some_and(|it| it.contains("list of peers")));
        assert_eq!(reason(Program::Broker, "electMasterMaxRetryCount"), None);
        assert!(reason(Program::Namesrv, "serverWorkerThreads").is_some());
    }
}
