//! Typed headers from and to extension fields.

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn ext(fields: &[(&str, &str)]) -> ExtFields {
    fields.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// Reads what `fields` say, writes it again, and compares with Java's text.
fn check<H: Header + std::fmt::Debug>(fields: &[(&str, &str)], want: Expect) {
    let header = H::read(&ext(fields)).unwrap();
    let mut written = ExtFields::new();
    header.write(&mut written);
    let text: Vec<_> = written.iter().map(|(key, value)| format!("{key}={value}")).collect();
    want.assert_eq(&text.join(" "));
}

#[test]
fn headers_use_java_s_field_names() {
    check::<RegisterBrokerRequest>(
        &[
            ("brokerName", "b-a"),
            ("brokerAddr", "1.1.1.1:1"),
            ("clusterName", "c"),
            ("haServerAddr", "1.1.1.1:2"),
            ("brokerId", "0"),
            ("heartbeatTimeoutMillis", "3000"),
            ("enableActingMaster", "FALSE"),
            ("compressed", "false"),
            ("bodyCrc32", "7"),
            ("x", "y"),
        ],
        expect![
            "bodyCrc32=7 brokerAddr=1.1.1.1:1 brokerId=0 brokerName=b-a clusterName=c compressed=false enableActingMaster=false haServerAddr=1.1.1.1:2 heartbeatTimeoutMillis=3000"
        ],
    );
    check::<PullMessageRequest>(
        &[
            ("consumerGroup", "g"),
            ("topic", "t"),
            ("queueId", "1"),
            ("queueOffset", "2"),
            ("maxMsgNums", "3"),
            ("sysFlag", "6"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "15000"),
            ("subVersion", "4"),
            ("subscription", "*"),
            ("proxyFrowardClientId", "p"),
        ],
        expect![
            "commitOffset=0 consumerGroup=g maxMsgNums=3 proxyFrowardClientId=p queueId=1 queueOffset=2 subVersion=4 subscription=* suspendTimeoutMillis=15000 sysFlag=6 topic=t"
        ],
    );
    check::<UnregisterClientRequest>(
        &[("clientID", "c"), ("producerGroup", "p")],
        expect!["clientID=c producerGroup=p"],
    );
    check::<ElectMasterRequest>(
        &[("clusterName", ""), ("brokerName", "b"), ("brokerId", "-1"), ("designateElect", "true")],
        expect!["brokerId=-1 brokerName=b clusterName= designateElect=true"],
    );
}

#[test]
fn a_missing_or_ill_typed_field_is_named() {
    let error = |fields: &[(&str, &str)]| SendMessageResponse::read(&ext(fields)).unwrap_err().to_string();
    expect!["SendMessageResponse: field `msgId` is missing"].assert_eq(&error(&[]));
    expect!["SendMessageResponse: field `queueId` is `one`: want an integer of 32 bits"].assert_eq(&error(&[
        ("msgId", "m"),
        ("queueId", "one"),
        ("queueOffset", "1"),
    ]));
    expect!["SendMessageResponse: field `queueOffset` is `9223372036854775808`: want an integer of 64 bits"]
        .assert_eq(&error(&[("msgId", "m"), ("queueId", "1"), ("queueOffset", "9223372036854775808")]));
}

#[test]
fn a_send_request_reads_the_same_under_both_sets_of_names() {
    let short = ext(&[
        ("a", "PG"),
        ("b", "T"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "1"),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", "UNIQ_KEY\u{1}x\u{2}"),
        ("j", "0"),
        ("k", "false"),
        ("l", "16"),
        ("m", "false"),
        ("bname", "b-a"),
    ]);
    let header = SendMessageRequest::read_v2(&short).unwrap();
    let want = SendMessageRequest {
        producer_group: "PG".into(),
        topic: "T".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 1,
        sys_flag: 0,
        born_timestamp: 1,
        flag: 0,
        properties: Some("UNIQ_KEY\u{1}x\u{2}".into()),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: Some(16),
        batch: Some(false),
        broker_name: Some("b-a".into()),
    };
    assert_eq!(header, want);
    let (mut long, mut again) = (ExtFields::new(), ExtFields::new());
    header.write_v1(&mut long);
    header.write_v2(&mut again);
    assert_eq!(again, short);
    assert_eq!(long["defaultTopicQueueNums"], "4");
    assert_eq!(SendMessageRequest::read_v1(&long), Ok(want));
    let mut old = short;
    old.remove("bname");
    old.insert("n".into(), "b-b".into());
    assert_eq!(SendMessageRequest::read_v2(&old).unwrap().broker_name.as_deref(), Some("b-b"));
}

proptest! {
    #[test]
    fn headers_survive(topic in ".{0,20}", queue_id: i32, offset: i64, committed in prop::option::of(any::<bool>())) {
        let header = GetMaxOffsetRequest { topic, queue_id, committed };
        let mut fields = ExtFields::new();
        header.write(&mut fields);
        prop_assert_eq!(GetMaxOffsetRequest::read(&fields), Ok(header));
        let answer = OffsetResponse { offset };
        answer.write(&mut fields);
        prop_assert_eq!(OffsetResponse::read(&fields), Ok(answer));
    }
}
