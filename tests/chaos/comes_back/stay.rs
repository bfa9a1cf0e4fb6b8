//! Clients that stay with one address each, as Java's do between two looks at their routes.

use baton_tests::history::body;
use baton_tests::queries::{self, OK, TEST_GROUP};
use baton_tests::wire::Connection;
use baton_tests::{History, PATIENCE, SECOND};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const GO_AWAY: i32 = 1500;
/// Far more than anything takes, on a loaded machine too; a request without an answer is a failure here.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// A producer for each address, which sends again what had no answer, and a consumer with long polling. Refused
/// connections, codes that are no success and, as far as they count as failures in the case at hand, lost connections
/// are what they complain about.
pub struct Stay {
    history: Arc<History>,
    complaints: Arc<Mutex<Vec<String>>>,
    lost_connections: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Stay {
    pub fn start(topic: &str, addresses: &[String]) -> Stay {
        let mut stay = Stay {
            history: Arc::new(History::new(topic, addresses.len())),
            complaints: Arc::default(),
            lost_connections: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for (id, address) in addresses.iter().enumerate() {
            for role in [produce, consume] {
                let client = Client {
                    id,
                    address: address.clone(),
                    history: stay.history.clone(),
                    complaints: stay.complaints.clone(),
                    lost_connections: stay.lost_connections.clone(),
                    stop: stay.stop.clone(),
                };
                stay.threads.push(std::thread::spawn(move || role(&client)));
            }
        }
        stay
    }

    #[track_caller]
    pub fn wait_progress(&self, count: u64) {
        self.history.wait_progress(count, PATIENCE);
    }

    /// Ends the clients; complaints, lost connections.
    pub fn stop(mut self) -> (Arc<History>, Vec<String>, Vec<String>) {
        self.end();
        let said = |it: &Mutex<Vec<String>>| it.lock().expect("a client has failed").clone();
        (self.history.clone(), said(&self.complaints), said(&self.lost_connections))
    }

    fn end(&mut self) {
        self.history.close();
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || std::thread::panicking(), "a client has failed");
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.end();
    }
}

struct Client {
    id: usize,
    address: String,
    history: Arc<History>,
    complaints: Arc<Mutex<Vec<String>>>,
    lost_connections: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Client {
    fn complain(&self, what: String) {
        self.complaints.lock().expect("another client has failed").push(format!("{}: {what}", self.address));
    }

    /// Asks until there is an answer other than GO_AWAY, on new connections where needed; `before` each attempt.
    fn ask(
        &self,
        connection: &mut Option<Connection>,
        request: &proto::Command,
        before: impl Fn(),
    ) -> Option<proto::Command> {
        while !self.stop.load(Relaxed) {
            let Some(open) = connection else {
                match Connection::open(&self.address, SEND_TIMEOUT) {
                    Ok(open) => *connection = Some(open),
                    Err(error) => {
                        self.complain(format!("connection refused: {error}"));
                        std::thread::sleep(AGAIN_AFTER);
                    }
                }
                continue;
            };
            before();
            match open.call(request.clone(), SEND_TIMEOUT) {
                Ok(answer) if answer.code == GO_AWAY => *connection = None,
                Ok(answer) => return Some(answer),
                Err(error) => {
                    let what = format!("{}: request {} had no answer: {error}", self.address, request.code);
                    self.lost_connections.lock().expect("another client has failed").push(what);
                    *connection = None;
                }
            }
        }
        None
    }
}

fn produce(client: &Client) {
    let (mut connection, mut sequence) = (None, 1);
    while !client.stop.load(Relaxed) {
        let request = queries::send_request(&client.history.topic, client.id as i32, body(client.id, sequence, 256));
        match client.ask(&mut connection, &request, || client.history.sending(client.id, sequence)) {
            Some(answer) if answer.code == OK => {
                client.history.acknowledged(client.id, sequence);
                sequence += 1;
            }
            Some(answer) => {
                client.complain(format!("send: {} {:?}", answer.code, answer.remark));
                std::thread::sleep(AGAIN_AFTER);
            }
            None => return,
        }
    }
}

fn consume(client: &Client) {
    let (mut connection, mut offset) = (None, 0);
    while !client.stop.load(Relaxed) {
        let request = queries::pull_request(TEST_GROUP, &client.history.topic, client.id as i32, offset, SECOND);
        match client.ask(&mut connection, &request, || ()) {
            // Found, not found, try again at once.
            Some(answer) if [OK, 19, 20].contains(&answer.code) => {
                let next = answer.ext.get("nextBeginOffset").and_then(|it| it.parse::<i64>().ok());
                let next = next.expect("a pull answer says where to go on");
                if next < offset {
                    client.complain(format!("pull: sent back from {offset} to {next}"));
                }
                offset = next;
            }
            Some(answer) => {
                client.complain(format!("pull at {offset}: {} {:?}", answer.code, answer.remark));
                std::thread::sleep(AGAIN_AFTER);
            }
            None => return,
        }
    }
}
