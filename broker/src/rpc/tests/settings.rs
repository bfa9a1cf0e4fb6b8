//! Topics, groups, offsets of groups, clients, and what operators ask.

use super::*;
use crate::sync_wire::{SyncBody, SyncRequest, SyncResponse, SyncVersion};

fn topic(name: &str, queues: i32, attributes: &str) -> CreateTopicRequest {
    CreateTopicRequest {
        topic: name.into(),
        default_topic: Some("TBW102".into()),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        attributes: Some(attributes.into()),
        ..Default::default()
    }
}

fn parsed<T: serde::de::DeserializeOwned>(answer: &Command) -> T {
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    proto::json::from_slice(&answer.body).expect("a readable body")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_created_changed_shown_and_deleted() {
    let broker = Fixture::start().await;
    let create = topic("T", 3, "+message.type=FIFO");
    assert_eq!(broker.ask(request::UPDATE_AND_CREATE_TOPIC, &create).await.code, response::SUCCESS);
    let shown: TopicConfig =
        parsed(&broker.ask(request::GET_TOPIC_CONFIG, &GetTopicConfigRequest { topic: "T".into() }).await);
    assert_eq!((shown.read_queue_nums, shown.attributes.get("message.type").map(String::as_str)), (3, Some("FIFO")));
    let all: TopicConfigSerializeWrapper = parsed(&broker.call(Command::request(request::GET_ALL_TOPIC_CONFIG)).await);
    assert!(all.topic_config_table.contains_key("T") && all.topic_config_table.contains_key("TBW102"));
    broker.send("T", 1, "counted").await;
    broker.until(|it| it.contains("\"dispatchBehind\":0")).await;
    let stats: TopicStatsTable =
        parsed(&broker.ask(request::GET_TOPIC_STATS_INFO, &GetTopicStatsInfoRequest { topic: "T".into() }).await);
    let ends: Vec<i64> = stats.offset_table.iter().map(|(_, it)| it.max_offset).collect();
    assert_eq!(ends, [0, 1, 0]);
    let delete = DeleteTopicRequest { topic: "T".into() };
    assert_eq!(broker.ask(request::DELETE_TOPIC_IN_BROKER, &delete).await.code, response::SUCCESS);
    let gone = broker.ask(request::GET_TOPIC_CONFIG, &GetTopicConfigRequest { topic: "T".into() }).await;
    assert_eq!(gone.code, response::TOPIC_NOT_EXIST);
    for bad in [
        topic("TBW102", 1, ""),
        topic("a b", 1, ""),
        topic("T", 0, ""),
        CreateTopicRequest { perm: 99, ..topic("T", 1, "") },
    ] {
        let answer = broker.ask(request::UPDATE_AND_CREATE_TOPIC, &bad).await;
        assert_eq!(answer.code, response::INVALID_PARAMETER, "{bad:?}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_listed_in_pages() {
    let broker = Fixture::start().await;
    let page = |seq, version: Option<String>| GetAllTopicConfigRequest {
        topic_seq: Some(seq),
        data_version: version,
        max_topic_num: Some(4),
    };
    let first = broker.ask(request::GET_ALL_TOPIC_CONFIG, &page(0, None)).await;
    let total = first.header::<GetAllTopicConfigResponse>().ok().and_then(|it| it.total_topic_num).expect("a total");
    let first: TopicConfigSerializeWrapper = parsed(&first);
    let version = String::from_utf8(proto::json::to_vec(&first.data_version)).ok();
    let second: TopicConfigSerializeWrapper =
        parsed(&broker.ask(request::GET_ALL_TOPIC_CONFIG, &page(4, version)).await);
    assert_eq!((first.topic_config_table.len(), second.topic_config_table.len()), (4, 4));
    assert!(first.topic_config_table.keys().all(|it| !second.topic_config_table.contains_key(it)));
    assert!(total > 8, "{total}");
    let stale: TopicConfigSerializeWrapper =
        parsed(&broker.ask(request::GET_ALL_TOPIC_CONFIG, &page(4, Some("{}".into()))).await);
    assert_eq!(stale.topic_config_table, first.topic_config_table, "a changed table starts over");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_kept_per_group_and_unknown_ones_start_at_zero_on_a_young_queue() {
    let broker = Fixture::start().await;
    broker.send("T", 0, "x").await;
    let query = |group: &str, zero| QueryConsumerOffsetRequest {
        consumer_group: group.into(),
        topic: "T".into(),
        queue_id: 0,
        set_zero_if_not_found: zero,
    };
    let zero = broker.ask(request::QUERY_CONSUMER_OFFSET, &query("CG", None)).await;
    assert_eq!(zero.header::<OffsetResponse>().map(|it| it.offset), Ok(0));
    let none = broker.ask(request::QUERY_CONSUMER_OFFSET, &query("CG", Some(false))).await;
    assert_eq!(none.code, response::QUERY_NOT_FOUND);
    let commit = |group: &str, topic: &str| UpdateConsumerOffsetRequest {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: 0,
        commit_offset: 1,
    };
    let code = async |it: UpdateConsumerOffsetRequest| broker.ask(request::UPDATE_CONSUMER_OFFSET, &it).await.code;
    assert_eq!(code(commit("Unknown", "T")).await, response::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(code(commit("TOOLS_CONSUMER", "Unknown")).await, response::TOPIC_NOT_EXIST);
    assert_eq!(code(commit("TOOLS_CONSUMER", "T")).await, response::SUCCESS);
    let table: ConsumerOffsetTable = parsed(&broker.call(Command::request(request::GET_ALL_CONSUMER_OFFSET)).await);
    assert_eq!(table.offset_table.get("T@TOOLS_CONSUMER").and_then(|it| it.get(&0)), Some(&1));
    let by: GroupList = parsed(
        &broker.ask(request::QUERY_TOPIC_CONSUME_BY_WHO, &QueryTopicConsumeByWhoRequest { topic: "T".into() }).await,
    );
    assert!(by.group_list.contains("TOOLS_CONSUMER"));
    broker.until(|it| it.contains("\"dispatchBehind\":0")).await;
    let stats =
        GetConsumeStatsRequest { consumer_group: "TOOLS_CONSUMER".into(), topic: Some("T".into()), topic_list: None };
    let stats: ConsumeStats = parsed(&broker.ask(request::GET_CONSUME_STATS, &stats).await);
    let first = stats
        .offset_table
        .iter()
        .find(|(it, _)| it.queue_id == 0)
        .map(|(_, it)| (it.broker_offset, it.consumer_offset));
    assert_eq!(first, Some((1, 1)));
    broker.stop().await;
}

fn heartbeat(client: &str, subscribed: &[&str]) -> Command {
    let subscription = |topic: &&str| SubscriptionData {
        topic: (*topic).into(),
        sub_string: "*".into(),
        sub_version: 1,
        ..Default::default()
    };
    let consumer = ConsumerData {
        group_name: "CG".into(),
        message_model: "CLUSTERING".into(),
        subscription_data_set: subscribed.iter().map(subscription).collect(),
        ..Default::default()
    };
    let data = HeartbeatData {
        client_id: client.into(),
        consumer_data_set: vec![consumer],
        producer_data_set: vec![ProducerData { group_name: "PG".into() }],
        ..Default::default()
    };
    Command::request(request::HEART_BEAT).with_body(proto::json::to_vec(&data))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_brings_group_retry_topic_and_client_list() {
    let broker = Fixture::start().await;
    let list = GetConsumerListByGroupRequest { consumer_group: "CG".into() };
    assert_eq!(broker.ask(request::GET_CONSUMER_LIST_BY_GROUP, &list).await.code, response::SYSTEM_ERROR);
    let answer = broker.call(heartbeat("c1", &["T"])).await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    assert_eq!(answer.version, proto::VERSION, "clients decide by it what the broker can do");
    let ids: GetConsumerListByGroupResponseBody = parsed(&broker.ask(request::GET_CONSUMER_LIST_BY_GROUP, &list).await);
    assert_eq!(ids.consumer_id_list, ["c1"]);
    let retry = GetTopicConfigRequest { topic: "%RETRY%CG".into() };
    assert_eq!(parsed::<TopicConfig>(&broker.ask(request::GET_TOPIC_CONFIG, &retry).await).write_queue_nums, 1);
    let connections = GetConsumerConnectionListRequest { consumer_group: "CG".into() };
    let connection: ConsumerConnection = parsed(&broker.ask(request::GET_CONSUMER_CONNECTION_LIST, &connections).await);
    assert!(connection.subscription_table.contains_key("T"));
    // A second client on a connection of its own; when that closes, the group shrinks.
    let other = Client::new(ClientOptions::default());
    let beat = other.call(&broker.address, heartbeat("c2", &["T"]), DEADLINE).await.expect("an answer");
    assert_eq!(beat.code, response::SUCCESS);
    broker.until(|it| it.contains("\"consumers\":2")).await;
    other.close(&broker.address);
    broker.until(|it| it.contains("\"consumers\":1")).await;
    let leave = UnregisterClientRequest {
        client_id: "c1".into(),
        producer_group: Some("PG".into()),
        consumer_group: Some("CG".into()),
    };
    assert_eq!(broker.ask(request::UNREGISTER_CLIENT, &leave).await.code, response::SUCCESS);
    assert_eq!(
        broker.ask(request::GET_CONSUMER_CONNECTION_LIST, &connections).await.code,
        response::CONSUMER_NOT_ONLINE
    );
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_are_told_to_rebalance_when_one_joins() {
    let broker = Fixture::start().await;
    let (told, mut notices) = tokio::sync::mpsc::unbounded_channel();
    let first = Client::new(ClientOptions::default()).with_handler(std::sync::Arc::new(move |_, command| {
        let _ = told.send((command.code, command.ext));
        None
    }));
    first.call(&broker.address, heartbeat("c1", &["T"]), DEADLINE).await.expect("an answer");
    let wait = async |notices: &mut tokio::sync::mpsc::UnboundedReceiver<(i32, ExtFields)>| {
        tokio::time::timeout(DEADLINE, notices.recv()).await.expect("a notice").expect("a connection")
    };
    assert_eq!(wait(&mut notices).await.0, request::NOTIFY_CONSUMER_IDS_CHANGED);
    broker.call(heartbeat("c2", &["T"])).await;
    let (code, ext) = wait(&mut notices).await;
    assert_eq!(code, request::NOTIFY_CONSUMER_IDS_CHANGED);
    assert_eq!(ext.get("consumerGroup").map(String::as_str), Some("CG"));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_locked_by_one_client_at_a_time() {
    let broker = Fixture::start().await;
    let queue = MessageQueue { broker_name: "broker-a".into(), queue_id: 0, topic: "T".into() };
    let ask = |code, client: &str| {
        let body = LockBatchRequestBody {
            client_id: client.into(),
            consumer_group: "CG".into(),
            mq_set: [queue.clone()].into(),
            only_this_broker: false,
        };
        Command::request(code).with_body(proto::json::to_vec(&body))
    };
    let held = async |client| {
        let answer = broker.call(ask(request::LOCK_BATCH_MQ, client)).await;
        parsed::<LockBatchResponseBody>(&answer).lock_ok_mq_set.len()
    };
    assert_eq!((held("a").await, held("b").await), (1, 0));
    assert_eq!(broker.call(ask(request::UNLOCK_BATCH_MQ, "a")).await.code, response::SUCCESS);
    assert_eq!(held("b").await, 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_figures_settings_and_roles() {
    let broker = Fixture::start().await;
    let info: KvTable = parsed(&broker.call(Command::request(request::GET_BROKER_RUNTIME_INFO)).await);
    for key in [
        "brokerVersionDesc",
        "putTps",
        "getTransferredTps",
        "commitLogDiskRatio",
        "earliestMessageTimeStamp",
        "brokerActive",
    ] {
        assert!(info.table.contains_key(key), "{key}");
    }
    let config = broker.call(Command::request(request::GET_BROKER_CONFIG)).await;
    let text = String::from_utf8_lossy(&config.body).into_owned();
    assert!(text.contains("brokerName=broker-a\n") && config.ext.contains_key("version"), "{text}");
    let epochs = broker.call(Command::request(request::GET_BROKER_EPOCH_CACHE)).await;
    assert_eq!(epochs.code, response::SYSTEM_ERROR, "only in controller mode");
    let status: HaRuntimeInfo = parsed(&broker.call(Command::request(request::GET_BROKER_HA_STATUS)).await);
    assert!(status.master && status.ha_connection_info.is_empty());
    let ha: ExchangeHaInfo =
        broker.call(Command::request(request::EXCHANGE_BROKER_HA_INFO)).await.header().expect("addresses");
    assert_eq!(ha.master_address.as_deref(), Some(broker.address.as_str()));
    for code in [request::GET_ALL_DELAY_OFFSET, request::GET_ALL_MESSAGE_REQUEST_MODE, request::GET_TIMER_METRICS] {
        let _: serde_json::Value = parsed(&broker.call(Command::request(code)).await);
    }
    assert_eq!(broker.call(Command::request(request::GET_TIMER_CHECK_POINT)).await.body.len(), 56);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slaves_poll_brings_everything_first_and_then_what_changes() {
    let broker = Fixture::start().await;
    let poll = |has| {
        let header = SyncRequest { broker_id: 2, has, wait: DEADLINE.as_millis() as u64 };
        broker.call(Command::request(request::BATON_METADATA_SYNC).with_header(&header))
    };
    let first = poll(SyncVersion { master_epoch: -1, settings: 0, offsets: 0 }).await;
    let body: SyncBody = parsed(&first);
    assert!(body.whole_offsets && body.groups.is_some());
    assert!(body.topics.is_some_and(|it| it.topic_config_table.contains_key("TBW102")));
    let mut has = first.header::<SyncResponse>().expect("a version").version;
    let create = topic("New", 1, "");
    // The tables' own version may move once more first: becoming the master is a change of theirs.
    let brings_it = async {
        loop {
            let answer = poll(has).await;
            has = answer.header::<SyncResponse>().expect("a version").version;
            let body: SyncBody = parsed(&answer);
            if body.topics.is_some_and(|it| it.topic_config_table.contains_key("New")) {
                break has;
            }
        }
    };
    let brings_it = tokio::time::timeout(DEADLINE, brings_it);
    let (has, created) = tokio::join!(brings_it, broker.ask(request::UPDATE_AND_CREATE_TOPIC, &create));
    assert_eq!(created.code, response::SUCCESS);
    let has = has.expect("the new topic is brought");
    let commit = UpdateConsumerOffsetRequest {
        consumer_group: "TOOLS_CONSUMER".into(),
        topic: "New".into(),
        queue_id: 0,
        commit_offset: 7,
    };
    let (answer, committed) = tokio::join!(poll(has), broker.ask(request::UPDATE_CONSUMER_OFFSET, &commit));
    assert_eq!(committed.code, response::SUCCESS);
    let body: SyncBody = parsed(&answer);
    assert!(body.topics.is_none(), "only the offsets changed");
    assert_eq!(body.offsets.get("New@TOOLS_CONSUMER").and_then(|it| it.get(&0)), Some(&7));
    broker.stop().await;
}
