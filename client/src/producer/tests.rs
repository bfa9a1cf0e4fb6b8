//! A producer against scripted brokers that die, hang and refuse.

use super::*;
use crate::fake::{Behaviour, Broker, Namesrv, Received, refusing_address};
use futures_util::future::join_all;
use proto::message::sys_flag;
use std::time::Duration;

/// Longer than any of these tests needs, even on a busy machine.
const LONG: Duration = Duration::from_secs(20);

fn producer(namesrv: &Namesrv, send_timeout: Duration) -> Producer {
    Producer::start(ProducerOptions {
        namesrv: namesrv.addresses(),
        group: "PG".into(),
        send_timeout,
        ..ProducerOptions::default()
    })
}

fn message() -> Message {
    Message::new("T", "body").with_tags("A")
}

fn queue(broker_name: &str) -> MessageQueue {
    MessageQueue { broker_name: broker_name.into(), queue_id: 1, topic: "T".into() }
}

async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A producer whose set `a` is led by `broker`.
async fn with_master(broker: &Broker) -> (Namesrv, Producer) {
    let namesrv = Namesrv::start().await;
    namesrv.route("T", &[("a", Some(&broker.address))]);
    let producer = producer(&namesrv, LONG);
    (namesrv, producer)
}

#[tokio::test]
async fn a_message_is_stored_and_its_place_returned() {
    let broker = Broker::start(Behaviour::Store).await;
    let (_namesrv, producer) = with_master(&broker).await;
    let result = producer.send_to(&message(), &queue("a")).await.unwrap();
    assert_eq!((result.status, result.queue.clone(), result.queue_offset), (SendStatus::SendOk, queue("a"), 0));
    assert_eq!((result.offset_msg_id.as_str(), result.attempts), ("7F00000100002A9F0000000000000001", 1));
    let Received { code, header, body } = broker.received().remove(0);
    assert_eq!((code, &body[..], header.queue_id, header.sys_flag), (310, &b"body"[..], 1, 0));
    assert_eq!((header.producer_group.as_str(), header.default_topic.as_str()), ("PG", "TBW102"));
    let properties = header.properties.unwrap();
    assert_eq!(proto::properties::get(&properties, "UNIQ_KEY"), Some(result.msg_id.as_str()));
    assert_eq!(proto::properties::get(&properties, "TAGS"), Some("A"));
}

#[tokio::test]
async fn sends_take_turns_over_all_queues() {
    let (one, two) = (Broker::start(Behaviour::Store).await, Broker::start(Behaviour::Store).await);
    let namesrv = Namesrv::start().await;
    namesrv.route("T", &[("a", Some(&one.address)), ("b", Some(&two.address))]);
    let producer = producer(&namesrv, LONG);
    for _ in 0..8 {
        producer.send(&message()).await.unwrap();
    }
    for broker in [one, two] {
        let mut queues: Vec<_> = broker.received().iter().map(|it| it.header.queue_id).collect();
        queues.sort_unstable();
        assert_eq!(queues, [0, 1, 2, 3]);
    }
}

#[tokio::test]
async fn statuses_other_than_ok_are_results() {
    let broker = Broker::start(Behaviour::Store).await;
    let (_namesrv, producer) = with_master(&broker).await;
    let cases =
        [(10, SendStatus::FlushDiskTimeout), (11, SendStatus::SlaveNotAvailable), (12, SendStatus::FlushSlaveTimeout)];
    for (code, status) in cases {
        broker.behave(Behaviour::Code(code));
        assert_eq!(producer.send(&message()).await.unwrap().status, status);
    }
}

/// However the old master fails, the message reaches the new one within the same send, once the route names it.
async fn follows_after(behaviour: Behaviour) {
    let (old, new) = (Broker::start(behaviour).await, Broker::start(Behaviour::Store).await);
    let (namesrv, producer) = with_master(&old).await;
    let (message, queue) = (message(), queue("a"));
    let send = producer.send_to(&message, &queue);
    let elect = async {
        eventually("the old master is asked", || !old.received().is_empty()).await;
        namesrv.route("T", &[("a", None)]);
        let asked = namesrv.lookups();
        eventually("the route is looked up again", || namesrv.lookups() > asked + 1).await;
        namesrv.route("T", &[("a", Some(&new.address))]);
    };
    let (result, ()) = tokio::join!(send, elect);
    let result = result.unwrap();
    assert_eq!((result.status, &result.address), (SendStatus::SendOk, &new.address));
    assert!(result.attempts >= 2, "{result:?}");
    let key =
        |it: &Received| proto::properties::get(it.header.properties.as_deref().unwrap(), "UNIQ_KEY").map(str::to_owned);
    assert_eq!(key(&new.received()[0]), Some(result.msg_id), "a retry keeps its id");
}

