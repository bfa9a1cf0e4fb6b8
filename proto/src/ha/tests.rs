//! Golden bytes by the layout tables of the protocol, round trips, splits at every byte, arbitrary bytes.

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn check(bytes: &[u8], expect: Expect) {
    expect.assert_eq(&bytes.iter().map(|it| format!("{it:02x}")).collect::<String>());
}

#[test]
fn the_slaves_packets_are_16_and_12_bytes() {
    let handshake = SlaveHandshake { sync_from_last_file: true, kind: SlaveKind::Java, slave: 3 };
    check(&handshake.encode(), expect!["00000001000100000000000000000003"]);
    let learner = SlaveHandshake { kind: SlaveKind::Learner, ..handshake };
    check(&learner.encode(), expect!["00000001000100010000000000000003"]);
    let ours = SlaveHandshake { kind: SlaveKind::Baton, ..handshake };
    check(&ours.encode(), expect!["00000001000100020000000000000003"]);
    check(&encode_ack(0x1234), expect!["000000020000000000001234"]);
}

#[test]
fn the_masters_packets_are_20_and_36_bytes_before_their_body() {
    let entries = vec![EpochEntry { epoch: 7, start: 0 }, EpochEntry { epoch: 8, start: 8000 }];
    let mut out = Vec::new();
    MasterHandshake { max_offset: 9000, last_epoch: 8, entries }.encode(&mut out);
    check(&out, expect!["0000000100000018000000000000232800000008000000070000000000000000000000080000000000001f40"]);
    let header = TransferHeader { body_size: 5, offset: 8000, epoch: 8, epoch_start: 8000, confirm_offset: 7999 };
    check(&header.encode(), expect!["00000002000000050000000000001f40000000080000000000001f400000000000001f3f"]);
}

#[test]
fn an_empty_java_master_sends_heartbeats_at_minus_one() {
    let header = TransferHeader { body_size: 0, offset: -1, epoch: 1, epoch_start: 0, confirm_offset: -1 };
    assert_eq!(MasterPacket::decode(&header.encode()), Ok(Decoded::Complete(MasterPacket::Transfer(header), 36)));
}

#[test]
fn sizes_beyond_the_limits_are_refused_before_the_body_arrives() {
    let mut bytes = [0; 8];
    bytes[3] = 1;
    bytes[4..].copy_from_slice(&13_i32.to_be_bytes());
    assert_eq!(MasterPacket::decode(&bytes), Err(HaPacketError::HandshakeSize(13)));
    bytes[4..].copy_from_slice(&(-12_i32).to_be_bytes());
    assert_eq!(MasterPacket::decode(&bytes), Err(HaPacketError::HandshakeSize(-12)));
    bytes[3] = 2;
    bytes[4..].copy_from_slice(&i32::MAX.to_be_bytes());
    assert_eq!(MasterPacket::decode(&bytes), Err(HaPacketError::TransferSize(i32::MAX)));
}

#[test]
fn a_http_request_on_the_ha_port_is_no_packet() {
    assert!(matches!(SlavePacket::decode(b"GET / HTTP/1.1\r\n"), Err(HaPacketError::State(_))));
    assert!(matches!(SlavePacket::decode(&encode_ack(-5)), Err(HaPacketError::AckOffset(-5))));
}

fn slave_packet() -> impl Strategy<Value = (SlavePacket, Vec<u8>)> {
    prop_oneof![
        (any::<bool>(), 0..3, 1..i64::MAX).prop_map(|(sync_from_last_file, kind, slave)| {
            let kind = [SlaveKind::Java, SlaveKind::Learner, SlaveKind::Baton][kind as usize];
            let it = SlaveHandshake { sync_from_last_file, kind, slave };
            (SlavePacket::Handshake(it), it.encode().to_vec())
        }),
        (0..i64::MAX).prop_map(|it| (SlavePacket::Ack(it), encode_ack(it).to_vec())),
    ]
}

fn master_packet() -> impl Strategy<Value = (MasterPacket, Vec<u8>)> {
    let entry = (any::<i32>(), any::<i64>()).prop_map(|(epoch, start)| EpochEntry { epoch, start });
    let entries = prop::collection::vec(entry, 0..9);
    prop_oneof![
        (any::<i64>(), any::<i32>(), entries).prop_map(|(max_offset, last_epoch, entries)| {
            let it = MasterHandshake { max_offset, last_epoch, entries };
            let mut bytes = Vec::new();
            it.encode(&mut bytes);
            (MasterPacket::Handshake(it), bytes)
        }),
        (0..MAX_TRANSFER_BODY, any::<i64>(), any::<i32>(), any::<i64>(), any::<i64>()).prop_map(
            |(body_size, offset, epoch, epoch_start, confirm_offset)| {
                let it = TransferHeader { body_size, offset, epoch, epoch_start, confirm_offset };
                (MasterPacket::Transfer(it), it.encode().to_vec())
            }
        ),
    ]
}

/// Feeds growing prefixes: only the whole packet decodes, and each answer before asks for more than there is.
fn split_anywhere<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    want: &T,
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, HaPacketError>,
) -> Result<(), TestCaseError> {
    for have in 0..bytes.len() {
        match decode(&bytes[..have]).unwrap() {
            Decoded::NeedMore(need) => prop_assert!(need > have && need <= bytes.len()),
            other => prop_assert!(false, "{other:?} from {have} of {} bytes", bytes.len()),
        }
    }
    let mut longer = bytes.to_vec();
    longer.extend_from_slice(&[0xff; 7]);
    match decode(&longer).unwrap() {
        Decoded::Complete(it, used) => prop_assert!(it == *want && used == bytes.len()),
        other => prop_assert!(false, "{other:?}"),
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_slaves_packet_may_be_split_anywhere((packet, bytes) in slave_packet()) {
        split_anywhere(&bytes, &packet, SlavePacket::decode)?;
    }

    #[test]
    fn a_masters_packet_may_be_split_anywhere((packet, bytes) in master_packet()) {
        split_anywhere(&bytes, &packet, MasterPacket::decode)?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = SlavePacket::decode(&bytes);
        let _ = MasterPacket::decode(&bytes);
    }
}
