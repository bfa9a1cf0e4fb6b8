//! The code table of RocketMQ's controller, against one controller over real connections.

mod bad_input;
mod planned;

use crate::config::Config;
use node::remoting::{Client, ClientOptions};
use proto::Command;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(10);

/// One controller, a client, and the folder both live on.
struct Rig {
    address: String,
    client: Client,
    stop: CancellationToken,
    running: crate::Running,
    _dir: tempfile::TempDir,
}

impl Rig {
    async fn start() -> Rig {
        let dir = tempfile::tempdir().expect("temp dir");
        // Asked of the OS and given back: the peer list needs the number before the controller binds it.
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
        let address = format!("127.0.0.1:{port}");
        let config = Config {
            controller_d_leger_peers: format!("n0-{address}"),
            controller_d_leger_self_id: "n0".into(),
            controller_store_path: dir.path().join("data").display().to_string(),
            config_store_path: dir.path().join("controller.properties").display().to_string(),
            ..Config::default()
        };
        let stop = CancellationToken::new();
        let running = crate::start(config, stop.clone()).await.expect("starts");
        let rig = Rig { address, client: Client::new(ClientOptions::default()), stop, running, _dir: dir };
        rig.until("isLeader", || rig.told(1005, &[], "")).await;
        rig
    }

