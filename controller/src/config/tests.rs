//! What an operator is told about a group that is well or badly described.

use super::*;
use expect_test::{Expect, expect};

fn check(peers: &str, self_id: &str, expect: Expect) {
    let config = Config {
        controller_d_leger_peers: peers.into(),
        controller_d_leger_self_id: self_id.into(),
        ..Config::default()
    };
    let told = match config.peers() {
        Ok(peers) => {
            let mut told = format!("{} listens on {}", peers.self_id, config.listen_address(&peers));
            config.warnings(&peers).into_iter().for_each(|it| told += &format!("\nwarning: {it}"));
            told
        }
        Err(why) => format!("error: {why}"),
    };
    expect.assert_eq(&told);
}

#[test]
fn a_group_is_read_whatever_its_order() {
    check("n1-10.0.0.2:9878;n0-10.0.0.1:9878; n2-10.0.0.3:9878 ;", "n1", expect!["2 listens on 10.0.0.2:9878"]);
    check("n0-127.0.0.1:9878", "n0", expect!["1 listens on 127.0.0.1:9878"]);
}

#[test]
fn an_even_group_is_served_with_a_warning() {
    check(
        "n0-127.0.0.1:9878;n1-127.0.0.1:9879",
        "n0",
        expect![[r#"
            1 listens on 127.0.0.1:9878
            warning: `controllerDLegerPeers` names 2 controllers: an even number tolerates no more failures (0) than 1 would; use 1, 3 or 5"#]],
    );
}

#[test]
fn a_group_that_cannot_work_is_refused_with_its_cure() {
    check(
        "",
        "n0",
        expect![
            "error: `controllerDLegerPeers` is missing: list all controllers, as in n0-10.0.0.1:9878;n1-10.0.0.2:9878;n2-10.0.0.3:9878"
        ],
    );
    check(
        "n0-127.0.0.1:9878",
        "",
        expect!["error: `controllerDLegerSelfId` is missing: name which of `controllerDLegerPeers` this process is"],
    );
    check(
        "n0-127.0.0.1:9878",
        "n7",
        expect!["error: `controllerDLegerSelfId=n7` is not among `controllerDLegerPeers` (n0): correct one of them"],
    );
    check(
        "n0-127.0.0.1:9878;n0-127.0.0.1:9879",
        "n0",
        expect!["error: `controllerDLegerPeers`: id n0 stands there twice: each controller needs its own"],
    );
    check(
        "n0-127.0.0.1:9878;n1-127.0.0.1:9878",
        "n0",
        expect![
            "error: `controllerDLegerPeers`: address 127.0.0.1:9878 stands there twice: each controller needs its own"
        ],
    );
    check(
        "n0-127.0.0.1:port",
        "n0",
        expect!["error: `controllerDLegerPeers`: `n0-127.0.0.1:port`: want id-host:port, as in n0-10.0.0.1:9878"],
    );
    check(
        "n0:127.0.0.1:9878",
        "n0",
        expect!["error: `controllerDLegerPeers`: `n0:127.0.0.1:9878`: want id-host:port, as in n0-10.0.0.1:9878"],
    );
    check(
        "n0-10.0.0.1:9878;n1-127.0.0.1:9878;n2-10.0.0.3:9878",
        "n0",
        expect![
            "error: `controllerDLegerPeers`: 127.0.0.1:9878 cannot be reached from the other hosts in the list: give each controller the address by which brokers and the other controllers reach it (use `bindAddress` to listen elsewhere)"
        ],
    );
    check(
        "n0-0.0.0.0:9878;n1-10.0.0.2:9878;n2-10.0.0.3:9878",
        "n0",
        expect![
            "error: `controllerDLegerPeers`: 0.0.0.0:9878 cannot be reached from the other hosts in the list: give each controller the address by which brokers and the other controllers reach it (use `bindAddress` to listen elsewhere)"
        ],
    );
}

/// A file of Java's JRaft controller, as it is.
fn check_jraft(server_id: &str, raft: &str, rpc: &str, expect: Expect) {
    let config = Config {
        controller_type: "jRaft".into(),
        j_raft_group_id: "group".into(),
        j_raft_server_id: server_id.into(),
        j_raft_init_conf: raft.into(),
        j_raft_controller_rpc_addr: rpc.into(),
        ..Config::default()
    };
    let told = match config.peers() {
        Ok(peers) => format!("{} of {}: {:?}", config.listen_address(&peers), config.group(), peers.names),
        Err(why) => format!("error: {why}"),
    };
    expect.assert_eq(&told);
}

#[test]
fn a_jraft_file_names_the_same_group() {
    let raft = "10.0.0.2:9880,10.0.0.1:9880, 10.0.0.3:9880";
    let rpc = "10.0.0.2:9770,10.0.0.1:9770,10.0.0.3:9770";
    check_jraft(
        "10.0.0.1:9880",
        raft,
        rpc,
        expect![[r#"10.0.0.1:9770 of group: ["10.0.0.1:9880", "10.0.0.2:9880", "10.0.0.3:9880"]"#]],
    );
    let defaults = Config { controller_type: "jRaft".into(), ..Config::default() };
    let peers = defaults.peers().expect("Java's own defaults");
    assert_eq!((peers.own_address(), peers.names.len()), ("localhost:9770", 3));
    assert!(defaults.store_path().ends_with("jRaftController/localhost:9880"));
}

#[test]
fn a_jraft_file_that_cannot_work_is_refused_with_its_cure() {
    let raft = "10.0.0.1:9880,10.0.0.2:9880";
    check_jraft(
        "10.0.0.1:9880",
        raft,
        "10.0.0.1:9770",
        expect![
            "error: `jRaftControllerRPCAddr` names 1 controllers and `jRaftInitConf` 2: list the same ones in both, in the same order, separated by `,`"
        ],
    );
    check_jraft(
        "10.0.0.9:9880",
        raft,
        "10.0.0.1:9770,10.0.0.2:9770",
        expect![
            "error: `jRaftServerId=10.0.0.9:9880` is not in `jRaftInitConf` (10.0.0.1:9880, 10.0.0.2:9880): correct one of them"
        ],
    );
    check_jraft(
        "10.0.0.1:9880",
        raft,
        "10.0.0.1:9770,10.0.0.1:9770",
        expect!["error: `jRaftControllerRPCAddr`: 10.0.0.1:9770 stands there twice: each controller needs its own"],
    );
    check_jraft(
        "10.0.0.1:9880",
        raft,
        "10.0.0.1:9770,10.0.0.2",
        expect!["error: `jRaftControllerRPCAddr`: `10.0.0.2`: want host:port, as in 10.0.0.1:9880"],
    );
    let unknown = Config { controller_type: "paxos".into(), ..Config::default() };
    assert_eq!(unknown.peers(), Err(ConfigError::UnknownType("paxos".into())));
}

#[test]
fn bind_address_replaces_the_host_only() {
    let config = Config {
        controller_d_leger_peers: "n0-10.0.0.1:9878".into(),
        controller_d_leger_self_id: "n0".into(),
        bind_address: "0.0.0.0".into(),
        ..Config::default()
    };
    let peers = config.peers().expect("valid");
    assert_eq!(config.listen_address(&peers), "0.0.0.0:9878");
    assert_eq!(peers.own_address(), "10.0.0.1:9878");
}
