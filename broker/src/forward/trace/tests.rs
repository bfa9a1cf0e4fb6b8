//! Logs by hand: what a send is known by, and what the log says of it.

use super::*;
use bytes::Bytes;
use proto::batch::BatchMessage;
use proto::message::Message;
use std::net::SocketAddr;
use std::sync::Arc;

const BORN: i64 = 1_700_000_000_000;

fn host() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 10_911))
}

fn properties_of(key: &str) -> String {
    properties::build([("UNIQ_KEY", key), ("TAGS", "a")])
}

fn request(key: &str) -> Command {
    let header = SendMessageRequest {
        topic: "orders".into(),
        queue_id: 3,
        born_timestamp: BORN,
        properties: Some(properties_of(key)),
        ..SendMessageRequest::default()
    };
    Command::request(request::SEND_MESSAGE_V2).with_header(&header)
}

fn batch_of(keys: &[&str]) -> [Command; 1] {
    let messages: Vec<_> = keys
        .iter()
        .map(|it| BatchMessage { flag: 0, body: Bytes::from_static(b"x"), properties: properties_of(it) })
        .collect();
    let header = SendMessageRequest {
        topic: "orders".into(),
        born_timestamp: BORN,
        batch: Some(true),
        ..SendMessageRequest::default()
    };
    let body = batch::encode(&messages).unwrap();
    [Command::request(request::SEND_BATCH_MESSAGE).with_header(&header).with_body(body)]
}

