//! Sends, pulls and offsets.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_is_pulled_in_order_and_found_by_its_id() {
    let broker = Fixture::start().await;
    for i in 0..5 {
        let answer = broker.send("T", 0, &format!("m{i}")).await;
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
        let header: SendMessageResponse = answer.header().expect("a send answer");
        assert_eq!((header.queue_id, header.queue_offset, header.transaction_id.as_deref()), (0, i, Some("k")));
        assert_eq!(answer.ext.get(MSG_REGION).map(String::as_str), Some("DefaultRegion"));
        assert_eq!(answer.ext.get(TRACE_ON).map(String::as_str), Some("true"));
    }
    let (answer, header) = broker.pull("T", 0, "*", DEADLINE).await;
    assert_eq!(answer.code, response::SUCCESS);
    let first = bodies(&answer);
    assert!(first.first().is_some_and(|it| it == "m0"));
    let (rest, _) = broker.pull("T", header.next_begin_offset, "*", Duration::from_millis(50)).await;
    let all: Vec<String> = first.into_iter().chain(bodies(&rest)).collect();
    assert_eq!(all, ["m0", "m1", "m2", "m3", "m4"]);

    let sent: SendMessageResponse = broker.send("T", 1, "by id").await.header().expect("a send answer");
    let (host, offset) = proto::message::parse_offset_message_id(&sent.msg_id).expect("an id of ours");
    assert_eq!(host.to_string(), broker.address);
    let message = broker.ask(request::VIEW_MESSAGE_BY_ID, &ViewMessageRequest { topic: None, offset }).await;
    assert_eq!(bodies(&message), ["by id"]);
    let missing = broker.ask(request::VIEW_MESSAGE_BY_ID, &ViewMessageRequest { topic: None, offset: 1 << 40 }).await;
    assert_eq!(missing.code, response::SYSTEM_ERROR);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_pull_is_answered_when_a_wanted_message_comes() {
    let broker = Fixture::start().await;
    assert_eq!(broker.send("T", 0, "first").await.code, response::SUCCESS);
    broker.until(|it| it.contains("\"dispatchBehind\":0")).await;
    let held = broker.call(pull("T", 1, "TagB", DEADLINE));
    let feed = async {
        broker.until(|it| it.contains("\"heldPulls\":1")).await;
        assert_eq!(broker.send("T", 0, "unwanted").await.code, response::SUCCESS);
        let wanted = send("T", 0, "wanted", "TAGS\u{1}TagB\u{2}");
        assert_eq!(broker.call(wanted).await.code, response::SUCCESS);
    };
    let (answer, ()) = tokio::join!(held, feed);
    assert_eq!((answer.code, bodies(&answer)), (response::SUCCESS, vec!["wanted".to_owned()]));
    broker.until(|it| it.contains("\"heldPulls\":0")).await;
    broker.stop().await;
}

