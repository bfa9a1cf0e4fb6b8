//! A consumer against scripted brokers.

use super::*;
use crate::fake::{Namesrv, Server, refusing_address};
use node::remoting::Reply;
use parking_lot::Mutex;
use std::sync::Arc;

const LONG: Duration = Duration::from_secs(20);

fn queue() -> MessageQueue {
    MessageQueue { broker_name: "a".into(), queue_id: 2, topic: "T".into() }
}

fn consumer(namesrv: &Namesrv, timeout: Duration) -> PullConsumer {
    PullConsumer::start(ConsumerOptions {
        namesrv: namesrv.addresses(),
        group: "CG".into(),
        timeout,
        ..ConsumerOptions::default()
    })
}

fn pulled(code: i32, next: i64) -> Command {
    let fields = [("suggestWhichBrokerId", 0), ("nextBeginOffset", next), ("minOffset", 0), ("maxOffset", 9)];
    fields.iter().fold(Command::response(code), |it, (key, value)| it.with_ext(key, value))
}

fn record(body: &str) -> Vec<u8> {
    let message = proto::message::Message {
        topic: "T".into(),
        queue_id: 2,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_host: "127.0.0.1:2".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.to_owned().into(),
        properties: String::new(),
    };
    let mut out = Vec::new();
    message.encode_into(&mut out, 5, 100, 0).unwrap();
    out
}

/// A consumer of a set whose master answers with `script`.
async fn with_master(script: impl Fn(Command) -> Reply + Send + Sync + 'static) -> (Namesrv, Server, PullConsumer) {
    let server = Server::start(move |_, request| script(request)).await;
    let namesrv = Namesrv::start().await;
    namesrv.route("T", &[("a", Some(&server.address))]);
    let consumer = consumer(&namesrv, LONG);
    (namesrv, server, consumer)
}

#[tokio::test]
async fn a_pull_brings_messages_and_where_to_go_on() {
    let seen = Arc::new(Mutex::new(None));
    let kept = seen.clone();
    let (_n, _s, consumer) = with_master(move |request| {
        *kept.lock() = Some(request.header::<PullMessageRequest>().unwrap());
        Reply::Now(pulled(0, 7).with_body([record("one"), record("two")].concat()))
    })
    .await;
    let outcome = consumer.pull(&queue(), 5, 32, Duration::from_secs(15)).await.unwrap();
    let PullOutcome::Found { messages, next: 7, max_offset: 9 } = outcome else { panic!("{outcome:?}") };
    assert_eq!(messages.iter().map(|it| &it.body[..]).collect::<Vec<_>>(), [b"one", b"two"]);
    let asked = seen.lock().take().unwrap();
    assert_eq!(
        (asked.consumer_group.as_str(), asked.queue_id, asked.queue_offset, asked.max_msg_nums),
        ("CG", 2, 5, 32)
    );
    assert_eq!((asked.sys_flag, asked.suspend_timeout_millis), (6, 15_000));
}

#[tokio::test]
async fn each_code_has_its_outcome() {
    let code = Arc::new(Mutex::new(0));
    let answered = code.clone();
    let (_n, _s, consumer) = with_master(move |_| Reply::Now(pulled(*answered.lock(), 4))).await;
    let cases = [
        (19, PullOutcome::NoNewMessage { next: 4, max_offset: 9 }),
        (20, PullOutcome::NoMatch { next: 4 }),
        (21, PullOutcome::OffsetMoved { next: 4 }),
    ];
    for (it, outcome) in cases {
        *code.lock() = it;
        assert_eq!(consumer.pull(&queue(), 5, 1, Duration::ZERO).await.unwrap(), outcome);
    }
    *code.lock() = response::SUBSCRIPTION_GROUP_NOT_EXIST;
    assert!(matches!(consumer.pull(&queue(), 5, 1, Duration::ZERO).await, Err(PullError::Refused { code: 26, .. })));
}

#[tokio::test]
async fn a_pull_follows_the_master() {
    let (namesrv, server, consumer) = with_master(|_| Reply::Now(pulled(19, 5))).await;
    namesrv.route("T", &[("a", Some(&refusing_address()))]);
    let elect = async {
        let deadline = Instant::now() + LONG;
        while namesrv.lookups() < 3 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        namesrv.route("T", &[("a", Some(&server.address))]);
    };
    let queue = queue();
    let (outcome, ()) = tokio::join!(consumer.pull(&queue, 5, 1, Duration::ZERO), elect);
    assert_eq!(outcome.unwrap().next(), 5);
}

#[tokio::test]
async fn a_hung_master_is_left_for_the_new_one() {
    let (namesrv, server, consumer) = with_master(|_| Reply::Now(pulled(19, 5))).await;
    let asked = Arc::new(Mutex::new(false));
    let seen = asked.clone();
    let hung = Server::start(move |_, _| {
        *seen.lock() = true;
        Reply::None
    })
    .await;
    namesrv.route("T", &[("a", Some(&hung.address))]);
    let elect = async {
        let deadline = Instant::now() + LONG;
        while !*asked.lock() {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        namesrv.route("T", &[("a", Some(&server.address))]);
    };
    let queue = queue();
    let (outcome, ()) = tokio::join!(consumer.pull(&queue, 5, 1, Duration::ZERO), elect);
    assert_eq!(outcome.unwrap().next(), 5);
}

#[tokio::test]
async fn the_deadline_names_the_last_failure() {
    let namesrv = Namesrv::start().await;
    namesrv.route("T", &[("a", Some(&refusing_address()))]);
    let error = consumer(&namesrv, Duration::from_millis(150)).pull(&queue(), 0, 1, Duration::ZERO).await.unwrap_err();
    assert!(error.to_string().starts_with("a: no answer within 150 ms; last: 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn offsets_are_stored_and_asked_for() {
    let stored = Arc::new(Mutex::new(None));
    let (_n, _s, consumer) = with_master(move |request| {
        let answer = Command::response(0);
        Reply::Now(match request.code {
            request::UPDATE_CONSUMER_OFFSET => {
                *stored.lock() = Some(request.header::<UpdateConsumerOffsetRequest>().unwrap().commit_offset);
                answer
            }
            _ => match *stored.lock() {
                Some(offset) => answer.with_header(&OffsetResponse { offset }),
                None => Command::error(22, "none"),
            },
        })
    })
    .await;
    assert_eq!(consumer.committed(&queue()).await.unwrap(), None);
    consumer.commit(&queue(), 17).await.unwrap();
    assert_eq!(consumer.committed(&queue()).await.unwrap(), Some(17));
}

#[tokio::test]
async fn queues_are_listed_even_without_a_master() {
    let namesrv = Namesrv::start().await;
    namesrv.route("T", &[("a", None)]);
    let consumer = consumer(&namesrv, LONG);
    assert_eq!(consumer.queues("T").await.unwrap().len(), 4);
    assert!(matches!(consumer.queues("U").await, Err(PullError::Route(RouteError::NoTopic { .. }))));
}

#[tokio::test]
async fn a_damaged_answer_is_an_error() {
    let (_n, _s, consumer) = with_master(|_| Reply::Now(pulled(0, 7).with_body("no record"))).await;
    assert!(matches!(consumer.pull(&queue(), 5, 1, Duration::ZERO).await, Err(PullError::Corrupt { .. })));
}