#[tokio::test]
async fn a_closed_connection_leads_to_the_new_master() {
    follows_after(Behaviour::Close).await;
}

#[tokio::test]
async fn a_master_that_is_none_any_more_leads_to_the_new_one() {
    follows_after(Behaviour::Code(response::SERVICE_NOT_AVAILABLE)).await;
}

#[tokio::test]
async fn a_master_that_goes_away_leads_to_the_new_one() {
    follows_after(Behaviour::Code(response::GO_AWAY)).await;
}

#[tokio::test]
async fn a_hung_master_is_left_for_the_new_one() {
    follows_after(Behaviour::Hang).await;
}

#[tokio::test]
async fn a_refused_connection_leads_to_the_new_master() {
    let new = Broker::start(Behaviour::Store).await;
    let namesrv = Namesrv::start().await;
    namesrv.route("T", &[("a", Some(&refusing_address()))]);
    let producer = producer(&namesrv, LONG);
    let elect = async {
        eventually("the dead master is noticed", || namesrv.lookups() > 2).await;
        namesrv.route("T", &[("a", Some(&new.address))]);
    };
    let message = message();
    let (result, ()) = tokio::join!(producer.send(&message), elect);
    assert_eq!(result.unwrap().address, new.address);
}

#[tokio::test]
async fn a_master_that_is_back_at_its_address_is_tried_again() {
    let broker = Broker::start(Behaviour::Code(response::SYSTEM_BUSY)).await;
    let (_namesrv, producer) = with_master(&broker).await;
    let recover = async {
        eventually("it was tried twice", || broker.received().len() >= 2).await;
        broker.behave(Behaviour::Store);
    };
    let (message, queue) = (message(), queue("a"));
    let (result, ()) = tokio::join!(producer.send_to(&message, &queue), recover);
    assert!(result.unwrap().attempts >= 3);
}

#[tokio::test]
async fn another_set_takes_over_where_any_queue_will_do() {
    let broker = Broker::start(Behaviour::Store).await;
    let namesrv = Namesrv::start().await;
    namesrv.route("T", &[("a", Some(&refusing_address())), ("b", Some(&broker.address))]);
    let producer = producer(&namesrv, LONG);
    for _ in 0..8 {
        assert_eq!(producer.send(&message()).await.unwrap().queue.broker_name, "b");
    }
}

