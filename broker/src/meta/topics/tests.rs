//! The topic table against Java's file, and the rules of creation.

use super::*;
use expect_test::expect;

fn at(settings: u64) -> Stamp {
    Stamp { epoch: 3, settings, now_ms: 1_700_000_000_000 }
}

fn template() -> TopicConfig {
    TopicConfig { perm: 7, ..derived("TBW102".into(), 8) }
}

#[test]
fn the_file_is_javas() {
    let mut table = TopicTable::default();
    assert!(table.put(derived("T".into(), 4), at(1)));
    let want = concat!(
        r#"{"dataVersion":{"counter":1,"stateVersion":3,"timestamp":1700000000000},"topicConfigTable":{"T":{"#,
        r#""attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","#,
        r#""topicName":"T","topicSysFlag":0,"writeQueueNums":4}}}"#
    );
    assert_eq!(String::from_utf8_lossy(&proto::json::to_vec(&table.to_file())), want);
    let read =
        TopicTable::from_file(proto::json::from_slice(&proto::json::to_vec(&table.to_file())).expect("readable"));
    assert_eq!(read.to_file(), table.to_file());
}

#[test]
fn an_unchanged_topic_does_not_move_the_version() {
    let mut table = TopicTable::default();
    assert!(table.put(derived("T".into(), 4), at(1)));
    let version = table.version;
    assert!(!table.put(derived("T".into(), 4), at(2)));
    assert_eq!(table.version, version);
    assert!(table.put(derived("T".into(), 8), at(3)));
    assert_eq!(table.version.counter, 2);
    assert_eq!(table.get("T").map(|it| it.created), Some(1), "a changed topic is not a new one");
    assert!(table.remove("T", at(4)) && !table.remove("T", at(5)));
    assert_eq!(table.version.counter, 3);
}

#[test]
fn a_send_to_an_unknown_topic_creates_it_from_its_template() {
    let mut table = TopicTable::default();
    table.put(template(), at(1));
    let created = table.auto_created("New", "TBW102", 4, false).expect("the template lets it");
    assert_eq!((created.read_queue_nums, created.write_queue_nums, created.perm), (4, 4, 6));
    assert_eq!(table.auto_created("New", "TBW102", 99, false).map(|it| it.write_queue_nums), Some(8));
    assert_eq!(table.auto_created("New", "TBW102", 0, false), None, "a topic without queues is none");
    assert_eq!(table.auto_created("New", "Missing", 4, false), None);
    table.put(TopicConfig { perm: 6, ..template() }, at(2));
    assert_eq!(table.auto_created("New", "TBW102", 4, false), None, "the template does not pass itself on");
}

#[test]
fn system_topics_are_there_from_the_start() {
    let system = SystemTopics {
        cluster: "C",
        broker_name: "b",
        auto_create_queues: Some(8),
        cluster_topic: true,
        broker_topic: true,
        trace_topic: None,
    };
    let text: Vec<String> =
        system.configs().iter().map(|it| format!("{} {} {}", it.topic_name, it.write_queue_nums, it.perm)).collect();
    expect![[r#"
        SELF_TEST_TOPIC 1 6
        BenchmarkTest 1024 6
        OFFSET_MOVED_EVENT 1 6
        SCHEDULE_TOPIC_XXXX 18 6
        C_REPLY_TOPIC 1 6
        rmq_sys_REVIVE_LOG_C 8 6
        rmq_sys_SYNC_BROKER_MEMBER_b 1 1
        RMQ_SYS_TRANS_HALF_TOPIC 1 6
        RMQ_SYS_TRANS_OP_HALF_TOPIC 1 6
        rmq_sys_wheel_timer 1 6
        TBW102 8 7
        C 16 7
        b 1 7"#]]
    .assert_eq(&text.join("\n"));
}

#[test]
fn attributes_are_added_and_removed_by_sign() {
    let current = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    let next = apply_attributes(&current, "+message.type=FIFO,-a").expect("fine");
    assert_eq!(next, BTreeMap::from([("message.type".to_owned(), "FIFO".to_owned())]));
    assert_eq!(apply_attributes(&current, ""), Ok(current.clone()));
    for bad in ["a=1", "+a", "-b"] {
        assert!(apply_attributes(&current, bad).is_err(), "{bad}");
    }
}
