//! Frames: Java's bytes, round trips, and arbitrary input.

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn hex(text: &str) -> BytesMut {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|it| u8::from_str_radix(std::str::from_utf8(it).unwrap(), 16).unwrap()).collect()
}

fn frame(header: &str, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32((4 + header.len() + body.len()) as u32);
    out.put_u32(header.len() as u32);
    out.put_slice(header.as_bytes());
    out.put_slice(body);
    out
}

fn decode_all(mut bytes: BytesMut) -> Result<Command, FrameError> {
    let command = Command::decode(&mut bytes)?.expect("a whole frame");
    assert!(bytes.is_empty());
    Ok(command)
}

fn java(code: i32, opaque: i32) -> Command {
    Command { opaque, version: 479, language: Language::JAVA, ..Command::request(code) }
}

fn check_json(command: &Command, want: Expect) {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    want.assert_eq(std::str::from_utf8(&out[8..out.len() - command.body.len()]).unwrap());
    assert_eq!(decode_all(out).as_ref(), Ok(command));
}

#[test]
fn a_request_without_fields_has_java_s_bytes() {
    let mut out = BytesMut::new();
    java(1005, 1).encode(&mut out);
    let header =
        r#"{"code":1005,"flag":0,"language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":479}"#;
    assert_eq!(out[..8], hex("00000066 00000062"));
    assert_eq!(out, frame(header, b""));
}

#[test]
fn a_binary_header_has_java_s_bytes() {
    let bytes = hex("00000025 0100001f 03ed 00 01df 00000001 00000000 00000002 6869 00000008 0001 6b 00000001 76 0102");
    let mut command = java(1005, 1).with_ext("k", "v").with_body(&[1, 2][..]);
    command.remark = Some("hi".into());
    let mut out = BytesMut::new();
    command.encode_binary(&mut out);
    assert_eq!(out, bytes);
    assert_eq!(decode_all(bytes), Ok(command));
}

#[test]
fn a_code_beyond_16_bits_travels_in_json() {
    let command = java(200_050, 1).with_ext("k", "v");
    let (mut binary, mut json) = (BytesMut::new(), BytesMut::new());
    command.encode_binary(&mut binary);
    command.encode(&mut json);
    assert_eq!(binary, json);
}

#[test]
fn json_headers_are_written_as_java_writes_them() {
    check_json(
        &Command { opaque: 101, flag: 1, version: 0, language: Language::JAVA, ..Default::default() }
            .with_ext("isLeader", true)
            .with_ext("peers", "n0:127.0.0.1:9877;"),
        expect![[
            r#"{"code":0,"extFields":{"isLeader":"true","peers":"n0:127.0.0.1:9877;"},"flag":1,"language":"JAVA","opaque":101,"serializeTypeCurrentRPC":"JSON","version":0}"#
        ]],
    );
    check_json(
        &Command::error(17, "no \"T\"\n\u{1}\\ größe").answering(-5),
        expect![[
            r#"{"code":17,"extFields":{},"flag":1,"language":"RUST","opaque":-5,"remark":"no \"T\"\n\u0001\\ größe","serializeTypeCurrentRPC":"JSON","version":513}"#
        ]],
    );
    check_json(
        &java(310, 0).with_ext("a", "PG").with_ext("i", "UNIQ_KEY\u{1}x\u{2}").with_body("body"),
        expect![[
            r#"{"code":310,"extFields":{"a":"PG","i":"UNIQ_KEY\u0001x\u0002"},"flag":0,"language":"JAVA","opaque":0,"serializeTypeCurrentRPC":"JSON","version":479}"#
        ]],
    );
}

