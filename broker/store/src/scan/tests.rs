//! What a scan of damaged and intact bytes finds.

use super::*;
use proptest::prelude::*;
use proto::message::{Message, encode_blank};

/// A file of 400 bytes that starts at 4000, with a record at its beginning.
fn file() -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let size = crate::tests::message("T", 0, "body").encode_into(&mut bytes, 0, 4000, 1).unwrap();
    bytes.resize(400, 0);
    (bytes, size)
}

#[test]
fn a_place_is_a_record_the_file_s_rest_nothing_or_damage() {
    let (mut bytes, size) = file();
    let at = |bytes: &[u8], from: usize, readable: usize| match step(
        bytes,
        from,
        readable,
        4000 + from as i64,
        Verify::Whole,
    ) {
        Step::Record(record) => format!("record of {}", record.size),
        other => format!("{other:?}"),
    };
    assert_eq!(at(&bytes, 0, 400), format!("record of {size}"));
    assert_eq!(at(&bytes, 0, size), format!("record of {size}"));
    assert_eq!(at(&bytes, 0, size - 1), "Partial");
    assert_eq!(at(&bytes, 0, 7), "Partial");
    assert_eq!(at(&bytes, size, 400 - size), "Unwritten");
    assert_eq!(at(&bytes, 393, 7), "NextFile(4400)");
    assert_eq!(at(&bytes, 393, 6), "Partial");
    let room = 400 - size;
    bytes[size..size + 8].copy_from_slice(&encode_blank(room as i32));
    assert_eq!(at(&bytes, size, room), "NextFile(4400)");
    assert_eq!(at(&bytes, size, room - 1), "Partial", "the rest of the file is not here yet");
    bytes[size..size + 8].copy_from_slice(&encode_blank(room as i32 + 1));
    assert!(at(&bytes, size, room).contains("mappedFileSizeCommitLog"));
    assert!(at(&bytes[..size - 1], 0, size).contains("mappedFileSizeCommitLog"));
    assert!(matches!(step(&bytes, 0, 400, 0, Verify::Layout), Step::Invalid(why) if why.contains("4000")));
    bytes[8] ^= 1;
    assert!(matches!(step(&bytes, 0, 400, 4000, Verify::Layout), Step::Record(_)));
    assert!(matches!(step(&bytes, 0, 400, 4000, Verify::Whole), Step::Invalid(why) if why.contains("crc")));
}

/// Two records in a file of five sectors, the first of them with its topic, its properties, or both across sectors.
fn two_records(position: usize, body: usize, properties: &str) -> (Vec<u8>, Range<usize>) {
    let message = |properties: String| Message {
        properties,
        ..crate::tests::message("a-topic-of-some-length", 0, "b".repeat(body))
    };
    let mut bytes = vec![0xFF; position];
    let size = message(properties.into()).encode_into(&mut bytes, 7, position as i64, 1).unwrap();
    let end = bytes.len();
    message("TAGS\u{1}A\u{2}".into()).encode_into(&mut bytes, 8, end as i64, 1).unwrap();
    bytes.resize(5 * SECTOR, 0);
    (bytes, end - size..end)
}

fn is_record(bytes: &[u8], position: usize) -> bool {
    match step(bytes, position, bytes.len(), position as i64, Verify::Whole) {
        Step::Record(_) => true,
        Step::Invalid(_) => false,
        other => panic!("{other:?}"),
    }
}

/// A loss of power leaves each sector of what was not flushed as it was at some time before: with the log's beginning,
/// and zeroes to the sector's end. The checksum covers the body alone.
#[test]
fn a_record_that_lacks_the_rest_of_a_sector_is_none() {
    let properties = format!("KEYS\u{1}{}\u{2}", "k".repeat(1100));
    for (position, body, properties) in
        [(0, 4, &*properties), (300, 100, &properties), (100, 300, ""), (411, 1, "A\u{1}B\u{2}")]
    {
        let (bytes, record) = two_records(position, body, properties);
        let text = record.start + 88 + body..record.end;
        assert!(is_record(&bytes, position));
        for from in text {
            let mut torn = bytes.clone();
            torn[from..(from + 1).next_multiple_of(SECTOR)].fill(0);
            let lacks_nothing = torn[record.clone()] == bytes[record.clone()];
            assert_eq!(is_record(&torn, position), lacks_nothing, "record at {position}, zeroes from {from}");
            let mut half = bytes.clone();
            half[from..].fill(0);
            assert_eq!(is_record(&half, position), lacks_nothing, "record at {position}, nothing from {from}");
        }
    }
}

/// Java's brokers take a NUL in a property, ours copy what Java's have taken.
#[test]
fn a_nul_in_a_property_is_no_damage() {
    let properties = format!("KEYS\u{1}{}\u{2}", "k".repeat(700));
    for position in [0, 300] {
        let (bytes, record) = two_records(position, 4, &properties);
        let properties = record.end - properties.len()..record.end;
        for at in properties.clone().filter(|at| (at + 1) % SECTOR != 0) {
            let mut with_nul = bytes.clone();
            with_nul[at] = 0;
            assert!(is_record(&with_nul, position), "record at {position}, NUL at {at}");
        }
        let mut with_nuls = bytes.clone();
        let full = (properties.start + 1).next_multiple_of(SECTOR)..properties.end;
        with_nuls[full.start..full.start + SECTOR.min(full.len()) - 1].fill(0);
        assert!(is_record(&with_nuls, position), "many of them");
    }
    let mut message = crate::tests::message("T", 0, "body");
    message.properties = "KEYS\u{1}\0k\u{2}".into();
    let dir = tempfile::tempdir().unwrap();
    let refused = crate::tests::master(crate::tests::config(dir.path())).append(&[message]);
    assert!(matches!(refused, Err(crate::PutError::Illegal(_))), "ours refuse it: {refused:?}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_step_out_of_the_file(
        mut rest in proptest::collection::vec(any::<u8>(), 0..300), readable in 0..400usize, head in 0..3, at in 0..1i64 << 40,
        position in 0..300usize,
    ) {
        if rest.len() >= 8 + position && head > 0 {
            let magic = if head == 1 { BLANK_MAGIC } else { proto::message::MAGIC_V1 };
            let size = (rest.len() - position) as i32;
            rest[position..position + 4].copy_from_slice(&size.to_be_bytes());
            rest[position + 4..position + 8].copy_from_slice(&magic.to_be_bytes());
        }
        let position = position.min(rest.len());
        let room = rest.len() - position;
        match step(&rest, position, readable, at, Verify::Whole) {
            Step::Record(record) => prop_assert!(record.size <= readable.min(room)),
            Step::NextFile(next) => prop_assert_eq!(next, at + room as i64),
            _ => {}
        }
    }
}