/// A log of these (key, born timestamp, topic, properties beside the key).
fn log(records: &[(&str, i64, &str, &str)]) -> (Vec<u8>, Vec<Offset>) {
    let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
    for (at, (key, born_timestamp, topic, more)) in records.iter().enumerate() {
        let message = Message {
            topic: Arc::from(*topic),
            queue_id: 3,
            flag: 0,
            sys_flag: 0,
            born_timestamp: *born_timestamp,
            born_host: host(),
            store_host: host(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: Bytes::from_static(b"x"),
            properties: properties_of(key) + more,
        };
        offsets.push(bytes.len() as Offset);
        let offset = bytes.len() as Offset;
        message.encode_into(&mut bytes, 70 + at as i64, offset, BORN + 1).unwrap();
    }
    (bytes, offsets)
}

/// What a log of `records` says of these sends, all of which it is searched for from end to end.
fn verdicts(records: &[(&str, i64, &str, &str)], sends: &[Command]) -> Vec<Verdict> {
    let (bytes, _) = log(records);
    let mut search = Search::default();
    for (id, send) in sends.iter().enumerate() {
        search.want(id as u64, 0, bytes.len() as Offset, identity(send).unwrap());
    }
    for record in proto::message::records(&bytes) {
        search.see(&record.unwrap());
    }
    let mut verdicts = search.verdicts();
    verdicts.sort_by_key(|it| it.0);
    verdicts.into_iter().map(|it| it.1).collect()
}

fn answered(verdict: &Verdict) -> SendMessageResponse {
    match verdict {
        Verdict::Found { answer, .. } => answer.header().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_send_is_known_by_its_key_and_when_it_was_made() {
    let there = [("k1", BORN, "orders", ""), ("k2", BORN, "orders", "")];
    let found = verdicts(&there, &[request("k2"), request("k3")]);
    let answer = answered(&found[0]);
    assert_eq!((answer.queue_id, answer.queue_offset, answer.transaction_id.as_deref()), (3, 71, Some("k2")));
    assert_eq!(proto::message::parse_offset_message_id(&answer.msg_id), Some((host(), log(&there).1[1])));
    assert_eq!(found[1], Verdict::Absent);
    // An earlier attempt of the client itself, with the same key: not this one.
    assert_eq!(verdicts(&[("k1", BORN - 1, "orders", "")], &[request("k1")]), [Verdict::Absent]);
    assert_eq!(verdicts(&[("k1", BORN, "others", "")], &[request("k1")]), [Verdict::Absent]);
}

#[test]
fn two_sends_alike_need_two_records() {
    let one = [("k1", BORN, "orders", "")];
    let found = verdicts(&one, &[request("k1"), request("k1")]);
    assert!(matches!(found[..], [Verdict::Found { .. }, Verdict::Absent]), "{found:?}");
    let two = [one[0], one[0]];
    let found = verdicts(&two, &[request("k1"), request("k1")]);
    assert_eq!((answered(&found[0]).queue_offset, answered(&found[1]).queue_offset), (70, 71));
}

#[test]
fn a_message_that_waits_under_another_topic_is_found_there() {
    let delayed = ("k1", BORN, "SCHEDULE_TOPIC_XXXX", "REAL_TOPIC\u{1}orders\u{2}");
    assert!(matches!(verdicts(&[delayed], &[request("k1")])[..], [Verdict::Found { .. }]));
}

#[test]
fn a_batch_is_there_whole_in_part_or_not_at_all() {
    let record = |key| (key, BORN, "orders", "");
    let batch = batch_of(&["b1", "b2", "b3"]);
    let (bytes, offsets) = log(&[record("x"), record("b1"), record("b2"), record("b3"), record("y")]);
    let whole = verdicts(&[record("x"), record("b1"), record("b2"), record("b3"), record("y")], &batch);
    let answer = answered(&whole[0]);
    let ids: Vec<_> =
        answer.msg_id.split(',').map(|it| proto::message::parse_offset_message_id(it).unwrap().1).collect();
    assert_eq!((ids, answer.queue_offset), (offsets[1..4].to_vec(), 71));
    assert!(matches!(whole[0], Verdict::Found { end, .. } if end == offsets[4] && end < bytes.len() as Offset));
    assert_eq!(verdicts(&[record("x"), record("b1"), record("b2")], &batch), [Verdict::Part]);
    assert_eq!(verdicts(&[record("x")], &batch), [Verdict::Absent]);
}

#[test]
fn a_record_outside_of_what_may_have_it_is_another_one() {
    let (bytes, offsets) = log(&[("k1", BORN, "orders", ""), ("k1", BORN, "orders", "")]);
    let within = |from, to| {
        let mut search = Search::default();
        search.want(1, from, to, identity(&request("k1")).unwrap());
        proto::message::records(&bytes).for_each(|it| search.see(&it.unwrap()));
        search.verdicts().remove(0).1
    };
    assert_eq!(answered(&within(offsets[1], bytes.len() as Offset)).queue_offset, 71);
    assert_eq!(within(bytes.len() as Offset, bytes.len() as Offset), Verdict::Absent);
    assert_eq!(answered(&within(0, offsets[1])).queue_offset, 70);
}

#[test]
fn a_mastership_ends_where_the_next_one_that_counts_begins() {
    let spans: Vec<_> = [(3, 0), (4, 500), (6, 900)]
        .windows(2)
        .map(|it| EpochSpan { epoch: it[0].0, start: it[0].1, end: it[1].1 })
        .chain([EpochSpan { epoch: 6, start: 900, end: i64::MAX }])
        .collect();
    assert_eq!([3, 4, 5, 6].map(|it| end_of(&spans, it)), [Some(500), Some(900), Some(900), None]);
    assert_eq!([2, 4, 5, 7].map(|it| begin_of(&spans, it)), [Some(0), Some(500), Some(900), None]);
}

#[test]
fn what_carries_no_key_cannot_be_known_again() {
    let bare = SendMessageRequest { topic: "orders".into(), ..SendMessageRequest::default() };
    assert_eq!(identity(&Command::request(request::SEND_MESSAGE_V2).with_header(&bare)), None);
    assert_eq!(identity(&Command::request(request::SEND_MESSAGE_V2)), None);
    let [batch] = batch_of(&["b1"]);
    let garbled = batch.with_body(Bytes::from_static(b"garbage"));
    assert_eq!(identity(&garbled), None);
}

#[test]
fn an_answer_that_came_too_late_becomes_an_acknowledgement() {
    let header = SendMessageResponse { msg_id: "id".into(), ..SendMessageResponse::default() };
    let answer = Command::error(response::SERVICE_NOT_AVAILABLE, "deposed").with_header(&header);
    let kept = acknowledged(Fate::Unknown { epoch: 3, end: 9 }.write(answer));
    assert_eq!(kept, Command::response(response::SUCCESS).with_header(&header));
}
