//! Processes that claim to be somebody else.

use crate::{assert_names, refusal_of};
use baton_tests::cluster::{Node, broker_config, controller_config, free_port};
use baton_tests::{Cluster, ClusterSpec, PATIENCE, one_at_a_time, queries};

fn single_controller() -> Cluster {
    Cluster::start(ClusterSpec { controllers: 1, brokers: 1, ..ClusterSpec::default() })
}

#[test]
fn a_controllers_data_directory_of_another_node_is_refused() {
    let _turn = one_at_a_time();
    let folder = tempfile::tempdir().expect("temporary folder");
    let (a, b) = (free_port(), free_port());
    let peers = format!("n0-127.0.0.1:{a};n1-127.0.0.1:{b}");
    let config = controller_config(folder.path(), "shared", &peers, 0, &[]);
    let mut first = Node::new(folder.path(), "first", "mqcontroller", &format!("127.0.0.1:{a}"), &config);
    first.start();
    // Two at once on one directory, each with a port and an id of its own.
    let config = controller_config(folder.path(), "shared", &peers, 1, &[]);
    let second = Node::new(folder.path(), "second", "mqcontroller", &format!("127.0.0.1:{b}"), &config);
    let store = folder.path().join("shared/store").display().to_string();
    assert_names(&refusal_of(&second, "mqcontroller"), &[&store]);
    // And one after the other: what n0 has promised must not be taken for n1's promise.
    assert_eq!(first.stop().code(), Some(0));
    assert_names(&refusal_of(&second, "mqcontroller"), &[&store, "n0", "n1"]);
}

#[test]
fn a_second_controller_with_a_taken_id_does_not_start() {
    let _turn = one_at_a_time();
    let cluster = single_controller();
    let config = std::fs::read_to_string(cluster.controllers[0].config()).expect("its configuration");
    let other_store = config.replace("controller-n0/store", "twin/store");
    let twin = Node::new(cluster.folder(), "twin", "mqcontroller", "", &other_store);
    assert_names(&refusal_of(&twin, "mqcontroller"), &[&cluster.controllers[0].address]);
    assert_eq!(cluster.leader(), Some(0), "the first one goes on");
}

#[test]
fn a_store_directory_in_use_is_refused() {
    let _turn = one_at_a_time();
    let cluster = single_controller();
    let config = std::fs::read_to_string(cluster.brokers[0].config()).expect("its configuration");
    let config = format!("{config}\nlistenPort={}\nhaListenPort={}\n", free_port(), free_port());
    let thief = Node::new(cluster.folder(), "thief", "mqbroker", "", &config);
    let store = cluster.brokers[0].store().display().to_string();
    assert_names(&refusal_of(&thief, "mqbroker"), &[&store]);
    assert!(queries::epochs(&cluster.brokers[0].address).is_some(), "the first one goes on");
}

/// A stranger's identity file: same name, same id as a replica that is alive. The controllers know the real one by its
/// check code.
#[test]
fn a_second_broker_with_a_taken_name_and_id_never_joins() {
    let _turn = one_at_a_time();
    let cluster = single_controller();
    let real = cluster.wait_whole();
    let lines: Vec<String> = [
        "brokerId=-1".to_owned(),
        "brokerRole=SLAVE".to_owned(),
        "enableControllerMode=true".to_owned(),
        format!("controllerAddr={}", cluster.controller_list()),
    ]
    .into();
    let port = free_port();
    let nameservers = [cluster.nameserver().to_owned()];
    let config = broker_config(cluster.folder(), "impostor", "broker-a", port, &nameservers, &lines);
    let mut impostor = Node::new(cluster.folder(), "impostor", "mqbroker", &format!("127.0.0.1:{port}"), &config);
    std::fs::create_dir_all(impostor.store()).expect("store folder");
    let identity = cluster.brokers[0].store().join("brokerIdentity");
    std::fs::copy(identity, impostor.store().join("brokerIdentity")).expect("the real one's identity file");
    impostor.launch();
    let real_address = &cluster.brokers[0].address;
    let message =
        format!("is in use by the live broker at {real_address}; give this broker a store directory of its own");
    impostor.process().wait_for_output(&message, PATIENCE);
    let now = cluster.wait_whole();
    assert_eq!(
        (now.master_id, now.master_address),
        (real.master_id, real.master_address),
        "the real one is still served"
    );
}
