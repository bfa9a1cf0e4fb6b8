//! Producers that send without pause while the cluster is being broken, and follow the master as the nameserver names
//! it.
//!
//! Plain producers do this with frames and sockets alone. [`Load::with_our_client`] uses the project's client instead,
//! which must follow by itself: each send that it reports as failed is counted.

use crate::History;
use crate::PATIENCE;
use crate::cluster::BROKER_SET;
use crate::history::body;
use crate::queries::{self, OK};
use crate::wire::Connection;
use client::{Message, MessageQueue, Producer, ProducerOptions, SendError, SendResult, SendStatus};
use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

const BODY_SIZE: usize = 1024;
/// How long one send may take before its outcome counts as unknown. Longer than an answer takes under load; a stopped
/// master never answers.
const SEND_TIMEOUT: Duration = Duration::from_millis(800);

/// Sends as one producer until it is told to stop.
type Produce = fn(usize, &History, &AtomicBool, &AtomicU64, &str);

/// Producer `i` sends to queue `i`. Stopped when dropped.
pub struct Load {
    pub history: Arc<History>,
    /// Sends that were not acknowledged.
    pub failed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(nameserver: &str, topic: &str, producers: usize) -> Load {
        Load::of(topic, producers, nameserver, |id, history, stop, failed, nameserver| {
            produce(id, history, stop, failed, || connect(nameserver, &history.topic))
        })
    }

    /// Producers that stay with this broker, whoever is master.
    pub fn faithful(broker: &str, topic: &str, producers: usize) -> Load {
        Load::of(topic, producers, broker, |id, history, stop, failed, broker| {
            produce(id, history, stop, failed, || Connection::open(broker, SEND_TIMEOUT).ok())
        })
    }

    /// The same load through the project's own client, every setting at its default.
    pub fn with_our_client(nameserver: &str, topic: &str, producers: usize) -> Load {
        Load::of(topic, producers, nameserver, produce_with_our_client)
    }

    fn of(topic: &str, producers: usize, nameserver: &str, produce: Produce) -> Load {
        let history = Arc::new(History::new(topic, producers));
        let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let producer = |id| {
            let (history, stop, failed) = (history.clone(), stop.clone(), failed.clone());
            let nameserver = nameserver.to_owned();
            std::thread::spawn(move || produce(id, &history, &stop, &failed, &nameserver))
        };
        let threads = (0..producers).map(producer).collect();
        Load { history, failed, stop, threads }
    }

    /// Waits until every producer has had `count` more messages acknowledged.
    #[track_caller]
    pub fn wait_progress(&self, count: u64) {
        self.history.wait_progress(count, PATIENCE);
    }

    /// Ends the producers and hands over what they were told.
    pub fn stop(mut self) -> Arc<History> {
        self.end();
        self.history.clone()
    }

    fn end(&mut self) {
        self.history.close();
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() && !std::thread::panicking() {
                panic!("a producer has failed");
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

fn produce(
    id: usize,
    history: &History,
    stop: &AtomicBool,
    failed: &AtomicU64,
    connect: impl Fn() -> Option<Connection>,
) {
    let mut sequence = 1;
    let mut connection = None;
    while !stop.load(Relaxed) {
        if connection.is_none() {
            connection = connect();
        }
        let Some(open) = &mut connection else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        history.sending(id, sequence);
        match send(open, &history.topic, id, sequence) {
            Ok(true) => {
                history.acknowledged(id, sequence);
                sequence += 1;
            }
            // Refused, or its outcome is unknown: the same message again, wherever the master is now.
            Ok(false) | Err(_) => {
                failed.fetch_add(1, Relaxed);
                connection = None;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn produce_with_our_client(id: usize, history: &History, stop: &AtomicBool, failed: &AtomicU64, nameserver: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let queue = MessageQueue { broker_name: BROKER_SET.into(), queue_id: id as i32, topic: history.topic.clone() };
    runtime.block_on(async {
        let producer =
            Producer::start(ProducerOptions { namesrv: vec![nameserver.to_owned()], ..ProducerOptions::default() });
        let mut sequence = 1;
        while !stop.load(Relaxed) {
            let message = Message::new(history.topic.as_str(), body(id, sequence, BODY_SIZE));
            history.sending(id, sequence);
            let outcome = producer.send_to(&message, &queue).await;
            if let Ok(SendResult { attempts, .. })
            | Err(SendError::Deadline { attempts, .. } | SendError::Refused { attempts, .. }) = &outcome
            {
                history.repeated(id, sequence, attempts.saturating_sub(1));
            }
            match outcome {
                Ok(sent) if sent.status == SendStatus::SendOk => {
                    history.acknowledged(id, sequence);
                    sequence += 1;
                }
                other => {
                    eprintln!("producer {id}, message {sequence}: {other:?}");
                    failed.fetch_add(1, Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    });
}

fn connect(nameserver: &str, topic: &str) -> Option<Connection> {
    let master = queries::master_address(nameserver, topic, BROKER_SET)?;
    Connection::open(&master, SEND_TIMEOUT).ok()
}

/// True only for SEND_OK.
fn send(connection: &mut Connection, topic: &str, id: usize, sequence: u64) -> Result<bool> {
    let request = queries::send_request(topic, id as i32, body(id, sequence, BODY_SIZE));
    Ok(connection.call(request, SEND_TIMEOUT)?.code == OK)
}
