//! Connecting and closing, and random bytes, as often as a stranger likes: memory stays flat and others are served.

use baton_tests::cluster::{Node, free_port};
use baton_tests::{Cluster, ClusterSpec, queries, wire};
use proto::Command;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A part of the million of `BATON_DOORS=1000000`, which takes minutes.
const CONNECTIONS: usize = 20_000;
/// What the allocator may keep of so much coming and going, in KiB.
const GROWTH: u64 = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn doors_stay_open_for_others_while_strangers_come_and_go() {
    let count = std::env::var("BATON_DOORS").ok().and_then(|it| it.parse().ok()).unwrap_or(CONNECTIONS);
    let folder = tempfile::tempdir().expect("temporary folder");
    let address = format!("127.0.0.1:{}", free_port());
    let peers = format!("n0-{address}");
    let store = folder.path().join("data");
    let config = format!(
        "controllerDLegerPeers={peers}\ncontrollerDLegerSelfId=n0\ncontrollerStorePath={}\ntls.test.mode.enable=true\n",
        store.display()
    );
    let mut controller = Node::new(folder.path(), "controller-n0", "mqcontroller", &address, &config);
    controller.start();
    let served = || {
        let answer = wire::call(&address, Command::request(1005), PATIENCE).expect("others are served");
        assert_eq!(answer.code, queries::OK);
    };
    // What the first thousand leave behind is warm-up, not growth.
    strangers(&address, 1_000, &served);
    let before = resident_kib(controller.process().id());
    strangers(&address, count, &served);
    let after = resident_kib(controller.process().id());
    println!("{count} strangers: {before} KiB before, {after} KiB after");
    assert!(after < before + GROWTH, "{count} strangers left {} KiB behind", after - before);
    assert!(controller.stop().success());
}

/// Reproducible garbage, beginning in every way that opens a protocol.
fn strangers(address: &str, count: usize, served: &impl Fn()) {
    let mut random = StdRng::seed_from_u64(64);
    let openings: [&[u8]; 6] =
        [b"", b"\x16\x03\x01\x00\x40\x01", b"PROXY TCP4 ", b"GET / HTTP/1.1\r\n", b"\0", b"PRI "];
    for n in 0..count {
        let Ok(mut stream) = TcpStream::connect(address) else { panic!("connection {n} is refused") };
        // Closing resets, so that this host does not run out of ports that wait.
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("linger");
        if n % 2 == 1 {
            let mut bytes = [0; 48];
            random.fill_bytes(&mut bytes);
            // The server may have closed before the second write.
            let _closed = stream.write_all(openings[n / 2 % openings.len()]).and_then(|()| stream.write_all(&bytes));
        }
        if n % 500 == 0 {
            served();
        }
        if n % 50 == 1 {
            // Some wait to see what comes of it.
            stream.set_read_timeout(Some(Duration::from_millis(5))).expect("timeout");
            let _nothing = stream.read(&mut [0; 16]);
        }
    }
    served();
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches("kB").trim().parse().expect("KiB")
}

/// Registration, ids, heartbeats, SyncStateSets and elections of a whole set are signed; controllers reach each other
/// and the brokers through TLS.
#[test]
fn brokers_with_the_secret_form_a_set_and_their_master_is_replaced() {
    let controller = [
        "tls.enable=true",
        "tls.test.mode.enable=true",
        "controllerAclEnable=true",
        "controllerAccessKey=inner",
        "controllerSecretKey=12345678",
    ];
    let spec = ClusterSpec { controller_keys: controller.map(str::to_owned).to_vec(), ..ClusterSpec::default() }
        .broker_key("tls.test.mode.enable=true")
        .broker_key(r#"innerClientAuthenticationCredentials={"accessKey":"inner","secretKey":"12345678"}"#);
    let mut cluster = Cluster::start(spec);
    let before = cluster.wait_whole();
    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    cluster.wait_master_after(before.master_epoch);
    cluster.brokers[master].start();
    cluster.wait_whole();
    let leader = cluster.wait_leader();
    let forged = Command::request(1002).with_ext("brokerName", "broker-a").with_ext("designateElect", true);
    let answer = wire::call(&cluster.controllers[leader].address, forged, PATIENCE).expect("answers");
    assert_eq!(answer.code, 16, "{answer:?}");
}