#[tokio::test]
async fn a_set_that_lacks_the_topic_is_avoided() {
    let (lacks, has) = (Broker::start(Behaviour::Code(17)).await, Broker::start(Behaviour::Store).await);
    let namesrv = Namesrv::start().await;
    namesrv.route("T", &[("a", Some(&lacks.address)), ("b", Some(&has.address))]);
    let producer = producer(&namesrv, LONG);
    for _ in 0..4 {
        assert_eq!(producer.send(&message()).await.unwrap().address, has.address);
    }
    let error = producer.send_to(&message(), &queue("a")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{} refused a message for topic T: code 17: as scripted", lacks.address));
}

#[tokio::test]
async fn what_no_retry_cures_is_an_error_at_once() {
    let broker = Broker::start(Behaviour::Code(response::MESSAGE_ILLEGAL)).await;
    let (_namesrv, producer) = with_master(&broker).await;
    assert!(matches!(producer.send(&message()).await, Err(SendError::Refused { code: 13, .. })));
    assert_eq!(broker.received().len(), 1);
}

#[tokio::test]
async fn a_refusal_after_unknown_outcomes_counts_them() {
    let broker = Broker::start(Behaviour::Close).await;
    let (_namesrv, producer) = with_master(&broker).await;
    let refuse = async {
        eventually("it was tried", || !broker.received().is_empty()).await;
        broker.behave(Behaviour::Code(response::MESSAGE_ILLEGAL));
    };
    let (message, queue) = (message(), queue("a"));
    let (outcome, ()) = tokio::join!(producer.send_to(&message, &queue), refuse);
    let made = broker.received().len() as u32;
    assert!(made >= 2 && matches!(outcome, Err(SendError::Refused { attempts, .. }) if attempts == made), "{made}");
}

#[tokio::test]
async fn the_deadline_holds_and_says_what_is_known() {
    let broker = Broker::start(Behaviour::Hang).await;
    let namesrv = Namesrv::start().await;
    namesrv.route("T", &[("a", Some(&broker.address))]);
    let producer = producer(&namesrv, Duration::from_millis(400));
    let began = Instant::now();
    let error = producer.send(&message()).await.unwrap_err();
    assert!((400..3000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert!(matches!(error, SendError::Deadline { attempts: 1, maybe_stored: true, .. }), "{error}");

    namesrv.route("U", &[("a", Some(&refusing_address()))]);
    let error = producer.send(&Message::new("U", "x")).await.unwrap_err();
    assert!(matches!(error, SendError::Deadline { maybe_stored: false, .. }), "{error}");
    assert!(error.to_string().contains("the message is not stored"), "{error}");
}

#[tokio::test]
async fn a_set_without_a_master_is_waited_for_and_then_named() {
    let namesrv = Namesrv::start().await;
    namesrv.route("T", &[("a", None)]);
    let error = producer(&namesrv, Duration::from_millis(100)).send(&message()).await.unwrap_err();
    assert!(matches!(error, SendError::Route(RouteError::NoMaster { .. })), "{error}");
}

#[tokio::test]
async fn missing_topics_and_nameservers_are_named_at_once() {
    let namesrv = Namesrv::start().await;
    let began = Instant::now();
    let error = producer(&namesrv, LONG).send(&message()).await.unwrap_err().to_string();
    assert!(error.starts_with("topic T is unknown to nameserver 127.0.0.1:"), "{error}");
    let nowhere = Producer::start(ProducerOptions { send_timeout: LONG, ..ProducerOptions::default() });
    assert!(matches!(nowhere.send(&message()).await, Err(SendError::Route(RouteError::NoNameserver))));
    assert!(began.elapsed() < LONG / 2);

    let namesrv = vec![refusing_address()];
    let options = ProducerOptions { namesrv, send_timeout: Duration::from_millis(100), ..ProducerOptions::default() };
    let error = Producer::start(options).send(&message()).await.unwrap_err().to_string();
    assert!(error.contains("connection refused") && error.contains("check that they run"), "{error}");
}

#[tokio::test]
async fn a_second_nameserver_stands_in_for_the_first() {
    let broker = Broker::start(Behaviour::Store).await;
    let namesrv = Namesrv::start().await;
    namesrv.route("T", &[("a", Some(&broker.address))]);
    let addresses = [vec![refusing_address()], namesrv.addresses()].concat();
    let producer =
        Producer::start(ProducerOptions { namesrv: addresses, send_timeout: LONG, ..ProducerOptions::default() });
    producer.send(&message()).await.unwrap();
}

#[tokio::test]
async fn an_unknown_topic_goes_where_it_will_be_created() {
    let broker = Broker::start(Behaviour::Store).await;
    let namesrv = Namesrv::start().await;
    namesrv.route("TBW102", &[("a", Some(&broker.address))]);
    let result = producer(&namesrv, LONG).send(&message()).await.unwrap();
    assert_eq!((result.queue.topic.as_str(), result.queue.broker_name.as_str()), ("T", "a"));
}

#[tokio::test]
async fn a_topic_that_appears_is_found_by_the_next_send() {
    let broker = Broker::start(Behaviour::Store).await;
    let namesrv = Namesrv::start().await;
    let producer = producer(&namesrv, LONG);
    assert!(producer.send(&message()).await.is_err(), "nobody has the topic");
    namesrv.route("T", &[("a", Some(&broker.address))]);
    producer.send(&message()).await.unwrap();
}

#[tokio::test]
async fn many_failed_sends_share_the_look_ups() {
    const SENDS: usize = 200;
    let (old, new) = (Broker::start(Behaviour::Hang).await, Broker::start(Behaviour::Store).await);
    let (namesrv, producer) = with_master(&old).await;
    let (message, queue) = (message(), queue("a"));
    let sends = join_all((0..SENDS).map(|_| producer.send_to(&message, &queue)));
    let elect = async {
        eventually("all are under way", || old.received().len() == SENDS).await;
        let before = namesrv.lookups();
        namesrv.route("T", &[("a", Some(&new.address))]);
        before
    };
    let (results, before) = tokio::join!(sends, elect);
    assert!(results.iter().all(|it| it.as_ref().is_ok_and(|it| it.address == new.address)));
    assert!(namesrv.lookups() - before < SENDS / 4, "{} look-ups for {SENDS} sends", namesrv.lookups() - before);
}

#[tokio::test]
async fn pipelined_sends_to_one_queue_keep_their_order() {
    let broker = Broker::start(Behaviour::Store).await;
    let (_namesrv, producer) = with_master(&broker).await;
    // The first one opens the connection.
    producer.send_to(&message(), &queue("a")).await.unwrap();
    let messages: Vec<_> = (0..500).map(|it| Message::new("T", format!("{it}"))).collect();
    let queue = queue("a");
    let results = join_all(messages.iter().map(|it| producer.send_to(it, &queue))).await;
    assert!(results.iter().all(Result::is_ok));
    let bodies: Vec<_> = broker.received().iter().skip(1).map(|it| it.body.clone()).collect();
    assert!(bodies.iter().eq(messages.iter().map(|it| &it.body)));
}

#[tokio::test]
async fn a_batch_is_one_request() {
    let broker = Broker::start(Behaviour::Store).await;
    let (_namesrv, producer) = with_master(&broker).await;
    let batch: Vec<_> = (0..3).map(|it| Message::new("T", format!("m{it}")).with_keys("k")).collect();
    let result = producer.send_batch(&batch, Some(&queue("a"))).await.unwrap();
    let keys: Vec<_> = result.msg_id.split(',').collect();
    let Received { code, header, body } = broker.received().remove(0);
    assert_eq!((code, header.batch), (320, Some(true)));
    let stored = proto::batch::decode(&body).unwrap();
    assert!(stored.iter().map(|it| &it.body).eq(batch.iter().map(|it| &it.body)));
    assert!(stored.iter().map(|it| proto::properties::get(&it.properties, "UNIQ_KEY").unwrap()).eq(keys));
    let mixed = [Message::new("T", "x"), Message::new("U", "y")];
    for bad in [&mixed[..], &[]] {
        assert!(matches!(producer.send_batch(bad, None).await, Err(SendError::Illegal { .. })));
    }
}

#[tokio::test]
async fn one_way_sends_arrive() {
    let broker = Broker::start(Behaviour::Store).await;
    let (_namesrv, producer) = with_master(&broker).await;
    producer.send_one_way(&message()).await.unwrap();
    eventually("it arrives", || broker.received().len() == 1).await;
}

#[tokio::test]
async fn large_bodies_travel_compressed() {
    let broker = Broker::start(Behaviour::Store).await;
    let (_namesrv, producer) = with_master(&broker).await;
    let body = b"again and ".repeat(1000);
    producer.send(&Message::new("T", body.clone())).await.unwrap();
    let Received { header, body: sent, .. } = broker.received().remove(0);
    assert_eq!(header.sys_flag, sys_flag::COMPRESSED | sys_flag::COMPRESSION_ZLIB);
    assert!(sent.len() < body.len() / 10);
    assert_eq!(crate::compression::decompress(&sent, header.sys_flag).unwrap(), body);
}

#[tokio::test]
async fn what_a_broker_would_refuse_is_not_sent() {
    let producer = Producer::start(ProducerOptions { max_message_size: 10, ..ProducerOptions::default() });
    let refused = [
        (Message::new("T", ""), "the body is empty"),
        (Message::new("T", "elevenbytes"), "the body has 11 bytes, at most 10 are allowed"),
        (Message::new("a b", "x"), "cannot be sent"),
        (Message::new("T", "x").with_tags(""), "property `TAGS`"),
        (Message::new("T", "x").with_property("p", "v".repeat(40_000)), "its properties have"),
    ];
    for (message, why) in refused {
        let error = producer.send(&message).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