/// A broker that has just started knows nobody's subscriptions; its consumers pull while they introduce themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_of_an_unknown_consumer_waits_for_its_heartbeat() {
    let broker = Fixture::start().await;
    assert_eq!(broker.send("T", 0, "first").await.code, response::SUCCESS);
    let subscription = SubscriptionData { topic: "T".into(), sub_string: "*".into(), ..Default::default() };
    let consumer =
        ConsumerData { group_name: "CG".into(), subscription_data_set: vec![subscription], ..Default::default() };
    let data = HeartbeatData { client_id: "c".into(), consumer_data_set: vec![consumer], ..Default::default() };
    let heartbeat = Command::request(request::HEART_BEAT).with_body(proto::json::to_vec(&data));
    let known = |flag| {
        let mut header: PullMessageRequest = pull("T", 0, "", DEADLINE).header().expect("a pull");
        header.sys_flag = flag;
        Command::request(request::PULL_MESSAGE).with_header(&header)
    };
    assert_eq!(broker.call(known(0)).await.code, response::SUBSCRIPTION_NOT_EXIST, "this one does not wait");
    let (pulled, introduced) = tokio::join!(broker.call(known(pull_sys_flag::SUSPEND)), async {
        tokio::task::yield_now().await;
        broker.call(heartbeat).await
    });
    assert_eq!(introduced.code, response::SUCCESS);
    assert_eq!((pulled.code, bodies(&pulled)), (response::SUCCESS, vec!["first".to_owned()]), "{:?}", pulled.remark);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_finds_nothing_says_where_to_go_on() {
    let broker = Fixture::start().await;
    broker.send("T", 0, "only").await;
    let found = broker.pull("T", 0, "*", DEADLINE).await;
    assert_eq!(found.0.code, response::SUCCESS);
    let moment = Duration::from_millis(30);
    for (offset, hold, code, status, next) in [
        (1, Duration::ZERO, response::PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", 1),
        (1, moment, response::PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", 1),
        (9, moment, response::PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY", 1),
    ] {
        let (answer, header) = broker.pull("T", offset, "*", hold).await;
        assert_eq!((answer.code, answer.remark.as_deref(), header.next_begin_offset), (code, Some(status), next));
    }
    let (answer, header) = broker.pull("T", 0, "TagZ", Duration::ZERO).await;
    assert_eq!((answer.code, header.next_begin_offset), (response::PULL_RETRY_IMMEDIATELY, 1));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_several_messages_of_one_queue() {
    let broker = Fixture::start().await;
    let message = |body: &str| batch::BatchMessage {
        flag: 0,
        body: body.to_owned().into(),
        properties: format!("UNIQ_KEY\u{1}{body}\u{2}"),
    };
    let body = batch::encode(&[message("a"), message("b"), message("c")]).expect("encoded");
    let header = SendMessageRequest { batch: Some(true), ..send_header("T", 2, "") };
    let command = Command::request(request::SEND_BATCH_MESSAGE).with_header(&header);
    let answer = broker.call(command.clone().with_body(body)).await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    let stored: SendMessageResponse = answer.header().expect("a send answer");
    assert_eq!((stored.msg_id.split(',').count(), stored.queue_offset), (3, 0));
    broker.until(|it| it.contains("\"dispatchBehind\":0")).await;
    let max = GetMaxOffsetRequest { topic: "T".into(), queue_id: 2, committed: None };
    let answer = broker.ask(request::GET_MAX_OFFSET, &max).await;
    assert_eq!(answer.header::<OffsetResponse>().map(|it| it.offset), Ok(3));
    let garbage = broker.call(command.with_body("garbage that is no batch")).await;
    assert_eq!(garbage.code, response::MESSAGE_ILLEGAL);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_bad_send_gets_its_code() {
    let broker = Fixture::start_with(|it| it.max_message_size = 1000).await;
    assert_eq!(broker.send("T", 0, "there").await.code, response::SUCCESS);
    let long = "x".repeat(128);
    let timer = "TIMER_DELAY_SEC\u{1}3\u{2}";
    let transaction = "TRAN_MSG\u{1}true\u{2}";
    let huge = format!("A\u{1}{}\u{2}", "x".repeat(33_000));
    for (what, command, code) in [
        ("bad topic", send("a b", 0, "x", ""), response::INVALID_PARAMETER),
        ("long topic", send(&long, 0, "x", ""), response::INVALID_PARAMETER),
        ("system topic", send("SCHEDULE_TOPIC_XXXX", 0, "x", ""), response::NO_PERMISSION),
        ("queue beyond the topic's", send("T", 4, "x", ""), response::INVALID_PARAMETER),
        ("big body", send("T", 0, &"x".repeat(1001), ""), response::MESSAGE_ILLEGAL),
        ("big properties", send("T", 0, "x", &huge), response::MESSAGE_ILLEGAL),
        ("timer", send("T", 0, "x", timer), response::MESSAGE_ILLEGAL),
        ("transaction", send("T", 0, "x", transaction), response::NO_PERMISSION),
        ("no header", Command::request(request::SEND_MESSAGE_V2), response::SYSTEM_ERROR),
        ("no such code", Command::request(29_999), response::REQUEST_CODE_NOT_SUPPORTED),
    ] {
        let answer = broker.call(command).await;
        assert_eq!(answer.code, code, "{what}: {:?}", answer.remark);
        assert!(answer.remark.is_some_and(|it| !it.is_empty()), "{what}: no remark");
    }
    let unknown = SendMessageRequest { default_topic: "Missing".into(), ..send_header("New", 0, "") };
    let answer = broker.ask(request::SEND_MESSAGE_V2, &unknown).await;
    assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
    assert_eq!(broker.send("T", 0, "still served").await.code, response::SUCCESS);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_failed_too_often_goes_to_the_dead_letter_topic() {
    let broker = Fixture::start().await;
    let retry =
        |times| SendMessageRequest { reconsume_times: Some(times), ..send_header("%RETRY%CG", 0, "DELAY\u{1}3\u{2}") };
    let last =
        Command::request(request::SEND_MESSAGE_V2).with_header(&retry(16)).with_body("waits for its last attempt");
    assert_eq!(broker.call(last).await.code, response::SUCCESS);
    let dead = Command::request(request::SEND_MESSAGE_V2).with_header(&retry(17)).with_body("dead");
    assert_eq!(broker.call(dead).await.code, response::SUCCESS);
    let (answer, _) = broker.pull("%DLQ%CG", 0, "*", DEADLINE).await;
    assert_eq!(bodies(&answer), ["dead"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_bad_pull_gets_its_code() {
    let broker = Fixture::start_with(|it| it.auto_create_subscription_group = false).await;
    broker.send("T", 0, "there").await;
    let none = Duration::ZERO;
    assert_eq!(broker.call(pull("T", 0, "*", none)).await.code, response::SUBSCRIPTION_GROUP_NOT_EXIST);
    let group = SubscriptionGroupConfig { group_name: "CG".into(), ..Default::default() };
    let create = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    assert_eq!(broker.call(create.clone().with_body(proto::json::to_vec(&group))).await.code, response::SUCCESS);
    let changed = |change: fn(&mut PullMessageRequest)| {
        let mut header: PullMessageRequest = pull("T", 0, "*", none).header().expect("a pull");
        change(&mut header);
        Command::request(request::PULL_MESSAGE).with_header(&header)
    };
    for (command, code) in [
        (changed(|it| it.topic = "Missing".into()), response::TOPIC_NOT_EXIST),
        (changed(|it| it.queue_id = 99), response::INVALID_PARAMETER),
        (changed(|it| it.queue_id = -1), response::INVALID_PARAMETER),
        (changed(|it| it.subscription = Some(" || ".into())), response::SUBSCRIPTION_PARSE_FAILED),
        (changed(|it| it.expression_type = Some("SQL92".into())), response::SYSTEM_ERROR),
        (changed(|it| it.sys_flag = 0), response::SUBSCRIPTION_NOT_EXIST),
    ] {
        assert_eq!(broker.call(command.clone()).await.code, code, "{command:?}");
    }
    let closed = SubscriptionGroupConfig { consume_enable: false, ..group };
    assert_eq!(broker.call(create.with_body(proto::json::to_vec(&closed))).await.code, response::SUCCESS);
    assert_eq!(broker.call(pull("T", 0, "*", none)).await.code, response::NO_PERMISSION);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_topics_and_offsets_outlive_a_restart() {
    let broker = Fixture::start().await;
    broker.send("T", 0, "kept").await;
    assert_eq!(broker.pull("T", 0, "*", DEADLINE).await.0.code, response::SUCCESS);
    let commit =
        UpdateConsumerOffsetRequest { consumer_group: "CG".into(), topic: "T".into(), queue_id: 0, commit_offset: 1 };
    assert_eq!(broker.ask(request::UPDATE_CONSUMER_OFFSET, &commit).await.code, response::SUCCESS);
    let broker = Fixture::start_on(broker.stop().await, |_| {}).await;
    let query = QueryConsumerOffsetRequest {
        consumer_group: "CG".into(),
        topic: "T".into(),
        queue_id: 0,
        set_zero_if_not_found: Some(false),
    };
    let answer = broker.ask(request::QUERY_CONSUMER_OFFSET, &query).await;
    assert_eq!(answer.header::<OffsetResponse>().map(|it| it.offset), Ok(1), "{:?}", answer.remark);
    let (answer, _) = broker.pull("T", 0, "*", DEADLINE).await;
    assert_eq!(bodies(&answer), ["kept"]);
    broker.stop().await;
}
