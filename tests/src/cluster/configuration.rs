//! The files that a cluster's processes are started with.

use super::{CLUSTER_NAME, free_port};
use std::path::Path;

pub fn controller_config(root: &Path, name: &str, peers: &str, id: usize, keys: &[String]) -> String {
    let store = root.join(name).join("store");
    format!(
        "controllerDLegerGroup=test-group\ncontrollerDLegerPeers={peers}\ncontrollerDLegerSelfId=n{id}\n\
         controllerStorePath={}\nmaxAutomaticMasterChanges=0\n{}\n",
        store.display(),
        keys.join("\n")
    )
}

pub(super) fn nameserver_config(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').expect("host:port");
    format!("listenPort={port}\nbindAddress={host}\n")
}

/// What Java's JRaft controller would be given. Nobody listens on the addresses of its own protocol.
pub(super) fn jraft_config(root: &Path, name: &str, controllers: &[String], id: usize, keys: &[String]) -> String {
    let raft = |i: usize| format!("127.0.0.1:{}", 9880 + i);
    let all = (0..controllers.len()).map(raft).collect::<Vec<_>>().join(",");
    format!(
        "controllerType=jRaft\njRaftGroupId=test-group\njRaftServerId={}\njRaftInitConf={all}\n\
         jRaftControllerRPCAddr={}\njRaftElectionTimeoutMs=1000\ncontrollerStorePath={}\n{}\n",
        raft(id),
        controllers.join(","),
        root.join(name).join("store").display(),
        keys.join("\n")
    )
}

/// A broker on loopback with small files; which mode it runs in is up to the caller.
pub fn broker_config(root: &Path, name: &str, set: &str, port: u16, nameservers: &[String], keys: &[String]) -> String {
    let store = root.join(name).join("store");
    let store = store.display();
    let haport = free_port();
    let lines = [
        format!(
            "brokerClusterName={CLUSTER_NAME}\nbrokerName={set}\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\n\
             bindAddress=127.0.0.1"
        ),
        format!("listenPort={port}\nhaListenPort={haport}\nnamesrvAddr={}", nameservers.join(";")),
        format!(
            "storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\n\
             storePathEpochFile={store}/epochFileCheckpoint"
        ),
        format!(
            "storePathBrokerIdentity={store}/brokerIdentity\nmappedFileSizeCommitLog=16777216\n\
             autoCreateTopicEnable=false"
        ),
        keys.join("\n"),
    ];
    lines.join("\n") + "\n"
}
