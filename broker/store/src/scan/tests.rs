//! What a scan of damaged and intact bytes finds.

use super::*;
use proptest::prelude::*;
use proto::message::encode_blank;

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
        &bytes[from..],
        readable,
        4000 + from as i64,
        Verify::Checksum,
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
    assert!(matches!(step(&bytes, 400, 0, Verify::Layout), Step::Invalid(why) if why.contains("4000")));
    let mut torn = bytes.clone();
    torn[size - 1] = 0;
    assert!(at(&torn, 0, 400).contains("zeroes for text"), "the properties' last byte has not arrived");
    bytes[8] ^= 1;
    assert!(matches!(step(&bytes, 400, 4000, Verify::Layout), Step::Record(_)));
    assert!(matches!(step(&bytes, 400, 4000, Verify::Checksum), Step::Invalid(why) if why.contains("crc")));
}

/// A loss of power takes any sector of what was not flushed, and the checksum covers the body alone.
#[test]
fn a_record_that_lacks_a_sector_of_its_properties_is_none() {
    let mut message = crate::tests::message("T", 0, "body");
    message.properties = format!("KEYS\u{1}{}\u{2}", "k".repeat(1200));
    let mut bytes = Vec::new();
    let size = message.encode_into(&mut bytes, 0, 0, 1).unwrap();
    bytes.resize(4096, 0);
    assert!(matches!(step(&bytes, 4096, 0, Verify::Checksum), Step::Record(_)));
    bytes[512..1024].fill(0);
    assert!(size > 1024);
    assert!(matches!(step(&bytes, 4096, 0, Verify::Checksum), Step::Invalid(why) if why.contains("zeroes for text")));
    message.properties = format!("KEYS\u{1}{}k\u{2}", "\0");
    let dir = tempfile::tempdir().unwrap();
    let refused = crate::tests::master(crate::tests::config(dir.path())).append(&[message]);
    assert!(matches!(refused, Err(crate::PutError::Illegal(_))), "{refused:?}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_step_out_of_the_file(
        mut rest in proptest::collection::vec(any::<u8>(), 0..300), readable in 0..400usize, head in 0..3, at in 0..1i64 << 40,
    ) {
        if rest.len() >= 8 && head > 0 {
            let magic = if head == 1 { BLANK_MAGIC } else { proto::message::MAGIC_V1 };
            let size = rest.len() as i32;
            rest[..4].copy_from_slice(&size.to_be_bytes());
            rest[4..8].copy_from_slice(&magic.to_be_bytes());
        }
        match step(&rest, readable, at, Verify::Checksum) {
            Step::Record(record) => prop_assert!(record.size <= readable.min(rest.len())),
            Step::NextFile(next) => prop_assert_eq!(next, at + rest.len() as i64),
            _ => {}
        }
    }
}
