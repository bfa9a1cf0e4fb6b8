//! Records: golden bytes, round trips, and arbitrary input.

use super::*;
use expect_test::expect;
use proptest::prelude::*;

fn message(topic: &str, body: &[u8], properties: &str) -> Message {
    Message {
        topic: topic.into(),
        queue_id: 3,
        flag: 7,
        sys_flag: 0,
        born_timestamp: 0x0000_0190_0000_0001,
        born_host: "10.0.0.1:40000".parse().unwrap(),
        store_host: "10.0.0.2:10911".parse().unwrap(),
        reconsume_times: 1,
        prepared_transaction_offset: 9,
        body: Bytes::copy_from_slice(body),
        properties: properties.into(),
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode_into(&mut out, 5, 4096, 0x0000_0190_0000_0002).unwrap();
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| line.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n").collect()
}

#[test]
fn a_v1_record_has_these_bytes() {
    let text = hex(&encoded(&message("T", b"hello", "TAGS\u{1}TagA\u{2}")));
    expect![[r#"
        0000006bdaa320a73610a6860000000300000007000000000000000500000000
        000010000000000000000190000000010a00000100009c400000019000000002
        0a00000200002a9f0000000100000000000000090000000568656c6c6f015400
        0a54414753015461674102
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_long_topic_takes_v2_and_ipv6_hosts_twelve_bytes_more() {
    let topic = "%RETRY%".to_owned() + &"g".repeat(121);
    let mut v2 = message(&topic, b"x", "");
    assert_eq!(v2.encoded_size(), MIN_SIZE + 1 + 1 + 128);
    v2.born_host = "[2001:db8::1]:80".parse().unwrap();
    let bytes = encoded(&v2);
    assert_eq!(bytes.len(), MIN_SIZE + 1 + 1 + 128 + 12);
    let record = Record::decode(&bytes).unwrap();
    assert_eq!((record.topic, record.born_host, record.sys_flag), (&*topic, v2.born_host, sys_flag::BORN_HOST_V6));
    assert_eq!(check(&bytes), RecordCheck::Valid { size: bytes.len() });
}

#[test]
fn check_tells_blank_short_and_damaged_apart() {
    let mut bytes = encoded(&message("T", b"hello", ""));
    assert_eq!(check(&bytes[..50]), RecordCheck::NeedMore);
    assert_eq!(check(&bytes[..3]), RecordCheck::NeedMore);
    assert_eq!(check(&encode_blank(4096)), RecordCheck::Blank { size: 4096 });
    assert!(matches!(check(&encode_blank(7)), RecordCheck::Invalid { .. }));
    assert!(matches!(check(&[0; 200]), RecordCheck::Invalid { .. }));
    let in_body = bytes.len() - 2 - 1 - 1 - 2;
    bytes[in_body] ^= 1;
    assert!(matches!(check(&bytes), RecordCheck::Invalid { why } if why.contains("crc")));
}

#[test]
fn too_long_fields_are_refused() {
    let long = "p".repeat(40_000);
    assert_eq!(message("T", b"", &long).encode_into(&mut Vec::new(), 0, 0, 0), Err(EncodeError::Properties(40_000)));
    assert_eq!(message(&long, b"", "").encode_into(&mut Vec::new(), 0, 0, 0), Err(EncodeError::Topic(40_000)));
}

#[test]
fn offset_message_ids_are_java_s() {
    let host: SocketAddr = "10.0.0.1:10911".parse().unwrap();
    assert_eq!(offset_message_id(&host, 1234567), "0A00000100002A9F000000000012D687");
    assert_eq!(parse_offset_message_id("0A00000100002A9F000000000012D687"), Some((host, 1234567)));
    let v6: SocketAddr = "[::1]:1".parse().unwrap();
    assert_eq!(parse_offset_message_id(&offset_message_id(&v6, -1)), Some((v6, -1)));
    for bad in [
        "",
        "0A",
        "0A00000100002A9F000000000012D68G",
        "0A000001FFFFFFFF000000000012D687",
        "ää0000000000000000000000000000",
    ] {
        assert_eq!(parse_offset_message_id(bad), None, "{bad}");
    }
}

#[test]
fn a_pull_answer_is_records_one_after_another() {
    let one = encoded(&message("T", b"1", ""));
    let two = encoded(&message("T", b"22", ""));
    let mut both = one.clone();
    both.extend_from_slice(&two);
    let bodies: Vec<_> = records(&both).map(|r| r.unwrap().body).collect();
    assert_eq!(bodies, [&b"1"[..], &b"22"[..]]);
    let cut: Vec<_> = records(&both[..both.len() - 1]).map(|r| r.is_ok()).collect();
    assert_eq!(cut, [true, false]);
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        topic in "[a-zA-Z%_é-]{1,140}", body: Vec<u8>, properties in "[ -~\u{1}\u{2}é]{0,60}",
        queue_id: i32, flag: i32, sys in 0..0x800i32, born_timestamp: i64, reconsume_times: i32, prepared: i64,
        born in any::<([u8; 16], u16, bool)>(), queue_offset: i64, physical_offset: i64, store_time: i64,
    ) {
        let ip: IpAddr = if born.2 { born.0.into() } else { <[u8; 4]>::try_from(&born.0[..4]).unwrap().into() };
        let message = Message {
            topic: topic.as_str().into(), queue_id, flag, sys_flag: sys, born_timestamp,
            born_host: SocketAddr::new(ip, born.1), store_host: "[::2]:9".parse().unwrap(), reconsume_times,
            prepared_transaction_offset: prepared, body: Bytes::from(body), properties,
        };
        let mut out = vec![0xEE];
        let size = message.encode_into(&mut out, 0, 0, 0).unwrap();
        patch(&mut out[1..], queue_offset, physical_offset, store_time);
        prop_assert_eq!(size, message.encoded_size());
        let record = Record::decode(&out[1..]).unwrap();
        prop_assert_eq!((record.size, record.topic, record.body), (size, &*message.topic, &message.body[..]));
        prop_assert_eq!((record.queue_id, record.flag, record.born_timestamp), (queue_id, flag, born_timestamp));
        prop_assert_eq!((record.queue_offset, record.physical_offset, record.store_timestamp), (queue_offset, physical_offset, store_time));
        prop_assert_eq!(store_timestamp(&out[1..]), Some(store_time));
        prop_assert_eq!((record.born_host, record.store_host), (message.born_host, message.store_host));
        prop_assert_eq!((record.reconsume_times, record.prepared_transaction_offset), (reconsume_times, prepared));
        prop_assert_eq!(record.properties, &message.properties);
        let (_, text) = Record::decode_with_text(&out[1..]).unwrap();
        let text = text.map(|range| &out[1..][range]);
        prop_assert_eq!(text, [topic.as_bytes(), message.properties.as_bytes()]);
        prop_assert_eq!(&out[1..][QUEUE_OFFSET], queue_offset.to_be_bytes());
        prop_assert_eq!(record.sys_flag & !0x30, sys & !0x30);
        prop_assert_eq!(check(&out[1..]), RecordCheck::Valid { size });
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), v2: bool) {
        let _ = (check(&bytes), store_timestamp(&bytes), records(&bytes).count());
        patch(&mut bytes, 1, 2, 3);
        // The same bytes behind a plausible head, so that the fields are reached.
        if bytes.len() >= 8 {
            let size = bytes.len() as i32;
            bytes[..4].copy_from_slice(&size.to_be_bytes());
            bytes[4..8].copy_from_slice(&if v2 { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
            bytes.iter_mut().skip(72).take(16).for_each(|b| *b &= 0x3);
            let _ = (check(&bytes), records(&bytes).count());
        }
    }
}
