//! The nameserver as a whole, over sockets.

use super::*;
use node::remoting::{Client, ClientOptions};
use proto::Command;
use proto::body::{RegisterBrokerBody, TopicConfig, TopicRouteData};
use proto::header::RegisterBrokerRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// Longer than any of these tests needs, even on a busy machine.
const LONG: Duration = Duration::from_secs(20);

struct Fixture {
    address: String,
    stop: CancellationToken,
    running: Running,
    dir: tempfile::TempDir,
}

impl Fixture {
    async fn start(config: Config) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let rocketmq_home = dir.path().display().to_string();
        let stop = CancellationToken::new();
        let config = Config { bind_address: "127.0.0.1".into(), listen_port: 0, rocketmq_home, ..config };
        let running = super::start(config, stop.clone()).await.unwrap();
        Fixture { address: running.address.to_string(), stop, running, dir }
    }

    async fn stop(self) -> tempfile::TempDir {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.running.finished()).await.unwrap().unwrap();
        self.dir
    }

    async fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

fn client() -> Client {
    Client::new(ClientOptions::default())
}

fn registration(id: i64, address: &str, state_version: i64, timeout: Option<i64>) -> Command {
    let header = RegisterBrokerRequest {
        cluster_name: "c".into(),
        broker_name: "broker-a".into(),
        broker_addr: address.into(),
        broker_id: id,
        heartbeat_timeout_millis: timeout,
        ..RegisterBrokerRequest::default()
    };
    let mut body = RegisterBrokerBody::default();
    body.topic_config_serialize_wrapper.data_version.state_version = state_version;
    for topic in ["T", "U"] {
        let config = TopicConfig { topic_name: topic.into(), ..TopicConfig::default() };
        body.topic_config_serialize_wrapper.topic_config_table.insert(topic.into(), config);
    }
    Command::request(103).with_header(&header).with_body(proto::json::to_vec(&body))
}

async fn register(client: &Client, to: &str, registration: Command) {
    assert_eq!(client.call(to, registration, LONG).await.unwrap().code, 0);
}

async fn master(client: &Client, of: &str) -> Option<String> {
    let answer = client.call(of, Command::request(105).with_ext("topic", "T"), LONG).await.unwrap();
    let route: Option<TopicRouteData> = (answer.code == 0).then(|| proto::json::from_slice(&answer.body).unwrap());
    route?.broker_datas[0].broker_addrs.get(&0).cloned()
}

#[tokio::test]
async fn a_master_whose_connection_closes_leaves_the_route_at_once() {
    let ns = Fixture::start(Config::default()).await;
    let (one, two, asks) = (client(), client(), client());
    register(&one, &ns.address, registration(0, "10.0.0.1:10911", 1, None)).await;
    register(&two, &ns.address, registration(2, "10.0.0.2:10911", 1, None)).await;
    assert_eq!(master(&asks, &ns.address).await.as_deref(), Some("10.0.0.1:10911"));

    one.close(&ns.address);
    let deadline = Instant::now() + LONG;
    while master(&asks, &ns.address).await.is_some() {
        assert!(Instant::now() < deadline, "the dead master is still listed");
        sleep(Duration::from_millis(1)).await;
    }
    register(&two, &ns.address, registration(0, "10.0.0.2:10911", 2, None)).await;
    assert_eq!(master(&asks, &ns.address).await.as_deref(), Some("10.0.0.2:10911"));
    ns.stop().await;
}

#[tokio::test]
async fn a_silent_broker_expires_and_its_connection_is_closed() {
    let ns = Fixture::start(Config { scan_not_active_broker_interval: 10, ..Config::default() }).await;
    let (broker, asks) = (client(), client());
    register(&broker, &ns.address, registration(0, "10.0.0.1:10911", 1, Some(50))).await;
    let connection = broker.connection(&ns.address).await.unwrap();
    tokio::time::timeout(LONG, connection.closed()).await.unwrap();
    assert_eq!(master(&asks, &ns.address).await, None);
    ns.stop().await;
}

#[tokio::test]
async fn key_value_settings_survive_a_restart() {
    let ns = Fixture::start(Config::default()).await;
    let put = Command::request(100).with_ext("namespace", "N").with_ext("key", "k").with_ext("value", "v");
    assert_eq!(client().call(&ns.address, put, LONG).await.unwrap().code, 0);
    let dir = ns.stop().await;
    let path = dir.path().join("namesrv/kvConfig.json").display().to_string();
    let ns = Fixture::start(Config { kv_config_path: path, ..Config::default() }).await;
    let get = Command::request(101).with_ext("namespace", "N").with_ext("key", "k");
    assert_eq!(client().call(&ns.address, get, LONG).await.unwrap().ext["value"], "v");
    ns.stop().await;
}

#[tokio::test]
async fn health_and_status_are_served_on_the_same_port() {
    let ns = Fixture::start(Config::default()).await;
    let broker = client();
    register(&broker, &ns.address, registration(0, "10.0.0.1:10911", 1, None)).await;
    for path in ["/health/live", "/health/ready"] {
        assert!(ns.http(path).await.starts_with("HTTP/1.1 200"), "{path}");
    }
    let status = ns.http("/status.json").await;
    assert!(status.contains(r#""liveReplicas":1"#) && status.contains("10.0.0.1:10911"), "{status}");
    ns.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let ns = Fixture::start(Config::default()).await;
    let port = ns.running.address.port();
    let config = Config {
        bind_address: "127.0.0.1".into(),
        listen_port: port,
        rocketmq_home: "/nowhere".into(),
        ..Config::default()
    };
    let error = super::start(config, CancellationToken::new()).await.unwrap_err().to_string();
    assert!(error.contains(&ns.address), "{error}");
    ns.stop().await;
}
