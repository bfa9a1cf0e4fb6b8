//! JSON as RocketMQ's library writes it, and what is refused.

use super::*;
use crate::body::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn check_normalised(text: &str, want: Expect) {
    want.assert_eq(&normalise(text).unwrap_or_else(|| "refused".to_owned()));
}

#[test]
fn fastjson_dialect_becomes_strict_json() {
    check_normalised(r#"{0:"a", name : -1.5e3,}"#, expect![[r#"{"0":"a","name":-1.5e3}"#]]);
    check_normalised(r#"{'a':'it\'s "b"'}"#, expect![[r#"{"a":"it's \"b\""}"#]]);
    check_normalised(r#"{{"topic":"a\"T"}:5}"#, expect![[r#"{"{\"topic\":\"a\\\"T\"}":5}"#]]);
    check_normalised(r#"{"a":null,"b":[1,null,],c:null}"#, expect![[r#"{"b":[1,null]}"#]]);
    check_normalised(r#"{{"$ref":"$.x.null"}:1}"#, expect![[r#"{"{\"$ref\":\"$.x.null\"}":1}"#]]);
    check_normalised("{\"a\":\"x\u{1}\"}", expect![[r#"{"a":"x\u0001"}"#]]);
}

#[test]
fn what_is_no_json_at_all_is_refused() {
    for text in ["", "{", "{\"a\"", "{\"a\":}", "[1", "\"abc", "{:1}", "{{{1:1}:1}:1}", "1 2", &"[".repeat(1_000_000)] {
        check_normalised(text, expect!["refused"]);
        assert!(from_slice::<serde_json::Value>(text.as_bytes()).is_err());
    }
}

/// Bodies that Java 5.3.3 wrote, in the order of its keys.
#[test]
fn java_bodies_survive_a_round_trip() {
    round_trip::<HeartbeatData>(
        r#"{"clientID":"10.0.0.1@123#456","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"CG","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919,2598920],"expressionType":"TAG","subString":"TagA || TagB","subVersion":1700000000000,"tagsSet":["TagA","TagB"],"topic":"T"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"PG"}],"withoutSub":false}"#,
    );
    round_trip::<TopicStatsTable>(
        r#"{"offsetTable":{{"brokerName":"b-a","queueId":3,"topic":"T"}:{"lastUpdateTimestamp":0,"maxOffset":9,"minOffset":0}},"topicPutTps":0.0}"#,
    );
    round_trip::<ConsumeStats>(
        r#"{"consumeTps":0.0,"offsetTable":{{"brokerName":"b-a","queueId":3,"topic":"T"}:{"brokerOffset":0,"consumerOffset":0,"lastTimestamp":0,"pullOffset":0}}}"#,
    );
    round_trip::<ResetOffsetBody>(r#"{"offsetTable":{{"brokerName":"b\"a","queueId":3,"topic":"T\\"}:5}}"#);
    round_trip::<LockBatchRequestBody>(
        r#"{"clientId":"c","consumerGroup":"CG","mqSet":[{"brokerName":"b-a","queueId":3,"topic":"T"}],"onlyThisBroker":false}"#,
    );
    round_trip::<LockBatchResponseBody>(r#"{"lockOKMQSet":[{"brokerName":"b-a","queueId":3,"topic":"T"}]}"#);
    round_trip::<KvTable>(r#"{"table":{"k":"v"}}"#);
    round_trip::<SubscriptionGroupWrapper>(
        r#"{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1700000000000},"forbiddenTable":{},"subscriptionGroupTable":{"CG":{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"CG","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}}}"#,
    );
    round_trip::<RegisterBrokerBody>(
        r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1700000000000},"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":1700000000000},"topicConfigTable":{"T":{"attributes":{},"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":8}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}}"#,
    );
    round_trip::<ConsumerConnection>(
        r#"{"connectionSet":[{"clientAddr":"1.1.1.1:3","clientId":"c","language":"JAVA","version":477}],"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{"T":{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1700000000000,"tagsSet":["TagA"],"topic":"T"}}}"#,
    );
    round_trip::<HaRuntimeInfo>(
        r#"{"haClientRuntimeInfo":{"lastReadTimestamp":0,"lastWriteTimestamp":0,"masterFlushOffset":0,"maxOffset":0,"transferredByteInSecond":0},"haConnectionInfo":[{"addr":"a","diff":0,"inSync":true,"slaveAckOffset":0,"transferFromWhere":0,"transferredByteInSecond":0}],"inSyncSlaveNums":0,"master":true,"masterCommitLogMaxOffset":0}"#,
    );
    round_trip::<EpochEntryCache>(
        r#"{"brokerId":1,"brokerName":"b-a","clusterName":"C","epochList":[{"endOffset":9223372036854775807,"epoch":1,"startOffset":0}],"maxOffset":100}"#,
    );
    round_trip::<TopicRouteData>(
        r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","2":"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"c","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#,
    );
    round_trip::<TopicList>(r#"{"topicList":["T"]}"#);
    round_trip::<GroupList>(r#"{"groupList":["CG"]}"#);
    round_trip::<ProducerConnection>(r#"{"connectionSet":[]}"#);
    round_trip::<GetConsumerListByGroupResponseBody>(r#"{"consumerIdList":["a@1#2"]}"#);
    round_trip::<SyncStateSet>(r#"{"syncStateSet":[1,2],"syncStateSetEpoch":3}"#);
    round_trip::<BrokerReplicasInfo>(
        r#"{"replicasInfoTable":{"b-a":{"inSyncReplicas":[{"alive":true,"brokerAddress":"1.1.1.1:1","brokerId":1,"brokerName":"b-a"}],"masterAddress":"1.1.1.1:1","masterBrokerId":1,"masterEpoch":2,"notInSyncReplicas":[],"syncStateSetEpoch":3}}}"#,
    );
}

fn round_trip<T: Serialize + DeserializeOwned>(text: &str) {
    let body: T = from_slice(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(to_vec(&body)).unwrap(), text);
}

#[test]
fn maps_with_bare_integer_keys_are_read() {
    let group: GetBrokerMemberGroupResponseBody = from_slice(
        br#"{"brokerMemberGroup":{"brokerAddrs":{0:"1.1.1.1:10911",2:"1.1.1.2:10911"},"brokerName":"b-a","cluster":"C"}}"#,
    )
    .unwrap();
    let group = group.broker_member_group.unwrap();
    assert_eq!(
        group.broker_addrs.into_iter().collect::<Vec<_>>(),
        [(0, "1.1.1.1:10911".into()), (2, "1.1.1.2:10911".into())]
    );
    let offsets: ConsumerOffsetTable =
        from_slice(br#"{"offsetTable":{"T@G":{0:12,1:3}},"groupTopicMap":{"G":["T"]}}"#).unwrap();
    assert_eq!(offsets.offset_table["T@G"], [(0, 12), (1, 3)].into());
}

#[test]
fn missing_null_and_unknown_members_keep_the_defaults() {
    let config: SubscriptionGroupConfig =
        from_slice(br#"{"groupName":"G","attributes":null,"later":{"x":[1]}}"#).unwrap();
    assert_eq!(config, SubscriptionGroupConfig { group_name: "G".into(), ..Default::default() });
}

#[test]
fn a_wrong_shape_names_the_place() {
    let error = from_slice::<TopicConfig>(br#"{"perm":"six"}"#).unwrap_err();
    expect![[r#"invalid type: string "six", expected i32 at line 1 column 13"#]].assert_eq(&error.to_string());
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_or_swell(text in "[\\[\\]{}:,'\"\\\\ a0$-]{0,200}") {
        if let Some(out) = normalise(&text) {
            prop_assert!(out.len() <= 8 * text.len());
        }
        let _ = from_slice::<serde_json::Value>(text.as_bytes());
    }

    #[test]
    fn strict_json_keeps_its_meaning(key in ".{0,20}", value in ".{0,20}", number: i64) {
        let json = serde_json::json!({ key: [value, number], "n": { "x": true } });
        let back = normalise(&json.to_string()).unwrap();
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&back).unwrap(), json);
    }

    #[test]
    fn tables_keyed_by_queues_survive(name in ".{0,20}", topic in ".{0,20}", queue_id: i32, offset: i64) {
        let queue = MessageQueue { broker_name: name, queue_id, topic };
        let body = ResetOffsetBody { offset_table: vec![(queue, offset)] };
        prop_assert_eq!(from_slice::<ResetOffsetBody>(&to_vec(&body)).unwrap(), body);
    }
}
