//! Three controllers and two stand-in brokers in one process, over real sockets.

mod membership;

use crate::{Config, Running, start};
use node::listener::{Limits, Listener};
use node::remoting::{Client, ClientOptions, Connection, Handler, Reply};
use proto::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// For what takes a second where nothing else runs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A broker as controllers see it: it listens, heartbeats to all of them, and remembers what it was notified of.
#[derive(Clone)]
struct Broker {
    id: i64,
    address: String,
    client: Client,
    notified: Arc<Mutex<Vec<Command>>>,
    stop: CancellationToken,
}

struct Inbox(Arc<Mutex<Vec<Command>>>);

impl Handler for Inbox {
    fn handle(&self, _: &Arc<Connection>, request: Command) -> Reply {
        self.0.lock().expect("no test panics while holding it").push(request);
        Reply::None
    }
    fn closed(&self, _: &Arc<Connection>) {}
}

impl Broker {
    async fn start(id: i64) -> Broker {
        let listener = Listener::bind("127.0.0.1:0").await.expect("binds");
        let (notified, stop) = (Arc::<Mutex<Vec<Command>>>::default(), CancellationToken::new());
        let address = listener.local.to_string();
        tokio::spawn(listener.serve(Arc::new(Inbox(notified.clone())), None, Limits::default(), stop.clone()));
        Broker { id, address, client: Client::new(ClientOptions::default()), notified, stop }
    }

    fn request(&self, code: i32) -> Command {
        Command::request(code)
            .with_ext("clusterName", "c")
            .with_ext("brokerName", "a")
            .with_ext("brokerAddr", &self.address)
            .with_ext("brokerAddress", &self.address)
            .with_ext("brokerId", self.id)
            .with_ext("bootId", format!("boot{}", self.id))
            .with_ext("appliedBrokerId", self.id)
            .with_ext("registerCheckCode", format!("{};1", self.address))
            .with_ext("epoch", 1)
            .with_ext("maxOffset", 100)
            .with_ext("heartbeatTimeoutMills", 60_000)
    }

    async fn heartbeat(&self, controllers: &[String]) {
        for address in controllers {
            // One of them may be down.
            let _ = self.client.call(address, self.request(904), Duration::from_secs(2)).await;
        }
    }

    /// What a SIGKILL looks like from outside: the listen address refuses, and every connection closes.
    fn kill(&self, controllers: &[String]) {
        self.stop.cancel();
        controllers.iter().for_each(|it| self.client.close(it));
    }
}

struct Group {
    addresses: Vec<String>,
    running: Vec<Option<(Running, CancellationToken)>>,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Group {
    async fn start() -> Group {
        let dir = tempfile::tempdir().expect("temp dir");
        let held = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect::<Vec<_>>();
        let addresses = held.iter().map(|it| it.local_addr().expect("bound").to_string()).collect::<Vec<_>>();
        drop(held);
        let peers = (0..).zip(&addresses).map(|(i, it)| format!("n{i}-{it}")).collect::<Vec<_>>().join(";");
        let mut running = Vec::new();
        for i in 0..3 {
            let config = Config {
                controller_d_leger_peers: peers.clone(),
                controller_d_leger_self_id: format!("n{i}"),
                controller_store_path: dir.path().join(format!("n{i}")).display().to_string(),
                ..Config::default()
            };
            let stop = CancellationToken::new();
            running.push(Some((start(config, stop.clone()).await.expect("starts"), stop)));
        }
        Group { addresses, running, client: Client::new(ClientOptions::default()), _dir: dir }
    }

    /// Asks the leader, whoever that is, until it answers with one of `codes`.
    async fn ask(&self, request: Command, codes: &[i32]) -> Command {
        let deadline = Instant::now() + TIMEOUT;
        let mut last = None;
        while Instant::now() < deadline {
            for address in &self.addresses {
                match self.client.call(address, request.clone(), Duration::from_secs(2)).await {
                    Ok(it) if codes.contains(&it.code) => return it,
                    other => last = Some(other),
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("no answer with {codes:?}; the last was {last:?}")
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Command) -> bool) -> Duration {
        let begin = Instant::now();
        loop {
            let it = self.ask(Command::request(1004).with_ext("brokerName", "a"), &[0]).await;
            if is_so(&it) {
                return begin.elapsed();
            }
            assert!(begin.elapsed() < TIMEOUT, "{what} did not come about: {it:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn leader(&self) -> usize {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let it = self.ask(Command::request(1005), &[0]).await;
            if let Some(address) = it.ext.get("controllerLeaderAddress") {
                return self.addresses.iter().position(|it| it == address).expect("one of ours");
            }
            assert!(Instant::now() < deadline, "nobody leads: {it:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(&mut self, i: usize) {
        if let Some((running, stop)) = self.running[i].take() {
            stop.cancel();
            running.finished().await.expect("stops cleanly");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_master_is_replaced_though_the_leader_died_before() {
    let mut group = Group::start().await;
    let brokers = [Broker::start(1).await, Broker::start(2).await];
    for broker in &brokers {
        group.ask(broker.request(1013), &[0]).await;
        group.ask(broker.request(1003), &[0]).await;
        broker.heartbeat(&group.addresses).await;
    }
    group.ask(brokers[0].request(1002), &[0]).await;
    // As brokers do: a controller that was a moment behind when the first one came must hear another.
    let (beating, controllers) = (brokers[1].clone(), group.addresses.clone());
    let beat = async move {
        loop {
            beating.heartbeat(&controllers).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let stop = brokers[1].stop.clone();
    let heart = tokio::spawn(async move { stop.run_until_cancelled(beat).await });
    let alter =
        Command::request(1001).with_ext("brokerName", "a").with_ext("masterBrokerId", 1).with_ext("masterEpoch", 1);
    let body = r#"{"syncStateSet":[1,2],"syncStateSetEpoch":1}"#;
    group.ask(alter.with_body(body.as_bytes().to_vec()), &[0, 2013]).await;

    let leader = group.leader().await;
    group.stop(leader).await;
    brokers[0].kill(&group.addresses);
    let took = group.until("another master", |it| it.ext.get("masterBrokerId").is_some_and(|it| it == "2")).await;
    // The heartbeat timeout is a minute: only proof of death can have been this quick.
    assert!(took < Duration::from_secs(15), "took {took:?}");
    let deadline = Instant::now() + TIMEOUT;
    let told = |code: i32| {
        brokers[1].notified.lock().expect("as above").iter().any(|it| it.code == code && it.ext["masterEpoch"] == "2")
    };
    while !told(1008) {
        assert!(Instant::now() < deadline, "the new master was not notified");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    brokers[1].stop.cancel();
    heart.await.expect("the heart does not panic");
    for i in 0..3 {
        group.stop(i).await;
    }
}
