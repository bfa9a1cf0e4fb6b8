//! A broker that is nothing but its requests to controllers: it has an id, listens, sends heartbeats, and can be killed
//! or fall silent. A Java broker as far as controllers can tell: it sends none of Baton's own fields.

use baton_tests::cluster::{BROKER_SET, CLUSTER_NAME, Cluster};
use baton_tests::wire::{self, Connection};
use baton_tests::{PATIENCE, SECOND, ask_within};
use proto::Command;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// RocketMQ's tests have the same.
const HEARTBEAT_TIMEOUT: i64 = 3_000;
const HEARTBEAT_EVERY: Duration = Duration::from_millis(300);

pub struct Stub {
    pub id: i64,
    pub address: String,
    /// Nobody accepts, but the kernel answers for it: the process is there.
    _listener: TcpListener,
    silent: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    hearts: Vec<JoinHandle<()>>,
}

impl Stub {
    /// Sends heartbeats to all controllers from now on.
    pub fn new(id: i64, controllers: &[String]) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (silent, stop) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let heart = |controller: &String| {
            let (controller, silent, stop) = (controller.clone(), silent.clone(), stop.clone());
            let request = request(id, &address, 904);
            std::thread::spawn(move || beat(&controller, request, &silent, &stop))
        };
        let hearts = controllers.iter().map(heart).collect();
        Stub { id, address, _listener: listener, silent, stop, hearts }
    }

    pub fn request(&self, code: i32) -> Command {
        request(self.id, &self.address, code)
    }

    /// No more heartbeats; connections stay open, as those of a hung process do.
    pub fn fall_silent(&self) {
        self.silent.store(true, Relaxed);
    }

    /// What a SIGKILL looks like from outside: connections closed, the address refuses.
    pub fn die(self) {}
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for heart in self.hearts.drain(..) {
            if heart.join().is_err() && !std::thread::panicking() {
                panic!("a heart has failed");
            }
        }
    }
}

/// With the fields that any of the requests 1001 to 1013 and 904 wants.
fn request(id: i64, address: &str, code: i32) -> Command {
    Command::request(code)
        .with_ext("clusterName", CLUSTER_NAME)
        .with_ext("brokerName", BROKER_SET)
        .with_ext("brokerAddr", address)
        .with_ext("brokerAddress", address)
        .with_ext("brokerId", id)
        .with_ext("appliedBrokerId", id)
        .with_ext("registerCheckCode", format!("{address};1"))
        .with_ext("epoch", 1)
        .with_ext("maxOffset", 100)
        .with_ext("confirmOffset", 100)
        .with_ext("heartbeatTimeoutMills", HEARTBEAT_TIMEOUT)
}

fn beat(controller: &str, request: Command, silent: &AtomicBool, stop: &AtomicBool) {
    let mut connection: Option<Connection> = None;
    while !stop.load(Relaxed) {
        if !silent.load(Relaxed) {
            connection = connection.or_else(|| Connection::open(controller, SECOND).ok());
            let answered = connection.as_mut().is_some_and(|it| it.call(request.clone(), SECOND).is_ok());
            if !answered {
                connection = None;
            }
        }
        std::thread::sleep(HEARTBEAT_EVERY);
    }
}

/// The next free id, applied for.
#[track_caller]
pub fn get_id(cluster: &Cluster, stub: &Stub) -> i64 {
    let next = until(cluster, stub.request(1012), &[0]);
    let id = next.ext["nextBrokerId"].parse().expect("a number");
    until(cluster, stub.request(1013).with_ext("appliedBrokerId", id), &[0]);
    id
}

#[track_caller]
pub fn register(cluster: &Cluster, stub: &Stub) -> Command {
    until(cluster, stub.request(1003), &[0])
}

/// 1002, by the replica itself or, designated, by an operator.
#[track_caller]
pub fn elect(cluster: &Cluster, stub: &Stub, designate: bool, codes: &[i32]) -> Command {
    until(cluster, stub.request(1002).with_ext("designateElect", designate), codes)
}

/// Asks the leader until it answers with one of `codes`.
#[track_caller]
fn until(cluster: &Cluster, request: Command, codes: &[i32]) -> Command {
    let mut last = None;
    let answer = ask_within(PATIENCE, || {
        let leader = &cluster.controllers[cluster.leader()?].address;
        last = Some(wire::call(leader, request.clone(), 2 * SECOND));
        last.as_ref()?.as_ref().ok().filter(|it| codes.contains(&it.code)).cloned()
    });
    answer.unwrap_or_else(|| panic!("{} was never answered with {codes:?}; last: {last:?}", request.code))
}