    /// `code remark {ext} body`, as an answer comes back.
    async fn told(&self, code: i32, ext: &[(&str, &str)], body: &str) -> String {
        let request = ext.iter().fold(Command::request(code), |it, (key, value)| it.with_ext(key, value));
        let request = request.with_body(body.as_bytes().to_vec());
        let it = self.client.call(&self.address, request, TIMEOUT).await.expect("answers");
        let ext = it.ext.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
        let told =
            [it.code.to_string(), it.remark.unwrap_or_default(), ext, String::from_utf8_lossy(&it.body).into_owned()];
        told.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" | ").replace(&self.address, "ADDR")
    }

    async fn until<F: Future<Output = String>>(&self, key: &str, ask: impl Fn() -> F) {
        let deadline = Instant::now() + TIMEOUT;
        while !ask().await.contains(&format!("{key}=true")) {
            assert!(Instant::now() < deadline, "no {key} in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn heartbeat(&self, id: &str, epoch: &str) -> String {
        let ext = [("clusterName", "c"), ("brokerName", "a"), ("brokerAddr", "x"), ("brokerId", id), ("epoch", epoch)];
        self.told(904, &ext, "").await
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.finished().await.expect("stops cleanly");
    }
}

fn of<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("clusterName", "c"), ("brokerName", "a")], more].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_answered_as_rocketmq_answers_it() {
    let rig = Rig::start().await;
    let mut told = vec![rig.told(1005, &[], "").await];
    told.push(rig.told(1012, &of(&[]), "").await);
    let first = of(&[("appliedBrokerId", "1"), ("registerCheckCode", "10.0.0.1:1;1")]);
    told.push(rig.told(1013, &of(&[("appliedBrokerId", "2"), ("registerCheckCode", "10.0.0.2:1;1")]), "").await);
    told.push(rig.told(1013, &first, "").await);
    told.push(rig.told(1013, &first, "").await);
    told.push(rig.told(1013, &of(&[("appliedBrokerId", "1"), ("registerCheckCode", "10.0.0.9:1;1")]), "").await);
    told.push(rig.told(1013, &of(&[("appliedBrokerId", "2"), ("registerCheckCode", "10.0.0.2:1;1")]), "").await);
    told.push(rig.told(1003, &of(&[("brokerId", "9"), ("brokerAddress", "10.0.0.9:1")]), "").await);
    told.push(rig.told(1003, &of(&[("brokerId", "1"), ("brokerAddress", "10.0.0.1:1")]), "").await);
    told.push(rig.told(1004, &[("brokerName", "a")], "").await);
    told.push(rig.told(1004, &[("brokerName", "unknown")], "").await);
    told.push(rig.heartbeat("1", "-1").await);
    told.push(rig.told(1002, &of(&[("brokerId", "1")]), "").await);
    told.push(rig.told(1002, &of(&[("brokerId", "2")]), "").await);
    let alter = [("brokerName", "a"), ("masterBrokerId", "1"), ("masterEpoch", "1")];
    told.push(rig.told(1001, &alter, r#"{"syncStateSet":[1,2],"syncStateSetEpoch":1}"#).await);
    rig.heartbeat("2", "-1").await;
    told.push(rig.told(1001, &alter, r#"{"syncStateSet":[1,2],"syncStateSetEpoch":1}"#).await);
    told.push(rig.told(1003, &of(&[("brokerId", "2"), ("brokerAddress", "10.0.0.2:1")]), "").await);
    told.push(rig.told(1006, &[], r#"["a","unknown"]"#).await);
    told.push(rig.told(1002, &of(&[("brokerId", "2"), ("designateElect", "true")]), "").await);
    told.push(rig.told(1011, &of(&[("isCleanLivingBroker", "false")]), "").await);
    told.push(rig.told(1011, &of(&[("brokerControllerIdsToClean", "x"), ("isCleanLivingBroker", "false")]), "").await);
    told.push(rig.told(1011, &of(&[("isCleanLivingBroker", "true")]), "").await);
    told.push(rig.told(1002, &of(&[("brokerId", "1")]), "").await);
    expect_test::expect![[r#"
        0 | controllerLeaderAddress=ADDR controllerLeaderId=n0 group=group1 isLeader=true peers=n0:ADDR;
        0 | brokerName=a clusterName=c nextBrokerId=1
        2014 | Broker-set: a hasn't been registered in controller, but broker try to apply brokerId: 2 | brokerName=a clusterName=c
        0 | brokerName=a clusterName=c
        0 | brokerName=a clusterName=c
        2014 | Fail to apply brokerId: 1 in broker-set: a | brokerName=a clusterName=c
        0 | brokerName=a clusterName=c
        2010 | BrokerId: 9 hasn't been registered in broker-set: a | brokerName=a clusterName=c
        0 | brokerName=a clusterName=c | {"syncStateSet":[],"syncStateSetEpoch":0}
        0 | masterEpoch=0 | {"syncStateSet":[],"syncStateSetEpoch":0}
        2008 | Broker metadata is not existed
        0 | Heart beat success | leaseMills=0 masterEpoch=0 syncStateSetEpoch=0
        0 | masterAddress=10.0.0.1:1 masterBrokerId=1 masterEpoch=1 syncStateSetEpoch=1 | {"brokerMemberGroup":{"brokerAddrs":{"1":"10.0.0.1:1","2":"10.0.0.2:1"},"brokerName":"a","cluster":"c"},"syncStateSet":[1]}
        2011 | The old master 1 is still alive, not need to elect new master for broker a | masterAddress=10.0.0.1:1 masterBrokerId=1 masterEpoch=1 syncStateSetEpoch=1 | {"syncStateSet":[1]}
        2006 | Rejecting alter syncStateSet request because the replicas {2} don't alive | newSyncStateSetEpoch=0
        0 | newSyncStateSetEpoch=2 | {"syncStateSet":[1,2],"syncStateSetEpoch":2}
        0 | brokerName=a clusterName=c masterAddress=10.0.0.1:1 masterBrokerId=1 masterEpoch=1 syncStateSetEpoch=2 | {"syncStateSet":[1,2],"syncStateSetEpoch":2}
        0 | {"replicasInfoTable":{"a":{"inSyncReplicas":[{"alive":true,"brokerAddress":"10.0.0.1:1","brokerId":1,"brokerName":"a"},{"alive":true,"brokerAddress":"10.0.0.2:1","brokerId":2,"brokerName":"a"}],"masterAddress":"10.0.0.1:1","masterBrokerId":1,"masterEpoch":1,"notInSyncReplicas":[],"syncStateSetEpoch":2}}}
        0 | masterAddress=10.0.0.2:1 masterBrokerId=2 masterEpoch=2 syncStateSetEpoch=3 | {"brokerMemberGroup":{"brokerAddrs":{"1":"10.0.0.1:1","2":"10.0.0.2:1"},"brokerName":"a","cluster":"c"},"syncStateSet":[2]}
        2009 | Broker a is still alive, clean up failure
        2009 | Please set the option <brokerControllerIdsToClean> according to the format, exception: invalid digit found in string
        0
        2010 | Broker hasn't been registered
    "#]]
    .assert_eq(&(told.join("\n") + "\n"));
    rig.stop().await;
}

#[test]
fn requests_are_counted_with_rocketmqs_words() {
    use super::{Failure, RaftError, response};
    let not_enough_controllers = Failure::from(RaftError::Timeout);
    assert_eq!(not_enough_controllers.status(), "timeout");
    assert_eq!(Failure::from(RaftError::NotLeader).status(), "success", "an answer like any other");
    assert_eq!(Failure::from(RaftError::Stopped).status(), "failed");
    assert_eq!(Failure::Text(response::CONTROLLER_INVALID_REQUEST, String::new()).status(), "success");
    assert_eq!(Failure::Text(response::SYSTEM_ERROR, String::new()).status(), "failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_gets_rocketmqs_code_and_says_what_is_wrong() {
    let rig = Rig::start().await;
    let told = [
        rig.told(1007, &[], "").await,
        rig.told(1004, &[], "").await,
        rig.told(904, &[("clusterName", "c"), ("brokerName", "a"), ("brokerAddr", "x")], "").await,
        rig.told(1006, &[], "").await,
        rig.told(1006, &[], "[]").await,
        rig.told(1001, &[("brokerName", "a"), ("masterBrokerId", "1"), ("masterEpoch", "1")], "").await,
        rig.told(1013, &of(&[("appliedBrokerId", "one"), ("registerCheckCode", "x;1")]), "").await,
        rig.told(1009, &[], "configStorePath=/tmp/x\n").await,
        rig.told(1009, &[], "enableElectUncleanMaster=true\n").await,
    ];
    expect_test::expect![[r#"
        3 |  request type 1007 not supported
        1 | GetReplicaInfoRequest: field `brokerName` is missing
        2005 | Heart beat with empty brokerId
        1 | not set any response code
        1 | not set any response code
        1 | body of request 1001: want a SyncStateSet: EOF while parsing a value at line 1 column 0
        1 | ApplyBrokerIdRequest: field `appliedBrokerId` is `one`: want an integer of 64 bits
        16 | Can not update config in black list.
        0
    "#]]
    .assert_eq(&(told.join("\n") + "\n"));
    let config = rig.told(1010, &[], "").await;
    assert!(config.contains("enableElectUncleanMaster=true\n"), "{config}");
    rig.stop().await;
}
