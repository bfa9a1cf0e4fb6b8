//! Who reaches a group of controllers: by which address, through TLS, and with which signature.

use controller::config::{Access, Config};
use controller::{Running, start};
use node::remoting::{Client, ClientOptions};
use node::tls::{ClientTls, Mode, Settings};
use proto::Command;
use proto::code::{request, response};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(20);

struct Group {
    addresses: Vec<String>,
    running: Vec<Running>,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Group {
    async fn start(count: usize, change: impl Fn(usize, &mut Config)) -> Group {
        let dir = tempfile::tempdir().expect("temp dir");
        // Asked of the OS and given back: the peer list needs the numbers before the controllers bind them.
        let kept = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect::<Vec<_>>();
        let addresses = kept.iter().map(|it| it.local_addr().expect("bound").to_string()).collect::<Vec<_>>();
        drop(kept);
        let peers = addresses.iter().enumerate().map(|(i, it)| format!("n{i}-{it}")).collect::<Vec<_>>().join(";");
        let stop = CancellationToken::new();
        let mut running = Vec::new();
        for i in 0..count {
            let mut config = Config {
                controller_d_leger_peers: peers.clone(),
                controller_d_leger_self_id: format!("n{i}"),
                controller_store_path: dir.path().join(format!("n{i}")).display().to_string(),
                config_store_path: dir.path().join(format!("n{i}.properties")).display().to_string(),
                ..Config::default()
            };
            change(i, &mut config);
            running.push(start(config, stop.clone()).await.expect("starts"));
        }
        Group { addresses, running, stop, _dir: dir }
    }

    /// The leader, as soon as somebody says to be it.
    async fn leader(&self, client: &Client) -> Option<&String> {
        for address in &self.addresses {
            let answer = client.call(address, Command::request(request::CONTROLLER_GET_METADATA_INFO), TIMEOUT).await;
            if answer.is_ok_and(|it| it.ext.get("isLeader").is_some_and(|it| it == "true")) {
                return Some(address);
            }
        }
        None
    }

    async fn wait_leader(&self, client: &Client) -> &String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.leader(client).await {
                Some(leader) => return leader,
                None => assert!(Instant::now() < deadline, "no leader in time"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        for running in self.running {
            running.finished().await.expect("stops");
        }
    }
}

fn acl(secret: &str) -> Access {
    Access {
        controller_acl_enable: true,
        controller_access_key: "controllers".into(),
        controller_secret_key: secret.into(),
    }
}

fn client(secret: Option<&str>, tls: Option<&Settings>) -> Client {
    let credentials = secret.map(|it| ("controllers".to_owned(), it.to_owned()));
    let tls = tls.and_then(|it| ClientTls::new(it).unwrap());
    Client::new(ClientOptions { credentials, tls, ..ClientOptions::default() })
}

fn apply_for_an_id() -> Command {
    let it = Command::request(request::CONTROLLER_APPLY_BROKER_ID);
    let it = it.with_ext("clusterName", "c").with_ext("brokerName", "a").with_ext("appliedBrokerId", 1);
    it.with_ext("registerCheckCode", "127.0.0.1:1;1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_behind_tls_and_a_secret_serves_only_those_who_have_both() {
    let tls = Settings { server_mode: Mode::Enforcing, enable: true, test_mode: true, ..Settings::default() };
    let group = Group::start(3, |_, it| (it.access, it.tls) = (acl("12345678"), tls.clone())).await;
    let operator = client(Some("12345678"), Some(&tls));
    let leader = group.wait_leader(&operator).await;
    let change = async |client: &Client| client.call(leader, apply_for_an_id(), TIMEOUT).await;
    assert!(change(&client(Some("12345678"), None)).await.is_err(), "plain text is closed");
    for stranger in [client(None, Some(&tls)), client(Some("12345679"), Some(&tls))] {
        let refused = change(&stranger).await.expect("answers");
        assert_eq!(refused.code, response::NO_PERMISSION, "{refused:?}");
        assert!(refused.remark.is_some_and(|it| it.contains("needs a signature")));
    }
    let sets = Command::request(request::CONTROLLER_GET_SYNC_STATE_DATA).with_body(r#"["a"]"#);
    let read = client(None, Some(&tls)).call(leader, sets, TIMEOUT).await.expect("answers");
    assert_ne!(read.code, response::NO_PERMISSION, "reading is open");
    // A commit needs a majority, so the controllers reach each other through the same doors.
    assert_eq!(change(&operator).await.expect("answers").code, response::SUCCESS);
    let config = operator.call(leader, Command::request(request::GET_CONTROLLER_CONFIG), TIMEOUT).await.unwrap();
    let config = String::from_utf8_lossy(&config.body).into_owned();
    assert!(config.contains("controllerSecretKey=******\n") && !config.contains("12345678"), "{config}");
    let weaken = Command::request(request::UPDATE_CONTROLLER_CONFIG).with_body("controllerAclEnable=false\n");
    assert_eq!(operator.call(leader, weaken, TIMEOUT).await.expect("answers").code, response::NO_PERMISSION);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_without_the_secret_takes_no_part() {
    let group = Group::start(2, |i, it| it.access = acl(["12345678", "12345679"][i])).await;
    // Two of two are needed: while one is refused there is no leader. Ten of the longest election timeouts.
    let patient = client(None, None);
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        assert_eq!(group.leader(&patient).await, None, "elected with a controller that does not know the secret");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    group.stop().await;
}

/// A loopback quick start is nobody else's business.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_listens_on_the_address_that_its_own_peer_entry_names() {
    let elsewhere = |address: &str| address.replace("127.0.0.1", "127.0.0.2");
    let group = Group::start(1, |_, _| {}).await;
    let client = client(None, None);
    group.wait_leader(&client).await;
    let other = elsewhere(&group.addresses[0]);
    let refused = client.call(&other, Command::request(1005), TIMEOUT).await.expect_err("does not listen there");
    assert_eq!(refused.to_string(), format!("{other}: connection refused"));
    group.stop().await;
    let group = Group::start(1, |_, it| it.bind_address = "0.0.0.0".into()).await;
    group.wait_leader(&client).await;
    let other = elsewhere(&group.addresses[0]);
    client.call(&other, Command::request(1005), TIMEOUT).await.expect("bindAddress opens all addresses");
    group.stop().await;
}

#[tokio::test]
async fn a_secret_that_is_half_configured_is_an_error_that_names_the_key() {
    let access = Access { controller_secret_key: String::new(), ..acl("") };
    let peers = "n0-127.0.0.1:1".to_owned();
    let config = Config {
        controller_d_leger_peers: peers,
        controller_d_leger_self_id: "n0".into(),
        access,
        ..Config::default()
    };
    let why = start(config, CancellationToken::new()).await.err().expect("refused").to_string();
    assert!(why.starts_with("`controllerSecretKey` is missing"), "{why}");
}
