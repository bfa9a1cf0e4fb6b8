//! Producers that send without pause while the cluster is being broken, and follow the master as the nameserver names it.

use crate::History;
use crate::cluster::BROKER_SET;
use crate::history::body;
use crate::queries::{self, OK};
use crate::wire::Connection;
use crate::{PATIENCE, wait_until};
use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

const BODY_SIZE: usize = 1024;
/// How long one send may take before its outcome counts as unknown. Longer than an answer takes under load; a stopped master never answers.
const SEND_TIMEOUT: Duration = Duration::from_millis(800);

/// Producer `i` sends to queue `i`. Stopped when dropped.
pub struct Load {
    pub history: Arc<History>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(nameserver: &str, topic: &str, producers: usize) -> Load {
        let history = Arc::new(History::new(topic, producers));
        let stop = Arc::new(AtomicBool::new(false));
        let producer = |id| {
            let (history, stop, nameserver) = (history.clone(), stop.clone(), nameserver.to_owned());
            std::thread::spawn(move || produce(id, &history, &stop, &nameserver))
        };
        let threads = (0..producers).map(producer).collect();
        Load { history, stop, threads }
    }

    /// Waits until every producer has had `count` more messages acknowledged.
    #[track_caller]
    pub fn wait_progress(&self, count: u64) {
        let before = self.history.acknowledged_each();
        wait_until("every producer gets messages acknowledged", PATIENCE, || {
            let now = self.history.acknowledged_each();
            now.iter().zip(&before).all(|(now, before)| *now >= before + count)
        });
    }

    /// Ends the producers and hands over what they were told.
    pub fn stop(mut self) -> Arc<History> {
        self.end();
        self.history.clone()
    }

    fn end(&mut self) {
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

fn produce(id: usize, history: &History, stop: &AtomicBool, nameserver: &str) {
    let mut sequence = 1;
    let mut connection = None;
    while !stop.load(Relaxed) {
        if connection.is_none() {
            connection = connect(nameserver, &history.topic);
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
                connection = None;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
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
