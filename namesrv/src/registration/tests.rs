//! The three forms of a registration's body, and what is refused.

use super::*;
use expect_test::expect;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;
use std::io::Write;

/// As captured from a Java broker, but for shorter values.
const BODY: &str = r#"{"filterServerList":["f"],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"stateVersion":2,"timestamp":1700000000000},"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":1700000000000},"topicConfigTable":{"T":{"attributes":{"message.type":"NORMAL"},"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":8}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{"ST":{"bname":"broker-a","currIdMap":{0:0,1:1},"dirty":false,"epoch":1700000000000,"scope":"__global__","topic":"ST","totalQueues":8}}}}"#;
const MAPPING: &str = r#"{"bname":"broker-a","currIdMap":{0:0,1:1},"dirty":false,"epoch":1700000000000,"scope":"__global__","topic":"ST","totalQueues":8}"#;

fn request(version: i32, body: impl Into<bytes::Bytes>) -> Command {
    let fields =
        [("clusterName", "c"), ("brokerName", "broker-a"), ("brokerAddr", "10.0.0.1:10911"), ("brokerId", "0")];
    let command = fields.iter().fold(Command::request(103), |it, (key, value)| it.with_ext(key, value));
    Command { version, ..command.with_body(body) }
}

fn summary(request: &Command) -> String {
    match Registration::decode(request, 1) {
        Ok(it) => format!(
            "version {} topics {:?} mappings {:?} filters {:?} timeout {}",
            it.version.state_version,
            it.topics
                .values()
                .map(|it| (&*it.topic_name, it.write_queue_nums, it.perm, it.attributes.len()))
                .collect::<Vec<_>>(),
            it.mappings.values().map(|it| (&*it.topic, it.total_queues)).collect::<Vec<_>>(),
            it.filter_servers,
            it.timeout
        ),
        Err(e) => e.to_string(),
    }
}

fn section(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as i32).to_be_bytes());
    out.extend(text.as_bytes());
}

fn compressed(topics: &[&str]) -> Vec<u8> {
    let mut plain = Vec::new();
    section(&mut plain, r#"{"counter":1,"stateVersion":2,"timestamp":1}"#);
    plain.extend((topics.len() as i32).to_be_bytes());
    topics.iter().for_each(|it| section(&mut plain, it));
    section(&mut plain, r#"["f"]"#);
    plain.extend(1i32.to_be_bytes());
    section(&mut plain, MAPPING);
    zlib(&plain)
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn each_form_is_read() {
    let full = r#"version 2 topics [("T", 8, 6, 1)] mappings [("ST", 8)] filters ["f"] timeout 120000"#;
    assert_eq!(summary(&request(513, BODY)), full);
    let stream = compressed(&[r#"T 8 8 6 SINGLE_TAG {"message.type":"NORMAL"}"#]);
    assert_eq!(summary(&request(513, stream.clone()).with_ext("compressed", true)), full);
    let older = r#"version 2 topics [("T", 8, 6, 1)] mappings [] filters ["f"] timeout 120000"#;
    assert_eq!(summary(&request(412, stream).with_ext("compressed", true)), older);
    let wrapper = &BODY[BODY.find("\"topicConfigSerializeWrapper\":").unwrap() + 30..BODY.len() - 1];
    let ancient = r#"version 2 topics [("T", 8, 6, 1)] mappings [("ST", 8)] filters [] timeout 120000"#;
    assert_eq!(summary(&request(36, wrapper)), ancient);
}

#[test]
fn without_a_body_there_are_no_topics() {
    assert_eq!(summary(&request(513, "")), "version 0 topics [] mappings [] filters [] timeout 120000");
    assert!(summary(&request(513, "").with_ext("heartbeatTimeoutMillis", 3000)).ends_with("timeout 3000"));
}

#[test]
fn the_checksum_is_checked_where_one_is_given() {
    assert!(summary(&request(513, BODY).with_ext("bodyCrc32", body_crc(BODY.as_bytes()))).starts_with("version 2"));
    assert_eq!(summary(&request(513, BODY).with_ext("bodyCrc32", 1)), "crc32 not match");
}

#[test]
fn damaged_streams_are_named() {
    let of = |body: Vec<u8>| summary(&request(513, body).with_ext("compressed", true));
    expect!["body of the registration: a length needs 4 bytes, 0 left"].assert_eq(&of(zlib(b"")));
    expect!["body of the registration: a section of 2147483647 bytes, 1 left"]
        .assert_eq(&of(zlib(&[0x7F, 0xFF, 0xFF, 0xFF, 1])));
    expect!["body of the registration: negative length -1"].assert_eq(&of(zlib(&[0xFF; 4])));
    expect!["body of the registration: topic `T 8`: want name, two queue counts, permission, filter type"]
        .assert_eq(&of(compressed(&["T 8"])));
    let of_bomb = of(zlib(&vec![0; MAX_INFLATED + 1]));
    assert_eq!(of_bomb, format!("body of the registration: inflates to more than {MAX_INFLATED} bytes"));
    assert!(of(b"no zlib at all".to_vec()).starts_with("body of the registration: zlib: "));
}

proptest! {
    #[test]
    fn no_body_makes_the_decoder_panic(body: Vec<u8>, packed: bool, version in 0..600i32) {
        let _ = Registration::decode(&request(version, body.clone()).with_ext("compressed", packed), 1);
        let _ = Registration::decode(&request(version, zlib(&body)).with_ext("compressed", true), 1);
    }
}
