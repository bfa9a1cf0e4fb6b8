//! What probes of supervisors and load balancers get from each process in each of its states.

use baton_tests::http::status;
use baton_tests::{Cluster, ClusterSpec, PATIENCE, one_at_a_time, wait_until};

const LIVE: &str = "/health/live";
const READY: &str = "/health/ready";

/// Waits until the process answers each path with this status.
#[track_caller]
fn expect(state: &str, address: &str, wanted: &[(&str, u16)]) {
    for (path, code) in wanted {
        wait_until(&format!("{state}: {path} answers {code}"), PATIENCE, || status(address, path) == *code);
    }
}

#[test]
fn every_process_says_in_every_state_what_it_is_good_for() {
    let _turn = one_at_a_time();
    let mut cluster = Cluster::prepare(&ClusterSpec::default());
    cluster.nameservers.iter_mut().chain(&mut cluster.brokers[..1]).for_each(|it| it.start());
    let nameserver = cluster.nameserver().to_owned();
    let alone = cluster.brokers[0].address.clone();
    expect("a nameserver without brokers", &nameserver, &[(LIVE, 200), (READY, 200)]);
    let unassigned = [(LIVE, 200), (READY, 503), ("/role/master", 503), ("/role/slave", 503)];
    expect("a broker without controllers", &alone, &unassigned);
    cluster.controllers[0].start();
    let lonely = cluster.controllers[0].address.clone();
    let no_leader = [(LIVE, 200), (READY, 503), ("/role/leader", 503), ("/role/follower", 503)];
    expect("a controller without a majority", &lonely, &no_leader);

    let rest = cluster.controllers[1..].iter_mut().chain(&mut cluster.brokers[1..]);
    rest.for_each(|it| it.start());
    cluster.wait_whole();
    let leader = cluster.wait_leader();
    for (index, controller) in cluster.controllers.iter().enumerate() {
        let (state, own, other) = match index == leader {
            true => ("the leader", "/role/leader", "/role/follower"),
            false => ("a follower", "/role/follower", "/role/leader"),
        };
        expect(state, &controller.address, &[(LIVE, 200), (READY, 200), (own, 200), (other, 503)]);
    }
    let master = cluster.wait_master();
    let slave = (0..3).find(|it| *it != master).expect("a slave");
    let is_master = [(LIVE, 200), (READY, 200), ("/role/master", 200), ("/role/slave", 503)];
    let is_slave = [(LIVE, 200), (READY, 200), ("/role/master", 503), ("/role/slave", 200)];
    expect("the master", &cluster.brokers[master].address, &is_master);
    expect("a slave", &cluster.brokers[slave].address, &is_slave);

    let epoch = cluster.wait_whole().master_epoch;
    cluster.brokers[master].kill();
    let successor = cluster.wait_master_after(epoch).master_address;
    expect("a killed master", &cluster.brokers[master].address, &[(LIVE, 0), ("/role/master", 0)]);
    expect("its successor", &successor, &is_master);
    cluster.brokers[master].start();
    expect("the old master, back", &cluster.brokers[master].address, &is_slave);

    let leader = cluster.wait_leader();
    cluster.controllers[leader].kill();
    let next = cluster.wait_leader();
    expect("the next leader", &cluster.controllers[next].address, &[(READY, 200), ("/role/leader", 200)]);
    cluster.controllers[next].kill();
    let last = (0..3).find(|it| *it != leader && *it != next).expect("one controller is left");
    expect("the last controller", &cluster.controllers[last].address, &no_leader);
    // S8: its replicas are connected, so it stays what it was.
    expect("a master that lost the controllers", &successor, &is_master);
}
