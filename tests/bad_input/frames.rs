//! Bytes that are no frames, and requests that nobody serves: the sender loses its connection or gets a code, everybody
//! else is served.

use baton_tests::wire::{self, Connection};
use baton_tests::{Cluster, ClusterSpec, SECOND, one_at_a_time, queries};
use proto::Command;
use std::io::ErrorKind;

/// One case per kind of damage: (what, bytes, whether the sender then closes its end).
fn damaged() -> Vec<(&'static str, Vec<u8>)> {
    let mut whole = bytes::BytesMut::new();
    Command::request(105).with_ext("topic", "orders").encode(&mut whole);
    let whole = whole.to_vec();
    let mut header_too_long = whole.clone();
    header_too_long[5..8].copy_from_slice(&[0xFF, 0xFF, 0xFF]);
    let mut unknown_type = whole.clone();
    unknown_type[4] = 9;
    let mut broken_json = whole.clone();
    broken_json[8] = b'!';
    vec![
        ("oversized", [&0x7FFF_FFFFu32.to_be_bytes()[..], &[0; 64]].concat()),
        ("negative length", [&(-5i32).to_be_bytes()[..], &[0; 64]].concat()),
        ("length below the header's own", [&2u32.to_be_bytes()[..], &[0; 64]].concat()),
        ("header longer than the frame", header_too_long),
        ("unknown serialize type", unknown_type),
        ("header that is no JSON", broken_json),
        ("garbage", (0..4096u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect()),
        ("unknown HTTP method", b"BREW /coffee HTTP/1.1\r\n\r\n".to_vec()),
    ]
}

#[test]
fn damaged_frames_cost_their_own_connection_only() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec { controllers: 1, brokers: 1, ..ClusterSpec::default() });
    cluster.create_topic("orders", 1);
    let addresses =
        [&cluster.nameservers[0], &cluster.controllers[0], &cluster.brokers[0]].map(|it| it.address.clone());
    for address in &addresses {
        let mut bystander = Connection::open(address, SECOND).expect("connects");
        for (what, bytes) in damaged() {
            let mut connection = Connection::open(address, SECOND).expect("connects");
            connection.send_bytes(&bytes).unwrap_or_else(|error| panic!("{what} to {address}: {error}"));
            // Closed at once, or an error answered; what must not happen is that it waits for 2 GiB to come.
            let answer = connection.receive(10 * SECOND);
            let kind = answer.as_ref().err().map(std::io::Error::kind);
            assert_ne!(kind, Some(ErrorKind::TimedOut), "{what} to {address}: neither closed nor answered");
        }
        // A truncated frame: half of it, then the end.
        let mut truncated = Connection::open(address, SECOND).expect("connects");
        truncated.send_bytes(&[0, 0, 1, 0, 0, 0, 0]).expect("sends");
        drop(truncated);
        let answer = bystander.call(Command::request(99_999), 5 * SECOND);
        let answer = answer.unwrap_or_else(|error| panic!("{address} no longer serves others: {error}"));
        assert_eq!(answer.code, 3, "a request that is not served (RequestCode 3)");
        assert!(answer.remark.as_deref().unwrap_or_default().contains("99999"), "{:?}", answer.remark);
    }
    let answer =
        wire::call(&addresses[2], queries::send_request("orders", 0, "still served"), 5 * SECOND).expect("answers");
    assert_eq!(answer.code, queries::OK, "{:?}", answer.remark);
    for node in cluster.nodes_mut() {
        assert!(node.process().has_ended().is_none(), "{} has ended", node.name);
        assert!(!node.output().contains("panicked at"), "{}:\n{}", node.name, node.output());
    }
}

/// The HA port speaks another protocol; strangers on it must not disturb replication.
#[test]
fn strangers_on_the_replication_port_disturb_nobody() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::start(ClusterSpec { controllers: 1, brokers: 2, ..ClusterSpec::default() });
    cluster.create_topic("orders", 1);
    let master = cluster.wait_master();
    let before = cluster.wait_whole();
    let config = std::fs::read_to_string(cluster.brokers[master].config()).expect("its configuration");
    let port = config.lines().find_map(|it| it.strip_prefix("haListenPort=")).expect("the key is there");
    for (what, bytes) in damaged() {
        let mut stranger = Connection::open(&format!("127.0.0.1:{port}"), SECOND).expect("connects");
        // The other side may close while we write.
        let _ = stranger.send_bytes(&bytes).inspect_err(|error| eprintln!("{what}: {error}"));
        let answer =
            wire::call(&before.master_address, queries::send_request("orders", 0, what), 5 * SECOND).expect("answers");
        assert_eq!(answer.code, queries::OK, "after {what}: {:?}", answer.remark);
    }
    assert_eq!(cluster.wait_whole(), before, "no stranger enters or empties the set");
    assert!(cluster.brokers[master].process().has_ended().is_none());
}
