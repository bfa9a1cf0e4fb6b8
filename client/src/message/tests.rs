//! Records of a pull answer as users see them.

use super::*;
use proto::message::sys_flag::{COMPRESSED, COMPRESSION_ZLIB};

fn record(body: &[u8], sys_flag: i32, properties: &str) -> Vec<u8> {
    let message = proto::message::Message {
        topic: "T".into(),
        queue_id: 3,
        flag: 9,
        sys_flag,
        born_timestamp: 1000,
        born_host: "10.0.0.9:5000".parse().unwrap(),
        store_host: "10.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::copy_from_slice(body),
        properties: properties.into(),
    };
    let mut out = Vec::new();
    message.encode_into(&mut out, 42, 1_234_567, 2000).unwrap();
    out
}

#[test]
fn every_record_of_an_answer_is_decoded() {
    let body = b"hello ".repeat(100);
    let mut answer = record(b"plain", 0, "TAGS\u{1}A\u{2}UNIQ_KEY\u{1}0A0B\u{2}");
    answer.extend(record(&compression::compress(&body).unwrap(), COMPRESSED | COMPRESSION_ZLIB, "KEYS\u{1}k1 k2\u{2}"));
    let views = MessageView::decode_all(&answer, "broker-a").unwrap();
    let [first, second] = &views[..] else { panic!("{views:?}") };
    assert_eq!((&first.body[..], first.tags(), first.msg_id().as_str()), (&b"plain"[..], Some("A"), "0A0B"));
    assert_eq!((first.queue_id, first.queue_offset, first.physical_offset, first.flag), (3, 42, 1_234_567, 9));
    assert_eq!((first.born_timestamp, first.store_timestamp, first.broker_name.as_str()), (1000, 2000, "broker-a"));
    assert_eq!((&second.body[..], second.keys()), (&body[..], Some("k1 k2")));
    assert_eq!(second.msg_id(), "0A00000100002A9F000000000012D687", "without UNIQ_KEY the place is the id");
}

#[test]
fn a_damaged_record_is_named() {
    let mut answer = record(b"first", 0, "");
    let good = answer.len();
    answer.extend(record(b"second", 0, ""));
    let body_at = good + answer[good..].windows(6).position(|it| it == b"second").unwrap();
    answer[body_at] ^= 1;
    let error = MessageView::decode_all(&answer, "a").unwrap_err();
    assert_eq!(error.to_string(), "record 1 of the answer: body of 6 bytes at offset 42 does not match its checksum");
    assert_eq!(MessageView::decode_all(&answer[..good + 50], "a").unwrap_err().at, 1);
}

#[test]
fn properties_that_would_tear_the_encoding_are_found() {
    let bad = |name: &str, value: &str| Message::new("T", "x").with_property(name, value).bad_property().is_some();
    assert!(bad("", "v") && bad("n", "") && bad("n\u{1}", "v") && bad("n", "a\u{2}b"));
    assert!(!bad("n", "v"));
}
