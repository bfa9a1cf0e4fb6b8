//! Configuration files and addresses.

use crate::{assert_names, refusal, refusal_of};
use baton_tests::cluster::{Node, broker_config, controller_config, free_port};
use baton_tests::{PATIENCE, one_at_a_time};
use std::net::TcpListener;

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("baton-test-").tempdir().expect("temporary folder")
}

/// A nameserver with extra lines in its file.
fn nameserver(root: &std::path::Path, lines: &str) -> Node {
    let port = free_port();
    let config = format!("listenPort={port}\nbindAddress=127.0.0.1\n{lines}");
    Node::new(root, "namesrv", "mqnamesrv", &format!("127.0.0.1:{port}"), &config)
}

/// A broker that needs no controller and no nameserver.
fn broker(root: &std::path::Path, lines: &[&str]) -> Node {
    let port = free_port();
    let lines: Vec<_> = lines.iter().map(|it| it.to_string()).collect();
    let config = broker_config(root, "broker", "broker-a", port, &[], &lines);
    Node::new(root, "broker", "mqbroker", &format!("127.0.0.1:{port}"), &config)
}

#[test]
fn an_unknown_key_is_a_warning_that_names_the_nearest_known_one() {
    let _turn = one_at_a_time();
    let folder = folder();
    let mut nameserver = nameserver(folder.path(), "scanNotActiveBrokerIntervall=1000\n");
    nameserver.start();
    assert_names(&nameserver.output(), &["scanNotActiveBrokerIntervall", "`scanNotActiveBrokerInterval`"]);
    assert_eq!(nameserver.stop().code(), Some(0));

    let mut broker = broker(folder.path(), &["brokerRole=ASYNC_MASTER", "allAckInSyncStateSets=true"]);
    broker.start();
    assert_names(&broker.output(), &["allAckInSyncStateSets", "`allAckInSyncStateSet`"]);
}

#[test]
fn a_bad_value_is_an_error_with_file_line_key_and_value() {
    let folder = folder();
    let bad_port = nameserver(folder.path(), "listenPort=98x76\n");
    assert_names(&refusal_of(&bad_port, "mqnamesrv"), &["node.conf:3", "listenPort", "98x76"]);
    let bad_role = broker(folder.path(), &["brokerRole=SYNC_SLAVE"]);
    assert_names(
        &refusal_of(&bad_role, "mqbroker"),
        &["node.conf:", "brokerRole", "SYNC_SLAVE", "ASYNC_MASTER", "SLAVE"],
    );
    let bad_flag = broker(folder.path(), &["allAckInSyncStateSet=yes"]);
    assert_names(&refusal_of(&bad_flag, "mqbroker"), &["node.conf:", "allAckInSyncStateSet", "yes", "true", "false"]);
    let config = controller_config(folder.path(), "c", "n0-127.0.0.1:port", 0, &[]);
    let bad_peer = Node::new(folder.path(), "c", "mqcontroller", "", &config);
    assert_names(&refusal_of(&bad_peer, "mqcontroller"), &["controllerDLegerPeers", "n0-127.0.0.1:port"]);
}

#[test]
fn a_missing_file_is_named() {
    let folder = folder();
    for program in ["mqnamesrv", "mqcontroller", "mqbroker"] {
        assert_names(&refusal(folder.path(), program, &["-c", "no/such.conf"]), &["no/such.conf"]);
    }
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let config = format!("listenPort={port}\nbindAddress=127.0.0.1\n");
    let nameserver = Node::new(folder.path(), "namesrv", "mqnamesrv", "", &config);
    assert_names(&refusal_of(&nameserver, "mqnamesrv"), &[&port, "in use"]);
    let broker = broker(folder.path(), &["brokerRole=ASYNC_MASTER", &format!("listenPort={port}")]);
    assert_names(&refusal_of(&broker, "mqbroker"), &[&port, "in use"]);
    let peers = format!("n0-127.0.0.1:{port}");
    let controller =
        Node::new(folder.path(), "c", "mqcontroller", "", &controller_config(folder.path(), "c", &peers, 0, &[]));
    assert_names(&refusal_of(&controller, "mqcontroller"), &[&port, "in use"]);
}

#[test]
fn controller_mode_without_controllers_says_which_key_is_missing() {
    let folder = folder();
    let broker = broker(folder.path(), &["enableControllerMode=true", "brokerRole=SLAVE", "brokerId=-1"]);
    assert_names(&refusal_of(&broker, "mqbroker"), &["enableControllerMode", "controllerAddr"]);
}

#[test]
fn a_peer_list_without_the_own_id_or_with_one_id_twice_is_refused() {
    let folder = folder();
    let (a, b) = (free_port(), free_port());
    let peers = format!("n0-127.0.0.1:{a};n1-127.0.0.1:{b}");
    let stranger =
        Node::new(folder.path(), "c", "mqcontroller", "", &controller_config(folder.path(), "c", &peers, 7, &[]));
    assert_names(&refusal_of(&stranger, "mqcontroller"), &["controllerDLegerSelfId", "n7", "controllerDLegerPeers"]);
    let peers = format!("n0-127.0.0.1:{a};n0-127.0.0.1:{b}");
    let twice =
        Node::new(folder.path(), "c", "mqcontroller", "", &controller_config(folder.path(), "c", &peers, 0, &[]));
    assert_names(&refusal_of(&twice, "mqcontroller"), &["controllerDLegerPeers", "n0"]);
}

#[test]
fn an_even_number_of_controllers_is_a_warning() {
    let _turn = one_at_a_time();
    let folder = folder();
    let (a, b) = (free_port(), free_port());
    let peers = format!("n0-127.0.0.1:{a};n1-127.0.0.1:{b}");
    let config = controller_config(folder.path(), "c", &peers, 0, &[]);
    let mut controller = Node::new(folder.path(), "c", "mqcontroller", &format!("127.0.0.1:{a}"), &config);
    controller.start();
    controller.process().wait_for_output("even", PATIENCE);
    assert_names(&controller.output(), &["controllerDLegerPeers"]);
}

/// Of three hosts, two could never reach the one that calls itself 127.0.0.1.
#[test]
fn a_loopback_address_in_a_peer_list_of_several_hosts_is_refused() {
    let folder = folder();
    let port = free_port();
    // Documentation addresses (RFC 5737): nobody answers there.
    let peers = format!("n0-127.0.0.1:{port};n1-192.0.2.1:9878;n2-192.0.2.2:9878");
    let config = controller_config(folder.path(), "c", &peers, 0, &[]);
    let controller = Node::new(folder.path(), "c", "mqcontroller", "", &config);
    assert_names(&refusal_of(&controller, "mqcontroller"), &[&format!("127.0.0.1:{port}"), "controllerDLegerPeers"]);
}
