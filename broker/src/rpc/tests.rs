//! A real broker without controllers (a single master), asked over a real connection.

use crate::{Config, Running};
use node::remoting::{Client, ClientOptions};
use proto::body::*;
use proto::code::{request, response};
use proto::command::ExtFields;
use proto::header::*;
use proto::message::{Record, records};
use proto::{Command, batch};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

mod redelivery;
mod second_port;
mod settings;
mod signatures;
mod traffic;

/// Generous: the machine may be busy, and no test waits this long unless it fails.
const DEADLINE: Duration = Duration::from_secs(20);

struct Fixture {
    running: Option<Running>,
    address: String,
    client: Client,
    stop: CancellationToken,
    root: tempfile::TempDir,
}

fn config(root: &std::path::Path) -> Config {
    Config {
        broker_name: "broker-a".into(),
        bind_address: "127.0.0.1".into(),
        listen_port: 0,
        store_path_root_dir: Some(root.display().to_string()),
        mapped_file_size_commit_log: 1 << 20,
        mapped_file_size_consume_queue: 20_000,
        ..Config::default()
    }
}

impl Fixture {
    async fn start() -> Fixture {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Fixture {
        Self::start_on(tempfile::tempdir().expect("temp dir"), change).await
    }

    async fn start_on(root: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Fixture {
        let mut config = config(root.path());
        change(&mut config);
        let stop = CancellationToken::new();
        let running = crate::start(config, stop.clone()).await.expect("a broker");
        let client = Client::new(ClientOptions::default());
        let fixture = Fixture { address: running.address.to_string(), running: Some(running), client, stop, root };
        // Without controllers a broker becomes the master by itself.
        fixture.until(|answer| answer.contains("\"role\":\"master\"")).await;
        // A change that changes nothing ends when the tables are this mastership's: no version moves after that.
        let group = proto::body::SubscriptionGroupConfig { group_name: "TOOLS_CONSUMER".into(), ..Default::default() };
        let same = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
        let answer = fixture.call(same.with_body(proto::json::to_vec(&group))).await;
        assert_eq!(answer.code, proto::code::response::SUCCESS, "{:?}", answer.remark);
        fixture
    }

    /// Waits until /status.json says so: the same port speaks HTTP.
    async fn until(&self, holds: impl Fn(&str) -> bool) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let wait = async {
            loop {
                let mut socket = tokio::net::TcpStream::connect(&self.address).await.expect("connected");
                let ask = b"GET /status.json HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n";
                socket.write_all(ask).await.expect("asked");
                let mut answer = String::new();
                socket.read_to_string(&mut answer).await.expect("answered");
                if holds(&answer) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the status did not become what it should");
    }

    async fn call(&self, command: Command) -> Command {
        self.client.call(&self.address, command, DEADLINE).await.expect("an answer")
    }

    async fn ask(&self, code: i32, header: &impl Header) -> Command {
        self.call(Command::request(code).with_header(header)).await
    }

    async fn stop(mut self) -> tempfile::TempDir {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            running.finished().await.expect("a clean end");
        }
        self.root
    }

    async fn send(&self, topic: &str, queue_id: i32, body: &str) -> Command {
        self.call(send(topic, queue_id, body, "TAGS\u{1}TagA\u{2}UNIQ_KEY\u{1}k\u{2}")).await
    }

    async fn pull(
        &self,
        topic: &str,
        offset: i64,
        subscription: &str,
        hold: Duration,
    ) -> (Command, PullMessageResponse) {
        let answer = self.call(pull(topic, offset, subscription, hold)).await;
        let header = answer.header().expect("a pull answer has all its fields");
        (answer, header)
    }
}

fn send_header(topic: &str, queue_id: i32, properties: &str) -> SendMessageRequest {
    SendMessageRequest {
        producer_group: "PG".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id,
        born_timestamp: 1,
        properties: Some(properties.into()),
        ..Default::default()
    }
}

fn send(topic: &str, queue_id: i32, body: &str, properties: &str) -> Command {
    let header = send_header(topic, queue_id, properties);
    Command::request(request::SEND_MESSAGE_V2).with_header(&header).with_body(body.to_owned())
}

fn pull(topic: &str, offset: i64, subscription: &str, hold: Duration) -> Command {
    let suspend = if hold.is_zero() { 0 } else { pull_sys_flag::SUSPEND };
    let header = PullMessageRequest {
        consumer_group: "CG".into(),
        topic: topic.into(),
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: pull_sys_flag::SUBSCRIPTION | suspend,
        suspend_timeout_millis: hold.as_millis() as i64,
        subscription: Some(subscription.into()),
        ..Default::default()
    };
    Command::request(request::PULL_MESSAGE).with_header(&header)
}

fn bodies(answer: &Command) -> Vec<String> {
    let body = |it: Record<'_>| String::from_utf8_lossy(it.body).into_owned();
    records(&answer.body).map(|it| body(it.expect("a whole record"))).collect()
}
