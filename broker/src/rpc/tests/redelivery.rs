//! Delay levels, messages that are sent back, and dead letters.

use super::*;
use node::clock::wall_ms;
use proto::message::parse_offset_message_id;

/// Quick levels, of which the last is longer than any test.
const LEVELS: &str = "1s 2s 1s 1s 1s 1h";

async fn start() -> Fixture {
    start_on(tempfile::tempdir().expect("temp dir")).await
}

async fn start_on(root: tempfile::TempDir) -> Fixture {
    Fixture::start_on(root, |it| {
        it.message_delay_level = LEVELS.into();
        it.flush_delay_offset_interval = 10;
    })
    .await
}

fn delayed(topic: &str, body: &str, level: i32) -> Command {
    send(topic, 1, body, &format!("DELAY\u{1}{level}\u{2}UNIQ_KEY\u{1}{body}\u{2}"))
}

async fn pull_from(broker: &Fixture, topic: &str, queue_id: i32, offset: i64) -> Command {
    let mut header: PullMessageRequest = pull(topic, offset, "*", DEADLINE).header().expect("a pull");
    header.queue_id = queue_id;
    broker.ask(request::PULL_MESSAGE, &header).await
}

/// The first message from `offset` on, as (body, attempts, properties, store time, physical offset).
fn first(answer: &Command) -> (String, i32, String, i64, i64) {
    let it = records(&answer.body).next().expect("a message").expect("a whole record");
    let body = String::from_utf8_lossy(it.body).into_owned();
    (body, it.reconsume_times, it.properties.to_owned(), it.store_timestamp, it.physical_offset)
}

fn property(properties: &str, name: &str) -> Option<String> {
    proto::properties::get(properties, name).map(str::to_owned)
}

async fn delay_offsets(broker: &Fixture) -> DelayOffsetTable {
    let answer = broker.call(Command::request(request::GET_ALL_DELAY_OFFSET)).await;
    proto::json::from_slice(&answer.body).expect("a table")
}