#[test]
fn json_headers_are_read_as_leniently_as_java_reads_them() {
    let read = |header: &str| decode_all(frame(header, b"")).unwrap();
    assert_eq!(read("{}"), Command { language: Language::JAVA, ..Default::default() });
    let minimal = read(r#"{"code":1005,"opaque":5}"#);
    assert_eq!((minimal.code, minimal.opaque), (1005, 5));
    let coerced = read(
        r#"{"code":"1012","version":"479","language":9,"flag":null,"remark":null,"suspended":{"x":[1]},
            "extFields":{"brokerId":7,"big":-9007199254740993,"on":true,"off":null,"ratio":0.5,"list":[1,"a"],"empty":""}}"#,
    );
    assert_eq!((coerced.code, coerced.version, coerced.language, coerced.flag), (1012, 479, Language(9), 0));
    assert_eq!(coerced.remark, None);
    let ext: Vec<_> = coerced.ext.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        ext,
        [
            ("big", "-9007199254740993"),
            ("brokerId", "7"),
            ("empty", ""),
            ("list", "[1,\"a\"]"),
            ("on", "true"),
            ("ratio", "0.5")
        ]
    );
    let dialect = read("{code:105,'language':'KLINGON',extFields:{topic:'T\\'s',1:2},}");
    assert_eq!((dialect.code, dialect.language), (105, Language::OTHER));
    assert_eq!(dialect.ext, [("topic".into(), "T's".into()), ("1".into(), "2".into())].into());
    assert!(read(r#"{"extFields":null}"#).ext.is_empty());
}

#[test]
fn frames_that_are_no_frames_are_refused() {
    let refused = |bytes: BytesMut| decode_all(bytes).unwrap_err();
    assert_eq!(refused(hex("00000003 000000")), FrameError::Length { length: 3 });
    assert_eq!(refused(hex("ffffffff")), FrameError::Length { length: -1 });
    assert_eq!(refused(hex("00fffffd")), FrameError::Length { length: 16_777_213 });
    assert_eq!(refused(BytesMut::from(&b"GET / HTTP/1.1"[..])), FrameError::Length { length: 0x4745_5420 });
    assert_eq!(refused(hex("00000006 00000003 7b7d")), FrameError::HeaderLength { length: 6, header: 3 });
    assert_eq!(refused(hex("00000006 02000002 7b7d")), FrameError::SerializeType(2));
    for header in
        ["", "[]", "7", "{", "{\"code\":1.5}", "{\"code\":\"x\"}", "{\"opaque\":3000000000}", "{\"extFields\":7}"]
    {
        assert!(matches!(refused(frame(header, b"")), FrameError::Json(_)), "{header}");
    }
    let binary = |fields: &str| {
        let mut bytes = hex(&format!("03ed 00 01df 00000001 00000000 {fields}"));
        let header = bytes.len() as u32;
        let mut out = BytesMut::new();
        out.put_u32(4 + header);
        out.put_u32(header | BINARY << 24);
        out.unsplit(bytes.split());
        refused(out)
    };
    assert_eq!(binary("0000"), FrameError::Binary { what: "remark length", need: 4, have: 2 });
    assert_eq!(binary("7fffffff 00000000"), FrameError::Binary { what: "remark", need: 0x7fff_ffff, have: 4 });
    assert_eq!(binary("ffffffff 00000000"), FrameError::Binary { what: "remark", need: -1, have: 4 });
    assert_eq!(binary("00000000 00000009 00"), FrameError::Binary { what: "extFields", need: 9, have: 1 });
    assert_eq!(binary("00000000 00000003 000541"), FrameError::Binary { what: "key", need: 5, have: 1 });
    assert_eq!(binary("00000000 00000007 000141 00000005"), FrameError::Binary { what: "value", need: 5, have: 0 });
}

#[test]
fn frames_are_taken_one_by_one_and_a_part_of_one_waits() {
    let mut buf = BytesMut::new();
    java(1, 1).with_body("one").encode(&mut buf);
    java(2, 2).encode(&mut buf);
    let whole = buf.clone();
    assert_eq!(Command::decode(&mut buf).unwrap().unwrap().body, "one");
    assert_eq!(Command::decode(&mut buf).unwrap().unwrap().code, 2);
    assert_eq!(Command::decode(&mut buf), Ok(None));
    for cut in 0..whole.len() / 2 {
        let mut part = BytesMut::from(&whole[..cut]);
        assert_eq!(Command::decode(&mut part), Ok(None), "{cut}");
        assert_eq!(part, whole[..cut]);
    }
}

#[test]
fn a_length_alone_does_not_make_the_buffer_swell() {
    let mut buf = hex("00fffffc 00000000");
    assert_eq!(Command::decode(&mut buf), Ok(None));
    assert!(buf.capacity() <= 2 * RESERVE, "{}", buf.capacity());
}

fn any_command() -> impl Strategy<Value = Command> {
    let ext = prop::collection::btree_map("[a-zA-Z_]{1,8}", ".{1,20}", 0..6);
    let fields = (any::<i16>(), any::<i32>(), any::<i32>(), any::<i16>(), 0u8..14);
    (fields, prop::option::of(".{1,30}"), ext, prop::collection::vec(any::<u8>(), 0..50)).prop_map(
        |((code, opaque, flag, version, language), remark, ext, body)| Command {
            code: code.into(),
            opaque,
            flag,
            version: version.into(),
            language: Language(language),
            remark,
            ext,
            body: body.into(),
        },
    )
}

proptest! {
    #[test]
    fn commands_survive_in_both_forms(command in any_command()) {
        let (mut json, mut binary) = (BytesMut::new(), BytesMut::new());
        command.encode(&mut json);
        command.encode_binary(&mut binary);
        prop_assert_eq!(decode_all(json).unwrap(), command.clone());
        prop_assert_eq!(decode_all(binary).unwrap(), command);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_swell(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut buf = BytesMut::from(&bytes[..]);
        let _ = Command::decode(&mut buf);
        prop_assert!(buf.capacity() <= bytes.len() + 2 * RESERVE);
    }

    #[test]
    fn no_header_makes_the_decoder_panic(kind in 0u8..3, header in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut out = BytesMut::new();
        out.put_u32(4 + header.len() as u32);
        out.put_u32(header.len() as u32 | u32::from(kind) << 24);
        out.put_slice(&header);
        let _ = Command::decode(&mut out);
    }

    #[test]
    fn no_json_text_makes_the_decoder_panic(header in "[{}\\[\\]\",:'a-e0-9 \\\\-]{0,100}") {
        let _ = Command::decode(&mut frame(&header, b""));
    }
}
