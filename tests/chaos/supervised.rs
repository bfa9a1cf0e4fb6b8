//! Brokers whose listening socket somebody else holds: it accepts connections also while the process is gone (S6).

use baton_tests::{Cluster, ClusterSpec, SECOND, one_at_a_time, queries, wait_until};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

/// The loopback address of the sockets that this test holds; the brokers themselves are at 127.0.0.1.
const HELD: &str = "127.0.0.2";

/// Accepts on `address` for as long as the test runs, and passes on to the same port of 127.0.0.1 if anybody is there.
fn hold(address: &str) {
    let listener = TcpListener::bind(address).expect("a loopback address of our own");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for outside in listener.incoming().flatten() {
            std::thread::spawn(move || pass_on(&outside, SocketAddr::from(([127, 0, 0, 1], port))));
        }
    });
}

/// Both ways, until either side is closed; then the other one is too.
fn pass_on(outside: &TcpStream, to: SocketAddr) -> io::Result<()> {
    let inside = TcpStream::connect(to)?;
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let ended = io::copy(&mut from, &mut to);
        let _already = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        ended.map(drop)
    };
    std::thread::scope(|both| {
        both.spawn(|| copy(&inside, outside));
        copy(outside, &inside)
    })
}

/// The timeout is longer than the test: nothing but the refusing HA address can tell that the process is gone.
#[test]
fn a_killed_master_whose_socket_is_held_is_replaced_and_a_killed_slave_leaves_the_set() {
    let _turn = one_at_a_time();
    let mut spec = ClusterSpec::default();
    spec.broker_keys.extend([format!("brokerIP1={HELD}"), "controllerHeartBeatTimeoutMills=600000".to_owned()]);
    let mut cluster = Cluster::prepare(&spec);
    for broker in &mut cluster.brokers {
        broker.address = broker.address.replace("127.0.0.1", HELD);
        hold(&broker.address);
    }
    cluster.launch_all();
    let before = cluster.wait_whole();
    let master = cluster.wait_master();
    cluster.brokers[master].kill();
    let held = TcpStream::connect(&cluster.brokers[master].address);
    assert!(held.is_ok(), "the address of a killed broker has to accept: {held:?}");
    let after = cluster.wait_master_after(before.master_epoch);
    assert_ne!(after.master_id, before.master_id);

    // A supervisor starts it again at once; it comes back as a slave, and dies once more.
    cluster.brokers[master].start();
    cluster.wait_whole();
    cluster.brokers[master].kill();
    wait_until("the dead slave is out of the set", 60 * SECOND, || {
        let leader = &cluster.controllers[cluster.wait_leader()].address;
        queries::replicas(leader, "broker-a").is_some_and(|it| it.in_sync.len() == 2)
    });
    let last = cluster.wait_whole();
    assert_eq!((last.master_id, last.master_epoch), (after.master_id, after.master_epoch), "S14");
}