fn send_back(group: &str, offset: i64, delay_level: i32) -> ConsumerSendMsgBackRequest {
    ConsumerSendMsgBackRequest {
        offset,
        group: group.into(),
        delay_level,
        origin_topic: Some("T".into()),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_message_comes_when_it_is_due_and_once() {
    let broker = start().await;
    let before = wall_ms();
    for (body, level) in [("never", 6), ("later", 2), ("soon", 1)] {
        let answer = broker.call(delayed("T", body, level)).await;
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
        let header: SendMessageResponse = answer.header().expect("a send answer");
        assert_eq!(header.queue_id, 1, "the queue that was asked for");
    }
    let (body, _, properties, stored, _) = first(&pull_from(&broker, "T", 1, 0).await);
    assert_eq!(body, "soon");
    assert!(stored >= before + 1000, "delivered {} ms after it was sent", stored - before);
    assert_eq!(property(&properties, "UNIQ_KEY").as_deref(), Some("soon"));
    let (body, _, _, stored, _) = first(&pull_from(&broker, "T", 1, 1).await);
    assert_eq!(body, "later");
    assert!(stored >= before + 2000, "delivered {} ms after it was sent", stored - before);

    // A restart goes on from there: the next message is the next one.
    let broker = start_on(broker.stop().await).await;
    assert_eq!(delay_offsets(&broker).await.offset_table, std::collections::BTreeMap::from([(1, 1), (2, 1)]));
    assert_eq!(broker.call(delayed("T", "after the restart", 1)).await.code, response::SUCCESS);
    assert_eq!(first(&pull_from(&broker, "T", 1, 2).await).0, "after the restart");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_above_the_last_is_the_last_and_a_batch_cannot_wait() {
    let broker = start().await;
    assert_eq!(broker.call(delayed("T", "clipped", 99)).await.code, response::SUCCESS);
    broker.until(|it| it.contains("\"dispatchBehind\":0")).await;
    let max = GetMaxOffsetRequest { topic: "SCHEDULE_TOPIC_XXXX".into(), queue_id: 5, committed: None };
    let answer = broker.ask(request::GET_MAX_OFFSET, &max).await;
    assert_eq!(answer.header::<OffsetResponse>().map(|it| it.offset), Ok(1));

    let inner = batch::BatchMessage { flag: 0, body: "a".into(), properties: "DELAY\u{1}1\u{2}".into() };
    let body = batch::encode(&[inner]).expect("encoded");
    let header = SendMessageRequest { batch: Some(true), ..send_header("T", 1, "") };
    let command = Command::request(request::SEND_BATCH_MESSAGE).with_header(&header).with_body(body);
    assert_eq!(broker.call(command).await.code, response::MESSAGE_ILLEGAL);
    broker.stop().await;
}

/// Each attempt is one of the same message, until there were too many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_sent_back_comes_again_and_then_is_a_dead_letter() {
    let broker = start().await;
    let group = SubscriptionGroupConfig { group_name: "CG".into(), retry_max_times: 2, ..Default::default() };
    let create = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    assert_eq!(broker.call(create.with_body(proto::json::to_vec(&group))).await.code, response::SUCCESS);
    let sent: SendMessageResponse = broker.send("T", 0, "hard").await.header().expect("a send answer");
    let (_, mut offset) = parse_offset_message_id(&sent.msg_id).expect("an id of ours");
    for attempt in 1..=2 {
        let answer = broker.ask(request::CONSUMER_SEND_MSG_BACK, &send_back("CG", offset, 0)).await;
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
        let (body, times, properties, _, at) = first(&pull_from(&broker, "%RETRY%CG", 0, attempt - 1).await);
        assert_eq!((body.as_str(), i64::from(times)), ("hard", attempt));
        assert_eq!(property(&properties, "RETRY_TOPIC").as_deref(), Some("T"));
        assert_eq!(property(&properties, "ORIGIN_MESSAGE_ID").as_deref(), Some(sent.msg_id.as_str()));
        assert_eq!(property(&properties, "TAGS").as_deref(), Some("TagA"));
        assert_eq!(property(&properties, "DELAY"), Some((attempt + 2).to_string()));
        offset = at;
    }
    assert_eq!(broker.ask(request::CONSUMER_SEND_MSG_BACK, &send_back("CG", offset, 0)).await.code, response::SUCCESS);
    let (body, times, properties, _, _) = first(&pull_from(&broker, "%DLQ%CG", 0, 0).await);
    assert_eq!((body.as_str(), times), ("hard", 3));
    assert_eq!(property(&properties, "RETRY_TOPIC").as_deref(), Some("T"));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_bad_send_back_gets_its_code() {
    let broker = start().await;
    let mut none = SubscriptionGroupConfig { group_name: "None".into(), ..Default::default() };
    none.retry_queue_nums = 0;
    let some = SubscriptionGroupConfig { group_name: "CG".into(), ..Default::default() };
    for group in [none, some] {
        let create = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
        assert_eq!(broker.call(create.with_body(proto::json::to_vec(&group))).await.code, response::SUCCESS);
    }
    let sent: SendMessageResponse = broker.send("T", 0, "there").await.header().expect("a send answer");
    let (_, offset) = parse_offset_message_id(&sent.msg_id).expect("an id of ours");
    for (what, header, code) in [
        ("unknown group", send_back("Missing", offset, 0), response::SUBSCRIPTION_GROUP_NOT_EXIST),
        ("inside a record", send_back("CG", offset + 1, 0), response::SYSTEM_ERROR),
        ("beyond the log", send_back("CG", 1 << 40, 0), response::SYSTEM_ERROR),
        ("negative", send_back("CG", -1, 0), response::SYSTEM_ERROR),
        ("a group without retries", send_back("None", 1 << 40, 0), response::SUCCESS),
        ("dead at once", send_back("CG", offset, -1), response::SUCCESS),
    ] {
        let answer = broker.ask(request::CONSUMER_SEND_MSG_BACK, &header).await;
        assert_eq!(answer.code, code, "{what}: {:?}", answer.remark);
    }
    assert_eq!(broker.call(Command::request(request::CONSUMER_SEND_MSG_BACK)).await.code, response::SYSTEM_ERROR);
    assert_eq!(first(&pull_from(&broker, "%DLQ%CG", 0, 0).await).0, "there");
    broker.stop().await;
}
